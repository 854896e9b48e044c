"""Episodes follow the policy they are said to follow, and evaluate nothing twice."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import CATEGORICAL, NUMERIC, pool_params
from metarl.metabo.acquisitions import nap_optimiser
from metarl.metabo.episode import make_episode
from metarl.metabo.trajectory import run_trajectory

NUM_EPISODES, NUM_STEPS = 512, 5


@cache
def player(nap, env, temperature, top_k):
    """`(params, task, initial, keys) -> (best initial value [E], decisions [E, T])`, compiled once."""
    episode = make_episode(nap, env, num_steps=NUM_STEPS, temperature=temperature, top_k=top_k)
    return jax.jit(jax.vmap(episode, (None, None, None, 0)))


def play(model, room, *, task=None, temperature=3.0, top_k=None):
    """Returns what many episodes of a policy that tries a lot find."""
    keys = jax.random.split(jax.random.key(3), NUM_EPISODES)
    task = room.task if task is None else task
    return player(model.nap, room.env, temperature, top_k)(model.params, task, room.initial, keys)


@pytest.fixture(scope="module")
def played(model, room):
    """Episodes among all candidates."""
    return play(model, room)


def visited(room, decisions):
    first = np.broadcast_to(np.asarray(room.initial), (len(decisions.action), len(room.initial)))
    return np.concatenate([first, decisions.action], axis=1)


def test_nothing_is_evaluated_twice(played, room):
    indices = visited(room, played[1])
    assert all(len(set(row)) == 8 for row in indices.tolist())
    assert len({tuple(row) for row in indices.tolist()}) > NUM_EPISODES / 4


@settings(max_examples=10, deadline=None)
@given(rows=st.lists(st.integers(0, 5), min_size=12, max_size=12))
def test_equal_rows_are_not_evaluated_while_there_are_others(model, room, rows):
    """Six values of one category at twelve places: after three points and at most five choices all have been seen."""
    x = jnp.zeros_like(room.task.x).at[:, 0].set(jnp.asarray(rows, jnp.float32))
    kind = jnp.zeros_like(room.task.kind).at[0].set(CATEGORICAL)
    indices = visited(room, play(model, room, task=room.task.replace(x=x, kind=kind))[1])
    assert all(len(set(row)) == 8 for row in indices.tolist())
    different = np.array([len(set(row)) for row in np.asarray(rows)[indices].tolist()])
    first = {rows[place] for place in np.asarray(room.initial).tolist()}
    assert (different == min(len(set(rows)), len(first) + NUM_STEPS)).all()


def test_padding_is_never_chosen(model, room):
    is_valid = room.task.is_valid.at[jnp.array([1, 4, 11])].set(False)
    _, decisions = play(model, room, task=room.task.replace(is_valid=is_valid))
    assert set(np.unique(decisions.action)) == {0, 3, 5, 6, 8, 10}


def test_a_decision_holds_what_was_known_before_it_and_the_best_after(played, room):
    start, decisions = played
    indices, y = visited(room, decisions), np.asarray(room.task.y)
    np.testing.assert_array_equal(start, y[np.asarray(room.initial)].max())
    np.testing.assert_array_equal(decisions.best, np.maximum.accumulate(y[indices], axis=1)[:, 3:])
    np.testing.assert_array_equal(decisions.observation["is_seen"].sum(axis=-1)[0], np.arange(3, 8))
    for step in range(NUM_STEPS):
        seen_then = np.zeros((NUM_EPISODES, 12), bool)
        np.put_along_axis(seen_then, indices[:, : 3 + step], True, axis=1)
        np.testing.assert_array_equal(decisions.observation["is_visited"][:, step], seen_then)
        np.testing.assert_array_equal(decisions.is_allowed[:, step], ~seen_then)


def test_the_log_probability_is_that_of_the_policy(model, room, played):
    """The first choice is the same law in every episode: what is recorded is its softmax over what was open."""
    belief, logits, _ = model.answer(model.params, room.task.kind, room.evaluations, room.task.x)
    start = model.nap.prefer(model.params, belief, jnp.float32(0.0))
    log_probs = jax.nn.log_softmax(jnp.where(~room.observation["is_visited"], start / 3.0, -jnp.inf))
    first = played[1].action[:, 0]
    np.testing.assert_allclose(played[1].log_prob[:, 0], log_probs[first], rtol=1e-4, atol=1e-4)


def test_choices_are_drawn_with_their_probabilities(played, room):
    action, log_prob = played[1].action[:, 0], played[1].log_prob[:, 0]
    counts = np.bincount(action, minlength=12)
    probability = np.zeros(12)
    probability[np.asarray(action)] = np.exp(log_prob)
    deviation = np.sqrt(NUM_EPISODES * probability * (1.0 - probability))
    assert (np.abs(counts - NUM_EPISODES * probability) <= 4.0 * deviation + 3.0).all()
    assert counts[np.asarray(room.initial)].sum() == 0


@pytest.fixture(scope="module")
def trajectory(model, room):
    """What the optimiser of the same model does."""
    run = lambda key: run_trajectory(  # noqa: E731
        nap_optimiser(model.nap, model.params), room.env, room.task, room.initial, key
    )
    return jax.jit(run)(jax.random.key(0))


@pytest.mark.parametrize("settings", [{"top_k": 1}, pytest.param({"temperature": 1e-4}, marks=pytest.mark.slow)])
def test_without_chance_episodes_are_what_the_optimiser_does(model, room, trajectory, settings):
    _, decisions = play(model, room, **settings)
    np.testing.assert_array_equal(decisions.action, np.broadcast_to(trajectory.indices, (NUM_EPISODES, NUM_STEPS)))
    np.testing.assert_array_equal(decisions.best, np.broadcast_to(trajectory.best[1:], (NUM_EPISODES, NUM_STEPS)))


def test_among_few_means_among_the_best_few(model, room):
    _, decisions = play(model, room, top_k=2, temperature=100.0)
    belief, *_ = model.answer(model.params, room.task.kind, room.evaluations, room.task.x)
    start = model.nap.prefer(model.params, belief, jnp.float32(0.0))
    order = np.argsort(-np.where(room.observation["is_visited"], -np.inf, start))
    assert set(np.unique(decisions.action[:, 0])) == set(order[:2].tolist())
    assert (decisions.is_allowed.sum(axis=-1) == 2).all()


def test_improvements_under_uniform_choices_are_a_harmonic_number(joint):
    """Of T different values in random order, the t-th is the largest so far with probability 1 / t."""
    num_steps, num_episodes = 12, 600
    y = jnp.asarray(np.random.default_rng(0).permutation(num_steps), jnp.float32)
    task = pool_params(y[:, None] / 12.0, jnp.array([NUMERIC], jnp.int32), y, horizon=num_steps, num_init=0)
    env = BlackBox(num_steps, max_horizon=num_steps, max_init=0)
    episode = make_episode(joint.nap, env, num_steps=num_steps)  # its newborn acquisition prefers nothing
    keys = jax.random.split(jax.random.key(0), num_episodes)
    play_all = jax.jit(jax.vmap(episode, (None, None, None, 0)))
    start, decisions = play_all(joint.newborn, task, jnp.zeros((0,), jnp.int32), keys)
    best = np.concatenate([np.asarray(start)[:, None], decisions.best], axis=1)
    counts = np.sum(best[:, 1:] > best[:, :-1], axis=1)
    shares = 1.0 / np.arange(1, num_steps + 1)
    error = np.sqrt(np.sum(shares * (1.0 - shares)) / num_episodes)
    assert abs(counts.mean() - shares.sum()) < 3.0 * error
    assert np.unique(decisions.action[:, 0]).size == num_steps
