"""Values in their own units go in; what nobody has seen must not, and units must not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.metabo.episode import evaluations_of
from metarl.metabo.nap import CLIP, among, negative_log_likelihood, scale_of, thompson, upper_confidence
from metarl.metabo.network import Evaluations

EVERYWHERE = jnp.ones((4,), bool)


def test_units_are_mean_and_deviation_of_what_was_seen():
    y, is_seen = jnp.array([1.0, 3.0, 99.0, 5.0]), jnp.array([True, True, False, True])
    scale = scale_of(y, is_seen)
    np.testing.assert_allclose([scale.mean, scale.std], [3.0, np.sqrt(8.0 / 3.0)], rtol=1e-6)
    np.testing.assert_allclose(scale.standardise(jnp.array([3.0, 3.0 + 2.0 * float(scale.std)])), [0.0, 2.0], atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e5])
def test_equal_values_have_no_units(value):
    assert scale_of(jnp.full((4,), value), EVERYWHERE).std == 1.0
    assert scale_of(jnp.full((4,), value), ~EVERYWHERE).std == 1.0


def test_differences_that_are_roundings_are_no_units():
    rounded = jnp.array([1e6, 1e6, 1e6, 1e6 + 0.0625])
    assert scale_of(rounded, EVERYWHERE).std == 1.0


@pytest.mark.parametrize(("factor", "shift"), [(250.0, 0.0), (1e-3, 0.0), (1.0, -40.0), (0.02, 3.0)])
def test_units_change_no_preference(model, room, factor, shift):
    task = room.task
    found = [
        model.answer(model.params, task.kind, room.evaluations._replace(y=y), task.x)
        for y in (room.evaluations.y, factor * room.evaluations.y + shift)
    ]
    (before, logits, value), (after, others, other_value) = found
    assert np.argmax(logits) == np.argmax(others)
    # Standardising rounds differently; what follows is compared in standardised units.
    np.testing.assert_allclose(others, logits, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(after.reading.bars, before.reading.bars, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(other_value, value, rtol=1e-3, atol=1e-3)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31 - 1), size=st.sampled_from([1e-3, 1.0, 1e6]))
def test_what_has_not_been_evaluated_has_no_influence(model, room, seed, size):
    """Values of all other candidates, and the best and worst of the pool, are changed: not one bit moves."""
    law = np.random.default_rng(seed)
    y = jnp.asarray(size * law.standard_normal(room.task.y.shape), jnp.float32)
    y = y.at[room.initial].set(room.task.y[room.initial])
    other = room.task.replace(y=y, y_best=jnp.float32(size * law.random()), y_worst=jnp.float32(-size * law.random()))
    observation, _ = room.env.reset_at(room.initial, other)
    before, after = (
        model.answer(model.params, task.kind, evaluations_of(seen, task), task.x)
        for task, seen in ((room.task, room.observation), (other, observation))
    )
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert observation["incumbent"] == room.observation["incumbent"]


@pytest.mark.parametrize("seed", range(4))
def test_an_untrained_default_policy_prefers_what_expected_improvement_does(model, make_pool, seed):
    task = make_pool(seed=seed)
    seen = Evaluations(task.x[:8], task.y[:8], jnp.arange(8) < 4)
    belief, logits, _ = model.answer(model.newborn, task.kind, seen, task.x)
    ei = model.nap.bars.ei(belief.reading.bars, jnp.full((12,), belief.reading.incumbent))
    assert np.argmax(logits) == np.argmax(ei)


def test_a_value_far_outside_is_shown_as_five_deviations(model, room):
    """With 40 values the largest possible one lies 6.2 deviations out: how far exactly is not told."""
    x = jnp.broadcast_to(room.task.x[:1], (40, room.task.x.shape[1]))
    answers = []
    for outlier in (1e6, 1e8):
        y = jnp.zeros((40,)).at[3].set(outlier)
        seen = Evaluations(x, y, jnp.ones((40,), bool))
        assert scale_of(y, seen.is_seen).standardise(y)[3] > CLIP
        answers.append(model.answer(model.params, room.task.kind, seen, room.task.x))
    assert answers[0][0].reading.incumbent == CLIP
    np.testing.assert_allclose(answers[0][1], answers[1][1], rtol=1e-4, atol=1e-4)


def test_what_is_not_allowed_has_probability_0():
    logits = among(jnp.array([5.0, -300.0, 1e4, 0.0]), jnp.array([True, True, False, True]))
    probability = jax.nn.softmax(logits)
    assert probability[2] == 0.0
    np.testing.assert_allclose(probability.sum(), 1.0, rtol=1e-6)
    assert jnp.argmax(logits) == 0


def test_the_likelihood_is_a_density_in_standardised_units(model, room):
    """Summed over a fine grid of values it is the mass between its ends, for every candidate."""
    task = room.task
    belief, *_ = model.answer(model.params, task.kind, room.evaluations, task.x)
    z = np.linspace(-4.0, 4.0, 20_001, dtype=np.float32)
    y = jnp.asarray(z) * belief.scale.std + belief.scale.mean
    density = jax.jit(jax.vmap(lambda v: jnp.exp(-negative_log_likelihood(model.nap, belief, jnp.full((12,), v)))))(y)
    ends = [model.nap.bars.cdf(belief.reading.bars, jnp.full((12,), end)) for end in (-4.0, 4.0)]
    mass = np.sum((np.asarray(density)[1:] + np.asarray(density)[:-1]) / 2.0, axis=0) * (z[1] - z[0])
    np.testing.assert_allclose(mass, ends[1] - ends[0], atol=2e-3)


def test_an_upper_bound_has_its_share_of_the_draws_below_it(model, room):
    belief, *_ = model.answer(model.params, room.task.kind, room.evaluations, room.task.x)
    bound = upper_confidence(model.nap, belief, probability=0.8)
    draws = jax.jit(jax.vmap(lambda key: thompson(model.nap, belief, key)))(jax.random.split(jax.random.key(0), 4000))
    share = np.mean(np.asarray(draws) <= np.asarray(bound)[None], axis=0)
    np.testing.assert_allclose(share, 0.8, atol=4.0 * np.sqrt(0.16 / 4000))
