"""The learned policy gradient: network shapes and masks against plain NumPy, the loss against its closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from metarl.objectives.base import Rollout
from metarl.objectives.lpg import LPGTargets, lpg, lpg_loss, rule_inputs
from metarl.objectives.lpg_network import backward_gru, embed, init_params, read_heads
from metarl.progress import Progress, features

SPACE = spaces.Discrete(5)
T, B, M = 6, 3, 8
MIDLIFE = Progress(jnp.int32(3), jnp.int32(20))
FLOAT32 = 1e-5  # a chain of some hundred float32 operations against float64


def random_rollout(key, done_at=((2, 1),)):
    keys = jax.random.split(key, 5)
    outputs = {
        "policy": jax.random.normal(keys[0], (T + 1, B, 5)),
        "prediction": jax.random.normal(keys[1], (T + 1, B, M)),
    }
    terminated = jnp.zeros((T, B), bool)
    for t, b in done_at:
        terminated = terminated.at[t, b].set(True)
    return Rollout(
        observation=jnp.zeros((T, B), jnp.int32),
        action=jax.random.randint(keys[2], (T, B), 0, 5),
        reward=jax.random.normal(keys[3], (T, B)),
        terminated=terminated,
        truncated=jnp.zeros((T, B), bool),
        outputs={name: x[:-1] for name, x in outputs.items()},
        next_outputs={name: x[1:] for name, x in outputs.items()},
    )


@pytest.fixture(scope="module")
def params():
    params = init_params(jax.random.key(1), hidden_size=4, num_predictions=M, num_time_features=2)
    # Zero biases would hide a bias in the wrong place.
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    return treedef.unflatten([x + 0.1 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_rule(params, rollout, time):
    """The rule as loops over single transitions in float64."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    roll = jax.tree.map(np.asarray, rollout)

    def softmax(x):
        weights = np.exp(x.astype(np.float64) - x.max())
        return weights / weights.sum()

    def embedding(logits):
        hidden = np.maximum(softmax(logits) @ params["embed_hidden"]["kernel"] + params["embed_hidden"]["bias"], 0)
        return (hidden @ params["embed_output"]["kernel"] + params["embed_output"]["bias"])[0]

    gru, size = params["gru"], 4
    pi_hat, y_hat = np.zeros((T, B)), np.zeros((T, B, M))
    for b in range(B):
        hidden = np.zeros(size)
        for t in reversed(range(T)):
            done = float(roll.terminated[t, b] or roll.truncated[t, b])
            hidden = hidden * (1 - done)
            probability = softmax(roll.outputs["policy"][t, b])[roll.action[t, b]] + 1e-8
            now, then = embedding(roll.outputs["prediction"][t, b]), embedding(roll.next_outputs["prediction"][t, b])
            x = np.array([roll.reward[t, b], done, probability, now, (1 - done) * then, *time])
            from_input = x @ gru["input_kernel"] + gru["input_bias"]
            from_hidden = hidden @ gru["hidden_kernel"]
            r, z = (
                sigmoid(from_input[i * size : (i + 1) * size] + from_hidden[i * size : (i + 1) * size]) for i in (0, 1)
            )
            n = np.tanh(from_input[2 * size :] + r * (from_hidden[2 * size :] + gru["candidate_bias"]))
            hidden = (1 - z) * n + z * hidden
            active = np.maximum(hidden, 0)
            pi_hat[t, b] = (active @ params["pi_hat"]["kernel"] + params["pi_hat"]["bias"])[0]
            y_hat[t, b] = softmax(active @ params["y_hat"]["kernel"] + params["y_hat"]["bias"])
    return pi_hat, y_hat


def test_rule_equals_a_loop_over_transitions_in_numpy(params, key):
    rollout = random_rollout(key)
    rule = lpg(SPACE, temporal=True, hidden_size=4)
    targets = rule.targets(params, rollout, MIDLIFE)
    pi_hat, y_hat = numpy_rule(params, rollout, np.asarray(features(MIDLIFE, "paper")))
    np.testing.assert_allclose(targets.pi_hat, pi_hat, atol=FLOAT32)
    np.testing.assert_allclose(targets.y_hat, y_hat, atol=FLOAT32)


