"""Point estimates and bootstrap intervals: what evaluation writes down and analysis draws (numpy and scipy only)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import ttest_ind

MAX_BLOCK = 1 << 22
"""Numbers resampled at once: bounds the memory of a bootstrap at about 32 MiB for each temporary array."""


class Interval(NamedTuple):
    """An interquartile mean and the confidence interval around it."""

    iqm: float
    """Interquartile mean of all values."""
    low: float
    """Lower end of the percentile bootstrap interval."""
    high: float
    """Upper end of the same interval."""
    confidence: float
    """Nominal coverage, inside (0, 1)."""


def _finite(values: ArrayLike, name: str = "values") -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{name} of shape {array.shape} hold no sample; give at least one value along each axis")
    num_nonfinite = int(np.sum(~np.isfinite(array)))
    if num_nonfinite:
        raise ValueError(f"{name} hold {num_nonfinite} non-finite numbers of {array.size}; drop or replace them first")
    return array


def _check_bootstrap(num_resamples: int, confidence: float) -> None:
    if num_resamples < 1 or not 0.0 < confidence < 1.0:
        raise ValueError(
            f"num_resamples = {num_resamples} and confidence = {confidence} were given; "
            "use at least 1 resample and a confidence inside (0, 1)"
        )


def _percentiles(replicates: np.ndarray, confidence: float) -> np.ndarray:
    quantile = np.nanquantile if np.any(np.isnan(replicates)) else np.quantile  # the former is ten times slower
    tail = (1.0 - confidence) / 2.0
    return quantile(replicates, [tail, 1.0 - tail], axis=0)


def _resample_weights(generator: np.random.Generator, num_samples: int, num_resamples: int) -> np.ndarray:
    """Returns [num_resamples, num_samples]: the share that each sample has in each bootstrap resample."""
    return generator.multinomial(num_samples, np.full(num_samples, 1.0 / num_samples), num_resamples) / num_samples


def interquartile_mean(
    values: ArrayLike, axis: int | None = None, *, fractional: bool = False
) -> Float[np.ndarray, "..."]:
    """Returns the mean of the middle half of the values along `axis` (of all of them when None).

    A quarter of n values is not always a whole number. By default floor(n / 4) whole values are cut from each end, as
    in `scipy.stats.trim_mean(values, 0.25)` and in published interquartile means; of up to three values it is the plain
    mean. With `fractional` exactly n / 4 is cut: the outermost kept values then have a weight below one. Both agree
    when 4 divides n.

    Raises:
        ValueError: if there is no value or a non-finite one.

    Source: Agarwal et al. 2021 (Deep RL at the Edge of the Statistical Precipice), section 4.3.
    """
    samples = _finite(values)
    samples = samples.ravel() if axis is None else np.moveaxis(samples, axis, -1)
    ordered, num_samples = np.sort(samples, axis=-1), samples.shape[-1]
    if not fractional:
        cut = num_samples // 4
        return np.asarray(np.mean(ordered[..., cut : num_samples - cut], axis=-1))
    position = np.arange(num_samples, dtype=np.float64)
    upper = np.minimum(position + 1.0, 0.75 * num_samples)
    weights = np.maximum(upper - np.maximum(position, 0.25 * num_samples), 0.0)
    return np.asarray(ordered @ (weights / np.sum(weights)))


def stratified_bootstrap(
    values: ArrayLike,
    statistic: Callable[..., np.ndarray],
    *,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns `(low, high)` of the percentile bootstrap of a statistic, resampled with replacement within strata.

    Args:
        values: [strata, n], or [n] for a single stratum. Strata are fixed (environments), values within them sampled.
        statistic: called as `statistic(samples, axis=-1)` on pooled resamples [R, strata * n], returns [R]. `np.mean`,
            `np.median` and `interquartile_mean` fit. It must not mind the order of the pooled values.
        num_resamples: at least 1.
        confidence: nominal coverage, inside (0, 1).
        seed: of the private generator; equal seeds give equal intervals.

    With n = 1 every resample is the sample itself, and both ends equal the statistic.

    Raises:
        ValueError: if there is no value, a non-finite one, more than two axes, or an option is out of range.

    Source: Efron 1979 (percentile bootstrap); stratification as in Agarwal et al. 2021.
    """
    _check_bootstrap(num_resamples, confidence)
    samples = np.atleast_2d(_finite(values))
    if samples.ndim != 2:
        raise ValueError(f"values of shape {samples.shape} have too many axes; give [strata, n] or [n]")
    num_strata, num_samples = samples.shape
    generator, rows = np.random.default_rng(seed), np.arange(num_strata)[None, :, None]
    block = max(1, MAX_BLOCK // samples.size)
    replicates = []
    for start in range(0, num_resamples, block):
        size = min(block, num_resamples - start)
        columns = generator.integers(num_samples, size=(size, num_strata, num_samples))
        replicates.append(statistic(samples[rows, columns].reshape(size, -1), axis=-1))
    low, high = _percentiles(np.concatenate(replicates), confidence)
    return float(low), float(high)


def iqm_interval(values: ArrayLike, *, num_resamples: int = 2000, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Returns the interquartile mean of [strata, n] or [n] values with its stratified bootstrap interval.

    Arguments, ranges and errors are those of `stratified_bootstrap`.
    """
    low, high = stratified_bootstrap(
        values, interquartile_mean, num_resamples=num_resamples, confidence=confidence, seed=seed
    )
    return Interval(float(interquartile_mean(values)), low, high, confidence)


def bootstrap_mean_band(
    values: Float[np.ndarray, "n T"], *, num_resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"], Float[np.ndarray, " T"]]:
    """Returns `(mean, low, high)` over the n samples at each of T points; whole rows are resampled together.

    The band is pointwise: it covers the mean at each point with the given confidence, not the whole curve at once. NaN
    marks a sample that does not exist at that point (a life in which no episode ended): means are over those that do,
    and NaN where there is none.

    Raises:
        ValueError: if there is no value, an infinite one, or an option is out of range.
    """
    _check_bootstrap(num_resamples, confidence)
    present = ~np.isnan(values)
    samples = _finite(np.where(present, values, 0.0))
    weights = _resample_weights(np.random.default_rng(seed), len(samples), num_resamples)
    mean, low, high = np.full((3, samples.shape[1]), np.nan)
    block = max(1, MAX_BLOCK // num_resamples)
    filled = np.flatnonzero(np.any(present, axis=0))
    for points in np.split(filled, range(block, len(filled), block)):
        mean[points] = np.sum(samples[:, points], axis=0) / np.sum(present[:, points], axis=0)
        shares = weights @ present[:, points]
        replicates = np.where(shares > 0.0, weights @ samples[:, points] / np.maximum(shares, 1e-300), np.nan)
        low[points], high[points] = _percentiles(replicates, confidence)
    return mean, low, high


def _wins(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns 1 where x > y, 1/2 where equal, 0 where x < y."""
    return 0.5 * (np.sign(x - y) + 1.0)


def _strata(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x_strata, y_strata = np.atleast_2d(_finite(x, "x")), np.atleast_2d(_finite(y, "y"))
    if x_strata.ndim != 2 or y_strata.ndim != 2 or len(x_strata) != len(y_strata):
        raise ValueError(f"x {x_strata.shape} and y {y_strata.shape} differ in strata; give both as [strata, n] or [n]")
    return x_strata, y_strata


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """Returns the probability that a draw of x beats a draw of y, ties counting half, averaged over strata.

    `x` is [strata, n] and `y` [strata, m] (or [n] and [m]); every x meets every y of its stratum, so nothing is assumed
    to be paired. P(x, y) + P(y, x) = 1.

    Raises:
        ValueError: if a value is missing or non-finite, or the numbers of strata differ.

    Source: Agarwal et al. 2021, section 4.3.
    """
    x_strata, y_strata = _strata(x, y)
    return float(np.mean([np.mean(_wins(a[:, None], b[None, :])) for a, b in zip(x_strata, y_strata, strict=True)]))


def paired_probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """Returns the fraction of pairs in which x beats y, ties counting half.

    `x` and `y` are [strata, n] or [n], equal in shape: the two measured on the same tasks.

    Raises:
        ValueError: if the shapes differ, or a value is missing or non-finite.
    """
    x_pairs, y_pairs = _strata(x, y)
    if x_pairs.shape != y_pairs.shape:
        raise ValueError(f"x {x_pairs.shape} and y {y_pairs.shape} cannot be paired; give one x for each y")
    return float(np.mean(_wins(x_pairs, y_pairs)))


def probability_of_improvement_interval(
    x: ArrayLike,
    y: ArrayLike,
    *,
    paired: bool = False,
    num_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns `(low, high)` of the stratified bootstrap of either probability of improvement.

    Unpaired, x and y are resampled independently; `paired`, the pairs are resampled. Shapes and errors are those of
    `probability_of_improvement` and `paired_probability_of_improvement`.
    """
    _check_bootstrap(num_resamples, confidence)
    x_strata, y_strata = _strata(x, y)
    if paired:
        paired_probability_of_improvement(x_strata, y_strata)
        wins = _wins(x_strata, y_strata)
        return stratified_bootstrap(wins, np.mean, num_resamples=num_resamples, confidence=confidence, seed=seed)
    generator = np.random.default_rng(seed)
    replicates = np.zeros(num_resamples)
    for a, b in zip(x_strata, y_strata, strict=True):
        weights_a = _resample_weights(generator, len(a), num_resamples)
        weights_b = _resample_weights(generator, len(b), num_resamples)
        replicates += np.sum((weights_a @ _wins(a[:, None], b[None, :])) * weights_b, axis=-1) / len(x_strata)
    low, high = _percentiles(replicates, confidence)
    return float(low), float(high)


def welch(x: ArrayLike, y: ArrayLike) -> float | None:
    """Returns the two-sided p-value of Welch's test that two samples have one mean, None where it is not defined.

    It is not for fewer than two values on a side, or where neither varies.

    Source: Welch 1947.
    """
    first, second = _finite(np.asarray(x, float).ravel(), "x"), _finite(np.asarray(y, float).ravel(), "y")
    if min(len(first), len(second)) < 2 or first.std() == second.std() == 0.0:
        return None
    return float(ttest_ind(first, second, equal_var=False)[1])
