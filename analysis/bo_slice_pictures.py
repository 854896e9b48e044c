"""Pictures of what a neural process thinks of functions in one and two dimensions."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.bo_slices import PLANE_SIDE, Exploration, View, choice
from analysis.figure import INK, Picture, arm_style, make_figure, shared_legend, style

DEPTH = 12.0
"""Nats below the largest at which an acquisition is cut off: what lies lower is never chosen."""
PREDICTION = "#00728a"
GIVEN = {"marker": "s", "color": "white", "markeredgecolor": INK, "markersize": 4.0, "linestyle": "none"}
CHOSEN = {"marker": "o", "color": INK, "markeredgecolor": "white", "markersize": 4.5, "linestyle": "none"}


def below_best(scores: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Returns scores minus the largest of them, cut off at -DEPTH."""
    return np.maximum(scores - np.max(scores), -DEPTH)


def line_slices(explorations: Sequence[Exploration]) -> Picture:
    """Returns predictions of functions on the line, and the acquisition below, a column for each stage."""
    numbers: dict[str, np.ndarray] = {}
    num_rows, stages = 2 * len(explorations), len(explorations[0].views)
    with style():
        ratios = {"height_ratios": [2.0, 1.15] * len(explorations)}
        figure, axes = make_figure(num_rows, stages, height=1.75, sharex=True, sharey="row", gridspec_kw=ratios)
        for index, exploration in enumerate(explorations):
            rows = axes[2 * index : 2 * index + 2]
            numbers |= _draw_line(rows, exploration, num_given=len(explorations[0].views[0].seen))
        for axis in axes[-1]:
            axis.set_xlabel("x (share of its range)")
        shared_legend(figure, axes, num_columns=4)
    caption = (
        "Functions that the model has not seen, named on the left, without units; three points (squares) are given, "
        "all later ones (dots) are the model's own choices among 201. Above: predictive mean and central intervals of "
        "50 and 90 %. Below: what scores candidates, minus its largest value, in nats and cut off below; the triangle "
        "marks what is evaluated next."
    )
    return Picture("slices_1d", "Predictions and acquisition on a line", caption, figure, numbers)


def _draw_line(rows: np.ndarray, exploration: Exploration, num_given: int) -> dict[str, np.ndarray]:
    x, numbers = exploration.x[:, 0], {}
    for axis, below, view in zip(*rows, exploration.views, strict=True):
        _draw_prediction(axis, x, exploration.y, view, num_given)
        _draw_acquisition(below, x, view)
        stage = f"{exploration.name}/{len(view.seen)}"
        numbers |= {f"{stage}/{name}": part for name, part in view._asdict().items() if part is not None}
        axis.set_title(f"{len(view.seen)} evaluations", fontsize=8.5)
    rows[0, 0].set_ylabel(f"f(x), {exploration.name}")
    rows[1, 0].set_ylabel("nats below best")
    return numbers | {f"{exploration.name}/x": x, f"{exploration.name}/y": exploration.y}


def _draw_prediction(axis: Axes, x: np.ndarray, y: np.ndarray, view: View, num_given: int) -> None:
    colour = PREDICTION
    low, lower, upper, high = view.quantiles
    axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0, label="90 % interval")
    axis.fill_between(x, lower, upper, color=colour, alpha=0.3, linewidth=0, label="50 % interval")
    axis.plot(x, view.mean, color=colour, label="predictive mean")
    axis.plot(x, y, color=INK, linewidth=1.0, linestyle=(0, (4.0, 1.5)), label="function")
    given, chosen = view.seen[:num_given], view.seen[num_given:]
    axis.plot(x[given], y[given], label="given", zorder=5, **GIVEN)
    axis.plot(x[chosen], y[chosen], label="chosen", zorder=5, **CHOSEN)
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.margins(x=0.0)


