"""The fixed modes against their table, the mazes, the mixtures; and every mode from name to step."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld_levels import GRIDWORLD_MODES, gridworld_family
from envs.gridworld_mazes import MAZE_ROWS, maze_walls
from envs.gridworld_modes import MIXTURES

TABLE = {  # size, slot types, rewards, p_terminate, p_respawn, number of walls, cap, lifetime
    "dense": (11, [0, 0, 1, 2], [1, -1, -1], [0, 0.5, 0], [0.05, 0.1, 0.5], 0, 500, 2500),
    "sparse": (13, [0, 1], [1, -1], [1, 1], [0, 0], 0, 50, 2500),
    "long": (11, [0, 0, 1, 1], [1, -1], [0, 0.5], [0.01, 1], 0, 1000, 2500),
    "longer": (9, [0, 0, 1, 1, 1], [1, -1], [0.1, 0.8], [0.01, 1], 7, 2000, 2500),
    "long_dense": (11, [0, 0, 0, 0], [1], [0], [0.005], 17, 2000, 2500),
    "rand_dense": (11, [0, 0, 1, 2], [1, -1, -1], [0, 0.5, 0], [0.05, 0.1, 0.5], 0, 500, 25_000),
    "rand_long": (11, [0, 0, 1, 1], [1, -1], [0, 0.5], [0.01, 1], 0, 1000, 25_000),
    "rand_small": (7, [0, 0, 1, 1], [1, -1], [0, 0.5], [0.05, 0.1], 2, 500, 25_000),
    "rand_sparse": (7, [0, 1, 1], [1, -1], [1, 1], [1, 1], 0, 50, 25_000),
    "rand_very_dense": (11, [0], [1], [0], [1], 0, 2000, 25_000),
    "rand_tiny": (3, [0, 0], [1], [0], [1], 0, 50, 250),
}
PICTURES = {
    "longer": """
        ....#....
        .........
        ....#....
        ....#....
        ....#....
        ....#....
        ....#....
        .........
        ....#....""",
    "long_dense": """
        ...........
        .....#.....
        .....#.....
        .....#.....
        ##.#####.##
        .....#.....
        .....#.....
        ...........
        .....#.....
        .....#.....
        .....#.....""",
    "rand_small": """
        .......
        ..#....
        .......
        ....#..
        .......
        .......
        .......""",
}
NUM_WALLS = {
    "sixteen_rooms": 46,
    "sixteen_rooms_2": 53,
    "labyrinth": 72,
    "labyrinth_flipped": 72,
    "labyrinth_2": 72,
    "standard_maze": 73,
    "standard_maze_2": 72,
    "standard_maze_3": 71,
    "small_corridor": 71,
}


def picture(walls):
    size = round(len(walls) ** 0.5)
    return ["".join("#" if wall else "." for wall in row) for row in np.asarray(walls).reshape(size, size)]


# Nothing here runs for long: compiling thirty programs is what takes time.
COMPILE_QUICKLY = {"xla_backend_optimization_level": 0}


@cache
def sample_tasks(mode, num_levels=64):
    """Returns a batch of tasks of the mode."""
    sample = jax.jit(jax.vmap(gridworld_family(mode).sample), compiler_options=COMPILE_QUICKLY)
    return sample(jax.random.split(jax.random.key(3), num_levels))


@partial(jax.jit, static_argnums=0, compiler_options=COMPILE_QUICKLY)
def reset_and_step(env, params):
    """Returns what a reset and then a step down do in each of 64 levels; compiled once per environment."""

    def live(key, params):
        key_reset, key_step = jax.random.split(key)
        observation, state = env.reset(key_reset, params)
        return state, observation, env.step(key_step, state, jnp.int32(1), params)

    return jax.vmap(live)(jax.random.split(jax.random.key(4), 64), params)


@pytest.mark.parametrize("mode", GRIDWORLD_MODES)
def test_every_mode_samples_resets_and_steps_a_batch_of_levels(mode):
    family, task = gridworld_family(mode), sample_tasks(mode)
    level = task.params
    assert ((1 <= task.lifetime) & (task.lifetime <= family.max_lifetime)).all()
    assert (level.max_steps_in_episode <= family.max_episode_steps).all()
    assert not jnp.take_along_axis(level.walls, level.start[:, None], 1).any()
    assert len({tuple(cells) for cells in np.asarray(level.cells).tolist()}) > 1  # layouts differ between levels

    state, observation, (after, _, reward, _, truncated, info) = reset_and_step(family.env, level)
    assert (state.position == level.start).all() and (state.exists.sum(1) == level.num_objects).all()
    assert jax.tree.map(jnp.shape, observation) == jax.tree.map(jnp.shape, after)
    assert not truncated.any() and jnp.isfinite(reward).all() and reward.dtype == jnp.float32
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(info["final_observation"]))
    assert (family.optimal_return is None) == mode.startswith("rand_")


