"""What an agent remembers while it acts: which transitions under which protocol, and in how much room."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import BanditParams
from envs.domains import make_domain
from metarl.incontext import deploy as module
from metarl.incontext.agent import (
    InContextAgent,
    Transition,
    belief_agent,
    choose,
)
from metarl.incontext.deploy import FROZEN, OFFICIAL, STEPWISE, Protocol, make_deploy
from metarl.incontext.offline import make_offline, make_offline_episode

BANDIT = make_domain("bandit@quadrature=201")  # a cell is 0.005, and no posterior here is narrower than 0.03
KEY = jax.random.key(0)
# An agent that pulls the arm whose number is how many transitions it remembers, among arms that each cost 1 more than
# the one before: regret shows what was remembered.
NUM_LADDER = 400
LADDER = make_domain(f"bandit@num_arms={NUM_LADDER}")
RUNGS = BanditParams(means=-jnp.arange(NUM_LADDER, dtype=jnp.float32), noise=jnp.float32(0.0))


def counter(**given):
    def observe(memory, transition, is_valid):
        return memory + is_valid.astype(jnp.int32)

    return InContextAgent(lambda key, capacity: jnp.int32(0), lambda memory, *_: memory, observe, **given)


def remembered(agent, **given):
    """Returns how many transitions the agent remembered at every step [E, T]."""
    return np.asarray(jax.jit(make_deploy(LADDER, agent, **given))(RUNGS, KEY).regret)


def test_with_updates_by_step_every_earlier_transition_is_remembered():
    found = remembered(counter(), num_episodes=3, horizon=5)
    np.testing.assert_array_equal(found, np.arange(15).reshape(3, 5))


def test_with_updates_by_episode_the_context_is_frozen_within_it():
    found = remembered(counter(), num_episodes=4, horizon=5, protocol=FROZEN)
    np.testing.assert_array_equal(found, np.repeat([0, 5, 10, 15], 5).reshape(4, 5))


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_the_latest_episodes_alone_are_remembered(kept):
    found = remembered(counter(), num_episodes=5, horizon=4, protocol=Protocol("episode", kept))
    np.testing.assert_array_equal(found[:, 0], 4 * np.minimum(np.arange(5), kept))
    assert (found == found[:, :1]).all()


def test_the_latest_episode_is_the_one_remembered():
    """An agent that remembers the last action it took counts episodes up by one; an older context would lag."""

    def observe(memory, transition, is_valid):
        return choose(transition.action + 1, memory, is_valid)

    agent = counter()._replace(observe=observe)
    found = remembered(agent, num_episodes=4, horizon=3, protocol=OFFICIAL)
    np.testing.assert_array_equal(found, np.repeat(np.arange(4), 3).reshape(4, 3))


@pytest.mark.parametrize("protocol", [STEPWISE, FROZEN, OFFICIAL])
def test_every_episode_is_announced_once(protocol):
    agent = InContextAgent(
        lambda key, capacity: jnp.int32(0),
        lambda memory, *_: memory,
        lambda memory, *_: memory,
        lambda memory, key: memory + 1,
    )
    found = remembered(agent, num_episodes=3, horizon=70, protocol=protocol)
    # With a window the memory is built anew for every episode, so that it has been told of one.
    expected = [1, 1, 1] if protocol == OFFICIAL else [1, 2, 3]
    np.testing.assert_array_equal(found, np.repeat(expected, 70).reshape(3, 70))


def buffered(log):
    """Returns an agent that stores rewards and pulls the arm numbered by how many it still has."""

    def init(key, capacity):
        log.append(capacity)
        return jnp.full((capacity,), jnp.nan), jnp.int32(0)

    def reserve(memory, capacity):
        log.append(capacity)
        extra = max(0, capacity - memory[0].shape[0])
        return jnp.pad(memory[0], (0, extra), constant_values=jnp.nan), memory[1]

    def observe(memory, transition, is_valid):
        rewards, index = memory
        return choose((rewards.at[index].set(transition.reward), index + 1), memory, is_valid)

    def act(memory, observation, key):
        return jnp.sum(jnp.isfinite(memory[0])).astype(jnp.int32)

    return InContextAgent(init, act, observe, reserve=reserve)


@pytest.mark.parametrize(("num_episodes", "horizon"), [(1, 300), (1, 64), (3, 100), (13, 30), (2, 150), (80, 3)])
def test_memories_grow_before_they_are_full(num_episodes, horizon):
    log, total = [], num_episodes * horizon
    found = remembered(buffered(log), num_episodes=num_episodes, horizon=horizon)
    np.testing.assert_array_equal(found.ravel(), np.arange(total))
    assert max(log) == total and log[0] <= module.STAGES[0]


@pytest.mark.parametrize(("num_episodes", "horizon"), [(1, 150), (3, 50)])
def test_stages_do_not_change_what_happens(monkeypatch, num_episodes, horizon):
    def run(stages):
        monkeypatch.setattr(module, "STAGES", stages)
        deploy = make_deploy(BANDIT, belief_agent(BANDIT), num_episodes=num_episodes, horizon=horizon)
        params = BANDIT.family.sample(jax.random.key(1)).params
        return jax.jit(deploy)(params, KEY)

    one, many = run((10_000,)), run((7, 32, 64, 100))
    jax.tree.map(np.testing.assert_array_equal, one, many)
    assert len(np.unique(one.regret)) > 1


def test_a_window_needs_no_more_room_than_it_holds():
    log = []
    remembered(buffered(log), num_episodes=4, horizon=5, protocol=Protocol("episode", 2))
    assert set(log) == {10}
    log = []
    remembered(buffered(log), num_episodes=4, horizon=5, protocol=FROZEN, capacity=12)
    assert set(log) == {12}


def test_a_capacity_bounds_the_room():
    log = []
    found = remembered(buffered(log), horizon=200, capacity=90)
    assert max(log) == 90
    np.testing.assert_array_equal(found[0], np.minimum(np.arange(200), 90))


def test_an_agent_is_asked_after_each_length():
    log = []
    agent = buffered(log)
    zeros = jnp.zeros((30, 1))
    data = Transition(zeros, jnp.zeros((30,), jnp.int32), jnp.ones((30,)), zeros)
    offline = jax.jit(make_offline(LADDER, agent, lengths=(0, 1, 7, 30)))
    np.testing.assert_array_equal(offline(RUNGS, data, KEY), [0, 1, 7, 30])
    assert log == [30]


@pytest.mark.parametrize(("updates", "expected"), [("episode", [7, 7, 7]), ("step", [7, 8, 9])])
def test_an_episode_on_given_data_counts_the_valid_and_grows_by_step_only(updates, expected):
    zeros = jnp.zeros((10, 1))
    data = Transition(zeros, jnp.zeros((10,), jnp.int32), jnp.ones((10,)), zeros)
    mask = jnp.arange(10) % 3 != 1  # seven
    offline = jax.jit(make_offline_episode(LADDER, counter(), horizon=3, updates=updates))
    assert offline(RUNGS, data, mask, KEY) == -sum(expected)
