import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from envs.domains import make_domain
from metarl.incontext.agent import Transition
from metarl.incontext.deploy import make_deploy
from metarl.incontext.rl2 import RL2State, reward_scale, rl2

ROOM = make_domain("darkroom@size=3,horizon=5")
SMALL = {"hidden_size": 8, "num_tasks": 4, "episodes_per_trial": 3, "num_epochs": 1, "num_minibatches": 1}


@functools.cache
def learner(**options):
    return rl2(ROOM, **{**SMALL, **options})


@functools.cache
def initial():
    return learner().init(jax.random.key(0))


@functools.cache
def frozen_update(num_minibatches=1):
    """Returns `key -> metrics` of updates that leave the parameters as they are."""
    freeze = optax.set_to_zero()
    made = rl2(ROOM, **{**SMALL, "num_minibatches": num_minibatches}, optimiser=freeze)
    state = RL2State(initial().params, freeze.init(initial().params))
    return jax.jit(lambda key: made.update(state, key)[1])


@functools.cache
def updated(seed):
    """Returns (state, metrics) after an update of Adam in eight steps."""
    made = learner(num_minibatches=4, num_epochs=2)
    return _jitted(made.update)(initial(), jax.random.key(seed))


_jitted = functools.cache(jax.jit)


def step_to(x, y, action, reward=0.0):
    at = jnp.array([0, 0], jnp.int32)
    return Transition(at, jnp.int32(action), jnp.float32(reward), jnp.array([x, y], jnp.int32))


def test_hidden_states_of_acting_are_those_that_learning_goes_through():
    # With the acting parameters every ratio is 1, so that the estimate of the divergence vanishes; hidden states that
    # differ, or an episode's flag that is set in one of the two only, would show.
    assert abs(float(frozen_update()(jax.random.key(1))["policy_kl"])) < 1e-10  # squares of rounding errors of 1e-7
    assert float(updated(1)[1]["policy_kl"]) > 1e-7


def test_a_frozen_learner_gets_what_it_got_in_training():
    trials = [frozen_update()(key) for key in jax.random.split(jax.random.key(3), 128)]  # of four tasks
    deploy = make_deploy(ROOM, learner().agent(initial().params, ROOM), num_episodes=3)
    keys = jax.random.split(jax.random.key(4), 512)
    params = jax.vmap(ROOM.family.sample)(keys).params
    returns = np.asarray(jax.jit(jax.vmap(deploy))(params, keys).reward).sum(-1)
    error = returns.std(0).mean() * np.sqrt(2 / 512)
    for name, episode in (("first_return", 0), ("last_return", -1)):
        assert abs(returns[:, episode].mean() - np.mean([metrics[name] for metrics in trials])) < 4 * error


def test_what_was_seen_and_the_beginning_of_an_episode_change_the_memory():
    agent = learner().agent(initial().params, ROOM)
    fresh = agent.begin_episode(agent.init(jax.random.key(0), 1), jax.random.key(0))
    one = agent.observe(fresh, step_to(1, 0, 0), jnp.bool_(True))
    assert fresh.is_first and not one.is_first
    again = agent.begin_episode(one, jax.random.key(0))
    np.testing.assert_array_equal(again.state, one.state)  # carried into the next episode
    variants = [
        agent.observe(one, step_to(1, 0, 0), jnp.bool_(True)),
        agent.observe(again, step_to(1, 0, 0), jnp.bool_(True)),
        agent.observe(one, step_to(1, 0, 0, reward=1.0), jnp.bool_(True)),
        agent.observe(one, step_to(1, 0, 2), jnp.bool_(True)),
        agent.observe(one, step_to(0, 1, 0), jnp.bool_(True)),
    ]
    states = np.stack([memory.state for memory in variants])
    distances = np.abs(states[:, None] - states[None]).max(-1) + np.eye(len(states))
    assert distances.min() > 1e-4


def test_a_transition_that_does_not_count_changes_nothing():
    agent = learner().agent(initial().params, ROOM)
    fresh = agent.init(jax.random.key(0), 1)
    after = agent.observe(fresh, step_to(1, 0, 0), jnp.bool_(False))
    jax.tree.map(np.testing.assert_array_equal, after, fresh)


