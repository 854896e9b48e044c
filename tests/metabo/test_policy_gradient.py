"""Advantages by hand, what gradients reach, and a bandit of two arms that is learned."""

from functools import cache

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


@cache
def measured(nap, rereads):
    """`(params, task, decision, advantage, target) -> (parts, gradients of the surrogate and of the critic's error)`.

    The surrogate has an entropy bonus, as in training.
    """
    loss = make_policy_loss(nap, clip=CLIP, rereads=rereads)

    def measure(params, *rest):
        def both(params):
            parts = loss(params, *rest)
            return jnp.stack([parts.surrogate - 0.1 * parts.entropy, parts.value]), parts

        both_ways, parts = jax.jacrev(both, has_aux=True)(params)
        return parts, *(jax.tree.map(lambda leaf, i=i: leaf[i], both_ways) for i in range(2))

    return jax.jit(measure)


def measure(model, room, decision, *, rereads=False, advantage=1.3, target=0.4):
    rest = (room.task, decision, jnp.float32(advantage), jnp.float32(target))
    return measured(model.nap, rereads)(model.params, *rest)


@pytest.fixture(scope="module")
def decision(model, room):
    return decide(model, room, model.params)


@pytest.mark.parametrize("rereads", [True, False])
def test_for_the_policy_that_chose_nothing_has_changed(model, room, decision, rereads):
    parts, *_ = measure(model, room, decision, rereads=rereads)
    np.testing.assert_allclose(parts.surrogate, -1.3, rtol=1e-5)
    np.testing.assert_allclose(parts.divergence, 0.0, atol=1e-6)
    assert parts.clipped == 0.0
    belief, progress = decision.belief, decision.observation["progress"]
    logits = model.nap.prefer(model.params, belief, progress)
    log_probs = np.asarray(jax.nn.log_softmax(logits[decision.is_allowed]))
    np.testing.assert_allclose(parts.entropy, -np.sum(np.exp(log_probs) * log_probs), rtol=1e-4)
    np.testing.assert_allclose(parts.value, (model.nap.value(model.params, belief, progress) - 0.4) ** 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("ratio", "advantage", "is_clipped", "moves"),
    [(1.5, 1.0, True, False), (1.5, -1.0, True, True), (0.5, -1.0, True, False), (1.1, 1.0, False, True)],
)
def test_a_choice_that_has_become_likely_enough_teaches_nothing_more(
    model, room, decision, ratio, advantage, is_clipped, moves
):
    """Beyond the bound only the entropy is left of the gradient, whatever the advantage."""
    before = decision._replace(log_prob=decision.log_prob - jnp.log(jnp.float32(ratio)))
    parts, gradient, _ = measure(model, room, before, advantage=advantage)
    bounded = float(np.clip(ratio, 1.0 - CLIP, 1.0 + CLIP))
    np.testing.assert_allclose(parts.surrogate, -min(ratio * advantage, bounded * advantage), rtol=1e-4)
    assert bool(parts.clipped) == is_clipped
    _, without, _ = measure(model, room, before, advantage=0.0)
    differs = any((a != b).any() for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(without), strict=True))
    assert differs == moves


def reached(gradient):
    """Names of the parts of the model whose gradient is not exactly zero."""
    return {name for name, part in gradient.items() if any((leaf != 0.0).any() for leaf in jax.tree.leaves(part))}


@pytest.mark.parametrize("rereads", [True, False])
def test_reinforcement_leaves_transformer_embedding_and_bars_alone(model, room, decision, rereads):
    _, policy, critic = measure(model, room, decision, rereads=rereads)
    assert reached(policy) == ACQUISITION and reached(critic) == CRITIC


def test_without_a_stop_reinforcement_reaches_transformer_embedding_and_bars(joint, room):
    _, policy, critic = measure(joint, room, decide(joint, room, joint.params), rereads=True)
    assert reached(policy) == set(joint.params) - CRITIC
    assert {"layers", "embed_point", "embed_value", "bars_head"} < reached(policy)
    assert reached(critic) == CRITIC


def two_arms(key):
    """Two candidates in random order; the one further to the right is worth 1, the other 0."""
    right = jax.random.bernoulli(key).astype(jnp.int32)
    y = (jnp.arange(2) == right).astype(jnp.float32)
    x = 0.2 + 0.6 * y + 0.1 * jax.random.uniform(jax.random.fold_in(key, 1), (2,))
    return pool_params(x[:, None], jnp.array([NUMERIC], jnp.int32), y, horizon=1, num_init=0)


@pytest.mark.learning
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
