import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import CATEGORICAL, NUMERIC, ORDINAL, UNUSED, pool_params
from metarl.metabo import gp
from metarl.metabo.quasi_newton import minimise, start_at

KIND = np.array([NUMERIC, ORDINAL, CATEGORICAL, UNUSED], np.int32)
LENGTH, POOL = 20, 60


def dense_kernel(a, b, kind, lengthscale):
    """Returns the Matern-5/2 correlations in double precision, pair by pair."""
    total = np.zeros((len(a), len(b)))
    for d, what in enumerate(kind):
        difference = a[:, None, d] - b[None, :, d]
        if what != UNUSED:
            total += (np.where(difference != 0, 1.0, 0.0) if what == CATEGORICAL else difference**2) / lengthscale[
                d
            ] ** 2
    r = np.sqrt(5.0 * total)
    return (1 + r + r**2 / 3) * np.exp(-r)


def dense_objective(theta, x, z, kind):
    scale, noise = np.exp(theta[-2]), np.exp(theta[-1])
    covariance = scale * dense_kernel(x, x, kind, np.exp(theta[:-2])) + (noise + gp.JITTER * scale) * np.eye(len(x))
    sign, log_det = np.linalg.slogdet(covariance)
    prior = np.sum((theta[:-2] - np.log(0.5)) ** 2) + theta[-2] ** 2 + ((theta[-1] - np.log(1e-3)) / 1.5) ** 2
    return 0.5 * (z @ np.linalg.solve(covariance, z) + log_det + prior) if sign > 0 else np.inf


def dense_posterior(theta, x, z, candidates, kind):
    scale, noise = np.exp(theta[-2]), np.exp(theta[-1]) + gp.JITTER * np.exp(theta[-2])
    covariance = scale * dense_kernel(x, x, kind, np.exp(theta[:-2])) + noise * np.eye(len(x))
    towards = scale * dense_kernel(x, candidates, kind, np.exp(theta[:-2]))
    variance = scale - np.sum(towards * np.linalg.solve(covariance, towards), axis=0)
    return towards.T @ np.linalg.solve(covariance, z), np.sqrt(np.maximum(variance, gp.JITTER * scale))


def dense_ei(mean, std, incumbent):
    u = (mean - incumbent) / std
    return std * (stats.norm.pdf(u) + u * stats.norm.cdf(u))


