"""Pictures of pretraining: updates on the axis, gaps by length, the floor under the cross-entropy."""

import numpy as np
import pytest

from analysis.incontext_training import final_mean, gap_curves, loss_curve, probe_lengths


@pytest.fixture(scope="module")
def metrics():
    """Returns 40 steps whose gap after n transitions is (n + 1) / step above an entropy of 2 / (n + 1)."""
    step = np.arange(1.0, 41.0)
    columns = {"step": step, "loss": 1.0 + 1.0 / step, "gradient_norm": 0.5 / step}
    for length in (0, 2, 10):
        columns[f"bayes_gap/{length}"] = (length + 1.0) / step
        columns[f"cross_entropy/{length}"] = (length + 1.0) / step + 2.0 / (length + 1.0)
    return columns


def test_lengths_are_numbers_in_order():
    names = ("bayes_gap/10", "bayes_gap/2", "cross_entropy/5", "bayes_gap/x")
    assert probe_lengths(dict.fromkeys(names, np.zeros(1))) == [2, 10]


def test_the_final_mean_is_over_the_last_tenth_of_what_is_finite():
    assert final_mean(np.array([9.0] * 18 + [1.0, 3.0])) == 2.0
    assert final_mean(np.array([9.0] * 18 + [np.nan, 3.0])) == 3.0
    assert final_mean(np.array([4.0])) == 4.0 and np.isnan(final_mean(np.array([1.0, np.nan])))


def test_curves_lie_over_updates(metrics):
    picture = loss_curve(metrics, 25)
    np.testing.assert_array_equal(picture.numbers["updates"], 25.0 * metrics["step"])
    np.testing.assert_array_equal(picture.numbers["loss"], metrics["loss"])
    for axis in picture.figure.axes:
        np.testing.assert_array_equal(axis.lines[0].get_xdata(), 25.0 * metrics["step"])
    assert "running mean over 3" in picture.caption


def test_returns_of_first_and_last_episodes_share_a_scale(metrics):
    returns = {"first_return": np.zeros(40), "last_return": np.linspace(0.0, 8.0, 40)}
    *_, first, last = loss_curve(metrics | returns, 1).figure.axes
    assert "first" in first.get_title(loc="left") and "last" in last.get_title(loc="left")
    assert first.get_ylim() == last.get_ylim() and last.get_ylim()[1] >= 8.0


def test_the_floor_is_the_cross_entropy_less_the_gap(metrics):
    picture = gap_curves(metrics, 10)
    np.testing.assert_allclose(picture.numbers["floor"], [2.0, 2.0 / 3.0, 2.0 / 11.0], rtol=1e-12)  # float64 rounding
    final = np.mean([1.0 / step for step in (37, 38, 39, 40)])
    np.testing.assert_allclose(picture.numbers["cross_entropy"][0], 2.0 + final, rtol=1e-12)
    model, floor = picture.figure.axes[1].lines
    np.testing.assert_array_equal(model.get_ydata(), picture.numbers["cross_entropy"])
    np.testing.assert_array_equal(floor.get_ydata(), picture.numbers["floor"])


def test_longer_contexts_are_darker(metrics):
    lines = gap_curves(metrics, 10).figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["n = 0", "n = 2", "n = 10"]
    lightness = [np.dot(line.get_color()[:3], (0.21, 0.72, 0.07)) for line in lines]
    assert lightness == sorted(lightness, reverse=True)


def test_a_gap_of_nothing_leaves_a_hole_on_the_logarithmic_axis(metrics):
    gap = np.where(metrics["step"] > 20.0, 0.0, metrics["bayes_gap/0"])
    axis = gap_curves(metrics | {"bayes_gap/0": gap}, 10).figure.axes[0]
    assert axis.get_yscale() == "log" and np.isnan(axis.lines[0].get_ydata()[-1])


def test_one_step_alone_is_drawn(metrics):
    first = {name: column[:1] for name, column in metrics.items()}
    assert loss_curve(first, 10).figure.axes[0].lines[-1].get_marker() == "o"
    assert gap_curves(first, 10).figure.axes[0].lines[0].get_marker() == "o"


def test_without_records_there_are_no_pictures():
    assert loss_curve({"step": np.arange(3.0)}, 1) is None and gap_curves({"loss": np.arange(3.0)}, 1) is None