@pytest.mark.parametrize("mode", TABLE)
def test_fixed_modes_are_as_in_the_table(mode):
    size, slot_types, rewards, terminate, respawn, num_walls, cap, lifetime = TABLE[mode]
    task = jax.tree.map(lambda leaf: leaf[0], sample_tasks(mode))
    level = task.params
    assert (int(level.size), level.slot_types.tolist(), int(level.num_objects)) == (size, slot_types, len(slot_types))
    np.testing.assert_array_equal(level.rewards, np.float32(rewards))
    np.testing.assert_array_equal(level.terminate_probabilities, np.float32(terminate))
    np.testing.assert_array_equal(level.respawn_probabilities, np.float32(respawn))
    assert int(level.walls.sum()) == num_walls and level.walls.shape == (size**2,)
    assert (int(level.max_steps_in_episode), int(task.lifetime)) == (cap, lifetime)
    if mode in PICTURES:
        assert picture(level.walls) == PICTURES[mode].split()


@pytest.mark.parametrize("name", MAZE_ROWS)
def test_mazes_have_as_many_walls_as_counted_and_one_region(name):
    free = ~maze_walls(name).reshape(13, 13)
    assert (~free).sum() == NUM_WALLS[name]
    flood = np.zeros_like(free)
    flood[tuple(np.argwhere(free)[0])] = True
    for _ in range(169):
        wide = np.pad(flood, 1)
        flood = free & (flood | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:])
    assert (flood == free).all()


def test_rows_of_a_maze_read_from_the_most_significant_bit():
    assert picture(maze_walls("labyrinth"))[10:] == [".....#.....#.", "####.#.#####.", ".....#......."]


def test_unknown_mazes_are_refused_by_name():
    with pytest.raises(ValueError, match="'labyrinths'.*labyrinth_2"):
        maze_walls("labyrinths")


def test_mazes_draw_everything_but_walls_and_sizes():
    levels = sample_tasks("labyrinth").params
    assert (levels.walls == maze_walls("labyrinth")[None]).all()
    assert (levels.size == 13).all() and (levels.num_objects == 3).all()
    assert 0.0 <= levels.rewards.min() < 0.05 and 0.95 < levels.rewards.max() <= 1.0  # of 192 draws
    assert 25 <= levels.max_steps_in_episode.min() < 28 and 46 < levels.max_steps_in_episode.max() <= 50


@pytest.mark.parametrize("mixture", MIXTURES)
def test_mixtures_draw_each_of_their_modes_equally_often(mixture):
    num_levels = 1800
    levels = sample_tasks(mixture, num_levels).params
    looks = np.concatenate([levels.walls, levels.size[:, None], levels.max_steps_in_episode[:, None] > 50], axis=1)
    looks = np.concatenate([looks, levels.num_objects[:, None], 100 * levels.respawn_probabilities[:, :1] == 1], axis=1)
    if mixture == "mazes":
        looks = levels.walls
    _, counts = np.unique(looks, axis=0, return_counts=True)
    num_modes = len(MIXTURES[mixture])
    assert counts.size == num_modes
    share = 1 / num_modes
    assert np.abs(counts / num_levels - share).max() < 4 * np.sqrt(share * (1 - share) / num_levels)


def test_a_level_of_a_mixture_is_a_level_of_one_of_its_modes_with_room_for_the_others():
    placement = jax.random.uniform(jax.random.key(2), (81,))
    level = jax.jit(gridworld_family("longer").decode)(placement).params
    mixed = jax.jit(gridworld_family("tabular").decode)(
        jnp.concatenate([jnp.array([0.7]), placement, jnp.zeros((88,))])
    ).params
    assert (mixed.walls.shape, mixed.cells.shape, mixed.rewards.shape) == ((169,), (5,), (3,))
    np.testing.assert_array_equal(mixed.walls[:81], level.walls)
    assert not mixed.walls[81:].any()
    for name in ("start", "cells", "slot_types", "num_objects", "size", "max_steps_in_episode"):
        np.testing.assert_array_equal(getattr(mixed, name), getattr(level, name))
    np.testing.assert_array_equal(mixed.rewards, jnp.append(level.rewards, 0.0))
