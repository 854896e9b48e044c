"""Covariances of Gaussian processes over mixed spaces, and exact inference with them on buffers of fixed size.

Everything is of one task and one program: `vmap` takes it to many.

Source: Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", equations 2.25, 2.26 (posterior), 4.9
(squared exponential), 4.17 (Matern).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.task import CATEGORICAL, UNUSED

MATERN52, RBF, MATERN32 = 0, 1, 2
"""Shapes of covariances along the distance."""
MIN_SQUARED_DISTANCE = 1e-12
"""Below it the square root is flat, so that the gradient at a point itself is 0 and not NaN."""


def squared_distances(
    a: Float[Array, "n D"], b: Float[Array, "m D"], kind: Int[Array, " D"], lengthscale: Float[Array, " D"]
) -> Float[Array, "n m"]:
    """Returns `sum_d (difference_d / lengthscale_d)²`.

    Numbers and grid places differ by their difference, categories by 1 unless they are the same, unused dimensions by
    nothing. Differences are taken one by one: the expanded square loses the nearest neighbours in float32.
    """
    difference = a[:, None, :] - b[None, :, :]
    differs = jnp.where((kind == CATEGORICAL)[None, None], (difference != 0.0).astype(jnp.float32), difference)
    used = jnp.where((kind == UNUSED)[None, None], 0.0, differs)
    return jnp.sum((used / lengthscale[None, None]) ** 2, axis=-1)


def matern52(squared: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Returns the Matern covariance of smoothness 5/2 and variance 1 at a squared distance in lengthscales."""
    scaled = float(np.sqrt(5.0)) * _distance(squared)
    return (1.0 + scaled + scaled**2 / 3.0) * jnp.exp(-scaled)


def matern32(squared: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Returns the Matern covariance of smoothness 3/2 and variance 1 at a squared distance in lengthscales."""
    scaled = float(np.sqrt(3.0)) * _distance(squared)
    return (1.0 + scaled) * jnp.exp(-scaled)


def rbf(squared: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Returns the squared-exponential covariance of variance 1 at a squared distance in lengthscales."""
    return jnp.exp(-0.5 * squared)


def kernel_matrix(
    a: Float[Array, "n D"],
    b: Float[Array, "m D"],
    kind: Int[Array, " D"],
    lengthscale: Float[Array, " D"],
    shape: Int[Array, ""] | int = MATERN52,
) -> Float[Array, "n m"]:
    """Returns the covariances between two sets of points, with variance 1 and a lengthscale > 0 per dimension.

    Args:
        a: points; numeric and ordinal dimensions as numbers, categorical ones as indices.
        b: points.
        kind: what each dimension holds; lengthscales of unused ones may be anything but 0.
        lengthscale: of each dimension; of a categorical one, with categories that differ at distance 1.
        shape: MATERN52, RBF or MATERN32, traced or not; other numbers count as the last.
    """
    squared = squared_distances(a, b, kind, lengthscale)
    if isinstance(shape, int):
        return (matern52, rbf, matern32)[shape](squared)
    smooth = jnp.where(shape == RBF, rbf(squared), matern32(squared))
    return jnp.where(shape == MATERN52, matern52(squared), smooth)


def masked_cholesky(
    covariance: Float[Array, "L L"], is_seen: Bool[Array, " L"], noise: Float[Array, ""]
) -> Float[Array, "L L"]:
    """Returns the lower Cholesky factor of `covariance + noise I` among seen points, and of the identity elsewhere.

    Args:
        covariance: of all L places.
        is_seen: which places hold points.
        noise: variance added to the diagonal; in float32 it takes 1e-4 of the signal's variance to be safe.
    """
    both = is_seen[:, None] & is_seen[None, :]
    diagonal = jnp.where(is_seen, noise, 1.0)
    return jnp.linalg.cholesky(jnp.where(both, covariance, 0.0) + jnp.diag(diagonal))


def masked_posterior(
    factor: Float[Array, "L L"],
    cross: Float[Array, "L m"],
    y: Float[Array, " L"],
    is_seen: Bool[Array, " L"],
    variance: Float[Array, ""] | float = 1.0,
) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    """Returns mean and variance of a zero-mean process, without noise, at m points.

    Args:
        factor: from `masked_cholesky`.
        cross: covariances between the L places and the m points.
        y: observations, in seen places.
        is_seen: which places hold observations; without any, the prior comes back.
        variance: of the prior.
    """
    solve = jax.scipy.linalg.solve_triangular
    cross = jnp.where(is_seen[:, None], cross, 0.0)
    half = solve(factor, cross, lower=True)
    white = solve(factor, jnp.where(is_seen, y, 0.0), lower=True)
    mean = jnp.matmul(white, half, precision=jax.lax.Precision.HIGHEST)
    return mean, jnp.maximum(variance - jnp.sum(half**2, axis=0), 0.0)


def _distance(squared: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    return jnp.sqrt(jnp.maximum(squared, MIN_SQUARED_DISTANCE))
