"""Pictures of optimisers on pools: regret along evaluations, ranks, and differences of areas with their intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy.stats import rankdata

from analysis.bo_load import Difference, SuiteCurves, optimiser_order, task_band
from analysis.figure import (
    MUTED,
    TOP_ARMS,
    Picture,
    arm_label,
    arm_style,
    draw_band,
    hide_unused,
    make_figure,
    shared_legend,
    style,
)
from analysis.incontext_pictures import plain_ticks

DIGITS = 8
"""Decimals of a regret that decide a rank."""
EXPECTED = "random"
"""The arm whose curves in pools are expectations and not what happened."""
EVALUATIONS, TRIALS = "evaluations after the initial ones", "trials, the {} start-up ones included"
BAND_WORDS = "Lines: means over tasks, the seeds of each averaged first. Bands: 95 % bootstrap intervals over tasks."


def regret_curves(suites: Mapping[str, SuiteCurves]) -> Picture:
    """Returns simple regret over evaluations, a panel with a logarithmic axis for each suite.

    Raises:
        ValueError: if there is no suite.
    """
    _require(suites)
    numbers: dict[str, np.ndarray] = {}
    with style():
        figure, axes = _panels(len(suites), height=3.5)
        for axis, (name, suite) in zip(axes.flat, suites.items(), strict=False):
            bottom = 1.0
            for arm, values in suite.regret.items():
                drawn = _draw(axis, arm, values, suite)
                bottom = min(bottom, _bottom(drawn))
                numbers |= {f"{name}/{arm}/{part}": array for part, array in drawn.items()}
            if any(np.any(values > 0.0) for values in suite.regret.values()):
                axis.set_yscale("log")
                axis.set_ylim(bottom=0.9 * bottom)
                plain_ticks(axis, x=False)
            _finish(axis, name, suite)
        for row in axes:
            row[0].set_ylabel("regret (share of the range)")
        shared_legend(figure, axes)
    where = _where_expected(suites)
    note = f" Random search{where} is its expectation given the initial points." if where is not None else ""
    caption = (
        "Best value there is minus the best value so far, divided by the range of all values; logarithmic axis, "
        f"which a mean of 0 leaves at the bottom.{note} {BAND_WORDS}"
    )
    return Picture("regret", "Regret along evaluations", caption, figure, numbers)


def _bottom(drawn: Mapping[str, np.ndarray]) -> float:
    """Returns how far down a panel must reach to show an arm: its band, as far as that is not deep below its mean."""
    mean, low = drawn["mean"], drawn["low"]
    shown = np.maximum(low, 0.3 * mean)[mean > 0.0]
    return float(shown.min()) if len(shown) else 1.0


def _require(suites: Mapping[str, SuiteCurves]) -> None:
    if not suites:
        raise ValueError("there are no curves of any suite; evaluate the model first")


def _panels(count: int, *, height: float) -> tuple:
    num_columns = min(count, 3)
    figure, axes = make_figure(-(-count // num_columns), num_columns, height=height)
    hide_unused(axes, count)
    return figure, axes


def _where_expected(suites: Mapping[str, SuiteCurves]) -> str | None:
    """Returns where random search is an expectation, in words that are empty for everywhere; None if nowhere."""
    expected = [name for name, suite in suites.items() if EXPECTED in suite.regret and not suite.is_study]
    if not expected:
        return None
    return f" on {', '.join(expected)}" if any(suite.is_study for suite in suites.values()) else ""


def _draw(axis: Axes, arm: str, values: np.ndarray, suite: SuiteCurves) -> dict[str, np.ndarray]:
    """Draws an arm's mean over the tasks of a suite in its band; returns the numbers drawn."""
    band, x = task_band(values, suite.tasks), suite.first + np.arange(values.shape[1], dtype=np.float64)
    emphasis = {"linewidth": 2.0, "opacity": 0.18} if arm in TOP_ARMS else {"linewidth": 1.3, "opacity": 0.09}
    look = arm_style(arm, list(suite.regret))
    look["zorder"] = 4 if look["linestyle"] == "-" else 5  # dashes on a solid line show that two curves are the same
    draw_band(axis, x, band, label=arm_label(arm), **emphasis, **look)
    return {"evaluations": x, **band._asdict()}


def _finish(axis: Axes, name: str, suite: SuiteCurves) -> None:
    xlabel = TRIALS.format(suite.first) if suite.is_study else EVALUATIONS
    axis.set(xlabel=xlabel, title=f"{name} ({suite.num_tasks} tasks)")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.margins(x=0.0)