@pytest.mark.parametrize(("hidden", "blind", "aware"), [(32, 4138, 4330), (64, 14250, 14634), (256, 203946, 205482)])
def test_parameter_counts_are_those_of_the_reference(hidden, blind, aware):
    for temporal, count in ((False, blind), (True, aware)):
        shapes = jax.eval_shape(lpg(SPACE, temporal=temporal, hidden_size=hidden).init, jax.random.key(0))
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_an_episode_end_hides_everything_after_it(params, key):
    rollout = random_rollout(key, done_at=((2, 1),))
    changed = rollout._replace(
        reward=rollout.reward.at[3:, 1].add(5.0),
        outputs={name: x.at[3:, 1].add(1.0) for name, x in rollout.outputs.items()},
        next_outputs={name: x.at[2:, 1].add(1.0) for name, x in rollout.next_outputs.items()},
    )
    rule = lpg(SPACE, temporal=True, hidden_size=4)
    before, after = (rule.targets(params, r, MIDLIFE).pi_hat for r in (rollout, changed))
    np.testing.assert_array_equal(before[:3, 1], after[:3, 1])
    assert not np.allclose(before[3:, 1], after[3:, 1])


def test_truncation_cuts_like_termination(params, key):
    rollout = random_rollout(key)
    cut = rollout._replace(terminated=rollout.truncated, truncated=rollout.terminated)
    rule = lpg(SPACE, temporal=True, hidden_size=4)
    np.testing.assert_array_equal(*(rule.targets(params, r, MIDLIFE).pi_hat for r in (rollout, cut)))


def test_the_past_does_not_reach_the_rule(params, key):
    rollout = random_rollout(key, done_at=())
    changed = rollout._replace(reward=rollout.reward.at[:3].add(5.0))
    rule = lpg(SPACE, temporal=True, hidden_size=4)
    before, after = (rule.targets(params, r, MIDLIFE).pi_hat for r in (rollout, changed))
    np.testing.assert_array_equal(before[3:], after[3:])
    assert not np.allclose(before[:3], after[:3])


def test_zero_parameters_say_nothing(key):
    rule = lpg(SPACE, temporal=True, hidden_size=4)
    zeros = jax.tree.map(jnp.zeros_like, rule.init(key))
    targets = rule.targets(zeros, random_rollout(key), MIDLIFE)
    np.testing.assert_array_equal(targets.pi_hat, np.zeros((T, B)))
    np.testing.assert_allclose(targets.y_hat, np.full((T, B, M), 1 / M), rtol=1e-6)


def test_a_blind_rule_ignores_time_and_an_aware_one_does_not(params, key):
    rollout = random_rollout(key)
    early, late = Progress(jnp.int32(0), jnp.int32(50)), Progress(jnp.int32(49), jnp.int32(50))
    blind = lpg(SPACE, hidden_size=4)
    blind_params = blind.init(key)
    np.testing.assert_array_equal(*(blind.targets(blind_params, rollout, p).pi_hat for p in (early, late)))
    aware = lpg(SPACE, temporal=True, hidden_size=4)
    assert not np.allclose(*(aware.targets(params, rollout, p).pi_hat for p in (early, late)))


def test_inputs_are_reward_done_probability_and_embedded_predictions(params, key):
    rollout = random_rollout(key)
    x = rule_inputs(params, rollout, jnp.array([0.5, 2.0]))
    probability = jnp.take_along_axis(jax.nn.softmax(rollout.outputs["policy"]), rollout.action[..., None], -1)[..., 0]
    now = embed(params, jax.nn.softmax(rollout.outputs["prediction"]))
    then = embed(params, jax.nn.softmax(rollout.next_outputs["prediction"]))
    done = rollout.done.astype(jnp.float32)
    for column, expected in enumerate((rollout.reward, done, probability, now, (1 - done) * then)):
        np.testing.assert_allclose(x[..., column], expected, atol=1e-6, err_msg=f"column {column}")
    np.testing.assert_array_equal(x[..., 5:], jnp.broadcast_to(jnp.array([0.5, 2.0]), (T, B, 2)))


