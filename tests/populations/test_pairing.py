"""Partners are half a population apart, and trials depend on their pair and repetition only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from populations.pairing import pair_index, partner_keys, to_members, to_pairs, trial_keys


def numbers(keys):
    return np.asarray(jax.random.key_data(keys))


def test_partners_are_half_a_population_apart():
    np.testing.assert_array_equal(pair_index(6), [0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("size", [0, 1, 7, -2])
def test_a_population_without_pairs_is_refused(size):
    with pytest.raises(ValueError, match=f"population size is {size}"):
        pair_index(size)


def test_regrouping_puts_partners_side_by_side():
    pairs = to_pairs({"x": jnp.arange(6), "y": jnp.arange(12).reshape(6, 2)})
    np.testing.assert_array_equal(pairs["x"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(pairs["y"][1], [[2, 3], [8, 9]])


def test_members_come_back_in_their_order():
    np.testing.assert_array_equal(to_members(to_pairs(jnp.arange(8))), np.arange(8))


def test_all_trials_have_different_keys(key):
    assert len(np.unique(numbers(trial_keys(key, 5, 3)), axis=0)) == 15


def test_a_trial_key_is_folded_from_pair_and_repetition(key):
    expected = jax.random.fold_in(jax.random.fold_in(key, 4), 2)
    np.testing.assert_array_equal(numbers(trial_keys(key, 5, 3)[4 * 3 + 2]), numbers(expected))


def test_a_pair_keeps_its_keys_when_the_population_grows(key):
    np.testing.assert_array_equal(numbers(trial_keys(key, 4, 2)), numbers(trial_keys(key, 9, 2))[:8])


def test_partners_with_their_own_luck_have_different_keys(key):
    assert len(np.unique(numbers(partner_keys(trial_keys(key, 4, 1))).reshape(8, -1), axis=0)) == 8
