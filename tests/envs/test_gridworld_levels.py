"""What levels are made of and how often: closed forms of `decode`, marginals of `sample`, layouts that are cut off."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from envs.gridworld_levels import GRIDWORLD_MODES, gridworld_family

NUM_LEVELS = 4000
SMALLEST_P = 1e-4  # with about a hundred tests of fixed samples, a false alarm would have to be a 1 in 100 event


def sample_levels(mode, **options):
    """Returns 4000 levels of a mode as NumPy arrays."""
    keys = jax.random.split(jax.random.key(7), NUM_LEVELS)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(gridworld_family(mode, **options).sample))(keys))


@pytest.fixture(scope="module")
def sampled():
    """Four families, sampled once."""
    return {mode: sample_levels(mode).params for mode in ("small", "medium", "large", "all")}


def free_boards(levels):
    """Returns [N, G, G] whether each place of the board is a free cell of the level."""
    max_size = round(levels.walls.shape[1] ** 0.5)
    rows, columns = np.mgrid[:max_size, :max_size]
    sizes = levels.size[:, None, None]
    inside = (rows < sizes) & (columns < sizes)
    cells = np.where(inside, rows * sizes + columns, 0)
    return inside & ~np.take_along_axis(levels.walls[:, None], cells.reshape(len(cells), 1, -1), 2).reshape(
        inside.shape
    )


def reachable_objects(levels):
    """Returns [N, K] whether the agent can walk from the start to each slot's cell, by flooding from the start."""
    free, places = free_boards(levels), np.arange(len(levels.size))
    flood = np.zeros_like(free)
    flood[places, levels.start // levels.size, levels.start % levels.size] = True
    while True:
        wider = np.pad(flood, ((0, 0), (1, 1), (1, 1)))
        wider = wider[:, :-2, 1:-1] | wider[:, 2:, 1:-1] | wider[:, 1:-1, :-2] | wider[:, 1:-1, 2:] | flood
        if (wider & free == flood).all():
            break
        flood = wider & free
    sizes = levels.size[:, None]
    return flood[places[:, None], levels.cells // sizes, levels.cells % sizes]


def test_decode_reads_a_level_off_its_vector():
    family = gridworld_family("debug")
    wall_scores, placement = np.zeros(16, np.float32), np.zeros(16, np.float32)
    wall_scores[[1, 4, 9, 15]] = 0.9, 0.8, 0.7, 0.6  # 9 and 15 do not exist on a 3 x 3 grid
    placement[[1, 8, 3, 2, 12]] = 1.0, 0.8, 0.7, 0.9, 0.95  # 1 is a wall, 12 does not exist
    quantiles = [0.2, 0.7, 0.5, 0.25, 0.75, 0.0, 0.5, 1.0, 0.0]
    task = jax.jit(family.decode)(jnp.concatenate([jnp.array(quantiles), wall_scores, placement]))
    level = task.params
    assert (int(level.size), int(level.num_objects), int(task.lifetime)) == (3, 2, 4)
    assert int(level.max_steps_in_episode) == 7  # sqrt(5 x 10) = 7.07
    assert np.flatnonzero(level.walls).tolist() == [1, 4, 9, 15]
    assert (int(level.start), level.cells.tolist(), level.slot_types.tolist()) == (2, [8, 3], [0, 1])
    np.testing.assert_allclose(level.rewards, [0.25, 0.5], rtol=1e-6)
    np.testing.assert_allclose(level.terminate_probabilities, [0.01, 0.1], rtol=1e-5)  # float32 exp and log
    np.testing.assert_allclose(level.respawn_probabilities, [0.1, 0.001], rtol=1e-5)


def test_the_ends_of_the_quantiles_are_the_ends_of_the_table():
    decode = jax.jit(gridworld_family("all_vrandlife").decode)
    walls_at_the_end = jnp.linspace(0.0, 1.0, 100)  # where they do not exist in the smallest level
    low, high = (decode(jnp.full((219,), end).at[19:119].set(walls_at_the_end)) for end in (0.0, 1.0))
    for task, expected in ((low, (10, 4, 1, 20)), (high, (250, 10, 5, 750))):
        level = task.params
        found = (task.lifetime, level.size, level.num_objects, level.max_steps_in_episode)
        assert tuple(map(int, found)) == expected
    np.testing.assert_allclose(low.params.rewards, [0.0, -1.0, -1.0, -1.0, -1.0])
    np.testing.assert_allclose(high.params.rewards, 1.0)
    np.testing.assert_allclose(high.params.terminate_probabilities, 1.0, rtol=1e-6)


def test_a_level_with_too_few_free_cells_gets_fewer_objects():
    vector = jnp.ones((218,)).at[0].set(0.0).at[18:118].set(jnp.linspace(1.0, 0.0, 100))
    level = jax.jit(gridworld_family("all").decode)(vector).params
    assert (int(level.size), level.walls[:16].tolist()) == (4, [True] * 15 + [False])
    assert (int(level.start), int(level.num_objects)) == (15, 0)


def test_entries_outside_the_unit_interval_are_clipped():
    decode = jax.jit(gridworld_family("debug").decode)
    vector = 3.0 * jax.random.normal(jax.random.key(0), (41,))
    jax.tree.map(np.testing.assert_array_equal, decode(vector), decode(jnp.clip(vector, 0.0, 1.0)))


def test_decode_refuses_a_vector_of_another_length():
    with pytest.raises(ValueError, match="41 quantiles"):
        gridworld_family("debug").decode(jnp.zeros((40,)))


def test_sample_decodes_uniform_quantiles(key):
    family = gridworld_family("all_randlife")
    expected = jax.jit(family.decode)(jax.random.uniform(key, (family.num_dimensions,)))
    jax.tree.map(np.testing.assert_array_equal, jax.jit(family.sample)(key), expected)


@pytest.mark.parametrize(
    ("mode", "num_dimensions", "max_lifetime", "max_episode_steps", "num_states"),
    [
        ("small", 84, 250, 100, 288),
        ("medium", 143, 1000, 250, 1024),
        ("large", 218, 2500, 750, 3200),
        ("all", 218, 1000, 750, 3200),
        ("all_shortlife", 218, 250, 750, 3200),
        ("all_randlife", 219, 250, 750, 3200),
        ("all_vrandlife", 219, 250, 750, 3200),
        ("debug", 41, 4, 10, 64),
        ("labyrinth", 179, 2500, 50, 1352),
        ("mazes", 180, 2500, 50, 1352),
        ("dense", 121, 2500, 500, 1936),
        ("tabular", 170, 2500, 2000, 5408),
    ],
)
def test_static_sizes(mode, num_dimensions, max_lifetime, max_episode_steps, num_states):
    family = gridworld_family(mode)
    found = (family.num_dimensions, family.max_lifetime, family.max_episode_steps, family.env.num_states)
    assert found == (num_dimensions, max_lifetime, max_episode_steps, num_states)
    assert family.name == f"gridworld/{mode}"


@pytest.mark.parametrize(
    ("mode", "sizes", "num_objects", "caps"),
    [
        ("small", (4, 6), (1, 3), (20, 100)),
        ("medium", (6, 8), (2, 4), (100, 250)),
        ("large", (8, 10), (2, 5), (250, 750)),
        ("all", (4, 10), (1, 5), (20, 750)),
    ],
)
def test_marginals(sampled, mode, sizes, num_objects, caps):
    levels = sampled[mode]
    for values, (low, high) in ((levels.size, sizes), (levels.num_objects, num_objects)):
        counts = np.bincount(values - low, minlength=high - low + 1)
        assert counts.size == high - low + 1
        assert scipy.stats.chisquare(counts).pvalue > SMALLEST_P

    def follows(values, low, width):
        return scipy.stats.kstest(values, scipy.stats.uniform(low, width).cdf).pvalue > SMALLEST_P

    # Rounded caps are spread over their unit again, or the test would see the steps.
    spread = levels.max_steps_in_episode + np.random.default_rng(0).uniform(-0.5, 0.5, NUM_LEVELS)
    inner = (spread > caps[0] + 0.5) & (spread < caps[1] - 0.5)  # the outermost integers have half a unit only
    low, high = np.log(caps[0] + 0.5), np.log(caps[1] - 0.5)
    assert follows(np.log(spread[inner]), low, high - low)
    assert (levels.max_steps_in_episode >= caps[0]).all() and (levels.max_steps_in_episode <= caps[1]).all()
    assert follows(levels.rewards[:, 0], 0.0, 1.0)
    assert all(follows(rewards, -1.0, 2.0) for rewards in levels.rewards[:, 1:].T)
    assert all(follows(np.log10(p), -2.0, 2.0) for p in levels.terminate_probabilities.T)
    assert all(follows(np.log10(p), -3.0, 2.0) for p in levels.respawn_probabilities.T)


@pytest.mark.parametrize(
    ("mode", "num_drawn", "mean"), [("small", 7, 5.0), ("medium", 10, 7.8), ("large", 15, 12.2), ("all", 15, 8.0)]
)
def test_walls_are_drawn_from_the_largest_grid_and_some_vanish(sampled, mode, num_drawn, mean):
    levels = sampled[mode]
    assert (levels.walls.sum(1) == num_drawn).all()
    num_cells = levels.walls.shape[1]
    exists = np.arange(num_cells)[None] < levels.size[:, None] ** 2
    surviving = (levels.walls & exists).sum(1)
    # In closed form: drawn x E[g^2] / G^2.
    sizes = np.arange(levels.size.min(), levels.size.max() + 1)
    exact = num_drawn * np.mean(sizes**2) / num_cells
    assert abs(exact - mean) < 0.0501  # the published figure is rounded to a decimal
    assert abs(surviving.mean() - exact) < 4 * surviving.std() / np.sqrt(NUM_LEVELS)


def test_start_and_slots_are_distinct_free_cells(sampled):
    for levels in sampled.values():
        used = np.arange(levels.cells.shape[1])[None] < levels.num_objects[:, None]
        places = np.concatenate([levels.start[:, None], np.where(used, levels.cells, -1 - np.arange(used.shape[1]))], 1)
        assert (np.diff(np.sort(places, axis=1), axis=1) > 0).all()
        assert (places < levels.size[:, None] ** 2).all()
        assert not np.take_along_axis(levels.walls, np.maximum(places, 0), 1)[places >= 0].any()


def test_start_and_slots_are_uniform_over_the_free_cells(sampled):
    levels = sampled["medium"]
    num_cells = levels.walls.shape[1]
    free = ~levels.walls & (np.arange(num_cells)[None] < levels.size[:, None] ** 2)
    rank = np.cumsum(free, axis=1) - 1
    spread = np.random.default_rng(1).uniform(size=NUM_LEVELS)
    for cells in (levels.start, levels.cells[:, 0], levels.cells[:, 3]):
        ranks = np.take_along_axis(rank, cells[:, None], 1)[:, 0]
        assert scipy.stats.kstest((ranks + spread) / free.sum(1), "uniform").pvalue > SMALLEST_P


@pytest.mark.parametrize(
    ("mode", "some", "every"),
    [("small", 0.059, 0.027), ("medium", 0.027, 0.005), ("large", 0.022, 0.005), ("all", 0.037, 0.010)],
)
def test_as_many_levels_are_cut_off_as_others_have_measured(sampled, mode, some, every):
    levels = sampled[mode]
    used = np.arange(levels.cells.shape[1])[None] < levels.num_objects[:, None]
    cut_off = used & ~reachable_objects(levels)
    for found, expected in ((cut_off.any(1).mean(), some), ((cut_off == used).all(1).mean(), every)):
        # Two samples of 4000 levels each, theirs and ours, and a figure rounded to 0.1 %.
        tolerance = 4 * np.sqrt(2 * expected * (1 - expected) / NUM_LEVELS) + 0.0005
        assert abs(found - expected) < tolerance


@pytest.mark.parametrize("mode", ["small", "rand_all"])
def test_reachable_only_leaves_nothing_cut_off(mode):
    levels = sample_levels(mode, reachable_only=True).params
    used = np.arange(levels.cells.shape[1])[None] < levels.num_objects[:, None]
    assert reachable_objects(levels)[used].all()
    # Nor any free cell: where objects move, every place they can move to must be within reach.
    free = free_boards(levels)
    numbers = np.cumsum(free.reshape(NUM_LEVELS, -1), axis=1) - 1
    for quantile in (0.0, 0.3, 0.7, 0.999):
        rank = (quantile * free.sum((1, 2))).astype(int)
        place = (numbers == rank[:, None]).argmax(1)
        max_size = free.shape[1]
        cells = place // max_size * levels.size + place % max_size
        assert reachable_objects(levels.replace(cells=cells[:, None])).all()


def test_reachable_only_changes_only_levels_with_several_regions(sampled):
    plain, connected = sampled["small"], sample_levels("small", reachable_only=True).params
    num_free = free_boards(plain).sum((1, 2))
    changed = free_boards(connected).sum((1, 2)) != num_free
    assert 0.05 < changed.mean() < 0.5
    same = ~changed
    for name in ("start", "cells", "num_objects", "rewards", "max_steps_in_episode"):
        np.testing.assert_array_equal(getattr(plain, name)[same], getattr(connected, name)[same])


@pytest.mark.parametrize(("mode", "low"), [("all_vrandlife", 10), ("all_randlife", 50)])
def test_lifetimes_are_rounded_log_uniform(mode, low):
    family = gridworld_family(mode)
    vectors = np.zeros((NUM_LEVELS, family.num_dimensions), np.float32)
    vectors[:, 0] = (np.arange(NUM_LEVELS) + 0.5) / NUM_LEVELS
    lifetimes = np.asarray(jax.jit(jax.vmap(family.decode))(vectors).lifetime)
    shares = np.bincount(lifetimes)[low:] / NUM_LEVELS
    edges = np.clip(np.arange(low, 252) - 0.5, low, 250)
    # A grid of quantiles hits each lifetime's share to within one point of the grid.
    np.testing.assert_allclose(shares, np.diff(np.log(edges)) / np.log(250 / low), atol=1.01 / NUM_LEVELS)


def test_families_of_the_same_static_sizes_share_one_environment():
    assert gridworld_family("all").env is gridworld_family("large").env
    assert gridworld_family("labyrinth").env is gridworld_family("mazes").env
    assert gridworld_family("all").env is not gridworld_family("small").env
    assert gridworld_family("all").env is not gridworld_family("rand_all").env


def test_unknown_modes_are_refused_by_name():
    with pytest.raises(ValueError, match="'smal'.*small"):
        gridworld_family("smal")


@pytest.mark.parametrize("mode", ["small", "rand_tiny"])
def test_gymnax_makes_every_mode_with_a_level_of_it(mode):
    assert {f"GridWorld-{mode}-metarl" for mode in GRIDWORLD_MODES} <= set(gymnax.registered_envs)
    env, params = gymnax.make(f"GridWorld-{mode}-metarl")
    assert gymnax.make(f"GridWorld-{mode}-metarl")[0] is env
    expected = jax.jit(gridworld_family(mode).sample)(jax.random.key(0)).params
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert type(env) is type(gridworld_family(mode).env)
