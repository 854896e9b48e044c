"""Functions in closed form: known optima, the sign, shifts and scales, and the designs of candidates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from envs.blackbox.analytic import FUNCTIONS, analytic_family, objective
from envs.blackbox.designs import DESIGNS, make_design
from envs.blackbox.task import NUMERIC, UNUSED

LISTED = {  # as tabulated, to the digits given
    "branin": 0.397887,
    "goldstein-price": 3.0,
    "hartmann-3": -3.86278,
    "hartmann-6": -3.32237,
    "ackley-2": 0.0,
    "ackley-10": 0.0,
}


@pytest.mark.parametrize("name", LISTED)
def test_minima_are_the_ones_listed(name):
    function = FUNCTIONS[name]
    assert function.minimum == pytest.approx(LISTED[name], abs=1e-5)
    for point in function.minimisers:
        value = float(function.value(jnp.array(point, jnp.float32)))
        assert value == pytest.approx(LISTED[name], abs=2e-4)  # float32, and points given to six digits


@pytest.mark.parametrize("name", ["branin", "goldstein-price", "hartmann-3", "hartmann-6"])
def test_minimisers_are_stationary_and_nothing_in_the_box_is_lower(name, key):
    function = FUNCTIONS[name]
    slope = jax.jit(jax.grad(function.value))
    for point in function.minimisers:
        assert float(jnp.linalg.norm(slope(jnp.array(point, jnp.float32)))) < 0.02
    low, high = jnp.array(function.low), jnp.array(function.high)
    x = low[None] + jax.random.uniform(key, (20_000, function.num_dims)) * (high - low)[None]
    assert float(jnp.min(jax.jit(jax.vmap(function.value))(x))) >= function.minimum - 1e-4


def test_branin_and_goldstein_price_equal_their_definitions_elsewhere():
    rng = np.random.default_rng(0)
    for a, b in rng.uniform(-2, 2, (20, 2)):
        quadratic = b - 5.1 * a * a / (4 * np.pi**2) + 5 * a / np.pi - 6
        value = quadratic**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10
        x = jnp.array([a, b], jnp.float32)
        assert float(FUNCTIONS["branin"].value(x)) == pytest.approx(value, rel=1e-5)
        one = 1 + (a + b + 1) ** 2 * (19 - 14 * a + 3 * a * a - 14 * b + 6 * a * b + 3 * b * b)
        two = 30 + (2 * a - 3 * b) ** 2 * (18 - 32 * a + 12 * a * a + 48 * b - 36 * a * b + 27 * b * b)
        assert float(FUNCTIONS["goldstein-price"].value(x)) == pytest.approx(one * two, rel=1e-3)  # terms cancel


def test_hartmann_minima_are_where_a_search_ends():
    for name in ("hartmann-3", "hartmann-6"):
        function = FUNCTIONS[name]
        value = jax.jit(function.value)
        found = optimize.minimize(
            lambda z, value=value: float(value(jnp.asarray(z, jnp.float32))),
            np.array(function.minimisers[0]) + 0.02,
            method="Nelder-Mead",
        )
        assert found.fun == pytest.approx(function.minimum, abs=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_objectives_are_maximised_where_the_function_is_smallest(name):
    function = FUNCTIONS[name]
    low, high = np.array(function.low), np.array(function.high)
    shift, scale = jnp.full((function.num_dims,), 0.05), jnp.float32(1.1)
    unit = jnp.asarray((np.array(function.minimisers) - low) / (high - low) + 0.05, jnp.float32)
    top = objective(function, unit, shift, scale)
    np.testing.assert_allclose(top, -1.1 * function.minimum, atol=1e-3)
    elsewhere = jax.random.uniform(jax.random.key(1), (500, function.num_dims))
    assert jnp.max(objective(function, elsewhere, shift, scale)) < top[0] + 1e-3


def test_decoding_moves_and_scales_the_function():
    family = analytic_family("branin", num_candidates=30)
    decode = jax.jit(family.decode)
    plain = decode(jnp.array([0.5, 0.5, 0.5, 0.3], jnp.float32)).params
    high = decode(jnp.array([0.5, 0.5, 1.0, 0.3], jnp.float32)).params
    moved = decode(jnp.array([1.0, 0.5, 0.5, 0.3], jnp.float32)).params
    np.testing.assert_array_equal(plain.x, high.x)
    np.testing.assert_allclose(high.y, 1.1 * plain.y, rtol=1e-5)
    none = jnp.zeros(2)
    back = objective(FUNCTIONS["branin"], moved.x[:, :2] - jnp.array([[0.1, 0.0]]), none, jnp.float32(1.0))
    np.testing.assert_allclose(moved.y, back, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(
        decode(jnp.array([7.0, -1.0, 2.0, 0.3], jnp.float32)).params.y,
        decode(jnp.array([1.0, 0.0, 1.0, 0.3], jnp.float32)).params.y,
    )
    assert jnp.any(decode(jnp.array([0.5, 0.5, 0.5, 0.4], jnp.float32)).params.x != plain.x)


@pytest.mark.parametrize("name", ["branin", "hartmann-6", "ackley-3"])
def test_sampled_tasks_are_finite_and_compile_once(name, key):
    family = analytic_family(name, num_candidates=40)
    sample = jax.jit(jax.vmap(family.sample))
    params = sample(jax.random.split(key, 100)).params
    sample(jax.random.split(jax.random.key(9), 100))
    d = FUNCTIONS[name].num_dims
    assert sample._cache_size() == 1 and jnp.all(jnp.isfinite(params.y))
    assert jnp.all(params.kind[:, :d] == NUMERIC) and jnp.all(params.kind[:, d:] == UNUSED)
    assert len(np.unique(params.y_best)) > 90
    eager = family.sample(jax.random.split(key, 100)[0]).params
    np.testing.assert_allclose(params.y[0], eager.y, rtol=1e-4, atol=1e-4)


def test_grids_and_sobol_points_cover_the_box(key):
    grid = make_design("grid", 9, 2)(key)
    assert sorted(map(tuple, np.asarray(grid).tolist())) == [(a, b) for a in (0, 0.5, 1) for b in (0, 0.5, 1)]
    sobol = make_design("sobol", 256, 2)(key)
    counts = np.histogram2d(*np.asarray(sobol).T, bins=4, range=[[0, 1], [0, 1]])[0]
    assert counts.min() >= 12 and counts.max() <= 20  # 16 each, but for the turn; uniform points stray by 4 or more
    assert jnp.any(make_design("sobol", 256, 2)(jax.random.key(1)) != sobol)
    for name in DESIGNS:
        points = make_design(name, 64, 3)(key)
        assert points.shape == (64, 3) and points.dtype == jnp.float32
        assert jnp.min(points) >= 0 and jnp.max(points) <= 1


def test_a_dense_grid_holds_almost_the_optimum():
    family = analytic_family("branin", num_candidates=51**2, design="grid", shift=0.0, scale=(1.0, 1.0))
    params = jax.jit(family.sample)(jax.random.key(0)).params
    assert -0.5 < float(params.y_best) <= -0.397887


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="use one of branin"):
        analytic_family("sphere")
    with pytest.raises(ValueError, match="shift=2"):
        analytic_family("branin", shift=2.0)
    with pytest.raises(ValueError, match="to the power 2"):
        analytic_family("branin", design="grid", num_candidates=10)
    with pytest.raises(ValueError, match="use one of uniform, sobol, grid"):
        analytic_family("branin", design="latin")
