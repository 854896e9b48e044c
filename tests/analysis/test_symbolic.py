"""Formulas for drifts."""

import importlib.util
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from analysis.drift import RuleDrift, reference_drifts
from analysis.symbolic import Distillation, distil, evaluate_expression, fit_error

needs_pyoperon = pytest.mark.skipif(
    importlib.util.find_spec("pyoperon") is None, reason="pyoperon is not installed: pip install 'metarl[symbolic]'"
)
QUICK = {"population_size": 500, "generations": 40, "max_length": 20}


@pytest.fixture(scope="module")
def simple():
    """Returns a drift that a short formula gives exactly: (r - 1)^2 A^2, twice as large at the end of a life."""
    square = lambda r, a: jnp.square((r - 1.0) * a)  # noqa: E731
    return RuleDrift(lambda r, u, a, p: square(r, a) * (1.0 + p.step / p.lifetime), sees_time=True)


@needs_pyoperon
def test_a_simple_drift_is_found_again(simple):
    found = distil(simple, fraction=0.0, **QUICK)
    assert found.r2 > 0.999 and found.rmse < 0.03 and found.seconds > 0.0
    r, a = np.array([1.5, 0.5]), np.array([2.0, 3.0])
    value = evaluate_expression(found.expression, {"r": r, "log_r": np.log(r), "A": a})
    np.testing.assert_allclose(value, ((r - 1.0) * a) ** 2, atol=0.3)  # rmse x deviation of f, which is about 5


@needs_pyoperon
def test_a_formula_over_whole_lives_may_use_time_and_one_at_a_point_may_not(simple):
    over_life, at_end = distil(simple, **QUICK), distil(simple, fraction=1.0, **QUICK)
    assert "t" in set(over_life.expression.replace("tanh", "")) and over_life.r2 > 0.9
    r, a = np.array([2.0]), np.array([3.0])
    at = {"r": r, "log_r": np.log(r), "A": a}
    np.testing.assert_allclose(evaluate_expression(at_end.expression, at), 18.0, rtol=0.1)


@needs_pyoperon
def test_the_error_is_measured_between_the_points_that_were_fitted(simple):
    # Fitted are multiples of 0.1 in log r, where the wave is 0; half-way between them it is 6.
    wavy = RuleDrift(lambda r, u, a, p: simple.function(r, u, a, p) + 6.0 * jnp.square(jnp.sin(10.0 * jnp.pi * u)))
    assert distil(simple, fraction=0.0, **QUICK).r2 > 0.999 > 0.9 > distil(wavy, fraction=0.0, **QUICK).r2


@needs_pyoperon
def test_ppo_is_found_well_and_a_tiny_search_is_not_told_as_better_than_it_is():
    ppo = reference_drifts()["ppo"]
    good, tiny = distil(ppo, **QUICK | {"generations": 60}), distil(ppo, population_size=2, generations=1, max_length=2)
    assert good.r2 > 0.95 > tiny.r2 and good.rmse < tiny.rmse
    assert good.rmse**2 == pytest.approx(1.0 - good.r2)


@needs_pyoperon
def test_the_same_seed_gives_the_same_formula(simple):
    first, second = (distil(simple, fraction=0.5, **QUICK | {"generations": 3}) for _ in range(2))
    assert first.expression == second.expression


def test_the_error_is_that_of_the_formula_on_the_samples():
    samples = {"r": np.array([1.0, 2.0, 3.0]), "f": np.array([0.0, 1.0, 2.0])}
    assert fit_error("(r - 1)", samples) == (0.0, 1.0)
    rmse, r2 = fit_error("r", samples)
    assert (rmse, r2) == pytest.approx((1.0 / np.std(samples["f"]), 1.0 - 1.5))
    assert fit_error("1 / (r - 2)", samples) == (np.inf, -np.inf)


def test_formulas_use_known_names_only():
    x = np.array([-0.5, 0.5])
    np.testing.assert_allclose(evaluate_expression("max(abs(A), tanh(1e-3)) ** 2 + min(A, 0)", {"A": x}), [-0.25, 0.25])
    for hostile in ("__import__('os')", "A.__class__", "exp(A)", "[A for A in (A,)]", "A[0]"):
        with pytest.raises(ValueError, match="more in it than arithmetic"):
            evaluate_expression(hostile, {"A": x})


def test_a_formula_is_never_shown_without_its_error():
    shown = str(Distillation("(r - 1)", 0.0123, 0.9998, 4.0))
    assert "f = (r - 1)" in shown and "0.0123" in shown and "0.9998" in shown


@needs_pyoperon
def test_a_drift_that_says_nothing_has_no_formula():
    nothing = RuleDrift(lambda r, u, a, p: jnp.zeros_like(r))
    with pytest.raises(ValueError, match="nothing to distil"):
        distil(nothing)


def test_without_the_library_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoperon", None)
    monkeypatch.setitem(sys.modules, "pyoperon.sklearn", None)
    with pytest.raises(ValueError, match=r"pip install 'metarl\[symbolic\]'"):
        distil(reference_drifts()["ppo"])


@pytest.mark.parametrize("setting", [{"max_length": 1}, {"population_size": 1}, {"generations": 0}])
def test_searches_that_cannot_be_are_refused(setting):
    with pytest.raises(ValueError, match="at least 2, 2 and 1"):
        distil(reference_drifts()["ppo"], **setting)