def test_loss_is_its_closed_form(key):
    rollout = random_rollout(key)
    targets = LPGTargets(jax.random.normal(key, (T, B)), jax.nn.softmax(jax.random.normal(key, (T, B, M))))
    loss, info = lpg_loss(rollout.outputs, rollout, targets, 0.5)
    pi, y = (np.asarray(jax.nn.softmax(rollout.outputs[name]), np.float64) for name in ("policy", "prediction"))
    taken = np.take_along_axis(pi, np.asarray(rollout.action)[..., None], -1)[..., 0]
    divergence = np.mean(np.sum(y * np.log(y / np.asarray(targets.y_hat)), -1))
    np.testing.assert_allclose(loss, np.mean(np.log(taken) * targets.pi_hat) + 0.5 * divergence, rtol=1e-5)
    np.testing.assert_allclose(info["prediction_kl"], divergence, rtol=1e-4)
    np.testing.assert_allclose(info["policy_entropy"], -np.mean(np.sum(pi * np.log(pi), -1)), rtol=1e-5)


def test_positive_pi_hat_lowers_the_probability_of_the_action(key):
    rollout = random_rollout(key)
    targets = LPGTargets(jnp.ones((T, B)), jax.nn.softmax(rollout.outputs["prediction"]))
    gradient = jax.grad(lambda outputs: lpg_loss(outputs, rollout, targets, 0.5)[0])(rollout.outputs)["policy"]
    moved = rollout.outputs["policy"] - gradient
    for t, b in np.ndindex(T, B):
        action = rollout.action[t, b]
        assert jax.nn.softmax(moved[t, b])[action] < jax.nn.softmax(rollout.outputs["policy"][t, b])[action]


def test_gradient_agrees_with_finite_differences(key):
    rollout = random_rollout(key)
    targets = LPGTargets(jax.random.normal(key, (T, B)), jax.nn.softmax(jax.random.normal(key, (T, B, M))))
    jax.test_util.check_grads(
        lambda outputs: lpg_loss(jax.tree.map(jnp.asarray, outputs), rollout, targets, 0.5)[0],
        (rollout.outputs,),
        order=1,
        modes=["rev"],
        rtol=1e-2,
    )  # float32 differences over a step of 1e-2 are exact to about a percent


def test_memory_is_cleared_before_a_final_transition_is_read(params):
    inputs = jnp.ones((T, 1, 7))
    alone = backward_gru(params["gru"], inputs[:1], jnp.zeros((1, 1), bool))[0]
    after_end = backward_gru(params["gru"], inputs, jnp.zeros((T, 1), bool).at[2].set(True))[2]
    np.testing.assert_allclose(alone, after_end, rtol=1e-6)


def test_heads_read_the_rectified_hidden_state(params):
    pi_hat, y_hat = read_heads(params, -jnp.ones((T, B, 4)))
    np.testing.assert_allclose(pi_hat, np.full((T, B), params["pi_hat"]["bias"][0]), rtol=1e-6)
    np.testing.assert_allclose(y_hat[0, 0], jax.nn.softmax(params["y_hat"]["bias"]), rtol=1e-6)


@pytest.mark.parametrize(
    ("space", "options", "words"),
    [
        (spaces.Box(-1, 1, (2,)), {}, "discrete"),
        (SPACE, {"encoding": "paper"}, "temporal=False"),
        (SPACE, {"temporal": True, "encoding": "lunar"}, "'lunar' is unknown"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(space, options, words):
    with pytest.raises(ValueError, match=words):
        lpg(space, **options)
