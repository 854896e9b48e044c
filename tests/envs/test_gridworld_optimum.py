"""Optimal returns: closed forms, brute force over the environment's own outcomes, and playing the optimal plan."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld import GridWorld
from envs.gridworld_levels import gridworld_family
from envs.gridworld_optimum import optimal_plan, optimal_return
from envs.rollout import Policy, evaluate

ENV = GridWorld(max_size=4, num_slots=2, num_types=2)
OPTIMUM = jax.jit(partial(optimal_return, max_episode_steps=30))
ROUNDING = 2e-6  # relative, float32, some tens of additions


def room(**changes):
    """An empty 4 x 4 room: start in cell 0, one object of type 0 worth 1 in cell 2, gone for good once collected."""
    level = ENV.default_params.replace(cells=jnp.array([2, 15], jnp.int32), max_steps_in_episode=jnp.int32(10))
    types = {
        name: jnp.array(changes.pop(name), jnp.float32)
        for name in ("rewards", "terminate_probabilities", "respawn_probabilities")
        if name in changes
    }
    return level.replace(**types, **{name: jnp.asarray(value, jnp.int32) for name, value in changes.items()})


@pytest.mark.parametrize(("cap", "expected"), [(1, 0.0), (2, 0.5), (3, 0.5), (10, 0.5)])
def test_one_object_is_worth_its_reward_if_it_is_within_reach(cap, expected):
    level = room(max_steps_in_episode=cap, rewards=[0.5, 0.0], terminate_probabilities=[0.3, 0.0])
    assert OPTIMUM(level) == expected


def test_an_object_that_costs_is_left_alone():
    assert OPTIMUM(room(rewards=[-0.5, 0.0], respawn_probabilities=[1.0, 0.0])) == 0.0


@pytest.mark.parametrize("terminate", [0.0, 0.3, 1.0])
def test_an_object_that_always_comes_back_pays_every_second_step(terminate):
    # Arrives at step 2; absent and back at 3, collected again at 4, ..., 10: five times, if the episode lets it.
    level = room(respawn_probabilities=[1.0, 0.0], terminate_probabilities=[terminate, 0.0])
    expected = sum((1 - terminate) ** i for i in range(5))
    np.testing.assert_allclose(OPTIMUM(level), expected, rtol=ROUNDING)


def test_waiting_for_an_object_that_may_come_back():
    # Two steps to get there, then collected with probability p at each step but the first after a collection.
    p, cap = 0.2, 10
    value = np.zeros((cap + 1, 2))  # [steps to go, whether the object is there], standing on its cell
    for n in range(1, cap + 1):
        value[n, 1] = 1 + value[n - 1, 0]
        value[n, 0] = p * value[n - 1, 1] + (1 - p) * value[n - 1, 0]
    level = room(respawn_probabilities=[p, 0.0], terminate_probabilities=[0.0, 0.0])
    np.testing.assert_allclose(OPTIMUM(level), 1 + value[cap - 2, 0], rtol=ROUNDING)


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (2, 0.4),  # only the near one is within reach
        (3, 0.4),
        (4, 1.0),  # the far one, on a way that avoids the near one: 0, 4, 5, 6, 7
        (9, 1.0),
    ],
)
def test_hand_solved_choice_between_a_near_and_a_far_object_that_both_end_the_episode(cap, expected):
    level = room(
        max_steps_in_episode=cap,
        cells=[2, 7],
        num_objects=2,
        rewards=[0.4, 1.0],
        terminate_probabilities=[1.0, 1.0],
    )
    assert OPTIMUM(level) == np.float32(expected)


def test_hand_solved_corridor_past_an_object_that_costs():
    # Walls leave the way 0, 1, 2, 3 only; the far object pays 1, the one on the way costs 0.3 and may end the episode.
    level = room(
        cells=[3, 1], num_objects=2, rewards=[1.0, -0.3], terminate_probabilities=[1.0, 0.5], slot_types=[0, 1]
    ).replace(walls=jnp.arange(16) >= 4)
    np.testing.assert_allclose(OPTIMUM(level), -0.3 + 0.5 * 1.0, rtol=ROUNDING)


def test_the_best_of_all_action_sequences_in_a_deterministic_room_of_two_by_two():
    env = GridWorld(max_size=2, num_slots=2, num_types=2)
    level = env.default_params.replace(
        max_steps_in_episode=jnp.int32(5),
        num_objects=jnp.int32(2),
        cells=jnp.array([3, 1], jnp.int32),
        rewards=jnp.array([1.0, 0.375], jnp.float32),
        terminate_probabilities=jnp.array([0.0, 1.0], jnp.float32),
        respawn_probabilities=jnp.array([1.0, 0.0], jnp.float32),
    )

    def play(actions):
        def step(carry, action):
            state, total, is_running = carry
            _, state, reward, terminated, _ = env.transition(jnp.full((3,), 0.5), state, action, level)
            return (state, total + jnp.where(is_running, reward, 0.0), is_running & ~terminated), None

        _, state = env.reset_from(jnp.zeros((0,)), level)
        return jax.lax.scan(step, (state, jnp.float32(0.0), jnp.bool_(True)), actions)[0][1]

    sequences = jnp.array(list(itertools.product(range(5), repeat=5)), jnp.int32)
    best = jnp.max(jax.jit(jax.vmap(play))(sequences))
    assert best == 2.375  # to 3 by way of 2, stay until it is back and collected at step 4, then 1
    assert optimal_return(level, 5) == best


def outcomes(level):
    """Returns (next index, reward, terminated), each [S, A, n], for n equally likely outcomes per state and action.

    With probabilities in quarters, uniforms from the middle of each quarter give every outcome its exact weight.
    """
    quarters = jnp.array(list(itertools.product((0.125, 0.375, 0.625, 0.875), repeat=3)), jnp.float32)

    def step(index, action, uniforms):
        _, state = ENV.reset_from(jnp.zeros((0,)), level)
        state = state.replace(position=index % 16, exists=(index // 16) >> jnp.arange(2) & 1 == 1)
        observation, _, reward, terminated, _ = ENV.transition(uniforms, state, action, level)
        return observation.index, reward, terminated

    over_noise = jax.vmap(step, (None, None, 0))
    over_actions = jax.vmap(over_noise, (None, 0, None))
    over_states = jax.vmap(over_actions, (0, None, None))
    return over_states(jnp.arange(64), jnp.arange(5), quarters)


def test_optimum_equals_brute_force_over_every_outcome_of_the_environment():
    keys = jax.random.split(jax.random.key(5), 12)
    levels = jax.jit(jax.vmap(gridworld_family("debug").sample))(
        keys
    ).params  # sizes 3 and 4, walls, one or two objects
    rng = np.random.default_rng(0)
    terminate, respawn = (jnp.array(rng.integers(0, 5, (12, 2)) / 4, jnp.float32) for _ in range(2))
    levels = levels.replace(terminate_probabilities=terminate, respawn_probabilities=respawn)
    tables = jax.jit(jax.vmap(outcomes))(levels)
    found = jax.jit(jax.vmap(partial(optimal_return, max_episode_steps=10)))(levels)
    assert (found > 0.01).sum() > 6 and len(np.unique(levels.max_steps_in_episode)) > 3
    for i in range(12):
        after, reward, terminated = (np.asarray(table[i]) for table in tables)
        value = np.zeros(64)
        for _ in range(int(levels.max_steps_in_episode[i])):
            value = (reward + ~terminated * value[after]).mean(2).max(1)
        start = int(levels.start[i]) + 16 * (2 ** int(levels.num_objects[i]) - 1)
        np.testing.assert_allclose(found[i], value[start], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def small():
    """Some `small` levels, their optimal returns and plans."""
    family = gridworld_family("small")
    levels = jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(11), 16)).params
    plans = jax.jit(jax.vmap(partial(optimal_plan, max_episode_steps=100)))(levels)
    return levels, np.asarray(jax.jit(jax.vmap(family.optimal_return))(levels)), plans


def index_of(levels):
    return np.asarray(levels.start + 36 * (2**levels.num_objects - 1))


def test_a_batch_of_levels_gives_what_each_gives_alone(small):
    levels, returns, _ = small
    alone = jax.jit(gridworld_family("small").optimal_return)
    for i in range(4):
        assert alone(jax.tree.map(lambda leaf, i=i: leaf[i], levels)) == pytest.approx(returns[i], rel=ROUNDING)


def test_the_plan_starts_with_the_optimal_return_and_ends_with_the_episode(small):
    levels, returns, plans = small
    np.testing.assert_allclose(plans.value[np.arange(16), 0, index_of(levels)], returns, rtol=ROUNDING)
    is_over = np.arange(100)[None] >= np.asarray(levels.max_steps_in_episode)[:, None]
    assert is_over.any() and (np.asarray(plans.value)[is_over] == 0.0).all()


def test_values_are_finite_and_never_negative_and_never_grow_with_time(small):
    levels, _, plans = small
    values = np.asarray(plans.value)
    assert np.isfinite(values).all() and (values >= 0.0).all()
    assert levels.walls.any() and (np.asarray(levels.num_objects) < 3).any()
    assert (np.diff(values, axis=1) <= 1e-5).all()  # rounding of values up to ten


def test_walls_are_worth_nothing_and_unused_slots_make_no_difference(small):
    levels, _, plans = small
    values = np.asarray(plans.value).reshape(16, 100, 8, 36)
    exists = np.asarray(levels.walls) & (np.arange(36)[None] < np.asarray(levels.size)[:, None] ** 2)
    assert (values.transpose(0, 3, 1, 2)[exists] == 0.0).all()
    for i in np.flatnonzero(np.asarray(levels.num_objects) == 2):
        np.testing.assert_array_equal(values[i][:, 4:], values[i][:, :4])


def test_a_limit_below_the_cap_cuts_the_episode(small):
    levels, _, plans = small
    cut = jax.jit(jax.vmap(partial(optimal_return, max_episode_steps=7)))(levels)
    from_the_end = plans.value[np.arange(16), levels.max_steps_in_episode - 7, index_of(levels)]
    np.testing.assert_allclose(cut, from_the_end, rtol=ROUNDING)


def test_playing_the_plan_earns_the_optimal_return_and_no_random_policy_more(small):
    levels, returns, plans = small
    env, num_episodes = gridworld_family("small").env, 512

    def draw_noise(key, shape):
        return jax.random.uniform(key, shape)

    def follow_plan(plan):
        def act(observation, _):
            return plan.action[jnp.round(observation.time * 1000.0).astype(jnp.int32), observation.index]

        return Policy(draw_noise, act)

    def follow_table(table):
        """Random actions at a rate drawn for the table, else the table's."""
        rate, actions = table

        def act(observation, noise):
            return jnp.where(noise < rate, jnp.floor(5.0 * noise / rate).astype(jnp.int32), actions[observation.index])

        return Policy(draw_noise, act)

    def earn(policy, level, key):
        return evaluate(env, level, policy, key, num_envs=num_episodes, num_steps=100)

    keys = jax.random.split(jax.random.key(2), 16)
    planned = jax.jit(jax.vmap(lambda plan, level, key: earn(follow_plan(plan), level, key)))(plans, levels, keys)
    error = np.std(planned, axis=1) / np.sqrt(num_episodes)
    # Sixteen means; each within four standard errors, and a level without chance exactly.
    assert (np.abs(np.mean(planned, axis=1) - returns) <= 4 * error + 1e-5).all()

    tables = (jax.random.uniform(jax.random.key(3), (16,)), jax.random.randint(jax.random.key(4), (16, 288), 0, 5))
    random = jax.jit(jax.vmap(lambda table, level, key: earn(follow_table(table), level, key)))(tables, levels, keys)
    error = np.std(random, axis=1) / np.sqrt(num_episodes)
    assert (np.mean(random, axis=1) <= returns + 4 * error + 1e-5).all()
    assert np.mean(random) < 0.8 * np.mean(planned)
