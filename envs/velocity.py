"""Goal velocities: a brax robot that is paid for running at a speed that it is not told.

Source: Finn, Abbeel, Levine 2017, "Model-agnostic meta-learning" (MAML), the half-cheetah with goal velocities.
"""

from functools import partial
from typing import Any, no_type_check

import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import EnvParams
from jaxtyping import Array, Bool, Float

from envs.brax_env import BraxEnvironment, BraxState

CONTROL_COST = 0.05
"""Cost of an action, in units of its squared length."""


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one task
@partial(struct.dataclass, kw_only=True)
class VelocityParams(EnvParams):
    """A goal velocity."""

    velocity: Float[Array, ""]
    """In metres a second along x."""


class VelocityEnvironment(BraxEnvironment):
    """A brax system whose reward is `-|v - goal| - 0.05 |a|²`; v is how fast its first body moves along x in a step.

    The action a is what the system is given, after clipping. Episodes end as in the system itself; neither observation
    nor state shows the goal.

    Args:
        system: a name in brax's registry, of a system with bodies.
        backend: as for `BraxEnvironment`.

    Raises:
        ValueError: as `BraxEnvironment`; and if the system has no positions of bodies, or no time step.
    """

    def __init__(self, system: str, backend: str | None = None):
        super().__init__(system, backend)
        position = getattr(getattr(self._start.pipeline_state, "x", None), "pos", None)
        if position is None or position.shape[-1] != 3 or not hasattr(self._brax, "dt"):
            raise ValueError(
                f"brax's {system!r} has no bodies with positions, or no time step; use one that runs, such as "
                "halfcheetah"
            )

    @property
    def name(self) -> str:
        """System and backend, such as `brax/halfcheetah-velocity@positional`."""
        return f"brax/{self.system}-velocity@{self.backend}"

    @property
    def default_params(self) -> VelocityParams:
        """One metre a second and the default time limit."""
        limit = super().default_params.max_steps_in_episode
        return VelocityParams(max_steps_in_episode=limit, velocity=jnp.float32(1.0))

    def step_env(
        self, key: Any, state: BraxState, action: Float[Array, " A"], params: VelocityParams
    ) -> tuple[Float[Array, " D"], BraxState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)` without auto-reset; `info["velocity"]` is v."""
        observation, after, _, terminated, info = super().step_env(key, state, action, params)
        velocity = (_along_x(after) - _along_x(state)) / self._brax.dt
        cost = CONTROL_COST * jnp.sum(jnp.clip(action, -1.0, 1.0) ** 2)
        reward = -jnp.abs(velocity - params.velocity) - cost
        return observation, after, reward, terminated, {**info, "velocity": velocity}


class ToldVelocityEnvironment(VelocityEnvironment):
    """The same where observations end with the goal velocity: who learns in it can become the others' expert."""

    @property
    def name(self) -> str:
        """System and backend, such as `brax/halfcheetah-told-velocity@positional`."""
        return f"brax/{self.system}-told-velocity@{self.backend}"

    def observation_space(self, params: Any = None) -> spaces.Box:
        """All vectors of D + 1 numbers."""
        return spaces.Box(-jnp.inf, jnp.inf, (self._start.obs.shape[0] + 1,), jnp.float32)

    def observe(self, key: Any, state: BraxState, action: Any, params: VelocityParams) -> Float[Array, " D"]:
        """Returns the observation of a state and the goal; no randomness."""
        return with_goal(state.observation, params)

    def reset_env(self, key: Array, params: VelocityParams) -> tuple[Float[Array, " D"], BraxState]:
        """Returns `(observation, state)` at the random start of an episode; consumes `key`."""
        observation, state = super().reset_env(key, params)
        return with_goal(observation, params), state

    def step_env(
        self, key: Any, state: BraxState, action: Float[Array, " A"], params: VelocityParams
    ) -> tuple[Float[Array, " D"], BraxState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)` without auto-reset."""
        observation, after, reward, terminated, info = super().step_env(key, state, action, params)
        return with_goal(observation, params), after, reward, terminated, info


def with_goal(observation: Float[Array, " d"], params: VelocityParams) -> Float[Array, " D"]:
    """Returns what an expert is shown: the observation and behind it the goal velocity."""
    return jnp.append(observation, params.velocity)


def _along_x(state: BraxState) -> Float[Array, ""]:
    """Returns where the first body is along x."""
    return state.physics.x.pos.reshape(-1, 3)[0, 0]
