"""Time features against their definitions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.progress import (
    ENCODINGS,
    REFERENCE_LAW,
    Progress,
    features,
    log_uniform_moments,
    num_features,
)

FLOAT32 = 1e-6  # relative rounding of one division or logarithm in float32


def progress(step: int, lifetime: int) -> Progress:
    return Progress(jnp.int32(step), jnp.int32(lifetime))


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("none", []),
        ("paper", [30 / 120, math.log(120)]),
        ("raw", [30.0, 120.0]),
        ("centred", [2 * 30 / 120 - 1, (math.log(120) - math.log(2500) / 2) / (math.log(25) / math.sqrt(12))]),
        ("remaining", [90.0]),
        ("fraction", [30 / 120]),
    ],
)
def test_features_are_what_their_name_says(encoding, expected):
    result = features(progress(30, 120), encoding)
    np.testing.assert_allclose(result, np.array(expected, np.float32), rtol=FLOAT32)
    assert result.dtype == jnp.float32


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_num_features_counts_the_features(encoding):
    assert features(progress(3, 7), encoding).shape == (num_features(encoding),)


@pytest.mark.parametrize("lifetime", [1, 10, 250, 100_000])
def test_the_log_feature_is_the_natural_logarithm(lifetime):
    np.testing.assert_allclose(features(progress(0, lifetime), "paper")[1], math.log(lifetime), rtol=FLOAT32)


def test_a_life_begins_at_fraction_zero_and_never_reaches_one():
    assert features(progress(0, 50), "fraction")[0] == 0.0
    np.testing.assert_allclose(features(progress(49, 50), "fraction")[0], 0.98, rtol=FLOAT32)


def test_centred_features_have_mean_zero_and_scale_one_under_the_reference_law():
    """N ~ logU(10, 250) and n uniform within the life, on a grid of quantiles."""
    lifetimes = np.round(np.exp(np.linspace(math.log(10), math.log(250), 2001)[1::2])).astype(np.int32)
    steps = (lifetimes * (np.arange(1000) * 377 % 1000 + 0.5) / 1000).astype(np.int32)
    points = Progress(jnp.asarray(steps), jnp.asarray(lifetimes))
    table = np.asarray(jax.vmap(lambda step, lifetime: features(Progress(step, lifetime), "centred"))(*points))
    # Rounding of n and N to whole updates moves these by up to half an update of the shortest life, 1/10 of the range.
    np.testing.assert_allclose(table.mean(axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose(table[:, 1].std(), 1.0, atol=0.02)


def test_the_reference_moments_are_those_of_their_law():
    mean, deviation = log_uniform_moments(*REFERENCE_LAW)
    assert (round(mean, 2), round(deviation, 2)) == (3.91, 0.93)


def test_a_fixed_lifetime_is_centred_at_zero():
    assert log_uniform_moments(20, 20) == (math.log(20), 1.0)
    np.testing.assert_allclose(features(progress(10, 20), "centred", (20, 20)), [0.0, 0.0], atol=1e-6)


def test_log_uniform_moments_match_quadrature():
    logs = np.linspace(math.log(3), math.log(40), 20_001)
    mean, deviation = log_uniform_moments(3.0, 40.0)
    np.testing.assert_allclose([mean, deviation], [logs.mean(), logs.std()], rtol=1e-4)  # grid of 2e4 points


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_features_can_be_traced(encoding):
    point = progress(5, 40)
    traced = jax.jit(lambda p: features(p, encoding))(point)
    np.testing.assert_allclose(traced, features(point, encoding), rtol=FLOAT32)


@pytest.mark.parametrize("function", [num_features, lambda encoding: features(progress(0, 1), encoding)])
def test_an_unknown_encoding_is_refused_with_the_choices(function):
    with pytest.raises(ValueError, match="'papyrus' is unknown; choose one of none, paper"):
        function("papyrus")
