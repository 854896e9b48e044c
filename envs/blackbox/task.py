"""What one task of Bayesian optimisation is: candidates, what their entries mean, and the values to be found out."""

from typing import Any, no_type_check

import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment
from jaxtyping import Array, Bool, Float, Int

from envs.family import Task

UNUSED, NUMERIC, ORDINAL, CATEGORICAL = 0, 1, 2, 3
"""Kinds of dimensions. Numbers and grid places lie in [0, 1]; a category is its index, as a number; the rest is 0."""
MAX_DIMENSIONS = 20
"""D of every pool that a model is to serve, whatever its own number of dimensions; synthesis flows have 20."""
MAX_CATEGORIES = 12
"""Most values of a categorical dimension."""
NUM_INIT = 5
"""Points that are evaluated before the optimiser has its say, in every protocol."""


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one task
@struct.dataclass
class BlackBoxParams(environment.EnvParams):
    """A pool of N candidates in D dimensions and its objective, which is maximised."""

    max_steps_in_episode: Int[Array, ""] | int = 1_000_000
    """Above any horizon: a budget that is used up is part of the state, so that an episode terminates there."""
    x: Float[Array, "N D"] | None = None
    """Candidates."""
    kind: Int[Array, " D"] | None = None
    """What each dimension holds."""
    y: Float[Array, " N"] | None = None
    """Objective at each candidate, finite."""
    is_valid: Bool[Array, " N"] | None = None
    """Which rows are candidates and not padding."""
    y_best: Float[Array, ""] | None = None
    """Largest objective of the pool; for rewards and scores, never for an optimiser."""
    y_worst: Float[Array, ""] | None = None
    """Smallest objective of the pool; for rewards and scores, never for an optimiser."""
    horizon: Int[Array, ""] | int = 45
    """T, evaluations after the initial ones."""
    num_init: Int[Array, ""] | int = NUM_INIT
    """Initial evaluations."""


def pool_params(
    x: Float[Array, "N d"],
    kind: Int[Array, " d"],
    y: Float[Array, " N"],
    *,
    is_valid: Bool[Array, " N"] | None = None,
    horizon: Int[Array, ""] | int = 45,
    num_init: Int[Array, ""] | int = NUM_INIT,
    max_dimensions: int = MAX_DIMENSIONS,
) -> BlackBoxParams:
    """Returns the task of a pool, with unused dimensions behind its own d <= D.

    Rows that are not valid may hold anything, NaN included; they become 0.
    """
    is_valid = jnp.ones(y.shape, bool) if is_valid is None else is_valid
    missing = max_dimensions - x.shape[1]
    if missing < 0:
        raise ValueError(f"a pool has {x.shape[1]} dimensions; there is room for {max_dimensions}")
    return BlackBoxParams(
        x=jnp.pad(jnp.where(is_valid[:, None], x, 0.0).astype(jnp.float32), ((0, 0), (0, missing))),
        kind=jnp.pad(jnp.asarray(kind, jnp.int32), (0, missing)),
        y=jnp.where(is_valid, y, 0.0).astype(jnp.float32),
        is_valid=is_valid,
        y_best=jnp.max(y, where=is_valid, initial=-jnp.inf).astype(jnp.float32),
        y_worst=jnp.min(y, where=is_valid, initial=jnp.inf).astype(jnp.float32),
        horizon=jnp.asarray(horizon, jnp.int32),
        num_init=jnp.asarray(num_init, jnp.int32),
        max_steps_in_episode=jnp.int32(1_000_000),
    )


def regret(best: Float[Array, "*batch"], params: Any) -> Float[Array, "*batch"]:
    """Returns how far the best value so far is from the pool's best, as a share of the pool's range; 0 if it is flat.

    Args:
        best: best objective so far.
        params: the task.
    """
    scale = params.y_best - params.y_worst
    share = (params.y_best - best) / jnp.where(scale > 0, scale, 1.0)
    return jnp.clip(share, 0.0, 1.0)


def by_range(params: Any) -> BlackBoxParams:
    """Returns the task, or tasks with leading axes, with the objective as a share of its range over the whole pool.

    The worst is 0 and the best is 1, so that whoever sees a value knows how far the best is: an oracle tells. All
    values of a flat pool are 0. Regrets stay what they are.
    """
    size = params.y_best - params.y_worst
    share = (params.y - params.y_worst[..., None]) / jnp.where(size > 0, size, 1.0)[..., None]
    return params.replace(
        y=jnp.where(params.is_valid, share, 0.0),
        y_best=jnp.where(size > 0, 1.0, 0.0).astype(jnp.float32),
        y_worst=jnp.zeros_like(params.y_worst),
    )


def as_task(params: BlackBoxParams) -> Task:
    """Returns the task as families have it; its life is one episode long."""
    return Task(params, jnp.int32(1))
