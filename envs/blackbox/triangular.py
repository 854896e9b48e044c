"""Cholesky factors and triangular solves of small matrices, column by column in plain array operations.

Batches of LAPACK calls on CPU wait for threads of the pool that they run in, which can take for ever when one process
has several devices; loops of products and sums do not, run in full float32 everywhere, and can be differentiated.

Source: Golub and Van Loan 2013, "Matrix Computations", algorithms 4.2.1 (by columns) and 3.1.1 (forward substitution).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def cholesky(matrix: Float[Array, "N N"]) -> Float[Array, "N N"]:
    """Returns the lower factor of a positive-definite matrix; NaN from the first column on where it is not."""
    rows = jnp.arange(matrix.shape[0])

    def column(j: Array | int, factor: Float[Array, "N N"]) -> Float[Array, "N N"]:
        rest = matrix[:, j] - jnp.sum(factor * factor[j][None], axis=-1)
        return factor.at[:, j].set(jnp.where(rows >= j, rest / jnp.sqrt(rest[j]), 0.0))

    return jax.lax.fori_loop(0, matrix.shape[0], column, jnp.zeros_like(matrix))


def solve_lower(factor: Float[Array, "N N"], right: Float[Array, "N m"]) -> Float[Array, "N m"]:
    """Returns X of `factor X = right` for a lower triangle without zeros on its diagonal."""

    def row(i: Array | int, solution: Float[Array, "N m"]) -> Float[Array, "N m"]:
        known = jnp.sum(factor[i][:, None] * solution, axis=0)
        return solution.at[i].set((right[i] - known) / factor[i, i])

    return jax.lax.fori_loop(0, factor.shape[0], row, jnp.zeros_like(right))
