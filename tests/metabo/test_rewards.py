"""Rewards and regret by hand, on a table of five values with ties at the top."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.task import NUMERIC, by_range, pool_params, regret
from metarl.metabo.policy_gradient import outcome
from metarl.metabo.rewards import FLOOR, REWARDS

Y = np.array([1.0, 3.0, 3.0, 0.0, 2.0], np.float32)
TASK = pool_params(jnp.linspace(0.0, 1.0, 5)[:, None], jnp.array([NUMERIC], jnp.int32), jnp.asarray(Y))
VISITED = [3, 0, 4, 2, 1]
"""The worst to begin with; then ever better; the second of the best two brings nothing."""
BEST = np.maximum.accumulate(Y[VISITED])


def test_regret_is_the_missing_share_of_the_range():
    np.testing.assert_allclose(regret(jnp.asarray(BEST), TASK), [1.0, 2 / 3, 1 / 3, 0.0, 0.0], atol=1e-7)


def test_either_of_two_equal_optima_counts_as_found():
    for place in (1, 2):
        assert regret(TASK.y[place], TASK) == 0.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("improvement", [1 / 3, 1 / 3, 1 / 3, 0.0]),
        ("neg_regret", [-2 / 3, -1 / 3, 0.0, 0.0]),
        ("neg_log10", [np.log10(3 / 2) / 3, np.log10(3) / 3, 1.0, 1.0]),
        ("neg_log10_paper", [np.log10(3 / 2), np.log10(3), 20.0, 20.0]),
        ("log_improvement", [np.log10(3 / 2), np.log10(2), 3 + np.log10(1 / 3), 0.0]),
    ],
)
def test_rewards_by_hand(name, expected):
    found = outcome(jnp.asarray(BEST[0]), jnp.asarray(BEST[1:]), TASK, reward=name)
    np.testing.assert_allclose(found.reward, expected, atol=1e-6)
    np.testing.assert_allclose(found.regret, [2 / 3, 1 / 3, 0.0, 0.0], atol=1e-6)


def test_sums_tell_what_they_are_said_to_tell():
    before, after = jnp.array([1.0, 0.5, 0.01]), jnp.array([0.5, 0.01, 1e-9])
    total = {name: float(jnp.sum(reward(before, after))) for name, reward in REWARDS.items()}
    np.testing.assert_allclose(total["improvement"], 1.0, atol=1e-6)
    np.testing.assert_allclose(total["log_improvement"], -np.log10(FLOOR), rtol=1e-6)
    np.testing.assert_allclose(total["neg_regret"], -0.51, rtol=1e-6)


def test_logarithms_end_at_the_floor():
    """Nothing is paid for the difference between regrets that nobody cares about."""
    zero, tiny = jnp.zeros((1,)), jnp.full((1,), FLOOR / 10.0)
    assert REWARDS["neg_log10"](zero, zero) == REWARDS["neg_log10"](tiny, tiny) == 1.0
    assert REWARDS["log_improvement"](tiny, zero) == 0.0


def test_a_flat_pool_pays_nothing():
    flat = TASK.replace(y=jnp.ones((5,)), y_best=jnp.float32(1.0), y_worst=jnp.float32(1.0))
    found = outcome(jnp.float32(1.0), jnp.ones((3,)), flat, reward="improvement")
    np.testing.assert_array_equal(found.reward, np.zeros(3))


def test_by_range_the_worst_is_0_and_the_best_1_and_regrets_stay():
    padded = TASK.replace(y=TASK.y.at[4].set(-50.0), is_valid=jnp.arange(5) < 4)
    found = by_range(padded)
    np.testing.assert_allclose(found.y, [1 / 3, 1.0, 1.0, 0.0, 0.0], rtol=1e-6)
    assert (found.y_best, found.y_worst) == (1.0, 0.0)
    np.testing.assert_allclose(regret(found.y[:4], found), regret(padded.y[:4], padded), atol=1e-6)


def test_by_range_of_several_pools_is_that_of_each():
    other = TASK.replace(y=-7.0 * TASK.y, y_best=jnp.float32(0.0), y_worst=jnp.float32(-21.0))
    both = by_range(jax.tree.map(lambda *leaves: jnp.stack(leaves), TASK, other))
    for row, task in enumerate((TASK, other)):
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[row], b), both, by_range(task))  # noqa: B023


def test_by_range_a_flat_pool_is_all_0_and_its_regret_too():
    flat = by_range(TASK.replace(y=jnp.ones((5,)), y_best=jnp.float32(1.0), y_worst=jnp.float32(1.0)))
    np.testing.assert_array_equal(flat.y, np.zeros(5))
    np.testing.assert_array_equal(regret(flat.y, flat), np.zeros(5))
