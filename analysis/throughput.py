"""What a run cost: generations, environment steps, time, and their rates."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

MISSING = "–"
UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def elapsed(clock: Float[np.ndarray, " T"]) -> float:
    """Returns the total of a clock that counts up and restarts near zero in each session; NaN if it never ticked."""
    ticks = clock[np.isfinite(clock)]
    if len(ticks) == 0:
        return float("nan")
    steps = np.diff(ticks)
    return float(ticks[0] + np.sum(np.where(steps >= 0.0, steps, ticks[1:])))


def seconds_per_generation(step: Float[np.ndarray, " T"], clock: Float[np.ndarray, " T"]) -> float:
    """Returns the median wall time of a generation, NaN if unknown.

    Generations done in one dispatch share a clock reading, so time is taken between the ends of dispatches; the first
    dispatch of a session, which compiles, drops out because nothing was read before it.
    """
    ends = np.flatnonzero(np.append(np.diff(clock) != 0.0, True))
    seconds, generations = np.diff(clock[ends]), np.diff(step[ends])
    known = (seconds > 0.0) & (generations > 0.0)
    return float(np.median(seconds[known] / generations[known])) if np.any(known) else float("nan")


def duration(seconds: float) -> str:
    """Returns milliseconds, seconds, minutes, hours or days, whichever reads best; a dash if not finite."""
    if not np.isfinite(seconds):
        return MISSING
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= 2.0 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1.0 else f"{seconds:.2f} s"


def count(value: float) -> str:
    """Returns a whole number up to 9999, then three digits with a unit: 950, 12.3 k, 4.56 M; a dash if not finite."""
    if not np.isfinite(value):
        return MISSING
    if abs(value) < 1e4:
        return f"{value:.0f}"
    size, unit = next((size, unit) for size, unit in UNITS if abs(value) >= size)
    scaled = value / size
    return f"{scaled:.{max(0, 2 - int(np.log10(abs(scaled))))}f} {unit}"


def throughput(metrics: Mapping[str, Float[np.ndarray, " T"]]) -> list[tuple[str, str]]:
    """Returns (name, value) of what metrics record about cost; CPU time only where it is recorded (`cpu_s`).

    Times are of the generations that are in the metrics: what a session did after its last checkpoint is not.
    """
    unknown = np.array([np.nan])
    step, env_steps = metrics.get("step", unknown), metrics.get("env_steps_total", unknown)[-1]
    clock = metrics.get("wall_s", np.full_like(step, np.nan))
    wall = elapsed(clock)
    entries = [
        ("generations", count(step[-1])),
        ("environment steps", count(env_steps)),
        ("wall time", duration(wall)),
        ("env steps / s", count(env_steps / wall) if wall > 0.0 else MISSING),
        ("median generation", duration(seconds_per_generation(step, clock))),
    ]
    if "cpu_s" in metrics:
        cpu = elapsed(metrics["cpu_s"])
        entries.append(("CPU time", duration(cpu)))
        entries.append(("env steps / CPU s", count(env_steps / cpu) if cpu > 0.0 else MISSING))
    return entries
