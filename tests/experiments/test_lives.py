"""Many lives at once: held-out tasks are a matter of the seed, and lives do not depend on how they are batched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.registry import make_family
from metarl.experiments.config import AgentConfig
from metarl.experiments.lives import agent_for, held_out, make_lives
from metarl.lifetime.lifetime import make_lifetime
from metarl.objectives.a2c import a2c
from populations.mesh import make_mesh

GRID = make_family("gridworld/debug", lifetime=(2, 50))
FAMILY = make_family("probe/action_observation_reward")
CONFIG = AgentConfig(num_envs=2, unroll_length=5, hidden=())
OBJECTIVE = a2c(FAMILY.env.action_space())
LONGEST, K = 4, 3


def bits(tree):
    leaves = jax.tree.leaves(tree)
    is_key = [jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves]
    return [np.asarray(jax.random.key_data(x) if typed else x) for x, typed in zip(leaves, is_key, strict=True)]


@pytest.fixture(scope="module")
def examinees():
    return held_out(FAMILY, 0, K)


@pytest.fixture(scope="module")
def lives():
    return make_lives(OBJECTIVE, FAMILY, CONFIG, max_lifetime=LONGEST)


@pytest.fixture(scope="module")
def lived(lives, examinees):
    """What came of the lives at each horizon."""
    return {horizon: lives((), examinees, jnp.int32(horizon)) for horizon in (1, 2, LONGEST)}


def test_held_out_tasks_depend_on_the_seed_only():
    first, again, other = (bits(held_out(GRID, seed, 4)) for seed in (0, 0, 1))
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(first, other, strict=True))
    keys = held_out(GRID, 0, 4).key
    assert len({tuple(data) for data in np.asarray(jax.random.key_data(keys)).tolist()}) == 4


def test_more_held_out_tasks_begin_with_the_fewer():
    fewer, more = bits(held_out(GRID, 0, 4)), bits(held_out(GRID, 0, 9))
    for x, y in zip(fewer, more, strict=True):
        np.testing.assert_array_equal(x, y[:4])


def test_a_life_lasts_as_long_as_the_horizon_whatever_its_task_says(lived):
    """The probe's own lifetime is 250 updates."""
    for horizon, result in lived.items():
        assert result.fitness.shape == (K,) and np.isfinite(result.fitness).all()
        for name, values in result.curve.items():
            assert values.shape == (K, LONGEST), name
            assert np.isfinite(values[:, :horizon]).all(), name
            assert np.isnan(values[:, horizon:]).all(), name


def test_a_longer_life_begins_like_a_shorter_one_under_a_rule_without_time(lived):
    for name, values in lived[LONGEST].curve.items():
        np.testing.assert_array_equal(values[:, :2], lived[2].curve[name][:, :2])


def test_each_life_is_the_life_of_its_task_and_key(lived, examinees):
    agent = agent_for(OBJECTIVE, FAMILY, CONFIG)
    life = jax.jit(make_lifetime(FAMILY._replace(max_lifetime=LONGEST), agent, num_envs=CONFIG.num_envs))
    for index in range(K):
        task = jax.tree.map(lambda x, i=index: x[i], examinees.task)._replace(lifetime=jnp.int32(2))
        alone = life((), task, examinees.key[index], jnp.int32(2))
        np.testing.assert_allclose(lived[2].fitness[index], alone.fitness, rtol=1e-5)
        for x, y in zip(jax.tree.leaves(lived[2].params), jax.tree.leaves(alone.agent.params), strict=True):
            np.testing.assert_allclose(x[index], y, rtol=1e-5, atol=1e-6)  # fused differently in a batch


def test_neither_devices_nor_chunks_change_a_life(lived, examinees):
    """Three lives over eight devices: five devices repeat the first, and nobody sees it."""
    spread = make_lives(OBJECTIVE, FAMILY, CONFIG, max_lifetime=LONGEST, chunk=1, mesh=make_mesh(8))
    result = spread((), examinees, jnp.int32(2))
    for x, y in zip(jax.tree.leaves(result), jax.tree.leaves(lived[2]), strict=True):
        assert x.shape == y.shape
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_one_program_serves_all_horizons(lives, lived):
    assert len(lived) == 3 and lives._cache_size() == 1
