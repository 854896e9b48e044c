"""Pictures of acting in context: regret over pulls, returns over episodes, decisions after given data."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from analysis.figure import (
    ARM_MARKERS,
    MAX_POINTS,
    TOP_ARMS,
    Picture,
    acting_order,
    arm_label,
    arm_style,
    draw_band,
    hide_unused,
    make_figure,
    shared_legend,
    style,
)
from analysis.incontext_load import INTERVAL, Outcome, Series, Setting
from metarl.experiments.findings import Curve

PROTOCOL_WORDS = {
    "official": "context: the episode before",
    "frozen": "context: all episodes before",
    "stepwise": "context: every step until now",
    "scratch": "no context: trained anew in every task",
}
"""When the context grows, as titles."""
SCRATCH = "scratch"
"""The protocol of those who have no context; they are drawn beside all others."""
OFFLINE_WORDS = {
    "": "context: the data set",
    "frozen": "context: the data set",
    "stepwise": "context: the data set, then every step",
    "frozen-expert": "context: an expert's data",
    "stepwise-expert": "context: an expert's data, then every step",
}
"""The same where data were given; decisions in bandits name no protocol unless it says who gathered."""
BANDS = "Lines: means over held-out tasks, the same for all arms. Bands: 1.96 standard errors either way."
LEGEND_COLUMNS = 5
"""As many of the longest names as fit beside each other."""
HEADROOM = 1.15
"""How far a linear panel reaches above the last line that it must show."""


def regret_curves(env: str, curves: Mapping[Series, Curve]) -> Picture:
    """Returns cumulative regret over pulls: all arms on logarithmic axes, and the lower half of them on linear ones.

    Args:
        env: domain, a bandit.
        curves: those of acting online are drawn.

    Raises:
        ValueError: if there is no such curve.
    """
    found = _online(env, curves, "stepwise")
    arms, numbers = acting_order(found), {}
    with style():
        figure, axes = make_figure(1, 2, height=3.7)
        for axis in axes.flat:
            for arm in arms:
                numbers |= _draw(axis, arm, arms, _pulls(found[arm]), found[arm])
            axis.set_xlabel("pulls")
        positive = [curve.mean[curve.mean > 0.0] for curve in found.values()]
        bottom = min((float(part.min()) for part in positive if part.size), default=0.1)
        axes[0, 0].set(xscale="log", yscale="log", ylabel="cumulative regret", title="all arms")
        axes[0, 0].set_ylim(bottom=bottom)
        axes[0, 1].set(title="those with little regret", ylim=(0.0, HEADROOM * _highest_shown(found)))
        axes[0, 1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        for axis in axes.flat:
            axis.margins(x=0.0)
        plain_ticks(axes[0, 0])
        acting_legend(figure, axes)
    caption = (
        "What was lost against always pulling the best arm, summed over pulls and without noise; a horizontal line has "
        f"found it. Left: everyone, both axes logarithmic. Right: the same, linear, cut above the better half. {BANDS}"
    )
    return Picture("regret", "Cumulative regret", caption, figure, numbers)


def _online(env: str, curves: Mapping[Series, Curve], protocol: str) -> dict[str, Curve]:
    found = {s.arm: c for s, c in curves.items() if (s.env, s.mode, s.protocol) == (env, "online", protocol)}
    if not found:
        raise ValueError(f"there are no curves of acting online in {env!r} ({protocol}); examine the run again")
    return found


def _highest_shown(found: Mapping[str, Curve]) -> float:
    """Returns the largest regret of the better half of the arms, and of the best model if it is not among them."""
    final = {arm: float(np.nanmax(curve.mean)) for arm, curve in found.items()}
    models = [final[arm] for arm in final if arm in TOP_ARMS]
    return max(float(np.median(list(final.values()))), min(models, default=0.0), 1e-6)


def _pulls(curve: Curve) -> Float[np.ndarray, " n"]:
    return np.arange(1.0, len(curve.mean) + 1.0)


def drawn_points(count: int) -> Int[np.ndarray, " n"]:
    """Returns the indices of at most MAX_POINTS of `count` points: all if they are few, else even steps of logarithm.

    The first and the last are among them. Means over blocks would bend the beginning of a logarithmic axis.
    """
    if count <= MAX_POINTS:
        return np.arange(count)
    return np.unique(np.round(np.geomspace(1.0, count, MAX_POINTS)).astype(np.int64)) - 1


def _draw(axis: Axes, arm: str, arms: Sequence[str], x: np.ndarray, curve: Curve, **marker: object) -> dict:
    """Draws an arm's mean in its 95 % band; returns the numbers drawn."""
    mean, error = np.asarray(curve.mean, np.float64), np.asarray(curve.error, np.float64)
    low, high = mean - INTERVAL * error, mean + INTERVAL * error
    emphasis = {"linewidth": 1.9, "opacity": 0.2} if arm in TOP_ARMS else {"linewidth": 1.2, "opacity": 0.08}
    at = drawn_points(len(x))
    draw_band(
        axis, x[at], (mean[at], low[at], high[at]), label=arm_label(arm), **emphasis, **marker, **arm_style(arm, arms)
    )
    return {f"{arm}/x": x, f"{arm}/mean": mean, f"{arm}/error": error}


