import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import CATEGORICAL, NUMERIC, pool_params
from metarl.metabo.gp import gp_ei
from metarl.metabo.optimiser import Optimiser, best_unvisited, random_search
from metarl.metabo.scores import harmonic, num_improvements
from metarl.metabo.trajectory import run_many, run_trajectories, run_trajectory

NUM_CANDIDATES, HORIZON = 16, 8
ENV = BlackBox(NUM_CANDIDATES, max_horizon=HORIZON, max_init=3)
RANDOM, GP_EI = random_search(), gp_ei(num_evaluations=6)
FIRST = Optimiser(
    lambda params: (),
    lambda key, memory, seen, params: (memory, best_unvisited(-jnp.arange(float(NUM_CANDIDATES)), seen, params)),
)
"""Takes the first candidate that it may."""


def pool(key, num_valid=NUM_CANDIDATES):
    x = jax.random.uniform(key, (NUM_CANDIDATES, 2))
    y = jnp.sin(5.0 * x[:, 0]) - (x[:, 1] - 0.4) ** 2
    is_valid = jnp.arange(NUM_CANDIDATES) < num_valid
    kind = jnp.full((2,), NUMERIC, jnp.int32)
    return pool_params(x, kind, y, is_valid=is_valid, num_init=3, horizon=HORIZON, max_dimensions=2)


TASKS = jax.vmap(pool)(jax.random.split(jax.random.key(0), 5))
INITIAL = jnp.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], [12, 13, 14]], jnp.int32)
RUN = jax.jit(run_trajectory, static_argnums=(0, 1))


def task(row):
    return jax.tree.map(lambda leaf: leaf[row], TASKS)


@pytest.mark.parametrize("optimiser", [RANDOM, GP_EI], ids=["random", "gp_ei"])
def test_no_candidate_is_evaluated_twice_and_padding_never(optimiser):
    params = pool(jax.random.key(9), num_valid=12)
    indices = RUN(optimiser, ENV, params, INITIAL[0], jax.random.key(1)).indices
    chosen = np.concatenate([INITIAL[0], indices])
    assert len(np.unique(chosen)) == len(chosen) and np.max(chosen) < 12


def repetitive(rows, num_valid):
    """A pool of categories in which most rows are repeated, with other values each time."""
    x = jnp.asarray(rows, jnp.float32)
    kind = jnp.full((2,), CATEGORICAL, jnp.int32)
    is_valid = jnp.arange(NUM_CANDIDATES) < num_valid
    y = jnp.sin(jnp.arange(NUM_CANDIDATES, dtype=jnp.float32))
    return pool_params(x, kind, y, is_valid=is_valid, num_init=3, horizon=HORIZON, max_dimensions=2)


@pytest.mark.parametrize("optimiser", [RANDOM, FIRST, GP_EI], ids=["random", "first", "gp_ei"])
@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.integers(0, 2)] * 2), min_size=NUM_CANDIDATES, max_size=NUM_CANDIDATES),
    num_valid=st.integers(3, NUM_CANDIDATES),
    seed=st.integers(0, 99),
)
def test_no_index_and_no_row_is_evaluated_twice_while_others_are_left(optimiser, rows, num_valid, seed):
    """Up to nine different rows at sixteen places; the budget of eight may be more than there are of either."""
    found = RUN(optimiser, ENV, repetitive(rows, num_valid), INITIAL[0], jax.random.key(seed)).indices
    visited, left = [0, 1, 2], set(range(3, num_valid))
    for index in np.asarray(found).tolist():
        if not left:
            break
        assert index in left
        seen = {rows[place] for place in visited}
        assert rows[index] not in seen or {rows[place] for place in left} <= seen
        visited.append(index)
        left.remove(index)


def test_the_best_value_is_the_running_maximum_of_what_was_evaluated():
    trajectory = RUN(GP_EI, ENV, task(0), INITIAL[0], jax.random.key(1))
    values = np.asarray(TASKS.y[0])
    expected = np.maximum.accumulate([values[np.asarray(INITIAL[0])].max(), *values[np.asarray(trajectory.indices)]])
    np.testing.assert_array_equal(trajectory.best, expected)


