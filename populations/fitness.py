"""Fitness shaping: what a strategy sees of the P fitness values, and the one policy for values that are not finite.

The policy: a NaN or an infinity of either sign counts as the worst fitness of its generation. Several of them tie,
and a generation with nothing finite is one big tie.
Every function here maximises: larger fitness gives larger shaped values, and shaped values are always finite.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def count_nonfinite(fitness: Float[Array, " P"]) -> Int[Array, ""]:
    """Returns how many of the fitness values are NaN or infinite."""
    return jnp.sum(~jnp.isfinite(fitness), dtype=jnp.int32)


def replace_nonfinite(fitness: Float[Array, " P"]) -> Float[Array, " P"]:
    """Returns the fitness with every non-finite value set a hair (one part in 10^6) below the smallest finite one.

    That is strictly worst for anything that ranks, as far as floats reach, and harmless for anything that averages.
    Where nothing is finite the result is all zeros.
    """
    finite = jnp.isfinite(fitness)
    smallest = jnp.min(fitness, where=finite, initial=jnp.inf)
    hair = jnp.maximum(1e-6 * jnp.abs(smallest), 1e-30)
    worst = jnp.maximum(smallest - hair, jnp.finfo(fitness.dtype).min)
    return jnp.where(finite, fitness, jnp.where(jnp.any(finite), worst, 0.0))


def centred_ranks(fitness: Float[Array, " P"]) -> Float[Array, " P"]:
    """Returns ranks scaled to [-1/2, 1/2], the worst at -1/2; ties share their average rank, so the sum is 0.

    Non-finite values rank last, below every finite one. A single value ranks 0.

    Source: Salimans et al. 2017 (rank-based fitness shaping).
    """
    size = fitness.shape[0]
    fitness = replace_nonfinite(fitness)
    ordered = jnp.sort(fitness)
    num_below = jnp.searchsorted(ordered, fitness, side="left")
    num_not_above = jnp.searchsorted(ordered, fitness, side="right")
    twice_rank = (num_below + num_not_above - 1).astype(jnp.float32)
    return (twice_rank - (size - 1)) / (2 * max(size - 1, 1))


def z_scores(fitness: Float[Array, " P"]) -> Float[Array, " P"]:
    """Returns the fitness with mean 0 and standard deviation 1, or zeros where all values are equal.

    Non-finite values are first replaced by (a hair less than) the smallest finite one.
    """
    fitness = replace_nonfinite(fitness)
    # The minimum goes first so that equal values become exactly 0. An eighth of any range has a normal reciprocal, and
    # dividing by the range keeps the squares of the deviation from overflowing.
    fitness = 0.125 * fitness - 0.125 * jnp.min(fitness)
    span = jnp.max(fitness)
    fitness = jnp.where(span > 0.0, fitness / jnp.where(span > 0.0, span, 1.0), 0.0)
    deviation = jnp.std(fitness)
    return (fitness - jnp.mean(fitness)) / jnp.where(deviation > 0.0, deviation, 1.0)


def pair_signs(fitness: Float[Array, " P"]) -> Float[Array, " P"]:
    """Returns sign(F+ - F-) for the first half, and its negative for their partners in the second half; a tie gives 0.

    A non-finite value loses its pair against a finite one; two of them tie.

    Raises:
        ValueError: if the number of fitness values is odd.

    Source: Jackson et al. 2024, Eq. 12 (rank transform within antithetic pairs), with ties counted as 0.
    """
    if fitness.shape[0] % 2:
        raise ValueError(f"fitness has {fitness.shape[0]} values but pairs need an even number; drop or add one")
    plus, minus = jnp.split(replace_nonfinite(fitness), 2)
    signs = (plus > minus).astype(jnp.float32) - (plus < minus).astype(jnp.float32)
    return jnp.concatenate([signs, -signs])
