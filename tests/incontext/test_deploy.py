"""Deployment: what is paid and counted, over which episodes and tasks, whatever runs beside it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import BanditParams
from envs.cells import MOVES
from envs.darkroom import DarkRoomParams
from envs.domains import make_domain
from metarl.incontext.agent import (
    belief_agent,
    expert_agent,
    posterior_sampling_agent,
    uniform_agent,
)
from metarl.incontext.deploy import Protocol, deploy_many, make_deploy, make_episode
from metarl.incontext.offline import make_offline

BANDIT = make_domain("bandit@quadrature=201")  # a cell is 0.005, and no posterior here is narrower than 0.03
ROOM = make_domain("darkroom@prior=all")
KEY = jax.random.key(0)


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
