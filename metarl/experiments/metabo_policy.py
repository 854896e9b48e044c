"""One iteration of the second phase: episodes of the model, then epochs of PPO and likelihood on them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from envs.blackbox.environment import BlackBox
from metarl.experiments.base import Metrics
from metarl.experiments.metabo_config import MetaboConfig
from metarl.experiments.metabo_phases import PolicyConfig
from metarl.metabo.episode import Decision, make_episode
from metarl.metabo.likelihood import context_loss
from metarl.metabo.nap import NAP
from metarl.metabo.policy_gradient import (
    PolicyLoss,
    critic_advantages,
    group_advantages,
    make_policy_loss,
    normalise,
    outcome,
)
from populations.mesh import split

POLICY_METRICS = (
    "fitness",
    "regret",
    "regret_last",
    "entropy",
    "clipped",
    "divergence",
    "value_error",
    "surrogate",
    "policy_norm",
    "critic_norm",
    "backbone_norm",
)
"""What the second phase is watched by: mean return, mean and last regret of episodes, parts of the loss, gradients."""


def part_of(path: tuple[Any, ...]) -> str:
    """Returns which optimiser moves the parameter at this path: policy, critic or backbone."""
    name = str(path[0].key)
    return "policy" if name == "acquisition_head" else "critic" if name.startswith("value_") else "backbone"


def make_policy_step(
    config: MetaboConfig,
    nap: NAP,
    batches: Callable[[int], Callable[[Array], Any]],
    optimiser: optax.GradientTransformation,
    *,
    mesh: Any = None,
) -> Callable[[Any, Array], tuple[Any, Metrics]]:
    """Returns `improve(state, key) -> (state, metrics)`, an iteration of reinforcement learning."""
    settings = config.policy
    env = BlackBox(config.tasks.num_candidates, max_horizon=settings.horizon, max_init=settings.num_init)
    sample, sample_likelihood = batches(settings.num_tasks), batches(settings.likelihood_batch)
    episode = make_episode(
        nap,
        env,
        num_steps=settings.horizon,
        temperature=settings.temperature,
        top_k=settings.top_k,
        rereads=not config.model.stop_gradient,
    )
    gradients = _make_gradients(config, nap, sample_likelihood)

    def play(params: Any, key: Array) -> tuple[Any, Array, Decision]:
        """Returns (tasks [K], best initial values [K, G], decisions [K, G, T])."""
        key_tasks, key_start, key_choices = jax.random.split(key, 3)
        tasks = jax.tree.map(lambda leaf: split(leaf, mesh), sample(key_tasks))
        keys = jax.random.split(key_choices, (settings.num_tasks, settings.group_size))
        uniforms = jnp.where(tasks.is_valid, jax.random.uniform(key_start, tasks.y.shape), -1.0)
        initial = jax.lax.top_k(uniforms, settings.num_init)[1].astype(jnp.int32)
        one = jax.vmap(episode, (None, None, None, 0))
        return tasks, *jax.vmap(one, (None, 0, 0, 0))(params, tasks, initial, keys)

    def improve(state: Any, key: Array) -> tuple[Any, Metrics]:
        key_play, key_update = jax.random.split(key)
        tasks, start, decisions = play(state.params, key_play)
        worth = jax.vmap(jax.vmap(partial(outcome, reward=settings.reward), (0, 0, None)))(start, decisions.best, tasks)
        advantages, targets = _advantages(settings, nap, state.params, decisions, worth.reward)
        batch = (tasks, decisions, advantages, targets)
        (params, moments), losses = _epochs(
            settings, gradients, optimiser, batch, (state.params, state.policy_optimiser), key_update
        )
        metrics = {name: jnp.mean(value) for name, value in losses.items()}
        metrics["fitness"] = jnp.mean(jnp.sum(worth.reward, axis=-1))
        metrics |= {"regret": jnp.mean(worth.regret), "regret_last": jnp.mean(worth.regret[..., -1])}
        metrics["num_nonfinite"] = jnp.sum((~jnp.isfinite(losses["surrogate"])).astype(jnp.int32))
        metrics["num_evaluated"] = jnp.int32(losses["surrogate"].size)
        metrics["env_steps"] = jnp.int32(worth.reward.size)
        return state._replace(params=params, policy_optimiser=moments), metrics

    return improve


def _advantages(
    settings: PolicyConfig, nap: NAP, params: Any, decisions: Decision, reward: Float[Array, "K G T"]
) -> tuple[Array, Array]:
    """Returns (advantages, targets of the critic), each [K, G, T]."""
    if settings.baseline == "group":
        return normalise(group_advantages(reward, discount=settings.discount)), jnp.zeros_like(reward)
    value = jax.vmap(jax.vmap(jax.vmap(partial(nap.value, params))))(
        decisions.belief, decisions.observation["progress"]
    )
    advantages, targets = critic_advantages(reward, value, discount=settings.discount, lambda_=settings.lambda_)
    return normalise(advantages), targets


def _make_gradients(
    config: MetaboConfig, nap: NAP, sample: Callable[[Array], Any]
) -> Callable[[Any, Any, Array], tuple[Any, dict[str, Array]]]:
    """Returns `gradients(params, batch, key) -> (gradient, metrics)` of the weighted loss."""
    settings = config.policy
    policy_loss = make_policy_loss(
        nap, clip=settings.clip, temperature=settings.temperature, rereads=not config.model.stop_gradient
    )
    likelihood = partial(context_loss, nap, **config.likelihood.context)

    def loss(params: Any, batch: Any, key: Array) -> tuple[Array, tuple[PolicyLoss, Array]]:
        over_steps = jax.vmap(policy_loss, (None, None, 0, 0, 0))
        over_group = jax.vmap(over_steps, (None, None, 0, 0, 0))
        parts = jax.tree.map(jnp.mean, jax.vmap(over_group, (None, 0, 0, 0, 0))(params, *batch))
        total = parts.surrogate - settings.entropy * parts.entropy
        if settings.baseline == "critic":
            total = total + parts.value
        predicted = jnp.float32(0.0)
        if settings.likelihood > 0.0:
            key_tasks, key_contexts = jax.random.split(key)
            keys = jax.random.split(key_contexts, settings.likelihood_batch)
            predicted = jnp.mean(jax.vmap(partial(likelihood, params))(sample(key_tasks), keys))
            total = total + settings.likelihood * predicted
        return total, (parts, predicted)

    def gradients(params: Any, batch: Any, key: Array) -> tuple[Any, dict[str, Array]]:
        gradient, (parts, predicted) = jax.grad(loss, has_aux=True)(params, batch, key)
        metrics = {
            "loss": predicted,
            "surrogate": parts.surrogate,
            "value_error": parts.value,
            "entropy": parts.entropy,
            "clipped": parts.clipped,
            "divergence": parts.divergence,
            **_norms(gradient),
        }
        return gradient, metrics

    return gradients


def _norms(gradient: Any) -> dict[str, Array]:
    """Returns the norm of what each optimiser is given."""
    leaves = jax.tree_util.tree_leaves_with_path(gradient)
    names = ("policy", "critic", "backbone")
    norms = {name: [jnp.sum(leaf**2) for path, leaf in leaves if part_of(path) == name] for name in names}
    result = {f"{name}_norm": jnp.sqrt(sum(squares, jnp.float32(0.0))) for name, squares in norms.items()}
    return {**result, "likelihood_norm": result["backbone_norm"]}


def _epochs(
    settings: PolicyConfig,
    gradients: Callable[[Any, Any, Array], tuple[Any, dict[str, Array]]],
    optimiser: optax.GradientTransformation,
    batch: Any,
    carry: tuple[Any, Any],
    key: Array,
) -> tuple[tuple[Any, Any], dict[str, Array]]:
    """Returns ((params, moments), metrics [E x M]) after the epochs over a batch, in minibatches of whole tasks."""
    num_parts = settings.num_minibatches

    def update(carry: tuple[Any, Any], inputs: tuple[Any, Array]) -> tuple[tuple[Any, Any], dict[str, Array]]:
        params, moments = carry
        index, key = inputs
        gradient, metrics = gradients(params, jax.tree.map(lambda leaf: leaf[index], batch), key)
        updates, moments = optimiser.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), metrics

    key_orders, key_updates = jax.random.split(key)
    orders = jax.vmap(lambda k: jax.random.permutation(k, settings.num_tasks))(
        jax.random.split(key_orders, settings.num_epochs)
    )
    indices = orders.reshape(settings.num_epochs * num_parts, settings.num_tasks // num_parts)
    return jax.lax.scan(update, carry, (indices, jax.random.split(key_updates, indices.shape[0])))
