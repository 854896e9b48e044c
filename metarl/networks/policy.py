"""Policies as functions of a policy head's outputs: how probable an action is, and which action given noise makes.

The only module that uses distrax.
"""

import math
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

LOG_STD_BOUND = 3.0
"""Log standard deviations of continuous actions stay within plus and minus this, smoothly: std in (0.05, 20.1)."""


def policy_head_size(action_space: Any) -> int:
    """Returns how many outputs a policy head needs: A for `Discrete(A)`, 2D (means and log-stds) for a `Box` of D.

    Raises:
        ValueError: for any other space.
    """
    return int(action_space.n) if _is_discrete(action_space) else 2 * _num_dimensions(action_space)


def distribution(outputs: Float[Array, "*batch size"], action_space: Any) -> distrax.Distribution:
    """Returns the action distribution, from logits or from means and raw log-stds `[mean_1..D, raw_1..D]` of a normal.

    The log-std is `3 tanh(raw / 3)`, so raw outputs near 0 give std 1. Both kinds may leave `jit` and `vmap`.
    Continuous actions are not squashed: environments clip what exceeds their bounds.
    """
    if _is_discrete(action_space):
        return distrax.Categorical(logits=outputs, dtype=jnp.int32)
    mean, std = _mean_and_std(outputs, action_space)
    return distrax.Independent(distrax.Normal(mean, std), reinterpreted_batch_ndims=1)


def log_prob(
    outputs: Float[Array, "*batch size"], action: Shaped[Array, "*action"], action_space: Any
) -> Float[Array, "*batch"]:
    """Returns the log-probability (density) of actions `[*batch, *action_space.shape]`; -inf where none exists."""
    if not _is_discrete(action_space):
        action = action.reshape(*outputs.shape[:-1], _num_dimensions(action_space))
    return jnp.asarray(distribution(outputs, action_space).log_prob(action))


def entropy(outputs: Float[Array, "*batch size"], action_space: Any) -> Float[Array, "*batch"]:
    """Returns the entropy of the action distribution in nats (differential entropy for a `Box`)."""
    return jnp.asarray(distribution(outputs, action_space).entropy())


def draw_action_noise(key: Array, action_space: Any, shape: tuple[int, ...]) -> Float[Array, "*noise"]:
    """Returns all the noise that acting `shape` times needs: U[0, 1) `[*shape]`, or normals `[*shape, D]` for a `Box`.

    Consumes the key.
    """
    if _is_discrete(action_space):
        return jax.random.uniform(key, shape)
    return jax.random.normal(key, (*shape, _num_dimensions(action_space)))


def act(
    outputs: Float[Array, "*batch size"], noise: Float[Array, "*noise"], action_space: Any
) -> Shaped[Array, "*action"]:
    """Returns the action that this noise selects; with noise from `draw_action_noise` it is a sample of `distribution`.

    Discrete: int32 `[*batch]` by inverse CDF, always in [0, A); an action of zero probability is never chosen, and NaN
    outputs select action 0. Box: `mean + std * noise`, reshaped to `[*batch, *action_space.shape]`.
    """
    if _is_discrete(action_space):
        return _inverse_cdf(outputs, noise)
    mean, std = _mean_and_std(outputs, action_space)
    return (mean + std * noise).reshape(*outputs.shape[:-1], *action_space.shape)


def _inverse_cdf(logits: Float[Array, "*batch A"], noise: Float[Array, "*batch"]) -> Shaped[Array, "*batch"]:
    # Running sums written out fuse into one loop on CPU, where a cumulative sum or a triangular product costs 2 to 5
    # times as much.
    weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    cumulative = [weights[..., 0]]
    for index in range(1, logits.shape[-1]):
        cumulative.append(cumulative[-1] + weights[..., index])
    # Scaling the noise by the total keeps it below the total, so rounding cannot run past the last action that has
    # weight.
    threshold = noise * cumulative[-1]
    action = jnp.zeros(logits.shape[:-1], jnp.int32)
    for bound in cumulative[:-1]:
        action = action + (threshold >= bound).astype(jnp.int32)
    return action


def _mean_and_std(outputs: Float[Array, "*batch size"], action_space: Any) -> tuple[Array, Array]:
    mean, raw = jnp.split(outputs, [_num_dimensions(action_space)], axis=-1)
    return mean, jnp.exp(LOG_STD_BOUND * jnp.tanh(raw / LOG_STD_BOUND))


def _is_discrete(action_space: Any) -> bool:
    return hasattr(action_space, "n")


def _num_dimensions(action_space: Any) -> int:
    if not hasattr(action_space, "low"):
        raise ValueError(f"the action space is {action_space!r}; policies act in Discrete and Box spaces")
    return math.prod(action_space.shape)
