import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize

from metarl.metabo.bars import NOTHING, bounded_bars, make_bars

BARS = make_bars(12, limit=2.0)
LOGITS = jax.random.normal(jax.random.key(0), (3, 12))


def density(z, row):
    return float(jnp.exp(BARS.log_prob(LOGITS[row], jnp.float32(z))))


def integral(function, low, high):
    """Returns the integral over [low, high], bar by bar, because densities jump between bars."""
    ends = sorted({low, high, *(float(e) for e in BARS.edges if low < e < high)})
    return sum(
        integrate.fixed_quad(np.vectorize(function), a, b, n=24)[0]
        for first, second in zip(ends, ends[1:], strict=False)
        for a, b in zip(np.linspace(first, second, 4)[:-1], np.linspace(first, second, 4)[1:], strict=True)
    )


@pytest.mark.parametrize("row", range(3))
def test_the_density_integrates_to_one_with_its_tails(row):
    assert integral(lambda z: density(z, row), -5.0, 5.0) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("row", range(3))
def test_mean_and_deviation_are_those_of_the_density(row):
    mean = integral(lambda z: z * density(z, row), -5.0, 5.0)
    second = integral(lambda z: z * z * density(z, row), -5.0, 5.0)
    assert float(BARS.mean(LOGITS[row])) == pytest.approx(mean, abs=1e-4)
    assert float(BARS.std(LOGITS[row])) == pytest.approx((second - mean**2) ** 0.5, abs=2e-4)


@pytest.mark.parametrize("incumbent", [-2.6, -1.9, -0.35, 0.0, 1.2, 1.8, 2.3])
def test_expected_improvement_is_that_of_the_density(incumbent):
    for row in range(3):
        expected = integral(lambda z, row=row: max(z - incumbent, 0.0) * density(z, row), incumbent, 6.0)
        assert float(BARS.ei(LOGITS[row], jnp.float32(incumbent))) == pytest.approx(expected, rel=2e-3, abs=2e-6)


def test_log_expected_improvement_stays_finite_and_falls_forty_deviations_out():
    distances = jnp.linspace(0.0, 40.0, 200)
    values = jax.vmap(lambda d: BARS.log_ei(LOGITS[0], d))(distances)
    assert jnp.all(jnp.isfinite(values)) and jnp.all(jnp.diff(values) < 0)
    assert jnp.all(jnp.isfinite(jax.vmap(jax.grad(lambda d: BARS.log_ei(LOGITS[0], d)))(distances)))


def test_log_expected_improvement_is_exact_in_the_far_tail():
    """Against quadrature in double precision of the half-normal's own tail."""
    scale, start = BARS.tails[1], float(BARS.edges[-2])
    mass = float(jax.nn.log_softmax(LOGITS[0])[-1])
    for ratio in (3.0, 6.0, 8.9, 9.1, 20.0):
        # E[max(u - d, 0)] = sqrt(2/pi) / s exp(-d²/2s²) ∫ v exp(-v²/2s² - dv/s²) dv
        d = ratio * scale
        rest = integrate.quad(lambda v, d=d: v * np.exp(-(v**2 / 2 + d * v) / scale**2), 0, 40 * scale, epsabs=0)[0]
        expected = mass + np.log(np.sqrt(2 / np.pi) / scale * rest) - ratio**2 / 2
        assert float(BARS.log_ei(LOGITS[0], jnp.float32(start + d))) == pytest.approx(expected, rel=1e-4, abs=2e-3)


def test_the_distribution_function_rises_from_zero_to_one_and_is_the_integral_of_the_density():
    z = jnp.linspace(-6.0, 6.0, 300)
    values = jax.vmap(lambda at: BARS.cdf(LOGITS[1], at))(z)
    assert jnp.all(jnp.diff(values) >= -1e-7) and values[0] < 1e-6 and values[-1] > 1 - 1e-6
    for at in (-2.1, -1.0, 0.4, 1.9):
        assert float(BARS.cdf(LOGITS[1], jnp.float32(at))) == pytest.approx(
            integral(lambda z: density(z, 1), -6.0, at), abs=1e-4
        )


