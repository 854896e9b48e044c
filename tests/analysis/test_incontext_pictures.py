"""Pictures of acting in context: what is drawn is what was measured, for all arms alike."""

import numpy as np
import pytest

from analysis.figure import MAX_POINTS, arm_label, make_figure
from analysis.incontext_load import INTERVAL, Outcome, Series, Setting
from analysis.incontext_pictures import (
    HEADROOM,
    drawn_points,
    offline_curves,
    plain_ticks,
    point_ticks,
    regret_curves,
    return_curves,
)
from metarl.experiments.findings import Curve

ENV = "bandit@horizon=50"
FINAL = {"uniform": 100.0, "dpt": 5.0, "ucb1.0": 20.0, "posterior": 4.0, "emp": 10.0}


def curves(protocols=("stepwise",), env=ENV):
    """Returns straight lines that end at FINAL."""
    ramp = np.arange(1.0, 51.0) / 50.0
    return {
        Series(env, "online", protocol, arm): Curve(final * ramp, 0.05 * final * ramp)
        for protocol in protocols
        for arm, final in FINAL.items()
    }


def drawn(axis):
    return {line.get_label(): line for line in axis.lines}


def test_regret_is_drawn_for_every_arm_in_both_panels():
    picture = regret_curves(ENV, curves())
    for axis in picture.figure.axes:
        assert set(drawn(axis)) == {arm_label(arm) for arm in FINAL}
        for arm in FINAL:
            expected = curves()[Series(ENV, "online", "stepwise", arm)].mean
            np.testing.assert_array_equal(drawn(axis)[arm_label(arm)].get_ydata(), expected)
    assert [axis.get_yscale() for axis in picture.figure.axes] == ["log", "linear"]
    np.testing.assert_array_equal(picture.numbers["dpt/x"], np.arange(1.0, 51.0))
    np.testing.assert_array_equal(picture.numbers["dpt/error"], 0.25 * picture.numbers["dpt/x"] / 50.0)


def test_bands_are_95_percent_intervals():
    axis = regret_curves(ENV, curves()).figure.axes[1]
    boxes = [band.get_paths()[0].get_extents() for band in axis.collections]
    assert max(box.ymax for box in boxes) == pytest.approx(100.0 * (1.0 + 0.05 * INTERVAL))


def test_the_linear_panel_ends_above_the_better_half():
    assert regret_curves(ENV, curves()).figure.axes[1].get_ylim()[1] == pytest.approx(HEADROOM * 10.0)


def test_the_linear_panel_shows_the_model_even_if_it_is_worst():
    worst = {series: curve for series, curve in curves().items() if series.arm != "dpt"}
    worst[Series(ENV, "online", "stepwise", "dpt")] = Curve(np.full(50, 500.0), np.ones(50))
    assert regret_curves(ENV, worst).figure.axes[1].get_ylim()[1] == pytest.approx(HEADROOM * 500.0)


def test_models_lie_on_top():
    lines = drawn(regret_curves(ENV, curves()).figure.axes[0])
    assert all(lines["DPT"].get_zorder() > line.get_zorder() for name, line in lines.items() if name != "DPT")


def test_the_legend_stays_inside_the_figure_and_off_the_panels():
    arms = (
        "dpt",
        "dpt-greedy",
        "posterior",
        "sampled",
        "argmax",
        "mean",
        "linreg",
        "thompson",
        "lints",
        "linucb",
        "emp",
    )
    found = {Series(ENV, "online", "stepwise", arm): Curve(np.arange(1.0, 5.0), np.ones(4)) for arm in arms}
    figure = regret_curves(ENV, found).figure
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0.0 and box.x1 <= figure.bbox.x1
    assert all(box.y0 >= axis.get_window_extent().y1 for axis in figure.axes)


def test_returns_have_a_panel_for_each_protocol_on_one_scale():
    picture = return_curves(ENV, curves(("official", "frozen", "stepwise")))
    titles = [axis.get_title(loc="left") for axis in picture.figure.axes]
    assert titles == [
        "context: the episode before",
        "context: all episodes before",
        "context: every step until now",
    ]
    assert len({axis.get_ylim() for axis in picture.figure.axes}) == 1
    expected = curves()[Series(ENV, "online", "stepwise", "emp")].mean
    np.testing.assert_array_equal(picture.numbers["frozen/emp/mean"], expected)


def test_who_learns_from_scratch_is_drawn_beside_every_protocol():
    scratch = {Series(ENV, "online", "scratch", "ppo"): Curve(np.linspace(0.0, 1.0, 50), np.ones(50))}
    picture = return_curves(ENV, curves(("frozen", "stepwise")) | scratch)
    assert len(picture.figure.axes) == 2 and "PPO starts anew" in picture.caption
    for axis in picture.figure.axes:
        np.testing.assert_array_equal(drawn(axis)["PPO"].get_ydata(), np.linspace(0.0, 1.0, 50))