def acting_legend(figure: Figure, axes: np.ndarray) -> None:
    """Puts one legend above all panels, in lines of about the same length."""
    count = len({label for axis in axes.flat for label in axis.get_legend_handles_labels()[1]})
    num_lines = -(-count // LEGEND_COLUMNS) if count > LEGEND_COLUMNS + 1 else 1
    shared_legend(figure, axes, num_columns=max(1, -(-count // num_lines)))


def return_curves(env: str, curves: Mapping[Series, Curve]) -> Picture:
    """Returns the return of successive episodes in a task, a panel for each protocol, on one scale.

    Whoever learns from scratch is drawn in every panel.

    Raises:
        ValueError: if there is no curve of acting online in the domain.
    """
    protocols = list(dict.fromkeys(s.protocol for s in curves if (s.env, s.mode) == (env, "online")))
    scratch = _online(env, curves, SCRATCH) if SCRATCH in protocols else {}
    found = {name: _online(env, curves, name) | scratch for name in protocols or ("stepwise",) if name != SCRATCH}
    found = found or {SCRATCH: scratch}
    numbers, num_columns = {}, min(len(found), 3)
    with style():
        figure, axes = make_figure(1, num_columns, height=3.3, sharey=True)
        for axis, (protocol, arms) in zip(axes.flat, found.items(), strict=True):
            for arm in acting_order(arms):
                drawn = _draw(axis, arm, list(arms), _pulls(arms[arm]), arms[arm])
                numbers |= {f"{protocol}/{name}": values for name, values in drawn.items()}
            axis.set(xscale="log", xlabel="episode")
            axis.set_title(PROTOCOL_WORDS.get(protocol, protocol), fontsize=8.5)
            point_ticks(axis, [1, 2, 5, 10, 20, 40, 100], len(next(iter(arms.values())).mean))
            axis.margins(x=0.01)
        axes[0, 0].set_ylabel("return of the episode")
        acting_legend(figure, axes)
    anew = " PPO starts anew in every task, and in fewer of them." if scratch else ""
    caption = (
        "Rewards of an episode, for one episode after another in a task that is new in the first; weights are frozen, "
        f"so that only the context can improve anything.{anew} {BANDS}"
    )
    return Picture("returns", "Returns over episodes", caption, figure, numbers)


def offline_curves(env: str, outcomes: Mapping[Setting, Sequence[Outcome]]) -> Picture:
    """Returns how good decisions are after data sets of different sizes, a panel for each way to use them.

    Suboptimality of one decision (bandits) has a logarithmic axis; returns of an episode have a linear one.

    Raises:
        ValueError: if there is no outcome of acting offline in the domain.
    """
    found = {setting: rows for setting, rows in outcomes.items() if (setting.env, setting.mode) == (env, "offline")}
    if not found:
        raise ValueError(f"there are no results of acting offline in {env!r}; examine the run in that mode")
    is_bandit, numbers = any(setting.metric == "suboptimality" for setting in found), {}
    with style():
        num_columns = 2 if len(found) == 4 else min(len(found), 3)
        figure, axes = make_figure(-(-len(found) // num_columns), num_columns, height=3.4, sharey=True)
        for axis, (setting, rows) in zip(axes.flat, found.items(), strict=False):
            drawn = _draw_sizes(axis, rows, is_log=is_bandit)
            numbers |= {f"{setting.protocol or 'all'}/{name}": values for name, values in drawn.items()}
            axis.set_xlabel("transitions in the data set")
            axis.set_title(OFFLINE_WORDS.get(setting.protocol, setting.protocol), fontsize=8.5)
        for axis in axes[:, 0]:
            axis.set_ylabel("suboptimality of the decision" if is_bandit else "return of an episode")
        hide_unused(axes, len(found))
        acting_legend(figure, axes)
    what = (
        "How much worse than the best arm the chosen one is on average, without noise, on a logarithmic axis"
        if is_bandit
        else "The return of one episode"
    )
    how = "gathered as for training, or by an expert where that is said; its first n transitions count. "
    return Picture("offline", "Acting on given data", f"{what}, after a given data set {how}{BANDS}", figure, numbers)


def _draw_sizes(axis: Axes, rows: Sequence[Outcome], *, is_log: bool) -> dict[str, np.ndarray]:
    """Draws a line for each arm over sizes of data sets, 0 included; returns the numbers drawn."""
    numbers, arms = {}, acting_order([row.arm for row in rows])
    sizes = sorted({int(row.point) for row in rows})
    smallest = min((row.mean for row in rows if row.mean > 0.0), default=1e-3)
    for arm in arms:
        mine = sorted((row for row in rows if row.arm == arm), key=lambda row: int(row.point))
        x, mean, error = np.array([[row.point, row.mean, row.error] for row in mine], np.float64).T
        mean = np.where(mean > 0.0, mean, np.nan) if is_log else mean
        numbers |= _draw(axis, arm, arms, x, Curve(mean, error), marker=ARM_MARKERS.get(arm, "o"), markersize=3.8)
    if is_log:
        axis.set_xscale("symlog", linthresh=1.0, linscale=0.6)
        point_ticks(axis, sizes, sizes[-1], log=False)
        axis.set_yscale("log")
        axis.set_ylim(bottom=0.7 * smallest)
        plain_ticks(axis, x=False)
    else:
        axis.set_xticks(sizes)
    return numbers


def point_ticks(axis: Axes, points: Sequence[int], last: int, *, log: bool = True) -> None:
    """Puts ticks on the x axis at those points that are at most `last`, with plain numbers where there is room."""
    chosen = sorted({point for point in points if point <= last} | {last})
    place = np.log(np.asarray(chosen, np.float64) + (0.0 if log else 1.0))
    span, shown = max(place[-1] - place[0], 1e-9), [chosen[-1]]
    for point, where in list(zip(chosen, place, strict=True))[-2::-1]:
        previous = place[chosen.index(shown[-1])]
        shown += [point] if (previous - where) > 0.07 * span else []
    axis.set_xticks(chosen)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if round(value) in shown else ""))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()


def plain_ticks(axis: Axes, *, x: bool = True) -> None:
    """Labels logarithmic axes with plain numbers: powers of ten, and where these are few some multiples of them."""

    def minor(each: Axis) -> FuncFormatter:
        def words(value: float, _: int | None) -> str:
            low, high = sorted(each.get_view_interval())
            digit = round(value / 10.0 ** np.floor(np.log10(value) + 1e-9))
            chosen = (2, 3, 4, 6) if high < 10.0 * low else (2, 5) if high < 100.0 * low else ()
            return f"{value:g}" if digit in chosen else ""

        return FuncFormatter(words)

    for each in (axis.xaxis, axis.yaxis) if x else (axis.yaxis,):
        each.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        each.set_minor_formatter(minor(each))
