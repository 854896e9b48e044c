"""Running moments of what an agent has seen: observations on one scale, rewards in units of how much returns vary.

They belong to the agent, over all its workers together, and stand still while it acts, learns and is examined: the
policy that a rollout was collected with is exactly the one that learning starts from.

Source: openai/baselines VecNormalize; the parallel update is Chan et al. 1979.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from metarl.objectives.base import Rollout

EPSILON = 1e-8
"""Added to variances."""
LIMIT = 10.0
"""Standardised observations and rewards are clipped to plus and minus this."""


class Moments(NamedTuple):
    """Mean and variance of everything counted so far."""

    mean: Float[Array, "*shape"]
    """Mean; 0 before the first update."""
    variance: Float[Array, "*shape"]
    """Biased variance; 1 before the first update."""
    count: Float[Array, ""]
    """How many samples; small and positive before the first update, so that the first replaces the start."""


class Normaliser(NamedTuple):
    """Moments of an agent; `()` in place of what is not normalised."""

    observation: Moments | tuple
    """Of every entry of an observation."""
    returns: Moments | tuple
    """Of the discounted sum of rewards of the running episodes."""
    running: Float[Array, " B"] | tuple
    """That sum, for each worker."""


def init_moments(shape: tuple[int, ...]) -> Moments:
    """Returns moments of nothing: mean 0 and variance 1."""
    return Moments(jnp.zeros(shape, jnp.float32), jnp.ones(shape, jnp.float32), jnp.float32(1e-4))


def update_moments(moments: Moments, samples: Shaped[Array, "N ..."]) -> Moments:
    """Returns the moments of the old and the new samples together."""
    samples = samples.astype(jnp.float32)
    num_new = jnp.float32(samples.shape[0])
    mean, variance = jnp.mean(samples, axis=0), jnp.var(samples, axis=0)
    count = moments.count + num_new
    difference = mean - moments.mean
    spread = moments.variance * moments.count + variance * num_new
    spread = spread + jnp.square(difference) * (moments.count * num_new / count)
    return Moments(moments.mean + difference * (num_new / count), spread / count, count)


def init_normaliser(observation: Any, num_envs: int, *, observations: bool, rewards: bool) -> Normaliser:
    """Returns the normaliser of a new agent.

    Args:
        observation: observations of all workers, `[B, ...]`.
        num_envs: B.
        observations: whether observations are to be normalised; they must then be arrays.
        rewards: whether rewards are.

    Raises:
        ValueError: if observations are not arrays but are to be normalised.
    """
    if observations and not hasattr(observation, "shape"):
        raise ValueError(
            f"observations are {type(observation).__name__}, which have no mean; set normalises_observation to False"
        )
    return Normaliser(
        observation=init_moments(observation.shape[1:]) if observations else (),
        returns=init_moments(()) if rewards else (),
        running=jnp.zeros((num_envs,), jnp.float32) if rewards else (),
    )


def normalise_observation(normaliser: Normaliser, observation: Any) -> Any:
    """Returns the observation in standard scores, clipped to [-10, 10], float32; unchanged if not to be normalised."""
    moments = normaliser.observation
    if not isinstance(moments, Moments):
        return observation
    scale = jax.lax.rsqrt(moments.variance + EPSILON)
    num_batch_axes = observation.ndim - moments.mean.ndim
    mean, scale = (x.reshape((1,) * num_batch_axes + x.shape) for x in (moments.mean, scale))
    return jnp.clip((observation.astype(jnp.float32) - mean) * scale, -LIMIT, LIMIT)


def normalise_rewards(normaliser: Normaliser, rollout: Rollout, discount: float) -> tuple[Normaliser, Rollout]:
    """Returns the rollout with rewards divided by the deviation of discounted returns, these rewards' among them."""
    if not isinstance(normaliser.returns, Moments):
        return normaliser, rollout

    def accumulate(running: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, done = step
        now = discount * running + reward
        return jnp.where(done, 0.0, now), now

    running, sums = jax.lax.scan(accumulate, normaliser.running, (rollout.reward, rollout.done))
    moments = update_moments(normaliser.returns, sums.reshape(-1))
    scaled = jnp.clip(rollout.reward * jax.lax.rsqrt(moments.variance + EPSILON), -LIMIT, LIMIT)
    return normaliser._replace(returns=moments, running=running), rollout._replace(reward=scaled)


def see(normaliser: Normaliser, observation: Any) -> Normaliser:
    """Returns the normaliser after the observations `[T, B, ...]` of a rollout."""
    moments = normaliser.observation
    if not isinstance(moments, Moments):
        return normaliser
    samples = observation.reshape(-1, *moments.mean.shape)
    return normaliser._replace(observation=update_moments(moments, samples))
