"""A Gaussian process that is trusted near the best value only, in a region that success widens and failure narrows.

Source: Eriksson et al. 2019 (TuRBO), with one region. Here candidates are those of a pool, the best expected
improvement is evaluated instead of a Thompson draw, and a region that has become too small begins again at its first
size around the best value, not elsewhere with a history of its own.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.blackbox.task import NUMERIC, ORDINAL, UNUSED
from metarl.metabo.gp import NUM_EVALUATIONS, Hyper, log_expected_improvement, prior_hyper, refit
from metarl.metabo.optimiser import Observation, Optimiser, best_unvisited, is_open

FIRST_SIDE, LEAST_SIDE, MOST_SIDE = 0.8, 0.5**7, 1.6
"""Sides of the region, in unit cubes."""
NUM_SUCCESSES, LEAST_FAILURES = 3, 4
"""Improvements in a row that double the side; failures that halve it are this many, or as many as dimensions."""
SUCCESS = 1e-3
"""Least improvement that counts as one, in standard deviations of the values seen."""


class Region(NamedTuple):
    """What is remembered between choices."""

    hyper: Hyper
    """The last fit."""
    side: Float[Array, ""]
    """Geometric mean of the region's sides."""
    successes: Int[Array, ""]
    """Improvements in a row."""
    failures: Int[Array, ""]
    """Evaluations in a row without any."""
    best: Float[Array, ""]
    """Best value when the last choice was made; minus infinity before the first."""


def resize(region: Region, best: Float[Array, ""], spread: Float[Array, ""], num_dimensions: Int[Array, ""]) -> Region:
    """Returns the region after one more evaluation.

    Args:
        region: as it was.
        best: best value now.
        spread: standard deviation of the values seen.
        num_dimensions: those that are in use.
    """
    began, improved = jnp.isfinite(region.best), best > region.best + SUCCESS * spread
    successes = jnp.where(began & improved, region.successes + 1, 0)
    failures = jnp.where(began & ~improved, region.failures + 1, 0)
    grows, shrinks = successes >= NUM_SUCCESSES, failures >= jnp.maximum(LEAST_FAILURES, num_dimensions)
    side = jnp.where(grows, jnp.minimum(2.0 * region.side, MOST_SIDE), jnp.where(shrinks, 0.5, 1.0) * region.side)
    side = jnp.where(side < LEAST_SIDE, FIRST_SIDE, side)
    return Region(region.hyper, side, jnp.where(grows, 0, successes), jnp.where(shrinks, 0, failures), best)


def how_far_outside(
    side: Float[Array, ""], hyper: Hyper, centre: Float[Array, " D"], x: Float[Array, "N D"], kind: Int[Array, " D"]
) -> Float[Array, " N"]:
    """Returns how far candidates lie outside the region, in halves of its sides; 0 within.

    Sides are in proportion to lengthscales; categories lie in every region.
    """
    has_extent = (kind == NUMERIC) | (kind == ORDINAL)
    log_mean = jnp.mean(hyper.log_lengthscale, where=has_extent)  # not a number without extents, and then unused
    half = 0.5 * side * jnp.exp(hyper.log_lengthscale - log_mean)
    excess = jnp.where(has_extent[None], jnp.abs(x - centre[None]) / half[None] - 1.0, 0.0)
    return jnp.maximum(jnp.max(excess, axis=1), 0.0)


def gp_turbo(*, num_evaluations: int = NUM_EVALUATIONS) -> Optimiser:
    """Returns Bayesian optimisation by expected improvement within a region of trust.

    With no candidate left in the region, the one nearest to it is evaluated.
    """

    def init(params: Any) -> Region:
        hyper, none = prior_hyper(params.x.shape[-1]), jnp.int32(0)
        return Region(hyper, jnp.float32(FIRST_SIDE), none, none, jnp.float32(-jnp.inf))

    def choose(key: Array, memory: Region, observation: Observation, params: Any) -> tuple[Region, Array]:
        hyper, outlook = refit(observation, params, memory.hyper, num_evaluations=num_evaluations)
        y, is_seen = observation["y"], observation["is_seen"]
        spread, num_dimensions = jnp.std(y, where=is_seen), jnp.sum(params.kind != UNUSED)
        region = resize(memory, observation["incumbent"], spread, num_dimensions)._replace(hyper=hyper)
        centre = params.x[observation["index"][jnp.argmax(jnp.where(is_seen, y, -jnp.inf))]]
        outside = how_far_outside(region.side, hyper, centre, params.x, params.kind)
        outside = jnp.where(jnp.any(is_seen), outside, 0.0)
        has_inner = jnp.any(is_open(observation, params) & (outside <= 0.0))
        inner = jnp.where(outside <= 0.0, log_expected_improvement(*outlook), -jnp.inf)
        return region, best_unvisited(jnp.where(has_inner, inner, -outside), observation, params)

    return Optimiser(init, choose)
