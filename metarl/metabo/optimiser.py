"""What an optimiser of pools is, and the simplest: random picks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Observation = dict[str, Array]
"""See `envs.blackbox.environment.BlackBox`."""


class Optimiser(NamedTuple):
    """Pure functions that choose which candidate of a pool to evaluate next.

    Of the params they read the candidates `x`, `kind` and `is_valid`, never the objective.
    """

    init: Callable[[Any], Any]
    """`init(params) -> memory`: what is remembered from one choice to the next."""
    choose: Callable[[Array, Any, Observation, Any], tuple[Any, Int[Array, ""]]]
    """`choose(key, memory, observation, params) -> (memory, index)` of an open candidate; consumes the key.

    What is open says `is_open`; with every candidate visited the index is that of any.
    """


def is_open(observation: Observation, params: Any) -> Bool[Array, " N"]:
    """Returns which candidates can be chosen: those that have not been evaluated and repeat none that has.

    Spaces of few configurations leave equal rows in a pool, which differ in noise at most. Once there is nothing else
    left they are open too, each once.

    Args:
        observation: what has been evaluated.
        params: the pool.
    """
    is_left = params.is_valid & ~observation["is_visited"]
    is_equal = jnp.all(params.x[:, None] == params.x[observation["index"]][None], axis=-1)
    is_new = is_left & ~jnp.any(is_equal & observation["is_seen"][None], axis=1)
    return jnp.where(jnp.any(is_new), is_new, is_left)


def best_unvisited(scores: Float[Array, " N"], observation: Observation, params: Any) -> Int[Array, ""]:
    """Returns the candidate of the largest score among those open; a score that is NaN counts as the least."""
    scores = jnp.where(jnp.isnan(scores), jnp.finfo(scores.dtype).min, scores)
    scores = jnp.maximum(scores, jnp.finfo(scores.dtype).min)
    return jnp.argmax(jnp.where(is_open(observation, params), scores, -jnp.inf)).astype(jnp.int32)


def random_search() -> Optimiser:
    """Returns the optimiser that picks uniformly among the open candidates."""

    def choose(key, memory, observation, params):
        return memory, best_unvisited(jax.random.uniform(key, params.is_valid.shape), observation, params)

    return Optimiser(lambda params: (), choose)
