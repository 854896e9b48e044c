"""A PPO agent as a student: every episode is in another task of those that the teacher proposed last."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from envs.family import TaskFamily
from envs.rollout import Policy, evaluate
from envs.task_pool import pooled, task_pool
from metarl.experiments.build import build_agent, build_objective
from metarl.experiments.student import Student, Studied
from metarl.experiments.teach_config import PPOStudentConfig
from metarl.experiments.teach_families import task_family
from metarl.lifetime.agent import Agent, AgentState
from metarl.objectives.base import Rollout
from metarl.progress import Progress
from metarl.teachers.base import TaskBox, task_box

TEST_SEED = 4222
"""Of the test tasks and of all randomness in them, the same in every run."""


def ppo_student(config: PPOStudentConfig) -> Student:
    """Returns a PPO agent that studies in a family's tasks.

    An update is one rollout and what is learned from it. Its test tasks are a grid, each with a key of its own that is
    the same in every run; the policy acts without noise there.

    Raises:
        ValueError: if the family is unknown, its tasks cannot be decoded from vectors, or it does not say what its
            returns mean and the configuration does not either.
    """
    family = task_family(config.env)
    box = family_box(config, family)
    quantiles = _to_quantiles(box)
    env = pooled(family)
    any_pool = task_pool(family, jnp.full((1, family.num_dimensions), 0.5, jnp.float32))
    objective = build_objective("ppo", config.agent, family.env.action_space(any_pool.take(jnp.int32(0)).params))
    student_family = family._replace(env=env)
    agent = build_agent(config.agent, student_family, objective, any_pool, keeps=lambda state: state.task.vectors)
    test_family = family if config.test_env is None else task_family(config.test_env)
    test_box = box if config.test_env is None else family_box(config, test_family)
    tests = test_vectors(test_box, config.grid)

    def init(key: Array, vectors: Float[Array, "M D"]) -> AgentState:
        return agent.init(key, task_pool(family, quantiles(vectors)))

    def study(state: AgentState, vectors: Array, progress: Progress, key: Array) -> tuple[AgentState, Studied]:
        key_rollout, key_learn = jax.random.split(key)
        running = state.workers.running_return
        workers, seen = agent.rollout(state, task_pool(family, quantiles(vectors)), key_rollout)
        told, returns = finished_episodes(seen, running, config.max_finished)
        state, _ = agent.learn((), state, workers, seen, progress, key_learn)
        low, size = jnp.asarray(box.low)[None], jnp.asarray(box.size)[None]
        return state, Studied(low + told * size, returns, jnp.int32(agent.steps_per_update))

    return Student(
        box=box,
        num_proposals=config.pool_size,
        finishes_all=False,
        init=init,
        study=study,
        examine=_examiner(test_family, agent, _to_quantiles(test_box)(tests)),
        passes_above=test_box.success_return,
        test_vectors=tests,
    )


def family_box(config: PPOStudentConfig, family: TaskFamily) -> TaskBox:
    """Returns the box that teachers of a family see.

    Raises:
        ValueError: if what returns mean is said neither by the family nor by the configuration.
    """
    if family.num_dimensions < 1:
        raise ValueError(f"{family.name} has one task only; choose a family whose tasks differ")
    returns = config.return_range or family.return_range
    success = config.success_return if config.success_return is not None else family.success_return
    if returns is None or success is None:
        raise ValueError(
            f"{family.name} does not say what its returns mean; give student.return_range and student.success_return"
        )
    if config.physical_units and family.low is not None and family.high is not None:
        return task_box(family.low, family.high, return_range=returns, success_return=success)
    ones = np.ones(family.num_dimensions, np.float32)
    return task_box(0.0 * ones, ones, return_range=returns, success_return=success)


def test_vectors(box: TaskBox, grid: int) -> Float[Array, "G D"]:
    """Returns a grid over boxes of one or two dimensions, bounds included; of more, grid^2 fixed random tasks."""
    if box.num_dimensions > 2:
        return box.uniform(jax.random.key(TEST_SEED), grid**2)
    axes = [np.linspace(low, high, grid, dtype=np.float32) for low, high in zip(box.low, box.high, strict=True)]
    mesh = np.meshgrid(*axes, indexing="ij")
    return jnp.asarray(np.stack([axis.ravel() for axis in mesh], axis=1))


def finished_episodes(
    seen: Rollout, running: Float[Array, " B"], most: int
) -> tuple[Float[Array, "n D"], Float[Array, " n"]]:
    """Returns (task vectors, returns) of at most `most` episodes that ended in a rollout, NaN in rows without one.

    Args:
        seen: a rollout [T, B] that keeps task vectors.
        running: what the episodes had returned when it began.
        most: rows; if more episodes ended, the earliest are told.
    """

    def add(total: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, done = inputs
        total = total + reward
        return jnp.where(done, 0.0, total), total

    _, totals = jax.lax.scan(add, running, (seen.reward, seen.done))
    done = seen.done.reshape(-1)
    first = jnp.argsort(~done, stable=True)[: min(most, done.shape[0])]
    returns = jnp.where(done, totals.reshape(-1), jnp.nan)
    return seen.kept.reshape(done.shape[0], -1)[first], returns[first]


def _to_quantiles(box: TaskBox) -> Any:
    low, size = jnp.asarray(box.low)[None], jnp.asarray(box.size)[None]
    return lambda vectors: jnp.clip((vectors - low) / size, 0.0, 1.0)


def _examiner(family: TaskFamily, agent: Agent, tests: Float[Array, "G D"]) -> Any:
    params = task_pool(family, tests).params
    keys = jax.random.split(jax.random.key(TEST_SEED), tests.shape[0])

    def examine(state: AgentState) -> Float[Array, " G"]:
        acting = agent.policy(state)

        def silent(key: Array, shape: tuple[int, ...]) -> Array:
            return jax.tree.map(jnp.zeros_like, acting.draw_noise(key, shape))

        policy = Policy(silent, acting.act, acting.infer)

        def one(params: Any, key: Array) -> Float[Array, ""]:
            horizon = family.max_episode_steps
            return evaluate(family.env, params, policy, key, num_envs=1, num_steps=horizon)[0]

        return jax.vmap(one)(params, keys)

    return examine
