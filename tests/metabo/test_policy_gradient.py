"""Advantages by hand, what gradients reach, and a bandit of two arms that is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import NUMERIC, pool_params
from metarl.metabo.episode import make_episode
from metarl.metabo.policy_gradient import (
    critic_advantages,
    group_advantages,
    make_policy_loss,
    normalise,
    outcome,
)

CLIP = 0.2
ACQUISITION, CRITIC = {"acquisition_head"}, {"value_hidden", "value_out"}


def test_advantages_of_a_group_sum_to_zero(key):
    reward = jax.random.normal(key, (3, 4, 5))
    advantages = group_advantages(reward, discount=0.9)
    np.testing.assert_allclose(jnp.sum(advantages, axis=1), np.zeros((3, 5)), atol=1e-5)
    assert jnp.std(advantages) > 0.5


def test_advantages_of_a_group_are_returns_to_go_less_their_mean():
    reward = jnp.array([[[1.0, 0.0, 4.0], [3.0, 2.0, 0.0]]])
    # With discount 1/2 the returns to go are (2, 2, 4) and (4, 2, 0).
    np.testing.assert_allclose(group_advantages(reward, discount=0.5)[0], [[-1.0, 0.0, 2.0], [1.0, 0.0, -2.0]])


def test_the_end_of_the_budget_is_the_end():
    """Nothing is expected behind the last choice: its advantage is its reward less what was expected."""
    reward, value = jnp.array([[[1.0, 2.0]]]), jnp.array([[[10.0, 20.0]]])
    advantages, targets = critic_advantages(reward, value, discount=0.5, lambda_=0.25)
    last = 2.0 - 20.0
    first = (1.0 + 0.5 * 20.0 - 10.0) + 0.5 * 0.25 * last
    np.testing.assert_allclose(advantages[0, 0], [first, last], rtol=1e-6)
    np.testing.assert_allclose(targets[0, 0], [first + 10.0, 2.0], rtol=1e-6)


def test_normalised_advantages_have_mean_0_and_deviation_1(key):
    found = normalise(5.0 + 3.0 * jax.random.normal(key, (4, 6, 7)))
    np.testing.assert_allclose([jnp.mean(found), jnp.std(found)], [0.0, 1.0], atol=1e-5)
    np.testing.assert_array_equal(normalise(jnp.full((2, 3), 7.0)), np.zeros((2, 3)))


def decide(model, room, params):
    """One decision of a policy with these parameters."""
    episode = make_episode(model.nap, room.env, num_steps=2)
    _, decisions = jax.jit(episode)(params, room.task, room.initial, jax.random.key(2))
    return jax.tree.map(lambda leaf: leaf[1], decisions)


def loss_of(model, rereads):
    return make_policy_loss(model.nap, clip=CLIP, rereads=rereads)


@pytest.fixture(scope="module")
def decision(model, room):
    return decide(model, room, model.params)


@pytest.mark.parametrize("rereads", [True, False])
def test_for_the_policy_that_chose_nothing_has_changed(model, room, decision, rereads):
    parts = jax.jit(loss_of(model, rereads))(model.params, room.task, decision, jnp.float32(1.7), jnp.float32(0.4))
    np.testing.assert_allclose(parts.surrogate, -1.7, rtol=1e-5)
    np.testing.assert_allclose(parts.divergence, 0.0, atol=1e-6)
    assert parts.clipped == 0.0
    reading = decision.belief.reading
    belief = decision.belief._replace(reading=reading)
    logits = model.nap.prefer(model.params, belief, decision.observation["progress"])
    log_probs = np.asarray(jax.nn.log_softmax(logits[decision.is_allowed]))
    np.testing.assert_allclose(parts.entropy, -np.sum(np.exp(log_probs) * log_probs), rtol=1e-4)
    value = model.nap.value(model.params, belief, decision.observation["progress"])
    np.testing.assert_allclose(parts.value, (value - 0.4) ** 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("ratio", "advantage", "is_clipped", "moves"),
    [(1.5, 1.0, True, False), (1.5, -1.0, True, True), (0.5, -1.0, True, False), (1.1, 1.0, False, True)],
)
def test_a_choice_that_has_become_likely_enough_teaches_nothing_more(
    model, room, decision, ratio, advantage, is_clipped, moves
):
    before = decision._replace(log_prob=decision.log_prob - jnp.log(jnp.float32(ratio)))
    loss = loss_of(model, False)

    @jax.jit
    def surrogate(params):
        parts = loss(params, room.task, before, jnp.float32(advantage), jnp.float32(0.0))
        return parts.surrogate, parts.clipped

    (value, clipped), gradient = jax.value_and_grad(surrogate, has_aux=True)(model.params)
    bounded = float(np.clip(ratio, 1.0 - CLIP, 1.0 + CLIP))
    np.testing.assert_allclose(value, -min(ratio * advantage, bounded * advantage), rtol=1e-4)
    assert bool(clipped) == is_clipped
    assert any((leaf != 0.0).any() for leaf in jax.tree.leaves(gradient)) == moves


def reached(gradient):
    """Names of the parts of the model whose gradient is not exactly zero."""
    return {name for name, part in gradient.items() if any((leaf != 0.0).any() for leaf in jax.tree.leaves(part))}


def gradients(model, room, decision, rereads):
    """Gradients of the surrogate with entropy, and of the critic's error."""
    loss = loss_of(model, rereads)

    def part(name):
        def of(params):
            parts = loss(params, room.task, decision, jnp.float32(1.3), jnp.float32(0.4))
            return parts.value if name == "value" else parts.surrogate - 0.1 * parts.entropy

        return jax.jit(jax.grad(of))(model.params)

    return part("surrogate"), part("value")


