"""Pictures of optimisers: what is drawn is what was measured, and ranks are as counted by hand."""

import numpy as np
import pytest

from analysis.bo_load import Difference, SuiteCurves
from analysis.bo_pictures import forest, rank_curves, ranks, regret_curves

TASKS = ("a", "a", "b", "b")
CURVES = {
    "nap": np.array([[0.4, 0.0], [0.2, 0.2], [0.3, 0.1], [0.3, 0.3]]),
    "gp-ei": np.array([[0.4, 0.1], [0.2, 0.0], [0.3, 0.1], [0.3, 0.1]]),
    "np-ei": np.array([[0.4, 0.2], [0.2, 0.2], [0.3, 0.1], [0.3, 0.2]]),
}
SUITE = SuiteCurves(TASKS, CURVES)


def test_ranks_are_those_counted_by_hand():
    found = ranks(CURVES)
    np.testing.assert_array_equal(found["nap"], [[2.0, 1.0], [2.0, 2.5], [2.0, 2.0], [2.0, 3.0]])
    np.testing.assert_array_equal(found["gp-ei"], [[2.0, 2.0], [2.0, 1.0], [2.0, 2.0], [2.0, 1.0]])
    np.testing.assert_array_equal(found["np-ei"], [[2.0, 3.0], [2.0, 2.5], [2.0, 2.0], [2.0, 2.0]])


def test_regrets_that_differ_after_the_eighth_decimal_tie():
    found = ranks({"nap": np.array([[0.1, 0.1]]), "gp-ei": np.array([[0.1 + 1e-9, 0.1 + 1e-7]])})
    np.testing.assert_array_equal(found["nap"], [[1.5, 1.0]])


def test_numbers_of_regret_are_means_over_tasks():
    picture = regret_curves({"xgb": SUITE})
    np.testing.assert_allclose(picture.numbers["xgb/nap/mean"], [0.3, 0.15])
    np.testing.assert_array_equal(picture.numbers["xgb/nap/evaluations"], [0.0, 1.0])
    assert np.all(picture.numbers["xgb/nap/low"] <= picture.numbers["xgb/nap/mean"])
    (axis,) = picture.figure.axes
    drawn = {line.get_label(): line.get_ydata() for line in axis.lines}
    np.testing.assert_array_equal(drawn["GP-EI"], picture.numbers["xgb/gp-ei/mean"])
    assert axis.get_yscale() == "log" and "evaluations" in axis.get_xlabel() and "share" in axis.get_ylabel()


def test_every_suite_has_a_panel_that_says_how_many_tasks_it_has():
    titles = [axis.get_title("left") for axis in regret_curves({"xgb": SUITE, "bbob": SUITE}).figure.axes]
    assert titles == ["xgb (2 tasks)", "bbob (2 tasks)"]


def test_a_regret_of_zero_throughout_can_be_drawn():
    picture = regret_curves({"xgb": SuiteCurves(("a", "b"), {"nap": np.zeros((2, 3))})})
    np.testing.assert_array_equal(picture.numbers["xgb/nap/mean"], np.zeros(3))


def test_random_search_is_drawn_and_not_ranked():
    suite = SuiteCurves(TASKS, CURVES | {"random": np.full((4, 2), 0.5)})
    assert "expectation" in regret_curves({"xgb": suite}).caption
    picture = rank_curves({"xgb": suite})
    np.testing.assert_array_equal(picture.numbers["xgb/nap/mean"], [2.0, 2.125])  # as without it
    assert "xgb/random/mean" not in picture.numbers and "left out" in picture.caption
    assert rank_curves({"xgb": SuiteCurves(TASKS, {"nap": CURVES["nap"], "random": CURVES["gp-ei"]})}) is None


def test_random_search_that_ran_in_studies_is_ranked_from_its_first_trial_on():
    study = SuiteCurves(TASKS, CURVES | {"random": np.full((4, 2), 0.5)}, first=5)
    regret, rank = regret_curves({"optuna": study}), rank_curves({"optuna": study})
    assert "Random" not in regret.caption + rank.caption and "pool" not in regret.caption + rank.caption
    np.testing.assert_array_equal(rank.numbers["optuna/random/mean"], [4.0, 4.0])
    np.testing.assert_array_equal(regret.numbers["optuna/random/evaluations"], [5.0, 6.0])
    assert [axis.get_xlabel() for axis in rank.figure.axes] == ["trials, the 5 start-up ones included"]


def test_beside_studies_the_suites_in_which_random_search_is_expected_are_named():
    arms = CURVES | {"random": np.full((4, 2), 0.5)}
    both = {"xgb": SuiteCurves(TASKS, arms), "optuna": SuiteCurves(TASKS, arms, first=5)}
    assert "Random search on xgb is its expectation" in regret_curves(both).caption
    picture = rank_curves(both)
    assert "Random search on xgb is left out" in picture.caption
    assert "optuna/random/mean" in picture.numbers and "xgb/random/mean" not in picture.numbers


def test_better_ranks_are_higher_up():
    (axis,) = rank_curves({"xgb": SUITE}).figure.axes
    bottom, top = axis.get_ylim()
    assert top < bottom


def test_the_forest_holds_every_interval_and_fills_what_excludes_zero():
    differences = [
        Difference("xgb", "nap", "gp-ei", -0.1, -0.2, 0.1, 13),
        Difference("xgb", "nap", "random", -0.3, -0.4, -0.2, 13),
    ]
    picture = forest(differences)
    np.testing.assert_array_equal(picture.numbers["xgb/nap-gp-ei"], [-0.1, -0.2, 0.1])
    (axis,) = picture.figure.axes
    faces = {line.get_xdata()[0]: line.get_markerfacecolor() for line in axis.lines if line.get_marker() == "o"}
    assert faces[-0.1] == "white" and faces[-0.3] != "white"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["NAP − GP-EI", "NAP − random"]
    places = {line.get_xdata()[0]: line.get_ydata()[0] for line in axis.lines if line.get_marker() == "o"}
    assert places[-0.1] == 1 and places[-0.3] == 0  # the first at the top


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="no curves"):
        regret_curves({})
    with pytest.raises(ValueError, match="no difference"):
        forest([])
