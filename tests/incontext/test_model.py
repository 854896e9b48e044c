"""Parts of the in-context model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.incontext.model import ImageEncoder, patches


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
