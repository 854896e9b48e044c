"""Pretraining in words and pictures: the loss, and how far predictions are from the exact posterior."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.curves import running_mean, smoothing_window
from analysis.figure import INK, Picture, arm_style, horizon_colours, make_figure, shared_legend, style
from analysis.incontext_load import trained_envs
from analysis.incontext_pictures import plain_ticks, point_ticks

TRAINING_PANELS = {
    "loss": "loss",
    "gradient_norm": "gradient norm before its clip",
    "first_return": "return, a trial's first episode",
    "last_return": "return, a trial's last episode",
}
"""Metrics of training and their titles; returns are recorded where a model acts while it is trained."""
FINAL_SHARE = 0.1
"""Share of the steps, the last ones, over which final numbers are averaged."""
LEARNERS = {
    "DPTConfig": (
        "A transformer was shown data sets from newly drawn tasks{envs} and asked, for one observation after another, "
        "which action the optimal policy takes (decision pretraining)."
    ),
    "ADConfig": (
        "A transformer was shown learning histories from newly drawn tasks{envs} and asked which action the learner "
        "took next (algorithm distillation)."
    ),
    "RL2Config": (
        "A recurrent network was trained by reinforcement learning over several episodes in each newly drawn task"
        "{envs}, its hidden state being all that lasts from one to the next (RL²)."
    ),
}
"""What training was, by the type of the learner's configuration."""
AFTERWARDS = " Here it acts in held-out tasks with frozen weights: all that it learns there, it learns in its context."


def lead_words(config: Mapping[str, Any]) -> str:
    """Returns the first paragraph of a page: how the model was trained, as far as a configuration tells."""
    learner, envs = (config.get("learner") or {}).get("type"), trained_envs(config)
    words = LEARNERS.get(str(learner), "A model was pretrained on newly drawn tasks{envs}.")
    return words.format(envs=f" of {' and '.join(envs)}" if envs else "") + AFTERWARDS


def probe_lengths(metrics: Mapping[str, np.ndarray]) -> list[int]:
    """Returns the context lengths n with a recorded `bayes_gap/<n>`, ascending."""
    names = (name.partition("/") for name in metrics)
    return sorted(int(n) for name, _, n in names if name == "bayes_gap" and n.isdigit())


def final_mean(values: Float[np.ndarray, " T"]) -> float:
    """Returns the mean of the finite ones among the last tenth of the values, at least one; NaN if there is none."""
    last = values[-max(1, round(FINAL_SHARE * len(values))) :]
    last = last[np.isfinite(last)]
    return float(last.mean()) if len(last) else float("nan")


def loss_curve(metrics: Mapping[str, np.ndarray], updates_per_step: int) -> Picture | None:
    """Returns TRAINING_PANELS over updates, raw faint and running mean strong; None if none of them is recorded."""
    names = [name for name in TRAINING_PANELS if name in metrics and "step" in metrics]
    if not names:
        return None
    updates = updates_per_step * metrics["step"]
    window = smoothing_window(len(updates))
    colour = arm_style("dpt")["color"]
    with style():
        figure, axes = make_figure(1, len(names), height=2.7)
        panels = dict(zip(names, axes.flat, strict=True))
        for name, axis in panels.items():
            axis.plot(updates, metrics[name], color=colour, alpha=0.3, linewidth=0.7)
            axis.plot(updates, running_mean(metrics[name], window), color=colour, marker=_marker(updates))
            axis.set(xlabel="updates", title=TRAINING_PANELS[name])
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _scale(panels, metrics)
    smooth = (
        f" Faint: each step of {updates_per_step} updates. Strong: running mean over {window}." if window > 1 else ""
    )
    numbers = {"updates": updates} | {name: metrics[name] for name in names}
    return Picture("training", "Training", f"What training records, on fresh training tasks.{smooth}", figure, numbers)