def problem(seed, num_seen):
    """Returns `(x [N, D], y [N], history [num_seen])` of a smooth function over a mixed space."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(size=(POOL, 4))
    x[:, 1], x[:, 2], x[:, 3] = np.round(3 * x[:, 1]) / 3, generator.integers(3, size=POOL), 0.0
    shift = generator.normal(size=3)
    y = np.sin(6 * x[:, 0] + shift[0]) + shift[1] * x[:, 1] + shift[2] * (x[:, 2] == 1) * np.cos(3 * x[:, 0])
    return x.astype(np.float32), y.astype(np.float32), generator.permutation(POOL)[:num_seen]


def padded(x, y, history):
    """Returns `(rows, z, is_seen)` of the fixed length, with nonsense in rows that are not filled."""
    missing = LENGTH - len(history)
    rows = np.pad(x[history], ((0, missing), (0, 0)), constant_values=0.7)
    is_seen = np.arange(LENGTH) < len(history)
    z = gp.standardise(jnp.asarray(np.pad(y[history], (0, missing), constant_values=9.0)), jnp.asarray(is_seen))
    return jnp.asarray(rows), z, jnp.asarray(is_seen)


BOUNDS = [(-12.0, 8.0)] * 6  # the first step of scipy would otherwise overflow
THETA = np.array([-0.9, 0.2, 0.5, 1.0, 0.3, -4.0])
POSTERIOR, OBJECTIVE = jax.jit(gp.posterior), jax.jit(gp.negative_log_posterior)
FIT = jax.jit(lambda data, last: gp.fit(data, last))


def test_values_are_standardised_by_the_filled_rows_alone():
    y, is_seen = jnp.array([1.0, 3.0, 100.0, 5.0]), jnp.array([True, True, False, True])
    np.testing.assert_allclose(gp.standardise(y, is_seen), [-(1.5**0.5), 0.0, 0.0, 1.5**0.5], atol=1e-6)
    assert jnp.all(gp.standardise(jnp.ones(3), jnp.ones(3, bool)) == 0.0)


@pytest.mark.parametrize("num_seen", [1, 5, 20])
def test_mean_and_deviation_are_those_of_a_dense_solution(num_seen):
    x, y, history = problem(0, num_seen)
    rows, z, is_seen = padded(x, y, history)
    hyper = gp.unpack(jnp.asarray(THETA, jnp.float32))
    mean, std = POSTERIOR(hyper, rows, z, is_seen, jnp.asarray(x), jnp.asarray(KIND))
    expected = dense_posterior(THETA, x[history], np.asarray(z)[:num_seen], x, KIND)
    np.testing.assert_allclose(mean, expected[0], atol=2e-4)
    np.testing.assert_allclose(std, expected[1], atol=2e-4)


def test_mean_and_deviation_are_those_of_scikit_learn():
    x, y, history = problem(1, 12)
    kind = np.array([NUMERIC, NUMERIC, UNUSED, UNUSED], np.int32)
    rows, z, is_seen = padded(x, y, history)
    scale, noise = np.exp(THETA[-2]), np.exp(THETA[-1]) + gp.JITTER * np.exp(THETA[-2])
    kernel = ConstantKernel(scale) * Matern(np.exp(THETA[:2]), nu=2.5) + WhiteKernel(noise)
    reference = GaussianProcessRegressor(kernel, alpha=1e-12, optimizer=None)
    reference.fit(x[history, :2].astype(np.float64), np.asarray(z)[:12].astype(np.float64))
    mean, std = reference.predict(x[:, :2].astype(np.float64), return_std=True)
    ours = POSTERIOR(gp.unpack(jnp.asarray(THETA, jnp.float32)), rows, z, is_seen, jnp.asarray(x), jnp.asarray(kind))
    np.testing.assert_allclose(ours[0], mean, atol=2e-4)
    np.testing.assert_allclose(ours[1], np.sqrt(std**2 - noise), atol=2e-4)  # its deviation holds the noise


@pytest.mark.parametrize(("mean", "std"), [(0.3, 0.7), (-1.0, 0.2), (2.0, 0.5), (-0.5, 3.0)])
def test_expected_improvement_is_the_integral_of_the_improvement(mean, std):
    expected = integrate.quad(lambda f: (f - 0.4) * stats.norm.pdf(f, mean, std), 0.4, 40.0, points=[2.0], limit=200)[0]
    value = gp.log_expected_improvement(jnp.float32([mean]), jnp.float32([std]), jnp.float32(0.4))
    assert float(jnp.exp(value[0])) == pytest.approx(expected, rel=1e-3)


def test_expected_improvement_is_finite_and_exact_far_below_the_incumbent_and_far_above():
    u = np.array([-40.0, -12.0, -6.1, -5.9, -4.0, 0.0, 5.9, 6.1, 50.0])
    value = gp.log_expected_improvement(jnp.asarray(u, jnp.float32), jnp.ones(9), jnp.float32(0.0))
    for at, ours in zip(u, value, strict=True):
        # With v = f - incumbent: φ(u) ∫ v exp(uv - v²/2) dv.
        rest = integrate.quad(lambda v, at=at: v * np.exp(at * min(v, 1e3) - v**2 / 2 - max(at, 0) ** 2 / 2), 0, 70)[0]
        expected = np.log(rest) - np.log(2 * np.pi) / 2 - min(at, 0) ** 2 / 2
        assert float(ours) == pytest.approx(expected, rel=1e-3, abs=2e-3)
    many = gp.log_expected_improvement(jnp.linspace(-60.0, 60.0, 500), jnp.ones(500), jnp.float32(0.0))
    assert jnp.all(jnp.diff(many) > 0.0)


@pytest.mark.parametrize("num_seen", [2, 20])
def test_the_objective_and_its_gradient_are_those_of_double_precision(num_seen):
    x, y, history = problem(2, num_seen)
    rows, z, is_seen = padded(x, y, history)
    data = gp.Data(gp.squared_differences(rows, rows, jnp.asarray(KIND)), z, is_seen)
    value, gradient = OBJECTIVE(jnp.asarray(THETA, jnp.float32), data)

    def dense(theta):
        return dense_objective(theta, x[history].astype(np.float64), np.asarray(z, np.float64)[:num_seen], KIND)

    assert float(value) == pytest.approx(dense(THETA), rel=1e-3)
    np.testing.assert_allclose(gradient, optimize.approx_fprime(THETA, dense, 1e-6), rtol=5e-3, atol=5e-3)


def test_the_gradient_is_finite_at_extremes_or_the_point_is_refused():
    x, y, history = problem(3, 20)
    rows, z, is_seen = padded(np.repeat(x[:1], POOL, axis=0), y, history)  # every row the same
    data = gp.Data(gp.squared_differences(rows, rows, jnp.asarray(KIND)), z, is_seen)
    for theta in (gp.pack(gp.prior_hyper(4)), jnp.full((6,), -9.0), jnp.full((6,), 4.0)):
        value, gradient = OBJECTIVE(theta, data)
        assert jnp.isfinite(value) and jnp.all(jnp.isfinite(gradient))
    broken = gp.Hyper(jnp.full((4,), jnp.nan), jnp.float32(0.0), jnp.float32(0.0))
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(FIT(data, broken)))


def test_the_fit_and_the_pick_are_those_of_a_dense_reference_with_scipy():
    """On 30 contexts of 5 to 20 rows; a pick counts as equal if the reference gives it 99 % of the best EI."""
    env, agreements = BlackBox(POOL, max_horizon=LENGTH, max_init=0), []
    choose = jax.jit(gp.gp_ei(num_evaluations=40).choose)
    for seed in range(30):
        num_seen = 5 + seed % 16
        x, y, history = problem(seed, num_seen)
        params = pool_params(jnp.asarray(x), jnp.asarray(KIND), jnp.asarray(y), max_dimensions=4)
        rows, z, is_seen = padded(x, y, history)
        observation = {
            "index": jnp.asarray(np.pad(history, (0, LENGTH - num_seen)), jnp.int32),
            "y": jnp.where(is_seen, jnp.asarray(np.pad(y[history], (0, LENGTH - num_seen))), 0.0),
            "is_seen": is_seen,
            "is_visited": jnp.zeros((env.num_candidates,), bool).at[history].set(True),
        }
        _, index = choose(jax.random.key(0), gp.prior_hyper(4), observation, params)
        dense_z = np.asarray(z, np.float64)[:num_seen]
        args = (x[history].astype(np.float64), dense_z, KIND)
        found = optimize.minimize(
            dense_objective, np.asarray(gp.pack(gp.prior_hyper(4))), args, method="L-BFGS-B", bounds=BOUNDS
        )
        ei = dense_ei(*dense_posterior(found.x, args[0], dense_z, x.astype(np.float64), KIND), np.max(dense_z))
        ei[history] = -np.inf
        agreements.append(ei[int(index)] >= 0.99 * np.max(ei))
    assert np.mean(agreements) >= 0.9


def test_a_fit_is_never_worse_than_its_start_and_nearly_as_good_as_that_of_many_evaluations():
    x, y, history = problem(5, 15)
    rows, z, is_seen = padded(x, y, history)
    data = gp.Data(gp.squared_differences(rows, rows, jnp.asarray(KIND)), z, is_seen)
    found, _ = OBJECTIVE(gp.pack(FIT(data, gp.prior_hyper(4))), data)
    start, _ = OBJECTIVE(gp.pack(gp.prior_hyper(4)), data)
    args = (x[history].astype(np.float64), np.asarray(z, np.float64)[:15], KIND)
    best = optimize.minimize(
        dense_objective, np.asarray(gp.pack(gp.prior_hyper(4))), args, method="L-BFGS-B", bounds=BOUNDS
    ).fun
    assert float(found) < float(start) and float(found) == pytest.approx(best, abs=0.05)


def test_an_affine_change_of_the_values_changes_no_pick():
    x, y, history = problem(6, 9)
    choose = jax.jit(gp.gp_ucb(1.5).choose)
    picks = set()
    for factor, shift in ((1.0, 0.0), (250.0, -3000.0), (1e-3, 0.5)):
        params = pool_params(jnp.asarray(x), jnp.asarray(KIND), jnp.asarray(factor * y + shift), max_dimensions=4)
        env = BlackBox(POOL, max_horizon=LENGTH - 9, max_init=9)
        observation, _ = env.reset_at(jnp.asarray(history, jnp.int32), params.replace(num_init=jnp.int32(9)))
        picks.add(int(choose(jax.random.key(0), gp.prior_hyper(4), observation, params)[1]))
    assert len(picks) == 1 and picks.isdisjoint(history.tolist())


def test_a_large_bonus_seeks_what_is_uncertain_and_none_seeks_the_highest_mean():
    mean, std = jnp.array([0.0, 1.0, 0.5]), jnp.array([2.0, 0.1, 0.5])
    picks = [int(jnp.argmax(gp.upper_confidence_bound(beta)(mean, std, jnp.float32(0.0)))) for beta in (0.0, 5.0)]
    assert picks == [1, 0]


def test_the_minimiser_finds_the_bottom_of_a_curved_valley_and_refuses_what_is_not_finite():
    def rosenbrock(x):
        value = (1.0 - x[0]) ** 2 + 20.0 * (x[1] - x[0] ** 2) ** 2
        return jnp.where(x[0] > 1.5, jnp.nan, value)

    function = jax.value_and_grad(rosenbrock)
    start = start_at(function, jnp.array([-1.0, 1.5]))
    found = jax.jit(lambda point: minimise(function, point, num_evaluations=120))(start)
    np.testing.assert_allclose(found.x, [1.0, 1.0], atol=1e-2)
    assert found.value <= start.value
