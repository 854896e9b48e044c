"""Curves of a run: meta-training over generations, return over horizons, agents over their lives."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from analysis.figure import (
    ARM_MARKERS,
    INK,
    QUANTITIES,
    Picture,
    arm_label,
    arm_order,
    arm_style,
    draw_band,
    hide_unused,
    log_horizon_axis,
    make_figure,
    shared_legend,
    style,
    thinning_note,
)
from analysis.load import Lives, Row
from metarl.statistics import bootstrap_mean_band

CLOCKS = ("step", "wall_s", "cpu_s", "env_steps", "env_steps_total")
"""Metrics that measure effort rather than progress."""


def running_mean(values: Float[np.ndarray, " T"], window: int) -> Float[np.ndarray, " T"]:
    """Returns the centred mean over `window` values, fewer at the ends, of the finite ones; NaN where there is none.

    Raises:
        ValueError: if the window is even or below 1.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"a running mean of {window} values has no centre; give an odd window of at least 1")
    present, kernel, half = np.isfinite(values), np.ones(window), window // 2
    total = np.convolve(np.where(present, values, 0.0), kernel)[half : half + len(values)]
    count = np.convolve(present.astype(np.float64), kernel)[half : half + len(values)]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0.5)


def smoothing_window(num_generations: int) -> int:
    """Returns an odd window of about a twentieth of the generations."""
    return 2 * (num_generations // 40) + 1


def _population_spread(metrics: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Returns `(low, high, words)` of the spread over the population, from whichever metrics record it."""
    if "fitness_low" in metrics and "fitness_high" in metrics:
        return metrics["fitness_low"], metrics["fitness_high"], "from fitness_low to fitness_high"
    if "fitness_std" in metrics:
        deviation = metrics["fitness_std"]
        return (
            metrics["fitness"] - deviation,
            metrics["fitness"] + deviation,
            "one standard deviation either way, candidates and tasks together",
        )
    return None


def _env_steps_axis(axis: Axes, generation: np.ndarray, env_steps: np.ndarray) -> None:
    """Adds env steps as a second x axis by interpolation, since generations differ in how many they take."""
    if len(generation) < 2 or not np.all(np.isfinite(env_steps)) or np.any(np.diff(env_steps) <= 0.0):
        return
    to_steps, to_generation = (generation, env_steps), (env_steps, generation)
    functions = (lambda x: np.interp(x, *to_steps), lambda x: np.interp(x, *to_generation))
    top = axis.secondary_xaxis("top", functions=functions)
    top.set_xlabel("environment steps")
    ticks = MaxNLocator(6).tick_values(env_steps[0], env_steps[-1])
    top.set_ticks([tick for tick in ticks if env_steps[0] <= tick <= env_steps[-1]])  # outside, interpolation clamps
    top.xaxis.set_major_formatter(EngFormatter(sep=""))


def _draw_fitness(axis: Axes, numbers: Mapping[str, np.ndarray], window: int) -> None:
    generation, colour = numbers["generation"], arm_style("discovered")["color"]
    if "spread_low" in numbers:
        band = {"color": colour, "alpha": 0.12, "linewidth": 0, "label": "spread over the population"}
        axis.fill_between(generation, numbers["spread_low"], numbers["spread_high"], **band)
    if window > 1:
        axis.plot(generation, numbers["fitness"], color=colour, alpha=0.35, linewidth=0.7, label="each generation")
    label = f"mean of {window} generations" if window > 1 else "each generation"
    marker = None if len(generation) > 1 else "o"
    axis.plot(generation, numbers["fitness_running_mean"], color=colour, marker=marker, label=label)
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axis.set(xlabel="generation", ylabel="fitness")
    axis.margins(x=0.0 if len(generation) > 1 else None)
    axis.legend(loc="lower right")


def learning_curve(metrics: Mapping[str, Float[np.ndarray, " T"]]) -> Picture:
    """Returns fitness over generations (below) and environment steps (above): raw faint, running mean strong.

    `metrics` needs `step` and `fitness`. With `fitness_low` and `fitness_high`, or `fitness_std`, the spread over the
    population is drawn as a band.

    Raises:
        ValueError: if `step` or `fitness` is missing.
    """
    if "step" not in metrics or "fitness" not in metrics:
        raise ValueError(f"metrics {sorted(metrics)} have no learning curve; step and fitness are needed")
    generation, fitness = metrics["step"], metrics["fitness"]
    window, spread = smoothing_window(len(generation)), _population_spread(metrics)
    numbers = {"generation": generation, "fitness": fitness, "fitness_running_mean": running_mean(fitness, window)}
    if spread is not None:
        numbers |= {"spread_low": running_mean(spread[0], window), "spread_high": running_mean(spread[1], window)}
    with style():
        figure, axes = make_figure(height=3.4)
        _draw_fitness(axes[0, 0], numbers, window)
        if "env_steps_total" in metrics:
            numbers["env_steps_total"] = metrics["env_steps_total"]
            _env_steps_axis(axes[0, 0], generation, metrics["env_steps_total"])
    smooth = f" Faint: each generation. Strong: running mean over {window} generations." if window > 1 else ""
    shaded = f" Shaded: spread over the population, {spread[2]}." if spread is not None else ""
    caption = (
        f"Fitness of the population while the rule was being discovered.{smooth}{shaded} Fitness is measured on newly "
        "drawn training tasks, so part of the jitter is the luck of the tasks; the held-out tasks are the test."
    )
    return Picture("learning_curve", "Meta-training", caption, figure, numbers)


def metric_curves(metrics: Mapping[str, Float[np.ndarray, " T"]]) -> Picture | None:
    """Returns small panels of every metric that varies, but for clocks and fitness; None if there is none."""
    skipped = (*CLOCKS, "fitness", "fitness_low", "fitness_high")
    names = [n for n, c in metrics.items() if n not in skipped and np.ptp(c[np.isfinite(c)]) > 0.0]
    if not names:
        return None
    generation = metrics.get("step", np.arange(len(metrics[names[0]]), dtype=np.float64))
    window = smoothing_window(len(generation))
    with style():
        figure, axes = make_figure(-(-len(names) // 3), 3, height=1.9, sharex=True)
        for axis, name in zip(axes.flat, names, strict=False):
            axis.plot(generation, metrics[name], color=INK, alpha=0.25, linewidth=0.6)
            axis.plot(generation, running_mean(metrics[name], window), color=INK, linewidth=1.3)
            axis.set_title(name, fontsize=8.5)
        hide_unused(axes, len(names))
        figure.supxlabel("generation", fontsize=9)
    caption = (
        "Everything else in metrics.jsonl that changes during the run. Faint: each generation. Strong: running mean "
        f"over {window} generations."
    )
    numbers = {"generation": generation} | {name: metrics[name] for name in names}
    return Picture("metrics", "Other metrics", caption, figure, numbers)


def _draw_arms(axis: Axes, rows: Sequence[Row], arms: Sequence[str]) -> dict[str, np.ndarray]:
    """Draws one line for each arm over horizons; returns the numbers drawn."""
    numbers = {}
    for arm in arms:
        points = sorted((row for row in rows if row.arm == arm), key=lambda row: row.horizon)
        if not points:
            continue
        horizon, iqm, low, high = np.array([[p.horizon, p.iqm, p.low, p.high] for p in points], np.float64).T
        line = arm_style(arm, arms)
        if len(points) == 1:
            axis.vlines(horizon, low, high, color=line["color"], linewidth=1.2)
        marker = {"marker": ARM_MARKERS.get(arm, "D"), "markersize": 4.5}
        draw_band(axis, horizon, (iqm, low, high), label=arm_label(arm), **marker, **line)
        numbers |= {f"{arm}/horizon": horizon, f"{arm}/iqm": iqm, f"{arm}/low": low, f"{arm}/high": high}
    return numbers


def horizon_curve(rows: Sequence[Row], trained: tuple[float, float] | None = None) -> Picture:
    """Returns evaluation over horizons for each arm, a panel for each (environment, metric), trained horizons shaded.

    Rows without a horizon are left out. `trained` is (shortest, longest) lifetime of meta-training, in updates.

    Raises:
        ValueError: if no row has a horizon.
    """
    rows = [row for row in rows if row.horizon is not None]
    if not rows:
        raise ValueError("no evaluation row has a horizon in its setting; evaluate at one horizon or more")
    panels = list(dict.fromkeys((row.env, row.metric) for row in rows))
    arms = arm_order([row.arm for row in rows])
    numbers: dict[str, np.ndarray] = {"trained": np.array(trained or (), np.float64)}
    with style():
        same_metric = len({metric for _, metric in panels}) == 1
        figure, axes = make_figure(-(-len(panels) // 2), min(2, len(panels)), height=3.3, sharey=same_metric)
        for axis, (env, metric) in zip(axes.flat, panels, strict=False):
            chosen = [row for row in rows if (row.env, row.metric) == (env, metric)]
            if trained is not None:
                axis.axvspan(*trained, color="#eef1f4", zorder=0, label="horizons of meta-training")
            drawn = _draw_arms(axis, chosen, arms)
            numbers |= {f"{env}/{metric}/{name}": values for name, values in drawn.items()}
            log_horizon_axis(axis, sorted({row.horizon for row in chosen}))
            axis.set(xlabel="agent lifetime N (updates)", ylabel=metric.replace("_", " "), title=env)
        hide_unused(axes, len(panels))
        shared_legend(figure, axes)
    confidence = f"{100 * rows[0].confidence:g} % intervals" if np.isfinite(rows[0].confidence) else "intervals"
    shaded = " Shaded: lifetimes of meta-training; everything outside is extrapolation." if trained else ""
    caption = (
        "How good an agent is at the end of its life, against how long that life is. Lines: interquartile mean over "
        f"held-out tasks. Bands: {confidence}, as recorded in evaluation.json.{shaded}"
    )
    return Picture("horizon_curve", "Return against horizon", caption, figure, numbers)


def _draw_lives(axis: Axes, lives: Lives, horizon: int, quantity: str, arms: Sequence[str]) -> dict[str, np.ndarray]:
    """Draws one line for each arm over the updates of lives of one length; returns the numbers drawn."""
    numbers = {}
    for arm in (arm for arm in arms if quantity in lives[arm].get(horizon, {})):
        band = bootstrap_mean_band(lives[arm][horizon][quantity])
        line = arm_style(arm, arms) | {"linestyle": "-", "linewidth": 1.3}
        draw_band(axis, np.arange(1.0, horizon + 1.0), band, label=arm_label(arm), **line)
        numbers |= {f"{arm}/{horizon}/{name}": part for name, part in zip(("mean", "low", "high"), band, strict=True)}
    axis.set_title(f"N = {horizon}")
    axis.margins(x=0.02)
    axis.set_xticks(sorted({1, max(1, horizon // 2), horizon}))
    return numbers


def life_curve(lives: Lives, quantity: str = "return") -> Picture:
    """Returns a quantity over agents' lives, one panel for each horizon, one line for each arm.

    Lines are means over tasks, bands their pointwise 95 % bootstrap intervals; NaN (no episode ended) is left out.

    Raises:
        ValueError: if no life has the quantity.
    """
    arms = [arm for arm in arm_order(list(lives)) if any(quantity in life for life in lives[arm].values())]
    horizons = sorted({horizon for arm in arms for horizon, life in lives[arm].items() if quantity in life})
    if not horizons:
        raise ValueError(f"no agent life records {quantity!r}; record it when the lives are made")
    words, numbers = QUANTITIES.get(quantity, quantity), {}
    num_columns = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}.get(len(horizons), 4)
    with style():
        figure, axes = make_figure(-(-len(horizons) // num_columns), num_columns, height=2.4, sharey=True)
        for axis, horizon in zip(axes.flat, horizons, strict=False):
            numbers |= _draw_lives(axis, lives, horizon, quantity, arms)
        hide_unused(axes, len(horizons))
        figure.supxlabel("update n", fontsize=9)
        figure.supylabel(words, fontsize=9)
        shared_legend(figure, axes)
    caption = (
        f"The agents' {words} update by update, one panel for each lifetime N. Lines: mean over held-out tasks. Bands: "
        f"pointwise 95 % bootstrap intervals, resampling tasks.{thinning_note(horizons)}"
    )
    return Picture(f"life_{quantity}", f"Over a life: {words}", caption, figure, numbers)
