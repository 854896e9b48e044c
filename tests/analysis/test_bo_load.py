"""Curves and differences of optimisers: order, sign, means over tasks, and refusal of what is damaged."""

import numpy as np
import pytest

from analysis.bo_load import (
    by_task,
    mean_band,
    measured,
    optimiser_order,
    read_differences,
    read_suites,
    studies,
    task_band,
)
from analysis.load import read_rows


def difference(arm, minus, mean, low, high, env="xgb"):
    """Returns a row as evaluation files have it: of a difference there is no interquartile mean."""
    row = {"arm": arm, "env": env, "setting": {"minus": minus, "horizon": 3}, "metric": "regret_auc_difference"}
    return row | {"mean": mean, "low": low, "high": high, "confidence": 0.95, "values": [mean, mean]}


def read(tmp_path, *rows):
    return read_rows(tmp_path / "evaluation.json", {"schema": 1, "rows": list(rows)})


def test_rows_of_differences_have_a_mean_and_no_interquartile_mean(tmp_path):
    (row,) = read(tmp_path, difference("nap", "gp-ei", -0.1, -0.2, 0.0))
    assert row.mean == -0.1 and np.isnan(row.iqm)


def test_differences_are_of_the_model_minus_its_rivals(tmp_path):
    rows = read(
        tmp_path,
        difference("nap", "gp-ei", -0.1, -0.2, 0.05),
        difference("np-ei-pretrained", "nap", 0.3, 0.1, 0.4),
        difference("gp-ei", "random", -0.5, -0.6, -0.4),
    )
    first, second, third = read_differences(rows)
    assert (first.arm, first.minus, first.mean, first.low, first.high) == ("nap", "np-ei-pretrained", -0.3, -0.4, -0.1)
    assert (second.arm, second.minus) == ("nap", "gp-ei") and second.includes_zero and not first.includes_zero
    assert (third.arm, third.minus, third.num_tasks) == ("gp-ei", "random", 2)


def test_turning_a_difference_twice_changes_nothing(tmp_path):
    (one,) = read_differences(read(tmp_path, difference("nap", "random", -0.1, -0.2, 0.05)))
    assert one.reversed().low == -0.05 and one.reversed().reversed() == one


def test_known_arms_come_first_and_others_follow_as_they_appear():
    known = ["nap", "tpe", "tpe-5-startup", "random"]
    assert optimiser_order(["tpe", "random", "cma", "tpe-5-startup", "nap", "tpe"]) == [*known, "cma"]


def test_seeds_of_a_task_are_averaged_before_tasks():
    values, tasks = np.array([[1.0], [3.0], [10.0]]), ("a", "a", "b")
    np.testing.assert_array_equal(by_task(values, tasks), [[2.0], [10.0]])
    band = task_band(values, tasks)
    assert band.mean[0] == 6.0 and band.low[0] == 2.0 and band.high[0] == 10.0  # of two tasks a quarter is one alone


def test_equal_values_have_no_spread():
    assert [float(end) for end in mean_band(np.full(5, 0.25))] == [0.25, 0.25, 0.25]


def test_curves_come_back_by_suite_and_arm(tmp_path):
    curves = np.arange(6.0).reshape(2, 3)
    names = {"a/b/random": curves, "a/b/nap": 2.0 * curves, "a/b/tasks": np.array(["x", "y"])}
    np.savez(tmp_path / "curves.npz", **names)
    suites = read_suites(tmp_path / "curves.npz")
    assert (
        list(suites) == ["a/b"]
        and suites["a/b"].tasks == ("x", "y")
        and list(suites["a/b"].regret)
        == [
            "nap",
            "random",
        ]
    )
    np.testing.assert_array_equal(suites["a/b"].regret["nap"], 2.0 * curves)
    assert read_suites(tmp_path / "absent.npz") == {}


def test_curves_of_studies_begin_where_their_rows_say(tmp_path):
    arrays = {f"{env}/{name}": array for env in ("xgb", "optuna") for name, array in
              {"random": np.zeros((1, 2)), "tasks": np.array(["x"])}.items()}  # fmt: skip
    np.savez(tmp_path / "curves.npz", **arrays)
    rows = read(tmp_path, *({"arm": "random", "env": env, "setting": {"horizon": 6}, "metric": "regret_auc",
                             "mean": 0.0, "low": 0.0, "high": 0.0, "confidence": 0.95} | more
                            for env, more in (("xgb", {}), ("optuna", {"first": 5}))))  # fmt: skip
    suites = read_suites(tmp_path / "curves.npz", rows)
    assert (suites["xgb"].first, suites["optuna"].first) == (0, 5)
    assert suites["optuna"].is_study and not suites["xgb"].is_study
    assert measured(rows) == ["xgb", "optuna"] and studies(rows) == ["optuna"]


@pytest.mark.parametrize(
    "arrays",
    [
        {"xgb/nap": np.zeros((2, 3))},
        {"xgb/nap": np.zeros((2, 3)), "xgb/tasks": np.array(["a"])},
        {"xgb/nap": np.zeros((2, 3)), "xgb/random": np.zeros((2, 4)), "xgb/tasks": np.array(["a", "b"])},
        {"nap": np.zeros((2, 3)), "tasks": np.array(["a", "b"])},
    ],
)
def test_curves_that_do_not_belong_together_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "curves.npz", **arrays)
    with pytest.raises(ValueError, match="evaluate again"):
        read_suites(tmp_path / "curves.npz")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "curves.npz").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(ValueError, match="damaged"):
        read_suites(tmp_path / "curves.npz")
