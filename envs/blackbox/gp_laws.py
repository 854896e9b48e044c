"""Laws of the hyper-parameters of Gaussian processes, written as quantiles.

Source: Müller et al. 2023 (PFNs4BO) and its repository `automl/PFNs4BO` for HEBO+ and for features without influence;
Hvarfner, Hellsten, Nardi 2024 for lengthscales that grow with the square root of the number of dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, Int

from envs.blackbox.kernels import MATERN32, MATERN52, RBF
from envs.family import log_uniform

JITTER = 2e-4
"""Smallest variance of noise: with less, covariances of smooth functions cannot be factorised in float32."""
MAX_NOISE = 10.0
"""Largest variance of noise, in units of the signal's."""
NOISELESS_SHARE = 0.2
"""Share of the functions whose noise is the smallest."""

Quantile = Float[Array, "*batch"]


class Law(NamedTuple):
    """How hyper-parameters follow from quantiles in [0, 1]."""

    lengthscale: Callable[[Quantile, Float[Array, ""]], Quantile]
    """`lengthscale(quantiles, d)` of d dimensions that matter."""
    noise: Callable[[Float[Array, ""], Float[Array, ""]], Float[Array, ""]]
    """`noise(quantile, second quantile)`: variance in units of the signal's, before it is cut to [JITTER, MAX_NOISE].
    """
    shapes: tuple[int, ...]
    """Shapes of the covariance, equally likely."""
    max_log_warp: float
    """Exponents of input warps are exp(U(-this, this))."""
    irrelevant_share: float = 0.3
    """Probability that a dimension has no influence."""

    def shape(self, quantile: Float[Array, ""]) -> Int[Array, ""]:
        """Returns a shape of the covariance."""
        place = jnp.floor(jnp.clip(quantile, 0.0, 1.0) * len(self.shapes)).astype(jnp.int32)
        return jnp.asarray(self.shapes, jnp.int32)[jnp.minimum(place, len(self.shapes) - 1)]


def log_uniform_law(lengthscales: tuple[float, float] = (0.1, 2.0), noises: tuple[float, float] = (JITTER, 0.1)) -> Law:
    """Returns log-uniform lengthscales and noise, Matern-5/2 or squared exponential, inputs warped by exp(±.7).

    Lengthscales are in units of sqrt(d), so that functions are as rough in many dimensions as in few. A fifth of the
    functions has the smallest noise there is.

    Raises:
        ValueError: unless both ranges ascend from above 0.
    """
    for name, (low, high) in (("lengthscales", lengthscales), ("noises", noises)):
        if not 0.0 < low <= high:
            raise ValueError(f"{name} are from {low} to {high}; they must ascend from above 0")

    def noise(quantile: Float[Array, ""], _: Float[Array, ""]) -> Float[Array, ""]:
        return log_uniform((quantile - NOISELESS_SHARE) / (1.0 - NOISELESS_SHARE), *noises)

    return Law(
        lengthscale=lambda quantile, count: log_uniform(quantile, *lengthscales) * jnp.sqrt(count),
        noise=noise,
        shapes=(MATERN52, RBF),
        max_log_warp=0.7,
    )


def known_law() -> Law:
    """Returns the law of a single process: Matern-5/2, lengthscale .3 sqrt(d), noise 1e-2, no warp, nothing irrelevant.

    In spaces of one number of dimensions of one kind there is nothing to infer but the function: exact inference under
    the kernel is the best that anything can do.
    """
    return Law(
        lengthscale=lambda quantile, count: jnp.full_like(quantile, 0.3) * jnp.sqrt(count),
        noise=lambda quantile, _: jnp.full_like(quantile, 1e-2),
        shapes=(MATERN52,),
        max_log_warp=0.0,
        irrelevant_share=0.0,
    )


def hebo_law() -> Law:
    """Returns the law that HEBO+ was trained on: gamma lengthscales and signal variance, log-normal noise, Matern-3/2.

    A signal's variance and its noise come back as their ratio; the scale of values plays no role here.
    """
    lengthscale = _gamma_quantile(1.2106559584074301, 1.5212245992840594)
    signal = _gamma_quantile(0.8452312502679863, 0.3993553245745406)

    def noise(quantile: Float[Array, ""], second: Float[Array, ""]) -> Float[Array, ""]:
        normal = ndtri(jnp.clip(quantile, 0.001, 0.999))
        return jnp.exp(-4.63 + 0.5 * normal) / signal(second)

    return Law(lengthscale=lambda quantile, _: lengthscale(quantile), noise=noise, shapes=(MATERN32,), max_log_warp=0.0)


def _gamma_quantile(concentration: float, rate: float) -> Callable[[Quantile], Quantile]:
    """Returns the quantile function, between .001 and .999, of a gamma distribution; by a table in the logarithm."""
    logits = np.linspace(-6.9, 6.9, 257)
    table = np.log(scipy.special.gammaincinv(concentration, scipy.special.expit(logits)) / rate)

    def quantile_of(quantile: Quantile) -> Quantile:
        inside = jnp.clip(quantile, 0.001, 0.999)
        logit = jnp.log(inside) - jnp.log1p(-inside)
        return jnp.exp(jnp.interp(logit, jnp.asarray(logits, jnp.float32), jnp.asarray(table, jnp.float32)))

    return quantile_of


LAWS: dict[str, Callable[[], Law]] = {"log-uniform": log_uniform_law, "hebo": hebo_law, "known": known_law}
"""Laws by name."""
