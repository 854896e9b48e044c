"""Environments whose randomness is a vector of uniforms, so that a rollout can draw all of it in one call."""

from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float


class UniformNoiseEnvironment(Environment):
    """A gymnax environment that is a deterministic function of uniform noise.

    Subclasses implement `reset_from` and `transition` and set the two sizes; the keyed gymnax methods follow. Drawing
    `[T, B, n]` uniforms in bulk replaces `T` rounds of key splitting inside the scan of a rollout.
    """

    num_reset_uniforms: int
    num_step_uniforms: int

    def reset_from(self, uniforms: Float[Array, " n"], params: Any) -> tuple[Any, Any]:
        """Returns `(observation, state)` at the start of an episode, from `num_reset_uniforms` draws of U[0, 1)."""
        raise NotImplementedError

    def transition(
        self, uniforms: Float[Array, " n"], state: Any, action: Array, params: Any
    ) -> tuple[Any, Any, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)`, no auto-reset, from `num_step_uniforms` draws."""
        raise NotImplementedError

    def reset_env(self, key: Array, params: Any) -> tuple[Any, Any]:
        """Returns `(observation, state)`; consumes `key`."""
        return self.reset_from(jax.random.uniform(key, (self.num_reset_uniforms,)), params)

    def step_env(self, key: Array, state: Any, action: Array, params: Any) -> tuple[Any, Any, Array, Array, dict]:
        """Returns `(observation, state, reward, terminated, info)` without auto-reset; consumes `key`."""
        uniforms = jax.random.uniform(key, (self.num_step_uniforms,))
        return self.transition(uniforms, state, action, params)


def standard_normal(uniform: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Returns the standard normal quantile of uniforms in [0, 1), finite at the ends too."""
    return jnp.sqrt(2.0) * jax.scipy.special.erfinv(jnp.clip(2.0 * uniform - 1.0, -1.0 + 1e-7, 1.0 - 1e-7))
