import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.cells import ENCODINGS, MOVES, best_moves, goto_move
from envs.darkroom import PERMUTATIONS, DarkRoom, DarkRoomParams, dark_room, goal_cells, permuted_dark_room
from envs.domains import make_domain
from envs.finite_tasks import split_indices
from metarl.incontext.agent import expert_agent, uniform_agent
from metarl.incontext.deploy import deploy_many, make_deploy
from tests.envs.darkroom_cells import ALL_CELLS, TEST_GOALS

PLAIN = np.arange(5, dtype=np.int32)


def rooms(goals, moves=PLAIN, horizon=100):
    """Returns the params of one room for each goal, or for each meaning of the actions."""
    goals, moves = np.atleast_2d(goals), np.atleast_2d(moves)
    count = max(len(goals), len(moves))
    spread = lambda rows: jnp.asarray(np.broadcast_to(rows, (count, rows.shape[1])), jnp.int32)  # noqa: E731
    return DarkRoomParams(jnp.full((count,), horizon, jnp.int32), spread(goals), spread(moves))


def room(goal, moves=PLAIN):
    return jax.tree.map(lambda leaf: leaf[0], rooms(goal, moves))


def expert_returns(domain, params):
    """Returns what the expert collects in one episode of every room."""
    deploy = lambda params, key: make_deploy(domain, expert_agent(domain, params))(params, key)  # noqa: E731
    found = jax.jit(lambda params, key: deploy_many(deploy, params, key))(params, jax.random.key(0))
    return np.asarray(found.reward.sum(axis=(1, 2)))


# Steps


def test_every_action_moves_one_cell_and_walls_stop_it():
    env, params = DarkRoom(10), room((5, 5))
    after = lambda position: [  # noqa: E731
        tuple(env.move(jnp.array(position, jnp.int32), jnp.int32(a), params).tolist()) for a in range(5)
    ]
    assert after((4, 7)) == [(5, 7), (3, 7), (4, 8), (4, 6), (4, 7)]
    assert after((0, 0)) == [(1, 0), (0, 0), (0, 1), (0, 0), (0, 0)]
    assert after((9, 9)) == [(9, 9), (8, 9), (9, 9), (9, 8), (9, 9)]


def test_the_step_onto_the_goal_pays_and_the_step_off_it_does_not():
    env, params = DarkRoom(10), room((1, 0))
    position, state = env.reset_from(jnp.zeros((2,)), params)
    assert position.tolist() == [0, 0]
    rewards = []
    for action in (0, 4, 3, 1, 0):  # on, stay, into the wall, off, on again
        _, state, reward, terminated, _ = env.transition(jnp.zeros((0,)), state, jnp.int32(action), params)
        rewards.append(float(reward))
        assert not terminated
    assert rewards == [1, 1, 1, 0, 1]


def test_a_terminating_room_ends_on_the_goal_but_not_before_a_step():
    env = DarkRoom(3, start="centre", terminates=True)
    _, state = env.reset_from(jnp.zeros((2,)), room((1, 1)))
    assert state.position.tolist() == [1, 1] and not env.is_terminated(state, room((1, 1)))
    ends = [bool(env.transition(jnp.zeros((0,)), state, jnp.int32(a), room((1, 1)))[3]) for a in range(5)]
    assert ends == [False, False, False, False, True]


def test_random_starts_are_uniform_over_cells():
    env = DarkRoom(3, start="random")
    starts = jax.vmap(lambda key: env.reset_env(key, room((0, 0)))[0])(jax.random.split(jax.random.key(0), 9000))
    counts = np.bincount(np.asarray(starts[:, 0] * 3 + starts[:, 1]), minlength=9)
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(9000 * 8 / 81)


def test_permuted_actions_make_the_moves_that_they_stand_for():
    env, moves = DarkRoom(10), np.array([4, 2, 0, 1, 3], np.int32)
    for action in range(5):
        after = env.move(jnp.array([5, 5], jnp.int32), jnp.int32(action), room((9, 9), moves))
        np.testing.assert_array_equal(after, np.array([5, 5]) + MOVES[moves[action]])


