"""Unrolls that keep their episodes, what they record, and evaluation of first episodes only."""

from functools import partial

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld import GridWorld
from envs.rollout import Policy, evaluate, reset, unroll

RIGHT, STAY = 3, 4
ENV = GridWorld(max_size=3, num_slots=1, num_types=1)
NUM_ENVS = 3


def corridor(**changes):
    """Three cells, an object worth 1 in the third: two steps to the right end the episode, and five steps cut it."""
    level = ENV.default_params.replace(
        walls=jnp.arange(9) >= 3, cells=jnp.array([2], jnp.int32), max_steps_in_episode=jnp.int32(5)
    )
    return level.replace(**changes)


def draw_noise(key, shape):
    return jax.random.uniform(key, shape)


def always(action):
    return Policy(draw_noise, lambda observation, noise: jnp.full(noise.shape, action, jnp.int32))


RIGHTWARD, RESTING = always(RIGHT), always(STAY)
RANDOM = Policy(draw_noise, lambda observation, noise: jnp.floor(5.0 * noise).astype(jnp.int32))


@partial(jax.jit, static_argnums=(1, 2), static_argnames="keeps_final")
def run(level, policy, num_steps, key, keeps_final=False):
    key_reset, key_unroll = jax.random.split(key)
    workers = reset(ENV, level, key_reset, NUM_ENVS)
    return unroll(ENV, level, policy, workers, key_unroll, num_steps=num_steps, keeps_final=keeps_final)


@partial(jax.jit, static_argnums=1)
def earn(level, num_steps, key):
    return evaluate(ENV, level, RIGHTWARD, key, num_envs=4, num_steps=num_steps)


def test_an_unroll_records_the_transitions_of_every_worker(key):
    workers, trajectory = run(corridor(), RIGHTWARD, 9, key)
    odd_steps = np.arange(9) % 2 == 1
    np.testing.assert_array_equal(trajectory.reward, np.tile(odd_steps[:, None], 3))
    np.testing.assert_array_equal(trajectory.terminated, trajectory.reward == 1.0)
    assert not trajectory.truncated.any()
    np.testing.assert_array_equal(trajectory.observation.index % 9, np.tile(odd_steps[:, None], 3))
    assert (trajectory.action == RIGHT).all() and trajectory.final_observation is None
    assert (workers.state.position == 1).all() and (workers.state.time == 1).all()


def test_episodes_carry_on_from_one_unroll_to_the_next(key):
    level = corridor()
    step = jax.jit(lambda workers, key: unroll(ENV, level, RIGHTWARD, workers, key, num_steps=3))
    workers, pieces = reset(ENV, level, key, NUM_ENVS), []
    for i in range(3):
        workers, trajectory = step(workers, jax.random.fold_in(key, i))
        pieces.append(trajectory)
    pieced = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *pieces)
    _, whole = run(level, RIGHTWARD, 9, key)  # nothing is random here: the keys make no difference
    jax.tree.map(np.testing.assert_array_equal, pieced, whole)
    assert step._cache_size() == 1


def test_returns_are_of_the_running_and_of_the_last_finished_episode(key):
    # Collected in steps 2, 4, 6 and 8, because it comes back and nothing ends here but the cap.
    level = corridor(terminate_probabilities=jnp.zeros((1,)), respawn_probabilities=jnp.ones((1,)))
    uncut, _ = run(level.replace(max_steps_in_episode=jnp.int32(10)), RIGHTWARD, 9, key)
    assert (uncut.running_return == 4.0).all() and (uncut.last_return == 0.0).all()
    cut, trajectory = run(level, RIGHTWARD, 9, key)
    np.testing.assert_array_equal(trajectory.truncated[:, 0], np.arange(9) == 4)
    assert (cut.running_return == 2.0).all() and (cut.last_return == 2.0).all()


def test_a_step_that_ends_the_episode_at_its_cap_is_terminated_and_not_truncated(key):
    level = corridor(max_steps_in_episode=jnp.int32(2))
    odd_steps = np.arange(9) % 2 == 1
    _, ended = run(level, RIGHTWARD, 9, key)
    np.testing.assert_array_equal(ended.terminated[:, 0], odd_steps)
    assert not ended.truncated.any()
    _, cut = run(level, RESTING, 9, key)
    np.testing.assert_array_equal(cut.truncated[:, 0], odd_steps)
    assert not cut.terminated.any()


