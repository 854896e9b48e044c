"""PPO: the clipped surrogate in its two forms, its statistics, its gradient, and whether it solves the probes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gymnax.environments import spaces
from jax.test_util import check_grads

from envs.probes import PROBES
from envs.registry import make_family
from metarl.lifetime.agent import make_agent
from metarl.networks.actor_critic import mlp
from metarl.networks.policy import act, draw_action_noise, policy_head_size
from metarl.objectives.a2c import a2c
from metarl.objectives.actor_critic_loss import AdvantageTargets, clipped_value_loss, kl_estimate
from metarl.objectives.base import Rollout
from metarl.objectives.drift import clip_drift
from metarl.objectives.ppo import ppo
from metarl.progress import Progress

M = 12
DISCRETE, BOX = spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,))
SPACES = pytest.mark.parametrize("space", [DISCRETE, BOX], ids=["discrete", "box"])
PROGRESS = Progress(jnp.int32(0), jnp.int32(10))
FLOAT32 = 1e-5  # means over a dozen numbers


def make_batch(space, key):
    """A minibatch `[M]` and its targets."""
    keys = jax.random.split(key, 5)
    outputs = {
        "policy": jax.random.normal(keys[0], (M, policy_head_size(space))),
        "value": jax.random.normal(keys[1], (M, 1)),
    }
    action = act(outputs["policy"], draw_action_noise(keys[2], space, (M,)), space)
    flags = jnp.zeros((M,), bool)
    rollout = Rollout(jnp.zeros((M,)), action, jnp.zeros((M,)), flags, flags, outputs, outputs)
    return rollout, AdvantageTargets(jax.random.normal(keys[3], (M,)), jax.random.normal(keys[4], (M,)))


def moved(outputs, key, distance=0.3):
    return jax.tree.map(lambda x: x + distance * jax.random.normal(key, x.shape), outputs)


def loss_of(objective, batch, outputs):
    rollout, targets = batch
    return objective.loss((), outputs, rollout, targets, PROGRESS)


def test_the_drift_form_is_the_clipped_surrogate(key):
    ratio = jnp.exp(jax.random.normal(key, (1000,)))
    advantage = jax.random.normal(jax.random.fold_in(key, 1), (1000,))
    clipped = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
    np.testing.assert_allclose(ratio * advantage - clip_drift(ratio, advantage, 0.2), clipped, rtol=1e-5, atol=1e-6)


def test_the_loss_is_its_three_terms(key):
    rollout, targets = batch = make_batch(DISCRETE, key)
    outputs = moved(rollout.outputs, key)
    loss, info = loss_of(ppo(DISCRETE, clip=0.1, entropy_coefficient=0.3, value_coefficient=0.7), batch, outputs)
    old, new = (np.asarray(jax.nn.log_softmax(x["policy"]), np.float64) for x in (rollout.outputs, outputs))
    log_ratio = (new - old)[np.arange(M), np.asarray(rollout.action)]
    ratio, advantage = np.exp(log_ratio), np.asarray(targets.advantage, np.float64)
    scaled = (advantage - advantage.mean()) / advantage.std()
    actor = -np.minimum(ratio * scaled, np.clip(ratio, 0.9, 1.1) * scaled).mean()
    critic = 0.5 * ((outputs["value"][:, 0] - targets.value) ** 2).mean()
    entropy = -(np.exp(new) * new).sum(-1).mean()
    np.testing.assert_allclose(loss, actor + 0.7 * critic - 0.3 * entropy, rtol=FLOAT32)
    np.testing.assert_allclose(info["policy_entropy"], entropy, rtol=FLOAT32)
    np.testing.assert_allclose(info["value_loss"], critic, rtol=FLOAT32)
    np.testing.assert_allclose(
        info["policy_kl"], (ratio - 1.0 - log_ratio).mean(), rtol=1e-4
    )  # small differences of numbers near 1
    np.testing.assert_allclose(info["clip_fraction"], (np.abs(ratio - 1.0) > 0.1).mean(), rtol=FLOAT32)
    np.testing.assert_allclose(info["advantage_std"], advantage.std(), rtol=FLOAT32)
    assert 0.0 < info["clip_fraction"] < 1.0


@SPACES
def test_gradient_agrees_with_finite_differences(space, key):
    rollout, _ = batch = make_batch(space, key)
    outputs = moved(rollout.outputs, key, 0.05)
    objective = ppo(space, clip=0.9, entropy_coefficient=0.1)  # kinks far away, where differences would be wrong
    # float32: central differences with a step of 1e-2 are good to about 1e-4 / 1e-2.
    check_grads(jax.jit(lambda x: loss_of(objective, batch, x)[0]), (outputs,), 1, ("rev",), 1e-2, 1e-2, 1e-2)


@SPACES
def test_the_first_gradient_is_that_of_a2c(space, key):
    """Where the ratio is 1, d(r A) = A d log pi and nothing is clipped."""
    rollout, _ = batch = make_batch(space, key)
    first, reference = (jax.grad(lambda x, o=o: loss_of(o(space), batch, x)[0])(rollout.outputs) for o in (ppo, a2c))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), first, reference)


@pytest.mark.parametrize(
    ("advantage", "shift", "is_clipped"), [(1, 1, True), (-1, -1, True), (1, -1, False), (-1, 1, False)]
)
def test_only_a_ratio_that_already_moved_the_right_way_stops_pushing(advantage, shift, is_clipped):
    ratio = jnp.float32(1.0 + 0.5 * shift)
    slope = jax.grad(lambda r: r * advantage - clip_drift(r, jnp.float32(advantage), 0.2))(ratio)
    assert slope == (0.0 if is_clipped else advantage)


def test_advantages_are_normalised_in_the_minibatch(key):
    """Shifting and scaling all advantages of a minibatch changes nothing."""
    rollout, targets = batch = make_batch(DISCRETE, key)
    outputs = moved(rollout.outputs, key)
    other = (rollout, targets._replace(advantage=7.0 + 3.0 * targets.advantage))
    losses = [loss_of(ppo(DISCRETE), x, outputs)[0] for x in (batch, other)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_the_expected_kl_estimate_is_the_divergence(key):
    """Under the old policy; the expectation is taken exactly, over all actions."""
    old, new = jax.nn.log_softmax(jax.random.normal(key, (2, 5)))
    estimates = jnp.stack([kl_estimate((new - old)[a, None]) for a in range(5)])
    np.testing.assert_allclose(jnp.exp(old) @ estimates, jnp.sum(jnp.exp(old) * (old - new)), rtol=1e-5)
    assert (estimates >= 0.0).all()
    assert kl_estimate(jnp.zeros((4,))) == 0.0


def test_the_clipped_critic_loss_takes_the_larger_error():
    """Values 0 -> 1, targets 2 and 0.5: the first is held at 0.2 (error 1.8, not 1), the second errs by 0.5."""
    loss = clipped_value_loss(jnp.array([1.0, 1.0]), jnp.array([2.0, 0.5]), jnp.zeros((2,)), 0.2)
    np.testing.assert_allclose(loss, 0.5 * (1.8**2 + 0.5**2) / 2.0, rtol=FLOAT32)


def test_clips_value_replaces_the_critic_loss_alone(key):
    rollout, targets = batch = make_batch(DISCRETE, key)
    outputs = moved(rollout.outputs, key, 1.0)
    (plain, info), (clipped, clipped_info) = (
        loss_of(ppo(DISCRETE, clips_value=c), batch, outputs) for c in (False, True)
    )
    expected = clipped_value_loss(outputs["value"][:, 0], targets.value, rollout.outputs["value"][:, 0], 0.2)
    np.testing.assert_allclose(clipped_info["value_loss"], expected, rtol=FLOAT32)
    assert clipped_info["value_loss"] > info["value_loss"]
    np.testing.assert_allclose(
        clipped - plain, 0.5 * (expected - info["value_loss"]), rtol=1e-4
    )  # difference of two losses


def test_settings_are_json_and_rebuild_the_objective(key):
    rollout, _ = batch = make_batch(DISCRETE, key)
    outputs = moved(rollout.outputs, key, 1.0)
    objective = ppo(
        DISCRETE, clip=0.3, clips_value=True, discount=0.5, lambda_=0.25, entropy_coefficient=0.5, value_coefficient=2.0
    )
    again = ppo(DISCRETE, **json.loads(json.dumps(objective.settings)))
    assert again.settings == objective.settings
    assert loss_of(again, batch, outputs)[0] == loss_of(objective, batch, outputs)[0]
    assert loss_of(ppo(DISCRETE), batch, outputs)[0] != loss_of(objective, batch, outputs)[0]


@pytest.mark.parametrize("settings", [{"clip": 0.0}, {"clip": 1.0}, {"discount": 1.5}, {"lambda_": -0.5}])
def test_numbers_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="ppo was given .*must lie in"):
        ppo(DISCRETE, **settings)


@pytest.mark.learning
@pytest.mark.parametrize("name", PROBES)
def test_ppo_solves_the_probe(name, key):
    """Values within 0.1 plus 2 % of the truth everywhere; where actions matter, 95 % of the best return."""
    family, discount = make_family(f"probe/{name}"), 0.9
    task, space = family.sample(key), family.env.action_space()
    objective = ppo(space, discount=discount)
    network = mlp((1,), objective.heads(space), hidden=(32,), activation="tanh")
    sizes = {"num_envs": 16, "unroll_length": 16, "num_epochs": 4, "num_minibatches": 4}
    agent = make_agent(family.env, objective, network, optax.adam(1e-2), action_space=space, **sizes)

    def update(state, step):
        return agent.update((), state, task.params, Progress(step, jnp.int32(250)), jax.random.fold_in(key, step))

    @jax.jit
    def live(key):
        return jax.lax.scan(update, agent.init(key, task.params), jnp.arange(250))

    state, info = live(key)
    values = PROBES[name].values(discount)
    learned = network.apply(state.params, jnp.array([[seen] for seen in values]))["value"][..., 0]
    np.testing.assert_allclose(learned, np.array(list(values.values())), rtol=0.02, atol=0.1)
    if name.startswith("action"):
        assert info["return"][-50:].mean() > 0.95 * family.optimal_return(task.params)
