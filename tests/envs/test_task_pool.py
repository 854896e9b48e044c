"""Environments whose episodes are in tasks of a pool."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.registry import make_family
from envs.rollout import Policy, reset, unroll
from envs.task_pool import PooledKeyed, PooledUniformNoise, pooled, task_pool

KEYED, UNIFORM = "Pendulum-v1@g=5..15,l=0.5..2", "gridworld/small"


def still(size):
    """A policy that does nothing."""
    return Policy(lambda key, shape: jnp.zeros((*shape, *size), jnp.float32), lambda observation, noise: noise)


def test_each_kind_of_environment_is_pooled_by_its_own_wrapper():
    assert isinstance(pooled(make_family(KEYED)), PooledKeyed)
    assert isinstance(pooled(make_family(UNIFORM)), PooledUniformNoise)


def pendulum(num_envs, vectors, key):
    family = make_family(KEYED)
    env = pooled(family)
    pool = task_pool(family, vectors)
    return env, pool, reset(env, pool, key, num_envs)


def test_episodes_begin_in_all_tasks_of_the_pool(key):
    vectors = jnp.array([[0.0, 0.1], [0.5, 0.2], [1.0, 0.3]], jnp.float32)
    _, pool, workers = pendulum(600, vectors, key)
    found, counts = np.unique(np.asarray(workers.state.task.vectors), axis=0, return_counts=True)
    np.testing.assert_array_equal(found, vectors)
    assert counts.min() > 200 - 4 * np.sqrt(600 * 2 / 9)
    np.testing.assert_array_equal(workers.state.task.params.g, 5.0 + 10.0 * workers.state.task.vectors[:, 0])


def test_an_episode_stays_in_its_task_when_the_pool_changes(key):
    before = jnp.array([[0.1, 0.2]], jnp.float32)
    after = jnp.array([[0.9, 0.8]], jnp.float32)
    env, pool, workers = pendulum(3, before, key)
    later = task_pool(make_family(KEYED), after)
    keeps = lambda state: state.task.vectors  # noqa: E731
    workers, seen = unroll(env, later, still((1,)), workers, key, num_steps=250, keeps=keeps)
    np.testing.assert_array_equal(seen.kept[:200], np.broadcast_to(before, (200, 3, 2)))
    np.testing.assert_array_equal(seen.kept[200:], np.broadcast_to(after, (50, 3, 2)))
    assert bool(jnp.all(seen.truncated[199])) and not bool(jnp.any(seen.truncated[:199]))


def test_dynamics_are_those_of_the_task(key):
    env, pool, workers = pendulum(1, jnp.array([[0.3, 0.7]], jnp.float32), key)
    family = make_family(KEYED)
    params = family.decode(jnp.array([0.3, 0.7], jnp.float32)).params
    state, inner = jax.tree.map(lambda leaf: leaf[0], (workers.state, workers.state.inner))
    action = jnp.ones((1,), jnp.float32)
    pooled_step = env.step_env(key, state, action, pool)
    plain = family.env.step_env(key, inner, action, params)
    np.testing.assert_array_equal(pooled_step[0], plain[0])
    np.testing.assert_array_equal(pooled_step[2], plain[2])


def test_uniform_noise_environments_keep_their_task(key):
    family = make_family(UNIFORM)
    env = pooled(family)
    vectors = jax.random.uniform(key, (4, family.num_dimensions))
    pool = task_pool(family, vectors)
    workers = reset(env, pool, key, 32)
    chosen = np.asarray(workers.state.task.vectors)
    assert {tuple(v) for v in chosen} == {tuple(v) for v in np.asarray(vectors)}
    for i in (0, 7):
        params = family.decode(jnp.asarray(chosen[i])).params
        mine = jax.tree.map(lambda leaf, i=i: leaf[i], workers.state.task.params)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), mine, params)


@pytest.mark.parametrize("name", [KEYED, UNIFORM])
def test_spaces_are_those_within(name):
    family = make_family(name)
    env = pooled(family)
    pool = task_pool(family, jnp.full((2, family.num_dimensions), 0.5, jnp.float32))
    inner = family.env.action_space(pool.take(jnp.int32(0)).params)
    assert type(env.action_space(pool)) is type(inner) and env.action_space(pool).shape == inner.shape
    assert env.num_actions == family.env.num_actions
    assert family.env.name in env.name
