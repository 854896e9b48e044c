from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import BanditParams
from envs.cells import MOVES
from envs.darkroom import DarkRoomParams, goal_cells
from envs.domains import make_domain
from metarl.incontext import deploy as module
from metarl.incontext.agent import (
    InContextAgent,
    Transition,
    belief_agent,
    choose,
    expert_agent,
    posterior_mean_agent,
    posterior_sampling_agent,
    uniform_agent,
)
from metarl.incontext.deploy import (
    FROZEN,
    OFFICIAL,
    STEPWISE,
    Protocol,
    deploy_many,
    make_deploy,
    make_episode,
    make_offline,
    make_offline_episode,
)

BANDIT = make_domain("bandit@quadrature=201")  # a cell is 0.005, and no posterior here is narrower than 0.03
LINEAR = make_domain("linear-bandit@num_angles=720")
ROOM = make_domain("darkroom@prior=all")
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


# When agents may look


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


# Room for memories


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


# Regret, rewards and ends of episodes


@pytest.mark.parametrize("spec", ["bandit", "linear-bandit", "linear-bandit@arms=resampled"])
def test_the_expert_has_no_regret(spec):
    domain = make_domain(spec)
    params = jax.vmap(domain.family.sample)(jax.random.split(KEY, 20)).params
    deploy = lambda params, key: make_deploy(domain, expert_agent(domain, params), horizon=30)(params, key)  # noqa: E731
    found = jax.jit(lambda params, key: deploy_many(deploy, params, key))(params, KEY)
    assert (found.regret == 0).all() and found.regret.shape == (20, 1, 30)
    assert len(np.unique(found.reward)) > 100  # noise is no regret


def test_regret_is_that_of_the_pulled_arm_without_noise():
    means = np.array([0.3, 0.9, 0.5, 0.1, 0.2], np.float32)
    params = BanditParams(means=jnp.asarray(means), noise=jnp.float32(0.3))
    found = jax.jit(make_deploy(BANDIT, uniform_agent(BANDIT), horizon=100))(params, KEY)
    np.testing.assert_allclose(np.unique(found.regret), np.sort(means.max() - means), atol=1e-7)


def goals_to_params(goals, horizon=100):
    count = len(goals)
    moves = jnp.broadcast_to(jnp.arange(5, dtype=jnp.int32), (count, 5))
    return DarkRoomParams(jnp.full((count,), horizon, jnp.int32), jnp.asarray(goals, jnp.int32), moves)


def room_at(goal):
    return jax.tree.map(lambda leaf: leaf[0], goals_to_params([goal]))


def test_horizons_other_than_the_domains_cut_episodes():
    params = room_at((3, 4))
    for horizon in (1, 7, 20, 150):
        deploy = make_deploy(ROOM, expert_agent(ROOM, params), num_episodes=2, horizon=horizon)
        found = jax.jit(deploy)(params, KEY)
        np.testing.assert_array_equal(found.reward, np.tile(np.arange(1, horizon + 1) >= 7, (2, 1)))
        assert (found.regret == 0).all()


@pytest.mark.parametrize("updates", ["step", "episode"])
def test_nothing_counts_after_an_episode_has_terminated(updates):
    domain, params = make_domain("darkroom@terminates=true"), room_at((2, 1))
    agent = expert_agent(domain, params)._replace(
        observe=lambda memory, transition, is_valid: memory + is_valid.astype(jnp.int32)
    )
    play = jax.jit(
        lambda key: make_episode(domain, agent, horizon=9, updates=updates)(jnp.int32(0), params, key, None, (0, 9))
    )
    memory, end, (transitions, is_valid), part = play(KEY)
    assert memory == (3 if updates == "step" else 0)
    assert end.is_over and end.observation.tolist() == [2, 1] and end.state.time == 3
    np.testing.assert_array_equal(is_valid, np.arange(9) < 3)
    np.testing.assert_array_equal(part.reward, np.arange(9) == 2)
    assert transitions.next_observation[2].tolist() == [2, 1]