def test_quantiles_invert_the_distribution_function():
    probability = jnp.linspace(0.02, 0.98, 25)
    z = jax.vmap(lambda p: BARS.quantile(LOGITS[2], p))(probability)
    np.testing.assert_allclose(jax.vmap(lambda at: BARS.cdf(LOGITS[2], at))(z), probability, atol=1e-5)
    inverse = optimize.brentq(lambda at: float(BARS.cdf(LOGITS[2], jnp.float32(at))) - 0.3, -5, 5)
    assert float(BARS.quantile(LOGITS[2], jnp.float32(0.3))) == pytest.approx(inverse, abs=1e-4)


def test_samples_have_the_mean_of_the_distribution():
    draws = BARS.sample(jax.random.key(1), jnp.broadcast_to(LOGITS[0], (20000, 12)))
    error = float(BARS.std(LOGITS[0])) / 20000**0.5
    assert float(jnp.mean(draws)) == pytest.approx(float(BARS.mean(LOGITS[0])), abs=4 * error)


def test_too_few_bars_are_refused():
    with pytest.raises(ValueError, match="num_bars=3"):
        make_bars(3)


BOUNDED = bounded_bars(12, -0.1, 1.1)
MASS = np.asarray(jax.nn.softmax(LOGITS[0]), np.float64)
STARTS = -0.1 + 0.1 * np.arange(12)


def test_bounded_bars_are_piecewise_constant_and_beyond_them_there_is_nothing():
    for z, place in ((-0.1, 0), (-0.05, 0), (0.33, 4), (1.09, 11), (1.1, 11)):
        assert float(BOUNDED.log_prob(LOGITS[0], jnp.float32(z))) == pytest.approx(np.log(MASS[place] / 0.1), rel=1e-4)
    assert BOUNDED.log_prob(LOGITS[0], jnp.float32(-0.11)) == BOUNDED.log_prob(LOGITS[0], jnp.float32(1.2)) == NOTHING


def test_moments_and_improvements_of_bounded_bars_are_sums_over_uniforms():
    middles = STARTS + 0.05
    mean = MASS @ middles
    assert float(BOUNDED.mean(LOGITS[0])) == pytest.approx(mean, abs=1e-6)
    deviation = np.sqrt(MASS @ (middles**2 + 0.01 / 12) - mean**2)
    assert float(BOUNDED.std(LOGITS[0])) == pytest.approx(deviation, abs=1e-5)
    for incumbent in (-0.5, 0.0, 0.42, 1.05):
        low = np.maximum(STARTS, incumbent)
        gain = MASS @ (np.maximum(STARTS + 0.1 - low, 0.0) / 0.1 * ((STARTS + 0.1 + low) / 2 - incumbent))
        assert float(BOUNDED.ei(LOGITS[0], jnp.float32(incumbent))) == pytest.approx(gain, rel=1e-4)
    assert float(BOUNDED.log_ei(LOGITS[0], jnp.float32(1.1))) < -1e8


def test_quantiles_of_bounded_bars_invert_their_distribution_function_and_stay_inside():
    for z in (-0.2, -0.1, 0.234, 1.0, 1.1, 3.0):
        expected = MASS @ np.clip((z - STARTS) / 0.1, 0.0, 1.0)
        assert float(BOUNDED.cdf(LOGITS[0], jnp.float32(z))) == pytest.approx(expected, abs=1e-5)
    probability = jnp.linspace(0.01, 0.99, 25)
    z = jax.vmap(lambda p: BOUNDED.quantile(LOGITS[0], p))(probability)
    np.testing.assert_allclose(jax.vmap(lambda at: BOUNDED.cdf(LOGITS[0], at))(z), probability, atol=1e-4)
    draws = BOUNDED.sample(jax.random.key(1), jnp.broadcast_to(LOGITS[0], (4000, 12)))
    assert draws.min() >= -0.1 and draws.max() <= 1.1
    assert float(draws.mean()) == pytest.approx(MASS @ (STARTS + 0.05), abs=4 * float(draws.std()) / 4000**0.5)


@pytest.mark.parametrize("wrong", [{"num_bars": 1}, {"low": 1.0, "high": 1.0}])
def test_bounded_bars_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="give 2 or more, low < high"):
        bounded_bars(**wrong)
