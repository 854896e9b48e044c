"""Action distributions against their textbook formulas, and sampling against the distribution."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from hypothesis import given
from hypothesis import strategies as st

from metarl.networks.policy import (
    LOG_STD_BOUND,
    act,
    distribution,
    draw_action_noise,
    entropy,
    log_prob,
    policy_head_size,
)

DISCRETE = spaces.Discrete(5)
BOX = spaces.Box(-1.0, 1.0, (2,))
LAST_UNIFORM = 1.0 - 2.0**-23  # the largest number that jax.random.uniform draws
FLOAT32 = 1e-5  # a handful of float32 operations


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (DISCRETE, 5),
        (spaces.Discrete(5.0), 5),
        (BOX, 4),
        (spaces.Box(-1.0, 1.0, ()), 2),
        (spaces.Box(0, 1, (2, 3)), 12),
    ],
)
def test_head_size_is_one_logit_per_action_or_two_numbers_per_dimension(space, size):
    result = policy_head_size(space)
    assert (result, type(result)) == (size, int)


def test_other_spaces_are_refused():
    with pytest.raises(ValueError, match="Discrete and Box"):
        policy_head_size(spaces.Tuple([DISCRETE, DISCRETE]))


def test_discrete_log_prob_is_log_softmax(key):
    logits = 3.0 * jax.random.normal(key, (4, 3, 5))
    action = jax.random.randint(key, (4, 3), 0, 5)
    expected = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), np.asarray(action)[..., None], -1)[..., 0]
    np.testing.assert_allclose(log_prob(logits, action, DISCRETE), expected, rtol=FLOAT32)


def test_an_action_that_does_not_exist_has_probability_zero():
    assert log_prob(jnp.zeros((5,)), jnp.int32(5), DISCRETE) == -jnp.inf


def test_equal_logits_have_entropy_log_n():
    np.testing.assert_allclose(entropy(jnp.full((5,), 7.0), DISCRETE), np.log(5.0), rtol=FLOAT32)


def test_a_masked_action_contributes_nothing_to_the_entropy():
    logits = jnp.array([0.0, 0.0, -jnp.inf, -jnp.inf, -jnp.inf])
    np.testing.assert_allclose(entropy(logits, DISCRETE), np.log(2.0), rtol=FLOAT32)


def test_box_log_prob_is_the_normal_density(key):
    outputs, action = jax.random.normal(key, (6, 4)), jnp.linspace(-1.0, 1.0, 12).reshape(6, 2)
    mean, raw = np.split(np.asarray(outputs, np.float64), 2, axis=-1)
    std = np.exp(3.0 * np.tanh(raw / 3.0))
    density = -0.5 * ((action - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(log_prob(outputs, action, BOX), density.sum(-1), rtol=FLOAT32, atol=FLOAT32)


def test_box_entropy_is_that_of_independent_normals():
    expected = 2 * 0.5 * np.log(2.0 * np.pi * np.e)  # raw log-std 0 means std 1
    np.testing.assert_allclose(entropy(jnp.zeros((4,)), BOX), expected, rtol=FLOAT32)


@pytest.mark.parametrize("raw", [-1e4, 1e4])
def test_log_std_is_bounded(raw):
    std = act(jnp.array([0.0, 0.0, raw, raw]), jnp.ones((2,)), BOX)
    np.testing.assert_allclose(jnp.log(std), np.sign(raw) * LOG_STD_BOUND, rtol=FLOAT32)


def test_discrete_actions_are_the_inverse_of_the_cumulative_distribution():
    """Noise in the middle of each action's share of [0, 1) selects that action."""
    logits = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.15, 0.25]))
    middles = jnp.array([0.05, 0.2, 0.45, 0.675, 0.875])
    actions = act(jnp.broadcast_to(logits, (5, 5)), middles, DISCRETE)
    np.testing.assert_array_equal(actions, np.arange(5))
    assert actions.dtype == jnp.int32


def test_the_share_of_noise_that_selects_an_action_is_its_probability(key):
    logits = jax.random.normal(key, (5,))
    noise = (jnp.arange(10_000, dtype=jnp.float32) + 0.5) / 10_000
    actions = act(jnp.broadcast_to(logits, (10_000, 5)), noise, DISCRETE)
    shares = np.bincount(np.asarray(actions), minlength=5) / 10_000
    np.testing.assert_allclose(shares, jax.nn.softmax(logits), atol=1.5e-4)  # one and a half cells of the grid of noise


