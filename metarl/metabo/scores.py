"""How well pools were optimised: expectations of random search in closed form, areas, paired differences (numpy)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.special import gammaln

from metarl.statistics import stratified_bootstrap


class PairedDifference(NamedTuple):
    """Mean over tasks of a - b, and its interval."""

    mean: float
    """Mean difference."""
    low: float
    """Lower end of the percentile bootstrap interval over tasks."""
    high: float
    """Upper end of the same interval."""
    num_tasks: int
    """Tasks that were resampled."""


def expected_best_of_random(values: ArrayLike, n: int) -> float:
    """Returns the expectation of the largest of n values drawn without replacement.

    `Σ_i y_(i) C(i-1, n-1) / C(N, n)` over ascending values y_(1) … y_(N): the i-th is the largest if the other n - 1
    come from the i - 1 before it. Ties may be in any order.

    Raises:
        ValueError: unless values are finite and 1 <= n <= their number.
    """
    ordered = np.sort(np.asarray(values, np.float64).ravel())
    size = len(ordered)
    if not 1 <= n <= size or not np.all(np.isfinite(ordered)):
        raise ValueError(f"{n} of {size} values were asked for; give finite values and at least 1 and at most all")
    rank = np.arange(n, size + 1)
    log_share = _log_binomial(rank - 1, n - 1) - _log_binomial(np.asarray([size]), n)
    return float(np.exp(log_share) @ ordered[n - 1 :])


def random_regret_curve(y: ArrayLike, initial: ArrayLike, horizon: int) -> Float[np.ndarray, " S"]:
    """Returns random search's expected regret after 0 to `horizon` draws, given the initial points.

    Draws are without replacement from the candidates that are not initial; when they are used up the regret stays 0.

    Args:
        y: [N] objectives of a pool, to be maximised.
        initial: [I] different candidates evaluated beforehand, at least one.
        horizon: T >= 0.

    Raises:
        ValueError: if an objective is not finite, or initial points are missing, repeated or out of range.
    """
    values, chosen = np.asarray(y, np.float64), np.asarray(initial)
    if not np.all(np.isfinite(values)) or len(chosen) < 1 or len(np.unique(chosen)) < len(chosen):
        raise ValueError(
            f"{len(chosen)} initial points {chosen.tolist()} were given; give finite objectives and "
            "different points, at least one"
        )
    if np.min(chosen) < 0 or np.max(chosen) >= len(values) or horizon < 0:
        raise ValueError(
            f"initial points {chosen.tolist()} and a horizon of {horizon} were given; points lie in "
            f"[0, {len(values)}) and a horizon is at least 0"
        )
    start = np.max(values[chosen])
    rest = np.maximum(np.delete(values, chosen), start)
    best = [start, *(expected_best_of_random(rest, min(n, len(rest))) for n in range(1, horizon + 1) if len(rest))]
    best += [start] * (horizon + 1 - len(best))
    scale = np.max(values) - np.min(values)
    return np.clip((np.max(values) - np.asarray(best)) / (scale if scale > 0 else 1.0), 0.0, 1.0)


def area_under_curve(curves: Float[np.ndarray, "... S"]) -> Float[np.ndarray, "..."]:
    """Returns the mean regret over a curve's places, the one before any choice included."""
    return np.asarray(np.mean(np.asarray(curves, np.float64), axis=-1))


def num_improvements(best: Float[np.ndarray, "... S"]) -> Int[np.ndarray, "..."]:
    """Returns m_H, how many steps brought a value above all before; the first does if there was no initial point.

    Args:
        best: best values so far, minus infinity before the first value.

    Source: Maraval et al. 2023 (NAP), lemma 3.1.
    """
    best = np.asarray(best)
    return np.asarray(np.sum(best[..., 1:] > best[..., :-1], axis=-1))


def harmonic(n: int) -> float:
    """Returns `H_n = Σ_{k=1..n} 1/k`: the expected `num_improvements` of n random picks among distinct values.

    With I initial points it is `H_{I+T} - H_I` for T picks.
    """
    return float(np.sum(1.0 / np.arange(1, n + 1)))


def expected_improvements(num_candidates: int, num_initial: int, horizon: int) -> float:
    """Returns the expected `num_improvements` of random picks without replacement from a pool of distinct values.

    Where values are tied, it is an upper bound.

    Args:
        num_candidates: N, the initial ones included.
        num_initial: I <= N random candidates evaluated beforehand.
        horizon: T >= 0 picks; those beyond N - I find nothing left.
    """
    return harmonic(min(num_initial + horizon, num_candidates)) - harmonic(num_initial)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    groups: ArrayLike,
    *,
    confidence: float = 0.95,
    num_resamples: int = 10000,
    seed: int = 0,
) -> PairedDifference:
    """Returns the mean of a - b over tasks with its paired bootstrap interval; what shares a task is averaged first.

    Args:
        a: [K] scores of one method.
        b: [K] scores of another on the same tasks and seeds.
        groups: [K] which task each score belongs to: any labels.
        confidence: nominal coverage, inside (0, 1).
        num_resamples: at least 1.
        seed: of the private generator.

    Raises:
        ValueError: if shapes differ or a score is missing or not finite.
    """
    difference, labels = np.asarray(a, np.float64) - np.asarray(b, np.float64), np.asarray(groups)
    if np.shape(a) != np.shape(b) or difference.shape != labels.shape or difference.ndim != 1:
        raise ValueError(
            f"scores of shapes {np.shape(a)}, {np.shape(b)} and groups {labels.shape} were given; "
            "give three vectors of one length"
        )
    tasks, place = np.unique(labels, return_inverse=True)
    means = np.bincount(place, weights=difference) / np.bincount(place)
    low, high = stratified_bootstrap(means, np.mean, num_resamples=num_resamples, confidence=confidence, seed=seed)
    return PairedDifference(float(np.mean(means)), low, high, len(tasks))


def _log_binomial(n: Int[np.ndarray, "..."], k: int) -> Float[np.ndarray, "..."]:
    """Returns `log C(n, k)` for n >= k."""
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
