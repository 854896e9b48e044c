"""`deploy` with the exact posterior as the agent, against the reference tables of bandits and the Dark Room."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.cells import MOVES
from envs.darkroom import DarkRoomParams, goal_cells
from envs.domains import make_domain
from metarl.incontext.agent import (
    Transition,
    belief_agent,
    posterior_mean_agent,
    posterior_sampling_agent,
)
from metarl.incontext.deploy import FROZEN, OFFICIAL, STEPWISE, deploy_many, make_deploy
from metarl.incontext.offline import make_offline_episode

BANDIT = make_domain("bandit@quadrature=201")  # a cell is 0.005, and no posterior here is narrower than 0.03
LINEAR = make_domain("linear-bandit@num_angles=720")
ROOM = make_domain("darkroom@prior=all")
KEY = jax.random.key(0)


def goals_to_params(goals, horizon=100):
    count = len(goals)
    moves = jnp.broadcast_to(jnp.arange(5, dtype=jnp.int32), (count, 5))
    return DarkRoomParams(jnp.full((count,), horizon, jnp.int32), jnp.asarray(goals, jnp.int32), moves)


def assert_means(samples, expected, num_reference, rounding):
    """Sample means [K, n] are within four standard errors, of both sides, of the references."""
    for sample, value in zip(np.asarray(samples, np.float64).T, expected, strict=True):
        error = sample.std() * np.sqrt(1 / len(sample) + 1 / num_reference)
        assert abs(sample.mean() - value) < 4 * error + rounding


@cache
def regret(domain, make, horizon, num_tasks):
    deploy = make_deploy(domain, make(domain), horizon=horizon)

    @jax.jit
    def run(key):
        key_tasks, key_run = jax.random.split(key)
        params = jax.vmap(domain.family.sample)(jax.random.split(key_tasks, num_tasks)).params
        return deploy_many(deploy, params, key_run).regret

    return np.cumsum(np.asarray(run(KEY)[:, 0], np.float64), axis=1)


GREEDY = partial(belief_agent, greedy=True)
BANDIT_REFERENCES = {  # after 10, 50, 100, 200 and 500 pulls
    "posterior sampling": (posterior_sampling_agent, (2.21, 4.78, 6.11, 7.63, 9.90)),
    "sampled": (belief_agent, (2.21, 4.78, 6.11, 7.63, 9.90)),
    "argmax": (GREEDY, (1.56, 3.42, 5.35, 9.03, 19.7)),
    "posterior mean": (posterior_mean_agent, (1.55, 4.20, 7.21, 13.10, 30.6)),
}


@pytest.mark.parametrize("name", BANDIT_REFERENCES)
def test_regret_of_the_exact_posterior_in_the_bandit_is_the_reference(name):
    make, expected = BANDIT_REFERENCES[name]
    found = regret(BANDIT, make, 100, 2000)
    assert_means(found[:, [9, 49, 99]], expected[:3], 2000, 0.005)


@pytest.mark.slow
@pytest.mark.parametrize("name", BANDIT_REFERENCES)
def test_regret_of_the_exact_posterior_in_the_long_bandit_is_the_reference(name):
    make, expected = BANDIT_REFERENCES[name]
    found = regret(make_domain("bandit@quadrature=401"), make, 500, 2000)
    assert_means(found[:, [9, 49, 99, 199, 499]], expected, 2000, 0.05)  # the last is given to one decimal


@pytest.mark.slow
def test_greed_pays_at_100_pulls_and_costs_at_500():
    domain = make_domain("bandit@quadrature=401")
    greedy, sampled = (regret(domain, make, 500, 2000) for make in (GREEDY, posterior_sampling_agent))
    for pulls, sign in ((50, 1), (500, -1)):
        difference = sign * (sampled - greedy)[:, pulls - 1]
        assert difference.mean() > 4 * difference.std() / np.sqrt(2000)


@pytest.mark.parametrize(("make", "horizon"), [(posterior_sampling_agent, 200), (belief_agent, 50)])
def test_regret_of_the_exact_posterior_in_the_linear_bandit_is_the_reference(make, horizon):
    expected = {10: 2.17, 50: 2.96, 100: 3.42, 200: 3.97}
    marks = [mark for mark in expected if mark <= horizon]
    found = regret(LINEAR, make, horizon, 2000)[:, np.array(marks) - 1]
    assert_means(found, [expected[mark] for mark in marks], 4000, 0.005)


def held_out_rooms(count):
    """Returns rooms in which each of the twenty test goals is used equally often."""
    return goals_to_params(np.resize(goal_cells(10)[1], (count, 2)))


EPISODES = (1, 2, 3, 5, 10, 20, 40)
ROOM_REFERENCES = {  # (agent, protocol, returns in these episodes, mean of the forty)
    "previous episode": (belief_agent, OFFICIAL, (0.7, 20.1, 36.7, 52.1, 65.4, 72.9, 77.4), 66.9),
    "all episodes": (belief_agent, FROZEN, (0.7, 20.2, 36.3, 57.3, 77.9, 89.9, 90.9), 79.9),
    "every step": (belief_agent, STEPWISE, (13.0, 34.2, 48.0, 64.0, 81.9, 90.5, 90.9), 82.4),
    "one goal an episode": (posterior_sampling_agent, FROZEN, (1.0, 6.7, 11.8, 21.3, 42.9, 75.3, 90.9), 64.9),
}


def assert_room(name, num_tasks):
    make, protocol, expected, mean = ROOM_REFERENCES[name]
    deploy = make_deploy(ROOM, make(ROOM), num_episodes=40, protocol=protocol)
    run = jax.jit(lambda params, key: deploy_many(deploy, params, key, batch_size=500).reward.sum(axis=2))
    found = np.asarray(run(held_out_rooms(num_tasks), KEY))
    index = np.array(EPISODES) - 1
    assert_means(found[:, index], expected, 4000, 0.05)
    assert_means(found.mean(axis=1)[:, None], (mean,), 4000, 0.05)


@pytest.mark.parametrize("name", ["previous episode", "one goal an episode"])
def test_returns_of_the_exact_posterior_in_held_out_rooms_are_the_reference(name):
    assert_room(name, 400)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROOM_REFERENCES)
def test_returns_of_the_exact_posterior_in_many_held_out_rooms_are_the_reference(name):
    assert_room(name, 4000)


def uniform_data(goals, length, seed):
    """Returns independent transitions [K, H] from uniform cells by uniform actions."""
    generator, shape = np.random.default_rng(seed), (len(goals), length)
    cells, actions = generator.integers(10, size=(*shape, 2)), generator.integers(5, size=shape)
    after = np.clip(cells + MOVES[actions], 0, 9)
    rewards = np.all(after == goals[:, None], axis=2)
    return Transition(*(leaf.astype(t) for leaf, t in zip((cells, actions, rewards, after), "iifi", strict=True)))


ROOM_OFFLINE = {  # returns after 0, 50 and 100 transitions
    "sampled, frozen": (belief_agent, "episode", (0.7, 36.0, 58.5)),
    "greedy, frozen": (GREEDY, "episode", (0.0, 35.5, 58.2)),
    "sampled, by step": (belief_agent, "step", (13.2, 43.9, 64.3)),
}


@pytest.mark.parametrize("name", ROOM_OFFLINE)
def test_returns_on_given_data_are_the_reference(name):
    make, updates, expected = ROOM_OFFLINE[name]
    params = held_out_rooms(2000)
    data = uniform_data(np.asarray(params.goal), 100, seed=0)
    offline = make_offline_episode(ROOM, make(ROOM), updates=updates)
    keys = jax.random.split(KEY, 2000)
    run = jax.jit(jax.vmap(offline, (0, 0, None, 0)))
    found = [run(params, data, jnp.arange(100) < length, keys) for length in (0, 50, 100)]
    assert_means(np.stack(found, axis=1), expected, 4000, 0.05)


@pytest.mark.parametrize("make", [belief_agent, posterior_sampling_agent])
def test_data_of_the_expert_reveal_the_goal(make):
    params = held_out_rooms(20)
    rewarded = np.asarray(params.goal)[:, None]
    data = Transition(rewarded, np.full((20, 1), 4, np.int32), np.ones((20, 1), np.float32), rewarded)
    offline = make_offline_episode(ROOM, make(ROOM))
    run = jax.jit(jax.vmap(offline, (0, 0, None, 0)))
    found = run(params, data, jnp.ones((1,), bool), jax.random.split(KEY, 20))
    np.testing.assert_array_equal(found, 101 - np.asarray(params.goal).sum(axis=1))