def test_a_terminated_episode_is_followed_by_a_new_one():
    domain, params = make_domain("darkroom@terminates=true"), room_at((2, 1))
    deploy = make_deploy(domain, expert_agent(domain, params), num_episodes=3, horizon=9)
    np.testing.assert_array_equal(jax.jit(deploy)(params, KEY).reward, np.tile(np.arange(9) == 2, (3, 1)))


def test_a_trace_holds_true_successors():
    agent, params = uniform_agent(ROOM), room_at((1, 1))
    play = make_episode(ROOM, agent, horizon=50)
    _, end, (transitions, is_valid), part = jax.jit(lambda key: play(agent.init(key, 1), params, key, None, (0, 50)))(
        KEY
    )
    expected = np.clip(np.asarray(transitions.observation) + MOVES[np.asarray(transitions.action)], 0, 9)
    np.testing.assert_array_equal(transitions.next_observation, expected)
    np.testing.assert_array_equal(transitions.observation[1:], expected[:-1])
    np.testing.assert_array_equal(transitions.observation[0], [0, 0])
    np.testing.assert_array_equal(end.observation, expected[-1])
    np.testing.assert_array_equal(transitions.reward, np.all(expected == 1, axis=1))
    np.testing.assert_array_equal(part.reward, transitions.reward)
    assert is_valid.all()


def test_pieces_of_an_episode_are_the_episode():
    agent, params = belief_agent(ROOM), room_at((4, 2))
    play = make_episode(ROOM, agent, horizon=20)
    whole = jax.jit(lambda key: play(agent.init(key, 1), params, key, None, (0, 20)))(KEY)

    @jax.jit
    def cut(key):
        memory, start, _, first = play(agent.init(key, 1), params, key, None, (0, 8))
        memory, end, _, second = play(memory, params, key, start, (8, 20))
        return memory, end, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)

    jax.tree.map(np.testing.assert_array_equal, cut(KEY), (whole[0], whole[1], whole[3]))


# Many tasks


def test_tasks_do_not_depend_on_how_many_run_at_once():
    params = jax.vmap(BANDIT.family.sample)(jax.random.split(KEY, 7)).params
    deploy = make_deploy(BANDIT, posterior_sampling_agent(BANDIT), horizon=12)
    all_at_once = jax.jit(lambda params, key: deploy_many(deploy, params, key))(params, KEY)
    in_pieces = jax.jit(lambda params, key: deploy_many(deploy, params, key, batch_size=3))(params, KEY)
    # Other shapes are other programs, whose rewards differ by roundings; an action that differed would show.
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), all_at_once, in_pieces)
    alone = jax.jit(deploy)(jax.tree.map(lambda leaf: leaf[4], params), jax.random.split(KEY, 7)[4])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[4], b, atol=1e-6), all_at_once, alone)


def test_the_key_decides_everything():
    params = BANDIT.family.sample(KEY).params
    deploy = jax.jit(make_deploy(BANDIT, belief_agent(BANDIT), horizon=20))
    np.testing.assert_array_equal(deploy(params, KEY).reward, deploy(params, KEY).reward)
    assert (deploy(params, KEY).reward != deploy(params, jax.random.key(1)).reward).any()


# With the exact posterior for a model: reference values by Monte Carlo


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


# Given data


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


# Refusals


@pytest.mark.parametrize(
    "given", [{"num_episodes": 0}, {"horizon": 0}, {"protocol": Protocol("episode", 0)}, {"capacity": 0}]
)
def test_numbers_below_one_are_refused(given):
    with pytest.raises(ValueError, match="each must be at least 1"):
        make_deploy(BANDIT, uniform_agent(BANDIT), **given)


@pytest.mark.parametrize("lengths", [(3, 1), (1, 1), (-1, 2)])
def test_lengths_that_do_not_ascend_are_refused(lengths):
    with pytest.raises(ValueError, match="they must ascend and be at least 0"):
        make_offline(BANDIT, uniform_agent(BANDIT), lengths=lengths)


def test_suboptimality_is_for_bandits():
    with pytest.raises(ValueError, match="is no bandit; .* make_offline_episode"):
        make_offline(ROOM, uniform_agent(ROOM), lengths=(1,))
