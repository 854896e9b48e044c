"""Exact inference about dark rooms, against enumeration, samples and entropies that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.cells import LABELS, MOVES, goto_move, towards
from envs.darkroom import PERMUTATIONS, goal_cells
from envs.domain import posterior
from envs.domains import make_domain
from tests.envs.darkroom_cells import ALL_CELLS, TEST_GOALS


def entropies(domain, belief):
    """Returns the entropy of the label at every cell."""
    found = np.asarray(jax.vmap(domain.belief.probabilities, (None, 0))(belief, ALL_CELLS), np.float64)
    return -np.sum(found * np.log(np.maximum(found, 1e-30)), axis=1)


@pytest.mark.parametrize(("prior", "entropy"), [("train", 0.798), ("all", 0.794)])
def test_the_entropy_of_labels_before_any_step(prior, entropy):
    domain = make_domain(f"darkroom@prior={prior}")
    assert abs(entropies(domain, domain.belief.init()).mean() - entropy) < 0.0005  # three decimals are given


def test_actions_are_uniform_before_any_step_of_the_permuted_room():
    domain = make_domain("darkroom-permuted")
    assert domain.belief.init().shape == (120,)
    np.testing.assert_allclose(entropies(domain, domain.belief.init()), np.log(5), rtol=1e-6)


def uniform_contexts(generator, goals, length):
    """Returns independent transitions [K, H] from uniform cells by uniform actions."""
    shape = (len(goals), length)
    cells, actions = generator.integers(10, size=(*shape, 2)), generator.integers(5, size=shape)
    after = np.clip(cells + MOVES[actions], 0, 9)
    rewards = np.all(after == goals[:, None], axis=2)
    return cells.astype(np.int32), actions.astype(np.int32), rewards.astype(np.float32), after.astype(np.int32)


def after_contexts(domain, contexts, queries):
    mask = jnp.ones((contexts[1].shape[1],), bool)
    one = lambda context, query: posterior(domain.belief, *context, mask, query)  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(one))(contexts, queries), np.float64)


@pytest.mark.parametrize(("length", "entropy"), [(10, 0.719), (50, 0.476), (100, 0.277)])
def test_the_belief_is_calibrated_and_reaches_the_bayes_floor(length, entropy):
    generator, count = np.random.default_rng(length), 4000
    goals = goal_cells(10)[0][generator.integers(80, size=count)]
    queries = generator.integers(10, size=(count, 2)).astype(np.int32)
    found = after_contexts(make_domain("darkroom"), uniform_contexts(generator, goals, length), queries)
    right = np.argmax(found, axis=1) == np.asarray(jax.vmap(goto_move)(queries, goals))
    difference = found.max(axis=1) - right
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(count)
    floor = -np.sum(found * np.log(np.maximum(found, 1e-30)), axis=1)
    assert abs(floor.mean() - entropy) < 4 * floor.std() * np.sqrt(2 / count) + 0.0005  # reference: as many tasks


@pytest.mark.parametrize("labels", LABELS)
def test_the_belief_is_uniform_over_the_goals_that_nothing_rules_out(labels):
    domain, generator = make_domain(f"darkroom@prior=all,labels={labels}"), np.random.default_rng(0)
    towards_each = np.asarray(jax.vmap(towards, (None, 0, None, None))(jnp.array([4, 6]), ALL_CELLS, 10, labels))
    goals = ALL_CELLS[generator.integers(100, size=30)]
    contexts = uniform_contexts(generator, goals, 40)
    query = np.array([4, 6], np.int32)
    found = after_contexts(domain, contexts, np.broadcast_to(query, (30, 2)))
    for one in range(30):
        visited = {tuple(cell) for cell in contexts[3][one].tolist()}
        possible = np.array([tuple(cell) not in visited for cell in ALL_CELLS.tolist()])
        possible = np.all(ALL_CELLS == goals[one], axis=1) if contexts[2][one].any() else possible
        np.testing.assert_allclose(found[one], towards_each[possible].mean(axis=0), atol=1e-6)


def test_the_permuted_belief_is_uniform_over_the_permutations_that_fit():
    domain = make_domain("darkroom-permuted")
    moves = PERMUTATIONS[77]
    belief, fits = domain.belief.init(), PERMUTATIONS
    for position, action in (((0, 0), 1), ((0, 0), 3), ((5, 5), 0), ((9, 4), 2)):
        after = np.clip(np.array(position) + MOVES[moves[action]], 0, 9)
        belief = domain.belief.update(
            belief, jnp.array(position, jnp.int32), jnp.int32(action), jnp.float32(0), jnp.asarray(after, jnp.int32)
        )
        fits = [one for one in fits if (np.clip(np.array(position) + MOVES[one[action]], 0, 9) == after).all()]
        np.testing.assert_array_equal(PERMUTATIONS[np.asarray(belief)], fits)
        query = jnp.array([3, 9], jnp.int32)  # +x is best
        expected = np.bincount([list(one).index(0) for one in fits], minlength=5) / len(fits)
        np.testing.assert_allclose(domain.belief.probabilities(belief, query), expected, atol=1e-6)


def test_a_move_that_the_wall_stops_narrows_the_permutations_to_72():
    domain, corner = make_domain("darkroom-permuted"), jnp.zeros((2,), jnp.int32)
    belief = domain.belief.update(domain.belief.init(), corner, jnp.int32(2), jnp.float32(0), corner)
    assert int(belief.sum()) == 3 * 24  # -x, -y or stay, and any meaning of the other four


def test_drawn_rooms_are_uniform_over_what_is_possible():
    domain = make_domain("darkroom@size=3,prior=all")
    belief = domain.belief.init()
    for x in (0, 1):
        cell = jnp.array([x, 0], jnp.int32)
        belief = domain.belief.update(belief, cell, jnp.int32(4), jnp.float32(0), cell)
    goals = jax.vmap(domain.belief.draw, (0, None))(jax.random.split(jax.random.key(0), 7000), belief).goal
    counts = np.bincount(np.asarray(goals[:, 0] * 3 + goals[:, 1]), minlength=9)
    assert counts[0] == counts[3] == 0
    assert np.abs(np.delete(counts, [0, 3]) - 1000).max() < 4 * np.sqrt(7000 * 6 / 49)


def test_a_held_out_goal_leaves_the_training_prior_as_it_was():
    domain, goal = make_domain("darkroom"), jnp.array(TEST_GOALS[0], jnp.int32)
    belief = domain.belief.update(domain.belief.init(), goal, jnp.int32(4), jnp.float32(1), goal)
    query = jnp.array([9, 9], jnp.int32)
    found = domain.belief.probabilities(belief, query)
    np.testing.assert_array_equal(found, domain.belief.probabilities(domain.belief.init(), query))
