"""An environment whose every episode is in another task: one of a pool, drawn at its beginning."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnax.environments import environment
from jaxtyping import Array, Float

from envs.family import TaskFamily
from envs.uniform_noise import UniformNoiseEnvironment


class TaskPool(NamedTuple):
    """M tasks that episodes can begin in; the params of a pooled environment."""

    params: Any
    """EnvParams of the tasks, with a leading axis M."""
    vectors: Float[Array, "M D"]
    """The task vectors that they were decoded from."""

    def take(self, index: Array) -> "TaskPool":
        """Returns one task of the pool, without a leading axis."""
        return jax.tree.map(lambda leaf: leaf[index], self)


class PooledState(NamedTuple):
    """A state of the environment within, and the task it is in: pools may change while an episode lasts."""

    inner: Any
    task: TaskPool
    """One task, without a leading axis."""


class _Pooled:
    """What both kinds of pooled environments share."""

    def __init__(self, env: Any):
        super().__init__()
        self.env = env

    @property
    def name(self) -> str:
        """That of the environment within."""
        return f"pooled {self.env.name}"

    @property
    def num_actions(self) -> int:
        """That of the environment within."""
        return self.env.num_actions

    def action_space(self, params: Any = None) -> Any:
        """That of the environment within."""
        return self.env.action_space(_first(params))

    def observation_space(self, params: Any = None) -> Any:
        """That of the environment within."""
        return self.env.observation_space(_first(params))

    def is_truncated(self, state: PooledState, params: TaskPool) -> Array:
        """Whether the environment within is over its time limit, in the task of the episode."""
        return self.env.is_truncated(state.inner, state.task.params)


class PooledUniformNoise(_Pooled, UniformNoiseEnvironment):
    """Episodes in tasks of a pool, of an environment that is a function of uniform noise."""

    def __init__(self, env: UniformNoiseEnvironment):
        """Wraps the environment."""
        super().__init__(env)
        self.num_reset_uniforms = env.num_reset_uniforms + 1
        self.num_step_uniforms = env.num_step_uniforms

    def reset_from(self, uniforms: Float[Array, " n"], params: TaskPool) -> tuple[Any, PooledState]:
        """Returns `(observation, state)` in a task of the pool; the first number chooses it."""
        task = params.take(_index(uniforms[0], params))
        observation, inner = self.env.reset_from(uniforms[1:], task.params)
        return observation, PooledState(inner, task)

    def transition(self, uniforms: Float[Array, " n"], state: PooledState, action: Array, params: TaskPool) -> tuple:
        """Returns what happens in the task of the episode."""
        observation, inner, reward, terminated, info = self.env.transition(
            uniforms, state.inner, action, state.task.params
        )
        return observation, PooledState(inner, state.task), reward, terminated, info


class PooledKeyed(_Pooled, environment.Environment):
    """Episodes in tasks of a pool, of any gymnax environment."""

    def reset_env(self, key: Array, params: TaskPool) -> tuple[Any, PooledState]:
        """Returns `(observation, state)` in a task of the pool; consumes the key."""
        key_task, key_reset = jax.random.split(key)
        task = params.take(_index(jax.random.uniform(key_task), params))
        observation, inner = self.env.reset_env(key_reset, task.params)
        return observation, PooledState(inner, task)

    def step_env(self, key: Array, state: PooledState, action: Array, params: TaskPool) -> tuple:
        """Returns what happens in the task of the episode; consumes the key."""
        observation, inner, reward, terminated, info = self.env.step_env(key, state.inner, action, state.task.params)
        return observation, PooledState(inner, state.task), reward, terminated, info


def pooled(family: TaskFamily) -> Any:
    """Returns the family's environment with episodes in tasks of a `TaskPool`, which stands where its params would.

    Made once for a family: gymnax hashes environments by identity.
    """
    is_uniform = isinstance(family.env, UniformNoiseEnvironment)
    return PooledUniformNoise(family.env) if is_uniform else PooledKeyed(family.env)


def task_pool(family: TaskFamily, vectors: Float[Array, "M D"]) -> TaskPool:
    """Returns the pool of the tasks that these quantiles decode to."""
    return TaskPool(jax.vmap(family.decode)(vectors).params, vectors)


def _index(uniform: Float[Array, ""], pool: TaskPool) -> Array:
    num = pool.vectors.shape[0]
    return jnp.minimum((uniform * num).astype(jnp.int32), num - 1)


def _first(pool: TaskPool | None) -> Any:
    return None if pool is None else pool.take(jnp.int32(0)).params