@pytest.mark.parametrize("rereads", [True, False])
def test_reinforcement_leaves_transformer_embedding_and_bars_alone(model, room, decision, rereads):
    policy, critic = gradients(model, room, decision, rereads)
    assert reached(policy) == ACQUISITION and reached(critic) == CRITIC


def test_without_a_stop_reinforcement_reaches_transformer_embedding_and_bars(joint, room):
    policy, critic = gradients(joint, room, decide(joint, room, joint.params), True)
    assert reached(policy) == set(joint.params) - CRITIC
    assert {"layers", "embed_point", "embed_value", "bars_head"} < reached(policy)
    assert reached(critic) == CRITIC


def two_arms(key):
    """Two candidates in random order; the one further to the right is worth 1, the other 0."""
    right = jax.random.bernoulli(key).astype(jnp.int32)
    y = (jnp.arange(2) == right).astype(jnp.float32)
    x = 0.2 + 0.6 * y + 0.1 * jax.random.uniform(jax.random.fold_in(key, 1), (2,))
    return pool_params(x[:, None], jnp.array([NUMERIC], jnp.int32), y, horizon=1, num_init=0)


def test_the_better_of_two_arms_is_learned(joint):
    """From indifference, and with nothing but rewards to go by."""
    episode = make_episode(joint.nap, BlackBox(2, max_horizon=1, max_init=0), num_steps=1)
    loss, optimiser = make_policy_loss(joint.nap, clip=CLIP, rereads=True), optax.adam(1e-2)
    nothing = jnp.zeros((0,), jnp.int32)

    def iteration(carry, key):
        params, moments = carry
        tasks = jax.vmap(two_arms)(jax.random.split(key, 8))
        keys = jax.random.split(jax.random.fold_in(key, 1), (8, 8))
        play = jax.vmap(jax.vmap(episode, (None, None, None, 0)), (None, 0, None, 0))
        start, decisions = play(params, tasks, nothing, keys)
        worth = jax.vmap(jax.vmap(lambda s, b, t: outcome(s, b, t, reward="neg_regret"), (0, 0, None)))(
            start, decisions.best, tasks
        )
        advantages = normalise(group_advantages(worth.reward, discount=1.0))

        def total(params):
            over_steps = jax.vmap(loss, (None, None, 0, 0, 0))
            parts = jax.vmap(jax.vmap(over_steps, (None, None, 0, 0, 0)), (None, 0, 0, 0, 0))(
                params, tasks, decisions, advantages, jnp.zeros_like(advantages)
            )
            return jnp.mean(parts.surrogate)

        def epoch(carry, _):
            params, moments = carry
            updates, moments = optimiser.update(jax.grad(total)(params), moments)
            return (optax.apply_updates(params, updates), moments), None

        carry, _ = jax.lax.scan(epoch, (params, moments), None, length=3)
        return carry, jnp.mean(worth.reward + 1.0)

    start = (joint.newborn, optimiser.init(joint.newborn))
    _, found = jax.jit(lambda keys: jax.lax.scan(iteration, start, keys))(jax.random.split(jax.random.key(0), 15))
    assert abs(found[0] - 0.5) < 0.2  # a coin, 64 times
    assert jnp.mean(found[-3:]) > 0.95