def _scale(panels: Mapping[str, Axes], metrics: Mapping[str, np.ndarray]) -> None:
    """Makes the gradient norm logarithmic, and puts returns on one scale: their difference is learned in a trial."""
    if "gradient_norm" in panels and np.nanmin(metrics["gradient_norm"]) > 0.0:
        panels["gradient_norm"].set_yscale("log")
        plain_ticks(panels["gradient_norm"], x=False)
    returns = [axis for name, axis in panels.items() if name.endswith("return")]
    limits = [axis.get_ylim() for axis in returns]
    for axis in returns:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _marker(updates: np.ndarray) -> str | None:
    return None if len(updates) > 1 else "o"


def gap_curves(metrics: Mapping[str, np.ndarray], updates_per_step: int) -> Picture | None:
    """Returns the Bayes gap over training, darker for longer contexts, and the final cross-entropy over its floor.

    None without a recorded gap.
    """
    lengths = probe_lengths(metrics)
    if not lengths or "step" not in metrics:
        return None
    updates = updates_per_step * metrics["step"]
    window = smoothing_window(len(updates))
    gaps = {length: metrics[f"bayes_gap/{length}"] for length in lengths}
    final = {length: final_mean(gap) for length, gap in gaps.items()}
    entropy = [final_mean(metrics.get(f"cross_entropy/{n}", np.full(1, np.nan))) for n in lengths]
    floor = np.array(entropy) - np.array(list(final.values()))
    numbers = {"updates": updates, "lengths": np.array(lengths), "cross_entropy": np.array(entropy), "floor": floor}
    numbers |= {f"bayes_gap/{length}": gap for length, gap in gaps.items()}
    with style():
        figure, axes = make_figure(1, 2, height=3.4)
        _draw_gaps(axes[0, 0], updates, {n: running_mean(gap, window) for n, gap in gaps.items()})
        _draw_floor(axes[0, 1], lengths, np.array(entropy), floor)
        shared_legend(figure, axes)
    smooth = f", running mean over {window} steps" if window > 1 else ""
    caption = (
        "Left: the Kullback-Leibler divergence of the model's prediction from the exact P(a* | data), in nats, for "
        f"contexts of n transitions (darker: longer; logarithmic axis{smooth}); 0 would be ideal. Right: the final "
        "cross-entropy of the expert's action, and the entropy of the exact posterior, below which nothing can be; "
        f"means over the last {100 * FINAL_SHARE:g} % of the steps. Both on fresh tasks of training and contexts that "
        "are gathered as for training."
    )
    return Picture("bayes_gap", "Distance from exact inference", caption, figure, numbers)


def _draw_gaps(axis: Axes, updates: np.ndarray, gaps: Mapping[int, np.ndarray]) -> None:
    shades = dict(zip(gaps, horizon_colours([length + 1 for length in gaps]).values(), strict=True))
    for length, gap in gaps.items():
        shown = np.where(gap > 0.0, gap, np.nan)
        axis.plot(updates, shown, color=shades[length], linewidth=1.3, marker=_marker(updates), label=f"n = {length}")
    axis.set(xlabel="updates", ylabel="Bayes gap (nats)", title="over training")
    if any(np.any(gap > 0.0) for gap in gaps.values()):
        axis.set_yscale("log")
        plain_ticks(axis, x=False)


def _draw_floor(axis: Axes, lengths: list[int], entropy: np.ndarray, floor: np.ndarray) -> None:
    model = {"color": arm_style("dpt")["color"], "marker": "o", "markersize": 4.0, "label": "the model"}
    axis.plot(lengths, entropy, zorder=4, **model)
    axis.plot(lengths, floor, color=INK, linestyle=(0, (1.5, 1.5)), marker="d", markersize=4.0, label="exact posterior")
    axis.fill_between(lengths, floor, entropy, color=model["color"], alpha=0.16, linewidth=0)
    axis.set_xscale("symlog", linthresh=1.0, linscale=0.6)
    point_ticks(axis, lengths, lengths[-1], log=False)
    axis.set(xlabel="transitions in the context n", ylabel="cross-entropy (nats)", title="at the end")
    axis.set_ylim(bottom=0.0)
