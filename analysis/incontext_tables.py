"""Tables of acting in context: who did how well, in groups of models, classical algorithms and exact references."""

from collections.abc import Iterable, Sequence

import numpy as np

from analysis.figure import ARM_LABELS, TOP_ARMS, acting_order, arm_label
from analysis.incontext_load import Outcome, Setting
from analysis.incontext_pictures import OFFLINE_WORDS, PROTOCOL_WORDS
from analysis.page import Html, grouped_table, join, tag
from analysis.tables import LOWER_IS_BETTER, MISSING, arm_heading, number

EXACT_ARMS = ("posterior", "psrl", "sampled", "argmax", "mean")
"""Arms that know the exact prior of the training tasks and infer without error."""
TOLD_ARMS = ("expert", "stranger")
"""Arms that act on a task they are told, the right one or another."""
LOWER = (*LOWER_IS_BETTER, "suboptimality")
"""Metrics in which the smallest number wins."""
GROUPS = (
    "models",
    "classical algorithms",
    "exact inference with the prior of the training tasks",
    "who is told a task, and infers nothing",
)
BEGINNINGS = ("", "the best classical algorithm is ", "the best exact reference is ", "of those told a task it is ")
"""What a verdict says before the best of each group."""
METRIC_WORDS = {"return_once_rewarded": "return of episodes that were begun with a reward in the context"}
POINT_WORDS = {"horizon": "after {} pulls", "episode": "episode {}", "context": "{} given"}


def group_of(arm: str) -> str:
    """Returns the group that an arm belongs to; arms that nobody knows are models that a user named."""
    if arm in EXACT_ARMS or arm in TOLD_ARMS:
        return GROUPS[2] if arm in EXACT_ARMS else GROUPS[3]
    return GROUPS[1] if arm in ARM_LABELS and arm not in TOP_ARMS else GROUPS[0]


def protocol_words(setting: Setting) -> str:
    """Returns when the context grew, or whose data it holds; nothing where there is only one way."""
    return (OFFLINE_WORDS if setting.mode == "offline" else PROTOCOL_WORDS).get(setting.protocol, setting.protocol)


def outcome_table(setting: Setting, outcomes: Sequence[Outcome]) -> Html:
    """Returns arms x points with means and half-widths of their 95 % intervals, the best of each column in bold."""
    cells = {(outcome.arm, outcome.point): outcome for outcome in outcomes}
    points = list(dict.fromkeys(outcome.point for outcome in outcomes))
    best = {point: best_arm(setting, [o for o in outcomes if o.point == point]) for point in points}
    groups: dict[str, list[list[object]]] = {}
    for name in GROUPS:
        for arm in (arm for arm in acting_order(o.arm for o in outcomes) if group_of(arm) == name):
            row = [_cell(cells.get((arm, point)), is_best=best[point] == arm) for point in points]
            groups.setdefault(name, []).append([arm_heading(arm), *row])
    header = [_point_words(setting, point) for point in points]
    counts = sorted({outcome.num_tasks for outcome in outcomes})
    how = protocol_words(setting)
    direction = "lowest" if setting.metric in LOWER else "highest"
    caption = (
        f"{how.capitalize()}{'. ' if how else ''}Mean {words_of(setting.metric)} and half of its 95 % interval (1.96 "
        f"standard errors) over {counts[-1]} held-out tasks. Bold: the {direction}."
    )
    return grouped_table(["", *header], groups, caption=caption)


def words_of(metric: str) -> str:
    """Returns a metric in words."""
    return METRIC_WORDS.get(metric, metric.replace("_", " "))


def _point_words(setting: Setting, point: int | str) -> str:
    return "all episodes" if point == "all" else POINT_WORDS[setting.unit].format(point)


def _cell(outcome: Outcome | None, *, is_best: bool) -> Html | str:
    if outcome is None:
        return MISSING
    mean, half = shown(outcome)
    return join([tag("strong", mean) if is_best else mean, " ", tag("span", f"±{half}", class_="interval")])


def shown(outcome: Outcome) -> tuple[str, str]:
    """Returns the mean and half of its interval, with as many decimals."""
    return number(outcome.mean), number(outcome.half_width, scale=abs(outcome.mean))


def best_arm(setting: Setting, outcomes: Iterable[Outcome]) -> str | None:
    """Returns the arm with the best mean, or None if none is finite."""
    sign = -1.0 if setting.metric in LOWER else 1.0
    finite = [outcome for outcome in outcomes if np.isfinite(outcome.mean)]
    return max(finite, key=lambda outcome: sign * outcome.mean).arm if finite else None


def verdict(setting: Setting, outcomes: Sequence[Outcome]) -> str | None:
    """Returns in a sentence how the best model stands at the last point against the best of each other group.

    None without a model, or where all points are one.
    """
    points = [outcome.point for outcome in outcomes if outcome.point != "all"]
    if not points:
        return None
    point = points[-1]
    last = [outcome for outcome in outcomes if outcome.point == point]
    champions = [best_arm(setting, [o for o in last if group_of(o.arm) == name]) for name in GROUPS]
    if champions[0] is None:
        return None
    found = {outcome.arm: outcome for outcome in last}
    words = [
        f"{beginning}{arm_label(arm)}, {' ± '.join(shown(found[arm]))}"
        for arm, beginning in zip(champions, BEGINNINGS, strict=True)
        if arm is not None
    ]
    place = {
        "horizon": f"After {point} pulls",
        "episode": f"In episode {point}",
        "context": f"Given {point} transitions",
    }
    words[0] += f" ({how})" if (how := protocol_words(setting)) else ""
    return (
        f"{place[setting.unit]} the best model's mean {words_of(setting.metric)} is that of " + "; ".join(words) + "."
    )
