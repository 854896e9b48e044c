"""A moving picture of a drift over a life: what the policy is pushed by as n/N goes from 0 to 1, beside PPO."""

from collections.abc import Iterator, Mapping

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from analysis.animation import Animation, encode_gif
from analysis.drift import Surfaces
from analysis.drift_pictures import ROBUST, SIGNED, draw_end_of_push, draw_map
from analysis.figure import ARM_COLOURS, INK, RULE, arm_label, style

NUM_FRAMES, FRAME_POINTS = 31, 161
"""Points in a life, and points along each side of a surface, that make a good picture in a small file."""
NUM_SHADES = 33
"""Steps of the colour scale: flat areas make a small file. Odd, so that one step is white around 0."""
DPI = 110


def drift_animation(life: Surfaces, ppo: Surfaces, *, sees_horizon: bool = False) -> Animation | None:
    """Returns the slope of `r A - f` at each fraction of the life, in order, beside that of PPO.

    The last of the lifetimes is shown, and named if the rule sees it. None if there is one fraction only, for then
    nothing moves. Equal input gives equal bytes.
    """
    if len(life.fractions) < 2:
        return None
    limit = float(np.percentile(np.abs(np.concatenate([life.slope[-1].ravel(), ppo.slope.ravel()])), ROBUST))
    gif = encode_gif(list(_frames(life, ppo, limit)))
    horizon = f" N = {life.lifetimes[-1]:g}." if sees_horizon else ""
    caption = (
        "The slope of the surrogate r A - f in r over a life, n/N from 0 to 1, beside PPO, whose clip never moves. Red "
        f"raises the action's probability, blue lowers it, the line is where the push ends.{horizon} Ratio, advantage "
        "and colour scale stay the same throughout: whatever moves is an effect of time alone."
    )
    names = ("log_ratio", "advantage", "fractions")
    numbers = {name: getattr(life, name) for name in names}
    numbers |= {"lifetime": life.lifetimes[-1], "slope": life.slope[-1], "ppo": ppo.slope[0, 0]}
    return Animation("drift_life", "The drift over a life", caption, gif, numbers)


def _frames(life: Surfaces, ppo: Surfaces, limit: float) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    levels = np.linspace(-limit, limit, NUM_SHADES + 1)
    colours = {"cmap": SIGNED, "norm": BoundaryNorm(levels, matplotlib.colormaps[SIGNED].N, extend="both")}
    with style():
        figure = Figure(figsize=(6.4, 3.5), dpi=DPI, layout="constrained", facecolor="white")
        canvas = FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, sharey=True)
        image = draw_map(right, ppo.slope[0, 0], colours)
        draw_end_of_push(right, ppo.push[0, 0], INK)
        right.set(title=arm_label("ppo"), xlabel="ratio r (logarithmic)")
        ticks = MaxNLocator(7, symmetric=True).tick_values(-limit, limit)[1:-1]
        bar = figure.colorbar(image, ax=[left, right], pad=0.01, aspect=26, label="d(r A - f) / dr", ticks=ticks)
        bar.minorticks_off()
        bar.outline.set_visible(False)
        for index in range(len(life.fractions)):
            _draw_life(left, life, index, colours)
            canvas.draw()
            figure.set_layout_engine("none")  # what is laid out once must not move
            yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_life(axis: Axes, life: Surfaces, index: int, colours: Mapping[str, object]) -> None:
    """Draws the map at one point in life, with a bar on top that grows with it, in place of what was there."""
    fraction = life.fractions[index]
    axis.clear()
    draw_map(axis, life.slope[-1, index], colours)
    draw_end_of_push(axis, life.push[-1, index], INK)
    place = {"transform": axis.transAxes, "clip_on": False, "linewidth": 0}
    axis.add_patch(Rectangle((0.0, 1.0), 1.0, 0.02, facecolor=RULE, **place))
    axis.add_patch(Rectangle((0.0, 1.0), fraction, 0.02, facecolor=ARM_COLOURS["discovered"], **place))
    axis.set_title(f"{arm_label('discovered')}, n/N = {fraction:.2f}", pad=9.0)
    axis.set(xlabel="ratio r (logarithmic)", ylabel="advantage A")
