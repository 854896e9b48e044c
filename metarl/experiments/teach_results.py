"""What came of teaching, as rows of an evaluation file."""

from typing import Any

import numpy as np

from metarl.experiments.evaluate import row_of
from metarl.experiments.teach_config import CubesConfig, TeachConfig
from metarl.statistics import welch

NUM_POINTS = 5
"""Points of a run, evenly spaced, that have rows."""


def teach_rows(config: TeachConfig, arrays: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Returns the percentage of test tasks that students master, one row per teacher and point of the run.

    `values` has one number per student. `welch_p` is the two-sided p-value of Welch's test against the students of
    `uniform` at the same point, where that is among the teachers.

    Args:
        config: of the run.
        arrays: what the experiment exported.
    """
    env = "cubes" if isinstance(config.student, CubesConfig) else config.student.env
    points = [round(config.num_steps * (i + 1) / NUM_POINTS) for i in range(NUM_POINTS)]
    rows = []
    for spec in config.teachers:
        for point in sorted({max(1, point) for point in points}):
            values = arrays[f"{spec}/mastered"][point - 1]
            setting = {"updates": point * config.updates_per_step}
            extra: dict[str, Any] = {"episodes": float(np.mean(arrays[f"{spec}/episodes"][point - 1]))}
            if "uniform" in config.teachers and spec != "uniform":
                extra["welch_p"] = welch(values, arrays["uniform/mastered"][point - 1])
            rows.append(row_of(spec, env, setting, "mastered", values, extra))
    return rows
