"""Curves of regret as rows of an evaluation file: after so many evaluations, areas, and differences between arms."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from metarl.experiments.evaluate import row_of
from metarl.metabo.scores import area_under_curve, expected_improvements, num_improvements, paired_difference

BUDGETS = (5, 10, 20, 30, 45)
"""Evaluations at which regrets go into tables."""


class NAPFindings(NamedTuple):
    """What an examination found."""

    rows: list[dict[str, Any]]
    """Rows of an evaluation file."""
    curves: dict[str, np.ndarray]
    """`suite/arm`: regret [K, T + 1] of every trajectory; `suite/tasks`: the table or function of each."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the curves."""
        return self.curves


def by_task(tasks: Sequence[str], values: Float[np.ndarray, " K"]) -> Float[np.ndarray, " n"]:
    """Returns the mean over seeds of each task, in the order of their names."""
    _, place = np.unique(np.array(tasks), return_inverse=True)
    return np.bincount(place, weights=values) / np.bincount(place)


def regret_rows(
    env: str, tasks: Sequence[str], arm: str, curves: Float[np.ndarray, "K S"], *, first: int = 0
) -> list[dict[str, Any]]:
    """Returns an optimiser's rows `regret_auc` and, after so many evaluations, `regret`; values are one per task.

    Args:
        env: what it was measured on.
        tasks: table or function of each curve.
        arm: who was measured.
        curves: regret before the first choice, after it, and so on.
        first: evaluations before the first choice that are counted like others; rows tell if there are any.
    """
    last = first + curves.shape[1] - 1
    extra = {"num_trajectories": len(curves), **({"first": first} if first else {})}
    area = by_task(tasks, area_under_curve(curves))
    rows = [row_of(arm, env, {"horizon": last}, "regret_auc", area, extra)]
    for budget in (first, *(b for b in BUDGETS if first < b <= last)):
        values = by_task(tasks, curves[:, budget - first].astype(np.float64))
        rows.append(row_of(arm, env, {"evaluations": budget}, "regret", values, extra))
    return rows


def improvement_row(
    env: str, tasks: Sequence[str], arm: str, curves: Float[np.ndarray, "K S"], *, first: int = 0
) -> dict[str, Any]:
    """Returns an optimiser's row `num_improvements`: how many of its choices lowered the regret; arguments as above."""
    extra = {"num_trajectories": len(curves), **({"first": first} if first else {})}
    counts = by_task(tasks, num_improvements(-curves).astype(np.float64))
    return row_of(arm, env, {"horizon": first + curves.shape[1] - 1}, "num_improvements", counts, extra)


def expected_improvement_row(
    env: str, tasks: Sequence[str], sizes: Int[np.ndarray, " K"], *, num_initial: int, horizon: int
) -> dict[str, Any]:
    """Returns the row `num_improvements` of random search, its expectation in pools of so many distinct values.

    The setting tells the number of initial points, `initial`, by which an expectation is known from what happened.
    """
    counts = np.asarray([expected_improvements(int(size), num_initial, horizon) for size in sizes])
    setting, extra = {"horizon": horizon, "initial": num_initial}, {"num_trajectories": len(tasks)}
    return row_of("random", env, setting, "num_improvements", by_task(tasks, counts), extra)


def paired_rows(
    env: str, tasks: Sequence[str], curves: dict[str, np.ndarray], *, first: int = 0
) -> list[dict[str, Any]]:
    """Returns the differences of areas between every two arms, the later minus the earlier, paired by task."""
    rows, names = [], list(curves)
    areas = {name: area_under_curve(curve) for name, curve in curves.items()}
    for index, other in enumerate(names):
        for arm in names[index + 1 :]:
            found = paired_difference(areas[arm], areas[other], np.array(tasks))
            rows.append(
                {
                    "arm": arm,
                    "env": env,
                    "setting": {"minus": other, "horizon": first + curves[arm].shape[1] - 1},
                    "metric": "regret_auc_difference",
                    "mean": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "confidence": 0.95,
                    "num_tasks": found.num_tasks,
                    "values": by_task(tasks, areas[arm] - areas[other]).tolist(),
                }
            )
    return rows
