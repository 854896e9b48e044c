"""Parts of the in-context model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.incontext.model import ImageEncoder, InContextModel, patches
from metarl.networks.transformer import ContextTransformer


@pytest.mark.parametrize("stride", [1, 2])
def test_products_with_patches_are_convolutions(stride, key):
    image = jax.random.normal(key, (2, 9, 8, 3))
    kernel = jax.random.normal(jax.random.fold_in(key, 1), (3, 3, 3, 5))
    expected = jax.lax.conv_general_dilated(
        image, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = patches(image, stride=stride) @ kernel.reshape(27, 5)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("num_features", [8, 40])
def test_an_image_becomes_as_many_numbers_as_asked_for_and_the_rest_stays(num_features, key):
    encoder = ImageEncoder((9, 9, 3), num_features, jnp.float32)
    x = jax.random.normal(key, (2, 4, 9 * 9 * 3 + 2))
    found, _ = encoder.init_with_output(key, x)
    assert found.shape == (2, 4, num_features + 2)
    np.testing.assert_array_equal(found[..., num_features:], x[..., -2:])


@pytest.mark.parametrize("capacity", [6, 4])
@pytest.mark.parametrize("attention", ["set", "independent"])
def test_a_context_is_acted_on_as_it_is_predicted_from_and_its_order_does_not_matter(attention, capacity, key):
    """Outputs after transitions one by one, against those of the latest `capacity` of them at once, in two orders."""
    model = InContextModel(ContextTransformer(8, 2, 2, attention), 3, counts=True)
    transitions, query = jax.random.normal(key, (6, 5)), jax.random.normal(jax.random.fold_in(key, 1), (4,))
    is_valid, prefix = jnp.ones((capacity,), bool), jnp.full((1,), capacity)
    inputs = (transitions[-capacity:], is_valid, query[None], prefix)
    params = jax.tree.map(lambda leaf: 3.0 * leaf, model.init(key, *inputs, method=model.predict))
    expected = model.apply(params, *inputs, method=model.predict)[0]
    extend = jax.jit(
        lambda cache, one: model.apply(params, cache, one[None], jnp.ones((1,), bool), method=model.extend)
    )
    for order in (transitions, jnp.concatenate([transitions[:-capacity], transitions[-capacity:][::-1]])):
        cache = model.apply(params, capacity, method=model.init_cache)
        for one in order:
            cache = extend(cache, one)
        np.testing.assert_allclose(model.apply(params, cache, query, method=model.act), expected, atol=1e-5)
