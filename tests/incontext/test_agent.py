import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.bandits import BanditParams
from envs.domains import make_domain
from metarl.incontext.agent import (
    InContextAgent,
    Transition,
    absorb,
    belief_agent,
    choose,
    expert_agent,
    pick,
    posterior_mean_agent,
    posterior_sampling_agent,
    stranger_agent,
    uniform_agent,
)

BANDIT = make_domain("bandit@quadrature=201")
LINEAR = make_domain("linear-bandit@num_angles=720")
ROOM = make_domain("darkroom@size=4,prior=all")
NUM_DRAWS = 20_000
ONE = jnp.ones((1,))


def pulls(actions, rewards):
    """Returns transitions [H] of a bandit."""
    ones = jnp.ones((len(actions), 1))
    return Transition(ones, jnp.asarray(actions, jnp.int32), jnp.asarray(rewards, jnp.float32), ones)


def after(agent, transitions):
    """Returns the memory of an agent that has seen these transitions."""
    length = transitions.action.shape[0]
    return absorb(agent, agent.init(jax.random.key(0), length), transitions, jnp.ones((length,), bool))


def frequencies(agent, memory, observation, num_actions):
    keys = jax.random.split(jax.random.key(9), NUM_DRAWS)
    actions = jax.jit(
        lambda memory: jax.lax.map(lambda key: agent.act(memory, observation, key), keys, batch_size=2000)
    )(memory)
    return np.bincount(actions, minlength=num_actions) / NUM_DRAWS


def assert_frequencies(found, expected):
    expected = np.asarray(expected, np.float64)
    error = np.sqrt(np.maximum(expected * (1 - expected), 1e-4) / NUM_DRAWS)
    np.testing.assert_array_less(np.abs(found - expected), 4 * error)


# Memories


def reward_adder(**given):
    """Returns an agent that remembers weighted rewards, so that their order matters."""

    def observe(memory, transition, is_valid):
        return choose(2.0 * memory + transition.reward, memory, is_valid)

    return InContextAgent(lambda key, capacity: jnp.float32(0), lambda *_: jnp.int32(0), observe, **given)


def test_transitions_are_absorbed_in_order_and_only_the_valid():
    mask = jnp.array([True, False, True, True])
    found = absorb(reward_adder(), jnp.float32(0), pulls([0] * 4, [1, 10, 2, 3]), mask)
    assert found == 2 * (2 * 1 + 2) + 3


def test_an_agent_with_a_way_of_its_own_to_absorb_goes_that_way():
    def at_once(memory, transitions, is_valid):
        return memory + jnp.sum(jnp.where(is_valid, transitions.reward, 0.0))

    mask = jnp.array([True, False, True])
    assert absorb(reward_adder(absorb=at_once), jnp.float32(5), pulls([0] * 3, [1, 2, 4]), mask) == 10


def test_choosing_takes_all_of_one_tree():
    new, old = {"a": jnp.ones(2), "b": jnp.int32(3)}, {"a": jnp.zeros(2), "b": jnp.int32(5)}
    for condition, expected in ((True, new), (False, old)):
        jax.tree.map(np.testing.assert_array_equal, choose(new, old, jnp.bool_(condition)), expected)


@pytest.mark.parametrize("make", [belief_agent, posterior_sampling_agent, posterior_mean_agent])
def test_a_transition_that_does_not_count_changes_no_memory(make):
    agent = make(BANDIT)
    memory = after(agent, pulls([0, 1], [0.3, 0.9]))
    transition = Transition(ONE, jnp.int32(2), jnp.float32(0.5), ONE)
    jax.tree.map(np.testing.assert_array_equal, agent.observe(memory, transition, jnp.bool_(False)), memory)
    changed = agent.observe(memory, transition, jnp.bool_(True))
    assert changed.count[2] == 1 and memory.count[2] == 0


# Actions


@pytest.mark.parametrize("make", [belief_agent, posterior_sampling_agent])
@pytest.mark.parametrize("domain", [BANDIT, LINEAR], ids=["independent", "linear"])
def test_sampling_probabilities_and_sampling_tasks_are_one_law(domain, make):
    agent = make(domain)
    transitions = pulls([1, 2, 2, 4], [0.6, 0.4, 0.5, 0.3])
    belief = after(belief_agent(domain), transitions)
    expected = domain.belief.probabilities(belief, ONE)
    assert 0.2 < expected.max() < 0.9
    found = frequencies(agent, after(agent, transitions), ONE, domain.num_actions)
    assert_frequencies(found, expected)


def test_a_greedy_model_takes_the_most_probable_action_always():
    agent = belief_agent(BANDIT, greedy=True)
    memory = after(agent, pulls([0, 1, 2], [0.1, 0.1, 0.95]))
    best = int(np.argmax(BANDIT.belief.probabilities(memory, ONE)))
    assert frequencies(agent, memory, ONE, 5)[best] == 1.0


def test_the_most_probable_arm_need_not_have_the_highest_mean():
    # One arm is known to be worth 0.55; each of the four unseen is worth 0.5 but may be worth 1.
    transitions = pulls([0] * 20, [0.55] * 20)
    mean, greedy = posterior_mean_agent(BANDIT), belief_agent(BANDIT, greedy=True)
    memory = after(mean, transitions)
    assert frequencies(mean, memory, ONE, 5)[0] == 1.0
    assert frequencies(greedy, memory, ONE, 5)[0] == 0.0


