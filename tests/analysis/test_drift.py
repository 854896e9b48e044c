"""Drifts as numbers: against closed forms, finite differences and PPO."""

import jax.numpy as jnp
import numpy as np
import pytest

from analysis.drift import (
    FRACTIONS,
    MAX_ADVANTAGE,
    RuleDrift,
    has_drift,
    make_surfaces,
    reference_drifts,
    rule_drift,
    shown_lifetimes,
)
from metarl.objectives.export import LoadedRule

ROUNDING = 2e-5  # float32 differences of numbers up to 10


def grid(surfaces):
    return np.exp(surfaces.log_ratio)[None], surfaces.advantage[:, None]


@pytest.fixture(scope="module")
def ppo():
    return make_surfaces(reference_drifts()["ppo"])


def test_the_window_is_that_of_the_specification(ppo):
    ratio, advantage = grid(ppo)
    assert ppo.drift.shape == ppo.slope.shape == (1, 1, 257, 257)
    np.testing.assert_allclose([ratio.min(), ratio.max()], np.exp([-1.0, 1.0]))
    assert (advantage.min(), advantage.max()) == (-MAX_ADVANTAGE, MAX_ADVANTAGE) == (-4.0, 4.0)


def test_ppo_has_its_closed_form(ppo):
    ratio, advantage = grid(ppo)
    is_clipped = ((ratio > 1.2) & (advantage > 0)) | ((ratio < 0.8) & (advantage < 0))
    edge = np.where(advantage > 0, 1.2, 0.8)
    np.testing.assert_allclose(ppo.drift[0, 0], np.where(is_clipped, (ratio - edge) * advantage, 0.0), atol=ROUNDING)
    np.testing.assert_allclose(ppo.slope[0, 0], np.where(is_clipped, 0.0, advantage + 0.0 * ratio), atol=ROUNDING)


def test_dpo_has_its_closed_form():
    dpo = make_surfaces(reference_drifts()["dpo"])
    ratio, advantage = grid(dpo)
    gain = np.tanh((ratio - 1.0) * advantage / 2.0) ** 2 * (ratio > 1.0) * advantage
    loss = np.tanh(np.log(ratio) * advantage / 0.6) ** 2 * (ratio < 1.0) * advantage / ratio
    expected = advantage - np.where(advantage >= 0.0, gain, loss)
    np.testing.assert_allclose(dpo.slope[0, 0], expected, atol=ROUNDING)
    np.testing.assert_allclose(dpo.drift_slope[0, 0], advantage - expected, atol=ROUNDING)


def test_slopes_are_finite_differences_of_the_surrogate(planted):
    surfaces = make_surfaces(rule_drift(planted.closing), (0.75,), num_points=513)
    ratio, advantage = grid(surfaces)
    surrogate = ratio * advantage - surfaces.drift[0, 0]
    centre = (surrogate[:, 2:] - surrogate[:, :-2]) / (ratio[:, 2:] - ratio[:, :-2])
    is_smooth = np.abs(ratio[:, 1:-1] - np.array([[0.8], [1.2]])).min(0) > 0.01
    # Unequal steps of 0.004 in log r leave an error of 0.004^2 times a curvature of 15, float32 one of 1e-6 / 0.008.
    np.testing.assert_allclose(centre[:, is_smooth], surfaces.slope[0, 0][:, 1:-1][:, is_smooth], atol=2e-3)


@pytest.mark.parametrize("offset", [0.0, 1e-4])
def test_a_network_that_says_nothing_is_ppo_everywhere(planted, ppo, offset):
    rule = make_surfaces(rule_drift(planted.rule(temporal=True, offset=offset)))
    for at in range(len(FRACTIONS)):
        np.testing.assert_allclose(rule.drift[0, at], ppo.drift[0, 0], atol=offset + 1e-6, rtol=0.0)
    if offset:
        assert np.max(np.abs(rule.drift - ppo.drift)) > 0.9 * offset
    else:
        np.testing.assert_array_equal(rule.slope, np.broadcast_to(ppo.slope, rule.slope.shape))


