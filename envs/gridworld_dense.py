"""Tabular grid-worlds seen as dense vectors, for agents that are not tables."""

from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from jaxtyping import Array, Float

from envs.gridworld import GridWorld, GridWorldParams, GridWorldState
from envs.index_observation import IndexObservation


def dense_observation(observation: IndexObservation, num_states: int) -> Float[Array, "*batch S_plus_1"]:
    """Returns the one-hot vector of the index with the time feature appended, `[..., num_states + 1]`."""
    one_hot = jax.nn.one_hot(observation.index, num_states, dtype=jnp.float32)
    return jnp.concatenate([one_hot, observation.time[..., None]], axis=-1)


class DenseGridWorld(GridWorld):
    """`GridWorld` whose observation is the one-hot vector of its S states and the time feature: S + 1 numbers.

    It takes the parameters of `GridWorld` and does the same with the same uniforms.
    """

    @property
    def observation_size(self) -> int:
        """S + 1, the length of an observation."""
        return self.num_states + 1

    def observation_space(self, params: Any = None) -> spaces.Box:
        """Box of the observation's length; all entries but the last are 0 or 1."""
        return spaces.Box(0.0, jnp.inf, (self.observation_size,), jnp.float32)

    def observe(
        self, key: Any, state: GridWorldState, action: Any, params: GridWorldParams
    ) -> Float[Array, " features"]:
        """Returns the observation of a state; no randomness."""
        return dense_observation(super().observe(key, state, action, params), self.num_states)