def test_final_observations_are_the_true_successors(key):
    _, trajectory = run(corridor(), RANDOM, 40, key, keeps_final=True)
    done = trajectory.terminated | trajectory.truncated
    assert trajectory.terminated.any() and trajectory.truncated.any()
    following = jax.tree.map(lambda leaf: leaf[1:], trajectory.observation)
    final = jax.tree.map(lambda leaf: leaf[:-1], trajectory.final_observation)
    inner = np.asarray(~done[:-1])
    np.testing.assert_array_equal(final.index[inner], following.index[inner])
    np.testing.assert_array_equal(final.time[inner], following.time[inner])
    assert (following.time[~inner] == 0.0).all() and (following.index[~inner] == 9).all()
    assert (trajectory.final_observation.index[np.asarray(trajectory.terminated)] == 2).all()
    assert (trajectory.final_observation.time[np.asarray(trajectory.truncated)] == jnp.float32(0.001) * 5.0).all()


def test_an_unroll_does_what_gymnax_steps_do(key):
    level = corridor()  # collecting ends the episode for sure and nothing comes back: no step is random
    _, trajectory = run(level, RANDOM, 40, key, keeps_final=True)
    observation, state = ENV.reset(key, level)
    for t in range(40):
        expected = jax.tree.map(lambda leaf, t=t: leaf[t, 0], trajectory)
        jax.tree.map(np.testing.assert_array_equal, observation, expected.observation)
        observation, state, reward, terminated, truncated, info = ENV.step(key, state, expected.action, level)
        assert (reward, terminated, truncated & ~terminated) == (
            expected.reward,
            expected.terminated,
            expected.truncated,
        )
        jax.tree.map(np.testing.assert_array_equal, info["final_observation"], expected.final_observation)
    assert trajectory.terminated[:, 0].any() and trajectory.truncated[:, 0].any()


def test_evaluation_counts_the_first_episode_only(key):
    level = corridor()
    assert (earn(level, 20, key) == 1.0).all()
    endless = corridor(
        terminate_probabilities=jnp.zeros((1,)),
        respawn_probabilities=jnp.ones((1,)),
        max_steps_in_episode=jnp.int32(6),
    )
    assert (earn(endless, 20, key) == 3.0).all()


def test_an_unfinished_episode_counts_what_it_has_collected(key):
    endless = corridor(
        terminate_probabilities=jnp.zeros((1,)),
        respawn_probabilities=jnp.ones((1,)),
        max_steps_in_episode=jnp.int32(100),
    )
    assert (earn(endless, 20, key) == 10.0).all()


def test_the_same_key_gives_the_same_unroll_and_another_does_not(key):
    once, again, other = (run(corridor(), RANDOM, 40, k, keeps_final=True) for k in (key, key, jax.random.key(1)))
    jax.tree.map(np.testing.assert_array_equal, once, again)
    assert (once[1].action != other[1].action).any()


def test_workers_differ_from_each_other(key):
    _, trajectory = run(corridor(), RANDOM, 40, key, keeps_final=True)
    assert (trajectory.action[:, 0] != trajectory.action[:, 1]).any()


@pytest.mark.parametrize("name", ["CartPole-v1", "Catch-bsuite"])
def test_environments_that_take_keys_are_unrolled_and_evaluated(name, key):
    env, params = gymnax.make(name)
    if name == "CartPole-v1":
        params = params.replace(max_steps_in_episode=5)  # the pole takes longer to fall
    policy = Policy(draw_noise, lambda observation, noise: jnp.floor(env.num_actions * noise).astype(jnp.int32))

    @jax.jit
    def play(workers, key):
        return unroll(env, params, policy, workers, key, num_steps=10, keeps_final=True)

    workers = jax.jit(lambda key: reset(env, params, key, 4))(key)
    workers, trajectory = play(workers, key)
    workers, _ = play(workers, key)
    assert play._cache_size() == 1  # no weak type comes out that did not go in
    assert trajectory.reward.dtype == jnp.float32 and trajectory.terminated.dtype == bool
    returns = jax.jit(lambda key: evaluate(env, params, policy, key, num_envs=4, num_steps=12))(key)
    if name == "CartPole-v1":
        np.testing.assert_array_equal(trajectory.truncated, (np.arange(10) % 5 == 4)[:, None].repeat(4, 1))
        assert not trajectory.terminated.any()
        assert (workers.last_return == 5.0).all() and (returns == 5.0).all()
        assert (trajectory.final_observation[4] != trajectory.observation[5]).any()
    else:
        assert set(np.unique(returns)) <= {-1.0, 1.0}
