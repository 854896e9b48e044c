"""Gaussian processes that choose what to evaluate next: refitted at every step, Matérn-5/2 with a lengthscale each.

Everything has fixed shapes: rows of the history that are not filled are rows of the identity in the covariance.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.kernels import masked_cholesky, masked_posterior, matern52
from metarl.metabo.distances import squared_differences
from metarl.metabo.optimiser import Observation, Optimiser, best_unvisited
from metarl.metabo.quasi_newton import Point, minimise, start_at

LOG_LENGTHSCALE, LOG_OUTPUTSCALE, LOG_NOISE = (float(np.log(0.5)), 1.0), (0.0, 1.0), (float(np.log(1e-3)), 1.5)
"""Mean and standard deviation of the normal priors of the logarithms; scale and noise are variances."""
JITTER = 1e-5
"""Added to the covariance's diagonal, as a share of the outputscale: what single precision needs with 50 rows."""
NUM_EVALUATIONS = 20
"""Evaluations of the posterior for one refit from the last fit."""
MIN_STD = 1e-6
"""Least standard deviation of a history's values that they are divided by."""
SQRT5 = float(np.sqrt(5.0))
LOG_SQRT_2PI = float(0.5 * np.log(2.0 * np.pi))

Acquisition = Callable[[Float[Array, " N"], Float[Array, " N"], Float[Array, ""]], Float[Array, " N"]]


class Hyper(NamedTuple):
    """Hyper-parameters of a Gaussian process."""

    log_lengthscale: Float[Array, " D"]
    """One for each dimension; those of unused dimensions have no influence."""
    log_outputscale: Float[Array, ""]
    """Of the kernel's variance."""
    log_noise: Float[Array, ""]
    """Of the noise's variance."""


class Data(NamedTuple):
    """What was observed, as the fit needs it."""

    squares: Float[Array, "D L L"]
    """Squared differences between the rows, dimension by dimension; see `squared_differences`."""
    z: Float[Array, " L"]
    """Standardised values; 0 in rows not filled."""
    is_seen: Bool[Array, " L"]
    """Rows that are filled."""


def standardise(y: Float[Array, " L"], is_seen: Bool[Array, " L"]) -> Float[Array, " L"]:
    """Returns values less the mean of the filled rows and over their standard deviation; 0 in the other rows."""
    count = jnp.maximum(jnp.sum(is_seen), 1).astype(jnp.float32)
    centred = jnp.where(is_seen, y - jnp.sum(y, where=is_seen) / count, 0.0)
    return centred / jnp.maximum(jnp.sqrt(jnp.sum(centred**2) / count), MIN_STD)


def prior_hyper(num_dimensions: int) -> Hyper:
    """Returns the hyper-parameters at the prior's mode."""
    return Hyper(
        jnp.full((num_dimensions,), LOG_LENGTHSCALE[0], jnp.float32),
        jnp.float32(LOG_OUTPUTSCALE[0]),
        jnp.float32(LOG_NOISE[0]),
    )


