"""From the configuration of meta-Bayesian optimisation to its parts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from envs.blackbox.environment import BlackBox
from envs.blackbox.protocol import protocol_pools
from envs.blackbox.sources import make_source
from envs.blackbox.splits import VALID
from envs.blackbox.task import regret
from envs.family import TaskFamily
from metarl.experiments.metabo_config import MetaboConfig, TasksConfig
from metarl.experiments.metabo_policy import part_of
from metarl.metabo.acquisitions import nap_optimiser
from metarl.metabo.nap import NAP
from metarl.metabo.trajectory import run_trajectory

VALIDATION_BATCH = 7
"""Trajectories of a validation at once."""


def build_sources(config: TasksConfig, horizon: int) -> list[TaskFamily]:
    """Returns the families that pools are drawn from.

    Raises:
        ValueError: if one is unknown or its options are wrong.
    """
    return [make_source(spec, num_candidates=config.num_candidates, horizon=horizon) for spec in config.sources]


def build_optimisers(config: MetaboConfig) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Returns the optimisers of the two phases; that of the second moves three parts, each behind a clip of its own."""
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
    parts = {
        name: optax.chain(optax.clip_by_global_norm(second.max_grad_norm), optax.adam(rate))
        for name, rate in rates.items()
    }
    return likelihood, optax.multi_transform(
        parts, lambda params: jax.tree_util.tree_map_with_path(lambda path, _: part_of(path), params)
    )


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
    env = BlackBox(len(pools.params.is_valid[0]), max_horizon=settings.horizon)

    def validate(params: Any) -> Float[Array, ""]:
        optimiser = nap_optimiser(nap, params)

        def one(case: tuple[Any, Array]) -> Float[Array, ""]:
            task, initial = case
            best = run_trajectory(optimiser, env, task, initial, jax.random.key(0)).best
            return jnp.mean(regret(best, task))

        return jnp.mean(jax.lax.map(one, (pools.params, pools.initial), batch_size=VALIDATION_BATCH))

    return validate
