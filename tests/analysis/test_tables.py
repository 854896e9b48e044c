"""Tables of a report."""

import numpy as np
import pytest

from analysis.load import Row
from analysis.rules import Dynamicity
from analysis.tables import (
    best_arm,
    dynamicity_table,
    headline_rows,
    improvement_table,
    interval,
    number,
    probe_table,
    result_table,
    verdict,
)


def row(arm, horizon, iqm, low, high, *, metric="normalised_return", values=(0.1, 0.9)):
    return Row(arm, "e", {"horizon": horizon}, metric, iqm, low, high, 0.95, np.array(values))


@pytest.fixture
def rows():
    return [
        row("discovered", 50, 0.8, 0.7, 0.9, values=(0.5, 0.9)),
        row("a2c", 50, 0.5, 0.4, 0.6, values=(0.6, 0.4)),
        row("discovered", 10, 0.3, 0.2, 0.4),
        row("a2c", 10, 0.35, 0.3, 0.5),
        row("initial", 10, 0.01, 0.0, 0.02, values=(0.0,)),
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.83412, "0.834"), (-1.0, "-1.000"), (15.04, "15.04"), (167.09, "167.1"), (6517.31, "6517"), (0.0, "0.000")]
    + [(1.23e-5, "1.2e-05"), (2.5e7, "2.5e+07"), (float("nan"), "–"), (float("inf"), "–")],
)
def test_numbers_keep_three_or_four_digits(value, words):
    assert number(value) == words


def test_an_interval_has_the_decimals_of_its_largest_number():
    assert ">[0.001, 0.068]<" in interval(0.022, 0.00081, 0.068)
    assert interval(0.5, 0.4, 0.6, best=True, mark="*", digits=2).startswith("<strong>0.50</strong>* ")


def test_the_best_arm_stands_apart_only_if_no_interval_reaches_it(rows):
    fifty = {r.arm: r for r in rows if r.horizon == 50}
    assert best_arm(fifty) == ("discovered", True)
    assert best_arm(fifty | {"x": row("x", 50, 0.6, 0.1, 0.75)}) == ("discovered", False)
    assert best_arm({"discovered": fifty["discovered"]}) == ("discovered", False)
    assert best_arm({"a2c": row("a2c", 1, np.nan, np.nan, np.nan)}) == (None, False)
    assert best_arm({"a2c": row("a2c", 1, 0.0, 0.0, 0.0), "initial": row("initial", 1, 0.0, -1.0, 0.0)}) == (
        None,
        False,
    )


def test_the_least_regret_is_best():
    cells = {"a": row("a", 1, 0.2, 0.1, 0.3, metric="regret"), "b": row("b", 1, 0.8, 0.7, 0.9, metric="regret")}
    assert best_arm(cells) == ("a", True) and "lowest" in result_table(list(cells.values()))


def test_the_result_table_is_ordered_by_horizon_and_marks_the_best(rows):
    html = result_table(rows)
    assert html.index("N = 10") < html.index("N = 50")
    assert "<strong>0.800</strong>*" in html and "<strong>0.350</strong> " in html
    assert html.index("discovered rule") < html.index("A2C") < html.index("initial rule")
    assert "over 1 to 2 values" in html and "–" in html  # the initial rule was not evaluated at 50


def test_what_was_left_out_or_replaced_is_said(rows):
    assert "left out" not in result_table(rows) and "non-finite" not in result_table(rows)
    html = result_table([rows[0]._replace(num_excluded=3, num_nonfinite=1), rows[1]._replace(num_excluded=3)])
    assert "3 tasks are left out" in html and "1 non-finite returns" in html


def test_normalised_returns_are_the_headline_where_there_are_any(rows):
    plain = [row._replace(metric="return") for row in rows]
    elsewhere = plain[0]._replace(env="f")
    assert [(r.env, r.metric) for r in headline_rows([*plain, rows[0], elsewhere])] == [
        ("e", "normalised_return"),
        ("f", "return"),
    ]


def test_improvement_counts_wins_on_the_same_task(rows):
    html = improvement_table(rows)
    assert "0.50 " in html  # at 50: one of two tasks won; at 10: both tied
    assert improvement_table([r for r in rows if r.arm != "a2c" and r.arm != "initial"]) is None
    assert improvement_table([r for r in rows if r.arm != "discovered"]) is None


def test_improvement_of_regret_is_having_less():
    rows = [row("discovered", 1, 0, 0, 0, metric="regret", values=(0.1, 0.2)), row("a2c", 1, 1, 1, 1, metric="regret")]
    assert "1.00 " in improvement_table([rows[0], rows[1]._replace(values=np.array([0.5, 0.6]))])


def test_the_verdict_counts_only_intervals_that_do_not_overlap(rows):
    sentence = verdict(rows)
    assert "against A2C the discovered rule is better at 1 of 2 lifetimes and worse at 0" in sentence
    assert "against the initial rule the discovered rule is better at 1 of 1" in sentence
    assert verdict(rows[:1]) is None


def test_dynamicity_is_grouped_by_schedule_and_says_flat():
    entries = [
        Dynamicity("discovered", "pi_hat_abs", 10, -0.9, -0.95, -0.8),
        Dynamicity("initial", "pi_hat_abs", 10, np.nan, np.nan, np.nan),
        Dynamicity("discovered", "policy_entropy", 50, 0.003, -0.1, 0.1),
    ]
    html = dynamicity_table(entries)
    assert "-0.90" in html and "[-0.95, -0.80]" in html and "flat" in html and ">0.00 " in html
    assert html.index("mean |pi_hat|") < html.index("policy entropy (nats)") and "N = 50" in html


def test_the_probe_table_has_both_ends_and_the_largest_change():
    probe = {
        "lifetimes": np.array([8.0]),
        "fractions": np.array([0.0, 0.5, 0.9]),
        "y_hat_change": np.array([[0, 0.7, 0.1]]),
    }
    html = probe_table(probe | {"pi_hat_mean": np.array([[-0.5, 0.0, 0.25]])})
    assert "-0.500 → 0.250" in html and "0.700" in html and "from n/N = 0 to 0.9" in html