@pytest.mark.parametrize("spec", ["darkroom@start=random", "darkroom-permuted"])
def test_steps_with_and_without_an_episode_are_the_same(spec):
    domain = make_domain(spec)
    params = domain.family.sample(jax.random.key(3)).params
    observation, state = domain.env.reset_from(jnp.array([0.3, 0.95]), params)
    for action in (0, 3, 2, 1, 4):
        reward, after = domain.transition(jnp.zeros((0,)), observation, jnp.int32(action), params)
        observation, state, expected, _, _ = domain.env.transition(jnp.zeros((0,)), state, jnp.int32(action), params)
        assert reward == expected
        np.testing.assert_array_equal(after, observation)


# Tasks


def test_test_goals_are_those_of_the_public_code():
    assert [tuple(goal) for goal in goal_cells(10)[1].tolist()] == TEST_GOALS


@pytest.mark.parametrize("count", [25, 100, 120])
def test_training_and_test_tasks_are_disjoint_and_together_all(count):
    train, test = split_indices(count)
    assert len(train) == 4 * count // 5
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(count))


@pytest.mark.parametrize("law", ["family", "held_out"])
def test_goals_of_a_law_are_uniform_over_its_own_cells(law):
    family, expected = getattr(make_domain("darkroom"), law), goal_cells(10)[law == "held_out"]
    goals = np.asarray(jax.vmap(family.sample)(jax.random.split(jax.random.key(0), 8000)).params.goal)
    cells, counts = np.unique(goals @ [10, 1], return_counts=True)
    np.testing.assert_array_equal(cells, np.sort(expected @ [10, 1]))
    share = 1 / len(expected)
    assert np.abs(counts / 8000 - share).max() < 4.5 * np.sqrt(share * (1 - share) / 8000)  # up to eighty counts


def test_quantiles_reach_every_goal_and_are_clipped():
    family, goals = make_domain("darkroom@size=5").family, goal_cells(5)[0]
    vectors = np.array([-0.5, *((np.arange(20) + 0.5) / 20), 1.0], np.float32)[:, None]
    found = jax.vmap(family.decode)(vectors).params.goal
    np.testing.assert_array_equal(found, goals[[0, *range(20), 19]])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_tell_all_cells_apart(encoding):
    domain = make_domain(f"darkroom@encoding={encoding}")
    codes = np.asarray(jax.vmap(domain.encode)(ALL_CELLS))
    assert codes.shape == (100, domain.observation_size) and codes.dtype == np.float32
    assert len(np.unique(codes, axis=0)) == 100


def test_the_encodings_of_a_cell():
    codes = {name: encode(jnp.array([2, 0], jnp.int32), 3).tolist() for name, (_, encode) in ENCODINGS.items()}
    assert codes == {"one-hot": [0, 0, 1, 1, 0, 0], "raw": [2, 0], "index": [0, 0, 0, 0, 0, 0, 1, 0, 0]}


def test_pairs_are_numbered_without_gaps():
    domain = make_domain("darkroom@size=4")
    pairs = [
        int(domain.pair_index(jnp.array([x, y], jnp.int32), jnp.int32(a)))
        for x, y, a in itertools.product(range(4), range(4), range(5))
    ]
    assert sorted(pairs) == list(range(domain.num_pairs))


# Experts


@pytest.mark.parametrize(
    ("goals", "mean"), [(goal_cells(10)[0], 92.2625), (goal_cells(10)[1], 90.9), (ALL_CELLS, 91.99)]
)
def test_the_expert_collects_the_optimum(goals, mean):
    found = expert_returns(make_domain("darkroom"), rooms(goals))
    np.testing.assert_array_equal(found, np.minimum(100, 100 - goals.sum(axis=1) + 1))
    np.testing.assert_allclose(found.mean(), mean, atol=0.005)


def test_the_expert_collects_83_whatever_the_actions_mean():
    for labels in ("first", "soft"):
        domain = make_domain(f"darkroom-permuted@labels={labels}")
        assert (expert_returns(domain, rooms((9, 9), PERMUTATIONS)) == 83).all()


