"""Whether what a neural process predicts is as likely as it says: coverage, likelihoods, reliability."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.bo_load import Band, envs_of, mean_band
from analysis.figure import INK, MUTED, Picture, arm_style, horizon_colours, make_figure, shared_legend, style
from analysis.load import Row
from envs.blackbox.suites import Suite
from metarl.experiments.examine_predictions import CONTEXTS
from metarl.metabo.export import TrainedNAP
from metarl.metabo.nap import shown_to
from metarl.metabo.network import Evaluations

NOMINAL = np.linspace(0.0, 1.0, 41)
"""Probabilities of central intervals in a reliability curve."""
NUM_BINS = 20
"""Of the histogram of predictive ranks."""
SUITE_MARKERS = ("o", "s", "v", "P", "D", "^")
SHIFT = 0.8
"""Evaluations between the marks of suites."""
MODEL = "np"
"""The arm whose predictions are judged."""
RANDOM_POINTS = "Contexts are random candidates of each pool"


def coverage_bands(rows: Sequence[Row], env: str) -> dict[float, dict[int, Band]]:
    """Returns the share of values inside central intervals, by the interval's probability and the context's size."""
    found: dict[float, dict[int, Band]] = {}
    for row in rows:
        if row.metric == "coverage" and row.env == env:
            found.setdefault(float(row.setting["interval"]), {})[int(row.setting["context"])] = mean_band(row.values)
    return found


def likelihood_bands(rows: Sequence[Row], env: str) -> dict[int, Band]:
    """Returns the median negative log-likelihood, in nats, by the context's size."""
    mine = (row for row in rows if (row.metric, row.env, row.arm) == ("nll", env, MODEL))
    return {int(row.setting["context"]): mean_band(row.values) for row in mine}


def calibration_curves(rows: Sequence[Row]) -> Picture | None:
    """Returns coverage and likelihood over the size of the context, a panel each; None without such rows."""
    envs = [env for env in envs_of(rows) if coverage_bands(rows, env)]
    if not envs:
        return None
    numbers: dict[str, np.ndarray] = {}
    with style():
        figure, axes = make_figure(1, 2, height=3.0)
        for index, env in enumerate(envs):
            look = {"marker": SUITE_MARKERS[index % len(SUITE_MARKERS)], "linestyle": ("-", "--", ":", "-.")[index % 4]}
            look |= {"shift": SHIFT * (index - (len(envs) - 1) / 2.0)}
            where = f", {env}" if len(envs) > 1 else ""
            for level, bands in coverage_bands(rows, env).items():
                colour = str(arm_style("nap" if level < 0.7 else "np-ei")["color"])
                label = f"{100 * level:g} % intervals{where}"
                numbers |= _draw_sizes(axes[0, 0], bands, f"{env}/coverage/{level:g}", label, color=colour, **look)
                axes[0, 0].axhline(level, color=colour, linewidth=0.9, alpha=0.6, zorder=1)
            bands = likelihood_bands(rows, env)
            numbers |= _draw_sizes(axes[0, 1], bands, f"{env}/nll", f"median NLL{where}", color=INK, **look)
        axes[0, 0].set(ylim=(0.0, 1.03), ylabel="share of values inside")
        axes[0, 1].set(ylabel="median NLL (nats)")
        for axis in axes.flat:
            axis.set_xlabel("evaluations in the context")
            axis.set_xticks(sorted({int(row.setting["context"]) for row in rows if row.metric == "coverage"}))
        shared_legend(figure, axes, num_columns=3)
    caption = (
        "Left: how many of the values that were not shown lie inside the central predictive intervals; thin lines are "
        "the shares that the intervals promise. Above its line the model is less sure than it could be. Right: minus "
        "the log density of the same values in units of the context's spread, the median of each pool because a few "
        f"far values decide every mean. {RANDOM_POINTS}; means over pools with 95 % bootstrap intervals."
    )
    return Picture("calibration", "Calibration", caption, figure, numbers)


def _draw_sizes(
    axis: Axes, bands: Mapping[int, Band], name: str, label: str, *, shift: float, **look: object
) -> dict[str, np.ndarray]:
    """Draws bands over sizes of contexts, moved sideways so that suites do not hide each other; returns the numbers."""
    sizes = np.array(sorted(bands), np.float64)
    mean, low, high = np.array([bands[int(size)] for size in sizes], np.float64).T
    ends = np.maximum([mean - low, high - mean], 0.0)
    axis.errorbar(sizes + shift, mean, ends, capsize=2.5, markersize=4.5, label=label, **look)
    return {f"{name}/context": sizes, f"{name}/mean": mean, f"{name}/low": low, f"{name}/high": high}