def test_regret_curves_never_rise_and_a_pool_evaluated_throughout_ends_at_zero():
    env = BlackBox(NUM_CANDIDATES, max_horizon=NUM_CANDIDATES - 3, max_init=3)
    curves = run_many(RANDOM, env, TASKS, INITIAL, jax.random.key(2), batch_size=5)
    assert jnp.all(jnp.diff(curves, axis=1) <= 0.0) and jnp.all(curves[:, -1] == 0.0) and jnp.all(curves[:, 0] > 0.0)


def test_random_picks_improve_as_often_as_the_harmonic_number_says():
    num_rows, horizon = 4000, 24
    env = BlackBox(24, max_horizon=horizon, max_init=0)
    y = jnp.sin(jnp.arange(24.0))
    kind = jnp.full((1,), NUMERIC, jnp.int32)
    one = pool_params(y[:, None], kind, y, num_init=0, horizon=horizon, max_dimensions=1)
    tasks = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_rows, *leaf.shape)), one)
    initial = jnp.zeros((num_rows, 0), jnp.int32)
    best = run_trajectories(RANDOM, env, tasks, initial, jax.random.key(3), batch_size=num_rows).best
    counts = num_improvements(np.asarray(best))
    error = counts.std() / num_rows**0.5
    assert counts.mean() == pytest.approx(harmonic(24), abs=3 * error) and error < 0.03


def test_batches_of_any_size_are_the_same_as_one_at_a_time():
    key = jax.random.key(4)
    batched = run_trajectories(GP_EI, ENV, TASKS, INITIAL, key, batch_size=2)  # five rows: the last batch is filled up
    for row in range(5):
        alone = RUN(GP_EI, ENV, task(row), INITIAL[row], jax.random.fold_in(key, row))
        np.testing.assert_array_equal(batched.indices[row], alone.indices)
        np.testing.assert_array_equal(batched.best[row], alone.best)


@pytest.mark.parametrize(
    "optimiser",
    [pytest.param(RANDOM, id="random"), pytest.param(gp_ei(num_evaluations=1), id="gp_ei", marks=pytest.mark.slow)],
)
def test_compiled_is_the_same_as_eager(optimiser):
    env = BlackBox(NUM_CANDIDATES, max_horizon=1, max_init=3)
    compiled = RUN(optimiser, env, task(1), INITIAL[1], jax.random.key(5))
    with jax.disable_jit():
        eager = run_trajectory(optimiser, env, task(1), INITIAL[1], jax.random.key(5))
    np.testing.assert_array_equal(compiled.indices, eager.indices)
    np.testing.assert_array_equal(compiled.best, eager.best)


def test_values_not_seen_have_no_influence():
    """Candidates chosen are the same when all values that were not seen change."""
    params, key = task(2), jax.random.key(6)
    first = RUN(GP_EI, ENV, params, INITIAL[2], key)
    is_seen = jnp.zeros((NUM_CANDIDATES,), bool).at[INITIAL[2]].set(True).at[first.indices].set(True)
    other = params.replace(y=jnp.where(is_seen, params.y, 7.0), y_best=jnp.float32(7.0), y_worst=jnp.float32(-9.0))
    np.testing.assert_array_equal(RUN(GP_EI, ENV, other, INITIAL[2], key).indices, first.indices)


def test_an_optimiser_that_looks_at_the_objective_fails():
    cheat = Optimiser(lambda params: (), lambda key, memory, seen, params: (memory, jnp.argmax(params.y)))
    with pytest.raises(TypeError, match="argmax"):
        run_trajectory(cheat, ENV, task(0), INITIAL[0], jax.random.key(0))


def test_scores_that_are_not_numbers_lose_against_all_others():
    params = task(0)
    observation, _ = ENV.reset_at(jnp.array([5], jnp.int32), params)
    scores = jnp.full((NUM_CANDIDATES,), jnp.nan).at[5].set(9.0).at[7].set(-jnp.inf).at[3].set(-1e30)
    assert best_unvisited(scores, observation, params) == 3
    assert best_unvisited(jnp.full((NUM_CANDIDATES,), jnp.nan), observation, params) != 5


def test_rows_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="batches of at least 1"):
        run_many(RANDOM, ENV, TASKS, INITIAL[:3], jax.random.key(0))
    with pytest.raises(ValueError, match="batches of at least 1"):
        run_many(RANDOM, ENV, TASKS, INITIAL, jax.random.key(0), batch_size=0)