def test_a_random_policy_collects_what_the_chain_of_cells_says():
    chain = np.zeros((100, 100))
    for cell, move in itertools.product(range(100), MOVES):
        x, y = np.clip(ALL_CELLS[cell] + move, 0, 9)
        chain[cell, 10 * x + y] += 0.2
    law, visits = np.eye(100)[0], np.zeros(100)
    for _ in range(100):
        law = law @ chain
        visits += law
    goals = goal_cells(10)[1]
    expected = visits[goals @ [10, 1]].mean()
    np.testing.assert_allclose(visits.sum(), 100.0)
    domain = make_domain("darkroom")
    deploy = make_deploy(domain, uniform_agent(domain))
    run = jax.jit(lambda params, key: deploy_many(deploy, params, key))
    found = np.asarray(run(rooms(np.tile(goals, (200, 1))), jax.random.key(0)).reward.sum(axis=(1, 2)))
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))


def optimal_actions(env, params):
    """Returns the DP-optimal actions [cells, 5] and the values of an episode that is long enough for every way."""
    size, horizon = env.size, 3 * env.size
    cells = np.array(list(itertools.product(range(size), repeat=2)), np.int32)
    step = jax.vmap(jax.vmap(env.move, (None, 0, None)), (0, None, None))
    after = np.asarray(step(jnp.asarray(cells), jnp.arange(5), params))
    goal = np.asarray(params.goal)
    reward, index, value = np.all(after == goal, axis=2).astype(float), after @ [size, 1], np.zeros(size * size)
    for _ in range(horizon):
        action_values = reward + value[index]
        value = action_values.max(axis=1)
    return action_values == value[:, None], cells


ROOMS = [((0, 0), PLAIN), ((3, 1), PLAIN), ((1, 2), PLAIN), ((3, 3), PERMUTATIONS[57]), ((3, 3), PERMUTATIONS[113])]


@pytest.mark.parametrize(("goal", "moves"), ROOMS)
def test_labels_are_the_optimal_actions_of_value_iteration(goal, moves):
    params = room(goal, moves)
    optimal, cells = optimal_actions(DarkRoom(4), params)
    make = dark_room if (moves == PLAIN).all() else permuted_dark_room
    soft = jax.vmap(make(size=4, labels="soft").expert, (0, None))(jnp.asarray(cells), params)
    np.testing.assert_allclose(soft, optimal / optimal.sum(axis=1, keepdims=True), rtol=1e-6)
    first = np.asarray(jax.vmap(make(size=4).expert, (0, None))(jnp.asarray(cells), params))
    assert (first.max(axis=1) == 1).all() and (first.sum(axis=1) == 1).all()
    assert optimal[np.arange(16), first.argmax(axis=1)].all()


def test_the_first_label_moves_along_x_then_y_then_stays():
    moves = [int(goto_move(jnp.array(p, jnp.int32), jnp.array([5, 5], jnp.int32))) for p in ((2, 8), (7, 2), (5, 9))]
    assert moves == [0, 1, 3]
    assert int(goto_move(jnp.array([5, 5], jnp.int32), jnp.array([5, 5], jnp.int32))) == 4


def test_walls_count_only_in_a_room_of_known_size():
    corner = jnp.array([0, 0], jnp.int32)
    assert best_moves(corner + 1, corner + 1, 4).tolist() == [0, 0, 0, 0, 1]
    np.testing.assert_allclose(best_moves(corner, corner, 4), np.array([0, 1, 0, 1, 1]) / 3, rtol=1e-6)


# Refusals


@pytest.mark.parametrize(
    ("make", "given", "sentence"),
    [
        (dark_room, {"size": 1}, "darkroom was given size=1 .* a size of at least 2"),
        (dark_room, {"horizon": 0}, "darkroom was given .*horizon=0; .* a step"),
        (dark_room, {"start": "edge"}, "darkroom was given start='edge'; choose one of corner, centre, random"),
        (dark_room, {"encoding": "pixels"}, "encoding='pixels'; choose one of one-hot, raw, index"),
        (dark_room, {"labels": "all"}, "labels='all'; choose one of first, soft"),
        (dark_room, {"prior": "test"}, "prior='test'; choose one of train, all"),
        (permuted_dark_room, {"prior": "test"}, "darkroom-permuted was given prior='test'; choose one of train, all"),
        (permuted_dark_room, {"size": 0}, "darkroom-permuted was given size=0"),
    ],
)
def test_refusals_say_what_is_allowed(make, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**given)