def _draw_acquisition(axis: Axes, x: np.ndarray, view: View) -> None:
    other = arm_style("np-ei")
    axis.plot(x, below_best(view.log_ei), color=other["color"], linestyle=other["linestyle"], label="log EI", zorder=5)
    if view.preference is not None:
        axis.plot(x, below_best(view.preference), color=arm_style("nap")["color"], label="learned acquisition")
    axis.plot([x[choice(view)]], [0.0], marker=7, color=INK, markersize=6.0, clip_on=False, linestyle="none")
    scores = [view.log_ei] if view.preference is None else [view.log_ei, view.preference]
    depth = max(1.0, -axis.get_ylim()[0], *(-float(below_best(each).min()) for each in scores))  # of the whole row
    axis.set_ylim(-min(1.05 * depth, DEPTH), 0.05 * depth)
    axis.set_xlim(0.0, 1.0)
    axis.yaxis.set_major_locator(MaxNLocator(4))


def plane_slices(exploration: Exploration) -> Picture:
    """Returns maps of mean, spread and acquisition over the square, a row for each stage."""
    learned = exploration.views[0].preference is not None
    numbers = {"x": exploration.x, "y": exploration.y}
    num_given = len(exploration.views[0].seen)
    with style():
        figure, axes = make_figure(
            len(exploration.views), 4 if learned else 3, height=1.95 if learned else 2.4, sharex=True, sharey=True
        )
        for row, view in zip(axes, exploration.views, strict=True):
            maps = {"mean": view.mean, "std": view.std, "log EI (nats)": below_best(view.log_ei)}
            if view.preference is not None:
                maps["learned (nats)"] = below_best(view.preference)
            for axis, (title, values) in zip(row, maps.items(), strict=True):
                _draw_map(figure, axis, values, title)
                _mark(axis, exploration, view, num_given)
            _contour(row[0], exploration)
            row[0].set_ylabel(f"{len(view.seen)} evaluations\n\nx₂")
            numbers |= {f"{len(view.seen)}/{name}": part for name, part in view._asdict().items() if part is not None}
        for axis in axes[-1]:
            axis.set_xlabel("x₁")
    caption = (
        f"{exploration.name}, over its box scaled to a unit square: {num_given} points (squares) are given and all "
        f"later ones (dots) are the model's own choices on a grid of {PLANE_SIDE} x {PLANE_SIDE}; the cross is what it "
        "evaluates next. Lines over the mean: contours of the function itself. Mean and standard deviation have the "
        "function's units; acquisitions are nats below their largest value, cut off below."
    )
    return Picture("slices_2d", "Predictions and acquisition on a square", caption, figure, numbers)


def _draw_map(figure: Figure, axis: Axes, values: np.ndarray, title: str) -> None:
    square = values.reshape(PLANE_SIDE, PLANE_SIDE)
    edge = 0.5 / (PLANE_SIDE - 1)
    extent = (-edge, 1.0 + edge, -edge, 1.0 + edge)
    image = axis.imshow(square, origin="lower", extent=extent, cmap="viridis", aspect="equal")
    axis.set_title(title, fontsize=8.5)
    axis.grid(visible=False)
    axis.set_xticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
    axis.set_yticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
    bar = figure.colorbar(image, cax=axis.inset_axes((1.04, 0.0, 0.06, 1.0)))
    bar.ax.tick_params(labelsize=7.0)
    bar.locator = MaxNLocator(4)
    bar.update_ticks()
    bar.outline.set_visible(False)


def _contour(axis: Axes, exploration: Exploration) -> None:
    side = np.linspace(0.0, 1.0, PLANE_SIDE)
    levels = np.quantile(exploration.y, (0.3, 0.6, 0.8, 0.9, 0.97))
    square = exploration.y.reshape(PLANE_SIDE, PLANE_SIDE)
    axis.contour(side, side, square, levels=levels, colors="white", linewidths=0.6, linestyles="solid", alpha=0.8)


def _mark(axis: Axes, exploration: Exploration, view: View, num_given: int) -> None:
    given, chosen = exploration.x[view.seen[:num_given]], exploration.x[view.seen[num_given:]]
    axis.plot(*given.T, zorder=5, **GIVEN)
    axis.plot(*chosen.T, zorder=5, **CHOSEN)
    following = exploration.x[choice(view)]
    axis.plot(*following[:, None], "x", color="white", markersize=8.0, markeredgewidth=3.2, zorder=6)
    axis.plot(*following[:, None], "x", color="#a8324a", markersize=7.0, markeredgewidth=1.8, zorder=7)
    axis.set(xlim=(-0.0125, 1.0125), ylim=(-0.0125, 1.0125))
