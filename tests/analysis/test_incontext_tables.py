"""Tables of acting in context: their cells, their order and the sentence above them."""

import re
from html import unescape

import numpy as np
import pytest

from analysis.incontext_load import Outcome, Setting
from analysis.incontext_tables import GROUPS, best_arm, group_of, outcome_table, verdict
from analysis.looks import ACTING_ARMS

REGRET = Setting("bandit", "online", "", "regret", "horizon")
RETURN = Setting("darkroom", "online", "frozen", "return", "episode")


def outcomes(**arms):
    """Returns outcomes at 10 and 20 of arms with given means, `_` for `-` in names; errors are a tenth of means."""
    names = {name: name.replace("_", "-") for name in arms}
    return [
        Outcome(names[a], n, m, 0.1 * m, 64) for a, means in arms.items() for n, m in zip((10, 20), means, strict=True)
    ]


def test_every_known_arm_is_a_model_or_classical_or_exact():
    models = {arm for arm in ACTING_ARMS if group_of(arm) == GROUPS[0]}
    assert models == {f"{kind}{greedy}" for kind in ("dpt", "ad", "rl2") for greedy in ("", "-greedy")}
    assert {arm for arm in ACTING_ARMS if group_of(arm) == GROUPS[2]} == {
        "posterior",
        "psrl",
        "sampled",
        "argmax",
        "mean",
    }
    assert {arm for arm in ACTING_ARMS if group_of(arm) == GROUPS[3]} == {"expert", "stranger"}
    assert group_of("my-model") == GROUPS[0] and group_of("source") == group_of("ppo") == GROUPS[1]


def test_cells_are_means_with_half_their_interval_and_the_best_is_bold():
    html = str(outcome_table(REGRET, outcomes(uniform=(8.0, 9.0), dpt=(2.0, 5.0), emp=(3.0, 4.0))))
    cells = [re.sub(r"<(?!/?strong)[^>]+>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", html)]
    assert cells == [
        "<strong>2.000</strong> ±0.392",
        "5.000 ±0.980",
        "3.000 ±0.588",
        "<strong>4.000</strong> ±0.784",
        "8.000 ±1.568",
        "9.000 ±1.764",
    ]
    assert html.index("models") < html.index("classical algorithms")
    assert "after 10 pulls" in html and "64 held-out tasks" in html and "the lowest" in html


def test_a_point_that_an_arm_lacks_is_a_dash():
    assert str(outcome_table(REGRET, outcomes(dpt=(2.0, 5.0), emp=(3.0, 4.0))[:-1])).count("–") == 1


def test_the_lowest_regret_and_the_highest_return_win():
    found = outcomes(dpt=(2.0, 5.0), emp=(3.0, 4.0))[::2]
    assert best_arm(REGRET, found) == "dpt" and best_arm(RETURN, found) == "emp"
    assert best_arm(REGRET, [Outcome("dpt", 10, np.nan, 0.0, 1)]) is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (REGRET, "After 20 pulls the best model's mean regret is that of DPT, 5.000 ± 0.980; "),
        (RETURN, "In episode 20 the best model's mean return is that of DPT, greedy, 6.000 ± 1.176 (context: all "),
    ],
)
def test_the_verdict_is_about_the_last_point(setting, words):
    found = outcomes(dpt=(2.0, 5.0), dpt_greedy=(1.0, 6.0), emp=(3.0, 4.0), uniform=(2.0, 7.0), argmax=(0.5, 1.0))
    sentence = verdict(setting, [*found, Outcome("dpt", "all", 99.0, 0.0, 64)])
    champion = "empirical mean, 4.000 ± 0.784" if setting is REGRET else "uniform, 7.000 ± 1.372"
    assert sentence.startswith(words) and f"the best classical algorithm is {champion}" in sentence
    assert sentence.endswith("the best exact reference is exact P(a*), greedy, 1.000 ± 0.196.")


def test_the_verdict_names_who_was_told_the_task_apart():
    sentence = verdict(RETURN, outcomes(dpt=(2.0, 5.0), uniform=(1.0, 2.0), expert=(9.0, 9.0), stranger=(3.0, 4.0)))
    assert "the best classical algorithm is uniform" in sentence and "exact" not in sentence
    assert sentence.endswith("of those told a task it is expert, 9.000 ± 1.764.")


def test_tables_and_verdicts_say_whose_data_were_given():
    given = [
        Setting("bandit", "offline", protocol, "suboptimality", "context") for protocol in ("", "frozen-expert")
    ] + [Setting("darkroom", "offline", protocol, "return", "context") for protocol in ("stepwise", "stepwise-expert")]
    words = ["the data set", "an expert's data", "the data set, then every step", "an expert's data, then every step"]
    for setting, whose in zip(given, words, strict=True):
        assert f"Context: {whose}. Mean" in unescape(str(outcome_table(setting, outcomes(dpt=(2.0, 5.0)))))
        assert f"(context: {whose})" in verdict(setting, outcomes(dpt=(2.0, 5.0)))


def test_without_a_model_there_is_no_verdict():
    assert verdict(REGRET, outcomes(emp=(3.0, 4.0))) is None
