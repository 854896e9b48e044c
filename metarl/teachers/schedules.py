"""Teachers without a model of progress: uniform tasks, an expert's moving window, and boxes that grow with success.

Source: flowersteam/teachDeepRL (Random, Oracle) and flowersteam/TeachMyAgent (ADR, after OpenAI et al. 2019).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from metarl.teachers.base import TaskBox, Teacher, is_present, keep_state


def uniform(box: TaskBox) -> Teacher:
    """Returns the teacher that proposes uniform tasks and learns nothing."""

    def sample(key: Array, state: tuple[()], num: int) -> Float[Array, "n D"]:
        return box.uniform(key, num)

    return Teacher(lambda key: (), sample, lambda state, vectors, returns: state, keep_state)


class OracleState(NamedTuple):
    """Where the window is, and what was returned since it was last looked at."""

    low: Float[Array, " D"]
    total: Float[Array, ""]
    """Sum of returns."""
    count: Int[Array, ""]
    """Episodes in the sum."""


def oracle(
    box: TaskBox, steps: Any, *, window_share: float = 1.0 / 6.0, episodes: int = 50, threshold: float | None = None
) -> Teacher:
    """Returns the expert's curriculum: a window that moves from easy to hard tasks and never back.

    Args:
        box: where tasks live.
        steps: [D], by how much the window moves along each coordinate; along those where it is positive it starts at
            the lowest tasks, along others at the highest.
        window_share: size of the window, as a share of the box.
        episodes: after how many it moves, if their mean return is above the threshold.
        threshold: a return; None: that of mastery.

    Raises:
        ValueError: unless there is a step for every coordinate, the share lies in (0, 1] and there is an episode.
    """
    steps = np.asarray(steps, np.float32)
    if steps.shape != box.low.shape or not 0.0 < window_share <= 1.0 or episodes < 1:
        raise ValueError(
            f"the oracle was given steps {steps}, a window of {window_share} of the box and {episodes} episodes; give "
            f"{box.num_dimensions} steps, a share in (0, 1] and at least 1 episode"
        )
    size = window_share * box.size
    bar = box.success_return if threshold is None else threshold

    def init(key: Array) -> OracleState:
        start = jnp.asarray(np.where(steps > 0.0, box.low, box.high - size))
        return OracleState(start, jnp.float32(0.0), jnp.int32(0))

    def sample(key: Array, state: OracleState, num: int) -> Float[Array, "n D"]:
        fractions = jax.random.uniform(key, (num, box.num_dimensions))
        return box.clip(state.low[None] + fractions * jnp.asarray(size)[None])

    def note(state: OracleState, returned: Float[Array, ""]) -> tuple[OracleState, None]:
        present = jnp.isfinite(returned)
        total = state.total + jnp.where(present, returned, 0.0)
        count = state.count + present.astype(jnp.int32)
        is_full = count >= episodes
        moved = jnp.clip(state.low + jnp.asarray(steps), jnp.asarray(box.low), jnp.asarray(box.high - size))
        low = jnp.where(is_full & (total > bar * episodes), moved, state.low)
        return OracleState(low, jnp.where(is_full, 0.0, total), jnp.where(is_full, 0, count)), None

    def observe(state: OracleState, vectors: Float[Array, "n D"], returns: Float[Array, " n"]) -> OracleState:
        return jax.lax.scan(note, state, returns)[0]

    def portrait(state: OracleState) -> dict[str, Array]:
        return one_box(state.low, state.low + jnp.asarray(size))

    return Teacher(init, sample, observe, keep_state, portrait=portrait)


def one_box(low: Float[Array, " D"], high: Float[Array, " D"]) -> dict[str, Array]:
    """Returns the portrait of a teacher that proposes in one box."""
    return {"low": low[None], "high": high[None], "is_used": jnp.ones((1,), bool), "utility": jnp.full((1,), jnp.nan)}


class ADRState(NamedTuple):
    """The box that has been reached, and what was returned on its sides."""

    bounds: Float[Array, "2 D"]
    """Lowest and highest tasks."""
    total: Float[Array, "2 D"]
    """Sum of the returns on each side since it last moved."""
    count: Int[Array, "2 D"]
    """Episodes in each sum."""


def adr(
    box: TaskBox,
    *,
    start: Any = None,
    step: float = 0.1,
    boundary_share: float = 0.5,
    queue_length: int = 10,
    raise_above: float = 180.0,
    lower_below: float = 0.0,
) -> Teacher:
    """Returns automatic domain randomisation: uniform tasks in a box each side of which moves with the returns on it.

    Args:
        box: the largest that can be reached.
        start: [D], the point it starts as; None: a random one. It had better be easy.
        step: by which a side moves, in the units of the box.
        boundary_share: how often one coordinate of a task is put on a side.
        queue_length: episodes on a side before it moves.
        raise_above: mean return at which it moves outwards.
        lower_below: mean return at which it moves inwards, at most to the opposite side.

    Raises:
        ValueError: if the start lies outside, the step or the queue is not positive, or the returns do not ascend.
    """
    if step <= 0.0 or queue_length < 1 or not 0.0 <= boundary_share <= 1.0 or lower_below >= raise_above:
        raise ValueError(
            f"adr was given step={step}, queue_length={queue_length}, boundary_share={boundary_share}, lower_below="
            f"{lower_below} and raise_above={raise_above}; give a positive step, at least 1 episode, a share in [0, 1] "
            "and lower_below < raise_above"
        )
    if start is not None:
        start = np.asarray(start, np.float32)
        if start.shape != box.low.shape or np.any(start < box.low) or np.any(start > box.high):
            raise ValueError(f"adr was told to start at {start}, which is not in the box {box.low} to {box.high}")
    limits = jnp.stack([jnp.asarray(box.low), jnp.asarray(box.high)])
    outwards = jnp.array([[-step], [step]], jnp.float32)

    def init(key: Array) -> ADRState:
        point = box.uniform(key, 1)[0] if start is None else jnp.asarray(start)
        zeros = jnp.zeros_like(limits)
        return ADRState(jnp.stack([point, point]), zeros, zeros.astype(jnp.int32))

    def sample(key: Array, state: ADRState, num: int) -> Float[Array, "n D"]:
        key_inside, key_share, key_axis, key_side = jax.random.split(key, 4)
        low, high = state.bounds
        fractions = jax.random.uniform(key_inside, (num, box.num_dimensions))
        inside = jnp.clip(low[None] + fractions * (high - low)[None], low[None], high[None])
        axis = jax.random.randint(key_axis, (num,), 0, box.num_dimensions)
        side = jax.random.bernoulli(key_side, shape=(num,)).astype(jnp.int32)
        is_done = jnp.all(state.bounds == limits, axis=0)[axis]
        pinned = (jax.random.uniform(key_share, (num,)) < boundary_share) & ~is_done
        is_axis = jnp.arange(box.num_dimensions)[None] == axis[:, None]
        return jnp.where(pinned[:, None] & is_axis, state.bounds[side], inside)

    def note(state: ADRState, row: tuple[Array, Array]) -> tuple[ADRState, None]:
        vector, returned = row
        on_side = (vector[None] == state.bounds) & jnp.isfinite(returned)
        total = state.total + jnp.where(on_side, returned, 0.0)
        count = state.count + on_side.astype(jnp.int32)
        is_full, mean = count >= queue_length, total / queue_length
        move = jnp.where(mean >= raise_above, outwards, jnp.where(mean <= lower_below, -outwards, 0.0))
        moved = jnp.clip(state.bounds + jnp.where(is_full, move, 0.0), limits[0][None], limits[1][None])
        low = jnp.minimum(moved[0], state.bounds[1])
        bounds = jnp.stack([low, jnp.maximum(moved[1], low)])
        return ADRState(bounds, jnp.where(is_full, 0.0, total), jnp.where(is_full, 0, count)), None

    def observe(state: ADRState, vectors: Float[Array, "n D"], returns: Float[Array, " n"]) -> ADRState:
        returns = jnp.where(is_present(returns), returns, jnp.nan)
        return jax.lax.scan(note, state, (vectors, returns))[0]

    return Teacher(init, sample, observe, keep_state, portrait=lambda state: one_box(*state.bounds))
