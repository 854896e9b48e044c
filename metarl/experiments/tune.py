"""A model that learned to optimise chooses the settings of the evolution that discovers learning rules.

`docs/extending.md` has an example.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from metarl.experiments.config import DiscoverConfig, PopulationConfig
from metarl.experiments.discover import make_discovery
from metarl.metabo.ask_tell import Optimizer
from metarl.metabo.export import TrainedNAP
from metarl.metabo.space import Dimension, Fixed, Space


class Tuned(NamedTuple):
    """One trial."""

    settings: dict[str, Any]
    """Fields of the population that were tried."""
    fitness: float
    """What came out; NaN if it was not finite, which the model takes for the worst of the others."""


def tune_discovery(
    config: DiscoverConfig,
    space: Space | Mapping[str, Dimension | Fixed],
    *,
    num_trials: int,
    checkpoint: str | TrainedNAP | None = None,
    num_init: int = 5,
    seed: int = 0,
    report: Callable[[str], None] = lambda message: None,
) -> list[Tuned]:
    """Returns what was tried, in order; the best is `max(tuned, key=lambda trial: trial.fitness)` if all are numbers.

    Every trial evolves for the config's own generations from the config's own seed, so that trials meet the same levels
    as long as their populations are of one size. A larger population costs more and counts the same. A floor that is
    above a proposed sigma or learning rate gives way to it.

    Args:
        config: what is discovered; settings that are not in the space stay as they are.
        space: fields of `PopulationConfig`, such as sigma, learning_rate and size (with even values only).
        num_trials: at least 1; the first `num_init` are a design and the model chooses the others.
        checkpoint: path of an exported model, its name in the zoo, or the model; None: the one that ships.
        num_init: trials before the model has its say.
        seed: of the choices.
        report: told what each trial gave.

    Raises:
        ValueError: if there is no such model or field, or settings that are proposed do not fit together.
    """
    space = space if isinstance(space, Space) else Space(space)
    known = [field.name for field in fields(PopulationConfig)]
    if num_trials < 1 or (unknown := sorted(space.dimensions.keys() - set(known))):
        what = f"{num_trials} trials" if num_trials < 1 else f"the settings {', '.join(unknown)}"
        raise ValueError(f"{what} were given; give at least 1 trial and settings out of {', '.join(known)}")
    horizon = max(num_trials - num_init, 1)
    optimizer = Optimizer(space, checkpoint, maximize=True, seed=seed, num_init=num_init, horizon=horizon)
    tuned = []
    for trial in range(num_trials):
        (settings,) = optimizer.ask()
        fitness = final_fitness(replace(config, population=with_settings(config.population, settings)))
        optimizer.tell(settings, fitness)
        tuned.append(Tuned(settings, fitness))
        report(f"trial {trial + 1} of {num_trials}: fitness {fitness:.4f} with {settings}")
    return tuned


def with_settings(population: PopulationConfig, settings: Mapping[str, Any]) -> PopulationConfig:
    """Returns the population with these settings, and floors that are not above what starts from there."""
    changed = replace(population, **settings)
    floors = {"sigma_floor": changed.sigma, "learning_rate_floor": changed.learning_rate}
    return replace(changed, **{name: min(getattr(changed, name), start) for name, start in floors.items()})


def final_fitness(config: DiscoverConfig) -> float:
    """Returns the population's mean fitness over the last quarter of the generations, rounded up; NaN if not finite."""
    discovery = make_discovery(config)
    step = discovery.experiment.step

    @jax.jit
    def evolve(seed: jax.Array) -> jax.Array:
        def one(state: Any, _: None) -> tuple[Any, jax.Array]:
            state, metrics = step(state)
            return state, metrics["fitness"]

        state = discovery.experiment.init(jax.random.key(seed))
        return jax.lax.scan(one, state, length=config.generations)[1]

    course = np.asarray(evolve(np.uint32(config.seed)), np.float64)
    fitness = float(np.mean(course[-math.ceil(config.generations / 4) :]))
    return fitness if math.isfinite(fitness) else math.nan
