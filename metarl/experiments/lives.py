"""Many lives at once under one rule: the program behind every evaluation and every figure of a life."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.family import Task, TaskFamily
from metarl.experiments.build import build_agent
from metarl.experiments.config import AgentConfig
from metarl.lifetime.agent import Agent
from metarl.lifetime.lifetime import make_lifetime
from metarl.objectives.base import Objective
from populations.mesh import map_over_devices, num_shards

HELD_OUT = 0x4E1D
"""Folded into the key of held-out tasks, so that no seed of a discovery run can draw its training tasks from the same
stream."""


class Arm(NamedTuple):
    """A rule under evaluation."""

    name: str
    """What tables call it."""
    objective: Objective
    """The rule."""
    meta_params: Any
    """Its parameters; `()` for closed forms."""


class Examinees(NamedTuple):
    """Held-out tasks and the randomness of the lives on them, leading axis K; equal for all arms, which are paired."""

    task: Task
    """K tasks; their own lifetimes are ignored."""
    key: Array
    """K life keys."""


class Lives(NamedTuple):
    """What came of K lives."""

    fitness: Float[Array, " K"]
    """Mean return of the examination at the end of each life."""
    curve: dict[str, Float[Array, "K N"]]
    """Statistics of every update; NaN after the end of a life."""
    params: Any
    """The agents' network parameters at the end."""


def held_out(family: TaskFamily, seed: int, num_tasks: int) -> Examinees:
    """Returns K tasks and life keys that depend on the seed and the family's law only."""
    key_tasks, key_lives = jax.random.split(jax.random.fold_in(jax.random.key(seed), HELD_OUT))
    indices = jnp.arange(num_tasks, dtype=jnp.uint32)
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    sample = jax.jit(jax.vmap(family.sample))
    return Examinees(sample(fold(key_tasks, indices)), fold(key_lives, indices))


def make_lives(
    objective: Objective,
    family: TaskFamily,
    config: AgentConfig,
    *,
    max_lifetime: int,
    chunk: int = 32,
    mesh: Any = None,
) -> Callable[[Any, Examinees, Int[Array, ""]], Lives]:
    """Returns `lives(meta_params, examinees, horizon) -> Lives`, compiled once for all horizons up to `max_lifetime`.

    Every life lasts `horizon` updates, whatever its task says. Lives run in chunks of at most `chunk` on each device.
    """
    agent = agent_for(objective, family, config)
    family = family._replace(max_lifetime=max_lifetime)
    lifetime = make_lifetime(family, agent, num_envs=config.num_envs, records_curve=True)

    def live_share(examinees: Examinees, shared: tuple[Any, Array]) -> Lives:
        meta_params, horizon = shared

        def live(examinee: Examinees) -> Lives:
            result = lifetime(meta_params, examinee.task._replace(lifetime=horizon), examinee.key, horizon)
            return Lives(result.fitness, result.curve, result.agent.params)

        return jax.lax.map(live, examinees, batch_size=chunk)

    share = map_over_devices(live_share, mesh)

    @jax.jit
    def lives(meta_params: Any, examinees: Examinees, horizon: Int[Array, ""]) -> Lives:
        num_lives = examinees.key.shape[0]
        result = share(_pad(examinees, num_shards(mesh)), (meta_params, horizon))
        return jax.tree.map(lambda x: x[:num_lives], result)

    return lives


def agent_for(objective: Objective, family: TaskFamily, config: AgentConfig) -> Agent:
    """Returns the agent that follows this objective on this family."""
    return build_agent(config, family, objective, family.env.default_params)


def _pad(examinees: Examinees, multiple: int) -> Examinees:
    """Repeats the first examinee until the number divides over the devices."""
    missing = -examinees.key.shape[0] % multiple
    return jax.tree.map(partial(_repeat_first, missing), examinees) if missing else examinees


def _repeat_first(missing: int, leaf: Array) -> Array:
    return jnp.concatenate([leaf, jnp.broadcast_to(leaf[:1], (missing, *leaf.shape[1:]))])
