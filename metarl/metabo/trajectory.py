"""One optimiser on one pool from given initial points, and many such pairs at once."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import regret
from metarl.metabo.optimiser import Optimiser


class Trajectory(NamedTuple):
    """What was evaluated after the initial points."""

    indices: Int[Array, " T"]
    """Candidates, in order."""
    best: Float[Array, " T+1"]
    """Best value so far, from the initial points alone onwards; minus infinity without any."""


def run_trajectory(
    optimiser: Optimiser, env: BlackBox, params: Any, initial: Int[Array, " I"], key: Array
) -> Trajectory:
    """Returns the trajectory of `env.max_horizon` = T choices, whatever the task's own horizon; consumes the key.

    The optimiser is given the params without the objective.
    """
    hidden = params.replace(y=None, y_best=None, y_worst=None)
    no_noise = jnp.zeros((env.num_step_uniforms,), jnp.float32)

    def step(carry, key_step):
        memory, observation, state = carry
        memory, index = optimiser.choose(key_step, memory, observation, hidden)
        observation, state, *_ = env.transition(no_noise, state, index, params)
        return (memory, observation, state), (index, state.best)

    observation, state = env.reset_at(initial, params)
    start = (optimiser.init(hidden), observation, state)
    _, (indices, best) = jax.lax.scan(step, start, jax.random.split(key, env.max_horizon))
    return Trajectory(indices, jnp.concatenate([state.best[None], best]))


@partial(jax.jit, static_argnames=("optimiser", "env", "batch_size"))
def run_trajectories(
    optimiser: Optimiser, env: BlackBox, params: Any, initial: Int[Array, "K I"], key: Array, *, batch_size: int = 8
) -> Trajectory:
    """Returns K trajectories with a leading axis; consumes the key, of which row k uses `fold_in(key, k)`.

    Args:
        optimiser: the same for all; static, so keep one rather than make it anew for every call.
        env: static too.
        params: tasks with a leading axis K, of one padded size.
        initial: candidates evaluated at the start.
        key: typed key.
        batch_size: rows that are worked on at once, >= 1; bounds memory and changes no result but by rounding.
    """
    num_rows = initial.shape[0]
    batch_size = min(batch_size, num_rows)
    # Rows are filled up to whole batches, because a smaller last batch would be compiled on its own.
    rows = jnp.minimum(jnp.arange(-(-num_rows // batch_size) * batch_size), num_rows - 1)

    def run(row):
        task = jax.tree.map(lambda leaf: leaf[row], params)
        return run_trajectory(optimiser, env, task, initial[row], jax.random.fold_in(key, row))

    trajectories = jax.lax.map(run, rows, batch_size=batch_size)
    return jax.tree.map(lambda leaf: leaf[:num_rows], trajectories)


def run_many(
    optimiser: Optimiser, env: BlackBox, params: Any, initial: Int[Array, "K I"], key: Array, *, batch_size: int = 8
) -> Float[Array, "K S"]:
    """Returns the regret of the best value so far after 0 to T = S - 1 choices; see `run_trajectories`.

    Raises:
        ValueError: unless there are as many tasks as rows of initial points, and a batch holds at least one.
    """
    num_tasks, num_rows = params.y.shape[0], initial.shape[0]
    if params.y.ndim != 2 or num_tasks != num_rows or num_rows < 1 or batch_size < 1:
        raise ValueError(
            f"objectives of shape {params.y.shape} and initial points of shape {initial.shape} were given in batches "
            f"of {batch_size}; give [K, N] and [K, I] with K >= 1, and batches of at least 1"
        )
    best = run_trajectories(optimiser, env, params, initial, key, batch_size=batch_size).best
    return jax.vmap(regret)(best, params)
