"""Distances along the dimensions that matter: right by hand, blind to names and padding, and of use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.task import CATEGORICAL, NUMERIC, ORDINAL, UNUSED
from metarl.metabo.distances import SMALL, Distances, relevance_features, squared_differences

KIND = jnp.array([NUMERIC, UNUSED, CATEGORICAL, ORDINAL], jnp.int32)
LAYERS, HEADS, NUM = 2, 3, 9


@pytest.fixture(scope="module")
def points():
    """Places, values, and which are filled."""
    rng = np.random.default_rng(0)
    x = np.stack([rng.random(NUM), rng.random(NUM), rng.integers(0, 3, NUM), rng.integers(0, 5, NUM) / 4.0], axis=1)
    y = rng.standard_normal(NUM)
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), jnp.arange(NUM) < 7


@pytest.fixture(scope="module")
def params(points):
    """Weights of which none is 0."""
    module = Distances(LAYERS, HEADS)
    made = module.init(jax.random.key(0), KIND, *points, method=both)
    leaves, tree = jax.tree.flatten(made)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [leaf + jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )


def both(module, kind, x, y, is_seen):
    weights = module.weigh(kind, x, y, is_seen)
    return weights, module(weights, kind, x[:4], x)


def found(params, kind, x, y, is_seen):
    return tuple(map(np.asarray, Distances(LAYERS, HEADS).apply(params, kind, x, y, is_seen, method=both)))


def test_a_bias_is_minus_a_weighed_squared_distance_and_minus_a_share_of_its_root(params, points):
    weights, bias = found(params, KIND, *points)
    x, own = np.asarray(points[0], np.float64), params["params"]
    assert weights.shape == (LAYERS * HEADS, 4) and bias.shape == (LAYERS, HEADS, 4, 1 + NUM)
    for head, rows in enumerate(bias.reshape(-1, 4, 1 + NUM)):
        np.testing.assert_allclose(rows[:, 0], own["prior"][head], rtol=1e-6)
        for i in range(4):
            for j in range(NUM):
                apart = [(x[i, 0] - x[j, 0]) ** 2, 0.0, float(x[i, 2] != x[j, 2]), (x[i, 3] - x[j, 3]) ** 2]
                squared = float(np.dot(weights[head], apart))
                expected = -squared - np.exp(own["log_linear"][head]) * np.sqrt(squared + SMALL)
                np.testing.assert_allclose(rows[i, 1 + j], expected, rtol=1e-4, atol=1e-5)


def test_weights_are_positive_and_0_where_there_is_no_dimension(params, points):
    weights, _ = found(params, KIND, *points)
    is_used = np.asarray(KIND) != UNUSED
    assert (weights[:, is_used] > 0.0).all() and (weights[:, ~is_used] == 0.0).all()
    assert np.ptp(weights[:, is_used], axis=1).min() > 0.0  # dimensions differ


def test_dimensions_may_have_any_names(params, points):
    x, y, is_seen = points
    order = jnp.array([2, 0, 3, 1])
    weights, bias = found(params, KIND, x, y, is_seen)
    other_weights, other_bias = found(params, KIND[order], x[:, order], y, is_seen)
    np.testing.assert_allclose(other_weights, weights[:, order], rtol=1e-4)
    np.testing.assert_allclose(other_bias, bias, rtol=1e-4, atol=1e-4)


def test_evaluations_come_in_no_order_and_empty_places_hold_anything(params, points):
    x, y, is_seen = points
    weights, _ = found(params, KIND, x, y, is_seen)
    junk = jnp.where(is_seen, y, 1e4), jnp.where(is_seen[:, None], x, 3.0)
    np.testing.assert_array_equal(found(params, KIND, junk[1], junk[0], is_seen)[0], weights)
    order = jnp.array([8, 3, 1, 0, 5, 7, 2, 6, 4])
    np.testing.assert_allclose(found(params, KIND, x[order], y[order], is_seen[order])[0], weights, rtol=1e-4)


def test_untrained_heads_look_from_far_to_near(points):
    module = Distances(LAYERS, HEADS)
    newborn = module.init(jax.random.key(0), KIND, *points, method=both)
    weights, _ = found(newborn, KIND, *points)
    np.testing.assert_allclose(weights[:HEADS, 0], np.exp([-1.0, 1.5, 4.0]), rtol=1e-5)
    np.testing.assert_array_equal(weights[:HEADS], weights[HEADS:])


@pytest.mark.parametrize("count", [1, 2])
def test_few_or_equal_evaluations_have_finite_features_and_gradients(params, points, count):
    x, _, _ = points
    alike = jnp.zeros((NUM,)), jnp.arange(NUM) < count

    def total(params):
        weights, bias = Distances(LAYERS, HEADS).apply(params, KIND, x, *alike, method=both)
        return jnp.sum(weights) + jnp.sum(bias)

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(total)(params)))


def test_features_tell_the_dimension_that_matters_from_the_one_that_does_not():
    """Values change along the first of two dimensions alone: pairs near there are alike, pairs near beside it not."""
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.random((50, 2)), jnp.float32)
    y = jnp.sqrt(2.0) * jnp.sin(2.0 * jnp.pi * x[:, 0])
    kind, everywhere = jnp.full((2,), NUMERIC, jnp.int32), jnp.ones((50,), bool)
    features = np.asarray(relevance_features(kind, x, y, everywhere))
    variogram, beside = features[:, 0], features[:, 2]  # within .05
    assert variogram[0] < 0.2 * variogram[1] and beside[0] > 5.0 * beside[1]


def test_squared_differences_lead_with_dimensions(points):
    x, _, _ = points
    squares = squared_differences(x[:2], x, KIND)
    assert squares.shape == (4, 2, NUM) and not np.asarray(squares[1]).any()
    np.testing.assert_array_equal(squares[2], (x[:2, None, 2] != x[None, :, 2]).astype(np.float32))
