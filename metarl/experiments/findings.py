"""What examinations of acting in context come to: rows of the one schema, and curves."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from envs.domain import Domain
from metarl.experiments.evaluate import row_of

NUM_KEPT = 256
"""Values of single tasks that a row keeps; mean, interval and error are over all."""


class Curve(NamedTuple):
    """A mean over tasks, along pulls or episodes."""

    mean: Float[np.ndarray, " n"]
    """Mean."""
    error: Float[np.ndarray, " n"]
    """Standard error of the mean over tasks."""


class Findings(NamedTuple):
    """What an examination found."""

    rows: list[dict[str, Any]]
    """Rows of an evaluation file."""
    curves: dict[str, Curve]
    """By `mode/protocol/arm`: regret by pull, return by episode, suboptimality by size of the data set."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the curves as float32 arrays `mode/protocol/arm/mean` and `.../error`."""
        parts = (
            (f"{name}/{part}", getattr(curve, part)) for name, curve in self.curves.items() for part in Curve._fields
        )
        return {name: np.asarray(values, np.float32) for name, values in parts}


def points_upto(known: Sequence[int], last: int) -> tuple[int, ...]:
    """Returns those of the known points that come before the last, and the last; ascending."""
    return tuple(sorted({n for n in known if n < last} | {last}))


def row_over_tasks(
    arm: str, domain: Domain, setting: dict[str, Any], metric: str, values: np.ndarray
) -> dict[str, Any]:
    """Returns one row over tasks, with the standard error of the mean beside it."""
    error = float(np.std(values, dtype=np.float64) / np.sqrt(len(values)))
    extra = {"error": error, "num_tasks": len(values)}
    row = row_of(arm, domain.name, setting, metric, values, extra, num_resamples=500)
    return {**row, "values": [float(f"{value:.5g}") for value in values[:NUM_KEPT]]}


def curve_over_tasks(values: Float[np.ndarray, "K n"]) -> Curve:
    """Returns the mean over tasks along the second axis, and its standard error."""
    return Curve(values.mean(axis=0), values.std(axis=0) / np.sqrt(len(values)))
