"""A Gaussian-process law: its draws have its covariance, and predictions are those of dense algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from envs.blackbox.gp_kernel import (
    Kernel,
    affine_gp_nll,
    covariance,
    draw_values,
    exact_gp_nll,
    posterior,
    to_latent,
    to_output,
)
from envs.blackbox.kernels import MATERN52
from envs.blackbox.task import CATEGORICAL, NUMERIC, UNUSED


def make_kernel(*, skew=0.0, tail=1.0, noise=0.05):
    return Kernel(
        kind=jnp.array([NUMERIC, CATEGORICAL, UNUSED], jnp.int32),
        lengthscale=jnp.array([0.4, 1.5, 0.1], jnp.float32),
        shape=jnp.int32(MATERN52),
        noise=jnp.float32(noise),
        warp=jnp.array([[1.8, 0.6], [0.5, 0.5], [1.0, 1.0]], jnp.float32),
        skew=jnp.float32(skew),
        tail=jnp.float32(tail),
    )


def make_points(seed, count):
    rng = np.random.default_rng(seed)
    columns = [rng.uniform(size=count), rng.integers(3, size=count), rng.uniform(size=count)]
    return jnp.asarray(np.stack(columns, axis=-1), jnp.float32)


def dense_covariance(a, b):
    """That of `make_kernel`, in float64 from its definition."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    warp = [1 - (1 - z[:, 0] ** 1.8) ** 0.6 for z in (a, b)]
    squared = ((warp[0][:, None] - warp[1][None]) / 0.4) ** 2 + (a[:, None, 1] != b[None, :, 1]) / 1.5**2
    r = np.sqrt(5 * squared)
    return (1 + r + r**2 / 3) * np.exp(-r)


def test_draws_have_the_covariance_of_the_kernel(key):
    x, kernel = make_points(0, 4), make_kernel()
    normals = jax.random.normal(key, (40_000, 4))
    y = np.asarray(jax.jit(jax.vmap(draw_values, in_axes=(None, None, 0)))(kernel, x, normals), np.float64)
    expected = dense_covariance(x, x) + 0.05 * np.eye(4)
    np.testing.assert_allclose(y.T @ y / len(y), expected, atol=5 * np.sqrt(2 / len(y)))  # 5 standard errors of 1's
    np.testing.assert_allclose(y.mean(0), 0.0, atol=5 / np.sqrt(len(y)))


def test_posterior_equals_dense_algebra_and_padding_changes_nothing(key):
    context, x, kernel = make_points(1, 6), make_points(2, 5), make_kernel()
    y = jax.random.normal(key, (6,))
    gram = dense_covariance(context, context) + 0.05 * np.eye(6)
    cross = dense_covariance(context, x)
    mean = cross.T @ np.linalg.solve(gram, np.asarray(y, np.float64))
    variance = 1.05 - np.sum(cross * np.linalg.solve(gram, cross), axis=0)
    padded = jnp.concatenate([make_points(3, 4), context]), jnp.concatenate([jnp.full(4, jnp.nan), y])
    for places, values, is_seen in ((context, y, jnp.ones(6, bool)), (*padded, jnp.arange(10) >= 4)):
        result = jax.jit(posterior)(kernel, places, values, is_seen, x)
        np.testing.assert_allclose(result[0], mean, atol=1e-4)  # float32, condition number about 1e2
        np.testing.assert_allclose(result[1], variance, atol=1e-4)


@pytest.mark.parametrize(("skew", "tail"), [(0.0, 1.0), (0.8, 1.6), (-1.0, 0.5)])
def test_predictive_densities_integrate_to_one(skew, tail):
    kernel = make_kernel(skew=skew, tail=tail)
    context = make_points(4, 3), jnp.array([0.3, -1.0, 0.8], jnp.float32), jnp.ones(3, bool)
    grid = np.sinh(np.linspace(-8.0, 8.0, 4001))  # dense in the middle, and far out
    x = jnp.broadcast_to(make_points(5, 1), (len(grid), 3))
    nll = jax.jit(exact_gp_nll)(kernel, context, (x, jnp.asarray(grid, jnp.float32)))
    assert integrate.trapezoid(np.exp(-np.asarray(nll, np.float64)), grid) == pytest.approx(1.0, abs=2e-3)


def test_nll_of_a_sequence_is_that_of_the_joint_normal(key):
    x, kernel = make_points(6, 5), make_kernel()
    y = jax.random.normal(key, (5,))
    nll = jax.jit(exact_gp_nll)
    total = sum(nll(kernel, (x, y, jnp.arange(5) < n), (x[n : n + 1], y[n : n + 1]))[0] for n in range(5))
    joint = stats.multivariate_normal(np.zeros(5), dense_covariance(x, x) + 0.05 * np.eye(5))
    assert float(total) == pytest.approx(-joint.logpdf(np.asarray(y)), abs=1e-3)


def test_output_ascends_and_comes_back():
    latent = jnp.linspace(-4.0, 4.0, 201)
    for skew, tail in ((0.0, 1.0), (1.0, 2.0), (-1.0, 0.5)):
        kernel = make_kernel(skew=skew, tail=tail)
        y = to_output(kernel, latent)
        assert jnp.all(jnp.diff(y) > 0)
        np.testing.assert_allclose(to_latent(kernel, y), latent, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(to_output(make_kernel(), latent), latent, atol=1e-5)


def test_covariance_does_not_see_dimensions_without_influence():
    x, kernel = make_points(7, 5), make_kernel()
    np.testing.assert_array_equal(covariance(kernel, x.at[:, 2].set(0.0), x), covariance(kernel, x, x))


def test_with_level_and_scale_unknown_the_density_is_the_integral_over_them(key):
    """Of `p(y, y* | level, scale)` over a flat level and log scale, by sums; and no change of units changes it."""
    x, kernel = make_points(8, 4), make_kernel()
    y, gram = np.array([0.4, -1.1, 0.2, 0.9]), dense_covariance(x, x) + 0.05 * np.eye(4)
    levels, logs = np.meshgrid(np.linspace(-60.0, 60.0, 4001), np.linspace(-4.0, 6.0, 401))

    def evidence(n):
        rest = y[:n] - levels[..., None]
        squared = np.einsum("...i,ij,...j->...", rest, np.linalg.inv(gram[:n, :n]), rest)
        return np.exp(-0.5 * squared * np.exp(-2.0 * logs) - n * logs).sum() / np.sqrt(
            (2.0 * np.pi) ** n * np.linalg.det(gram[:n, :n])
        )

    nll = jax.jit(affine_gp_nll)
    values = jnp.asarray(y, jnp.float32)
    found = nll(kernel, (x[:3], values[:3]), (x[3:], values[3:]))
    assert float(found[0]) == pytest.approx(-np.log(evidence(4) / evidence(3)), abs=2e-3)
    moved = 5.0 + 2.0 * values
    again = nll(kernel, (x[:3], moved[:3]), (x[3:], moved[3:]))
    assert float(again[0]) == pytest.approx(float(found[0]) + np.log(2.0), abs=1e-3)
