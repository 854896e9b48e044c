"""A teacher proposes tasks before episodes and sees what they returned; it knows nothing of the student."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class TaskBox(NamedTuple):
    """The box that task vectors live in, and what returns mean there.

    A teacher measures distances in the units of its box. Give it the unit box, and scale afterwards, for teachers that
    do not depend on units; give it the physical one for those of the papers, which do.
    """

    low: Float[np.ndarray, " D"]
    """Smallest value of each coordinate."""
    high: Float[np.ndarray, " D"]
    """Largest value of each coordinate, above `low`."""
    return_range: tuple[float, float] = (0.0, 1.0)
    """Returns that count as rewards 0 and 1; returns outside are clipped."""
    success_return: float = 1.0
    """A task is mastered when an episode in it returns more."""

    @property
    def num_dimensions(self) -> int:
        """D."""
        return len(self.low)

    @property
    def size(self) -> Float[np.ndarray, " D"]:
        """Length of each side."""
        return self.high - self.low

    def reward(self, returns: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Returns episodic returns mapped to [0, 1]; what is not finite stays so."""
        low, high = self.return_range
        return jnp.where(jnp.isfinite(returns), jnp.clip((returns - low) / (high - low), 0.0, 1.0), jnp.nan)

    def uniform(self, key: Array, num: int) -> Float[Array, "n D"]:
        """Returns `num` uniform task vectors; consumes the key."""
        fractions = jax.random.uniform(key, (num, self.num_dimensions))
        return jnp.asarray(self.low)[None] + fractions * jnp.asarray(self.size)[None]

    def clip(self, vectors: Float[Array, "n D"]) -> Float[Array, "n D"]:
        """Returns the nearest vectors within the box."""
        return jnp.clip(vectors, jnp.asarray(self.low)[None], jnp.asarray(self.high)[None])


def task_box(
    low: Any, high: Any, *, return_range: tuple[float, float] = (0.0, 1.0), success_return: float | None = None
) -> TaskBox:
    """Returns the box between two vectors; without a `success_return`, all of the return range counts as mastery.

    Raises:
        ValueError: unless `low` and `high` are finite vectors of one length >= 1 with low < high everywhere, and the
            return range ascends.
    """
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    if low.ndim != 1 or low.shape != high.shape or low.size == 0 or not np.all(np.isfinite(high - low)):
        raise ValueError(f"the box of tasks is {low} to {high}; give two finite vectors of one length")
    if not np.all(low < high):
        raise ValueError(f"the box of tasks is {low} to {high}; every coordinate must have low < high")
    if not return_range[0] < return_range[1]:
        raise ValueError(f"the range of returns is {return_range}; it must ascend")
    return TaskBox(low, high, return_range, return_range[1] if success_return is None else success_return)


def unit_box(
    num_dimensions: int, *, return_range: tuple[float, float] = (0.0, 1.0), success_return: float | None = None
) -> TaskBox:
    """Returns [0, 1]^D.

    Raises:
        ValueError: as `task_box`.
    """
    sides = np.zeros(num_dimensions, np.float32), np.ones(num_dimensions, np.float32)
    return task_box(*sides, return_range=return_range, success_return=success_return)


class Teacher(NamedTuple):
    """An algorithm that chooses tasks. State has a fixed size, so that students and seeds are a `vmap` away."""

    init: Callable[[Array], Any]
    """`init(key) -> state`."""
    sample: Callable[[Array, Any, int], Float[Array, "n D"]]
    """`sample(key, state, n) -> vectors` within the box; consumes the key."""
    observe: Callable[[Any, Float[Array, "n D"], Float[Array, " n"]], Any]
    """`observe(state, vectors, returns) -> state`: takes in finished episodes, in order, with their raw returns. Rows
    whose return is not finite are absent. All rows are compared with what came before the batch."""
    refit: Callable[[Array, Any], Any]
    """`refit(key, state) -> state`: what is too expensive to do at every episode; consumes the key."""
    refit_every: int | None = None
    """Episodes between two refits; None if there is nothing to refit."""
    portrait: Callable[[Any], dict[str, Array]] = lambda state: {}
    """`portrait(state) -> what there is to see of it`: Gaussians (`mean [K, d]`, `cholesky [K, d, d]`) or boxes
    (`low [K, D]`, `high [K, D]`), with `is_used [K]` and `utility [K]`, which is NaN where all are equal."""


def keep_state(key: Array, state: Any) -> Any:
    """Returns the state: the `refit` of teachers that have nothing to fit."""
    return state


def is_present(returns: Float[Array, " n"]) -> Bool[Array, " n"]:
    """Returns which rows of a batch hold a finished episode."""
    return jnp.isfinite(returns)


def proportional(utilities: Float[Array, " n"], is_valid: Bool[Array, " n"] | None = None) -> Float[Array, " n"]:
    """Returns log-probabilities proportional to utilities >= 0, uniform over the valid ones if all are 0."""
    valid = jnp.ones_like(utilities, bool) if is_valid is None else is_valid
    weights = jnp.where(valid, jnp.maximum(utilities, 0.0), 0.0)
    weights = jnp.where(jnp.sum(weights) > 0.0, weights, valid.astype(jnp.float32))
    return jnp.log(weights)


def take_in(
    teacher: Teacher, key: Array, state: Any, vectors: Float[Array, "n D"], returns: Float[Array, " n"], count: Any
) -> Any:
    """Returns the state after a batch, refitted if that takes `count`, the episodes before it, past a refit.

    Refits are due at multiples of `refit_every`. `count` must not be batched by `vmap`: a batched condition would refit
    at every call.
    """
    state = teacher.observe(state, vectors, returns)
    if teacher.refit_every is None:
        return state
    is_due = (count + vectors.shape[0]) // teacher.refit_every > count // teacher.refit_every
    return jax.lax.cond(is_due, teacher.refit, keep_state, key, state)


def find(
    tasks: Float[Array, "N D"], is_used: Bool[Array, " N"], vectors: Float[Array, "n D"]
) -> tuple[Int[Array, " n"], Bool[Array, " n"]]:
    """Returns (slot of each vector, whether it is there at all); slots of the others are 0."""
    same = jnp.all(tasks[None] == vectors[:, None], axis=2) & is_used[None]
    return jnp.argmax(same, axis=1), jnp.any(same, axis=1)
