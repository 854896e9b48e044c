"""Where the tasks of a population come from: the law of a family, or a teacher that sees how lives in them ended."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from envs.family import Task, TaskFamily
from metarl.teachers.base import TaskBox, take_in, unit_box
from metarl.teachers.teachers import make_teacher

NUM_SURVEYED = 256
"""Tasks by which the range of regrets is told."""
TYPICAL = 0.95
"""Share of them whose best return lies within it."""
MASTERY = 0.1
"""A task is mastered when less than this share of the range is missing to its best return."""


class Proposed(NamedTuple):
    """A task, and what it was decoded from."""

    task: Task
    vector: Float[Array, " D"]
    """As the teacher proposed it; empty where there is none."""


class Curriculum(NamedTuple):
    """A source of tasks. Its state is fixed-size, and `()` where there is no teacher."""

    init: Callable[[Array], Any]
    """`init(key) -> state`."""
    sample: Callable[[Any, Array], Proposed]
    """`sample(state, key) -> one task`; consumes the key."""
    tell: Callable[[Array, Any, Proposed, Float[Array, " T"], Int[Array, ""]], tuple[Any, dict[str, Array]]]
    """`tell(key, state, tasks, returns, count) -> (state, metrics)`: takes in what lives in T tasks ended with; `count`
    tasks were told before. Not to be batched by `vmap`."""


def drawn(family: TaskFamily) -> Curriculum:
    """Returns the law of a family, which nothing is told to."""
    nothing = jnp.zeros((0,), jnp.float32)
    return Curriculum(
        init=lambda key: (),
        sample=lambda state, key: Proposed(family.sample(key), nothing),
        tell=lambda key, state, proposed, returns, count: (state, {}),
    )


def taught(
    spec: str, worlds: TaskFamily, family: TaskFamily, *, return_range: tuple[float, float] | None = None
) -> Curriculum:
    """Returns the curriculum of a teacher over the worlds of a family.

    Where the best possible return of a task is known, the teacher is told the regret, as a negative number: the return
    minus the best. Otherwise it is told the return itself. Lifetimes keep their law: how long a life lasts is nothing
    to learn from.

    Source: regret as the score of levels is Jackson et al. 2023 (GROOVE), who estimate it by an A2C agent.

    Args:
        spec: a teacher, as in `make_teacher`.
        worlds: the family without its law of lifetimes.
        family: the same with it, which may have a leading dimension for them.
        return_range: what counts as rewards 0 and 1 in what the teacher is told; None: the family's, or a range of
            regrets that holds those of 95 % of its tasks.

    Raises:
        ValueError: if the family has one task only, the range is unknown, or the teacher is.
    """
    if worlds.num_dimensions < 1:
        raise ValueError(f"{worlds.name} has one task only, so there is nothing to teach; choose another family")
    box = _box_of(worlds, return_range)
    teacher = make_teacher(spec, box)
    optimal_return = worlds.optimal_return
    num_free = family.num_dimensions - worlds.num_dimensions

    def sample(state: Any, key: Array) -> Proposed:
        key_world, key_rest = jax.random.split(key)
        vector = teacher.sample(key_world, state, 1)[0]
        rest = jax.random.uniform(key_rest, (num_free,))
        return Proposed(family.decode(jnp.concatenate([rest, vector])), vector)

    def tell(
        key: Array, state: Any, proposed: Proposed, returns: Float[Array, " T"], count: Int[Array, ""]
    ) -> tuple[Any, dict[str, Array]]:
        metrics = {}
        if optimal_return is not None:
            returns = returns - jax.vmap(optimal_return)(proposed.task.params)
            metrics["regret"] = -jnp.mean(returns, where=jnp.isfinite(returns))
        return take_in(teacher, key, state, proposed.vector, returns, count), metrics

    return Curriculum(teacher.init, sample, tell)


def _box_of(worlds: TaskFamily, return_range: tuple[float, float] | None) -> TaskBox:
    optimal_return = worlds.optimal_return
    if optimal_return is None:
        told = return_range or worlds.return_range
        if told is None:
            raise ValueError(f"{worlds.name} does not say what its returns mean; give teacher_return_range")
        return unit_box(worlds.num_dimensions, return_range=told, success_return=worlds.success_return)
    if return_range is None:
        keys = jax.random.split(jax.random.key(0), NUM_SURVEYED)
        best = jax.jit(jax.vmap(lambda key: optimal_return(worlds.sample(key).params)))(keys)
        return_range = (-float(np.quantile(np.asarray(best), TYPICAL)), 0.0)
    low, high = return_range
    return unit_box(worlds.num_dimensions, return_range=return_range, success_return=high - MASTERY * (high - low))
