"""One look for every figure: fixed arm colours, one horizon scale, and pictures that carry their numbers."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.looks import ACTING_ARMS, OPTIMISER_ARMS, RULE_ARMS

INK, MUTED, RULE = "#1f2328", "#5b6470", "#d4d8dd"
LOOKS = RULE_ARMS | ACTING_ARMS | OPTIMISER_ARMS
ARM_COLOURS = {arm: look.colour for arm, look in LOOKS.items()}
ARM_MARKERS = {arm: look.marker for arm, look in LOOKS.items()}
ARM_LABELS = {arm: look.label for arm, look in LOOKS.items()}
ARM_DASHES = {arm: look.dashes for arm, look in LOOKS.items()}
TOP_ARMS = ("discovered", "dpt", "dpt-greedy", "ad", "ad-greedy", "rl2", "rl2-greedy", "nap")
"""Drawn above all others."""
OTHER_COLOURS = ("#4c3fb1", "#a8324a", "#6b5b00", "#00728a")
QUANTITIES = {
    "return": "return",
    "policy_entropy": "policy entropy (nats)",
    "prediction_entropy": "prediction entropy H(y) (nats)",
    "pi_hat_mean": "mean pi_hat",
    "pi_hat_abs": "mean |pi_hat|",
    "pi_hat_square": "mean pi_hat²",
    "pi_hat_change": "change of pi_hat (rms)",
    "y_hat_entropy": "entropy of y_hat (nats)",
    "y_hat_square": "mean Σ y_hat²",
    "y_hat_change": "change of y_hat (rms)",
    "prediction_kl": "KL(y ‖ y_hat)",
    "policy_kl": "KL(old ‖ new policy)",
    "clip_fraction": "share of ratios outside 1 ± 0.2",
    "gradient_norm_policy": "policy gradient norm",
    "gradient_norm_value": "value gradient norm",
    "gradient_norm_prediction": "prediction gradient norm",
    "update_norm_policy": "policy update norm",
    "update_norm_value": "value update norm",
    "update_norm_prediction": "prediction update norm",
}
"""Per-update quantities of a life, as axis labels."""
MAX_POINTS = 250
"""More points than that cannot be told apart in a panel; curves are drawn as means over blocks, and saved in full."""
WIDTH = 8.2
"""Inches; one figure is as wide as the text of a report."""
STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "metarl",
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}


class Picture(NamedTuple):
    """A figure, what it says and the numbers it was drawn from."""

    name: str
    """File name without its ending."""
    title: str
    """A few words."""
    caption: str
    """What is seen and how it was computed."""
    figure: Figure
    """Not known to pyplot, so nothing has to be closed."""
    numbers: Mapping[str, np.ndarray]
    """Everything that was drawn, by name."""


def style() -> AbstractContextManager[None]:
    """Returns a context in which figures get the common look; matplotlib's settings are restored at its end."""
    return matplotlib.rc_context(STYLE)


def make_figure(
    num_rows: int = 1, num_columns: int = 1, *, height: float, **options: object
) -> tuple[Figure, np.ndarray]:
    """Returns a figure without pyplot and its axes, [num_rows, num_columns]; `height` is in inches for each row."""
    figure = Figure(figsize=(WIDTH, height * num_rows), layout="constrained", facecolor="white")
    return figure, figure.subplots(num_rows, num_columns, squeeze=False, **options)


def hide_unused(axes: np.ndarray, num_used: int) -> None:
    """Hides the panels after the first `num_used`, and gives the panel above a hidden one its tick labels back."""
    for index in range(num_used, axes.size):
        row, column = divmod(index, axes.shape[1])
        axes[row, column].set_visible(False)
        if row:
            axes[row - 1, column].tick_params(labelbottom=True)


def arm_order(arms: Sequence[str]) -> list[str]:
    """Returns each arm once: initial, a2c, others in order of appearance, and discovered last, drawn on top."""
    known = {"initial": 0, "a2c": 1, "discovered": 3}
    return sorted(dict.fromkeys(arms), key=lambda arm: known.get(arm, 2))


def acting_order(arms: Iterable[str]) -> list[str]:
    """Returns each arm once: those that act in context as `ACTING_ARMS` has them, then others as they appear."""
    places = {arm: place for place, arm in enumerate(ACTING_ARMS)}
    return sorted(dict.fromkeys(arms), key=lambda arm: places.get(arm, len(places)))


