"""Interquartile means, bootstrap intervals and comparisons."""

import itertools

import numpy as np
import pytest
import scipy.stats

from metarl.statistics import (
    Interval,
    bootstrap_mean_band,
    interquartile_mean,
    iqm_interval,
    paired_probability_of_improvement,
    probability_of_improvement,
    probability_of_improvement_interval,
    stratified_bootstrap,
    welch,
)

ROUNDING = 1e-12  # float64 sums of a few hundred numbers of order one


def test_interquartile_mean_of_zero_to_seven_averages_two_to_five():
    assert interquartile_mean([7, 0, 6, 1, 5, 2, 4, 3]) == 3.5
    assert interquartile_mean([0.0, 1.0, 2.0, 1e9]) == 1.5


@pytest.mark.parametrize("num_samples", [1, 2, 3, 4, 5, 7, 10, 32, 101])
def test_interquartile_mean_equals_scipy_trimmed_mean(num_samples):
    values = np.random.default_rng(num_samples).normal(size=(3, num_samples))
    for axis in (None, 0, 1):
        expected = scipy.stats.trim_mean(values, 0.25, axis=axis)
        np.testing.assert_allclose(interquartile_mean(values, axis), expected, atol=ROUNDING)


def test_fractional_trimming_weighs_the_outermost_kept_values():
    # A quarter of five values is 1.25: the second and fourth keep 0.75 of their weight, out of 2.5.
    expected = (0.75 * 2.0 + 3.0 + 0.75 * 10.0) / 2.5
    assert interquartile_mean([1.0, 2.0, 3.0, 10.0, 50.0], fractional=True) == pytest.approx(expected)
    assert interquartile_mean([1.0, 2.0, 6.0], fractional=True) == pytest.approx((0.25 + 2.0 + 1.5) / 1.5)


@pytest.mark.parametrize("num_samples", [4, 8, 64])
def test_fractional_and_whole_trimming_agree_when_four_divides_n(num_samples):
    values = np.random.default_rng(0).normal(size=(num_samples, 2))
    whole, fractional = interquartile_mean(values, 0), interquartile_mean(values, 0, fractional=True)
    np.testing.assert_allclose(whole, fractional, atol=ROUNDING)


def test_bootstrap_of_two_values_has_the_quantiles_of_the_enumerated_resamples():
    low, high = stratified_bootstrap([0.0, 1.0], np.mean, num_resamples=4000, confidence=0.4)
    # Resample means are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4; the 30 % and 70 % quantiles are both 1/2.
    assert (low, high) == (0.5, 0.5)
    assert stratified_bootstrap([0.0, 1.0], np.mean, num_resamples=4000, confidence=0.6) == (0.0, 1.0)


def test_bootstrap_stays_inside_each_stratum():
    values = np.array([[5.0, 5.0, 5.0], [-1.0, -1.0, -1.0]])
    assert stratified_bootstrap(values, np.mean) == (2.0, 2.0)
    low, high = stratified_bootstrap(values.ravel(), np.mean)
    assert low < 1.0 and high > 3.0


def test_bootstrap_does_not_depend_on_how_resamples_are_blocked(monkeypatch):
    values = np.random.default_rng(1).normal(size=(2, 6))
    whole = stratified_bootstrap(values, interquartile_mean, num_resamples=100)
    monkeypatch.setattr("metarl.statistics.MAX_BLOCK", 50)
    assert stratified_bootstrap(values, interquartile_mean, num_resamples=100) == whole


def test_bootstrap_depends_on_nothing_but_values_and_seed():
    values = np.random.default_rng(2).normal(size=20)
    first, second, other = (stratified_bootstrap(values, np.mean, seed=seed) for seed in (3, 3, 4))
    assert first == second != other


def test_bootstrap_interval_covers_the_mean_of_a_normal_at_its_nominal_rate():
    generator, hits = np.random.default_rng(5), 0
    for seed in range(400):
        low, high = stratified_bootstrap(generator.normal(2.0, 3.0, (2, 25)), np.mean, num_resamples=400, seed=seed)
        hits += low <= 2.0 <= high
    # 400 repeats of a 95 % interval: standard error 1.1 %; percentile intervals of 50 samples run 1 to 2 % short.
    assert 0.91 <= hits / 400 <= 0.975


def test_interval_holds_the_interquartile_mean_and_its_bootstrap():
    values = np.random.default_rng(6).exponential(size=(3, 12))
    low, high = stratified_bootstrap(values, interquartile_mean, confidence=0.9, seed=1)
    assert iqm_interval(values, confidence=0.9, seed=1) == Interval(float(interquartile_mean(values)), low, high, 0.9)


@pytest.mark.parametrize("values", [[0.3], [[0.3], [0.7]]])
def test_single_sample_interval_equals_the_point(values):
    interval = iqm_interval(values)
    assert interval.low == interval.iqm == interval.high


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "no sample"), (np.zeros((2, 0)), "no sample"), ([1.0, np.nan], "1 non-finite"), ([np.inf], "1 non-finite")],
)
def test_empty_and_non_finite_values_are_refused_in_one_sentence(values, message):
    for function in (interquartile_mean, iqm_interval, lambda v: probability_of_improvement(v, [1.0])):
        with pytest.raises(ValueError, match=message) as caught:
            function(values)
        assert "\n" not in str(caught.value) and not str(caught.value).endswith(".")


