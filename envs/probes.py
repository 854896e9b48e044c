"""Tiny environments with known values: the first that an agent gets wrong shows which of its parts is broken.

Each adds one difficulty to the one before: a constant to learn, a reason to look, a reason to discount, a reason to
act, a reason to act on what is seen; the last tells a time limit from an end. Observations have one entry; there are
two actions.

Source: the practice described by Andy Jones, "Debugging RL, without the agonizing pain", 2021.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnax
import jax.numpy as jnp
from gymnax.environments import spaces
from gymnax.environments.environment import EnvParams
from jaxtyping import Array, Bool, Float, Int

from envs.uniform_noise import UniformNoiseEnvironment


class ProbeState(NamedTuple):
    """The step, and a coin tossed at reset."""

    time: Int[Array, ""]
    """Steps since the episode began."""
    sign: Float[Array, ""]
    """-1 or 1 with equal probability, fixed for the episode; probes that do not show it do not use it."""


class ProbeEnvironment(UniformNoiseEnvironment):
    """An episode of one step: observation 1, reward 1. Subclasses change one thing."""

    num_reset_uniforms = 1
    num_step_uniforms = 0
    num_episode_steps: int | None = 1
    """Steps after which the episode terminates; None if it never does."""

    @property
    def default_params(self) -> EnvParams:
        """A time limit of 10 steps, which only `EndlessReward` reaches."""
        return EnvParams(max_steps_in_episode=jnp.int32(10))

    @property
    def num_actions(self) -> int:
        """Two."""
        return 2

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Discrete(2)."""
        return spaces.Discrete(2)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """One number in [-1, 1]."""
        return spaces.Box(-1.0, 1.0, (1,), jnp.float32)

    def observed(self, state: ProbeState) -> Float[Array, ""]:
        """Returns the one number that is seen of a state."""
        return jnp.float32(1.0)

    def reward(self, state: ProbeState, action: Int[Array, ""]) -> Float[Array, ""]:
        """Returns the reward of acting in a state."""
        return jnp.float32(1.0)

    def observe(self, key: Any, state: ProbeState, action: Any, params: Any) -> Float[Array, "1"]:
        """Returns the observation of a state; no randomness."""
        return self.observed(state)[None]

    def reset_from(self, uniforms: Float[Array, "1"], params: EnvParams) -> tuple[Any, ProbeState]:
        """Returns `(observation, state)` with a fresh sign."""
        state = ProbeState(time=jnp.int32(0), sign=jnp.where(uniforms[0] < 0.5, jnp.float32(-1.0), jnp.float32(1.0)))
        return self.observe(None, state, None, params), state

    def transition(
        self, uniforms: Float[Array, "0"], state: ProbeState, action: Int[Array, ""], params: EnvParams
    ) -> tuple[Any, ProbeState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)`; deterministic."""
        reward = self.reward(state, action)
        state = state._replace(time=state.time + 1)
        terminated = self.is_terminated(state, params)
        info = {"discount": 1.0 - terminated.astype(jnp.float32)}
        return self.observe(None, state, action, params), state, reward, terminated, info

    def is_terminated(self, state: ProbeState, params: EnvParams) -> Bool[Array, ""]:
        """Returns whether the episode has run its steps."""
        return jnp.bool_(False) if self.num_episode_steps is None else state.time >= self.num_episode_steps


class ConstantReward(ProbeEnvironment):
    """Always 1. Wrong value: the critic's loss or its optimiser."""


class ObservationReward(ProbeEnvironment):
    """The reward is the observation, -1 or 1. Wrong value: the network does not see, or batches are mixed up."""

    def observed(self, state: ProbeState) -> Float[Array, ""]:
        """Returns the sign."""
        return state.sign

    def reward(self, state: ProbeState, action: Int[Array, ""]) -> Float[Array, ""]:
        """Returns the sign."""
        return state.sign


class DelayedReward(ProbeEnvironment):
    """Two steps, observed as -1 and 1; only the second pays. Wrong first value: discounting or bootstrapping."""

    num_episode_steps = 2

    def observed(self, state: ProbeState) -> Float[Array, ""]:
        """Returns -1 before the first step and 1 after it."""
        return jnp.where(state.time == 0, jnp.float32(-1.0), jnp.float32(1.0))

    def reward(self, state: ProbeState, action: Int[Array, ""]) -> Float[Array, ""]:
        """Returns 1 for the second step, else 0."""
        return (state.time == 1).astype(jnp.float32)


class ActionReward(ProbeEnvironment):
    """Action 1 pays 1, action 0 pays -1. Wrong policy: advantages or the actor's loss (its sign!)."""

    def reward(self, state: ProbeState, action: Int[Array, ""]) -> Float[Array, ""]:
        """Returns the action's pay."""
        return _pay(action)


class ActionObservationReward(ProbeEnvironment):
    """The action that matches the observed sign pays 1, the other -1. Wrong policy: actions lost their observations."""

    def observed(self, state: ProbeState) -> Float[Array, ""]:
        """Returns the sign."""
        return state.sign

    def reward(self, state: ProbeState, action: Int[Array, ""]) -> Float[Array, ""]:
        """Returns 1 if the action matches the sign, else -1."""
        return _pay(action) * state.sign


class EndlessReward(ProbeEnvironment):
    """1 per step for ever, cut by a time limit. Value below 1 / (1 - discount): truncation is taken for an end."""

    num_episode_steps = None


def _pay(action: Int[Array, ""]) -> Float[Array, ""]:
    return 2.0 * action.astype(jnp.float32) - 1.0


class Probe(NamedTuple):
    """A probe and what is known of it."""

    environment: type[ProbeEnvironment]
    """Its class."""
    values: Callable[[float], dict[float, float]]
    """`values(discount) -> {observed number: discounted value}` for everything that can be seen, under the best policy
    and, where actions do not matter, under every policy."""
    optimal_return: Callable[[EnvParams], Float[Array, ""]]
    """`optimal_return(params)`: expected undiscounted return of an episode under the best policy."""

    @property
    def gymnax_id(self) -> str:
        """The name it is registered under in gymnax."""
        return f"{self.environment.__name__}-probe"


def _always(number: float) -> Callable[[EnvParams], Float[Array, ""]]:
    return lambda params: jnp.float32(number)


PROBES = {
    "constant_reward": Probe(ConstantReward, lambda discount: {1.0: 1.0}, _always(1.0)),
    "observation_reward": Probe(ObservationReward, lambda discount: {-1.0: -1.0, 1.0: 1.0}, _always(0.0)),
    "delayed_reward": Probe(DelayedReward, lambda discount: {-1.0: discount, 1.0: 1.0}, _always(1.0)),
    "action_reward": Probe(ActionReward, lambda discount: {1.0: 1.0}, _always(1.0)),
    "action_observation_reward": Probe(ActionObservationReward, lambda discount: {-1.0: 1.0, 1.0: 1.0}, _always(1.0)),
    "endless_reward": Probe(
        EndlessReward,
        lambda discount: {1.0: 1.0 / (1.0 - discount)},
        lambda params: params.max_steps_in_episode.astype(jnp.float32),
    ),
}
"""Every probe by name, in order of difficulty."""

for _probe in PROBES.values():
    if _probe.gymnax_id not in gymnax.registered_envs:
        gymnax.register(_probe.gymnax_id, _probe.environment)
