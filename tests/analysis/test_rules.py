"""Schedules of a rule and their trends."""

import numpy as np
import pytest
import scipy.stats

from analysis.load import load_run
from analysis.rules import (
    AGENT_QUANTITIES,
    DRIFT_TIME_CAVEAT,
    RULE_QUANTITIES,
    TIME_CAVEAT,
    dynamicity,
    life_fraction,
    schedule_grid,
    spearman_correlation,
    table_quantities,
    target_grid,
)
from metarl.statistics import bootstrap_mean_band, stratified_bootstrap

ROUNDING = 1e-12  # float64 sums of a few hundred numbers of order one


@pytest.fixture(scope="module")
def lives(run_directory):
    return load_run(run_directory).lives


def test_life_fraction_counts_updates_already_applied():
    np.testing.assert_allclose(life_fraction(4), [0.0, 0.25, 0.5, 0.75])


def test_spearman_correlation_equals_scipy_with_ties():
    generator = np.random.default_rng(10)
    x, y = generator.integers(0, 4, 15).astype(float), generator.integers(0, 9, 15).astype(float)
    assert spearman_correlation(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=ROUNDING)


def test_spearman_correlation_sees_order_only():
    time = life_fraction(7)
    assert spearman_correlation(np.exp(5 * time), time) == pytest.approx(1.0)
    assert spearman_correlation(-(time**3), time) == pytest.approx(-1.0)
    assert spearman_correlation(np.ones(7), time) == 0.0


def test_spearman_correlation_uses_the_points_that_exist():
    x = np.array([np.nan, 1.0, 2.0, np.nan, 3.0])
    assert spearman_correlation(x, np.arange(5.0)) == pytest.approx(1.0)
    assert spearman_correlation(np.array([np.nan, 1.0]), np.arange(2.0)) == 0.0


def test_dynamicity_is_the_mean_correlation_over_tasks_with_its_interval(lives):
    (entry,) = dynamicity({"discovered": {50: lives["discovered"][50]}}, ["pi_hat_abs"])
    correlations = [
        scipy.stats.spearmanr(row, life_fraction(50)).statistic for row in lives["discovered"][50]["pi_hat_abs"]
    ]
    assert entry.correlation == pytest.approx(np.mean(correlations), abs=ROUNDING)
    assert (entry.low, entry.high) == pytest.approx(stratified_bootstrap(correlations, np.mean), abs=ROUNDING)
    assert (entry.arm, entry.quantity, entry.horizon) == ("discovered", "pi_hat_abs", 50)


def test_dynamicity_finds_trends_and_their_absence(lives):
    found = {(e.arm, e.quantity, e.horizon): e for e in dynamicity(lives, ["update_norm_policy", "pi_hat_mean"])}
    assert found["discovered", "update_norm_policy", 100].high < -0.9
    still = found["initial", "update_norm_policy", 100]  # noise around a constant
    # A correlation of 100 independent points has standard deviation 0.1, the mean over 24 tasks 0.02.
    assert abs(still.correlation) < 0.08 and still.low < still.correlation < still.high
    assert np.isnan(found["initial", "pi_hat_mean", 100].correlation)
    assert ("a2c", "pi_hat_mean", 100) not in found


def test_the_caveat_says_that_only_the_probe_isolates_time():
    assert "Only the fixed-batch probe" in TIME_CAVEAT and "isolates time" in TIME_CAVEAT


def test_schedule_grid_has_an_arm_per_column_and_means_over_tasks(lives, synthetic):
    picture = schedule_grid(lives)
    titles = [axis.get_title(loc="left") for axis in picture.figure.axes[:3]]
    num_recorded = len(AGENT_QUANTITIES) - 1  # no arm has ratios to clip
    assert titles == ["discovered rule", "A2C", "initial rule"] and len(picture.figure.axes) == 3 * num_recorded
    for arm in lives:
        for horizon in synthetic.HORIZONS:
            mean = picture.numbers[f"{arm}/{horizon}/policy_entropy/mean"]
            np.testing.assert_allclose(mean, lives[arm][horizon]["policy_entropy"].mean(0), atol=ROUNDING)


def test_a_schedule_is_drawn_against_its_own_fraction_of_life(lives):
    lines = {line.get_label(): line for line in schedule_grid(lives).figure.axes[0].lines}
    assert list(lines) == ["N = 10", "N = 25", "N = 50", "N = 100"]
    np.testing.assert_array_equal(lines["N = 25"].get_xdata(), life_fraction(25))
    assert len({line.get_color() for line in lines.values()}) == len(lines)
    same = [line.get_color() for line in schedule_grid(lives).figure.axes[1].lines]
    assert same == [line.get_color() for line in lines.values()]


def test_target_grid_shows_the_discovered_rule_and_the_initial_one_dotted(lives):
    picture = target_grid(lives)
    assert len(picture.figure.axes) == len(RULE_QUANTITIES)
    band = bootstrap_mean_band(lives["discovered"][100]["y_hat_square"])
    for name, part in zip(("mean", "low", "high"), band, strict=True):
        np.testing.assert_array_equal(picture.numbers[f"discovered/100/y_hat_square/{name}"], part)
    np.testing.assert_allclose(picture.numbers["initial/100/y_hat_square/mean"], 0.125, rtol=1e-6)  # float32 on disk
    assert picture.figure.axes[0].lines[-1].get_label() == "initial rule"


def test_grids_without_their_quantities_are_none():
    life = {"a2c": {3: {"return": np.zeros((2, 3))}}}
    assert schedule_grid(life) is None and target_grid(life) is None and schedule_grid({}) is None


def test_a_quantity_that_only_some_arms_record_is_drawn_for_them_and_said_to_be_missing_for_others(lives):
    clipped = lives["discovered"][50] | {"clip_fraction": np.linspace(0.4, 0.1, 50)[None] * np.ones((24, 1))}
    both = {"discovered": {50: clipped}, "a2c": {50: lives["a2c"][50]}}
    picture = schedule_grid(both)
    assert len(picture.figure.axes) == 2 * len(AGENT_QUANTITIES) and "clip_fraction" in AGENT_QUANTITIES
    ours, theirs = picture.figure.axes[-2:]
    assert (
        len(ours.lines) == 1
        and not ours.texts
        and ours.get_ylabel().split() == "share of ratios outside 1 ± 0.2".split()
    )
    assert not theirs.lines and [words.get_text() for words in theirs.texts] == ["not recorded"]
    np.testing.assert_allclose(picture.numbers["discovered/50/clip_fraction/mean"], clipped["clip_fraction"][0])
    assert "a2c/50/clip_fraction/mean" not in picture.numbers


def test_the_table_of_a_rule_with_ratios_lists_them(lives):
    assert "clip_fraction" not in table_quantities(lives) and "pi_hat_mean" in table_quantities(lives)
    clipped = {"discovered": {50: {"clip_fraction": np.zeros((2, 50))}}}
    assert {"clip_fraction", "policy_kl"} <= set(table_quantities(clipped))
    assert table_quantities({"ppo": clipped["discovered"]}) == table_quantities({})


def test_the_caveat_of_a_drift_says_that_only_the_drift_isolates_time():
    assert "Only the drift function" in DRIFT_TIME_CAVEAT and "probe" not in DRIFT_TIME_CAVEAT
