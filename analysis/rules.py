"""What a discovered rule does: its schedules over agents' lives, and how steadily they move with the clock."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from analysis.figure import (
    ARM_COLOURS,
    MUTED,
    QUANTITIES,
    Picture,
    arm_label,
    arm_order,
    draw_band,
    hide_unused,
    horizon_colours,
    make_figure,
    shared_legend,
    style,
    thinning_note,
)
from analysis.load import Lives
from metarl.statistics import bootstrap_mean_band, stratified_bootstrap

AGENT_QUANTITIES = ("policy_entropy", "update_norm_policy", "gradient_norm_policy", "policy_kl", "clip_fraction")
"""Defined for any algorithm, so drawn for every arm side by side."""
RULE_QUANTITIES = (
    *("pi_hat_mean", "pi_hat_abs", "pi_hat_square"),
    *("y_hat_entropy", "y_hat_square", "prediction_kl"),
    *("prediction_entropy", "gradient_norm_prediction", "update_norm_prediction"),
)
"""Defined only where a learned rule gives targets: a row for pi_hat, one for y_hat, one for the agent's prediction."""
TABLE_QUANTITIES = ("policy_entropy", "update_norm_policy", "pi_hat_mean", "pi_hat_abs", "y_hat_entropy")
"""What the dynamicity table lists unless told otherwise."""
PROXIMAL_TABLE_QUANTITIES = ("policy_entropy", "update_norm_policy", "policy_kl", "clip_fraction")
"""What it lists for rules that work on the ratio of new and old policy."""
_NO_EVIDENCE = (
    "These trends are not evidence of temporal awareness on their own. The agent itself changes over its life, so "
    "the schedules of a rule that never sees a clock have trends too: compare the arms. "
)
TIME_CAVEAT = (
    f"{_NO_EVIDENCE}Only the fixed-batch probe, in which agent and data stay the same and nothing but (n, N) varies, "
    "isolates time."
)
"""Goes wherever a dynamicity table goes."""
DRIFT_TIME_CAVEAT = (
    f"{_NO_EVIDENCE}Only the drift function, looked at with the same ratios and advantages at every n/N, isolates time."
)
"""Goes there for rules with a drift."""


class Dynamicity(NamedTuple):
    """How steadily a quantity moves over a life."""

    arm: str
    """Whose lives."""
    quantity: str
    """Which schedule, a key of QUANTITIES."""
    horizon: int
    """Lifetime N in updates."""
    correlation: float
    """Spearman correlation with n/N, averaged over tasks; NaN if the quantity never moves."""
    low: float
    """Lower end of its 95 % bootstrap interval over tasks."""
    high: float
    """Upper end of the same interval."""


def life_fraction(horizon: int) -> Float[np.ndarray, " T"]:
    """Returns n/N at each update of a life: 0 at the first, (N - 1)/N at the last, as a rule is shown it."""
    return np.arange(horizon, dtype=np.float64) / horizon


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns average ranks, so that equal values share one rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts, dtype=np.float64)
    return (last - 0.5 * (counts - 1.0))[inverse]


def spearman_correlation(x: Float[np.ndarray, " T"], y: Float[np.ndarray, " T"]) -> float:
    """Returns the rank correlation over the points where both are finite; 0 (no trend) if either is constant there."""
    present = np.isfinite(x) & np.isfinite(y)
    if np.sum(present) < 2:
        return 0.0
    x_ranks, y_ranks = _ranks(x[present]), _ranks(y[present])
    x_ranks, y_ranks = x_ranks - np.mean(x_ranks), y_ranks - np.mean(y_ranks)
    scale = np.sqrt(np.sum(x_ranks**2) * np.sum(y_ranks**2))
    return float(np.sum(x_ranks * y_ranks) / scale) if scale > 0.0 else 0.0


def _dynamicity(arm: str, quantity: str, values: Float[np.ndarray, "K T"]) -> Dynamicity:
    horizon = values.shape[1]
    finite = values[np.isfinite(values)]
    if finite.size == 0 or np.ptp(finite) == 0.0:
        return Dynamicity(arm, quantity, horizon, np.nan, np.nan, np.nan)
    correlations = [spearman_correlation(row, life_fraction(horizon)) for row in values]
    low, high = stratified_bootstrap(correlations, np.mean)
    return Dynamicity(arm, quantity, horizon, float(np.mean(correlations)), low, high)


def table_quantities(lives: Lives) -> tuple[str, ...]:
    """Returns what the dynamicity table should list: the proximal quantities where the discovered rule records them."""
    is_proximal = any("clip_fraction" in life for life in lives.get("discovered", {}).values())
    return PROXIMAL_TABLE_QUANTITIES if is_proximal else TABLE_QUANTITIES


def dynamicity(lives: Lives, quantities: Sequence[str] = TABLE_QUANTITIES) -> list[Dynamicity]:
    """Returns the Spearman correlation of a schedule with n/N for each quantity, arm and horizon that recorded it.

    The correlation is taken within each life and averaged over tasks; the interval resamples tasks. Show it together
    with TIME_CAVEAT.
    """
    return [
        _dynamicity(arm, quantity, life[quantity])
        for quantity in quantities
        for arm in reversed(arm_order(list(lives)))
        for life in lives[arm].values()
        if quantity in life
    ]


