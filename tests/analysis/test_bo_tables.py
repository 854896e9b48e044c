"""Sentences and tables about optimisers follow from the numbers, and say when these leave something open."""

import html
import re

import pytest

from analysis.bo_load import Difference
from analysis.bo_tables import calibration_words, difference_words, key_figures, regret_table, verdict
from analysis.load import read_rows


def row(arm, metric, setting, values, env="xgb", **fields):
    mean = sum(values) / len(values)
    rest = {"iqm": mean, "low": min(values), "high": max(values), "confidence": 0.95, "mean": mean, "values": values}
    return {"arm": arm, "env": env, "setting": setting, "metric": metric} | rest | fields


def read(tmp_path, *rows):
    return read_rows(tmp_path / "evaluation.json", {"schema": 1, "rows": list(rows)})


def text(table):
    return html.unescape(str(table))


@pytest.fixture
def rows(tmp_path):
    """Returns two arms beside random search in four tasks."""
    level = {"random": 0.4, "gp-ei": 0.2, "nap": 0.1}
    found = [row(arm, "regret_auc", {"horizon": 5}, [x, x, x, x]) for arm, x in level.items()]
    found += [row(arm, "regret", {"evaluations": 0}, [0.5] * 4) for arm in level]
    found += [row(arm, "regret", {"evaluations": 5}, [x / 2.0] * 4) for arm, x in level.items()]
    found.append(
        row("nap", "regret_auc_difference", {"minus": "gp-ei", "horizon": 5}, [-0.1] * 4, low=-0.15, high=-0.05)
    )
    return read(tmp_path, *found)


def test_an_interval_with_zero_inside_is_said_to_leave_it_open():
    words = difference_words(Difference("xgb", "nap", "gp-ei", -0.01, -0.03, 0.02, 13))
    assert words == (
        "The AUC of NAP minus that of GP-EI is −0.0100 [−0.0300, +0.0200]; the interval includes zero, so that it is "
        "open which of them is better."
    )


@pytest.mark.parametrize(
    ("mean", "low", "high", "ending"),
    [
        (-0.02, -0.03, -0.01, "the interval excludes zero: NAP is better than GP-EI."),
        (0.02, 0.01, 0.03, "the interval excludes zero: GP-EI is better than NAP."),
        (0.0, 0.0, 0.0, "NAP and GP-EI did equally well in every task."),
        (-0.02, -0.03, 0.0, "open which of them is better."),
    ],
)
def test_who_is_better_is_said_only_if_the_interval_excludes_zero(mean, low, high, ending):
    assert difference_words(Difference("xgb", "nap", "gp-ei", mean, low, high, 13)).endswith(ending)


def test_the_verdict_names_the_lowest_area_and_compares_the_model(rows):
    words = verdict(rows, "xgb")
    assert words.startswith("On xgb, 4 tasks, the lowest mean AUC is 0.1000 (NAP). The AUC of NAP minus that of GP-EI")
    assert words.endswith("NAP is better than GP-EI.")


def test_key_figures_are_areas_and_differences(rows):
    assert key_figures(rows) == [
        ("AUC, NAP", "0.1000"),
        ("AUC, GP-EI", "0.2000"),
        ("AUC, random", "0.4000"),
        ("NAP − GP-EI", "−0.1000 [−0.1500, −0.0500]"),
    ]


def test_the_table_has_the_lowest_of_each_budget_in_bold_and_none_where_all_begin(rows):
    table = text(regret_table(rows, "xgb"))
    assert re.findall(r"<strong>(.*?)</strong>", table) == ["0.0500", "0.1000"]
    assert "@0" in table and "@5" in table and "mean over 0 to 5 of them" in table and table.count("0.5000") == 3


def test_improvements_stand_beside_the_harmonic_number_of_random_search(rows, tmp_path):
    expected = 1 / 6 + 1 / 7 + 1 / 8 + 1 / 9 + 1 / 10
    counts = [
        row("random", "num_improvements", {"horizon": 5, "initial": 5}, [expected] * 4),
        row("nap", "num_improvements", {"horizon": 5}, [1.0, 2.0, 2.0, 2.0]),
    ]
    table = text(regret_table([*rows, *read(tmp_path, *counts)], "xgb"))
    assert re.findall(r">([\d.–]+)</td></tr>", table) == ["1.75", "–", "0.65"]  # NAP, GP-EI, random
    assert "of random search the expectation if a pool's N values differ, H_10 − H_5 = 0.65 with H_n" in table
    assert "or H_N − H_5 if N < 10." in table and "suggestion" not in table


def test_a_table_without_counts_has_no_column_of_them(rows):
    assert "mprovements" not in text(regret_table(rows, "xgb"))


@pytest.mark.parametrize(
    ("values", "ending"),
    [
        ([0.98, 0.99, 1.0], "they are wider than they claim to be."),
        ([0.5, 0.6, 0.7], "they are narrower than they claim to be."),
        ([0.8, 0.9, 1.0], "the interval includes 90 %."),
    ],
)
def test_calibration_is_judged_by_the_interval_of_the_coverage(tmp_path, values, ending):
    rows = read(
        tmp_path,
        row("np", "coverage", {"context": 5, "interval": 0.9}, [0.1, 0.1]),
        row("np", "coverage", {"context": 45, "interval": 0.5}, [0.2, 0.2]),
        row("np", "coverage", {"context": 45, "interval": 0.9}, values),
    )
    words = calibration_words(rows, "xgb")
    assert words.startswith("On xgb, intervals of 90 % from 45 evaluations hold") and words.endswith(ending)


def test_nothing_is_said_of_calibration_that_was_not_measured(rows):
    assert calibration_words(rows, "xgb") is None
