"""A picture of where a drift lets the policy go: the clip that it implies, over a life."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from analysis.drift import WINDOW, Surfaces
from analysis.drift_pictures import VISIBLE, horizon_words
from analysis.figure import ARM_COLOURS, ARM_DASHES, Picture, arm_label, make_figure, shared_legend, style
from analysis.push import CLIP

LIFE_TICKS = (0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5)
STAGES = {
    "rolled back": "#bcd3ea",
    "let go": "#dde1e5",
    "pushed by less than half of A": "#f6e7cf",
    "pushed on": "#ffffff",
}
"""What happens to ratios, in order of the push, and its colours."""


def drift_clip(
    life: Surfaces, clip: Float[np.ndarray, "L F G"], references: Mapping[str, Float[np.ndarray, " G"]]
) -> Picture:
    """Returns the ratio at which an action is let go, over n/N, a column for each advantage and a row for each N.

    Args:
        life: surfaces at the advantages alone, at many fractions.
        clip: `implied_clip` at the same points.
        references: the same of rules that are blind to time, by arm.
    """
    with style():
        figure, axes = make_figure(len(life.lifetimes), len(life.advantage), height=2.7, sharex=True)
        for lifetime, row in enumerate(axes):
            for column, axis in enumerate(row):
                _draw_let_go(axis, life, clip, (lifetime, column))
                for arm, ratios in references.items():
                    line = {"color": ARM_COLOURS[arm], "linestyle": ARM_DASHES[arm], "linewidth": 1.5, "zorder": 4}
                    axis.axhline(np.log(ratios[column]), label=arm_label(arm), **line)
            row[0].set_ylabel("ratio r" + horizon_words(life, lifetime))
        for axis, advantage in zip(axes[0], life.advantage, strict=True):
            axis.set_title(f"A = {advantage:g}")
        for name, colour in list(STAGES.items())[:3]:
            axes[0, 0].fill_between([], [], color=colour, label=name)
        figure.supxlabel("fraction of life n/N", fontsize=9)
        shared_legend(figure, axes)
    numbers = {"fractions": life.fractions, "lifetimes": life.lifetimes, "advantages": life.advantage, "clip": clip}
    numbers |= {"log_ratio": life.log_ratio, "push": life.push} | dict(references)
    return Picture("drift_clip", "Where the policy is let go", _clip_caption(life, clip, references), figure, numbers)


def _draw_let_go(axis: Axes, life: Surfaces, clip: Float[np.ndarray, "L F G"], index: tuple[int, int]) -> None:
    """Draws what happens to ratios over n/N as areas, and the first that is not pushed as a line."""
    lifetime, column = index
    sign = np.sign(life.advantage[column])
    side = sign * life.log_ratio >= 0.0
    extent = (0.0, 1.0, *sorted((0.0, sign * WINDOW)))
    options = {"origin": "lower", "aspect": "auto", "interpolation": "none", "extent": extent}
    stages = _stages(life.push[lifetime, :, column][:, side])
    axis.imshow(stages.T, cmap=ListedColormap(list(STAGES.values())), vmin=-0.5, vmax=3.5, **options)
    fractions = life.fractions if len(life.fractions) > 1 else np.array([0.0, 1.0])
    first = np.broadcast_to(np.log(clip[lifetime, :, column]), fractions.shape)
    line = {"color": ARM_COLOURS["discovered"], "linewidth": 2.0, "zorder": 5, "clip_on": False}
    axis.plot(fractions, first, label=arm_label("discovered"), **line)
    axis.set(xlim=(0.0, 1.0), ylim=extent[2:])
    axis.set_xticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
    ticks = [ratio for ratio in LIFE_TICKS if extent[2] <= np.log(ratio) <= extent[3]]
    axis.set_yticks(np.log(ticks), [f"{ratio:g}" for ratio in ticks])
    axis.grid(False)


def _stages(push: Float[np.ndarray, "F R"]) -> Float[np.ndarray, "F R"]:
    """Returns the index in STAGES of what happens to ratios at this share of the push."""
    return np.digitize(push, [-VISIBLE, VISIBLE, 0.5]).astype(np.float64)


def _clip_caption(life: Surfaces, clip: np.ndarray, references: Mapping[str, np.ndarray]) -> str:
    endless = [arm_label(arm) for arm, ratios in references.items() if np.any(np.isnan(ratios))]
    endless += ["the discovered rule"] if np.any(np.isnan(clip)) else []
    gaps = (
        f" Where the line of {' or '.join(endless)} is missing, the push lasts as far as e or 1/e." if endless else ""
    )
    blind = " The rule does not see time, so nothing changes over n/N." if len(life.fractions) == 1 else ""
    return (
        "How far an action of advantage A goes before the surrogate r A - f stops pushing it: the first ratio, away "
        "from 1 in the direction of the push, at which the slope in r vanishes or changes sign, found on 2048 points "
        f"and by bisection. PPO's is 1 ± {CLIP:g}.{gaps} White: ratios pushed on by half of A or more; sand: by less; "
        f"grey: let go; blue: rolled back. Beyond the line a learned drift may push again.{blind}"
    )
