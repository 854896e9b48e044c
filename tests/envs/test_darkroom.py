import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.cells import ENCODINGS, MOVES, best_moves, goto_move
from envs.darkroom import PERMUTATIONS, DarkRoom, DarkRoomParams, dark_room, goal_cells, permuted_dark_room
from envs.domain import posterior
from envs.domains import make_domain
from envs.finite_tasks import split_indices
from metarl.incontext.agent import expert_agent, uniform_agent
from metarl.incontext.deploy import deploy_many, make_deploy

TEST_GOALS = [
    *[(2, 5), (3, 7), (8, 1), (4, 6), (3, 9), (6, 5), (5, 8), (1, 2), (8, 8), (7, 0)],
    *[(8, 7), (3, 6), (2, 1), (8, 3), (0, 9), (9, 6), (6, 7), (6, 4), (4, 7), (4, 4)],
]
ALL_CELLS = np.array(list(itertools.product(range(10), range(10))), np.int32)
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


# Beliefs


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


def test_the_belief_is_uniform_over_the_goals_that_nothing_rules_out():
    domain, generator = make_domain("darkroom@prior=all"), np.random.default_rng(0)
    goals = ALL_CELLS[generator.integers(100, size=30)]
    contexts = uniform_contexts(generator, goals, 40)
    query = np.array([4, 6], np.int32)
    found = after_contexts(domain, contexts, np.broadcast_to(query, (30, 2)))
    for one in range(30):
        visited = {tuple(cell) for cell in contexts[3][one].tolist()}
        possible = [cell for cell in map(tuple, ALL_CELLS.tolist()) if cell not in visited]
        possible = [tuple(goals[one])] if contexts[2][one].any() else possible
        labels = [int(goto_move(jnp.asarray(query), jnp.array(cell, jnp.int32))) for cell in possible]
        np.testing.assert_allclose(found[one], np.bincount(labels, minlength=5) / len(labels), atol=1e-6)


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
