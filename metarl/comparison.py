"""Two sets of runs against each other: differences of interquartile means over the same tasks, several seeds pooled."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from metarl.statistics import interquartile_mean

Values = Sequence[Float[np.ndarray, "..."]]
"""One array of values `[tasks]` per seed of discovery; seeds may have different numbers of tasks."""


class Comparison(NamedTuple):
    """How much better one set of runs is than another; positive favours the first."""

    per_seed: list[float]
    """Difference of interquartile means in each seed."""
    difference: float
    """Difference of the interquartile means of all values together."""
    low: float
    """Lower end of its interval when seeds and the tasks within them are resampled."""
    high: float
    """Upper end of that interval."""
    low_fixed: float
    """Lower end when tasks alone are resampled: what is known of these very runs."""
    high_fixed: float
    """Upper end of that interval."""
    win_rate: float
    """Share of tasks on which the first is better, ties counting half."""


def compare(
    ours: Values, theirs: Values, *, num_resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Comparison:
    """Returns the `Comparison` of two sets of runs, paired by seed and task.

    Args:
        ours: values of the first set; seed i, task j is the task of `theirs[i][j]`.
        theirs: values of the second.
        num_resamples: bootstrap resamples, at least 1.
        confidence: coverage of the intervals, in (0, 1).
        seed: of the resampling.

    Raises:
        ValueError: if the sets differ in their numbers of seeds or tasks, or there is nothing to compare.

    Source: percentile bootstrap; two levels as in Davison and Hinkley 1997, section 3.8 (resampling of clusters).
    """
    pairs = [(np.asarray(x, np.float64), np.asarray(y, np.float64)) for x, y in zip(ours, theirs, strict=False)]
    if len(ours) != len(theirs) or not pairs or any(x.shape != y.shape or not x.size for x, y in pairs):
        shapes = [[len(values) for values in each] for each in (ours, theirs)]
        raise ValueError(f"the sets have tasks {shapes[0]} and {shapes[1]} per seed; give the same seeds and tasks")
    generator = np.random.default_rng(seed)
    tail = 50.0 * (1.0 - confidence)
    low_high = []
    for resamples_seeds in (True, False):
        replicates = [_difference(_resample(generator, pairs, resamples_seeds)) for _ in range(num_resamples)]
        low_high += np.percentile(replicates, [tail, 100.0 - tail]).tolist()
    wins = np.concatenate([0.5 * (np.sign(x - y) + 1.0) for x, y in pairs])
    return Comparison([_difference([pair]) for pair in pairs], _difference(pairs), *low_high, float(np.mean(wins)))


def _difference(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    ours, theirs = (np.concatenate(values) for values in zip(*pairs, strict=True))
    return float(interquartile_mean(ours) - interquartile_mean(theirs))


def _resample(
    generator: np.random.Generator, pairs: list[tuple[np.ndarray, np.ndarray]], resamples_seeds: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    chosen = generator.integers(len(pairs), size=len(pairs)) if resamples_seeds else range(len(pairs))
    drawn = []
    for index in chosen:
        ours, theirs = pairs[index]
        tasks = generator.integers(len(ours), size=len(ours))
        drawn.append((ours[tasks], theirs[tasks]))
    return drawn
