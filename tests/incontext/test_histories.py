import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.domains import make_domain
from metarl.incontext.agent import Transition
from metarl.incontext.histories import Source, noisy_expert_history, q_learning_history, run_source, subsample

ROOM = make_domain("darkroom@size=3,horizon=10")
ENDING = make_domain("darkroom@size=3,horizon=10,terminates=true")
KINDS = pytest.mark.parametrize("make", [noisy_expert_history, q_learning_history])
NUM_TASKS, NUM_EPISODES = 256, 30


@functools.cache
def histories(make, domain_name, num_episodes=NUM_EPISODES, **options):
    """Returns (params, transitions [K, E, T])."""
    domain = make_domain(domain_name)
    key_tasks, key_histories = jax.random.split(jax.random.key(0))
    params = jax.vmap(domain.family.sample)(jax.random.split(key_tasks, NUM_TASKS)).params
    history = make(domain, num_episodes=num_episodes, **options)
    return params, jax.jit(jax.vmap(history))(params, jax.random.split(key_histories, NUM_TASKS))


def returns(transitions):
    return np.asarray(transitions.reward).sum(-1)


def optimal_returns(params):
    """Returns what the shortest way from the corner to the goal gets in ten steps."""
    distance = np.asarray(params.goal).sum(-1)
    return np.where(distance == 0, 10, 11 - distance)


@KINDS
def test_late_episodes_are_better_than_early_ones(make):
    found = returns(histories(make, ROOM.name)[1])
    gain = found[:, -5:].mean(1) - found[:, :5].mean(1)
    assert gain.mean() > 4 * gain.std() / np.sqrt(NUM_TASKS)


@KINDS
def test_no_episode_is_better_than_the_shortest_way_and_the_last_is_near_it(make):
    params, transitions = histories(make, ROOM.name)
    share = returns(transitions) / optimal_returns(params)[:, None]
    assert share.max() == 1.0
    # The expert plays the last tenth without noise; Q-learning has found the shortest way to most goals by then.
    assert (share[:, -1] == 1.0).mean() > (0.999 if make is noisy_expert_history else 0.7)


def test_the_experts_noise_falls_linearly_and_then_stays():
    params, transitions = histories(noisy_expert_history, ROOM.name, min_noise=0.4, share=0.5)
    expert = jax.vmap(jax.vmap(jax.vmap(ROOM.expert, (0, None)), (0, None)))(transitions.observation, params)
    is_expert = np.take_along_axis(np.asarray(expert), np.asarray(transitions.action)[..., None], -1)[..., 0]
    progress = np.arange(NUM_EPISODES * 10) / (NUM_EPISODES * 10)
    noise = np.maximum(1 - progress / 0.5, 0) * 0.6 + 0.4
    excess = is_expert.reshape(NUM_TASKS, -1) - (1 - noise * 4 / 5)  # a random action is the expert's one time in five
    for part in np.split(excess, 10, axis=1):
        assert abs(part.mean()) < 4 * np.sqrt(0.25 / part.size)


@pytest.mark.parametrize("domain", [ROOM, ENDING], ids=["goes on", "ends"])
def test_a_next_observation_is_what_the_action_led_to(domain):
    params, transitions = histories(q_learning_history, domain.name)

    def step(observation, action, params):
        return domain.transition(jnp.zeros((0,)), observation, action, params)

    over = jax.vmap(jax.vmap(jax.vmap(step, (0, 0, None)), (0, 0, None)))
    reward, after = over(transitions.observation, transitions.action, params)
    np.testing.assert_array_equal(transitions.next_observation, after)
    np.testing.assert_array_equal(transitions.reward, reward)


@KINDS
def test_every_episode_begins_at_the_start_and_goes_on_from_where_it_is(make):
    _, transitions = histories(make, ROOM.name)
    assert (np.asarray(transitions.observation)[:, :, 0] == 0).all()
    np.testing.assert_array_equal(transitions.observation[:, :, 1:], transitions.next_observation[:, :, :-1])


def test_after_the_goal_that_ends_an_episode_another_begins():
    _, transitions = histories(q_learning_history, ENDING.name)
    ended = np.asarray(transitions.reward)[..., :-1] == 1
    observation = np.asarray(transitions.observation)[..., 1:, :]
    after = np.asarray(transitions.next_observation)[..., :-1, :]
    assert ended.sum() > NUM_TASKS
    assert (observation[ended] == 0).all()
    assert (observation[~ended] == after[~ended]).all()