def negative_log_posterior(theta: Float[Array, " P"], data: Data) -> tuple[Float[Array, ""], Float[Array, " P"]]:
    """Returns minus the log posterior density of `pack(hyper)` up to a constant, and its gradient.

    The gradient is by hand, `½ tr[(K⁻¹ - αα') ∂K]`, which needs one factorisation and no derivative of it.

    Source: Rasmussen and Williams 2006, equations 5.8 and 5.9.
    """
    hyper = unpack(theta)
    inverse_squares = jnp.exp(-2.0 * hyper.log_lengthscale)
    scale, noise = jnp.exp(hyper.log_outputscale), jnp.exp(hyper.log_noise)
    squared = jnp.sum(inverse_squares[:, None, None] * data.squares, axis=0)
    correlation = matern52(squared)
    factor = masked_cholesky(scale * correlation, data.is_seen, noise + JITTER * scale)
    root = solve_triangular(factor, jnp.eye(factor.shape[0], dtype=factor.dtype), lower=True)
    white = root @ data.z
    alpha = white @ root
    both = data.is_seen[:, None] & data.is_seen[None, :]
    weight = jnp.where(both, 0.5 * (root.T @ root - jnp.outer(alpha, alpha)), 0.0)
    pull = 2.0 * scale * weight * _matern52_slope(squared)
    trace = jnp.trace(weight)
    gradient = Hyper(
        inverse_squares * jnp.sum(pull[None] * data.squares, axis=(1, 2)),
        scale * (jnp.sum(weight * correlation) + JITTER * trace),
        noise * trace,
    )
    mean, std = _prior(hyper.log_lengthscale.shape[0])
    deviation = (theta - mean) / std
    value = 0.5 * (white @ white) + jnp.sum(jnp.log(jnp.diagonal(factor))) + 0.5 * (deviation @ deviation)
    return value, pack(gradient) + deviation / std


def fit(data: Data, last: Hyper, *, num_evaluations: int = NUM_EVALUATIONS) -> Hyper:
    """Returns the most probable hyper-parameters, searched from the last fit or the prior's mode, whichever is better.

    A start that is not finite is worse than any other; with neither finite the result is the prior's mode.
    """

    def objective(theta):
        return negative_log_posterior(theta, data)

    warm, cold = start_at(objective, pack(last)), start_at(objective, pack(prior_hyper(last.log_lengthscale.shape[0])))
    start = jax.tree.map(lambda a, b: jnp.where(warm.value < cold.value, a, b), warm, cold)
    found: Point = minimise(objective, start, num_evaluations=num_evaluations)
    return unpack(found.x)


