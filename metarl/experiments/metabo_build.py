"""From the configuration of meta-Bayesian optimisation to its parts."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from envs.blackbox.environment import BlackBox
from envs.blackbox.protocol import protocol_pools
from envs.blackbox.sources import make_source
from envs.blackbox.splits import VALID
from envs.blackbox.task import by_range, regret
from envs.family import Task, TaskFamily
from metarl.experiments.metabo_config import MetaboConfig
from metarl.experiments.metabo_phases import PolicyConfig
from metarl.experiments.metabo_policy import part_of
from metarl.metabo.acquisitions import nap_optimiser
from metarl.metabo.export import find_nap
from metarl.metabo.nap import ARCHITECTURES, NAP, shown_to
from metarl.metabo.trajectory import run_trajectory

HOW_TRAINED = {"stop_gradient", "residual", "precision", "parent", "name"}
"""Fields of a network that say nothing about what its parameters are."""
VALIDATION_BATCH = 7
"""Trajectories of a validation at once."""


def load_start(start: str, nap: NAP) -> Any:
    """Returns the parameters of the trained model that the training of another begins with.

    Models are compared as they were made, so that a record that is older than a setting means its default.

    Raises:
        ValueError: if there is no such model, or it was made with other settings than these.
    """
    trained = find_nap(start)
    needed, found = _anatomy(nap), _anatomy(trained.nap)
    differing = sorted(key for key in needed.keys() | found.keys() if needed.get(key) != found.get(key))
    if differing:
        told = ", ".join(f"model.{key} = {found.get(key)} (not {needed.get(key)})" for key in differing)
        raise ValueError(f"start is {start}, which was made with {told}; give the same, or another start")
    return trained.params


def _anatomy(nap: NAP) -> dict[str, Any]:
    """Returns the settings that parameters of a model depend on."""
    names = {field.name for field in dataclasses.fields(nap.network)} - HOW_TRAINED
    kind = next(name for name, network in ARCHITECTURES.items() if isinstance(nap.network, network))
    return {"architecture": kind, "values": nap.values} | {name: getattr(nap.network, name) for name in names}


def build_sources(config: MetaboConfig) -> list[TaskFamily]:
    """Returns the families that pools are drawn from, as the model of the run sees their values.

    Raises:
        ValueError: if one is unknown or its options are wrong.
    """
    sizes = {"num_candidates": config.tasks.num_candidates, "horizon": config.policy.horizon}
    families = [make_source(spec, **sizes) for spec in config.tasks.sources]
    return [normalised(family) for family in families] if config.model.values == "range" else families


def normalised(family: TaskFamily) -> TaskFamily:
    """Returns the family of the same pools, values being shares of each one's range."""

    def by(make: Callable[[Array], Task], given: Array) -> Task:
        task = make(given)
        return task._replace(params=by_range(task.params))

    return family._replace(sample=partial(by, family.sample), decode=partial(by, family.decode))


def build_optimisers(config: MetaboConfig) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Returns the optimisers of the two phases; that of the second moves three parts, clipped one by one or jointly."""
    first, second = config.likelihood, config.policy
    updates = max(first.updates, 2)
    rate = optax.warmup_cosine_decay_schedule(
        0.0, first.learning_rate, max(updates // 20, 1), updates, first.learning_rate / 20.0
    )
    likelihood = optax.chain(optax.clip_by_global_norm(first.max_grad_norm), optax.adam(rate))
    rates = {
        "policy": second.learning_rate,
        "critic": second.critic_learning_rate,
        "backbone": second.backbone_learning_rate,
    }
    clip = optax.clip_by_global_norm(second.max_grad_norm)
    moves = {name: optax.adam(_scheduled(second, rate)) for name, rate in rates.items()}
    parts = {name: move if second.joint_clip else optax.chain(clip, move) for name, move in moves.items()}
    policy = optax.multi_transform(
        parts, lambda params: jax.tree_util.tree_map_with_path(lambda path, _: part_of(path), params)
    )
    return likelihood, optax.chain(clip, policy) if second.joint_clip else policy


def _scheduled(config: PolicyConfig, rate: float) -> float | optax.Schedule:
    """Returns the step size by the number of updates done; it is the same throughout an iteration."""
    if config.schedule == "constant":
        return rate
    of_iteration = optax.join_schedules(
        [
            optax.linear_schedule(0.0, rate, config.warmup),
            optax.linear_schedule(rate, 0.0, config.iterations - config.warmup),
        ],
        [config.warmup],
    )
    per_iteration = config.num_epochs * config.num_minibatches
    return lambda count: of_iteration(jnp.asarray(count) // per_iteration)


def make_validation(config: MetaboConfig, nap: NAP) -> Callable[[Any], Float[Array, ""]]:
    """Returns `validate(params)`: the mean regret, over choices and tables, of the candidates preferred most.

    Raises:
        ValueError: if a table is not of the split for validation.
    """
    settings = config.validation
    if outside := sorted(set(settings.tables) - set(VALID)):
        raise ValueError(f"validation.tables has {outside[0]!r}, which is not of the split for validation")
    cases = [(table, seed) for table in settings.tables for seed in range(settings.seeds)]
    pools = protocol_pools(cases, horizon=settings.horizon)
    pools = pools._replace(params=shown_to(nap, pools.params))
    env = BlackBox(len(pools.params.is_valid[0]), max_horizon=settings.horizon)

    def validate(params: Any) -> Float[Array, ""]:
        optimiser = nap_optimiser(nap, params)

        def one(case: tuple[Any, Array]) -> Float[Array, ""]:
            task, initial = case
            best = run_trajectory(optimiser, env, task, initial, jax.random.key(0)).best
            return jnp.mean(regret(best, task))

        return jnp.mean(jax.lax.map(one, (pools.params, pools.initial), batch_size=VALIDATION_BATCH))

    return validate
