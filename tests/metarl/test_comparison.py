"""Comparisons of sets of runs: differences are paired, and seeds are as uncertain as they are few."""

import numpy as np
import pytest

from metarl.comparison import compare


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_a_constant_gain_is_found_exactly_whatever_the_tasks_are_like(generator):
    theirs = [generator.normal(size=n) for n in (40, 37, 40)]
    found = compare([x + 0.25 for x in theirs], theirs)
    np.testing.assert_allclose([found.difference, found.low, found.high, *found.per_seed], 0.25, rtol=1e-6)
    assert found.win_rate == 1.0


def test_swapping_the_sets_changes_every_sign(generator):
    ours, theirs = ([generator.normal(size=50) for _ in range(3)] for _ in range(2))
    found, swapped = compare(ours, theirs), compare(theirs, ours)
    np.testing.assert_allclose(
        [found.difference, found.low, found.high], [-swapped.difference, -swapped.high, -swapped.low]
    )
    np.testing.assert_allclose(found.win_rate, 1.0 - swapped.win_rate)


def test_seeds_that_disagree_widen_the_interval_that_resamples_them_alone(generator):
    """Gains of -1, 0 and 1 with hardly any spread over tasks."""
    theirs = [0.01 * generator.normal(size=60) for _ in range(3)]
    found = compare([x + gain for x, gain in zip(theirs, (-1.0, 0.0, 1.0), strict=True)], theirs)
    assert found.low < -0.6 and found.high > 0.6
    assert found.high_fixed - found.low_fixed < 0.2


@pytest.mark.slow
def test_the_interval_covers_the_truth_about_as_often_as_it_says(generator):
    """Equal laws, many sets: the difference is zero; 200 resamples and 100 sets leave a few percent of slack."""
    covered = []
    for _ in range(100):
        ours, theirs = ([generator.normal(size=30) for _ in range(6)] for _ in range(2))
        found = compare(ours, theirs, num_resamples=200)
        covered.append(found.low_fixed <= 0.0 <= found.high_fixed)
    assert 0.85 <= np.mean(covered) <= 1.0


@pytest.mark.parametrize(
    ("ours", "theirs"), [([[1.0]], [[1.0], [2.0]]), ([[1.0, 2.0]], [[1.0]]), ([], []), ([[]], [[]])]
)
def test_what_cannot_be_paired_is_refused(ours, theirs):
    with pytest.raises(ValueError, match="give the same seeds and tasks"):
        compare([np.array(x) for x in ours], [np.array(x) for x in theirs])
