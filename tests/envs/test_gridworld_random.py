"""Random placement: where objects may land, how often, and what is seen of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld_random import RandomGridWorld, draw_cells

STAY = 4
ENV = RandomGridWorld(max_size=4, num_slots=3, num_types=2)
RESET = jax.jit(jax.vmap(ENV.reset_from, (0, None)))
TRANSITION = jax.jit(jax.vmap(ENV.transition, (0, None, None, None)))
NUM_DRAWS = 4000


@pytest.fixture
def level():
    """3 x 3 in arrays for 4 x 4, start in the middle of the top row, walls at 0 and 4, three objects of two types."""
    return ENV.default_params.replace(
        size=jnp.int32(3),
        walls=jnp.zeros((16,), bool).at[jnp.array([0, 4])].set(True),
        start=jnp.int32(1),
        num_objects=jnp.int32(3),
        slot_types=jnp.array([0, 1, 0], jnp.int32),
        respawn_probabilities=jnp.array([0.5, 0.5], jnp.float32),
        terminate_probabilities=jnp.zeros((2,), jnp.float32),
    )


def naive_draws(uniforms, is_needed, available, otherwise):
    """`draw_cells` with lists instead of ranks."""
    available, otherwise = set(np.flatnonzero(available)), set(np.flatnonzero(otherwise))
    cells = []
    for uniform, needed in zip(uniforms, is_needed, strict=True):
        candidates = sorted(available or otherwise)
        cell = candidates[int(np.float32(uniform) * np.float32(len(candidates)))] if candidates else 0
        cells.append(int(cell))
        if needed:
            available, otherwise = available - {cell}, otherwise - {cell}
    return cells


def test_draws_equal_drawing_from_a_list():
    rng = np.random.default_rng(0)
    uniforms = rng.uniform(size=(300, 4)).astype(np.float32)
    is_needed = rng.uniform(size=(300, 4)) < 0.6
    otherwise = rng.uniform(size=(300, 9)) < 0.6
    available = otherwise & (rng.uniform(size=(300, 9)) < 0.5)  # from none to all of nine cells, so that some run out
    draws = jax.jit(jax.vmap(lambda u, n, a, o: draw_cells(u, n, a, otherwise=o)))(
        uniforms, is_needed, available, otherwise
    )
    expected = [naive_draws(*case) for case in zip(uniforms, is_needed, available, otherwise, strict=True)]
    assert (available.sum(1) < is_needed.sum(1)).sum() > 50
    np.testing.assert_array_equal(draws, expected)


def test_objects_are_placed_apart_on_free_cells_other_than_the_agents(level):
    _, state = RESET(jax.random.uniform(jax.random.key(0), (NUM_DRAWS, 3)), level)
    cells = np.sort(np.asarray(state.cells), axis=1)
    assert set(np.unique(cells)) == {2, 3, 5, 6, 7, 8}  # not the walls 0 and 4, not the agent's 1, none from 9 on
    assert (np.diff(cells, axis=1) > 0).all()


def test_every_placement_is_equally_likely(level):
    _, state = RESET(jax.random.uniform(jax.random.key(1), (NUM_DRAWS, 3)), level)
    _, counts = np.unique(np.asarray(state.cells), axis=0, return_counts=True)
    assert counts.size == 6 * 5 * 4
    expected = NUM_DRAWS / 120
    # Chi-square with 119 degrees of freedom: mean 119, standard deviation 15.4; five of them.
    assert ((counts - expected) ** 2 / expected).sum() < 119 + 5 * 15.4


def test_an_object_that_comes_back_avoids_walls_agent_and_all_stored_cells(level):
    _, state = ENV.reset_from(jnp.array([0.0, 0.5, 0.9]), level)
    state = state.replace(exists=jnp.array([False, True, False]), cells=jnp.array([1, 3, 8], jnp.int32))
    uniforms = jax.random.uniform(jax.random.key(2), (NUM_DRAWS, 7))
    uniforms = uniforms.at[:, 1:3].set(0.0).at[:, 3].set(0.9)  # the first comes back, the third does not
    _, after, reward, _, _ = TRANSITION(uniforms, state, jnp.int32(STAY), level)
    assert (after.exists == jnp.array([[True, True, False]])).all() and (reward == 0.0).all()
    cells, counts = np.unique(np.asarray(after.cells[:, 0]), return_counts=True)
    # Free are 1, 2, 3, 5, 6, 7, 8; the agent stands on 1, and 3 and 8 are stored, though no object is on 8.
    assert cells.tolist() == [2, 5, 6, 7]
    # Four cells, 1000 +- 27 each; five standard deviations.
    assert np.abs(counts - NUM_DRAWS / 4).max() < 5 * np.sqrt(NUM_DRAWS * 0.25 * 0.75)
    assert (after.cells[:, 1:] == jnp.array([[3, 8]])).all()


def test_objects_that_come_back_together_land_apart(level):
    _, state = ENV.reset_from(jnp.array([0.0, 0.5, 0.9]), level)
    state = state.replace(exists=jnp.zeros((3,), bool), cells=jnp.array([1, 3, 8], jnp.int32))
    uniforms = jax.random.uniform(jax.random.key(3), (NUM_DRAWS, 7)).at[:, 1:4].set(0.0)
    _, after, *_ = TRANSITION(uniforms, state, jnp.int32(STAY), level)
    cells = np.sort(np.asarray(after.cells), axis=1)
    assert after.exists.all() and (np.diff(cells, axis=1) > 0).all()
    assert set(np.unique(cells)) == {2, 5, 6, 7}


def test_in_a_crowded_level_objects_still_land_on_free_cells_without_object_or_agent(level):
    # Free are 1 (agent), 2, 3, 5: as many as there are objects, so the returning one must take a cell that was used.
    level = level.replace(walls=level.walls.at[jnp.array([6, 7, 8])].set(True))
    _, state = ENV.reset_from(jnp.array([0.0, 0.5, 0.9]), level)
    assert sorted(state.cells.tolist()) == [2, 3, 5]
    state = state.replace(exists=jnp.array([False, True, False]), cells=jnp.array([1, 3, 5], jnp.int32))
    uniforms = jax.random.uniform(jax.random.key(4), (100, 7)).at[:, 1:4].set(0.0)
    _, after, *_ = TRANSITION(uniforms, state, jnp.int32(STAY), level)
    assert after.exists.all()
    assert set(map(tuple, np.asarray(after.cells).tolist())) == {(2, 3, 5)}


def test_an_object_is_collected_where_it_came_back(level):
    _, state = ENV.reset_from(jnp.array([0.0, 0.5, 0.9]), level)
    state = state.replace(exists=jnp.array([False, True, False]), cells=jnp.array([1, 3, 8], jnp.int32))
    uniforms = jnp.array([[0.9, 0.0, 0.9, 0.9, 0.0, 0.0, 0.0]])  # to the first cell that is available: 2
    _, state, *_ = jax.tree.map(lambda leaf: leaf[0], TRANSITION(uniforms, state, jnp.int32(STAY), level))
    _, after, reward, *_ = TRANSITION(uniforms, state, jnp.int32(3), level)
    assert state.cells[0] == 2
    assert reward[0] == 1.0 and after.position[0] == 2 and not after.exists[0, 0]


def test_observation_shows_the_agent_a_layer_per_type_and_the_time(level):
    _, state = ENV.reset_from(jnp.array([0.0, 0.5, 0.9]), level)
    state = state.replace(
        position=jnp.int32(7),
        exists=jnp.array([True, True, False]),
        cells=jnp.array([2, 3, 8], jnp.int32),
        time=jnp.int32(250),
    )
    observation = ENV.observe(None, state, None, level)
    expected = np.zeros(16 * 3 + 1, np.float32)
    expected[[7, 16 * 1 + 2, 16 * 2 + 3]] = 1.0
    expected[-1] = 0.25
    np.testing.assert_array_equal(observation, expected)


def test_a_slot_not_in_use_is_never_seen(level):
    level = level.replace(num_objects=jnp.int32(1))
    observation, state = RESET(jax.random.uniform(jax.random.key(5), (50, 3)), level)
    assert (state.exists == jnp.array([[True, False, False]])).all()
    assert (jnp.sum(observation, axis=1) == 2.0).all()  # agent and one object, time 0
