"""Pictures of surfaces: what is drawn is what is saved, on one scale."""

import numpy as np
import pytest

from analysis.drift import FRACTIONS, make_surfaces, reference_drifts, rule_drift
from analysis.drift_pictures import ROBUST, VISIBLE, drift_slope, drift_surface


def surfaces_of(drift, lifetimes=(100.0,)):
    return make_surfaces(drift, lifetimes=lifetimes, num_points=33)


@pytest.fixture(scope="module")
def references():
    return {arm: surfaces_of(drift) for arm, drift in reference_drifts().items()}


def panels(picture):
    """Returns {title: axis} of the heat maps, first row first; later rows get a star more."""
    found = {}
    for axis in (axis for axis in picture.figure.axes if axis.images):
        title = axis.get_title(loc="left")
        found[title + "*" * sum(name.rstrip("*") == title for name in found)] = axis
    return found


@pytest.mark.parametrize(("draw", "name"), [(drift_surface, "drift"), (drift_slope, "slope")])
def test_what_is_drawn_is_what_is_saved(planted, references, draw, name):
    picture = draw(surfaces_of(rule_drift(planted.closing)), references)
    drawn, numbers = panels(picture), picture.numbers
    assert list(drawn) == [*(f"n/N = {fraction:g}" for fraction in FRACTIONS), "PPO", "DPO"]
    for at, fraction in enumerate(FRACTIONS):
        np.testing.assert_array_equal(drawn[f"n/N = {fraction:g}"].images[0].get_array(), numbers[name][0, at])
    for arm in ("ppo", "dpo"):
        np.testing.assert_array_equal(drawn[arm.upper()].images[0].get_array(), numbers[arm])
        np.testing.assert_array_equal(numbers[arm], getattr(references[arm], name)[0, 0])
    assert len({numbers[name][0, at].tobytes() for at in range(len(FRACTIONS))}) == len(FRACTIONS)


def test_all_panels_share_one_robust_scale_which_is_symmetric_where_signed(planted, references):
    surfaces = surfaces_of(rule_drift(planted.closing))
    for draw, name in ((drift_surface, "drift"), (drift_slope, "slope")):
        picture = draw(surfaces, references)
        limits = {axis.images[0].get_clim() for axis in panels(picture).values()}
        every = np.concatenate([getattr(s, name).ravel() for s in (surfaces, *references.values())])
        top = pytest.approx(np.percentile(np.abs(every), ROBUST))
        assert len(limits) == 1 and (low_high := limits.pop())[1] == top
        assert low_high[0] == (0.0 if name == "drift" else -low_high[1])


def test_maps_lie_upright_over_log_ratio_and_advantage(planted, references):
    axis = panels(drift_slope(surfaces_of(rule_drift(planted.ppo)), references))["PPO"]
    assert axis.images[0].get_extent() == [-1.0, 1.0, -4.0, 4.0] and axis.images[0].origin == "lower"
    np.testing.assert_allclose(axis.get_xticks(), np.log([0.5, 1.0, 2.0]))
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.5", "1", "2"]


def test_the_line_is_where_the_push_ends(references):
    axis = panels(drift_slope(references["ppo"], references))["PPO"]
    paths = [path.vertices for lines in axis.collections for path in lines.get_paths()]
    upper = np.concatenate([vertices[vertices[:, 1] > 0] for vertices in paths])
    lower = np.concatenate([vertices[vertices[:, 1] < 0] for vertices in paths])
    step = 2.0 / 32  # the grid that the line is interpolated on
    np.testing.assert_allclose(upper[:, 0], np.log(1.2), atol=step)
    np.testing.assert_allclose(lower[:, 0], np.log(0.8), atol=step)
    assert len(upper) > 5 and len(lower) > 5 and VISIBLE < 0.01


def test_a_rule_that_sees_the_horizon_gets_a_row_for_each(planted, references):
    surfaces = surfaces_of(rule_drift(planted.horizon), (5.0, 16.0, 50.0))
    picture = drift_surface(surfaces, references)
    drawn = panels(picture)
    assert len(drawn) == 3 * len(FRACTIONS) + 2
    np.testing.assert_array_equal(drawn["n/N = 0.5**"].images[0].get_array(), surfaces.drift[2, 2])
    labels = [axis.get_ylabel() for axis in drawn.values() if axis.get_ylabel()]
    assert [label.split("\n")[1] for label in labels] == ["N = 5", "N = 16", "N = 50"]


def test_a_blind_rule_gets_one_panel_with_its_name(planted, references):
    picture = drift_surface(surfaces_of(rule_drift(planted.blind)), references)
    assert list(panels(picture)) == ["discovered rule", "PPO", "DPO"]
    assert "points n/N" not in picture.caption and "PPO and DPO beside it" in picture.caption
