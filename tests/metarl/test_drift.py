"""Drift functions: valid mirror steps for every parameter draw, and exactly the closed forms they should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from metarl.objectives.dpo import dpo
from metarl.objectives.drift import clip_drift, dpo_drift, drift_features, init_drift
from metarl.objectives.lpo import lpo
from metarl.objectives.ppo import ppo
from metarl.progress import Progress

SPACE = spaces.Discrete(3)
RULES = {
    "lpo": lpo(SPACE, hidden_size=16),
    "lpo alone": lpo(SPACE, hidden_size=16, ppo_init=False),
    "ta-lpo": lpo(SPACE, hidden_size=16, temporal=True),
    "ta-lpo log N": lpo(SPACE, hidden_size=16, temporal=True, log_horizon=True),
}
RATIO, ADVANTAGE = jnp.meshgrid(jnp.exp(jnp.linspace(-1.0, 1.0, 41)), jnp.linspace(-4.0, 4.0, 17), indexing="ij")


def drift_of(objective, meta_params, progress):
    """The drift as a function of the ratio and the advantage."""
    return lambda ratio, advantage: objective.drift(meta_params, ratio, jnp.log(ratio), advantage, progress)


def drawn(objective, seed, scale):
    """Parameters drawn from a normal of this scale, every layer of them."""
    shapes = jax.tree.leaves(objective.init(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    leaves = [scale * jax.random.normal(key, x.shape) for key, x in zip(keys, shapes, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(objective.init(jax.random.key(0))), leaves)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31 - 1),
    scale=st.sampled_from([0.01, 0.3, 3.0, 30.0]),
    advantage=st.floats(-10.0, 10.0, width=32),
    log_ratio=st.floats(-3.0, 3.0, width=32),
    lifetime=st.integers(1, 10_000),
    share=st.floats(0.0, 1.0),
)
def test_every_draw_is_a_valid_mirror_step(name, seed, scale, advantage, log_ratio, lifetime, share):
    """Never negative; at a ratio of 1 zero, with zero slope, whatever the advantage and the time."""
    objective, step = RULES[name], min(int(share * lifetime), lifetime - 1)
    progress = Progress(jnp.int32(step), jnp.int32(lifetime))
    drift = drift_of(objective, drawn(objective, seed, scale), progress)
    advantage = jnp.float32(advantage)
    assert drift(jnp.exp(jnp.float32(log_ratio)), advantage) >= 0.0
    value, slope = jax.value_and_grad(drift)(jnp.float32(1.0), advantage)
    assert value == 0.0 and slope == 0.0


def test_a_time_that_is_appended_and_not_multiplied_breaks_the_mirror_step(key):
    """The reason for the product: the same network with n/N among its inputs has a drift at a ratio of 1."""
    kernel = jax.random.normal(key, (9, 16))
    inputs = jnp.concatenate([drift_features(jnp.ones(()), jnp.zeros(()), jnp.ones(()), jnp.zeros(0)), jnp.ones(1)])
    assert jnp.abs(jnp.tanh(inputs @ kernel)).max() > 0.1


@pytest.mark.parametrize("ppo_init", [True, False], ids=["start from PPO", "start from nothing"])
@pytest.mark.parametrize("temporal", [False, True], ids=["blind", "aware"])
@pytest.mark.parametrize("offset", [0.0, 1e-4])
def test_a_network_of_zeros_is_the_closed_form(ppo_init, temporal, offset, key):
    """As drawn, and with zeros throughout: PPO's clip or no drift at all, to within the offset and exactly without."""
    objective = lpo(SPACE, ppo_init=ppo_init, temporal=temporal, offset=offset)
    expected = jax.nn.relu(clip_drift(RATIO, ADVANTAGE, 0.2) * float(ppo_init) - offset)
    start = objective.init(key)
    for meta_params in (start, jax.tree.map(jnp.zeros_like, start)):
        drift = drift_of(objective, meta_params, Progress(jnp.int32(3), jnp.int32(9)))
        np.testing.assert_array_equal(drift(RATIO, ADVANTAGE), expected)


def test_opposite_perturbations_of_zeros_are_one_rule_but_not_of_the_start(key):
    """Why evolution does not start from zeros: without biases, f(-theta) = f(theta), and every pair would tie."""
    objective = lpo(SPACE, hidden_size=16)
    noise, progress = drawn(objective, 1, 0.1), Progress(jnp.int32(0), jnp.int32(9))

    def partners(centre):
        for sign in (1.0, -1.0):
            moved = jax.tree.map(lambda c, z, s=sign: c + s * z, centre, noise)
            yield drift_of(objective, moved, progress)(RATIO, ADVANTAGE)

    start = objective.init(key)
    assert not objective.starts_from_zeros
    np.testing.assert_array_equal(*partners(jax.tree.map(jnp.zeros_like, start)))
    plus, minus = partners(start)
    assert jnp.abs(plus - minus).max() > 0.01