@pytest.mark.parametrize("options", [{"num_resamples": 0}, {"confidence": 1.0}, {"confidence": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="at least 1 resample and a confidence inside"):
        stratified_bootstrap([1.0, 2.0], np.mean, **options)


def test_three_axes_are_refused():
    with pytest.raises(ValueError, match="too many axes"):
        stratified_bootstrap(np.zeros((2, 2, 2)), np.mean)


def test_mean_band_contains_the_mean_and_closes_where_samples_agree():
    values = np.stack([np.full(8, 4.0), np.arange(8.0)], axis=1)
    mean, low, high = bootstrap_mean_band(values)
    np.testing.assert_allclose(mean, [4.0, 3.5], atol=ROUNDING)
    np.testing.assert_allclose([low[0], high[0]], [4.0, 4.0], atol=ROUNDING)
    # The standard error of the mean is 2.29 / sqrt(8) = 0.81, the 95 % half width about 1.6 (2000 resamples: +- 0.1).
    np.testing.assert_allclose([low[1], high[1]], [1.9, 5.1], atol=0.25)


def test_mean_band_does_not_depend_on_how_points_are_blocked(monkeypatch):
    values = np.random.default_rng(7).normal(size=(5, 9))
    whole = bootstrap_mean_band(values, num_resamples=50)
    monkeypatch.setattr("metarl.statistics.MAX_BLOCK", 100)
    np.testing.assert_allclose(bootstrap_mean_band(values, num_resamples=50), whole, atol=ROUNDING)


def test_mean_band_skips_missing_samples_and_is_missing_where_all_are():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan], [5.0, 5.0, np.nan]])
    mean, low, high = bootstrap_mean_band(values)
    np.testing.assert_allclose(mean, [3.0, 5.0, np.nan])
    np.testing.assert_allclose([low[1], high[1]], [5.0, 5.0], atol=ROUNDING)
    assert np.isnan(low[2]) and np.isnan(high[2]) and low[0] < 3.0 < high[0]


def test_mean_band_of_one_sample_is_the_sample():
    mean, low, high = bootstrap_mean_band(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(low, mean)
    np.testing.assert_array_equal(high, mean)


def test_probability_of_improvement_equals_the_enumeration_of_all_meetings():
    x, y = [0.0, 1.0, 2.0], [1.0, 3.0]
    expected = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(x, y)])
    assert probability_of_improvement(x, y) == pytest.approx(expected) == pytest.approx(1.5 / 6)
    assert probability_of_improvement(y, x) == pytest.approx(1.0 - expected)


def test_probability_of_improvement_equals_mann_whitney():
    generator = np.random.default_rng(8)
    x, y = generator.integers(0, 6, 30).astype(float), generator.integers(1, 7, 20).astype(float)
    expected = scipy.stats.mannwhitneyu(x, y).statistic / (30 * 20)
    assert probability_of_improvement(x, y) == pytest.approx(expected)


def test_probability_of_improvement_averages_strata():
    x, y = np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[0.0], [0.0]])
    assert probability_of_improvement(x, y) == 0.75


def test_pairing_uses_the_pairs_only():
    x, y = np.array([1.0, 11.0, 21.0, 5.0]), np.array([0.0, 10.0, 20.0, 5.0])
    assert paired_probability_of_improvement(x, y) == 3.5 / 4
    assert probability_of_improvement(x, y) < 3.5 / 4


@pytest.mark.parametrize("paired", [False, True])
def test_improvement_interval_surrounds_the_estimate(paired):
    generator = np.random.default_rng(9)
    task = generator.normal(size=(2, 40))
    x, y = task + 0.5 + generator.normal(size=(2, 40)), task + generator.normal(size=(2, 40))
    estimate = (paired_probability_of_improvement if paired else probability_of_improvement)(x, y)
    low, high = probability_of_improvement_interval(x, y, paired=paired)
    # A fraction near 0.6 of 80 pairs has a standard error of at most 5.6 %.
    assert low < estimate < high and 0.05 < high - low < 0.25


def test_certain_improvement_has_a_closed_interval():
    assert probability_of_improvement_interval([3.0, 4.0], [1.0, 2.0]) == (1.0, 1.0)


def test_unequal_strata_and_impossible_pairs_are_refused():
    with pytest.raises(ValueError, match="differ in strata"):
        probability_of_improvement(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="cannot be paired"):
        probability_of_improvement_interval([1.0, 2.0], [1.0], paired=True)


def test_welch_is_the_test_of_its_name():
    x, y = [5.0, 7.0], [1.0, 2.0]
    # t = 4.5 / sqrt(2 / 2 + .5 / 2) with (1.25)² / (1² + .25²) = 1.47 degrees of freedom.
    expected = 2 * scipy.stats.t.sf(4.5 / np.sqrt(1.25), 1.25**2 / (1 + 0.0625))
    assert welch(x, y) == pytest.approx(expected) and welch(y, x) == pytest.approx(expected)


@pytest.mark.parametrize(("x", "y"), [([1.0], [1.0, 2.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_welch_is_undefined_without_variation(x, y):
    assert welch(x, y) is None
