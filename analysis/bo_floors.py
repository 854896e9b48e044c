"""How far a neural process' predictions are from exact inference, where the law of the functions is known."""

from collections.abc import Sequence

import numpy as np

from analysis.bo_load import Band, mean_band
from analysis.figure import INK, MUTED, Picture, arm_style, make_figure, shared_legend, style
from analysis.load import Row

EXACT, STANDARDISED, FITTED = "gp-exact", "gp-exact-standardised", "gp-fitted"
FLOORS = (EXACT, STANDARDISED)
"""Arms that know the law; the second does not know the level and the scale of values."""
LABELS = {
    EXACT: "exact inference",
    STANDARDISED: "exact, level and scale unknown",
    FITTED: "fitted Gaussian process",
}
LOOKS = {EXACT: "gp-ei", STANDARDISED: "random", FITTED: "gp-ucb"}
"""Arms elsewhere whose colours these have."""
HEADROOM = 0.5
"""Nats above the model and exact inference at which the picture ends: a process fitted to few values is far above."""
TARGET = 0.05
"""Nats within which predictions are meant to lie."""


def floor_envs(rows: Sequence[Row]) -> list[str]:
    """Returns the laws for which exact inference is there, in their order."""
    return list(dict.fromkeys(row.env for row in rows if row.metric == "nll" and row.arm == EXACT))


def nll_of(rows: Sequence[Row], env: str) -> dict[str, dict[int, np.ndarray]]:
    """Returns {arm: {evaluations: [K] mean negative log-likelihoods of the same K functions}} of one law."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for row in rows:
        if row.metric == "nll" and row.env == env:
            found.setdefault(row.arm, {})[int(row.setting["context"])] = np.asarray(row.values, np.float64)
    return found


def gaps(found: dict[str, dict[int, np.ndarray]], arm: str, floor: str) -> dict[int, Band]:
    """Returns an arm minus a floor by evaluations, paired by function."""
    return {count: mean_band(values - found[floor][count]) for count, values in found[arm].items()}


def prior_floors(rows: Sequence[Row]) -> Picture | None:
    """Returns likelihoods beside those of exact inference, and the distance, a row for each law; None without any."""
    envs = floor_envs(rows)
    if not envs:
        return None
    numbers: dict[str, np.ndarray] = {}
    with style():
        figure, axes = make_figure(len(envs), 2, height=2.8)
        for (left, right), env in zip(axes, envs, strict=True):
            found = nll_of(rows, env)
            (model,) = (arm for arm in found if arm not in LABELS)
            floors = [arm for arm in FLOORS if arm in found]
            colours = {arm: arm_style(look)["color"] for arm, look in LOOKS.items()}
            top = max(band.high for arm in (model, *floors) for band in _bands(found[arm]).values()) + HEADROOM
            for arm in (model, *(arm for arm in LABELS if arm in found)):
                look = {"color": colours.get(arm, INK), "label": LABELS.get(arm, "the model")}
                numbers |= _draw(left, _bands(found[arm]), f"{env}/{arm}/nll", **look)
            for floor in floors:
                look = {"color": colours[floor], "label": LABELS[floor]}
                numbers |= _draw(right, gaps(found, model, floor), f"{env}/{model}-{floor}", **look)
            right.axhline(TARGET, color=MUTED, linewidth=0.9, linestyle="--")
            right.set(ylabel="model minus exact (nats)", ylim=(min(0.0, right.get_ylim()[0]), None))
            left.set(ylabel="mean NLL (nats)", ylim=(None, min(top, left.get_ylim()[1])))
            left.set_title(env.split("@")[0], loc="left")
            for axis in (left, right):
                axis.set_xlabel("evaluations in the context")
                axis.set_xticks(sorted(found[model]))
        shared_legend(figure, axes, num_columns=3)
    caption = (
        "Minus the log density of values that were not shown, in units of the context's spread: the mean over "
        "functions of the law itself, of which exact inference knows everything but the function; a fitted Gaussian "
        "process, as in GP-EI, knows nothing and is too sure of little. Right: how much "
        "likelihood the model loses to it, paired by function; dashed the "
        f"{TARGET:g} nats within which it is meant to lie. 95 % bootstrap intervals over functions."
    )
    return Picture("floors", "Likelihood beside exact inference", caption, figure, numbers)


def _bands(by_count: dict[int, np.ndarray]) -> dict[int, Band]:
    return {count: mean_band(values) for count, values in by_count.items()}


def _draw(axis, bands: dict[int, Band], name: str, **look: object) -> dict[str, np.ndarray]:
    """Draws bands over the number of evaluations; returns the numbers."""
    counts = np.asarray(sorted(bands))
    mean, low, high = np.array([bands[int(count)] for count in counts], np.float64).T
    ends = np.maximum([mean - low, high - mean], 0.0)
    axis.errorbar(counts, mean, ends, capsize=2.5, marker="o", markersize=4.5, **look)
    return {f"{name}/context": counts, f"{name}/mean": mean, f"{name}/low": low, f"{name}/high": high}
