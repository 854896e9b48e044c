"""Fitness shaping in closed form, its symmetries, and what happens to values that are not finite."""

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from populations.fitness import centred_ranks, count_nonfinite, pair_signs, replace_nonfinite, z_scores

NAN, INF = float("nan"), float("inf")
SHAPINGS = {"centred_ranks": centred_ranks, "z_scores": z_scores, "pair_signs": pair_signs}

# One length only, so that every example after the first reuses the compiled operations. Few distinct values make ties.
# Subnormal numbers are left out: XLA takes them for zero, so that they tie.
normal = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
finite = arrays.arrays(np.float32, 8, elements=normal | st.integers(-2, 2).map(float))
anything = arrays.arrays(np.float32, 8, elements=st.floats(width=32, allow_subnormal=False))


def test_centred_ranks_are_evenly_spaced_between_minus_and_plus_a_half():
    ranks = centred_ranks(jnp.array([3.0, -1.0, 10.0, 0.0, 4.0]))
    np.testing.assert_array_equal(ranks, [0.0, -0.5, 0.5, -0.25, 0.25])


def test_tied_ranks_share_their_average():
    ranks = centred_ranks(jnp.array([1.0, 2.0, 2.0, 0.0, 2.0]))
    np.testing.assert_array_equal(ranks, [-0.25, 0.25, 0.25, -0.5, 0.25])


def test_a_single_value_ranks_zero():
    np.testing.assert_array_equal(centred_ranks(jnp.array([7.0])), [0.0])


def test_z_scores_of_two_levels():
    np.testing.assert_array_equal(z_scores(jnp.array([5.0, 5.0, 9.0, 9.0])), [-1.0, -1.0, 1.0, 1.0])


@pytest.mark.parametrize("value", [0.1, -3e38, 0.0])
def test_z_scores_of_equal_values_are_zero(value):
    np.testing.assert_array_equal(z_scores(jnp.full(7, value)), np.zeros(7))


def test_z_scores_do_not_overflow():
    np.testing.assert_allclose(z_scores(jnp.array([-3e38, 3e38])), [-1.0, 1.0], rtol=1e-6)  # one rounding of the mean


def test_pair_signs_compare_partners_half_a_population_apart():
    signs = pair_signs(jnp.array([1.0, 5.0, 2.0, 0.0, 5.0, 3.0]))
    np.testing.assert_array_equal(signs, [1.0, 0.0, -1.0, -1.0, 0.0, 1.0])


def test_pair_signs_refuse_an_odd_number():
    with pytest.raises(ValueError, match="3 values but pairs need an even number"):
        pair_signs(jnp.zeros(3))


@settings(max_examples=50)
@given(finite)
def test_pair_signs_sum_to_zero(fitness):
    assert float(jnp.sum(pair_signs(jnp.array(fitness)))) == 0.0


@settings(max_examples=50)
@given(finite, st.integers(0, 3))
def test_a_tie_contributes_nothing_and_leaves_other_pairs_alone(fitness, pair):
    tied = fitness.copy()
    tied[pair + 4] = tied[pair]
    signs, others = pair_signs(jnp.array(tied)), np.arange(8) % 4 != pair
    assert signs[pair] == 0.0 and signs[pair + 4] == 0.0
    np.testing.assert_array_equal(signs[others], pair_signs(jnp.array(fitness))[others])


@settings(max_examples=50)
@given(finite)
def test_reversing_the_partners_negates_every_pair(fitness):
    reversed_fitness = np.roll(fitness, 4)
    np.testing.assert_array_equal(pair_signs(jnp.array(reversed_fitness)), -pair_signs(jnp.array(fitness)))


@settings(max_examples=50)
@given(finite)
def test_centred_ranks_sum_to_zero_and_follow_the_order(fitness):
    ranks = np.asarray(centred_ranks(jnp.array(fitness)))
    assert abs(ranks.sum()) < 1e-6  # eight roundings of numbers below a half
    np.testing.assert_array_equal(np.sign(ranks[:, None] - ranks), np.sign(fitness[:, None] - fitness))


@pytest.mark.parametrize("shaping", SHAPINGS.values(), ids=SHAPINGS)
@settings(max_examples=50)
@given(fitness=anything)
def test_shaped_values_are_finite_whatever_the_fitness(shaping, fitness):
    assert np.isfinite(shaping(jnp.array(fitness))).all()


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_nonfinite_values_rank_below_the_worst_finite_one(bad):
    np.testing.assert_array_equal(centred_ranks(jnp.array([bad, 0.0, -2.0])), [-0.5, 0.5, 0.0])


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("opponent", [-1e30, 0.0, 1e30])
def test_a_nonfinite_value_loses_its_pair(bad, opponent):
    np.testing.assert_array_equal(pair_signs(jnp.array([bad, opponent])), [-1.0, 1.0])


def test_two_nonfinite_values_tie():
    np.testing.assert_array_equal(pair_signs(jnp.array([NAN, 1.0, INF, 0.0])), [0.0, 1.0, 0.0, -1.0])


def test_z_scores_put_nonfinite_values_at_the_smallest_finite_one():
    expected = z_scores(jnp.array([1.0, 1.0, 3.0, 2.0]))
    np.testing.assert_allclose(z_scores(jnp.array([NAN, 1.0, 3.0, 2.0])), expected, atol=1e-5)  # the hair is 1e-6


@pytest.mark.parametrize("shaping", SHAPINGS.values(), ids=SHAPINGS)
def test_a_generation_with_nothing_finite_is_one_big_tie(shaping):
    np.testing.assert_array_equal(shaping(jnp.array([NAN, INF, -INF, NAN])), np.zeros(4))


@settings(max_examples=50)
@given(finite, st.sampled_from([NAN, INF, -INF]))
def test_replacement_is_strictly_worst_and_touches_nothing_else(fitness, bad):
    broken = fitness.copy()
    broken[3] = bad
    replaced = np.asarray(replace_nonfinite(jnp.array(broken)))
    others = np.arange(8) != 3
    np.testing.assert_array_equal(replaced[others], fitness[others])
    assert replaced[3] < fitness[others].min()
    np.testing.assert_allclose(replaced[3], fitness[others].min(), rtol=2e-6, atol=1e-29)  # at most a hair below


def test_nonfinite_values_are_counted():
    assert int(count_nonfinite(jnp.array([NAN, 0.0, INF, -INF, 1.0]))) == 3
