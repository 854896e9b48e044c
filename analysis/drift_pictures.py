"""Pictures of a drift: its surface and its slope over ratio and advantage, over a life, beside PPO and DPO."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from analysis.drift import MAX_ADVANTAGE, WINDOW, Surfaces
from analysis.figure import INK, Picture, arm_label, make_figure, style

RATIO_TICKS = (0.5, 1.0, 2.0)
ROBUST = 98.0
"""Percentile of all numbers of a figure at which its colours end; a few steep corners would else hide the rest."""
VISIBLE = 1e-3
"""A push of less than this share of A is drawn as none."""
SIGNED, UNSIGNED = "RdBu_r", "cividis"
"""Colours of numbers with and without a sign; both can be told apart without red and green."""


class Panel(NamedTuple):
    """One heat map over ratio and advantage."""

    title: str
    """What it shows."""
    values: Float[np.ndarray, "A R"]
    """What is coloured."""
    push: Float[np.ndarray, "A R"]
    """Slope of `r A - f` as a share of A, for the line where it ends."""


def drift_surface(surfaces: Surfaces, references: Mapping[str, Surfaces]) -> Picture:
    """Returns heat maps of f: a column for each n/N, a row for each N, then the references, on one colour scale."""
    horizons = [horizon_words(surfaces, index) for index in range(len(surfaces.lifetimes))]
    rows = _panel_rows(surfaces, references, "drift")
    top = float(np.percentile(np.concatenate([panel.values.ravel() for row in rows for panel in row]), ROBUST))
    figure = _heat_maps(rows, horizons, "drift f", {"cmap": UNSIGNED, "vmin": 0.0, "vmax": max(top, 1e-12)})
    caption = (
        "The drift f, which the rule subtracts from r A, over the ratio r of an action's new and old probability and "
        f"its normalised advantage A{_columns(surfaces, references)}. One colour scale for all panels, from 0 to the "
        f"{ROBUST:g}th percentile of what they show. White line: where f has stopped the push on an action, that is "
        "where the slope of r A - f in r has come down to 0."
    )
    return Picture("drift_surface", "The drift function", caption, figure, _numbers(surfaces, references, "drift"))


def drift_slope(surfaces: Surfaces, references: Mapping[str, Surfaces]) -> Picture:
    """Returns heat maps of the derivative of `r A - f` in r, laid out as in `drift_surface`, white at 0."""
    horizons = [horizon_words(surfaces, index) for index in range(len(surfaces.lifetimes))]
    rows = _panel_rows(surfaces, references, "slope")
    every = np.concatenate([panel.values.ravel() for row in rows for panel in row])
    limit = float(np.percentile(np.abs(every), ROBUST))
    figure = _heat_maps(rows, horizons, "d(r A - f) / dr", {"cmap": SIGNED, "vmin": -limit, "vmax": limit}, line=INK)
    caption = (
        "The derivative of the surrogate r A - f with respect to r, by automatic differentiation"
        f"{_columns(surfaces, references)}. Red raises the action's probability, blue lowers it; without a drift the "
        "upper half would be red and the lower half blue throughout. Pale: no push, as in PPO's clip. Blue above or "
        f"red below: rollback. Line: where the push ends. One scale, ending at the {ROBUST:g}th percentile of sizes."
    )
    return Picture(
        "drift_slope", "What the policy is pushed by", caption, figure, _numbers(surfaces, references, "slope")
    )


def _panel_rows(surfaces: Surfaces, references: Mapping[str, Surfaces], name: str) -> list[list[Panel]]:
    """Returns a row of panels for each lifetime; the references follow in the first."""
    values, push = getattr(surfaces, name), surfaces.push
    rows = []
    titles = [f"n/N = {fraction:g}" for fraction in surfaces.fractions]
    titles = titles if len(titles) > 1 else [arm_label("discovered")]
    for index in range(len(surfaces.lifetimes)):
        rows.append([Panel(*panel) for panel in zip(titles, values[index], push[index], strict=True)])
    rows[0] += [
        Panel(arm_label(arm), getattr(other, name)[0, 0], other.push[0, 0]) for arm, other in references.items()
    ]
    return rows


def horizon_words(surfaces: Surfaces, index: int) -> str:
    """Returns what to add to a row's label: which N it is, if there are several."""
    return f"\nN = {surfaces.lifetimes[index]:g}" if len(surfaces.lifetimes) > 1 else ""


def _heat_maps(
    rows: list[list[Panel]], horizons: list[str], label: str, colours: Mapping[str, object], *, line: str = "white"
) -> Figure:
    with style():
        num_columns = max(len(row) for row in rows)
        figure, axes = make_figure(len(rows), num_columns, height=2.1, sharex=True, sharey=True)
        for axis in axes.flat:
            axis.set_visible(False)
        for index, panels in enumerate(rows):
            for axis, panel in zip(axes[index], panels, strict=False):
                axis.set_visible(True)
                image = draw_map(axis, panel.values, colours)
                draw_end_of_push(axis, panel.push, line)
                axis.set_title(panel.title, fontsize=8.0)
            for axis in axes[index, len(rows[-1]) :]:  # nothing stands below the references
                axis.tick_params(labelbottom=True)
            axes[index, 0].set_ylabel("advantage A" + horizons[index])
        figure.supxlabel("ratio r (logarithmic)", fontsize=9)
        ends = "both" if colours["vmin"] else "max"
        bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=26 * len(rows), extend=ends, label=label)
        bar.outline.set_visible(False)
    return figure


def draw_map(axis: Axes, values: Float[np.ndarray, "A R"], colours: Mapping[str, object]) -> AxesImage:
    """Draws an image over log r in [-1, 1] and A in [-4, 4], with ticks at ratios; returns it."""
    extent = (-WINDOW, WINDOW, -MAX_ADVANTAGE, MAX_ADVANTAGE)
    options = {"origin": "lower", "aspect": "auto", "interpolation": "none", "extent": extent}
    image = axis.imshow(values, **options, **colours)
    axis.set_xticks(np.log(RATIO_TICKS), [f"{ratio:g}" for ratio in RATIO_TICKS])
    axis.set_yticks([-4, -2, 0, 2, 4])
    axis.grid(False)
    return image


def draw_end_of_push(axis: Axes, push: Float[np.ndarray, "A R"], colour: str) -> None:
    """Draws the line at which the push falls to a thousandth of A, on top of `draw_map`; the middle row is left out."""
    advantage = np.linspace(-MAX_ADVANTAGE, MAX_ADVANTAGE, push.shape[0])
    log_ratio = np.linspace(-WINDOW, WINDOW, push.shape[1])
    for half in (advantage > 0.0, advantage < 0.0):
        if np.min(push[half]) < VISIBLE < np.max(push[half]):
            axis.contour(log_ratio, advantage[half], push[half], [VISIBLE], colors=[colour], linewidths=0.9)


def _columns(surfaces: Surfaces, references: Mapping[str, Surfaces]) -> str:
    beside = " and ".join(arm_label(arm) for arm in references)
    blind = len(surfaces.fractions) == 1
    return (
        f", {beside} beside it" if blind else f", at {len(surfaces.fractions)} points n/N of a life, {beside} beside it"
    )


def _numbers(surfaces: Surfaces, references: Mapping[str, Surfaces], name: str) -> dict[str, np.ndarray]:
    axes = ("log_ratio", "advantage", "fractions", "lifetimes")
    numbers = {axis: getattr(surfaces, axis) for axis in axes} | {name: getattr(surfaces, name)}
    return numbers | {arm: getattr(other, name)[0, 0] for arm, other in references.items()}