def posterior(
    hyper: Hyper,
    rows: Float[Array, "L D"],
    z: Float[Array, " L"],
    is_seen: Bool[Array, " L"],
    candidates: Float[Array, "N D"],
    kind: Int[Array, " D"],
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """Returns mean and standard deviation of the noiseless function at candidates, in units of z.

    Args:
        hyper: hyper-parameters.
        rows: points of the history.
        z: their standardised values.
        is_seen: which rows are filled.
        candidates: where the function is asked for.
        kind: what each dimension holds.
    """
    scale = jnp.exp(hyper.log_outputscale)
    inverse_squares = jnp.exp(-2.0 * hyper.log_lengthscale)[:, None, None]
    among = scale * matern52(jnp.sum(inverse_squares * squared_differences(rows, rows, kind), axis=0))
    factor = masked_cholesky(among, is_seen, jnp.exp(hyper.log_noise) + JITTER * scale)
    towards = scale * matern52(jnp.sum(inverse_squares * squared_differences(rows, candidates, kind), axis=0))
    mean, variance = masked_posterior(factor, towards, z, is_seen, scale)
    return mean, jnp.sqrt(jnp.maximum(variance, JITTER * scale))


class Outlook(NamedTuple):
    """What a fitted process expects of a pool, in units of the standardised history."""

    mean: Float[Array, " N"]
    """Of the noiseless function at candidates."""
    std: Float[Array, " N"]
    """Standard deviation of that."""
    incumbent: Float[Array, ""]
    """Best value so far; 0 without any."""


def refit(observation: Observation, params: Any, last: Hyper, *, num_evaluations: int) -> tuple[Hyper, Outlook]:
    """Returns the fit to what has been evaluated, searched from the last one, and what it expects of the pool."""
    rows, is_seen = params.x[observation["index"]], observation["is_seen"]
    z = standardise(observation["y"], is_seen)
    data = Data(squared_differences(rows, rows, params.kind), z, is_seen)
    hyper = fit(data, last, num_evaluations=num_evaluations)
    mean, std = posterior(hyper, rows, z, is_seen, params.x, params.kind)
    incumbent = jnp.where(jnp.any(is_seen), jnp.max(z, where=is_seen, initial=-jnp.inf), 0.0)
    return hyper, Outlook(mean, std, incumbent)


def log_expected_improvement(
    mean: Float[Array, " N"], std: Float[Array, " N"], incumbent: Float[Array, ""]
) -> Float[Array, " N"]:
    """Returns `log E[max(f - incumbent, 0)]` of normals, finite however far below the incumbent they lie.

    With u = (mean - incumbent) / std it is `log std + log(φ(u) + u Φ(u))`; far below, the second term is
    `log φ(u) + log(1/u² - 3/u⁴ + 15/u⁶ - …)`.
    """
    u = (mean - incumbent) / std
    near, far = jnp.clip(u, -6.0, 6.0), jnp.minimum(u, -6.0)
    density = -0.5 * near**2 - LOG_SQRT_2PI
    mills = jnp.exp(log_ndtr(near) - density)
    inner = density + jnp.log(jnp.maximum(1.0 + near * mills, 1e-12))
    below = -0.5 * far**2 - LOG_SQRT_2PI + jnp.log((1.0 - (3.0 - 15.0 / far**2) / far**2) / far**2)
    log_gain = jnp.where(u < -6.0, below, jnp.where(u > 6.0, jnp.log(jnp.maximum(u, 1.0)), inner))
    return jnp.log(std) + log_gain


def upper_confidence_bound(beta: float) -> Acquisition:
    """Returns the acquisition `mean + beta std`."""
    return lambda mean, std, incumbent: mean + beta * std


def gp_optimiser(acquisition: Acquisition, *, num_evaluations: int = NUM_EVALUATIONS) -> Optimiser:
    """Returns the optimiser that refits a Gaussian process to the history and evaluates where the acquisition is best.

    The memory is the last fit, from which the next starts.
    """

    def choose(key, memory, observation, params):
        hyper, outlook = refit(observation, params, memory, num_evaluations=num_evaluations)
        return hyper, best_unvisited(acquisition(*outlook), observation, params)

    return Optimiser(lambda params: prior_hyper(params.x.shape[-1]), choose)


def gp_ei(*, num_evaluations: int = NUM_EVALUATIONS) -> Optimiser:
    """Returns Bayesian optimisation by expected improvement over the best value seen.

    Source: Jones et al. 1998 (EGO); Snoek et al. 2012 (Matérn-5/2 with automatic relevance determination).
    """
    return gp_optimiser(log_expected_improvement, num_evaluations=num_evaluations)


def gp_ucb(beta: float = 2.0, *, num_evaluations: int = NUM_EVALUATIONS) -> Optimiser:
    """Returns Bayesian optimisation by `mean + beta std`.

    Source: Srinivas et al. 2010 (GP-UCB), with a constant beta.
    """
    return gp_optimiser(upper_confidence_bound(beta), num_evaluations=num_evaluations)


def pack(hyper: Hyper) -> Float[Array, " P"]:
    """Returns hyper-parameters as one vector."""
    return jnp.concatenate([hyper.log_lengthscale, hyper.log_outputscale[None], hyper.log_noise[None]])


def unpack(theta: Float[Array, " P"]) -> Hyper:
    """Returns the hyper-parameters of a vector."""
    return Hyper(theta[:-2], theta[-2], theta[-1])


def _prior(num_dimensions: int) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """Returns means and standard deviations of the prior of `pack(hyper)`."""
    rows = [LOG_LENGTHSCALE] * num_dimensions + [LOG_OUTPUTSCALE, LOG_NOISE]
    mean, std = np.asarray(rows, np.float32).T
    return mean, std


def _matern52_slope(squared: Float[Array, "L L"]) -> Float[Array, "L L"]:
    """Returns minus the derivative of `matern52` by its squared distance."""
    scaled = SQRT5 * jnp.sqrt(squared)
    return (5.0 / 6.0) * (1.0 + scaled) * jnp.exp(-scaled)
