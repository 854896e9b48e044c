import itertools
from itertools import combinations
from math import comb

import numpy as np
import pytest

from metarl.metabo.scores import (
    area_under_curve,
    expected_best_of_random,
    expected_improvements,
    harmonic,
    num_improvements,
    paired_difference,
    random_regret_curve,
)

VALUES = np.array([0.3, -1.2, 2.5, 0.3, 2.5, 0.0, 1.1, -0.4])


@pytest.mark.parametrize("n", range(1, 9))
def test_the_expected_best_is_the_mean_over_all_subsets(n):
    enumerated = np.mean([max(subset) for subset in combinations(VALUES, n)])
    assert expected_best_of_random(VALUES, n) == pytest.approx(enumerated, abs=1e-12)


def test_the_expected_best_of_a_large_pool_agrees_with_exact_integers():
    values = np.sin(np.arange(1000.0))
    ordered = sorted(values)
    exact = sum(y * (comb(i, 49) / comb(1000, 50)) for i, y in enumerate(ordered))
    assert expected_best_of_random(values, 50) == pytest.approx(exact, abs=1e-10)


def test_more_draws_than_values_are_refused():
    with pytest.raises(ValueError, match="9 of 8 values"):
        expected_best_of_random(VALUES, 9)


def test_the_regret_curve_of_random_search_is_the_mean_over_all_orders_of_the_rest():
    initial, horizon = [0, 5], 6
    rest = np.delete(VALUES, initial)
    expected = [2.5 - max(VALUES[initial])]
    for n in range(1, horizon + 1):
        expected.append(np.mean([2.5 - max(0.3, *subset) for subset in combinations(rest, n)]))
    curve = random_regret_curve(VALUES, initial, horizon + 2)
    np.testing.assert_allclose(curve[:7], np.array(expected) / 3.7, atol=1e-12)
    assert np.all(np.diff(curve) <= 1e-12)
    np.testing.assert_allclose(curve[5:], 0.0, atol=1e-12)  # of six that are left two are best: five draws find one


def test_a_pool_without_differences_and_one_used_up_have_no_regret():
    np.testing.assert_array_equal(random_regret_curve(np.ones(4), [1], 5), np.zeros(6))
    np.testing.assert_array_equal(random_regret_curve([1.0, 2.0], [0, 1], 2), np.zeros(3))


@pytest.mark.parametrize("initial", [[], [1, 1], [8], [-1]])
def test_initial_points_that_are_none_repeated_or_outside_are_refused(initial):
    with pytest.raises(ValueError, match="initial points"):
        random_regret_curve(VALUES, initial, 3)


def test_the_area_is_the_mean_over_every_place():
    np.testing.assert_allclose(area_under_curve(np.array([[1.0, 0.5, 0.0], [0.2, 0.2, 0.2]])), [0.5, 0.2])


def test_improvements_count_strict_rises_and_a_first_value():
    best = np.array([[-np.inf, 1.0, 1.0, 2.0], [0.5, 0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(num_improvements(best), [2, 0])


def test_harmonic_numbers_are_those_of_the_definition():
    assert harmonic(0) == 0.0 and harmonic(4) == pytest.approx(25 / 12)
    assert harmonic(24) == pytest.approx(3.776, abs=5e-4)


def test_expected_improvements_are_differences_of_harmonic_numbers():
    assert expected_improvements(1000, 5, 45) == pytest.approx(harmonic(50) - harmonic(5))
    assert expected_improvements(8, 5, 45) == pytest.approx(1 / 6 + 1 / 7 + 1 / 8)  # three candidates are left
    assert expected_improvements(5, 5, 3) == expected_improvements(1000, 5, 0) == 0.0


def test_expected_improvements_are_the_mean_over_every_order_of_a_pool():
    orders = np.array(list(itertools.permutations(range(5))), float)[:, :4]  # two initial points and two picks
    best = np.maximum.accumulate(orders, axis=1)[:, 1:]
    assert np.mean(num_improvements(best)) == pytest.approx(expected_improvements(5, 2, 2))
    tied = np.maximum.accumulate(orders // 2.0, axis=1)[:, 1:]
    assert np.mean(num_improvements(tied)) < expected_improvements(5, 2, 2)


def test_paired_differences_average_what_shares_a_task_first():
    a, b = np.array([1.0, 3.0, 5.0, 5.0, 5.0, 5.0]), np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    result = paired_difference(a, b, ["x", "x", "y", "y", "y", "y"])
    assert result.mean == pytest.approx((2.0 + 4.0) / 2) and result.num_tasks == 2
    assert result.low == pytest.approx(2.0) and result.high == pytest.approx(4.0)  # two tasks, so four resamples


def test_the_interval_of_paired_differences_has_the_width_of_the_normal_theory():
    generator = np.random.default_rng(0)
    shared, groups = np.repeat(10 * generator.normal(size=400), 3), np.repeat(np.arange(400), 3)
    difference = 0.5 + generator.normal(size=1200)
    result = paired_difference(shared + difference, shared, groups)
    error = np.std(difference.reshape(400, 3).mean(axis=1), ddof=1) / 20
    assert result.high - result.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert result.low < 0.5 < result.high
    mirrored = paired_difference(shared, shared + difference, groups)
    assert mirrored.mean == pytest.approx(-result.mean)


def test_scores_that_cannot_be_paired_are_refused():
    with pytest.raises(ValueError, match="three vectors of one length"):
        paired_difference(np.zeros(3), np.zeros(3), [0, 1])