@given(
    st.sampled_from([1, 2, 5, 18]).flatmap(
        lambda n: st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=n, max_size=n)
    ),
    st.floats(0.0, LAST_UNIFORM, width=32),
)
def test_a_discrete_action_always_exists_and_is_possible(logits, noise):
    space, logits = spaces.Discrete(len(logits)), jnp.array(logits, jnp.float32)
    action = act(logits, jnp.float32(noise), space)
    assert 0 <= action < len(logits)
    assert jnp.exp(logits - logits.max())[action] > 0.0


def test_rounding_does_not_select_a_masked_last_action():
    """A tenth has no exact float32, so ten of them do not sum to one."""
    logits = jnp.log(jnp.array([0.1] * 10 + [0.0] * 3))
    assert act(logits, jnp.float32(LAST_UNIFORM), spaces.Discrete(13)) == 9


def test_noise_zero_skips_masked_first_actions():
    assert act(jnp.array([-jnp.inf, -jnp.inf, 0.0]), jnp.float32(0.0), spaces.Discrete(3)) == 2


@pytest.mark.parametrize("logits", [[jnp.nan] * 5, [0.0, jnp.nan, 0.0, 0.0, 0.0], [-jnp.inf] * 5, [jnp.inf] * 5])
def test_outputs_that_are_no_distribution_still_select_an_action(logits):
    assert act(jnp.array(logits), jnp.float32(0.99), DISCRETE) == 0


def test_box_actions_are_mean_plus_std_times_noise(key):
    outputs, noise = jax.random.normal(key, (7, 4)), draw_action_noise(key, BOX, (7,))
    expected = outputs[:, :2] + distribution(outputs, BOX).distribution.scale * noise
    np.testing.assert_allclose(act(outputs, noise, BOX), expected, rtol=FLOAT32)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_box_actions_have_the_shape_of_the_space(key, shape):
    space = spaces.Box(-1.0, 1.0, shape)
    outputs = jnp.zeros((4, policy_head_size(space)))
    action = act(outputs, draw_action_noise(key, space, (4,)), space)
    assert action.shape == (4, *shape)
    assert log_prob(outputs, action, space).shape == (4,)


def test_noise_is_uniform_for_discrete_and_normal_for_box(key):
    uniform, normal = draw_action_noise(key, DISCRETE, (200, 50)), draw_action_noise(key, BOX, (200, 25))
    assert (uniform.shape, normal.shape) == ((200, 50), (200, 25, 2))
    assert 0.0 <= uniform.min() and uniform.max() < 1.0
    # Standard errors of 1e4 draws: uniform mean 0.003, normal mean 0.01, normal deviation 0.007; 5 of them.
    np.testing.assert_allclose(uniform.mean(), 0.5, atol=0.015)
    np.testing.assert_allclose([normal.mean(), normal.std() - 1.0], 0.0, atol=0.05)


@pytest.mark.parametrize("space", [DISCRETE, BOX], ids=["discrete", "box"])
def test_a_distribution_may_leave_jit_and_vmap(key, space):
    outputs = jax.random.normal(key, (3, policy_head_size(space)))
    made = jax.jit(jax.vmap(lambda x: distribution(x, space)))(outputs)
    assert isinstance(made, distrax.Distribution)
    np.testing.assert_allclose(made.entropy(), entropy(outputs, space), rtol=FLOAT32)


@pytest.mark.parametrize("space", [DISCRETE, BOX], ids=["discrete", "box"])
def test_jit_and_vmap_change_no_action(key, space):
    outputs = jax.random.normal(key, (8, policy_head_size(space)))
    noise = draw_action_noise(key, space, (8,))
    together = jax.jit(lambda x, u: act(x, u, space))(outputs, noise)
    one_by_one = jnp.stack([act(x, u, space) for x, u in zip(outputs, noise, strict=True)])
    np.testing.assert_allclose(together, one_by_one, rtol=FLOAT32)


@pytest.mark.parametrize("space", [DISCRETE, BOX], ids=["discrete", "box"])
def test_the_expected_score_is_zero(key, space):
    """E[grad log pi(a)] = 0: sampling and density belong to the same distribution."""
    outputs = 0.3 * jax.random.normal(key, (policy_head_size(space),))
    many = jnp.broadcast_to(outputs, (20_000, *outputs.shape))
    action = act(many, draw_action_noise(key, space, (20_000,)), space)
    score = jax.grad(lambda x: log_prob(jnp.broadcast_to(x, many.shape), action, space).mean())(outputs)
    np.testing.assert_allclose(score, 0.0, atol=0.05)  # standard error at most 1.5 / sqrt(2e4) = 0.01
