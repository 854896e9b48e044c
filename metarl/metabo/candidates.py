"""Configurations to choose from, drawn as arrays: spread over the space, and close to the best that is known."""

import math

import numpy as np
from jaxtyping import Float64
from scipy.stats import qmc

from metarl.metabo.space import CATEGORICAL, MAX_DIMENSIONS, Space

DECIMALS = 8
"""Digits behind the point of coordinates in [0, 1] that tell configurations apart, about those that a model reads."""

Rows = Float64[np.ndarray, "n D"]


def sobol(space: Space, count: int, rng: np.random.Generator) -> Rows:
    """Returns the first points of a scrambled Sobol sequence, snapped to the space.

    Two generators of the same state give the same sequence, whatever the counts.

    Args:
        space: where.
        count: how many.
        rng: scrambles; its state advances.
    """
    sequence = qmc.Sobol(space.num_free, scramble=True, rng=rng)
    return space.spread(sequence.random_base2(max(0, math.ceil(math.log2(max(count, 1)))))[:count])


def perturb(space: Space, parents: Rows, rng: np.random.Generator, *, scale: float) -> Rows:
    """Returns one neighbour of each row: some coordinates move, at least one, and categories become others.

    Half of the rows change one dimension, the others each with a probability of one half.

    Args:
        space: where.
        parents: rows to start from.
        rng: its state advances.
        scale: largest standard deviation of what is added to a number; smaller ones, down to a hundredth, are as
            probable in the logarithm. Numbers on a grid move by one place or more.
    """
    count, d = len(parents), space.num_free
    values, is_category = space.num_values, space.kind[:d] == CATEGORICAL
    moves = rng.random((count, d)) < np.where(rng.random((count, 1)) < 0.5, 0.0, 0.5)
    moves[np.arange(count), rng.integers(0, d, count)] = True
    noise = rng.standard_normal((count, d)) * scale * 10.0 ** rng.uniform(-2.0, 0.0, (count, 1))
    with np.errstate(divide="ignore"):
        place = np.where(np.isfinite(values), 1.0 / (values - 1.0), 0.0)
    old = parents[:, :d]
    numbers = _reflect(old + np.copysign(np.maximum(np.abs(noise), place), noise))
    num_categories = np.where(is_category, values, 2.0)
    categories = (old + rng.integers(1, num_categories.astype(int), (count, d))) % num_categories
    x = np.zeros((count, MAX_DIMENSIONS))
    x[:, :d] = np.where(moves, np.where(is_category, categories, numbers), old)
    return space.snap(x)


def keys_of(x: Rows) -> list[bytes]:
    """Returns what tells rows apart: their numbers to `DECIMALS`, as decoding and encoding may change the last digits.

    Near the lower end of a logarithmic dimension these are not even the same in single precision.
    """
    return [row.tobytes() for row in np.round(x, DECIMALS) + 0.0]


def nearest(space: Space, x: Rows, point: Float64[np.ndarray, " D"]) -> int:
    """Returns which row is closest to a point; categories that differ are a distance of 1 apart."""
    difference = np.abs(x - point[None])
    distance = np.where(space.kind[None] == CATEGORICAL, (difference > 0).astype(np.float64), difference)
    return int(np.argmin(np.sum(distance**2, axis=1)))


def _reflect(x: np.ndarray) -> np.ndarray:
    """Returns numbers folded back into [0, 1] at its ends."""
    folded = np.mod(x, 2.0)
    return np.where(folded > 1.0, 2.0 - folded, folded)