def _draw_schedules(
    axis: Axes, lives: Mapping[int, Mapping[str, np.ndarray]], quantity: str, colours: Mapping[int, tuple[float, ...]]
) -> dict[str, np.ndarray]:
    """Draws one line for each horizon over n/N, short lives on top; returns the numbers drawn."""
    numbers = {}
    for horizon in (horizon for horizon in sorted(lives) if quantity in lives[horizon]):
        band = bootstrap_mean_band(lives[horizon][quantity])
        line = {"color": colours[horizon], "linewidth": 1.2, "zorder": 3.0 + 1.0 / horizon, "label": f"N = {horizon}"}
        draw_band(axis, life_fraction(horizon), band, **line)
        parts = zip(("mean", "low", "high"), band, strict=True)
        numbers |= {f"{horizon}/{quantity}/{name}": part for name, part in parts}
    axis.set_xlim(0.0, 1.0)
    return numbers


def schedule_grid(lives: Lives, quantities: Sequence[str] = AGENT_QUANTITIES) -> Picture | None:
    """Returns agent quantities over n/N, a column for each arm and a row for each quantity, coloured by horizon.

    Rows share their vertical axis, so arms can be compared. None if no arm recorded any of the quantities.
    """
    arms = list(reversed(arm_order(list(lives))))
    quantities = [q for q in quantities if any(q in life for arm in arms for life in lives[arm].values())]
    if not quantities:
        return None
    colours = horizon_colours([horizon for arm in arms for horizon in lives[arm]])
    numbers: dict[str, np.ndarray] = {}
    with style():
        figure, axes = make_figure(len(quantities), len(arms), height=1.9, sharex=True, sharey="row")
        for row, quantity in zip(axes, quantities, strict=True):
            for axis, arm in zip(row, arms, strict=True):
                drawn = _draw_schedules(axis, lives[arm], quantity, colours)
                numbers |= {f"{arm}/{name}": values for name, values in drawn.items()}
                if not drawn:
                    place = {"transform": axis.transAxes, "ha": "center", "va": "center", "fontsize": 8.0}
                    axis.text(0.5, 0.5, "not recorded", color=MUTED, **place)
            row[0].set_ylabel(textwrap.fill(QUANTITIES.get(quantity, quantity), 24))
        for axis, arm in zip(axes[0], arms, strict=True):
            axis.set_title(arm_label(arm), color=ARM_COLOURS.get(arm, MUTED))
        figure.supxlabel("fraction of life n/N", fontsize=9)
        shared_legend(figure, axes)
    caption = (
        "What happens to the agent over its life under each arm; the colour is the lifetime N, darker for longer. "
        "Lines: mean over held-out tasks. Bands: pointwise 95 % bootstrap intervals. Curves of different N that "
        "coincide in n/N, or fan out in the order of N, are what adapting to the horizon would look like; the other "
        f"arms show how much of that an agent does without being told the time.{thinning_note(colours)}"
    )
    return Picture("schedules", "Schedules of the agent", caption, figure, numbers)


def target_grid(lives: Lives, quantities: Sequence[str] = RULE_QUANTITIES) -> Picture | None:
    """Returns what the discovered rule puts out (pi_hat, y_hat) over n/N, coloured by horizon, the initial rule dotted.

    None if the discovered rule's lives record none of the quantities.
    """
    discovered, initial = lives.get("discovered", {}), lives.get("initial", {})
    quantities = [q for q in quantities if any(q in life for life in discovered.values())]
    if not quantities:
        return None
    colours, numbers = horizon_colours(list(discovered)), {}
    with style():
        figure, axes = make_figure(-(-len(quantities) // 3), min(3, len(quantities)), height=2.1, sharex=True)
        for axis, quantity in zip(axes.flat, quantities, strict=False):
            drawn = _draw_schedules(axis, discovered, quantity, colours)
            numbers |= {f"discovered/{name}": values for name, values in drawn.items()}
            longest = max((horizon for horizon, life in initial.items() if quantity in life), default=None)
            if longest is not None:
                mean, *_ = bootstrap_mean_band(initial[longest][quantity])
                numbers[f"initial/{longest}/{quantity}/mean"] = mean
                line = {"color": ARM_COLOURS["initial"], "linestyle": (0, (1.5, 1.5)), "label": "initial rule"}
                axis.plot(life_fraction(longest), mean, **line)
            axis.set_title(QUANTITIES.get(quantity, quantity), fontsize=8.5)
        hide_unused(axes, len(quantities))
        figure.supxlabel("fraction of life n/N", fontsize=9)
        shared_legend(figure, axes)
    caption = (
        "What the discovered rule tells agents, and what their predictions do. pi_hat is the weight that it gives "
        "to an action's log-probability, y_hat its target for the agent's prediction y. Lines: mean over held-out "
        "tasks. Bands: pointwise 95 % bootstrap intervals. Dotted: the initial rule at the longest lifetime, where "
        f"recorded.{thinning_note(colours)}"
    )
    return Picture("targets", "Outputs of the rule", caption, figure, numbers)