def test_a_fresh_policy_is_nearly_uniform_and_a_greedy_one_is_not_random():
    made, state = learner(), initial()
    agent, greedy = (made.agent(state.params, ROOM, greedy=greedy) for greedy in (False, True))
    memory, at = agent.init(jax.random.key(0), 1), jnp.zeros((2,), jnp.int32)
    keys = jax.random.split(jax.random.key(1), 5000)
    drawn = np.bincount(jax.vmap(lambda key: agent.act(memory, at, key))(keys), minlength=5) / 5000
    # Logits of a head with scale 0.01 stay within a few hundredths.
    np.testing.assert_allclose(drawn, 0.2, atol=0.02 + 4 * np.sqrt(0.16 / 5000))
    assert len(set(np.asarray(jax.vmap(lambda key: greedy.act(memory, at, key))(keys)).tolist())) == 1


def test_all_parameters_are_learned_also_those_of_the_past():
    # The recurrent matrix only matters from the second step on: without gradients through time it would not move.
    before, after = initial().params, updated(1)[0].params
    assert "recur" in before
    moved = jax.tree.map(lambda new, old: float(jnp.abs(new - old).max()), after, before)
    assert min(jax.tree.leaves(moved)) > 1e-4, moved


def test_minibatches_of_one_epoch_average_to_the_whole_batch():
    whole, parts = (frozen_update(num_minibatches)(jax.random.key(5)) for num_minibatches in (1, 4))
    for name in ("policy_entropy", "value_loss", "fitness"):
        np.testing.assert_allclose(whole[name], parts[name], rtol=1e-5)


def test_an_update_is_a_function_of_its_key():
    updated.cache_clear()
    first = updated(1)[0].params
    updated.cache_clear()
    again, other = updated(1)[0].params, updated(2)[0].params
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True))


def test_values_are_means_of_rewards():
    assert reward_scale(0.99, 1000) == pytest.approx(0.01)
    assert reward_scale(1.0, 50) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tasks": 6, "num_minibatches": 4}, "num_minibatches is 4; it must divide num_tasks = 6"),
        ({"discount": 1.5}, "discount = 1.5"),
        ({"clip": 0.0}, "clip = 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        rl2(ROOM, **options)


def test_other_actions_and_other_worlds_are_refused():
    with pytest.raises(ValueError, match="continuous actions"):
        rl2(ROOM._replace(is_continuous=True))
    with pytest.raises(ValueError, match="the model was trained on"):
        learner().agent(initial().params, make_domain("bandit@quadrature=3"))


# Learning


def train(domain, num_updates, **options):
    made = rl2(domain, **options)
    run = jax.jit(lambda state, keys: jax.lax.scan(made.update, state, keys))
    state = made.init(jax.random.key(0))
    state, _ = run(state, jax.random.split(jax.random.key(1), num_updates))
    return made.agent(state.params, domain)


def deployed(domain, agent, num_episodes, num_tasks=2000):
    key_tasks, key_act = jax.random.split(jax.random.key(2))
    params = jax.vmap(domain.family.sample)(jax.random.split(key_tasks, num_tasks)).params
    run = jax.jit(jax.vmap(make_deploy(domain, agent, num_episodes=num_episodes)))
    return run(params, jax.random.split(key_act, num_tasks))


def assert_positive(samples):
    assert samples.mean() > 4 * samples.std() / np.sqrt(len(samples))


@pytest.mark.learning
def test_it_learns_to_learn_in_a_room():
    domain = make_domain("darkroom@size=3,horizon=10")
    agent = train(domain, 200, episodes_per_trial=4, hidden_size=32)
    returns = np.asarray(deployed(domain, agent, 4).reward).sum(-1)
    assert_positive(returns[:, -1] - returns[:, 0])  # better in the last episode than in the first
    # The shortest way gets 8.9 of 10 on average over the goals of training, a random walk about 1.
    assert returns[:, -1].mean() > 7.0


@pytest.mark.learning
def test_it_learns_to_learn_in_a_bandit():
    domain = make_domain("bandit@num_arms=2,horizon=20,quadrature=3")
    agent = train(domain, 200, hidden_size=32)
    regret = np.asarray(deployed(domain, agent, 1).regret)[:, 0]
    assert_positive(regret[:, :5].sum(1) - regret[:, -5:].sum(1))
    assert regret.sum(1).mean() < 0.6 * 20 / 6  # two uniform means differ by 1/3, of which random pulls lose half
