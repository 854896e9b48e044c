"""Mixtures fitted inside jit, against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from metarl.teachers.mixture import (
    Sizes,
    _maximise,
    cholesky,
    criterion_of,
    expect,
    fit_mixture,
    invert_lower,
    kmeans_centres,
)


def blobs(num, dimension=3, clusters=4, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.random((clusters, dimension))
    rows = centres[generator.integers(clusters, size=num)] + 0.05 * generator.standard_normal((num, dimension))
    return rows.astype(np.float32)


def log_likelihood(mixture, rows):
    parts = [
        float(w) * multivariate_normal(np.asarray(m, float), np.asarray(c, float) @ np.asarray(c, float).T).pdf(rows)
        for used, w, m, c in zip(*mixture, strict=True)
        if used
    ]
    return float(np.mean(np.log(np.sum(parts, axis=0))))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_steps_from_the_same_start_are_those_of_scikit_learn(k):
    rows, num_steps = blobs(250), 7
    share = np.random.default_rng(k).dirichlet(np.ones(k), size=250).astype(np.float32)
    sizes, centre = Sizes(k, k), rows.mean(0)
    data = jnp.asarray(rows - centre)
    moments = _maximise(sizes, data, jnp.asarray(share.T))
    weights = share.sum(0) / 250
    reference = GaussianMixture(k, tol=0.0, max_iter=num_steps, init_params="random", random_state=0)
    means = (share.T @ rows) / share.sum(0)[:, None]
    covariances = [
        ((rows - m).T * s) @ (rows - m) / s.sum() + 1e-6 * np.eye(3) for m, s in zip(means, share.T, strict=True)
    ]
    reference.set_params(weights_init=weights, means_init=means, precisions_init=np.linalg.inv(covariances))
    with pytest.warns(UserWarning, match="converge"):
        reference.fit(rows.astype(float))
    for _ in range(num_steps):
        moments = _maximise(sizes, data, expect(sizes, data, moments)[0])
    ours = float(jnp.mean(expect(sizes, data, moments)[1]))
    assert ours == pytest.approx(reference.score(rows), rel=1e-4)
    np.testing.assert_allclose(np.asarray(moments.mean) + centre, reference.means_, atol=2e-4)


@pytest.mark.parametrize("seed", range(3))
def test_fits_are_as_good_as_those_of_scikit_learn(seed):
    rows = blobs(250, seed=seed)
    mixture, is_finite = jax.jit(fit_mixture)(jax.random.key(seed), jnp.asarray(rows), jnp.ones((250,), bool))
    best = max(
        (GaussianMixture(k, random_state=seed, n_init=3).fit(rows.astype(float)) for k in range(2, 11)),
        key=lambda fitted: -fitted.aic(rows),
    )
    assert bool(is_finite) and log_likelihood(mixture, rows) > best.score(rows) - 0.05 * abs(best.score(rows))
    assert float(jnp.sum(mixture.weight)) == pytest.approx(1.0, abs=1e-5)
    assert 3 <= int(jnp.sum(mixture.is_used)) <= 10


def test_clear_clusters_are_counted():
    rows = np.concatenate([0.01 * blobs(80, seed=i) + i for i in range(3)])
    mixture, _ = fit_mixture(jax.random.key(1), jnp.asarray(rows), jnp.ones((240,), bool), criterion="bic", k_max=6)
    reference = min(range(2, 7), key=lambda k: GaussianMixture(k, n_init=5, random_state=0).fit(rows).bic(rows))
    assert abs(int(jnp.sum(mixture.is_used)) - reference) <= 1


def test_masked_rows_change_nothing(key):
    rows = blobs(200)
    garbage = jnp.concatenate([rows, jnp.full((50, 3), 1e6, jnp.float32)])
    valid = jnp.arange(250) < 200
    zeros = jnp.concatenate([rows, jnp.zeros((50, 3), jnp.float32)])
    for a, b in zip(fit_mixture(key, garbage, valid)[0], fit_mixture(key, zeros, valid)[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(log_likelihood(fit_mixture(key, garbage, valid)[0], rows))


@pytest.mark.parametrize("what", ["all the same", "two points", "a constant coordinate", "three rows"])
def test_degenerate_rows_give_a_finite_mixture(what, key):
    rows = {
        "all the same": np.full((250, 3), 0.3),
        "two points": np.repeat([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0]], 125, axis=0),
        "a constant coordinate": np.concatenate([blobs(250)[:, :2], np.zeros((250, 1))], axis=1),
        "three rows": blobs(250),
    }[what].astype(np.float32)
    valid = jnp.arange(250) < (3 if what == "three rows" else 250)
    mixture, is_finite = fit_mixture(key, jnp.asarray(rows), valid)
    assert bool(is_finite) and all(np.all(np.isfinite(leaf)) for leaf in mixture)


def test_rows_that_are_not_finite_are_said_to_have_no_mixture(key):
    _, is_finite = fit_mixture(key, jnp.full((50, 2), jnp.nan, jnp.float32), jnp.ones((50,), bool))
    assert not bool(is_finite)


def test_criteria_count_the_parameters():
    k, likelihood = np.array([2, 3]), np.array([-5.0, -4.0], np.float32)
    p = k * (3 + 6) + k - 1  # means, symmetric covariances, weights that sum to 1
    rows = jnp.float32(100.0)
    np.testing.assert_allclose(criterion_of("aic", jnp.asarray(likelihood), k, 3, rows), -2 * likelihood + 2 * p)
    np.testing.assert_allclose(
        criterion_of("bic", jnp.asarray(likelihood), k, 3, rows), -2 * likelihood + np.log(100) * p, rtol=1e-6
    )
    few = 2 * p * (p + 1) / (100 - p - 1)
    np.testing.assert_allclose(
        criterion_of("aicc", jnp.asarray(likelihood), k, 3, rows), -2 * likelihood + 2 * p + few, rtol=1e-6
    )


def test_factors_are_those_of_lapack():
    matrices = np.random.default_rng(0).standard_normal((5, 6, 6)).astype(np.float32)
    matrices = matrices @ matrices.transpose(0, 2, 1) + np.eye(6, dtype=np.float32)
    lower = cholesky(jnp.asarray(matrices))
    np.testing.assert_allclose(lower, np.linalg.cholesky(matrices), atol=1e-5)
    np.testing.assert_allclose(invert_lower(lower), np.linalg.inv(lower), atol=1e-5)


def test_centres_are_drawn_by_squared_distance():
    data = jnp.array([[0.0], [1.0], [3.0]], jnp.float32)
    centres = jax.vmap(lambda key: kmeans_centres(key, data, jnp.ones((3,), jnp.float32), 2)[:, 0])(
        jax.random.split(jax.random.key(0), 20_000)
    )
    first = np.asarray(centres[:, 0])
    assert np.mean(first == 0) == pytest.approx(1 / 3, abs=0.013)  # 4 standard errors
    second = np.asarray(centres[:, 1])[first == 0]
    assert np.mean(second == 3.0) == pytest.approx(0.9, abs=0.015)


def test_an_empty_range_is_refused(key):
    with pytest.raises(ValueError, match="with 3 to 2 components"):
        fit_mixture(key, jnp.zeros((5, 2), jnp.float32), jnp.ones((5,), bool), k_min=3, k_max=2)