def test_equal_posterior_means_are_pulled_alike():
    agent = posterior_mean_agent(BANDIT)
    memory = after(agent, pulls([0, 1], [0.1, 0.2]))  # the three unseen arms have the mean 1/2
    assert_frequencies(frequencies(agent, memory, ONE, 5), [0, 0, 1 / 3, 1 / 3, 1 / 3])


def test_one_goal_is_sought_for_a_whole_episode_and_another_in_the_next():
    agent, corner = posterior_sampling_agent(ROOM), jnp.zeros((2,), jnp.int32)
    memory = agent.begin_episode(agent.init(jax.random.key(0), 8), jax.random.key(1))
    goal = tuple(memory[1].goal.tolist())
    for index, action in enumerate((0, 1, 2)):
        transition = Transition(corner, jnp.int32(action), jnp.float32(0), jnp.array([1, index], jnp.int32))
        memory = agent.observe(memory, transition, jnp.bool_(True))
        assert tuple(memory[1].goal.tolist()) == goal
        expected = ROOM.expert(corner, memory[1])
        assert expected[agent.act(memory, corner, jax.random.key(index))] == 1.0
    drawn = jax.vmap(lambda key: agent.begin_episode(memory, key)[1].goal)(jax.random.split(jax.random.key(2), 4000))
    counts = np.bincount(np.asarray(drawn[:, 0] * 4 + drawn[:, 1]), minlength=16)
    assert counts[[4, 5, 6]].sum() == 0  # cells (1, 0), (1, 1), (1, 2) paid nothing
    expected = 4000 / 13
    assert np.abs(np.delete(counts, [4, 5, 6]) - expected).max() < 4.5 * np.sqrt(expected)  # thirteen counts


def test_the_expert_agent_takes_optimal_actions_only_and_all_of_them():
    domain = make_domain("darkroom@size=4,labels=soft")
    params = ROOM.family.sample(jax.random.key(0)).params.replace(goal=jnp.array([2, 3], jnp.int32))
    agent = expert_agent(domain, params)
    found = frequencies(agent, agent.init(jax.random.key(0), 1), jnp.zeros((2,), jnp.int32), 5)
    assert_frequencies(found, [0.5, 0, 0.5, 0, 0])


def test_the_expert_agent_of_a_bandit_pulls_the_best_arm():
    agent = expert_agent(BANDIT, BanditParams(means=jnp.array([0.1, 0.2, 0.9, 0.3, 0.4])))
    assert frequencies(agent, agent.init(jax.random.key(0), 1), ONE, 5)[2] == 1.0


def test_the_uniform_agent_is_uniform():
    agent = uniform_agent(LINEAR)
    assert_frequencies(frequencies(agent, agent.init(jax.random.key(0), 1), ONE, 10), np.full(10, 0.1))


def test_logits_are_sampled_or_maximised():
    logits = jnp.log(jnp.array([0.2, 0.5, 0.3]))
    keys = jax.random.split(jax.random.key(0), NUM_DRAWS)
    sampled = jax.vmap(lambda key: pick(logits, key, greedy=False))(keys)
    assert sampled.dtype == jnp.int32
    assert_frequencies(np.bincount(sampled, minlength=3) / NUM_DRAWS, [0.2, 0.5, 0.3])
    assert (jax.vmap(lambda key: pick(logits, key, greedy=True))(keys) == 1).all()


@pytest.mark.parametrize("make", [belief_agent, posterior_sampling_agent])
def test_a_domain_without_exact_posterior_is_refused(make):
    with pytest.raises(ValueError, match="arms=resampled has no exact posterior; leave out the references"):
        make(make_domain("linear-bandit@arms=resampled"))


def test_a_posterior_mean_needs_arms():
    with pytest.raises(ValueError, match="has no exact posterior of arms; leave out the posterior mean"):
        posterior_mean_agent(ROOM)


def test_a_stranger_follows_one_other_task_for_an_episode_and_learns_nothing():
    agent = stranger_agent(ROOM)
    memory = agent.init(jax.random.key(0), 4)
    seen = agent.observe(memory, Transition(jnp.zeros(2), jnp.int32(0), jnp.float32(1.0), jnp.zeros(2)), True)
    jax.tree.map(np.testing.assert_array_equal, seen, memory)
    # What it does in the corner is what the expert of the training goal does that its key gives.
    keys = jax.random.split(jax.random.key(1), 200)
    corner = jnp.zeros((2,), jnp.int32)
    actions = jax.jit(jax.vmap(lambda key: agent.act(agent.begin_episode(memory, key), corner, key)))(keys)
    goals = np.asarray(jax.vmap(lambda key: ROOM.family.sample(key).params.goal)(keys))
    np.testing.assert_array_equal(actions, np.where(goals[:, 0] > 0, 0, 2))  # the corner itself is no training goal
    assert len(np.unique(actions)) == 2
    memory = agent.begin_episode(memory, keys[3])
    again = {int(agent.act(memory, corner, key)) for key in keys[:20]}
    assert len(again) == 1  # one task for a whole episode
