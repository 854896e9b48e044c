"""Soft actor-critic: what it stores, when it learns, and what a gradient step does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.registry import make_family
from envs.rollout import Policy, evaluate
from envs.trained_policy import TrainedPolicy
from metarl.lifetime.sac import SACSettings, make_sac
from metarl.networks.actor_critic import mlp

FAMILY = make_family("Pendulum-v1")
PARAMS = FAMILY.sample(jax.random.key(0)).params
SETTINGS = SACSettings(
    num_envs=2,
    unroll_length=10,
    num_gradients=3,
    hidden=(8,),
    learning_rate=1e-2,
    entropy_coefficient=0.05,
    discount=0.98,
    polyak=0.9,
    batch_size=16,
    capacity=50,
    random_steps=40,
)


def agent_of(**changes):
    spaces = {
        "observation_space": FAMILY.env.observation_space(PARAMS),
        "action_space": FAMILY.env.action_space(PARAMS),
    }
    return make_sac(FAMILY.env, SETTINGS._replace(**changes), **spaces)


@pytest.fixture(scope="module")
def life():
    """The agent, its states and what happened, over four updates in episodes of 5 steps."""
    agent, params = agent_of(), PARAMS.replace(max_steps_in_episode=jnp.int32(5))
    update = jax.jit(agent.update)
    states, seen = [agent.init(jax.random.key(0), params)], []
    for i in range(4):
        state, happened = update(states[-1], params, jax.random.key(i + 1))
        states.append(state)
        seen.append(happened)
    return agent, states, seen


def test_transitions_are_stored_with_their_true_successors(life):
    _, states, seen = life
    rows = np.asarray(states[1].replay.rows)[:20].reshape(10, 2, 9)  # 3 + 1 + 1 + 1 + 3 numbers
    happened = seen[0]
    np.testing.assert_array_equal(rows[..., :3], happened.observation)
    np.testing.assert_allclose(rows[..., 3:4], happened.action / 2.0, rtol=1e-6)  # torques from -2 to 2
    np.testing.assert_array_equal(rows[..., 4], happened.reward)
    assert not rows[..., 5].any() and np.asarray(happened.truncated).sum() == 4  # time limits are no ends
    np.testing.assert_array_equal(rows[..., 6:], happened.final_observation)
    goes_on = ~np.asarray(happened.truncated)[:-1]
    np.testing.assert_array_equal(rows[:-1, :, 6:][goes_on], rows[1:, :, :3][goes_on])


def test_the_buffer_holds_the_last_transitions(life):
    _, states, seen = life
    assert [int(state.replay.count) for state in states] == [0, 20, 40, 60, 80]
    stored = np.sort(np.asarray(states[-1].replay.rows[:, 4]))
    rewards = np.concatenate([np.asarray(happened.reward).reshape(-1) for happened in seen])[-50:]
    np.testing.assert_array_equal(stored, np.sort(rewards))


def test_nothing_is_learned_while_actions_are_random(life):
    _, states, seen = life
    for later in states[1:3]:  # the third update is the first with 40 steps behind it
        jax.tree.map(np.testing.assert_array_equal, later.learner, states[0].learner)
    changed = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != b)), states[3].learner, states[2].learner)
    assert all(jax.tree.leaves((changed.policy, changed.critics, changed.targets)))
    random = np.concatenate([np.asarray(happened.action).reshape(-1) for happened in seen[:2]])
    assert -2 <= random.min() < -1.5 and 1.5 < random.max() <= 2


def test_targets_follow_the_critics_slowly():
    agent = agent_of(num_gradients=1, random_steps=0)
    before = agent.init(jax.random.key(0), PARAMS)
    after, _ = agent.update(before, PARAMS, jax.random.key(1))
    expected = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, before.learner.targets, after.learner.critics)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.learner.targets, expected)


def test_critics_learn_rewards_where_nothing_later_counts():
    agent = agent_of(num_gradients=400, random_steps=0, discount=0.0)
    state, seen = jax.jit(agent.update)(agent.init(jax.random.key(0), PARAMS), PARAMS, jax.random.key(1))
    errors = []
    for learner in (agent.init(jax.random.key(0), PARAMS).learner, state.learner):
        rows = state.replay.rows[:20]
        found = _values(learner.critics, rows[:, :4])
        errors.append(float(np.mean((found - np.asarray(rows[:, 4])[None]) ** 2)))
    assert errors[1] < 0.05 * errors[0]


def _values(critics, inputs):
    found = mlp((4,), {"first": 1, "second": 1}, hidden=(8,)).apply(critics, inputs)
    return np.stack([np.asarray(found[name][:, 0]) for name in ("first", "second")])


def test_its_layers_act_as_it_does_without_noise(life):
    agent, states, _ = life
    policy = TrainedPolicy("", tuple((x["kernel"], x["bias"]) for x in agent.layers(states[-1]).values()))
    acting, observation = agent.policy(states[-1]), jax.random.normal(jax.random.key(0), (5, 3))
    expected = acting.act(acting.infer(observation), jnp.zeros((5, 2)))
    found = jax.vmap(policy)(observation)
    np.testing.assert_allclose(2.0 * found, expected, atol=1e-6)  # torques from -2 to 2
    assert (policy.num_inputs, policy.num_actions) == (3, 1) and np.ptp(found) > 1e-3


def test_discrete_actions_are_refused():
    family = make_family("CartPole-v1")
    params = family.sample(jax.random.key(0)).params
    spaces = {
        "observation_space": family.env.observation_space(params),
        "action_space": family.env.action_space(params),
    }
    with pytest.raises(ValueError, match="soft actor-critic acts in a Box"):
        make_sac(family.env, SETTINGS, **spaces)


@pytest.mark.learning
def test_it_swings_up_the_pendulum():
    """Every one of four seeds, in 20,000 steps; a pendulum that hangs gets about -1200."""
    agent = agent_of(
        num_envs=4, unroll_length=25, num_gradients=100, hidden=(64, 64), learning_rate=1e-3, polyak=0.995,
        batch_size=128, capacity=20_000, random_steps=1000,
    )  # fmt: skip

    def live(key):
        key_init, key_updates, key_test = jax.random.split(key, 3)
        state = agent.init(key_init, PARAMS)
        updates = jax.random.split(key_updates, 200)
        state, _ = jax.lax.scan(lambda state, key: (agent.update(state, PARAMS, key)[0], None), state, updates)
        acting = agent.policy(state)
        silent = Policy(lambda key, shape: jnp.zeros_like(acting.draw_noise(key, shape)), *acting[1:])
        return jnp.mean(evaluate(FAMILY.env, PARAMS, silent, key_test, num_envs=32, num_steps=200))

    returns = jax.jit(jax.vmap(live))(jax.random.split(jax.random.key(7), 4))
    assert np.all(np.asarray(returns) > -250.0), returns
