"""A moving picture of a drift over a life: what the policy is pushed by as n/N goes from 0 to 1, beside PPO."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from analysis.drift import Surfaces
from analysis.drift_pictures import ROBUST, SIGNED, draw_end_of_push, draw_map
from analysis.figure import ARM_COLOURS, INK, RULE, arm_label, style

NUM_FRAMES, FRAME_POINTS = 31, 161
"""Points in a life, and points along each side of a surface, that make a good picture in a small file."""
FRAME_MS, PAUSE_MS = 120, 1500
"""How long a frame is shown, and the first and last."""
NUM_SHADES = 33
"""Steps of the colour scale: flat areas make a small file. Odd, so that one step is white around 0."""
DPI = 110
WHITE = 255
"""Place of white in the palette, after all that quantising finds."""


class Animation(NamedTuple):
    """A moving picture, what it says and the numbers it was drawn from."""

    name: str
    """File name without its ending."""
    title: str
    """A few words."""
    caption: str
    """What is seen and how it was computed."""
    gif: bytes
    """The file."""
    numbers: dict[str, np.ndarray]
    """Everything that was drawn, by name."""


def drift_animation(life: Surfaces, ppo: Surfaces, *, sees_horizon: bool = False) -> Animation | None:
    """Returns the slope of `r A - f` at each fraction of the life, in order, beside that of PPO.

    The last of the lifetimes is shown, and named if the rule sees it. None if there is one fraction only, for then
    nothing moves. Equal input gives equal bytes.
    """
    if len(life.fractions) < 2:
        return None
    limit = float(np.percentile(np.abs(np.concatenate([life.slope[-1].ravel(), ppo.slope.ravel()])), ROBUST))
    gif = _encode(list(_frames(life, ppo, limit)))
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


def save_animation(animation: Animation, directory: Path) -> None:
    """Writes `<name>.gif` and `<name>.npz` (the numbers) into a directory, made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{animation.name}.gif").write_bytes(animation.gif)
    np.savez_compressed(directory / f"{animation.name}.npz", **animation.numbers)


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


def _encode(frames: list[UInt8[np.ndarray, "H W 3"]]) -> bytes:
    """Returns the frames as a GIF that starts again at its end; all share one palette, without dithering."""
    samples = [frames[0], frames[len(frames) // 2], frames[-1]]
    palette = Image.fromarray(np.concatenate(samples)).quantize(WHITE, dither=Image.Dither.NONE)
    first, *others = (_indexed(frame, palette) for frame in frames)
    durations = [PAUSE_MS, *[FRAME_MS] * (len(frames) - 2), PAUSE_MS]
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


def _indexed(frame: UInt8[np.ndarray, "H W 3"], palette: Image.Image) -> Image.Image:
    """Returns the frame in the colours of the palette, and white where it is white, for quantising dims the page."""
    indices = np.array(Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE))
    indices[np.all(frame == 255, axis=-1)] = WHITE
    image = Image.fromarray(indices)
    image.putpalette((palette.getpalette() or [])[: 3 * WHITE] + [255, 255, 255])
    return image
