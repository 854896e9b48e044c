"""Factors and solves against numpy's in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.blackbox.triangular import cholesky, solve_lower


def positive_definite(seed, size):
    root = np.random.default_rng(seed).normal(size=(size, size))
    return jnp.asarray(root @ root.T / size + 0.1 * np.eye(size), jnp.float32)


def test_factors_and_solutions_equal_those_of_numpy(key):
    matrix, right = positive_definite(0, 20), jax.random.normal(key, (20, 3))
    factor = jax.jit(cholesky)(matrix)
    expected = np.linalg.cholesky(np.asarray(matrix, np.float64))
    np.testing.assert_allclose(factor, expected, atol=1e-5)  # float32, condition number about 40
    np.testing.assert_allclose(jax.jit(solve_lower)(factor, right), np.linalg.solve(expected, right), atol=1e-4)


def test_batches_equal_single_matrices():
    matrices = jnp.stack([positive_definite(seed, 7) for seed in range(3)])
    batch = jax.jit(jax.vmap(cholesky))(matrices)
    for matrix, factor in zip(matrices, batch, strict=True):
        np.testing.assert_allclose(factor, jax.jit(cholesky)(matrix), atol=1e-6)


def test_the_gradient_of_the_log_determinant_is_the_inverse():
    matrix = positive_definite(1, 6)
    slope = jax.jit(jax.grad(lambda m: 2.0 * jnp.sum(jnp.log(jnp.diag(cholesky(m))))))(matrix)
    both = np.asarray(slope + slope.T - jnp.diag(jnp.diag(slope)), np.float64)  # only one triangle is read
    inverse = np.linalg.inv(np.asarray(matrix, np.float64))
    np.testing.assert_allclose(both, 2.0 * inverse - np.diag(np.diag(inverse)), rtol=1e-3, atol=1e-3)


def test_indefinite_matrices_show():
    assert jnp.isnan(jax.jit(cholesky)(jnp.array([[1.0, 2.0], [2.0, 1.0]]))[1, 1])