def test_the_planted_drift_grows_with_time(planted):
    surfaces, ppo = (make_surfaces(rule_drift(r), num_points=65) for r in (planted.closing, planted.ppo))
    ratio, _ = grid(surfaces)
    for at, fraction in enumerate(FRACTIONS):
        expected = ppo.drift[0, 0] + 10.0 * fraction * (1.0 - ratio) ** 2
        np.testing.assert_allclose(surfaces.drift[0, at], expected, rtol=1e-4, atol=ROUNDING)


def test_the_planted_drift_grows_with_the_horizon(planted):
    surfaces = make_surfaces(rule_drift(planted.horizon), lifetimes=(5.0, 16.0, 50.0), num_points=65)
    ppo = make_surfaces(rule_drift(planted.ppo), num_points=65)
    ratio, _ = grid(surfaces)
    for at, lifetime in enumerate((5.0, 16.0, 50.0)):
        expected = ppo.drift[0, 0] + np.log(lifetime) * (1.0 - ratio) ** 2
        for fraction in range(len(FRACTIONS)):
            np.testing.assert_allclose(surfaces.drift[at, fraction], expected, rtol=1e-4, atol=ROUNDING)


def test_the_push_is_the_slope_as_a_share_of_the_advantage(ppo):
    _, advantage = grid(ppo)
    assert np.all(np.isnan(ppo.push[0, 0][advantage[:, 0] == 0.0]))
    assert set(np.unique(ppo.push[0, 0][advantage[:, 0] != 0.0])) == {0.0, 1.0}


def test_a_drift_is_elementwise_so_that_chosen_advantages_are_rows_of_the_whole(ppo):
    chosen = make_surfaces(reference_drifts()["ppo"], advantages=(2.0, -1.0))
    rows = [np.flatnonzero(ppo.advantage == a)[0] for a in (2.0, -1.0)]
    np.testing.assert_array_equal(chosen.slope[0, 0], ppo.slope[0, 0][rows])


def test_what_a_rule_sees_comes_from_its_settings(planted):
    assert rule_drift(planted.ppo)[1:] == (False, False)
    assert rule_drift(planted.closing)[1:] == (True, False)
    assert rule_drift(planted.horizon)[1:] == (True, True)
    assert make_surfaces(rule_drift(planted.ppo)).fractions.tolist() == [0.0]


def test_lifetimes_are_shown_where_they_matter(planted):
    assert shown_lifetimes(rule_drift(planted.horizon), (5.0, 50.0)) == (5.0, 16.0, 50.0)
    assert shown_lifetimes(rule_drift(planted.horizon), (7.0, 7.0)) == (7.0,)
    assert shown_lifetimes(rule_drift(planted.horizon), None) == (10.0, 50.0, 250.0)
    assert shown_lifetimes(rule_drift(planted.closing), (5.0, 50.0)) == (50.0,)


def test_rules_without_a_drift_are_told_apart():
    assert has_drift("lpo", {"temporal": True}) and has_drift("ppo", {}) and has_drift("dpo", {"a": 1.0})
    assert not has_drift("lpg", {"hidden_size": 8}) and not has_drift("a2c", {}) and not has_drift("mine", {"x": 1})
    with pytest.raises(ValueError, match="has no drift"):
        rule_drift(LoadedRule("a2c", {}, (), {}))
    with pytest.raises(ValueError, match="does not take"):
        has_drift("lpo", {"sideways": True})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fractions": (0.5, 1.5)}, "fraction or more in"),
        ({"fractions": ()}, "fraction or more in"),
        ({"lifetimes": (0.5,)}, "at least 1"),
        ({"num_points": 1}, "2 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, words):
    drift = RuleDrift(lambda ratio, log_ratio, advantage, progress: jnp.zeros_like(ratio))
    with pytest.raises(ValueError, match=words):
        make_surfaces(drift, **arguments)
