"""Covariances against dense algebra in float64 and against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.kernels import (
    MATERN32,
    MATERN52,
    RBF,
    kernel_matrix,
    masked_cholesky,
    masked_posterior,
    matern52,
    squared_distances,
)
from envs.blackbox.task import CATEGORICAL, NUMERIC, ORDINAL, UNUSED

KIND = jnp.array([NUMERIC, ORDINAL, CATEGORICAL, UNUSED, NUMERIC], jnp.int32)
LENGTHSCALE = jnp.array([0.2, 0.7, 1.3, 0.01, 2.0], jnp.float32)
SHAPES = (MATERN52, RBF, MATERN32)


def mixed_points(seed, count):
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(count, 5)).astype(np.float32)
    x[:, 1] = rng.integers(4, size=count) / 3
    x[:, 2] = rng.integers(3, size=count)
    return jnp.asarray(x)


def dense(a, b, shape):
    """The definition, entry by entry in float64."""
    a, b, scale = np.asarray(a, np.float64), np.asarray(b, np.float64), np.asarray(LENGTHSCALE, np.float64)
    result = np.empty((len(a), len(b)))
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            numbers = sum(((p[d] - q[d]) / scale[d]) ** 2 for d in (0, 1, 4))
            r = np.sqrt(numbers + (p[2] != q[2]) / scale[2] ** 2)
            result[i, j] = {
                MATERN52: (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r),
                RBF: np.exp(-(r**2) / 2),
                MATERN32: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r),
            }[shape]
    return result


@pytest.mark.parametrize("shape", SHAPES)
def test_mixed_covariances_equal_the_definition(shape):
    a, b = mixed_points(0, 12), mixed_points(1, 7)
    static = kernel_matrix(a, b, KIND, LENGTHSCALE, shape)
    traced = jax.jit(kernel_matrix)(a, b, KIND, LENGTHSCALE, jnp.int32(shape))
    np.testing.assert_allclose(static, dense(a, b, shape), atol=2e-6)  # float32 against float64
    np.testing.assert_allclose(traced, static, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_numeric_covariances_equal_those_of_scikit_learn(key, shape):
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    x = jax.random.uniform(key, (15, 3))
    scale = jnp.array([0.1, 0.5, 3.0], jnp.float32)
    nu = {MATERN52: 2.5, RBF: np.inf, MATERN32: 1.5}[shape]
    reference = kernels.Matern(length_scale=np.asarray(scale), nu=nu)(np.asarray(x), np.asarray(x))
    np.testing.assert_allclose(kernel_matrix(x, x, jnp.full(3, NUMERIC, jnp.int32), scale, shape), reference, atol=2e-6)


def test_padding_with_unused_dimensions_changes_nothing():
    x = mixed_points(3, 9)
    padded = jnp.pad(x, ((0, 0), (0, 4)), constant_values=5.0)
    kind, scale = jnp.pad(KIND, (0, 4)), jnp.pad(LENGTHSCALE, (0, 4), constant_values=1.0)
    np.testing.assert_array_equal(kernel_matrix(padded, padded, kind, scale), kernel_matrix(x, x, KIND, LENGTHSCALE))


def test_relabelling_categories_changes_nothing():
    x = mixed_points(4, 9)
    other = x.at[:, 2].set(jnp.array([2.0, 0.0, 1.0])[x[:, 2].astype(int)])
    np.testing.assert_array_equal(
        squared_distances(other, other, KIND, LENGTHSCALE), squared_distances(x, x, KIND, LENGTHSCALE)
    )


def test_gradients_are_finite_where_points_coincide():
    x = mixed_points(5, 6)

    def total(scale, shape):
        return jnp.sum(kernel_matrix(x, x, KIND, scale, shape))

    for shape in SHAPES:
        slope = jax.grad(total)(LENGTHSCALE, shape)
        assert jnp.all(jnp.isfinite(slope)) and slope[0] > 0 and slope[3] == 0
    assert jax.grad(lambda squared: matern52(squared))(jnp.float32(0.0)) == 0.0


def test_masked_posterior_equals_dense_algebra_on_what_was_seen(key):
    x, query = mixed_points(6, 10), mixed_points(7, 4)
    y = jax.random.normal(key, (10,))
    is_seen = jnp.array([1, 0, 1, 1, 0, 1, 1, 0, 0, 1], bool)
    noise = 0.01
    factor = masked_cholesky(kernel_matrix(x, x, KIND, LENGTHSCALE), is_seen, jnp.float32(noise))
    garbage = jnp.where(is_seen, y, jnp.nan)
    mean, variance = masked_posterior(factor, kernel_matrix(x, query, KIND, LENGTHSCALE), garbage, is_seen)
    seen = x[is_seen]
    gram = dense(seen, seen, MATERN52) + noise * np.eye(len(seen))
    cross = dense(seen, query, MATERN52)
    np.testing.assert_allclose(mean, cross.T @ np.linalg.solve(gram, y[is_seen]), atol=1e-4)  # condition ~ 1e2
    np.testing.assert_allclose(variance, 1 - np.sum(cross * np.linalg.solve(gram, cross), 0), atol=1e-4)


def test_posterior_without_observations_is_the_prior():
    x = mixed_points(9, 5)
    nothing = jnp.zeros(5, bool)
    gram = kernel_matrix(x, x, KIND, LENGTHSCALE)
    mean, variance = masked_posterior(masked_cholesky(gram, nothing, jnp.float32(1e-4)), gram, x[:, 0], nothing)
    np.testing.assert_array_equal(mean, 0.0)
    np.testing.assert_array_equal(variance, 1.0)