def test_dpo_is_its_formula():
    ratio, advantage = (np.asarray(x, np.float64) for x in (RATIO, ADVANTAGE))
    gain, loss = (ratio - 1.0) * advantage, np.log(ratio) * advantage
    above = np.maximum(gain - 2.0 * np.tanh(gain / 2.0), 0.0)
    below = np.maximum(loss - 0.6 * np.tanh(loss / 0.6), 0.0)
    expected = np.where(advantage >= 0.0, above, below)
    drift = drift_of(dpo(SPACE), (), Progress(jnp.int32(0), jnp.int32(1)))
    found = drift(RATIO, ADVANTAGE)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)  # small differences of numbers near 1
    assert (found >= 0.0).all() and found.max() > 1.0
    assert jax.grad(drift)(jnp.float32(1.0), jnp.float32(3.0)) == 0.0


@pytest.mark.parametrize("name", RULES)
def test_the_gradient_of_the_drift_agrees_with_finite_differences(name, key):
    objective = RULES[name]
    drift = drift_of(objective, drawn(objective, 5, 0.5), Progress(jnp.int32(2), jnp.int32(9)))
    steep = (drift(RATIO, ADVANTAGE) > 0.3) & (jnp.abs(RATIO - 1.0) > 0.3)  # away from the kinks
    assert steep.sum() > 20
    for ratio, advantage in list(zip(RATIO[steep], ADVANTAGE[steep], strict=True))[::10]:
        check_grads(jax.jit(lambda r, a=advantage: drift(r, a)), (ratio,), 1, ("rev",), 1e-2, 1e-2, 1e-3)


def test_inputs_are_in_the_published_order_and_time_multiplies_all_of_them():
    ratio, advantage, time = jnp.float32(1.5), jnp.float32(-2.0), jnp.array([0.25, 3.0])
    u, v = np.log(1.5), -0.5
    x = np.array([u, u**2, v, v**2, -2 * u, -2 * u**2, -2 * v, -2 * v**2])
    found = drift_features(ratio, jnp.log(ratio), advantage, time)
    np.testing.assert_allclose(found, np.concatenate([x, 0.25 * x, 3.0 * x]), rtol=1e-6)


@pytest.mark.parametrize(("num_time_features", "count"), [(0, 1152), (1, 2176)])
def test_parameter_counts_are_those_of_the_paper(num_time_features, count, key):
    drawn = init_drift(key, num_time_features=num_time_features, hidden_size=128)
    assert sum(x.size for x in jax.tree.leaves(drawn)) == count


def test_time_reaches_only_a_rule_that_is_aware_of_it():
    early, late = (Progress(jnp.int32(n), jnp.int32(9)) for n in (1, 8))
    for name, objective in RULES.items():
        meta_params = drawn(objective, 3, 0.5)
        x, y = (drift_of(objective, meta_params, p)(RATIO, ADVANTAGE) for p in (early, late))
        assert np.any(x != y) == name.startswith("ta-")


def test_length_of_life_reaches_only_the_rule_with_log_horizon():
    short, long = (Progress(jnp.int32(0), jnp.int32(n)) for n in (5, 500))  # n/N is 0 in both
    for name, objective in RULES.items():
        meta_params = drawn(objective, 3, 0.5)
        x, y = (drift_of(objective, meta_params, p)(RATIO, ADVANTAGE) for p in (short, long))
        assert np.any(x != y) == name.endswith("log N")


@pytest.mark.parametrize(
    ("factory", "settings", "mention"),
    [
        (lpo, {"log_horizon": True}, "temporal=False"),
        (lpo, {"hidden_size": 0}, "at least 1"),
        (lpo, {"offset": -1.0}, "at least 0"),
        (dpo, {"a": 0.0}, "must be positive"),
        (lpo, {"discount": 2.0}, "lpo was given discount = 2.0"),
    ],
)
def test_what_cannot_be_is_refused(factory, settings, mention):
    with pytest.raises(ValueError, match=mention):
        factory(SPACE, **settings)


def test_ppo_beyond_the_clip_and_dpo_at_negative_advantages_differ():
    """The two closed forms are not one function by accident."""
    progress = Progress(jnp.int32(0), jnp.int32(1))
    ratio, advantage = jnp.float32(0.5), jnp.float32(-2.0)
    clipped, discovered = (drift_of(o(SPACE), (), progress)(ratio, advantage) for o in (ppo, dpo))
    np.testing.assert_allclose(clipped, 0.6, rtol=1e-6)  # (0.5 - 0.8) (-2)
    assert abs(discovered - clipped) > 0.1 and discovered == dpo_drift(ratio, jnp.log(ratio), advantage)
