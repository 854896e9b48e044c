"""A2C: the loss in closed form, the direction it pushes in, and its gradient against finite differences."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from jax.test_util import check_grads

from metarl.networks.policy import act, draw_action_noise, policy_head_size
from metarl.objectives.a2c import a2c
from metarl.objectives.actor_critic_loss import AdvantageTargets, advantage_targets, normalise, value_loss
from metarl.objectives.base import Rollout
from metarl.progress import Progress
from metarl.returns import generalised_advantages

T, B = 4, 3
DISCRETE, BOX = spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,))
SPACES = pytest.mark.parametrize("space", [DISCRETE, BOX], ids=["discrete", "box"])
PROGRESS = Progress(jnp.int32(0), jnp.int32(10))
FLOAT32 = 1e-5  # means over 12 numbers


def make_rollout(space, key):
    keys = jax.random.split(key, 7)
    size = policy_head_size(space)
    outputs, next_outputs = (
        {"policy": jax.random.normal(keys[i], (T, B, size)), "value": jax.random.normal(keys[i + 1], (T, B, 1))}
        for i in (0, 2)
    )
    terminated = jnp.zeros((T, B), bool).at[1, 0].set(True)
    truncated = jnp.zeros((T, B), bool).at[2, 1].set(True)
    action = act(outputs["policy"], draw_action_noise(keys[4], space, (T, B)), space)
    reward = jax.random.normal(keys[5], (T, B))
    return Rollout(jnp.zeros((T, B)), action, reward, terminated, truncated, outputs, next_outputs)


def loss_of(objective, rollout, outputs, targets=None):
    targets = objective.targets((), rollout, PROGRESS) if targets is None else targets
    return objective.loss((), outputs, rollout, targets, PROGRESS)


def test_targets_are_advantages_of_each_worker_on_its_own(key):
    rollout = make_rollout(DISCRETE, key)
    targets = advantage_targets(rollout, discount=0.9, lambda_=0.8)
    for b in range(B):
        expected = generalised_advantages(
            rollout.reward[:, b],
            rollout.outputs["value"][:, b, 0],
            rollout.next_outputs["value"][:, b, 0],
            terminated=rollout.terminated[:, b],
            truncated=rollout.truncated[:, b],
            discount=0.9,
            lambda_=0.8,
        )
        np.testing.assert_allclose(targets.advantage[:, b], expected, rtol=FLOAT32, atol=FLOAT32)
    np.testing.assert_allclose(targets.value, targets.advantage + rollout.outputs["value"][..., 0], rtol=FLOAT32)


def test_discount_and_lambda_reach_the_targets(key):
    rollout = make_rollout(DISCRETE, key)
    targets = a2c(DISCRETE, discount=0.0, lambda_=0.3).targets((), rollout, PROGRESS)
    np.testing.assert_allclose(targets.value, rollout.reward, rtol=FLOAT32, atol=FLOAT32)


def test_normalised_advantages_have_mean_zero_and_deviation_one(key):
    advantage = 5.0 + 3.0 * jax.random.normal(key, (T, B))
    result = normalise(advantage)
    np.testing.assert_allclose([result.mean(), result.std()], [0.0, 1.0], atol=1e-6)


def test_equal_advantages_are_normalised_to_zero():
    np.testing.assert_array_equal(normalise(jnp.full((T, B), 0.5)), 0.0)


def test_the_critic_loss_is_half_the_mean_square():
    assert value_loss(jnp.array([1.0, 3.0]), jnp.array([0.0, 1.0])) == (1.0 + 4.0) / 4.0


def test_the_loss_is_its_three_terms(key):
    rollout = make_rollout(DISCRETE, key)
    objective = a2c(DISCRETE, entropy_coefficient=0.3, value_coefficient=0.7)
    targets = objective.targets((), rollout, PROGRESS)
    loss, info = loss_of(objective, rollout, rollout.outputs)
    log_probs = np.asarray(jax.nn.log_softmax(rollout.outputs["policy"]), np.float64)
    advantage = np.asarray(targets.advantage, np.float64)
    scaled = (advantage - advantage.mean()) / advantage.std()
    actor = -(np.take_along_axis(log_probs, np.asarray(rollout.action)[..., None], -1)[..., 0] * scaled).mean()
    entropy = -(np.exp(log_probs) * log_probs).sum(-1).mean()
    critic = 0.5 * (advantage**2).mean()
    np.testing.assert_allclose(loss, actor + 0.7 * critic - 0.3 * entropy, rtol=FLOAT32)
    np.testing.assert_allclose(info["policy_entropy"], entropy, rtol=FLOAT32)
    np.testing.assert_allclose(info["value_loss"], critic, rtol=FLOAT32)
    np.testing.assert_allclose(info["advantage_std"], advantage.std(), rtol=FLOAT32)


@SPACES
def test_gradient_agrees_with_finite_differences(space, key):
    rollout = make_rollout(space, key)
    objective = a2c(space, entropy_coefficient=0.1)
    # float32: central differences with a step of 1e-2 are good to about 1e-4 / 1e-2.
    loss = jax.jit(lambda outputs: loss_of(objective, rollout, outputs)[0])
    check_grads(loss, (rollout.outputs,), 1, ("rev",), 1e-2, 1e-2, 1e-2)


@pytest.mark.parametrize("favoured", range(3))
def test_descent_makes_the_better_action_likelier(favoured):
    """One transition per action from the same state; only one of them was worth it."""
    outputs = {"policy": jnp.zeros((3, 3)), "value": jnp.zeros((3, 1))}
    flags = jnp.zeros((3,), bool)
    rollout = Rollout(jnp.zeros((3,)), jnp.arange(3), jnp.zeros((3,)), flags, flags, outputs, outputs)
    advantage = jnp.where(jnp.arange(3) == favoured, 1.0, 0.0)
    objective = a2c(DISCRETE, entropy_coefficient=0.0)
    targets = AdvantageTargets(advantage, jnp.zeros((3,)))

    def loss(logits):
        everywhere = jnp.broadcast_to(logits, (3, 3))
        return loss_of(objective, rollout, {**outputs, "policy": everywhere}, targets)[0]

    step = -jax.grad(loss)(jnp.zeros((3,)))
    assert step[favoured] > 0.0
    assert (step < 0.0).sum() == 2


def test_the_entropy_bonus_flattens_the_policy(key):
    """With equal advantages nothing else moves it."""
    rollout = make_rollout(DISCRETE, key)
    targets = AdvantageTargets(jnp.ones((T, B)), jnp.zeros((T, B)))
    objective = a2c(DISCRETE, entropy_coefficient=1.0)
    gradient = jax.grad(lambda outputs: loss_of(objective, rollout, outputs, targets)[0])(rollout.outputs)
    stepped = {**rollout.outputs, "policy": rollout.outputs["policy"] - 0.1 * gradient["policy"]}
    before, after = (loss_of(objective, rollout, x, targets)[1]["policy_entropy"] for x in (rollout.outputs, stepped))
    assert after > before


def test_heads_are_a_policy_for_the_space_and_a_value():
    objective = a2c(DISCRETE)
    assert objective.heads(DISCRETE) == {"policy": 3, "value": 1}
    assert objective.heads(BOX) == {"policy": 4, "value": 1}


def test_there_are_no_meta_parameters_and_truncation_matters(key):
    objective = a2c(DISCRETE)
    assert objective.init(key) == ()
    assert objective.uses_final_observation


def test_settings_are_json_and_rebuild_the_objective(key):
    objective = a2c(DISCRETE, discount=0.5, lambda_=0.25, entropy_coefficient=0.125, value_coefficient=2.0)
    again = a2c(DISCRETE, **json.loads(json.dumps(objective.settings)))
    rollout = make_rollout(DISCRETE, key)
    assert again.settings == objective.settings
    assert loss_of(again, rollout, rollout.outputs)[0] == loss_of(objective, rollout, rollout.outputs)[0]


@pytest.mark.parametrize("setting", ["discount", "lambda_"])
@pytest.mark.parametrize("number", [-0.1, 1.1, float("nan")])
def test_numbers_out_of_range_are_refused(setting, number):
    with pytest.raises(ValueError, match=f"{setting} = .*must lie in"):
        a2c(DISCRETE, **{setting: number})
