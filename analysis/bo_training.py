"""Pictures of the training of a neural process: predicting first, then reinforcement of what is evaluated next."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.curves import running_mean, smoothing_window
from analysis.figure import MUTED, Picture, arm_style, hide_unused, make_figure, style
from analysis.incontext_pictures import plain_ticks

POLICY_PANELS = {
    "regret": "regret, mean of an episode",
    "regret_last": "regret, end of an episode",
    "fitness": "return of an episode",
    "entropy": "entropy of choices (nats)",
    "divergence": "KL of an update (nats)",
    "clipped": "share of ratios clipped",
    "policy_norm": "gradient norm, acquisition",
    "backbone_norm": "gradient norm, backbone",
    "critic_norm": "gradient norm, critic",
    "value_error": "squared error, critic",
}
"""Metrics of the second phase and their titles; those that never move are left out."""
NUM_COLUMNS = 3


def phase_steps(config: Mapping[str, Any]) -> int:
    """Returns the steps of the first phase that a configuration asks for; 0 if it does not say."""
    likelihood = config.get("likelihood") or {}
    return int(likelihood.get("updates", 0)) // max(1, int(likelihood.get("updates_per_step", 1)))


def is_validated(step: Float[np.ndarray, " T"], config: Mapping[str, Any]) -> Bool[np.ndarray, " T"]:
    """Returns after which steps the model was validated; in all others the metric repeats the best so far."""
    first, last = max(phase_steps(config), 1), phase_steps(config)
    last += int((config.get("policy") or {}).get("iterations", 0))
    every = int((config.get("validation") or {}).get("every", 1))
    return (step == last) | ((step >= first) & ((step - first) % every == 0))


def training_curves(metrics: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> Picture | None:
    """Returns what both phases record, and where the one ends; None if nothing is recorded."""
    if "step" not in metrics or "loss" not in metrics:
        return None
    step, first = metrics["step"], phase_steps(config)
    is_second = step > first
    names = [name for name in POLICY_PANELS if name in metrics and np.any(metrics[name][is_second])]
    numbers = {"step": step, "loss": metrics["loss"]} | {name: metrics[name] for name in names}
    valid = is_validated(step, config) if "validation_regret" in metrics else np.zeros(len(step), bool)
    count = 1 + bool(valid.any()) + len(names)
    with style():
        num_columns = min(count, NUM_COLUMNS)
        figure, axes = make_figure(-(-count // num_columns), num_columns, height=2.1 if count > 2 else 2.8)
        panels = list(axes.flat)
        _draw(panels.pop(0), step, metrics["loss"], "loss (nats)", boundary=first if is_second.any() else None)
        if valid.any():
            numbers |= {"validation/step": step[valid], "validation/regret": metrics["validation_regret"][valid]}
            _draw_validation(panels.pop(0), step[valid], metrics["validation_regret"][valid])
        for name, axis in zip(names, panels, strict=False):
            _draw(axis, step[is_second] - first, metrics[name][is_second], POLICY_PANELS[name], is_iteration=True)
        hide_unused(axes, count)
    return Picture("training", "Training", _caption(config, len(step), bool(names)), figure, numbers)


def _caption(config: Mapping[str, Any], num_steps: int, has_second: bool) -> str:
    updates = (config.get("likelihood") or {}).get("updates_per_step")
    size = f", each of {updates} updates in the first phase" if updates and phase_steps(config) else ""
    window = smoothing_window(num_steps)
    smooth = " Faint: every step. Strong: running means." if window > 1 else ""
    line = " The vertical line is where reinforcement learning begins; what it alone records is over its iterations."
    return (
        f"Loss: minus the log-likelihood of values that were not shown, on fresh training tasks, over steps{size}. "
        "Validation: mean regret of the model's best choices on tables that it was not trained on; the model with the "
        f"lowest is kept.{line if has_second else ''}{smooth}"
    )


def _draw(
    axis: Axes,
    x: np.ndarray,
    values: np.ndarray,
    title: str,
    *,
    boundary: int | None = None,
    is_iteration: bool = False,
) -> None:
    colour = arm_style("nap")["color"]
    axis.plot(x, values, color=colour, alpha=0.3, linewidth=0.7)
    marker = None if len(x) > 1 else "o"
    for part in (x <= boundary, x > boundary) if boundary else (np.ones(len(x), bool),):  # means do not mix phases
        if part.any():
            smooth = running_mean(values[part], smoothing_window(int(part.sum())))
            axis.plot(x[part], smooth, color=colour, marker=marker)
    if boundary:
        axis.axvline(boundary + 0.5, color=MUTED, linewidth=1.0, linestyle=(0, (4.0, 2.0)))
    axis.set(xlabel="iterations" if is_iteration else "steps")
    axis.set_title(title, fontsize=8.5)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    if title.startswith("gradient norm") and np.nanmax(values) > 10.0 * np.nanmin(values) > 0.0:
        axis.set_yscale("log")
        plain_ticks(axis, x=False)


def _draw_validation(axis: Axes, step: np.ndarray, regret: np.ndarray) -> None:
    colour = arm_style("nap")["color"]
    axis.plot(step, regret, color=colour, marker="o", markersize=3.5)
    best = len(regret) - 1 - int(np.argmin(regret[::-1]))  # of equals the last is kept
    axis.plot(step[best], regret[best], marker="o", markersize=9.0, markerfacecolor="none", markeredgecolor=colour)
    axis.annotate("kept", (step[best], regret[best]), (0, -14), textcoords="offset points", ha="center", fontsize=7.5)
    axis.margins(y=0.25)
    axis.set(xlabel="steps")
    axis.set_title("validation, mean regret", fontsize=8.5)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
