"""Where a drift lets go, against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from analysis.drift import RuleDrift, reference_drifts, rule_drift
from analysis.push import ADVANTAGES, implied_clip, push_beyond_clip

SEARCH = 2e-5  # a push counts as none below 1e-5 of A; float32 steps near 1 are 1e-7


def ratio_let_go_by_dpo(advantage):
    """The slope A - A tanh(A log r / b)^2 / r of Lu et al. 2022, Eq. 16, vanishes where tanh^2 = r."""
    return brentq(lambda r: np.tanh(advantage * np.log(r) / 0.6) ** 2 - r, 0.1, 0.999)


def test_ppo_clips_at_its_clip():
    clip = implied_clip(reference_drifts()["ppo"])
    np.testing.assert_allclose(clip, [[[1.2, 1.2, 0.8, 0.8]]], atol=1e-6)


def test_dpo_never_lets_go_of_good_actions_and_of_bad_ones_where_its_slope_vanishes():
    clip = implied_clip(reference_drifts()["dpo"], advantages=(2.0, 0.5, -1.0, -2.0))[0, 0]
    assert np.all(np.isnan(clip[:2]))
    np.testing.assert_allclose(clip[2:], [ratio_let_go_by_dpo(-1.0), ratio_let_go_by_dpo(-2.0)], atol=SEARCH)


def test_the_planted_rule_clips_ever_closer_over_a_life(planted):
    fractions = np.linspace(0.0, 1.0, 21)
    clip = implied_clip(rule_drift(planted.closing), fractions.tolist())
    # The slope A - 20 (n/N) (r - 1) vanishes at r - 1 = A / (20 n/N), and PPO's clip is there from the start.
    distance = np.abs(ADVANTAGES)[None] / np.maximum(20.0 * fractions[:, None], 1e-9)
    expected = 1.0 + np.sign(ADVANTAGES)[None] * np.minimum(distance, 0.2)
    np.testing.assert_allclose(clip[0], expected, rtol=1e-4)
    assert np.all(np.diff(np.abs(clip[0] - 1.0), axis=0) < 1e-6) and np.abs(clip[0, -1] - 1.0).max() < 0.11


def test_the_planted_rule_clips_closer_in_longer_lives(planted):
    lifetimes = (5.0, 16.0, 50.0, 1000.0)
    clip = implied_clip(rule_drift(planted.horizon), (0.0, 0.7), lifetimes, advantages=(1.0,))[..., 0]
    expected = 1.0 + np.minimum(0.2, 1.0 / (2.0 * np.log(lifetimes)))
    np.testing.assert_allclose(clip, np.stack([expected] * 2, axis=1), rtol=1e-4)


def test_the_offset_of_a_learned_drift_moves_ppos_clip_by_itself(planted):
    clip = implied_clip(rule_drift(planted.rule(offset=1e-2)))[0, 0]
    np.testing.assert_allclose(np.abs(clip - 1.0), 0.2 + 1e-2 / np.abs(ADVANTAGES), atol=1e-5)


def test_without_a_drift_nothing_is_let_go(planted):
    nothing = rule_drift(planted.rule(ppo_init=False))
    assert np.all(np.isnan(implied_clip(nothing)))
    np.testing.assert_allclose(push_beyond_clip(nothing), 1.0, atol=1e-6)


def test_the_first_ratio_counts_even_if_the_push_comes_back():
    wave = RuleDrift(lambda r, u, a, p: a * jnp.where((r > 1.3) & (r < 1.4), 2.0 * (r - 1.3), 0.0))
    np.testing.assert_allclose(implied_clip(wave, advantages=(1.0,)), 1.3, atol=1e-5)


def test_beyond_the_clip_ppo_does_not_push_and_dpo_as_its_integral_says():
    references = reference_drifts()
    np.testing.assert_array_equal(push_beyond_clip(references["ppo"]), 0.0)
    found = push_beyond_clip(references["dpo"])[0, 0]
    up = [quad(lambda u, a=a: 1.0 - np.tanh((np.exp(u) - 1.0) * a / 2.0) ** 2, np.log(1.2), 1.0)[0] for a in (2.0, 1.0)]
    down = [
        quad(lambda u, a=a: 1.0 - np.tanh(u * a / 0.6) ** 2 * np.exp(-u), -1.0, np.log(0.8))[0] for a in (-1.0, -2.0)
    ]
    lengths = [1.0 - np.log(1.2)] * 2 + [1.0 + np.log(0.8)] * 2
    # The midpoint rule on 2048 points is exact to 1e-7, float32 sums to 1e-6.
    np.testing.assert_allclose(found, np.array(up + down) / lengths, atol=1e-5)
    assert found[2] < 0.0 and found[3] < 0.0


def test_rollback_of_the_planted_rule_grows(planted):
    push = push_beyond_clip(rule_drift(planted.closing), (0.0, 0.5, 1.0))[0]
    # Beyond the clip PPO's drift takes the whole push, and 10 t (1 - r)^2 takes 20 t (r - 1) / A more.
    upper = np.exp(np.linspace(np.log(1.2), 1.0, 200_001))
    expected = [-20.0 * t * np.mean(upper - 1.0) / 2.0 for t in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(push[:, 0], expected, rtol=1e-3, atol=1e-6)
    assert np.all(np.diff(push, axis=0) < -0.1)


def test_an_advantage_of_zero_is_refused():
    for ask in (implied_clip, push_beyond_clip):
        with pytest.raises(ValueError, match="leave it out"):
            ask(reference_drifts()["ppo"], advantages=(1.0, 0.0))
