"""Exact inference about the arms of a bandit: independent ones, or ones that share a linear structure in the plane."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from envs.domain import Belief


class ArmsBelief(NamedTuple):
    """Sufficient statistics of independent arms."""

    count: Float[Array, " A"]
    """Pulls of each arm."""
    total: Float[Array, " A"]
    """Sum of its rewards."""


def arms_belief(
    num_arms: int, noise: float, make: Callable[[Array], Any], *, is_bernoulli: bool, num_points: int
) -> Belief:
    """Returns exact inference about independent arms under means from U[0, 1].

    The posterior of a Gaussian arm is N(mean of its rewards, noise² / count) cut off outside [0, 1]; of a Bernoulli
    arm, Beta(1 + successes, 1 + failures). Both are tabulated on a grid: `P(a* = k) = ∫ p_k(x) Π_{j ≠ k} F_j(x) dx`.
    `make(means)` returns the EnvParams of a task.
    """
    grid = jnp.linspace(0.0, 1.0, num_points, dtype=jnp.float32)

    def init() -> ArmsBelief:
        return ArmsBelief(jnp.zeros((num_arms,), jnp.float32), jnp.zeros((num_arms,), jnp.float32))

    def update(belief: ArmsBelief, observation, action, reward, next_observation) -> ArmsBelief:
        pulled = jax.nn.one_hot(action, num_arms, dtype=jnp.float32)
        return ArmsBelief(belief.count + pulled, belief.total + pulled * reward)

    def cells(belief: ArmsBelief) -> Float[Array, "A G"]:
        """Returns the probability of each arm's mean in each cell between neighbouring grid points."""
        count, total = belief.count[:, None], belief.total[:, None]
        middle = (0.5 * (grid[1:] + grid[:-1]))[None]
        if is_bernoulli:
            log_density = total * jnp.log(middle) + (count - total) * jnp.log1p(-middle)
        else:
            log_density = -0.5 * (middle - total / jnp.maximum(count, 1.0)) ** 2 * count / noise**2
        density = jnp.exp(log_density - jnp.max(log_density, axis=1, keepdims=True))
        return density / jnp.sum(density, axis=1, keepdims=True)

    def probabilities(belief: ArmsBelief, query) -> Float[Array, " A"]:
        mass = cells(belief)
        upto = jnp.cumsum(mass, axis=1) - 0.5 * mass  # at the middle of a cell
        others = jnp.exp(jnp.sum(_log(upto), axis=0, keepdims=True) - _log(upto))
        best = jnp.sum(mass * others, axis=1)
        return best / jnp.sum(best)

    def draw(key: Array, belief: ArmsBelief) -> Any:
        upto = jnp.cumsum(cells(belief), axis=1)
        key_cell, key_within = jax.random.split(key)
        uniform = jax.random.uniform(key_cell, (num_arms, 1))
        cell = jnp.sum((upto < uniform * upto[:, -1:]).astype(jnp.int32), axis=1)
        within = jax.random.uniform(key_within, (num_arms,))
        return make((cell.astype(jnp.float32) + within) / (num_points - 1))

    def mean_rewards(belief: ArmsBelief) -> Float[Array, " A"]:
        return cells(belief) @ (0.5 * (grid[1:] + grid[:-1]))

    return Belief(init, update, probabilities, draw, mean_rewards)


def _log(x: Array) -> Array:
    return jnp.log(jnp.maximum(x, 1e-30))


class LinearBelief(NamedTuple):
    """The Gaussian posterior of theta."""

    precision: Float[Array, "2 2"]
    """Its inverse covariance."""
    shift: Float[Array, "2"]
    """Precision times mean."""


def linear_belief(
    features: Float[Array, "A 2"], noise: float, make: Callable[[Array], Any], *, num_angles: int
) -> Belief:
    """Returns exact inference about theta ~ N(0, I / 2) in the plane, for known features.

    Which arm is best depends on the angle of theta alone. With u the unit vector at an angle, `q = u' Λ u` and
    `z = u' Λ m / sqrt(q)`, the density of the angle is proportional to `(1 + z sqrt(2π) exp(z² / 2) Φ(z)) / q`.
    `make(means)` returns the EnvParams of a task.
    """
    dim = features.shape[1]
    angle = jnp.linspace(0.0, 2.0 * jnp.pi, num_angles, endpoint=False, dtype=jnp.float32)
    unit = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    best = jax.nn.one_hot(jnp.argmax(unit @ features.T, axis=1), features.shape[0], dtype=jnp.float32)

    def init() -> LinearBelief:
        return LinearBelief(dim * jnp.eye(dim, dtype=jnp.float32), jnp.zeros((dim,), jnp.float32))

    def update(belief: LinearBelief, observation, action, reward, next_observation) -> LinearBelief:
        x = features[action]
        return LinearBelief(
            belief.precision + jnp.outer(x, x) / noise**2,
            belief.shift + x * reward / noise**2,
        )

    def probabilities(belief: LinearBelief, query) -> Float[Array, " A"]:
        q = jnp.sum((unit @ belief.precision) * unit, axis=1)
        z = (unit @ belief.shift) / jnp.sqrt(q)
        # exp(z² / 2) Φ(z) overflows: the largest exponent is taken out of the whole density.
        top = jnp.maximum(jnp.max(z), 0.0)
        tail = jnp.exp(0.5 * (z**2 - top**2)) * norm.cdf(z) * jnp.sqrt(2.0 * jnp.pi)
        density = (jnp.exp(-0.5 * top**2) + z * tail) / q
        # Far in the negative tail 1 + z sqrt(2π) exp(z² / 2) Φ(z) tends to 1 / z² and is lost to rounding.
        density = jnp.maximum(density, 0.0)
        weight = density @ best
        return weight / jnp.sum(weight)

    def draw(key: Array, belief: LinearBelief) -> Any:
        mean, covariance = _moments(belief)
        # A 2 x 2 Cholesky factor by hand: LAPACK inside vmapped programs can wait for ever on few cores.
        first = jnp.sqrt(covariance[0, 0])
        second = covariance[0, 1] / first
        third = jnp.sqrt(jnp.maximum(covariance[1, 1] - second**2, 0.0))
        normal = jax.random.normal(key, (2,))
        theta = mean + jnp.stack([first * normal[0], second * normal[0] + third * normal[1]])
        return make(features @ theta)

    return Belief(init, update, probabilities, draw, lambda belief: features @ _moments(belief)[0])


def _moments(belief: LinearBelief) -> tuple[Float[Array, "2"], Float[Array, "2 2"]]:
    """Returns mean and covariance of theta."""
    (a, b), (_, d) = belief.precision
    covariance = jnp.stack([jnp.stack([d, -b]), jnp.stack([-b, a])]) / (a * d - b * b)
    return covariance @ belief.shift, covariance
