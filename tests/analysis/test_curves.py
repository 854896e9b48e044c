"""Curves of a run: the numbers they are drawn from, and what is drawn."""

import numpy as np
import pytest

from analysis.curves import horizon_curve, learning_curve, life_curve, metric_curves, running_mean, smoothing_window
from analysis.load import load_run
from metarl.statistics import bootstrap_mean_band

ROUNDING = 1e-12  # float64 sums of a few hundred numbers of order one


@pytest.fixture(scope="module")
def run(run_directory):
    return load_run(run_directory)


def test_running_mean_of_three_shrinks_at_the_ends():
    np.testing.assert_allclose(running_mean(np.array([0.0, 3.0, 6.0, 0.0]), 3), [1.5, 3.0, 3.0, 3.0])


def test_running_mean_skips_what_is_not_finite():
    values = np.array([1.0, np.nan, 3.0, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(running_mean(values, 3), [1.0, 2.0, 3.0, 3.0, np.nan, np.nan])


@pytest.mark.parametrize("num_values", [1, 2, 7])
def test_running_mean_with_a_window_beyond_the_values_is_their_mean(num_values):
    values = np.arange(float(num_values))
    np.testing.assert_allclose(running_mean(values, 2 * num_values + 1), np.full(num_values, values.mean()))


@pytest.mark.parametrize("window", [0, 2])
def test_a_running_mean_needs_a_centre(window):
    with pytest.raises(ValueError, match="odd window"):
        running_mean(np.zeros(3), window)


def test_smoothing_windows_are_odd_and_about_a_twentieth():
    assert [smoothing_window(n) for n in (1, 39, 40, 400, 1000)] == [1, 1, 3, 21, 51]


def test_learning_curve_draws_fitness_and_its_running_mean(run):
    picture = learning_curve(run.metrics)
    window = smoothing_window(len(run.metrics["step"]))
    np.testing.assert_array_equal(picture.numbers["fitness"], run.metrics["fitness"])
    expected = running_mean(run.metrics["fitness"], window)
    np.testing.assert_array_equal(picture.numbers["fitness_running_mean"], expected)
    spread = running_mean(run.metrics["fitness"] - run.metrics["fitness_std"], window)
    np.testing.assert_array_equal(picture.numbers["spread_low"], spread)
    raw, smooth = picture.figure.axes[0].lines
    np.testing.assert_array_equal(raw.get_ydata(), run.metrics["fitness"])
    np.testing.assert_array_equal(smooth.get_ydata(), expected)
    assert f"running mean over {window} generations" in picture.caption


def test_environment_steps_stand_above_their_generations(run):
    picture = learning_curve(run.metrics)
    axis = picture.figure.axes[0]
    picture.figure.draw_without_rendering()
    (top,) = axis.child_axes
    steps, generations = run.metrics["env_steps_total"], run.metrics["step"]
    ticks = np.array(top.get_xticks())
    assert len(ticks) >= 3 and np.all((ticks >= steps[0]) & (ticks <= steps[-1]))
    low, high = axis.get_xlim()
    place = (np.array([top.transData.transform((tick, 0.0))[0] for tick in ticks]) - axis.bbox.x0) / axis.bbox.width
    # Where a tick stands as a fraction of the axis; the twin axis is linear between its interpolated ends' images.
    np.testing.assert_allclose(low + place * (high - low), np.interp(ticks, steps, generations), atol=1e-6)


def test_recorded_fitness_bounds_go_before_the_standard_deviation():
    metrics = {"step": np.arange(1.0, 4.0), "fitness": np.ones(3), "fitness_std": np.full(3, 9.0)}
    bounds = {"fitness_low": np.zeros(3), "fitness_high": np.full(3, 2.0)}
    np.testing.assert_array_equal(learning_curve(metrics | bounds).numbers["spread_high"], np.full(3, 2.0))
    assert "spread_low" not in learning_curve({"step": np.ones(1), "fitness": np.ones(1)}).numbers


@pytest.mark.parametrize("env_steps", [[5.0, 5.0], [np.nan, 5.0]])
def test_environment_steps_that_do_not_increase_get_no_axis(env_steps):
    metrics = {"step": np.array([1.0, 2.0]), "fitness": np.zeros(2), "env_steps_total": np.array(env_steps)}
    assert learning_curve(metrics).figure.axes[0].child_axes == []


def test_a_learning_curve_needs_fitness():
    with pytest.raises(ValueError, match="step and fitness are needed"):
        learning_curve({"step": np.ones(2)})


def test_metric_curves_leave_out_clocks_fitness_and_constants(run):
    assert set(metric_curves(run.metrics).numbers) == {"generation", "fitness_std", "update_norm", "tie_fraction"}
    assert metric_curves({"step": np.arange(3.0), "num_nonfinite": np.zeros(3)}) is None and metric_curves({}) is None


def test_horizon_curve_holds_the_evaluation_rows(run, synthetic):
    rows = [row for row in run.rows if row.metric == "normalised_return"]
    picture = horizon_curve(rows, (10.0, 50.0))
    for row in rows:
        index = synthetic.HORIZONS.index(row.horizon)
        for name in ("horizon", "iqm", "low", "high"):
            drawn = picture.numbers[f"{row.env}/{row.metric}/{row.arm}/{name}"]
            assert drawn[index] == getattr(row, name)
    assert len(picture.figure.axes) == 2
    np.testing.assert_array_equal(picture.numbers["trained"], [10.0, 50.0])


def test_trained_horizons_are_shaded_only_if_known(run):
    def shaded(picture):
        return [p.get_label() for p in picture.figure.axes[0].patches if p.get_label() == "horizons of meta-training"]

    assert (
        len(shaded(horizon_curve(run.rows, (10.0, 100.0)))) == 1
        and "Shaded" in horizon_curve(run.rows, (1.0, 2.0)).caption
    )
    assert shaded(horizon_curve(run.rows)) == [] and "Shaded" not in horizon_curve(run.rows).caption


def test_one_horizon_is_a_point_with_its_interval(run):
    rows = [row for row in run.rows if row.horizon == 50 and row.metric == "normalised_return"]
    segments = horizon_curve(rows).figure.axes[0].collections
    lines = [tuple(s[:, 1]) for c in segments if hasattr(c, "get_segments") for s in c.get_segments()]
    assert (rows[0].low, rows[0].high) in lines


def test_a_horizon_curve_needs_a_horizon(run):
    with pytest.raises(ValueError, match="no evaluation row has a horizon"):
        horizon_curve([run.rows[0]._replace(setting={})])


def test_life_curve_is_the_mean_over_tasks_with_its_bootstrap_band(run, synthetic):
    picture = life_curve(run.lives)
    assert len([axis for axis in picture.figure.axes if axis.get_visible()]) == len(synthetic.HORIZONS)
    values = run.lives["discovered"][50]["return"]
    np.testing.assert_allclose(picture.numbers["discovered/50/mean"], values.mean(0), atol=ROUNDING)
    for name, band in zip(("mean", "low", "high"), bootstrap_mean_band(values), strict=True):
        np.testing.assert_array_equal(picture.numbers[f"discovered/50/{name}"], band)


def test_lives_without_a_finished_episode_are_left_out_of_the_mean(run):
    values = run.lives["a2c"][25]["return"]
    assert np.isnan(values).any()
    np.testing.assert_allclose(life_curve(run.lives).numbers["a2c/25/mean"], np.nanmean(values, 0), atol=ROUNDING)


def test_long_lives_are_drawn_thinned_and_saved_in_full():
    life = {"discovered": {600: {"return": np.tile(np.arange(600.0), (2, 1))}}}
    picture = life_curve(life)
    assert len(picture.figure.axes[0].lines[0].get_xdata()) == 200 and "saved in full" in picture.caption
    np.testing.assert_array_equal(picture.numbers["discovered/600/mean"], np.arange(600.0))


def test_life_curve_of_a_quantity_that_some_arms_lack_shows_the_others(run):
    names = life_curve(run.lives, "pi_hat_abs").numbers
    assert not any(name.startswith("a2c") for name in names) and any(name.startswith("discovered") for name in names)
    with pytest.raises(ValueError, match="no agent life records 'speed'"):
        life_curve(run.lives, "speed")
