"""Attention is what the formula says, and rotation shows differences of positions alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.networks.attention import attend, attend_alone, attention_weights, rotate
from metarl.networks.block import WEIGHTS, Block

WIDTH, TOLERANCE, KEY = 8, 1e-5, jax.random.key(2)


def test_rotated_products_depend_on_differences_of_positions():
    x, y = jax.random.normal(jax.random.key(0), (2, 1, 1, 8))
    products = [float(jnp.sum(rotate(x, jnp.array([i])) * rotate(y, jnp.array([i + 5])))) for i in (0, 3, 400)]
    np.testing.assert_allclose(products, products[0], rtol=1e-3)  # angles of hundreds of radians lose three digits
    assert abs(float(jnp.sum(rotate(x, jnp.array([0])) * rotate(y, jnp.array([9])))) - products[0]) > 1e-2


def test_attention_is_the_softmax_of_scaled_products():
    block = Block(WIDTH, 2, 4, "gelu", False, False, jnp.float32)
    x = jax.random.normal(jax.random.key(1), (3, WIDTH))
    keys, values = jax.random.normal(jax.random.key(2), (2, 5, 2, 4))
    mask = jnp.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
    params = block.init(jax.random.key(0), x, jnp.arange(3), keys, values, mask)
    found = block.apply(params, x, jnp.arange(3), keys, values, mask)
    p = jax.tree.map(np.asarray, params["params"])

    def norm(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p[name]["scale"]

    queries = (norm(np.asarray(x), "norm_attention") @ p["to_queries"]["kernel"]).reshape(3, 2, 4)
    logits = np.einsum("mnd,snd->nms", queries, keys) / 2.0
    weights = np.where(mask[None], np.exp(logits), 0.0)
    seen = np.einsum("nms,snd->mnd", weights / weights.sum(-1, keepdims=True), values).reshape(3, WIDTH)
    x = np.asarray(x) + seen @ p["merge"]["kernel"]
    hidden = norm(x, "norm_mlp") @ p["expand"]["kernel"]
    expected = x + np.asarray(jax.nn.gelu(hidden)) @ p["contract"]["kernel"]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_attention_that_is_looked_at_is_what_values_are_weighed_by():
    queries, (keys, values) = jax.random.normal(jax.random.key(1), (3, 2, 4)), jax.random.normal(KEY, (2, 5, 2, 4))
    bias = jax.random.normal(jax.random.key(3), (2, 3, 5))
    mask = jnp.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
    weights = attention_weights(queries, keys, mask, bias)
    assert not (np.asarray(weights) > 0)[:, ~np.asarray(mask)].any()
    np.testing.assert_allclose(jnp.sum(weights, axis=-1), 1.0, rtol=1e-5)
    expected = attend(queries, keys, values, mask, bias)
    np.testing.assert_allclose(jnp.einsum("nms,snd->mnd", weights, values), expected, atol=TOLERANCE)


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, TOLERANCE), (jnp.bfloat16, 3e-2)])
@pytest.mark.parametrize("is_biased", [False, True])
def test_a_query_alone_sees_what_it_sees_among_others(num_heads, dtype, tolerance, is_biased, key):
    keys = jax.random.split(key, 5)
    queries = 3.0 * jax.random.normal(keys[0], (3, num_heads, 4), dtype)
    context = tuple(jax.random.normal(one, (7, num_heads, 4), dtype) for one in keys[1:3])
    mask = jax.random.bernoulli(keys[3], 0.6, (3, 7)).at[:, 2].set(True)
    bias = jax.random.normal(keys[4], (num_heads, 3, 7), dtype) if is_biased else None
    with jax.numpy_dtype_promotion("standard"):  # the library mixes types
        expected = attend(queries, *context, mask, bias)
    for m in range(3):
        own = None if bias is None else bias[:, m : m + 1]
        found = attend_alone(queries[m : m + 1], *context, mask[m : m + 1], own)
        assert found.dtype == dtype
        np.testing.assert_allclose(found[0].astype(jnp.float32), expected[m].astype(jnp.float32), atol=tolerance)


def test_a_layer_leaves_its_attention_only_for_who_asks():
    block, x = Block(WIDTH, 2, 4, "gelu", False, False, jnp.float32), jax.random.normal(KEY, (3, WIDTH))
    rest = (jnp.arange(3), *jax.random.normal(KEY, (2, 5, 2, 4)), jnp.ones((3, 5), bool))
    variables = block.init(jax.random.key(0), x, *rest)
    assert set(variables) == {"params"}
    out, kept = block.apply(variables, x, *rest, mutable=[WEIGHTS])
    np.testing.assert_array_equal(out, block.apply(variables, x, *rest))
    assert kept[WEIGHTS]["layer"][0].shape == (2, 3, 5)
