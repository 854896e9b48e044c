"""The six rules of a step, with prescribed uniforms; observations; auto-reset."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld import GridWorld, move
from envs.gridworld_dense import DenseGridWorld, dense_observation

UP, DOWN, LEFT, RIGHT, STAY = range(5)
NO, YES = 0.999, 0.0  # uniforms above and below every probability in use but 1 and 0

ENV = GridWorld(max_size=4, num_slots=3, num_types=2)
TRANSITION = jax.jit(ENV.transition)


@pytest.fixture
def level():
    """A 3 x 3 level in arrays for 4 x 4: a wall in the middle, objects in two corners, the third slot not in use.

    S . 0      slot 0: type 1, reward 1, never ends the episode, comes back with probability 0.5
    . # .      slot 1: type 0, reward -0.5, ends it with probability 0.25, comes back with probability 0.1
    1 . .      slot 2: type 1, not in use; its cell is 7
    """
    return ENV.default_params.replace(
        max_steps_in_episode=jnp.int32(20),
        size=jnp.int32(3),
        walls=jnp.zeros((16,), bool).at[4].set(True),
        num_objects=jnp.int32(2),
        slot_types=jnp.array([1, 0, 1], jnp.int32),
        cells=jnp.array([2, 6, 7], jnp.int32),
        rewards=jnp.array([-0.5, 1.0], jnp.float32),
        terminate_probabilities=jnp.array([0.25, 0.0], jnp.float32),
        respawn_probabilities=jnp.array([0.1, 0.5], jnp.float32),
    )


def start(level, position=0, exists=(True, True, False), time=0):
    _, state = ENV.reset_from(jnp.zeros((0,)), level)
    return state.replace(position=jnp.int32(position), exists=jnp.array(exists), time=jnp.int32(time))


def play(level, state, script):
    """Returns [(position, exists, reward, terminated)] of a script of (action, uniform for the end, for respawns)."""
    trace = []
    for action, termination, respawns in script:
        uniforms = jnp.array([termination, *respawns], jnp.float32)
        _, state, reward, terminated, _ = TRANSITION(uniforms, state, jnp.int32(action), level)
        trace.append((int(state.position), tuple(state.exists.tolist()), float(reward), bool(terminated)))
    return trace


def test_borders_and_walls_hold_the_agent_where_the_grid_is_smaller_than_its_array(level):
    expected = {  # cell: after up, down, left, right, stay
        0: (0, 3, 0, 1, 0),
        1: (1, 1, 0, 2, 1),
        2: (2, 5, 1, 2, 2),
        3: (0, 6, 3, 3, 3),
        5: (2, 8, 5, 5, 5),
        6: (3, 6, 6, 7, 6),
        7: (7, 7, 6, 8, 7),
        8: (5, 8, 7, 8, 8),
    }
    cells = jnp.array(list(expected), jnp.int32)
    moves = jax.vmap(jax.vmap(move, (None, 0, None)), (0, None, None))(cells, jnp.arange(5), level)
    np.testing.assert_array_equal(moves, list(expected.values()))


def test_golden_episode(level):
    present, second_only, both = (True, True, False), (False, True, False), (True, True, False)
    script = [
        (RIGHT, NO, (NO, NO, NO)),  # to 1, nothing there
        (RIGHT, YES, (YES, NO, YES)),  # collects slot 0, which neither ends the episode nor comes back at once
        (STAY, NO, (NO, NO, NO)),  # on the object's cell, but it is missing
        (STAY, NO, (0.49, NO, YES)),  # it comes back: not collected in the step in which it appears
        (STAY, NO, (NO, NO, NO)),  # staying collects it
        (LEFT, NO, (0.5, NO, NO)),  # 0.5 is not below 0.5
        (LEFT, NO, (YES, NO, NO)),
        (DOWN, NO, (NO, NO, NO)),
        (DOWN, 0.25, (NO, NO, NO)),  # collects slot 1; 0.25 is not below 0.25
        (STAY, NO, (NO, YES, NO)),
        (STAY, 0.24, (NO, NO, NO)),  # collects it again, and this ends the episode
    ]
    assert play(level, start(level), script) == [
        (1, present, 0.0, False),
        (2, second_only, 1.0, False),
        (2, second_only, 0.0, False),
        (2, both, 0.0, False),
        (2, second_only, 1.0, False),
        (1, second_only, 0.0, False),
        (0, both, 0.0, False),
        (3, both, 0.0, False),
        (6, (True, False, False), -0.5, False),
        (6, both, 0.0, False),
        (6, (True, False, False), -0.5, True),
    ]


def test_slots_not_in_use_never_hold_an_object(level):
    state = start(level, position=8, exists=(True, True, True))  # even if one got there somehow
    assert play(level, state, [(STAY, NO, (NO, NO, YES))]) == [(8, (True, True, False), 0.0, False)]


def test_nothing_collected_never_terminates(level):
    assert play(level, start(level), [(STAY, 0.0, (NO, NO, NO))])[0][3] is False


def test_a_probability_of_one_always_terminates(level):
    level = level.replace(terminate_probabilities=jnp.array([1.0, 1.0]))
    assert play(level, start(level, position=1), [(RIGHT, NO, (NO, NO, NO))])[0][3] is True


def test_the_cap_truncates_and_does_not_terminate(level):
    state = start(level, position=8, time=19)
    _, after, _, terminated, info = TRANSITION(jnp.full((4,), NO), state, jnp.int32(STAY), level)
    assert not terminated and info["discount"] == 1.0
    assert ENV.is_truncated(after, level) and not ENV.is_truncated(state, level)


def test_a_reset_puts_the_agent_at_the_start_with_the_used_slots_filled(level):
    observation, state = ENV.reset_from(jnp.zeros((0,)), level.replace(start=jnp.int32(5)))
    assert (int(state.position), int(state.time), state.exists.tolist()) == (5, 0, [True, True, False])
    assert int(observation.index) == 5 + 16 * (1 + 2) and observation.time == 0.0


def test_index_numbers_the_states_without_gaps_or_repeats(level):
    states = [
        start(level, position, exists)
        for exists in itertools.product((False, True), repeat=3)
        for position in range(16)
    ]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    index = jax.vmap(lambda state: ENV.observe(None, state, None, level).index)(states)
    assert sorted(index.tolist()) == list(range(ENV.num_states))


def test_index_tells_position_and_objects_along_an_episode(level):
    def step(state, inputs):
        uniforms, action = inputs
        observation, state, *_ = ENV.transition(uniforms, state, action, level)
        return state, (observation.index, state.position, state.exists)

    uniforms = jax.random.uniform(jax.random.key(1), (2000, 4))
    actions = jax.random.randint(jax.random.key(2), (2000,), 0, 5)
    _, (index, position, exists) = jax.jit(lambda: jax.lax.scan(step, start(level), (uniforms, actions)))()
    np.testing.assert_array_equal(index % 16, position)
    np.testing.assert_array_equal((index[:, None] // 16) >> np.arange(3)[None] & 1, exists)
    assert len(set(index.tolist())) > 20


def test_observed_time_is_a_thousandth_of_the_steps(level):
    observation = ENV.observe(None, start(level, time=37), None, level)
    assert observation.time == jnp.float32(0.001) * 37.0


def test_dense_observation_is_the_one_hot_index_and_the_time(level):
    dense = DenseGridWorld(max_size=4, num_slots=3, num_types=2)
    uniforms = jnp.array([NO, NO, NO, NO], jnp.float32)
    sparse_step = TRANSITION(uniforms, start(level, position=1, time=11), jnp.int32(RIGHT), level)
    dense_step = dense.transition(uniforms, start(level, position=1, time=11), jnp.int32(RIGHT), level)
    expected = np.zeros(ENV.num_states + 1, np.float32)
    expected[2 + 16 * 2], expected[-1] = 1.0, np.float32(0.001) * 12
    np.testing.assert_array_equal(dense_step[0], expected)
    np.testing.assert_array_equal(dense_observation(sparse_step[0], ENV.num_states), expected)
    jax.tree.map(np.testing.assert_array_equal, dense_step[1:], sparse_step[1:])


def test_auto_reset_returns_the_reset_observation_and_keeps_the_true_successor(level):
    level = level.replace(terminate_probabilities=jnp.array([1.0, 1.0]))
    state = start(level, position=1, time=6)
    observation, after, reward, terminated, truncated, info = ENV.step(
        jax.random.key(0), state, jnp.int32(RIGHT), level
    )
    assert reward == 1.0 and terminated and not truncated
    assert (int(observation.index), float(observation.time)) == (0 + 16 * 3, 0.0)
    assert (int(after.position), int(after.time), after.exists.tolist()) == (0, 0, [True, True, False])
    assert int(info["final_observation"].index) == 2 + 16 * 2
    assert info["final_observation"].time == jnp.float32(0.001) * 7.0


def test_at_the_cap_the_episode_restarts_as_truncated(level):
    state = start(level, position=8, time=19)
    observation, after, _, terminated, truncated, _ = ENV.step(jax.random.key(0), state, jnp.int32(STAY), level)
    assert truncated and not terminated
    assert int(after.time) == 0 and int(observation.index) == 0 + 16 * 3
