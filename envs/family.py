"""A task is one world with one life length; a family is a law over tasks that share a compiled program."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Task(NamedTuple):
    """One world to live in. Every leaf is a traced array, so a batch of tasks is a `vmap` away."""

    params: Any
    """The gymnax `EnvParams` of this world."""
    lifetime: Int[Array, ""]
    """How many agent updates a life in this world has."""


class TaskFamily(NamedTuple):
    """A law over tasks, and the static facts that one compiled program for all of them needs."""

    name: str
    """Registry name, e.g. `gridworld/small`."""
    env: Any
    """The gymnax environment shared by all tasks; made once, because gymnax hashes it by identity."""
    sample: Callable[[Array], Task]
    """`sample(key) -> Task`; consumes the key."""
    decode: Callable[[Float[Array, " D"]], Task]
    """`decode(vector) -> Task` for a vector of quantiles in [0, 1]^D; values outside are clipped."""
    num_dimensions: int
    """D, the length of the vectors `decode` takes; 0 when the family has one task only."""
    max_lifetime: int
    """Largest `Task.lifetime` the family can produce, in agent updates."""
    max_episode_steps: int
    """Largest episode cap the family can produce, in environment steps."""
    optimal_return: Callable[[Any], Float[Array, ""]] | None = None
    """`optimal_return(params)`: exact optimal expected undiscounted return of an episode, or None where it is unknown.
    """
    low: Float[Array, " D"] | None = None
    """What the quantiles 0 stand for, in the units of the world; None where dimensions have no natural units."""
    high: Float[Array, " D"] | None = None
    """What the quantiles 1 stand for; between the two, dimensions are linear in the quantile."""
    return_range: tuple[float, float] | None = None
    """Episodic returns that teachers map to 0 and 1; what lies outside is clipped. None where none is agreed on."""
    success_return: float | None = None
    """A task is mastered by returns above this; None where none is agreed on."""


def with_lifetime(family: TaskFamily, low: int, high: int) -> TaskFamily:
    """Returns the family with lifetimes drawn as round(exp(U(ln low, ln high))) agent updates instead of its own.

    `decode` gains one leading dimension for the lifetime's quantile only if low < high; with low == high the lifetime
    is fixed.

    Raises:
        ValueError: unless 1 <= low <= high.
    """
    if not 1 <= low <= high:
        raise ValueError(f"lifetime bounds are ({low}, {high}); they must satisfy 1 <= low <= high")
    varies = low < high

    def decode(vector: Float[Array, " D"]) -> Task:
        quantile, rest = (vector[0], vector[1:]) if varies else (jnp.float32(0.0), vector)
        return family.decode(rest)._replace(lifetime=log_uniform_int(quantile, low, high))

    def sample(key: Array) -> Task:
        key_task, key_lifetime = jax.random.split(key)
        return family.sample(key_task)._replace(lifetime=log_uniform_int(jax.random.uniform(key_lifetime), low, high))

    return family._replace(
        sample=sample, decode=decode, num_dimensions=family.num_dimensions + int(varies), max_lifetime=high
    )


def log_uniform(quantile: Float[Array, "*batch"], low: float, high: float) -> Float[Array, "*batch"]:
    """Returns the given quantile (clipped to [0, 1]) of the log-uniform law on [low, high], low > 0."""
    fraction = jnp.clip(quantile, 0.0, 1.0)
    return jnp.exp(jnp.log(low) + fraction * (jnp.log(high) - jnp.log(low)))


def log_uniform_int(quantile: Float[Array, "*batch"], low: int, high: int) -> Int[Array, "*batch"]:
    """Returns round(exp(U(ln low, ln high))) at the given quantile, as int32."""
    return jnp.round(log_uniform(quantile, float(low), float(high))).astype(jnp.int32)
