"""Minimisation of a smooth function of a few numbers in a fixed number of evaluations, for use under vmap."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SUFFICIENT_DECREASE = 1e-4
"""Share of the decrease that the slope promises which a step must bring."""
ROUNDING = 1e-6
"""By how much, relative to itself, a value may rise and still count as equal in single precision."""
SHRINK = 0.3
"""Factor of the step's length after a step that was refused."""

ValueAndGrad = Callable[[Float[Array, " P"]], tuple[Float[Array, ""], Float[Array, " P"]]]


class Point(NamedTuple):
    """Where the search stands."""

    x: Float[Array, " P"]
    """Best point so far."""
    value: Float[Array, ""]
    """Function there; infinite if it is not finite."""
    gradient: Float[Array, " P"]
    """Gradient there; 0 if it is not finite."""
    inverse_hessian: Float[Array, "P P"]
    """Estimate of the inverse Hessian, positive definite."""
    step: Float[Array, ""]
    """Length of the next step as a share of the quasi-Newton step, in (0, 1]."""


def start_at(function: ValueAndGrad, x: Float[Array, " P"]) -> Point:
    """Returns the search at its start, with the identity as inverse Hessian; one evaluation."""
    value, gradient = _evaluate(function, x)
    return Point(x, value, gradient, jnp.eye(x.shape[0], dtype=x.dtype), jnp.ones((), x.dtype))


def minimise(function: ValueAndGrad, start: Point, *, num_evaluations: int, max_step: float = 1.0) -> Point:
    """Returns the best point after so many evaluations; its value is at most the start's, up to rounding.

    One iteration is one evaluation, whether its point is accepted or not: a line search is spread over iterations, so
    that a batch never waits for the one problem in it that needs many. Pairs of refused points update the inverse
    Hessian too. Points with a value or gradient that is not finite are refused.

    Args:
        function: returns its value and gradient.
        start: see `start_at`.
        num_evaluations: beyond that of the start.
        max_step: Euclidean length that no step exceeds.

    Source: Nocedal and Wright 2006, section 6.1 (BFGS) and 3.1 (backtracking).
    """

    def iterate(_, point):
        return _iterate(function, point, max_step)

    return jax.lax.fori_loop(0, num_evaluations, iterate, start)


def _evaluate(function: ValueAndGrad, x: Float[Array, " P"]) -> tuple[Float[Array, ""], Float[Array, " P"]]:
    value, gradient = function(x)
    is_finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
    return jnp.where(is_finite, value, jnp.inf), jnp.where(is_finite, gradient, 0.0)


def _iterate(function: ValueAndGrad, point: Point, max_step: float) -> Point:
    """Returns the search after one more evaluation."""
    direction = -(point.inverse_hessian @ point.gradient)
    length = jnp.sqrt(jnp.sum(direction**2))
    step = point.step * jnp.minimum(1.0, max_step / jnp.maximum(length, 1e-12))
    move = step * direction
    value, gradient = _evaluate(function, point.x + move)
    allowed = point.value + SUFFICIENT_DECREASE * (point.gradient @ move) + ROUNDING * jnp.abs(point.value)
    is_accepted = jnp.isfinite(value) & (value <= allowed)
    inverse_hessian = _bfgs(point.inverse_hessian, move, gradient - point.gradient, jnp.isfinite(value))
    return Point(
        x=jnp.where(is_accepted, point.x + move, point.x),
        value=jnp.where(is_accepted, value, point.value),
        gradient=jnp.where(is_accepted, gradient, point.gradient),
        inverse_hessian=inverse_hessian,
        step=jnp.where(is_accepted, 1.0, SHRINK * point.step),
    )


def _bfgs(
    inverse_hessian: Float[Array, "P P"], move: Float[Array, " P"], change: Float[Array, " P"], is_usable: Array
) -> Float[Array, "P P"]:
    """Returns the inverse Hessian such that it maps the gradient's change to the move; as it was without curvature."""
    curvature = move @ change
    scale = jnp.sqrt(jnp.sum(move**2) * jnp.sum(change**2))
    is_convex = is_usable & (curvature > 1e-4 * scale) & (curvature > 1e-20)
    rate = 1.0 / jnp.where(is_convex, curvature, 1.0)
    image = inverse_hessian @ change
    cross = jnp.outer(image, move)
    grown = (rate * (1.0 + rate * (change @ image))) * jnp.outer(move, move)
    return jnp.where(is_convex, inverse_hessian + grown - rate * (cross + cross.T), inverse_hessian)