def ranks(regret: Mapping[str, Float[np.ndarray, "K T"]]) -> dict[str, Float[np.ndarray, "K T"]]:
    """Returns each arm's rank among all at every point of every trajectory: 1 is best, ties share their mean rank.

    Regrets are compared after rounding to 8 decimals.
    """
    values = np.stack([np.round(curves, DIGITS) for curves in regret.values()])
    return dict(zip(regret, rankdata(values, method="average", axis=0), strict=True))


def rank_curves(suites: Mapping[str, SuiteCurves]) -> Picture | None:
    """Returns mean ranks over evaluations, a panel for each suite; None where fewer than two arms can be ranked.

    Random search in pools is not ranked: what is known of it is an expectation, which has no place among runs.
    """
    kept = {name: suite._replace(regret=_ranked(suite)) for name, suite in suites.items()}
    kept = {name: suite for name, suite in kept.items() if len(suite.regret) > 1}
    if not kept:
        return None
    numbers: dict[str, np.ndarray] = {}
    with style():
        figure, axes = _panels(len(kept), height=3.0)
        for axis, (name, suite) in zip(axes.flat, kept.items(), strict=False):
            for arm, values in ranks(suite.regret).items():
                drawn = _draw(axis, arm, values, suite)
                numbers |= {f"{name}/{arm}/{part}": array for part, array in drawn.items()}
            axis.invert_yaxis()
            axis.yaxis.set_major_locator(MaxNLocator(5))
            _finish(axis, name, suite)
        for row in axes:
            row[0].set_ylabel("mean rank (1 is best)")
        shared_legend(figure, axes)
    where = _where_expected(suites)
    left_out = f" Random search{where} is left out: only its expectation is known." if where is not None else ""
    caption = (
        "Rank of each optimiser's regret among all that are drawn, in the same task from the same start; ties share "
        f"their mean rank, regrets being rounded to {DIGITS} decimals.{left_out} {BAND_WORDS}"
    )
    return Picture("rank", "Mean rank", caption, figure, numbers)


def _ranked(suite: SuiteCurves) -> dict[str, Float[np.ndarray, "K T"]]:
    """Returns the regrets of the arms that ran."""
    return {arm: regret for arm, regret in suite.regret.items() if suite.is_study or arm != EXPECTED}


def forest(differences: Sequence[Difference]) -> Picture:
    """Returns the differences of areas under regret curves with their intervals, a panel for each suite.

    Raises:
        ValueError: if there is no difference.
    """
    if not differences:
        raise ValueError("there is no difference between arms; evaluate at least two")
    pairs = list(dict.fromkeys((d.arm, d.minus) for d in differences))
    envs = list(dict.fromkeys(d.env for d in differences))
    place = {pair: len(pairs) - 1 - index for index, pair in enumerate(pairs)}
    numbers: dict[str, np.ndarray] = {}
    with style():
        figure, axes = make_figure(1, len(envs), height=1.0 + 0.27 * len(pairs), sharey=True)
        for axis, env in zip(axes.flat, envs, strict=True):
            mine = [d for d in differences if d.env == env]
            for difference in mine:
                _draw_interval(axis, difference, place[difference.arm, difference.minus])
                name = f"{env}/{difference.arm}-{difference.minus}"
                numbers[name] = np.array([difference.mean, difference.low, difference.high])
            axis.axvline(0.0, color=MUTED, linewidth=0.9, zorder=1)
            axis.set_title(f"{env} ({max(d.num_tasks for d in mine)} tasks)")
            axis.set_xlabel("difference of AUC (regret)")
            axis.xaxis.set_major_locator(MaxNLocator(4 if len(envs) > 1 else 8))
            axis.grid(visible=False, axis="y")
        axes[0, 0].set_yticks(list(place.values()), [f"{arm_label(a)} − {arm_label(b)}" for a, b in pairs])
        axes[0, 0].set_ylim(-0.6, len(pairs) - 0.4)
    caption = (
        "Mean regret along the curve (AUC) of the first minus that of the second, paired by task, with 95 % bootstrap "
        "intervals over tasks. Left of the line the first is better. Hollow: the interval includes zero. Intervals are "
        "not corrected for the number of comparisons."
    )
    return Picture("differences", "Paired differences", caption, figure, numbers)


def _draw_interval(axis: Axes, difference: Difference, height: int) -> None:
    colour = str(arm_style(difference.arm, optimiser_order([difference.arm, difference.minus]))["color"])
    axis.plot([difference.low, difference.high], [height, height], color=colour, linewidth=1.8)
    face = "white" if difference.includes_zero else colour
    axis.plot([difference.mean], [height], "o", color=colour, markerfacecolor=face, markeredgewidth=1.4, markersize=5.5)
