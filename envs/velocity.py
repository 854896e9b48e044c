"""Goal velocities: a brax robot that is paid for running at a speed that it is not told.

Source: Finn, Abbeel, Levine 2017, "Model-agnostic meta-learning" (MAML), the half-cheetah with goal velocities.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments.environment import EnvParams
from jaxtyping import Array, Bool, Float, Int

from envs.brax_env import DEFAULT_BACKEND, BraxEnvironment, BraxState
from envs.domain import Domain
from envs.family import Task, TaskFamily
from envs.finite_tasks import split_indices

MAX_LIFETIME = 1000
"""Agent updates of a life at one goal velocity, for learners that are trained on it."""
CONTROL_COST = 0.05
"""Cost of an action, in units of its squared length."""
NUM_BINS = 20
"""Equal intervals into which the goal velocities are cut; four fifths of them are for training, the rest for testing.
"""


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


def _along_x(state: BraxState) -> Float[Array, ""]:
    """Returns where the first body is along x."""
    return state.physics.x.pos.reshape(-1, 3)[0, 0]


def _unavailable(name: str, what: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise ValueError(what.format(name=name))

    return refuse


NO_EXPERT = (
    "{name} has no expert in closed form, so that no command can pretrain in it; in Python, make it with "
    "`envs.velocity.velocity(expert=...)`, a trained policy, and its examples with `metarl.incontext.examples`"
)
NO_TRANSITION = (
    "{name} cannot go on from an observation, which does not say all of the robot's state; gather contexts by walking "
    "through episodes of the environment"
)


def velocity(
    *,
    system: str = "halfcheetah",
    horizon: int = 200,
    max_velocity: float = 3.0,
    backend: str = DEFAULT_BACKEND,
    expert: Callable[[Any, Any], Float[Array, " A"]] | None = None,
) -> Domain:
    """Returns the domain of goal velocities from U[0, max_velocity], cut into bins for training and for testing.

    Queries are observations at the start of an episode. The optimal policy has no closed form, and an observation is
    not a state: without `expert`, asking `Domain.expert` raises a ValueError, and asking `Domain.transition` always
    does. Named on the command line it has no expert, and cannot be pretrained in; from Python, examples are made of
    walks and the answers of a given expert, or of the histories of a source algorithm (`metarl.incontext.histories`).

    Args:
        system: a system of brax that runs along x.
        horizon: steps of an episode.
        max_velocity: largest goal velocity in metres a second, positive.
        backend: physics engine of brax.
        expert: `expert(observation, params) -> action`, such as a policy trained to run at `params.velocity`; not an
            option that can be written in a domain's name.

    Raises:
        ValueError: if an argument is out of range.
    """
    if horizon < 1 or max_velocity <= 0:
        raise ValueError(
            f"velocity was given horizon={horizon} and max_velocity={max_velocity}; it needs a step and a positive "
            "velocity"
        )
    env = VelocityEnvironment(system, backend)
    train, test = split_indices(NUM_BINS)
    name = f"velocity@system={system}"
    return Domain(
        name=name,
        family=_family(env, horizon, max_velocity, train),
        held_out=_family(env, horizon, max_velocity, test),
        horizon=horizon,
        context_length=horizon,
        num_actions=env.num_actions,
        observation_size=env.observation_space().shape[0],
        encode=lambda observation: observation,
        transition=_unavailable(name, NO_TRANSITION),
        sample_query=lambda key, params: env.reset_env(key, params)[0],
        expert=_unavailable(name, NO_EXPERT) if expert is None else expert,
        behaviour="walk",
        is_ordered=True,
        is_continuous=True,
    )


def _family(env: VelocityEnvironment, horizon: int, max_velocity: float, bins: Int[np.ndarray, " n"]) -> TaskFamily:
    """Returns the uniform law on these bins; a task vector holds the quantile of its velocity in them, sorted."""
    known = jnp.asarray(np.sort(bins), jnp.int32)

    def decode(vector: Float[Array, "1"]) -> Task:
        place = jnp.clip(vector[0], 0.0, 1.0) * len(bins)
        index = jnp.minimum(place.astype(jnp.int32), len(bins) - 1)
        goal = (known[index].astype(jnp.float32) + place - index.astype(jnp.float32)) * max_velocity / NUM_BINS
        params = VelocityParams(max_steps_in_episode=jnp.int32(horizon), velocity=goal)
        return Task(params, jnp.int32(MAX_LIFETIME))

    return TaskFamily(
        name="velocity",
        env=env,
        sample=lambda key: decode(jax.random.uniform(key, (1,))),
        decode=decode,
        num_dimensions=1,
        max_lifetime=MAX_LIFETIME,
        max_episode_steps=horizon,
    )
