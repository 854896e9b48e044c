"""Orthogonal initialisation without LAPACK, safe where many agents are born at once."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def orthogonal(scale: float) -> Callable[..., Array]:
    """Returns an initialiser `f(key, shape, dtype) -> scale x (semi-)orthogonal kernel`, uniformly distributed.

    All axes but the last are taken together as rows. To rounding, numbers are those of jax's own `orthogonal`, which
    asks LAPACK for a QR factorisation. On CPU, jaxlib 0.10 waits for the members of a batch of factorisations
    inside the threads that should compute them: a vmapped birth of agents on few cores then waits for ever.

    Source: Saxe et al. 2014; the law is uniform because the factors of a normal matrix are.
    """

    def initialise(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        num_columns = shape[-1]
        num_rows = math.prod(shape) // num_columns
        tall = jax.random.normal(key, (max(num_rows, num_columns), min(num_rows, num_columns)), dtype)
        columns = gram_schmidt(tall)
        kernel = columns.T if num_rows < num_columns else columns
        return scale * kernel.reshape(shape)

    return initialise


def gram_schmidt(matrix: Float[Array, "M N"]) -> Float[Array, "M N"]:
    """Returns the orthonormal columns of the QR factorisation with a positive diagonal; M >= N, full rank.

    Every column is freed of the ones before it twice, which keeps float32 orthogonal to rounding.
    """

    def orthogonalise(index: Array, basis: Array) -> Array:
        column = jax.lax.dynamic_index_in_dim(matrix, index, axis=1, keepdims=False)
        for _ in range(2):
            column = column - basis @ (basis.T @ column)
        return jax.lax.dynamic_update_index_in_dim(basis, column / jnp.linalg.norm(column), index, axis=1)

    return jax.lax.fori_loop(0, matrix.shape[1], orthogonalise, jnp.zeros_like(matrix))
