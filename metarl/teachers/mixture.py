"""Gaussian mixtures fitted inside jit: every number of components at once, and the best by an information criterion.

The components of all mixtures lie behind each other in one axis C = k_min + ... + k_max, so that one E-step and one
M-step serve them all. Rows of the data can be masked.

Source: as scikit-learn's `GaussianMixture` with full covariances: k-means, then expectation maximisation with 1e-6
added to the diagonals; a fixed number of steps instead of a tolerance.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

RIDGE = 1e-6
"""Added to the variances."""
FEW = 10 * float(np.finfo(np.float32).eps)
"""Added to the number of rows of a component."""
Criterion = Literal["aic", "bic", "aicc"]


class Mixture(NamedTuple):
    """Gaussians, of which the first few are used."""

    is_used: Bool[Array, " K"]
    weight: Float[Array, " K"]
    """Sums to 1 over the used ones."""
    mean: Float[Array, "K d"]
    cholesky: Float[Array, "K d d"]
    """Lower triangular; the covariance is its product with its transpose."""


class Sizes(NamedTuple):
    """Which of the C components belong to which mixture."""

    k_min: int
    k_max: int

    @property
    def slices(self) -> list[slice]:
        """The components of each mixture."""
        ends = np.cumsum(np.arange(self.k_min, self.k_max + 1))
        return [slice(int(end) - k, int(end)) for end, k in zip(ends, range(self.k_min, self.k_max + 1), strict=True)]

    @property
    def index_in_mixture(self) -> np.ndarray:
        """0, 1, ... for the components of each mixture."""
        return np.concatenate([np.arange(k) for k in range(self.k_min, self.k_max + 1)])

    def spread(self, per_mixture: list[Float[Array, " N"]]) -> Float[Array, "C N"]:
        """Returns what belongs to a mixture, for each of its components."""
        repeats = np.repeat(np.arange(len(per_mixture)), np.arange(self.k_min, self.k_max + 1))
        return jnp.stack(per_mixture)[repeats]


class _Moments(NamedTuple):
    """Parameters of all components."""

    log_weight: Float[Array, " C"]
    mean: Float[Array, "C d"]
    cholesky: Float[Array, "C d d"]


def fit_mixture(
    key: Array,
    rows: Float[Array, "N d"],
    is_valid: Bool[Array, " N"],
    *,
    k_min: int = 2,
    k_max: int = 10,
    criterion: Criterion = "aic",
    num_kmeans_steps: int = 10,
    num_steps: int = 20,
    penalised_dimension: int | None = None,
) -> tuple[Mixture, Bool[Array, ""]]:
    """Returns (the best of the mixtures with k_min to k_max components, whether there is one).

    There is none where nothing is finite, or no row counts.

    Args:
        key: consumed.
        rows: the data.
        is_valid: rows that count.
        k_min: fewest components, at least 1.
        k_max: most components, inclusive.
        criterion: what is least for the best: `-2 log L + c p` of p free parameters with c = 2 (aic), log N (bic), or
            the correction for few rows (aicc).
        num_kmeans_steps: of Lloyd's algorithm before, from centres drawn as in k-means++.
        num_steps: of expectation maximisation.
        penalised_dimension: d in the number of parameters, where it is not that of the rows.

    Raises:
        ValueError: unless 1 <= k_min <= k_max.
    """
    if not 1 <= k_min <= k_max:
        raise ValueError(f"a mixture was asked for with {k_min} to {k_max} components; give 1 <= k_min <= k_max")
    sizes, valid = Sizes(k_min, k_max), is_valid.astype(jnp.float32)
    num_valid = jnp.maximum(jnp.sum(valid), 1.0)
    centre = valid @ rows / num_valid  # sums of squares lose fewer digits about the centre
    data = jnp.where(is_valid[:, None], rows - centre[None], 0.0)
    centres = kmeans_centres(key, data, valid, k_max)[sizes.index_in_mixture]
    centres = jax.lax.fori_loop(0, num_kmeans_steps, lambda _, c: _lloyd(sizes, data, valid, c), centres)
    start = _maximise(sizes, data, _nearest(sizes, data, valid, centres))

    def step(_, moments: _Moments) -> _Moments:
        return _maximise(sizes, data, expect(sizes, data, moments)[0] * valid[None])

    moments = jax.lax.fori_loop(0, num_steps, step, start)
    log_likelihood = expect(sizes, data, moments)[1] @ valid
    dimension = penalised_dimension or rows.shape[1]
    score = criterion_of(criterion, log_likelihood, np.arange(k_min, k_max + 1), dimension, num_valid)
    score = jnp.where(jnp.isfinite(score), score, jnp.inf)
    best = jnp.argmin(score)
    return _mixture(sizes, moments, best, centre), jnp.isfinite(score[best]) & jnp.any(is_valid)


def criterion_of(
    criterion: Criterion, log_likelihood: Float[Array, " G"], k: np.ndarray, dimension: int, num_rows: Array
) -> Float[Array, " G"]:
    """Returns the information criterion of mixtures with `k` components in `dimension` dimensions; less is better."""
    p = jnp.asarray(k * (dimension + dimension * (dimension + 1) // 2) + k - 1, jnp.float32)
    if criterion == "bic":
        return -2.0 * log_likelihood + jnp.log(num_rows) * p
    few = 2.0 * p * (p + 1.0) / (num_rows - p - 1.0) if criterion == "aicc" else 0.0
    return -2.0 * log_likelihood + 2.0 * p + few


def kmeans_centres(key: Array, data: Float[Array, "N d"], valid: Float[Array, " N"], num: int) -> Float[Array, "num d"]:
    """Returns rows drawn one after another with probability proportional to the squared distance to those before.

    The first k are such a draw for k. Source: Arthur and Vassilvitskii 2007 (k-means++).
    """
    gumbel = jax.random.gumbel(key, (num, data.shape[0]))

    def draw(squared: Float[Array, " N"], noise: Float[Array, " N"]) -> tuple[Array, Array]:
        centre = data[jnp.argmax(jnp.where(valid > 0.0, jnp.log(squared) + noise, -jnp.inf))]
        return jnp.minimum(squared, jnp.sum((data - centre[None]) ** 2, axis=1)), centre

    first = jnp.full((data.shape[0],), jnp.finfo(jnp.float32).max, jnp.float32)
    return jax.lax.scan(draw, first, gumbel)[1]


def _nearest(sizes: Sizes, data: Array, valid: Array, centres: Float[Array, "C d"]) -> Float[Array, "C N"]:
    """Returns 1 where a centre is the nearest of its mixture, shared between equally near ones."""
    squared = jnp.sum(centres**2, axis=1)[:, None] - 2.0 * centres @ data.T
    is_nearest = squared <= sizes.spread([jnp.min(squared[part], axis=0) for part in sizes.slices])
    share = is_nearest.astype(jnp.float32)
    return valid[None] * share / sizes.spread([jnp.sum(share[part], axis=0) for part in sizes.slices])


def _lloyd(sizes: Sizes, data: Array, valid: Array, centres: Float[Array, "C d"]) -> Float[Array, "C d"]:
    share = _nearest(sizes, data, valid, centres)
    total = jnp.sum(share, axis=1, keepdims=True)
    return jnp.where(total > 0.0, share @ data / jnp.maximum(total, 1e-6), centres)  # empty clusters stay


def _maximise(sizes: Sizes, data: Float[Array, "N d"], share: Float[Array, "C N"]) -> _Moments:
    total = jnp.sum(share, axis=1) + FEW
    mean = share @ data / total[:, None]
    dimension = data.shape[1]
    products = (data[:, :, None] * data[:, None, :]).reshape(-1, dimension**2)
    second = (share @ products / total[:, None]).reshape(-1, dimension, dimension)
    covariance = second - mean[:, :, None] * mean[:, None, :] + RIDGE * jnp.eye(dimension)[None]
    summed = sizes.spread([jnp.sum(total[part], keepdims=True) for part in sizes.slices])[:, 0]
    return _Moments(jnp.log(total / summed), mean, cholesky(covariance))


def expect(sizes: Sizes, data: Float[Array, "N d"], moments: _Moments) -> tuple[Array, Array]:
    """Returns (responsibilities [C, N], log-likelihood of each row under each mixture [G, N])."""
    inverse = invert_lower(moments.cholesky)
    shift = jnp.einsum("cij,cj->ci", inverse, moments.mean)
    white = jnp.einsum("cij,nj->cin", inverse, data) - shift[:, :, None]
    log_volume = jnp.sum(jnp.log(jnp.diagonal(inverse, axis1=1, axis2=2)), axis=1)
    constant = log_volume + moments.log_weight - 0.5 * data.shape[1] * np.float32(np.log(2.0 * np.pi))
    log_joint = constant[:, None] - 0.5 * jnp.sum(white**2, axis=1)
    most = [jnp.max(log_joint[part], axis=0) for part in sizes.slices]
    joint = jnp.exp(log_joint - sizes.spread(most))
    total = [jnp.sum(joint[part], axis=0) for part in sizes.slices]
    return joint / sizes.spread(total), jnp.stack(most) + jnp.log(jnp.stack(total))


def cholesky(matrices: Float[Array, "C d d"]) -> Float[Array, "C d d"]:
    """Returns lower triangular factors, column by column; NaN where a matrix is not positive definite.

    In place of LAPACK's, which XLA calls for one small matrix after another on CPU.
    """
    dimension, columns = matrices.shape[-1], []
    for j in range(dimension):
        column = matrices[..., j] / jnp.sqrt(matrices[..., j, j])[..., None]
        column = jnp.where(jnp.arange(dimension) >= j, column, 0.0)
        columns.append(column)
        matrices = matrices - column[..., :, None] * column[..., None, :]
    return jnp.stack(columns, axis=-1)


def invert_lower(lower: Float[Array, "C d d"]) -> Float[Array, "C d d"]:
    """Returns the inverses of lower triangular matrices, row by row."""
    dimension, rows = lower.shape[-1], []
    for i in range(dimension):
        row = jnp.broadcast_to(jax.nn.one_hot(i, dimension, dtype=jnp.float32), lower.shape[:-1])
        for j, before in enumerate(rows):
            row = row - lower[..., i, j, None] * before
        rows.append(row / lower[..., i, i, None])
    return jnp.stack(rows, axis=-2)


def _mixture(sizes: Sizes, moments: _Moments, best: Array, centre: Float[Array, " d"]) -> Mixture:
    """Returns one mixture, its data's centre added again; unused components repeat its last."""
    k = sizes.k_min + best
    start = jnp.asarray([part.start for part in sizes.slices], jnp.int32)[best]
    index = jnp.arange(sizes.k_max)
    place = start + jnp.minimum(index, k - 1)
    is_used = index < k
    weight = jnp.where(is_used, jnp.exp(moments.log_weight[place]), 0.0)
    return Mixture(is_used, weight, moments.mean[place] + centre[None], moments.cholesky[place])


def empty_mixture(num_components: int, dimension: int) -> Mixture:
    """Returns standard Gaussians, none of them used."""
    unit = jnp.broadcast_to(jnp.eye(dimension, dtype=jnp.float32)[None], (num_components, dimension, dimension))
    nothing = jnp.zeros((num_components,), jnp.float32)
    return Mixture(nothing > 0.0, nothing, jnp.zeros((num_components, dimension), jnp.float32), unit)