def predictive_ranks(model: TrainedNAP, suite: Suite, count: int, *, seed: int) -> list[Float[np.ndarray, " _"]]:
    """Returns, for each pool, the predictive probability of values up to each one that was not shown.

    They are uniform on [0, 1] if the model is calibrated. The `count` evaluations of the context are drawn as in
    `metarl.experiments.examine_predictions`.

    Source: Dawid 1984 (probability integral transform).
    """

    def one(case: tuple) -> tuple[Array, Array]:
        task, key = shown_to(model.nap, case[0]), case[1]
        order = jnp.argsort(jnp.where(task.is_valid, jax.random.uniform(key, task.y.shape), 2.0))
        x, y = task.x[order], task.y[order]
        seen = Evaluations(x[:count], y[:count], jnp.ones((count,), bool))
        belief = model.nap.believe(model.params, task.kind, seen, x[count:])
        return model.nap.bars.cdf(belief.reading.bars, belief.scale.standardise(y[count:])), task.is_valid[order][
            count:
        ]

    keys = jax.random.split(jax.random.key(seed), len(suite.tasks))
    below, is_rest = jax.jit(lambda cases: jax.lax.map(one, cases))((suite.params, keys))
    return [row[rest] for row, rest in zip(np.asarray(below, np.float64), np.asarray(is_rest), strict=True)]


def covered(below: Sequence[Float[np.ndarray, " _"]]) -> Float[np.ndarray, "K P"]:
    """Returns the share of each pool's values inside the central intervals of probabilities `NOMINAL`."""
    return np.stack([(2.0 * np.abs(row - 0.5)[:, None] <= NOMINAL).mean(axis=0) for row in below])


def rank_histogram(below: Sequence[Float[np.ndarray, " _"]]) -> Float[np.ndarray, " B"]:
    """Returns the density of predictive ranks in equal bins, every pool counting the same; 1 throughout is ideal."""
    return np.mean([np.histogram(row, NUM_BINS, (0.0, 1.0))[0] * (NUM_BINS / len(row)) for row in below], axis=0)


def reliability(model: TrainedNAP, suite: Suite, *, seed: int) -> Picture:
    """Returns reliability curves and the histogram of predictive ranks, a shade for each size of the context."""
    shades, numbers = horizon_colours(CONTEXTS), {"nominal": NOMINAL}
    ends = np.linspace(0.0, 1.0, NUM_BINS + 1)
    with style():
        figure, axes = make_figure(1, 2, height=3.2)
        left, right = axes[0]
        for count in CONTEXTS:
            below = predictive_ranks(model, suite, count, seed=seed)
            share, density = covered(below).mean(axis=0), rank_histogram(below)
            left.plot(NOMINAL, share, color=shades[count], label=f"{count} evaluations")
            right.stairs(density, ends, color=shades[count], linewidth=1.5)
            numbers |= {f"{count}/covered": share, f"{count}/density": density}
        left.plot([0.0, 1.0], [0.0, 1.0], color=MUTED, linewidth=1.0, linestyle=(0, (1.5, 1.5)), label="ideal")
        right.axhline(1.0, color=MUTED, linewidth=1.0, linestyle=(0, (1.5, 1.5)))
        left.set(xlabel="probability of the interval", ylabel="share of values inside", xlim=(0, 1), ylim=(0, 1))
        right.set(xlabel="predictive rank of the value", ylabel="density", xlim=(0, 1))
        right.set_ylim(bottom=0.0)
        for axis in axes.flat:
            axis.xaxis.set_major_locator(MaxNLocator(5))
        shared_legend(figure, axes)
    caption = (
        f"On {suite.name} ({len(suite.tasks)} pools). Left: values inside central predictive intervals of every "
        "probability; above the diagonal intervals are too wide, below it too narrow. Right: where values fall in "
        "their own predictive distributions (probability integral transform): a hump means too wide, a valley too "
        f"narrow, a slope a bias. {RANDOM_POINTS}; every pool counts the same."
    )
    return Picture("reliability", "Reliability", caption, figure, numbers)
