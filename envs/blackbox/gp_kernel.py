"""One Gaussian-process law over the functions of one space: draw values from it, and predict exactly under it.

Source: Rasmussen and Williams 2006, chapter 2; Cowen-Rivers et al. 2022 (HEBO) for inputs warped by Kumaraswamy's
distribution function; Jones and Pewsey 2009 for the sinh-arcsinh transform, here of outputs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.kernels import kernel_matrix, masked_cholesky, masked_posterior
from envs.blackbox.task import CATEGORICAL
from envs.blackbox.triangular import solve_lower

LOG_TWO_PI = float(np.log(2.0 * np.pi))


class Kernel(NamedTuple):
    """Hyper-parameters of a process g of mean 0 and variance 1, observed as `y = output(g + noise)`."""

    kind: Int[Array, " D"]
    """What each dimension is to the covariance: UNUSED also where a dimension exists and does not matter."""
    lengthscale: Float[Array, " D"]
    """Along each dimension, after warping; positive."""
    shape: Int[Array, ""]
    """MATERN52, RBF or MATERN32."""
    noise: Float[Array, ""]
    """Variance of the noise, at least 1e-4 so that covariances can be factorised in float32."""
    warp: Float[Array, "D 2"]
    """Exponents (a, b) of the input warp `1 - (1 - u^a)^b` of numbers and grid places; (1, 1) changes nothing."""
    skew: Float[Array, ""]
    """s of the output `sinh(t asinh(g) - s)`; 0 for none."""
    tail: Float[Array, ""]
    """t, positive: above 1 tails are heavier, below 1 lighter; 1 for none."""


def covariance(kernel: Kernel, a: Float[Array, "n D"], b: Float[Array, "m D"]) -> Float[Array, "n m"]:
    """Returns the covariances of g between two sets of points, without noise."""
    warped = [_warped(kernel, x) for x in (a, b)]
    return kernel_matrix(*warped, kernel.kind, kernel.lengthscale, kernel.shape)


def draw_values(kernel: Kernel, x: Float[Array, "N D"], normals: Float[Array, " N"]) -> Float[Array, " N"]:
    """Returns the noisy values at these points that independent standard normals stand for."""
    everywhere = jnp.ones(x.shape[:1], bool)
    factor = masked_cholesky(covariance(kernel, x, x), everywhere, kernel.noise)
    noisy = jnp.matmul(factor, normals, precision=jax.lax.Precision.HIGHEST)
    return to_output(kernel, noisy)


def to_output(kernel: Kernel, latent: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Returns y of g + noise: ascending, and the identity for skew 0 and tail 1."""
    return jnp.sinh(kernel.tail * jnp.arcsinh(latent) - kernel.skew)


def to_latent(kernel: Kernel, y: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Returns g + noise of y."""
    return jnp.sinh((jnp.arcsinh(y) + kernel.skew) / kernel.tail)


def posterior(
    kernel: Kernel,
    context_x: Float[Array, "L D"],
    context_y: Float[Array, " L"],
    is_seen: Bool[Array, " L"],
    x: Float[Array, "m D"],
) -> tuple[Float[Array, " m"], Float[Array, " m"]]:
    """Returns mean and variance of new observations `g + noise` at each point, given those that were seen.

    Args:
        kernel: law of the function.
        context_x: points of the context.
        context_y: their values, as the task has them.
        is_seen: which places of the context are filled.
        x: where to predict.
    """
    factor = masked_cholesky(covariance(kernel, context_x, context_x), is_seen, kernel.noise)
    cross = covariance(kernel, context_x, x)
    mean, variance = masked_posterior(factor, cross, to_latent(kernel, context_y), is_seen)
    return mean, variance + kernel.noise


def exact_gp_nll(
    kernel: Kernel,
    context: tuple[Float[Array, "L D"], Float[Array, " L"], Bool[Array, " L"]],
    targets: tuple[Float[Array, "m D"], Float[Array, " m"]],
) -> Float[Array, " m"]:
    """Returns `-log p(y | x, context)` of each target in nats, for y in the task's own units.

    No model that does not know the kernel can do better on average. For y in units of s, add `-log s`.

    Args:
        kernel: law of the function.
        context: (points, values, which are filled).
        targets: (points, values), none of them in the context.
    """
    x, y = targets
    mean, variance = posterior(kernel, *context, x)
    g = to_latent(kernel, y)
    nll = 0.5 * (LOG_TWO_PI + jnp.log(variance) + (g - mean) ** 2 / variance)
    log_slope = 0.5 * (jnp.log1p(g**2) - jnp.log1p(y**2)) - jnp.log(kernel.tail)  # of g as a function of y
    return nll - log_slope


def affine_gp_nll(
    kernel: Kernel,
    context: tuple[Float[Array, "L D"], Float[Array, " L"]],
    targets: tuple[Float[Array, "m D"], Float[Array, " m"]],
) -> Float[Array, " m"]:
    """Returns the same as `exact_gp_nll` for values `a + b (g + noise)` of which neither a nor b > 0 is known.

    The law of a target is Student's with L - 1 degrees of freedom, from a flat law over a and log b. No model that sees
    values standardised by the context's can do better on average, even if it knows the kernel; outputs are not warped.

    Source: O'Hagan 1978, "Curve fitting and optimal design for prediction".

    Args:
        kernel: law of the function; its outputs are as they are.
        context: (points, values), 2 or more, not all the same.
        targets: (points, values), none of them in the context.
    """
    (seen_x, seen_y), (x, y) = context, targets
    number, is_seen = seen_y.shape[0], jnp.ones(seen_y.shape, bool)
    factor = masked_cholesky(covariance(kernel, seen_x, seen_x), is_seen, kernel.noise)
    cross, one = covariance(kernel, seen_x, x), jnp.ones_like(seen_y)
    level, variance = masked_posterior(factor, cross, one, is_seen)  # what is expected where all values are 1
    white_one, white_y = (solve_lower(factor, column[:, None])[:, 0] for column in (one, seen_y))
    precision = jnp.sum(white_one**2)
    mean = jnp.sum(white_one * white_y) / precision
    squared = jnp.sum((white_y - mean * white_one) ** 2) / (number - 1)
    predicted = mean + masked_posterior(factor, cross, seen_y - mean, is_seen)[0]
    spread = jnp.sqrt(squared * (variance + kernel.noise + (1.0 - level) ** 2 / precision))
    return -jax.scipy.stats.t.logpdf(y, number - 1, predicted, spread)


def _warped(kernel: Kernel, x: Float[Array, "n D"]) -> Float[Array, "n D"]:
    a, b = kernel.warp[None, :, 0], kernel.warp[None, :, 1]
    unit = jnp.clip(x, 0.0, 1.0)
    return jnp.where((kernel.kind == CATEGORICAL)[None], x, 1.0 - (1.0 - unit**a) ** b)