def arm_style(arm: str, arms: Sequence[str] = ()) -> dict[str, object]:
    """Returns colour, dashes and z-order of an arm; others than the known get a colour by their place in `arms`."""
    unknown = [name for name in arm_order(arms) if name not in ARM_COLOURS]
    colour = ARM_COLOURS.get(arm) or OTHER_COLOURS[(unknown.index(arm) if arm in unknown else 0) % len(OTHER_COLOURS)]
    return {"color": colour, "linestyle": ARM_DASHES.get(arm, "-."), "zorder": 4 if arm in TOP_ARMS else 3}


def arm_label(arm: str, *, definite: bool = False) -> str:
    """Returns the arm in words, with an article where a sentence needs one."""
    label = ARM_LABELS.get(arm, arm)
    return f"the {label}" if definite and label.endswith("rule") else label


def horizon_colours(horizons: Sequence[int]) -> dict[int, tuple[float, ...]]:
    """Returns one colour for each horizon, darker for longer, evenly spaced in log N and ordered in lightness."""
    logs = np.log(np.asarray(sorted(set(horizons)), np.float64))
    span = logs[-1] - logs[0] if len(logs) > 1 else 1.0
    shades = matplotlib.colormaps["viridis_r"](0.15 + 0.83 * (logs - logs[0]) / span)
    return {horizon: tuple(shade) for horizon, shade in zip(sorted(set(horizons)), shades, strict=True)}


def thin(values: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T2"]:
    """Returns means over equal blocks of successive values (the last may be shorter), at most MAX_POINTS of them.

    NaN is left out of its block; up to MAX_POINTS values are returned as they are.
    """
    block = -(-len(values) // MAX_POINTS)
    if block <= 1:
        return values
    starts, present = np.arange(0, len(values), block), np.isfinite(values)
    total, size = (
        np.add.reduceat(part, starts) for part in (np.where(present, values, 0.0), present.astype(np.float64))
    )
    return np.divide(total, size, out=np.full(len(starts), np.nan), where=size > 0.0)


def thinning_note(horizons: Iterable[int]) -> str:
    """Returns a sentence for the caption of curves over lives if any is long enough to be thinned, else nothing."""
    words = f" Lives of more than {MAX_POINTS} updates are drawn as means over successive updates, and saved in full."
    return words if max(horizons, default=0) > MAX_POINTS else ""


def draw_band(
    axis: Axes,
    x: np.ndarray,
    band: Sequence[np.ndarray],
    *,
    label: str | None = None,
    opacity: float = 0.16,
    **line: object,
) -> None:
    """Draws thinned `(middle, low, high)` over x as a line in a translucent band of its colour; NaN leaves a gap."""
    x, middle, low, high = (thin(values) for values in (x, *band))
    axis.plot(x, middle, label=label, **line)
    axis.fill_between(x, low, high, color=line["color"], alpha=opacity, linewidth=0, zorder=2)


def log_horizon_axis(axis: Axes, horizons: Sequence[int]) -> None:
    """Makes the x axis logarithmic with a tick at each horizon, leaving out labels that would collide."""
    axis.set_xscale("log")
    shown = [horizons[0]]
    for horizon in horizons[1:]:
        shown += [horizon] if np.log(horizon / shown[-1]) > 0.06 * np.log(horizons[-1] / horizons[0]) else []
    axis.set_xticks(list(horizons))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value in shown else ""))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()


def shared_legend(figure: Figure, axes: np.ndarray, *, num_columns: int = 8) -> None:
    """Puts one legend above all panels, with every label once, in at most so many columns."""
    entries = {label: h for axis in axes.flat for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    options = {
        "loc": "outside upper left",
        "ncols": min(num_columns, len(entries)),
        "handlelength": 1.8,
        "columnspacing": 1.4,
    }
    figure.legend(list(entries.values()), list(entries), **options)


def _settle(figure: Figure) -> None:
    """Lays the figure out once: doing it again for each format takes longest of all, and moves things a little."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def encode(picture: Picture) -> str:
    """Returns the figure as a `data:` address of an SVG that needs no font and no other file."""
    buffer = io.BytesIO()
    with style():
        _settle(picture.figure)
        picture.figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def save_picture(picture: Picture, directory: Path) -> None:
    """Writes `<name>.png` (160 dots per inch) and `<name>.npz` (the numbers) into a directory, made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    with style():
        _settle(picture.figure)
        picture.figure.savefig(directory / f"{picture.name}.png", dpi=160)
    np.savez_compressed(directory / f"{picture.name}.npz", **{k: np.asarray(v) for k, v in picture.numbers.items()})
