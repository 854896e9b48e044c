"""Studies of Optuna on tables: which samplers there are to compare, and what each proposes, trial by trial."""

import contextlib
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import NamedTuple

import numpy as np
import optuna
from jaxtyping import Float, Int
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from envs.blackbox.lookup import Lookup
from envs.blackbox.task import CATEGORICAL
from metarl.metabo.export import TrainedNAP
from metarl.metabo.optuna_sampler import Distributions, NAPSampler


class Course(NamedTuple):
    """What a study did."""

    rows: Int[np.ndarray, " T"]
    """Row of the table that answered each trial."""
    seconds: Float[np.ndarray, " T"]
    """Wall-clock time that each trial's parameters took to be proposed, compilation included where there was any."""


def make_samplers(model: TrainedNAP, *, num_startup: int, num_trials: int) -> dict[str, Callable[[int], BaseSampler]]:
    """Returns makers of samplers from a seed, by name.

    `random` and `tpe` are Optuna's own as they come (TPE draws its first ten trials at random), `tpe-<n>-startup`
    begins as early as the model does, and the last is the model: `nap` with a learned acquisition, `np-<head>` else.
    Under one seed all of them draw the same first trials.

    Args:
        model: what `NAPSampler` chooses by.
        num_startup: trials before the model has its say.
        num_trials: T, all trials of a study.
    """
    head = model.head
    return {
        "random": lambda seed: RandomSampler(seed=seed),
        "tpe": lambda seed: TPESampler(seed=seed),
        f"tpe-{num_startup}-startup": lambda seed: TPESampler(seed=seed, n_startup_trials=num_startup),
        "nap" if head == "acquisition" else f"np-{head}": lambda seed: NAPSampler(
            model, seed=seed, n_startup_trials=num_startup, horizon=num_trials - num_startup
        ),
    }


def distributions_of(lookup: Lookup) -> Distributions:
    """Returns Optuna's space of a table: a number, a place for a level, a choice of places for a category.

    Choices are the places as text, so that no sampler can read an order into them. A number is in [0, 1], or where the
    table's configurations are even in a logarithm, as a user would say it: logarithmic, and moved by the offset.
    """
    made: Distributions = {}
    for (name, count), kind in zip(lookup.num_levels.items(), lookup.table.kind, strict=True):
        if count == 0:
            offset = lookup.log_offset.get(name, 0.0)
            made[name] = FloatDistribution(offset, 1.0 + offset, log=offset > 0.0)
        elif kind == CATEGORICAL:
            made[name] = CategoricalDistribution([str(place) for place in range(count)])
        else:
            made[name] = IntDistribution(0, count - 1)
    return made


def run_study(sampler: BaseSampler, lookup: Lookup, num_trials: int) -> Course:
    """Returns what a new study does that maximises a table's values, with a sampler that has not been used."""
    distributions, rows, seconds = distributions_of(lookup), [], []
    with _quiet():
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for _ in range(num_trials):
            start = perf_counter()
            trial = study.ask(distributions)
            seconds.append(perf_counter() - start)
            moved = {name: float(value) - lookup.log_offset.get(name, 0.0) for name, value in trial.params.items()}
            rows.append(lookup.row(moved))
            study.tell(trial, float(lookup.table.y[rows[-1]]))
    return Course(np.asarray(rows, np.int64), np.asarray(seconds, np.float64))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Optuna from announcing every study; afterwards it says what it said before."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
