"""Orthogonal initialisation: the columns are orthonormal, and the numbers are those that everyone else uses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.networks.orthogonal import orthogonal

SHAPES = pytest.mark.parametrize("shape", [(5, 3), (3, 5), (64, 64), (3, 3, 4, 16), (400, 64)], ids=str)


@SHAPES
def test_the_smaller_side_is_orthonormal_times_the_scale(shape, key):
    kernel = orthogonal(2.0)(key, shape).reshape(-1, shape[-1])
    rows, columns = kernel.shape
    gram = kernel.T @ kernel if rows >= columns else kernel @ kernel.T
    np.testing.assert_allclose(gram, 4.0 * np.eye(min(rows, columns)), atol=1e-5)  # float32 sums over the longer side


@SHAPES
def test_the_numbers_are_those_of_a_qr_factorisation_with_a_positive_diagonal(shape, key):
    reference = jax.nn.initializers.orthogonal(1.5)(key, shape, jnp.float32)
    # The last column of a square matrix has little left of it, so that rounding is magnified.
    np.testing.assert_allclose(orthogonal(1.5)(key, shape), reference, atol=1e-4)


def test_no_lapack_call_is_left_in_a_vmapped_birth(key):
    program = jax.jit(jax.vmap(lambda key: orthogonal(1.0)(key, (8, 8)))).lower(jax.random.split(key, 4)).as_text()
    assert "custom_call" not in program