def suboptimality(**arms):
    setting = Setting(ENV, "offline", "", "suboptimality", "context")
    sizes = (0, 1, 10)
    return {
        setting: [
            Outcome(arm, n, mean, 0.01, 64) for arm, means in arms.items() for n, mean in zip(sizes, means, strict=True)
        ]
    }


def test_suboptimality_is_logarithmic_and_includes_the_empty_data_set():
    picture = offline_curves(ENV, suboptimality(dpt=(0.3, 0.2, 0.1), emp=(0.3, 0.1, 0.0)))
    (axis,) = picture.figure.axes
    np.testing.assert_array_equal(drawn(axis)["DPT"].get_xdata(), [0.0, 1.0, 10.0])
    np.testing.assert_array_equal(drawn(axis)["empirical mean"].get_ydata(), [0.3, 0.1, np.nan])
    assert axis.get_yscale() == "log" and axis.get_xlim()[0] <= 0.0 < axis.get_ylim()[0] < 0.1


def test_returns_after_data_sets_are_linear_with_a_panel_for_each_protocol():
    rows = next(iter(suboptimality(dpt=(0.0, -2.0, 4.0)).values()))
    outcomes = {Setting("darkroom", "offline", p, "return", "context"): rows for p in ("frozen", "stepwise")}
    picture = offline_curves("darkroom", outcomes)
    assert [axis.get_title(loc="left") for axis in picture.figure.axes] == [
        "context: the data set",
        "context: the data set, then every step",
    ]
    assert {axis.get_yscale() for axis in picture.figure.axes} == {"linear"}
    np.testing.assert_array_equal(picture.numbers["stepwise/dpt/mean"], [0.0, -2.0, 4.0])


def test_data_of_an_expert_have_panels_of_their_own():
    rows = next(iter(suboptimality(dpt=(0.0, -2.0, 4.0)).values()))
    ways = ("frozen", "stepwise", "frozen-expert", "stepwise-expert")
    picture = offline_curves("d", {Setting("d", "offline", way, "return", "context"): rows for way in ways})
    titles = [axis.get_title(loc="left") for axis in picture.figure.axes]
    assert len(titles) == 4 and titles[2:] == [
        "context: an expert's data",
        "context: an expert's data, then every step",
    ]
    bandit = {Setting("b", "offline", way, "suboptimality", "context"): rows for way in ("", "frozen-expert")}
    titles = [axis.get_title(loc="left") for axis in offline_curves("b", bandit).figure.axes]
    assert titles == ["context: the data set", "context: an expert's data"]


@pytest.mark.parametrize("draw", [regret_curves, return_curves, offline_curves])
def test_a_domain_without_numbers_is_refused(draw):
    with pytest.raises(ValueError, match="'elsewhere'"):
        draw("elsewhere", {})


def test_crowded_points_keep_ticks_but_lose_labels():
    _, axes = make_figure(height=1.0)
    axes[0, 0].set_xscale("log")
    point_ticks(axes[0, 0], [1, 2, 40, 100], 43)
    labels = [axes[0, 0].xaxis.get_major_formatter()(tick) for tick in axes[0, 0].get_xticks()]
    assert labels == ["1", "2", "", "43"]


@pytest.mark.parametrize(("top", "labels"), [(5.0, ["2", "3", ""]), (50.0, ["2", "", "5"]), (5000.0, ["", "", ""])])
def test_ticks_between_powers_of_ten_are_labelled_where_these_are_few(top, labels):
    _, axes = make_figure(height=1.0)
    axes[0, 0].set(yscale="log", ylim=(1.0, top))
    plain_ticks(axes[0, 0])
    minor = axes[0, 0].yaxis.get_minor_formatter()
    assert [minor(value) for value in (2.0, 3.0, 5.0)] == labels and axes[0, 0].yaxis.get_major_formatter()(
        10.0
    ) == "10"


def test_long_curves_are_drawn_at_points_that_are_even_in_the_logarithm():
    np.testing.assert_array_equal(drawn_points(MAX_POINTS), np.arange(MAX_POINTS))
    at = drawn_points(2000)
    assert at[0] == 0 and at[-1] == 1999 and len(at) <= MAX_POINTS and np.all(np.diff(at) > 0)
    steps = np.diff(np.log(at[at >= 200] + 1.0))
    np.testing.assert_allclose(steps, np.log(2000.0) / (MAX_POINTS - 1), atol=1.0 / 200.0)  # rounding to whole points
