import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.incontext.scratch import EncodedEnvironment, episode_returns, ppo_from_scratch

ROOM = make_domain("darkroom@size=3,horizon=20")
ENDING = make_domain("darkroom@size=3,horizon=20,terminates=true")
NUM_TASKS, NUM_EPISODES = 64, 30


@functools.cache
def learned(name):
    """Returns (params, returns [K, E])."""
    domain = make_domain(name)
    key_tasks, key_learn = jax.random.split(jax.random.key(0))
    params = jax.vmap(domain.family.sample)(jax.random.split(key_tasks, NUM_TASKS)).params
    learn = jax.jit(jax.vmap(ppo_from_scratch(domain, num_episodes=NUM_EPISODES)))
    keys = jax.random.split(key_learn, NUM_TASKS)
    return params, np.asarray(learn(params, keys)), np.asarray(learn(params, keys))


@pytest.mark.slow
def test_returns_rise_over_episodes():
    returns = learned(ROOM.name)[1]
    assert returns.shape == (NUM_TASKS, NUM_EPISODES) and returns.dtype == np.float32
    gain = returns[:, -5:].mean(1) - returns[:, :5].mean(1)
    assert gain.mean() > 4 * gain.std() / np.sqrt(NUM_TASKS)
    assert gain.mean() > 5


def test_no_episode_is_better_than_the_shortest_way():
    params, returns, _ = learned(ROOM.name)
    distance = np.asarray(params.goal).sum(-1)
    optimal = np.where(distance == 0, 20, 21 - distance)
    assert (returns <= optimal[:, None]).all()
    assert (returns >= 0).all() and (returns == returns.round()).all()


def test_a_life_is_a_function_of_its_key():
    _, first, again = learned(ROOM.name)
    np.testing.assert_array_equal(first, again)
    assert len({tuple(life) for life in first.tolist()}) > NUM_TASKS / 2


@pytest.mark.slow
def test_an_episode_that_ends_at_the_goal_pays_once():
    returns = learned(ENDING.name)[1]
    assert set(np.unique(returns)) <= {0.0, 1.0}
    assert returns[:, -5:].mean() > returns[:, :5].mean()


def test_rewards_are_summed_by_episode_and_later_episodes_left_out():
    reward = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    done = jnp.array([False, True, True, False, True, False])
    assert episode_returns(reward, done, 2).tolist() == [3.0, 4.0]
    assert episode_returns(reward, done, 4).tolist() == [3.0, 4.0, 24.0, 32.0]
    assert episode_returns(reward, done, 5).tolist() == [3.0, 4.0, 24.0, 32.0, 0.0]


def test_the_network_is_shown_encoded_observations_of_the_same_world():
    env, params = EncodedEnvironment(ROOM), ROOM.env.default_params
    key_reset, key_step = jax.random.split(jax.random.key(0))
    seen, state = env.reset_env(key_reset, params)
    plain, plain_state = ROOM.env.reset_env(key_reset, params)
    np.testing.assert_array_equal(seen, ROOM.encode(plain))
    seen, state, *rest = env.step_env(key_step, state, jnp.int32(2), params)
    plain, plain_state, *plain_rest = ROOM.env.step_env(key_step, plain_state, jnp.int32(2), params)
    np.testing.assert_array_equal(seen, ROOM.encode(plain))
    jax.tree.map(np.testing.assert_array_equal, (state, rest), (plain_state, plain_rest))
    assert seen.shape == env.observation_space().shape and env.action_space().n == env.num_actions == 5


@pytest.mark.parametrize("horizon", [50, 7])
def test_episodes_of_any_length_are_learned_from(horizon):
    domain = make_domain("darkroom@size=3")
    learn = ppo_from_scratch(domain, num_episodes=2, horizon=horizon, num_epochs=1, hidden=(4,))
    params = domain.family.sample(jax.random.key(0)).params
    assert jax.eval_shape(learn, params, jax.random.key(1)).shape == (2,)


def test_what_cannot_be_learned_so_is_refused():
    with pytest.raises(ValueError, match="continuous actions; PPO from scratch is here for discrete ones"):
        ppo_from_scratch(ROOM._replace(is_continuous=True), num_episodes=2)
    with pytest.raises(ValueError, match="num_episodes is 0 and horizon 20; both must be at least 1"):
        ppo_from_scratch(ROOM, num_episodes=0)
    with pytest.raises(ValueError, match="4 minibatches do not divide a rollout of 10 x 1"):
        ppo_from_scratch(ROOM, num_episodes=2, horizon=10, num_minibatches=4)
