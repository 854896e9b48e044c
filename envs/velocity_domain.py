"""Goal velocities as an in-context domain: the split of the goals, and policies that were taught as experts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from envs.domain import Domain
from envs.family import Task, TaskFamily
from envs.finite_tasks import split_indices
from envs.naming import options_in
from envs.trained_policy import load_policy
from envs.velocity import ToldVelocityEnvironment, VelocityEnvironment, VelocityParams, with_goal

SYSTEM, BACKEND, MAX_VELOCITY = "halfcheetah", "spring", 3.0
"""What is meant if nothing else is said: the robot, its engine, and the largest goal in metres a second."""
NUM_BINS = 20
"""Equal intervals into which the goal velocities are cut; four fifths of them are for training, the rest for testing.
"""
MAX_LIFETIME = 1000
"""Agent updates of a life at one goal velocity, for learners that are trained on it."""
SUCCESS_LOSS = 0.5
"""A goal counts as mastered when a step loses less on average, of the miss in metres a second and the cost."""
EXPERTS = Path(__file__).parent / "experts"
"""Where trained experts are, in directories `<system>-<backend>`."""
SHIPPED = "shipped"
"""Stands for the expert of these."""


def _unavailable(name: str, what: str) -> Callable[..., Any]:
    def refuse(*_: Any) -> Any:
        raise ValueError(what.format(name=name))

    return refuse


NO_EXPERT = (
    "{name} has no expert: one ships for halfcheetah on spring with goals up to 3 m/s; train another by metarl teach "
    "--preset velocity-expert and name it, as in velocity@expert=runs/velocity-expert/export"
)
NO_TRANSITION = (
    "{name} cannot go on from an observation, which does not say all of the robot's state; gather contexts by walking "
    "through episodes of the environment"
)


def velocity(
    *,
    system: str = SYSTEM,
    horizon: int = 200,
    max_velocity: float = MAX_VELOCITY,
    backend: str = BACKEND,
    told: bool = False,
    expert: str | Callable[[Any, Any], Float[Array, " A"]] = SHIPPED,
) -> Domain:
    """Returns the domain of goal velocities from U[0, max_velocity], cut into bins for training and for testing.

    The optimal policy has no closed form: the expert is a policy that was trained with the goal in its observation. An
    observation is not a state, so that asking `Domain.transition` raises a ValueError; contexts are walks, and
    questions are asked about what they meet.

    Args:
        system: a system of brax that runs along x.
        horizon: steps of an episode.
        max_velocity: largest goal velocity in metres a second, positive.
        backend: physics engine of brax.
        told: whether observations end with the goal, and training goals come from all bins: where experts are trained.
        expert: directory of a policy that was trained with `told`, or `shipped`; in Python also
            `expert(observation, params) -> action`. Where none ships, asking `Domain.expert` raises a ValueError.

    Raises:
        ValueError: if an argument is out of range, or the directory holds no policy for these tasks.
    """
    if horizon < 1 or max_velocity <= 0:
        raise ValueError(
            f"velocity was given horizon={horizon} and max_velocity={max_velocity}; it needs a step and a positive "
            "velocity"
        )
    env = (ToldVelocityEnvironment if told else VelocityEnvironment)(system, backend)
    train, test = split_indices(NUM_BINS)
    name = f"velocity@system={system},backend={backend}"
    if isinstance(expert, str):
        expert = _trained_expert(expert, env, max_velocity, told) or _unavailable(name, NO_EXPERT)
    return Domain(
        name=name,
        family=_family(env, horizon, max_velocity, np.arange(NUM_BINS) if told else train),
        held_out=_family(env, horizon, max_velocity, test),
        horizon=horizon,
        context_length=horizon,
        num_actions=env.num_actions,
        observation_size=env.observation_space().shape[0],
        encode=_symlog,
        transition=_unavailable(name, NO_TRANSITION),
        sample_query=lambda key, params: env.reset_env(key, params)[0],
        expert=expert,
        behaviour="stranger",
        is_ordered=True,
        is_continuous=True,
        asks_visited=True,
    )


def _trained_expert(
    where: str, env: VelocityEnvironment, max_velocity: float, told: bool
) -> Callable[[Any, Any], Float[Array, " A"]] | None:
    """Returns the policy in a directory as an expert; None if one that ships was asked for and none fits."""
    is_shipped, system, backend = where == SHIPPED, env.system, env.backend
    directory = EXPERTS / f"{system}-{backend}" if is_shipped else Path(where)
    if is_shipped and not directory.is_dir():
        return None
    policy = load_policy(directory)
    known: dict[str, Any] = {"system": SYSTEM, "backend": BACKEND, "max_velocity": MAX_VELOCITY}
    is_kin = policy.env.partition("@")[0] == "velocity"
    known |= options_in(policy.env, velocity) if is_kin else {"system": None}
    if (known["system"], known["backend"]) != (system, backend) or known["max_velocity"] < max_velocity:
        if is_shipped:
            return None
        raise ValueError(
            f"the expert in {where} was trained in {policy.env!r}; it knows nothing of {system} on {backend} with "
            f"goals up to {max_velocity} m/s"
        )
    sizes = env.observation_space().shape[0] + (not told), env.num_actions
    if (policy.num_inputs, policy.num_actions) != sizes:
        raise ValueError(
            f"the expert in {where} takes {policy.num_inputs} numbers and gives {policy.num_actions}; here are "
            f"{sizes[0]} and {sizes[1]}"
        )
    return lambda observation, params: policy(observation if told else with_goal(observation, params))


def _symlog(observation: Float[Array, " D"]) -> Float[Array, " D"]:
    """Returns numbers of very different sizes as numbers of similar ones: `sign(x) log(1 + |x|)`."""
    return jnp.sign(observation) * jnp.log1p(jnp.abs(observation))


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
        return_range=(-horizon * max_velocity, 0.0),
        success_return=-SUCCESS_LOSS * horizon,
    )
