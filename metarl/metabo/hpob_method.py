"""The model as a method of HPO-B, whose protocol asks for the next candidate with everything known so far.

Source: Pineda Arango et al. 2021 (HPO-B); interface of the handler in `machinelearningnuremberg/HPO-B`.
"""

import os

import numpy as np
from numpy.typing import ArrayLike

from metarl.metabo.export import TrainedNAP, find_nap
from metarl.metabo.space import MAX_DIMENSIONS, Float, Space
from metarl.metabo.suggest import Known, Search


class HPOBMethod:
    """What HPO-B's handler evaluates; nothing is remembered from one call to the next."""

    def __init__(
        self, checkpoint: str | os.PathLike | TrainedNAP | None = None, *, num_init: int = 5, horizon: int = 100
    ) -> None:
        """Makes the method.

        Args:
            checkpoint: path of an exported model, its name in the zoo, or the model; None: the one that ships.
            num_init: observations that the protocol begins with.
            horizon: T, observations after those.

        Raises:
            ValueError: if there is no such model, or a number is out of range.
        """
        if num_init < 0 or horizon < 1:
            raise ValueError(f"num_init={num_init}, horizon={horizon} were given; they must be >= 0 and >= 1")
        self._trained, self._num_init, self._horizon = find_nap(checkpoint), num_init, horizon

    def observe_and_suggest(
        self, X_obs: ArrayLike, y_obs: ArrayLike, X_pen: ArrayLike | None = None
    ) -> int | np.ndarray:
        """Returns the place of the candidate to evaluate next, or without candidates a point [d] of the unit cube.

        Args:
            X_obs: [n, d] what was evaluated, in [0, 1].
            y_obs: [n] or [n, 1] the values, maximised; what is not finite failed.
            X_pen: [m, d] what is left to choose from; None: anything.

        Raises:
            ValueError: if shapes do not fit, a number is outside [0, 1], or there are more dimensions than 20.
        """
        x, y = np.asarray(X_obs, np.float64), np.asarray(y_obs, np.float64).reshape(-1)
        left = x[:0] if X_pen is None else np.asarray(X_pen, np.float64)
        if x.ndim != 2 or len(x) != len(y) or left.ndim != 2 or left.shape[1] != x.shape[1]:
            raise ValueError(
                f"observations {x.shape}, values {y.shape} and candidates {left.shape} were given; they must be "
                "[n, d], [n] and [m, d]"
            )
        space = Space({f"x{place}": Float(0.0, 1.0) for place in range(x.shape[1])})
        progress = min(max(len(y) - self._num_init, 0) / self._horizon, 1.0)
        search = Search(self._trained, space, Known(_rows(x), y, _rows(x[:0])), progress)
        if X_pen is None:
            return search.anywhere(np.random.default_rng(len(y)))[: x.shape[1]]
        return int(np.argmax(search.scores(_rows(left))))


def _rows(x: np.ndarray) -> np.ndarray:
    """Returns points as rows of a space."""
    if x.size and not (np.min(x) >= 0.0 and np.max(x) <= 1.0):
        raise ValueError(f"coordinates from {np.min(x):g} to {np.max(x):g} were given; they must lie in [0, 1]")
    return np.pad(x, ((0, 0), (0, MAX_DIMENSIONS - x.shape[1])))
