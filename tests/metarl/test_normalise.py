"""Normalisation: moments are those of everything seen, stand still while acting, and are part of the agent."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from envs.registry import make_family
from metarl.lifetime.agent import make_agent
from metarl.lifetime.normalise import (
    init_moments,
    init_normaliser,
    normalise_observation,
    normalise_rewards,
    see,
    update_moments,
)
from metarl.networks.actor_critic import mlp
from metarl.objectives.base import Rollout
from metarl.objectives.ppo import ppo
from metarl.progress import Progress
from metarl.run.checkpoint import restore, save

FAMILY = make_family("CartPole-v1")
SPACE = FAMILY.env.action_space()
OBJECTIVE = ppo(SPACE)
NETWORK = mlp((4,), OBJECTIVE.heads(SPACE), hidden=(8,))
PROGRESS = Progress(jnp.int32(0), jnp.int32(10))


def agent_with(**options):
    sizes = {"num_envs": 3, "unroll_length": 7}
    return make_agent(FAMILY.env, OBJECTIVE, NETWORK, optax.sgd(0.0), action_space=SPACE, **sizes, **options)


@pytest.fixture(scope="module")
def params():
    return FAMILY.sample(jax.random.key(0)).params


def decide(policy, observation, noise):
    return policy.act(policy.infer(observation), noise)


def make_rollout(reward, done):
    nothing = jnp.zeros(reward.shape)
    return Rollout(nothing, nothing, reward, done, jnp.zeros_like(done), {}, {})


def test_moments_of_batches_are_the_moments_of_all(key):
    batches = [3.0 + 2.0 * jax.random.normal(jax.random.fold_in(key, n), (n, 5)) for n in (4, 50, 1)]
    moments = init_moments((5,))
    for batch in batches:
        moments = update_moments(moments, batch)
    everything = np.concatenate([np.asarray(x, np.float64) for x in batches])
    # The start counts as a ten-thousandth of a sample.
    np.testing.assert_allclose(moments.mean, everything.mean(0), rtol=1e-4)
    np.testing.assert_allclose(moments.variance, everything.var(0), rtol=1e-4)
    np.testing.assert_allclose(moments.count, 55, rtol=1e-4)


def test_observations_become_standard_scores_within_ten(key):
    seen = 5.0 + 3.0 * jax.random.normal(key, (40, 10, 4))
    normaliser = see(init_normaliser(seen[0], 10, observations=True, rewards=False), seen)
    scores = normalise_observation(normaliser, seen)
    np.testing.assert_allclose(scores.mean((0, 1)), 0.0, atol=1e-4)
    np.testing.assert_allclose(scores.std((0, 1)), 1.0, rtol=1e-4)
    assert normalise_observation(normaliser, jnp.full((4,), 1e6)).max() == 10.0


def test_rewards_are_divided_by_the_deviation_of_discounted_returns_across_rollouts(key):
    reward = jax.random.normal(key, (12, 2))
    done = jnp.zeros((12, 2), bool).at[4, 0].set(True)
    normaliser = init_normaliser(jnp.zeros((2, 1)), 2, observations=False, rewards=True)
    for part in (slice(0, 5), slice(5, 12)):
        normaliser, scaled = normalise_rewards(normaliser, make_rollout(reward[part], done[part]), 0.9)
    sums, running = [], np.zeros(2)
    for r, d in zip(np.asarray(reward), np.asarray(done), strict=True):
        running = 0.9 * running + r
        sums.append(running)
        running = np.where(d, 0.0, running)
    np.testing.assert_allclose(normaliser.running, running, rtol=1e-5)
    np.testing.assert_allclose(scaled.reward, reward[5:] / np.std(sums), rtol=1e-3)  # the start counts a little


def test_what_is_not_to_be_normalised_is_left_alone(key):
    seen = jax.random.normal(key, (3, 2, 4))
    normaliser = init_normaliser(seen[0], 2, observations=False, rewards=False)
    assert jax.tree.leaves(normaliser) == [] and see(normaliser, seen) == normaliser
    np.testing.assert_array_equal(normalise_observation(normaliser, seen), seen)
    rollout = make_rollout(jnp.ones((3, 2)), jnp.zeros((3, 2), bool))
    assert normalise_rewards(normaliser, rollout, 0.9)[1] is rollout


def test_an_agent_counts_what_all_its_workers_saw(params, key):
    agent = agent_with(normalises_observation=True, normalises_reward=True)
    state = agent.init(key, params)
    after, info = jax.jit(agent.update)((), state, params, PROGRESS, key)
    _, seen = agent.rollout(state, params, jax.random.split(key)[0])
    samples = seen.observation.reshape(-1, 4)
    np.testing.assert_allclose(after.normaliser.observation.mean, samples.mean(0), atol=1e-3)
    np.testing.assert_allclose(after.normaliser.observation.variance, samples.var(0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(after.normaliser.observation.count, 21, rtol=1e-3)
    assert info["reward"] == 1.0, "statistics are of the world's own rewards"


def test_learning_starts_from_the_policy_that_acted(params, key):
    """No step is taken, so every ratio is 1: the moments that acted are those that learning reads with."""
    agent = agent_with(normalises_observation=True)
    state = agent.init(key, params)
    for index in range(2):
        state, info = jax.jit(agent.update)((), state, params, PROGRESS, jax.random.fold_in(key, index))
        np.testing.assert_allclose(info["policy_kl"], 0.0, atol=1e-6)


def test_the_policy_reads_what_the_moments_make_of_an_observation(params, key):
    agent = agent_with(normalises_observation=True)
    state, _ = jax.jit(agent.update)((), agent.init(key, params), params, PROGRESS, key)
    noise = jax.random.uniform(key, (200,))
    observation = 0.05 * jax.random.normal(key, (200, 4))
    acted = decide(agent.policy(state), observation, noise)
    nothing = init_normaliser(observation, 3, observations=False, rewards=False)
    by_hand = agent_with().policy(state._replace(normaliser=nothing))
    expected = decide(by_hand, normalise_observation(state.normaliser, observation), noise)
    np.testing.assert_array_equal(acted, expected)
    assert np.any(acted != decide(by_hand, observation, noise))


def test_moments_are_part_of_a_checkpoint_and_the_life_goes_on_bit_for_bit(params, key, tmp_path):
    agent = agent_with(normalises_observation=True, normalises_reward=True)
    update = jax.jit(agent.update)
    state, _ = update((), agent.init(key, params), params, PROGRESS, key)
    save(tmp_path / "checkpoints", 1, state, {})
    restored = restore(tmp_path / "checkpoints", jax.eval_shape(lambda: state)).state
    alone, again = (update((), x, params, PROGRESS, jax.random.fold_in(key, 1))[0] for x in (state, restored))
    for x, y in zip(jax.tree.leaves(alone), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(x, y)
    forgetful = restored._replace(normaliser=agent.init(key, params).normaliser)
    other = update((), forgetful, params, PROGRESS, jax.random.fold_in(key, 1))[0]
    assert np.any(other.normaliser.observation.mean != alone.normaliser.observation.mean)


def test_index_observations_have_no_mean(key):
    family = make_family("gridworld/debug")
    network = mlp((1,), OBJECTIVE.heads(SPACE))
    space = family.env.action_space()
    sizes = {"num_envs": 2, "unroll_length": 3}
    agent = make_agent(
        family.env, ppo(space), network, optax.sgd(0.0), action_space=space, normalises_observation=True, **sizes
    )
    with pytest.raises(ValueError, match="have no mean; set normalises_observation to False"):
        agent.init(key, family.sample(key).params)
