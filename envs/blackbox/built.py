"""Tables made from results of real programs: the candidates, what their entries mean, and finite values to maximise."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32


class BuiltTable(NamedTuple):
    """A pool that was evaluated in full; see `envs.blackbox.task` for the kinds of dimensions."""

    x: Float32[np.ndarray, "N d"]
    """Candidates, encoded."""
    kind: Int32[np.ndarray, " d"]
    """What each dimension holds."""
    num_categories: Int32[np.ndarray, " d"]
    """Values of each categorical dimension; 0 for the others."""
    y: Float32[np.ndarray, " N"]
    """Objective, maximised, finite."""
    names: tuple[str, ...]
    """What each dimension is called."""
    num_failed: int = 0
    """Candidates that have no result of their own and were given the worst of the others."""


def without_failures(y: Float[np.ndarray, " N"], reasons: Sequence[str]) -> tuple[Float32[np.ndarray, " N"], int]:
    """Returns `(y, count)`: values that are not finite replaced by the smallest that is, and how many they were.

    Raises:
        ValueError: if no value is finite, with the first of the reasons.
    """
    is_finite = np.isfinite(y)
    if not is_finite.any():
        reason = next((reason for reason in reasons if reason), "the values are not finite")
        raise ValueError(f"none of {len(y)} configurations could be evaluated, the first because: {reason}")
    return np.where(is_finite, y, y[is_finite].min()).astype(np.float32), int((~is_finite).sum())
