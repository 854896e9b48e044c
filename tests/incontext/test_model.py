"""Parts of the in-context model."""

import jax
import numpy as np
import pytest

from metarl.incontext.model import patches


@pytest.mark.parametrize("stride", [1, 2])
def test_products_with_patches_are_convolutions(stride, key):
    image = jax.random.normal(key, (2, 9, 8, 3))
    kernel = jax.random.normal(jax.random.fold_in(key, 1), (3, 3, 3, 5))
    expected = jax.lax.conv_general_dilated(
        image, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = patches(image, stride=stride) @ kernel.reshape(27, 5)
    np.testing.assert_allclose(found, expected, atol=1e-4)
