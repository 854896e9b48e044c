"""A whole RL life as one pure function: born, taught by a rule for its lifetime, examined at the end.

Source: the middle loop of Jackson et al. 2024.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.family import Task, TaskFamily
from envs.rollout import evaluate
from metarl.lifetime.agent import Agent, AgentState
from metarl.progress import Progress


class LifetimeResult(NamedTuple):
    """What came of one life."""

    fitness: Float[Array, ""]
    """Mean undiscounted return of one evaluation episode per worker after the last update, actions sampled."""
    curve: dict[str, Float[Array, " N"]]
    """Per-update statistics over the longest lifetime, NaN after `task.lifetime`; empty unless recorded."""
    agent: AgentState
    """The agent at the end of its life."""


Lifetime = Callable[[Any, Task, Array, Int[Array, ""]], LifetimeResult]


def make_lifetime(family: TaskFamily, agent: Agent, *, num_envs: int, records_curve: bool = False) -> Lifetime:
    """Returns `lifetime(meta_params, task, key, bound) -> LifetimeResult`, pure and jittable.

    The loop runs `min(bound, family.max_lifetime)` times and updates from `task.lifetime` on change nothing, so every
    bound that is at least `task.lifetime` gives the same life. Pass one un-batched bound for a whole `vmap`: a batched
    bound would make every life pay for a reduction per update. Consumes the key.

    Args:
        num_envs: evaluation episodes at the end of the life.
        records_curve: keep the statistics of every update.
    """

    def lifetime(meta_params: Any, task: Task, key: Array, bound: Int[Array, ""]) -> LifetimeResult:
        key_init, key_updates, key_evaluate = jax.random.split(key, 3)

        def update(index: Int[Array, ""], carry: tuple[AgentState, dict]) -> tuple[AgentState, dict]:
            state, curve = carry
            progress, key_update = Progress(index, task.lifetime), jax.random.fold_in(key_updates, index)
            after, info = agent.update(meta_params, state, task.params, progress, key_update)
            is_alive = index < task.lifetime
            state = jax.tree.map(lambda new, old: jnp.where(is_alive, new, old), after, state)
            now = {name: jnp.where(is_alive, info[name], jnp.nan) for name in curve}
            curve = {name: values.at[index].set(now[name]) for name, values in curve.items()}
            return state, curve

        state = agent.init(key_init, task.params)
        curve = _empty_curve(agent, meta_params, state, task, family.max_lifetime) if records_curve else {}
        num_updates = jnp.minimum(bound, family.max_lifetime)
        state, curve = jax.lax.fori_loop(0, num_updates, update, (state, curve))
        returns = evaluate(
            family.env,
            task.params,
            agent.policy(state),
            key_evaluate,
            num_envs=num_envs,
            num_steps=family.max_episode_steps,
        )
        return LifetimeResult(jnp.mean(returns), curve, state)

    return lifetime


def _empty_curve(agent: Agent, meta_params: Any, state: AgentState, task: Task, length: int) -> dict[str, Array]:
    progress = Progress(jnp.int32(0), task.lifetime)
    shapes = jax.eval_shape(agent.update, meta_params, state, task.params, progress, jax.random.key(0))[1]
    return {name: jnp.full((length,), jnp.nan, jnp.float32) for name in shapes}
