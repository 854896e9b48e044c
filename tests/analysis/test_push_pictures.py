"""The picture of the implied clip."""

import numpy as np
import pytest

from analysis.drift import make_surfaces, reference_drifts, rule_drift
from analysis.push import ADVANTAGES, implied_clip
from analysis.push_pictures import drift_clip

LIFE = (0.0, 0.25, 0.5, 0.75, 1.0)


def picture_of(rule, lifetimes=(100.0,)):
    drift = rule_drift(rule)
    life = make_surfaces(drift, LIFE, lifetimes, num_points=65, advantages=ADVANTAGES)
    references = {arm: implied_clip(other)[0, 0] for arm, other in reference_drifts().items()}
    return drift_clip(life, implied_clip(drift, LIFE, lifetimes), references)


@pytest.fixture(scope="module")
def closing(planted):
    return picture_of(planted.closing)


def line(axis, label):
    (found,) = [line for line in axis.lines if line.get_label() == label]
    return found


def test_lines_are_the_saved_ratios_over_the_life(closing):
    for column, advantage in enumerate(ADVANTAGES):
        axis = closing.figure.axes[column]
        assert axis.get_title(loc="left") == f"A = {advantage:g}"
        drawn = line(axis, "discovered rule")
        np.testing.assert_array_equal(drawn.get_xdata(), LIFE)
        np.testing.assert_allclose(np.exp(drawn.get_ydata()), closing.numbers["clip"][0, :, column])
        np.testing.assert_allclose(np.exp(line(axis, "PPO").get_ydata()), 1.0 + 0.2 * np.sign(advantage), atol=1e-6)
        np.testing.assert_allclose(np.exp(line(axis, "DPO").get_ydata()), closing.numbers["dpo"][column])
    np.testing.assert_array_equal(closing.numbers["advantages"], ADVANTAGES)


def test_areas_tell_pushed_on_from_let_go_from_rolled_back(closing, planted):
    stages = closing.figure.axes[0].images[0].get_array()  # A = 2: ratio upwards, n/N to the right
    ratios = np.exp(np.linspace(0.0, 1.0, 33))
    assert stages.shape == (33, len(LIFE))
    np.testing.assert_array_equal(stages[:, 0], np.where(ratios < 1.2, 3.0, 1.0))  # at n/N = 0 it is PPO
    push = closing.numbers["push"][0, -1, 0, 32:]  # wanes to nothing at 1.1
    np.testing.assert_array_equal(stages[:, -1], np.where(ratios >= 1.1, 0.0, np.where(push >= 0.5, 3.0, 2.0)))
    assert {0.0, 2.0, 3.0} == set(stages[:, -1].tolist())
    downwards = closing.figure.axes[3].images[0].get_array()  # A = -2: ratios from 1/e at the bottom to 1
    np.testing.assert_array_equal(downwards[:, 0], np.where(1.0 / ratios[::-1] > 0.8, 3.0, 1.0))


def test_the_caption_names_those_that_never_let_go(closing, planted):
    assert "the line of DPO is missing" in closing.caption
    endless = picture_of(planted.rule(ppo_init=False))
    assert "DPO or the discovered rule is missing" in endless.caption
    assert np.all(np.isnan(endless.numbers["clip"]))


def test_a_blind_rule_is_one_value_across(planted):
    picture = picture_of(planted.blind)
    assert picture.numbers["clip"].shape == (1, 1, 4) and "does not see time" in picture.caption
    drawn = line(picture.figure.axes[0], "discovered rule")
    np.testing.assert_array_equal(drawn.get_xdata(), [0.0, 1.0])
    np.testing.assert_allclose(np.exp(drawn.get_ydata()), picture.numbers["clip"][0, 0, 0])


def test_horizons_are_rows(planted):
    picture = picture_of(planted.horizon, (5.0, 50.0))
    axes = picture.figure.axes
    assert len(axes) == 8 and [axes[0].get_ylabel(), axes[4].get_ylabel()] == ["ratio r\nN = 5", "ratio r\nN = 50"]
    drawn = line(axes[5], "discovered rule").get_ydata()
    np.testing.assert_allclose(np.exp(drawn), picture.numbers["clip"][1, :, 1])
