import numpy as np
import pytest

from envs.blackbox.built import without_failures


def test_failures_get_the_worst_value_that_is_finite():
    y, count = without_failures(np.array([1.0, np.nan, -3.0, np.inf]), ["", "slow", "", ""])
    np.testing.assert_array_equal(y, np.array([1.0, -3.0, -3.0, -3.0], np.float32))
    assert y.dtype == np.float32 and count == 2


def test_nothing_but_failures_is_refused_with_the_first_reason():
    with pytest.raises(ValueError, match="none of 2 .* took too long"):
        without_failures(np.array([np.nan, np.nan]), ["took too long", "crashed"])