def test_a_learner_is_told_where_an_episode_ended():
    # Two steps to the right end an episode; a source that is told so then stays, and one that is not goes on.
    params = ENDING.env.default_params.replace(goal=jnp.array([2, 0], jnp.int32))
    source = Source(
        lambda: jnp.bool_(False),
        lambda has_ended, *_: jnp.where(has_ended, jnp.int32(4), jnp.int32(0)),
        lambda has_ended, transition, terminated: has_ended | terminated,
    )
    transitions = run_source(ENDING, source, num_episodes=1)(params, jax.random.key(0))
    assert transitions.action.tolist() == [[0, 0] + 8 * [4]]
    assert transitions.observation[0, :, 0].tolist() == [0, 1] + 8 * [0]


def follows_table(transitions, *, expects_after_end):
    """Returns whether every action after half of a history is the best by a table of values filled by hand."""
    values, follows = np.ones((9, 5)), []
    steps = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), transitions)
    cells, after = (observation @ np.array([3, 1]) for observation in (steps.observation, steps.next_observation))
    for t, (cell, action, reward, then) in enumerate(zip(cells, steps.action, steps.reward, after, strict=True)):
        if 2 * t >= len(cells):
            follows.append(values[cell, action] > values[cell].max() - 1e-5)
        has_future = reward == 0 or expects_after_end
        values[cell, action] += 0.9 * (reward + 0.95 * values[then].max() * has_future - values[cell, action])
    return all(follows)


def test_values_are_those_of_q_learning_and_nothing_is_expected_after_an_end():
    _, transitions = histories(q_learning_history, ENDING.name, min_exploration=0.0)
    lives = [jax.tree.map(lambda leaf, k=k: leaf[k], transitions) for k in range(16)]
    assert all(follows_table(life, expects_after_end=False) for life in lives)
    assert not all(follows_table(life, expects_after_end=True) for life in lives)


def test_what_is_learned_decides_what_is_done_next():
    source = Source(
        lambda: jnp.int32(1),
        lambda knowledge, *_: knowledge % 5,
        lambda knowledge, transition, terminated: 2 * knowledge + transition.action,
    )
    transitions = run_source(ROOM, source, num_episodes=2)(ROOM.env.default_params, jax.random.key(0))
    knowledge, expected = 1, []
    for _ in range(20):
        expected.append(knowledge % 5)
        knowledge = 2 * knowledge + knowledge % 5
    assert np.asarray(transitions.action).ravel().tolist() == expected


def test_progress_goes_from_nothing_towards_one():
    def act(knowledge, observation, params, progress, key):
        return jnp.round(progress * 20).astype(jnp.int32)

    history = run_source(ROOM, Source(lambda: (), act, lambda *_: ()), num_episodes=2)
    transitions = history(ROOM.env.default_params, jax.random.key(0))
    assert np.asarray(transitions.action).ravel().tolist() == list(range(20))


@KINDS
def test_a_history_is_a_function_of_its_key(make):
    history = jax.jit(make(ROOM, num_episodes=4))
    params = ROOM.family.sample(jax.random.key(0)).params
    first, again, other = (history(params, jax.random.key(seed)) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (np.asarray(first.action) != np.asarray(other.action)).any()


@pytest.mark.parametrize(("kept", "expected"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (10, list(range(10)))])
def test_kept_episodes_span_the_learning_from_first_to_last(kept, expected):
    rewards = jnp.arange(10.0)[:, None] * jnp.ones((10, 3))
    history = Transition(jnp.zeros((10, 3, 2)), jnp.zeros((10, 3), jnp.int32), rewards, jnp.ones((10, 3, 2)))
    found = subsample(history, kept)
    assert found.observation.shape == (3 * kept, 2)
    assert found.reward.tolist() == np.repeat(expected, 3).tolist()


@pytest.mark.parametrize("kept", [0, 11])
def test_no_more_episodes_are_kept_than_there_are(kept):
    steps = jnp.zeros((10, 3))
    with pytest.raises(ValueError, match=f"{kept} episodes are to be kept of 10; keep from 1 to all"):
        subsample(Transition(steps, steps, steps, steps), kept)


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="num_episodes is 0; a history needs at least 1"):
        noisy_expert_history(ROOM, num_episodes=0)
    with pytest.raises(ValueError, match=r"share 0.0; both must lie in \[0, 1\], the latter above 0"):
        noisy_expert_history(ROOM, num_episodes=2, share=0.0)
    with pytest.raises(ValueError, match="cannot be counted, so no table can be learned; use noisy-expert"):
        q_learning_history(make_domain("bandit@quadrature=3"), num_episodes=2)
