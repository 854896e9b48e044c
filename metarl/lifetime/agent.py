"""An agent: parameters, optimiser and workers in mid-episode, and the one update that its life consists of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from envs.rollout import Policy, Trajectory, Workers, reset, unroll
from metarl.lifetime.learn import make_learn
from metarl.lifetime.normalise import (
    Normaliser,
    init_normaliser,
    normalise_observation,
    normalise_rewards,
    see,
)
from metarl.networks import policy as policies
from metarl.networks.network import Network
from metarl.objectives.base import Objective, Rollout
from metarl.progress import Progress


class AgentState(NamedTuple):
    """Everything that changes over a life."""

    params: Any
    """Network parameters."""
    optimiser: Any
    """optax state."""
    workers: Workers
    """B environments in the middle of their episodes."""
    normaliser: Normaliser
    """What is known of the scale of observations and returns."""


class Agent(NamedTuple):
    """How agents are born, learn and act, for one environment, network and objective."""

    init: Callable[[Array, Any], AgentState]
    """`init(key, env_params) -> AgentState`; consumes the key."""
    update: Callable[[Any, AgentState, Any, Progress, Array], tuple[AgentState, dict[str, Array]]]
    """`update(meta_params, state, env_params, progress, key) -> (state, info)`: one rollout and what is learned from
    it."""
    rollout: Callable[[AgentState, Any, Array], tuple[Workers, Rollout]]
    """`rollout(state, env_params, key) -> (workers afterwards, Rollout [T, B])`: acting without learning."""
    policy: Callable[[AgentState], Policy]
    """`policy(state) -> Policy`: sampled actions."""
    steps_per_update: int
    """Environment steps of one update, T x B."""


def make_agent(
    env: Any,
    objective: Objective,
    network: Network,
    optimiser: optax.GradientTransformation,
    *,
    action_space: Any,
    num_envs: int,
    unroll_length: int,
    num_epochs: int = 1,
    num_minibatches: int = 1,
    anneals: bool = False,
    normalises_observation: bool = False,
    normalises_reward: bool = False,
    discount: float = 0.99,
) -> Agent:
    """Returns the agent that follows `objective` with `network` in `env`.

    Args:
        num_envs: B, workers that act in parallel and keep their episodes between updates.
        unroll_length: T, steps of every worker between updates.
        num_epochs: passes over each rollout.
        num_minibatches: gradient steps per pass; must divide T x B.
        anneals: whether steps shrink linearly to nothing over the life.
        normalises_observation: whether the network sees standard scores, by the running moments of all workers.
        normalises_reward: whether rewards are divided by the running deviation of discounted returns before learning.
        discount: of those returns.

    Raises:
        ValueError: if the minibatches do not divide the rollout.
    """
    if (num_envs * unroll_length) % num_minibatches:
        raise ValueError(
            f"{num_minibatches} minibatches do not divide a rollout of {unroll_length} x {num_envs} transitions"
        )
    schedule = {"num_epochs": num_epochs, "num_minibatches": num_minibatches, "anneals": anneals}
    learn = make_learn(objective, network, optimiser, **schedule)
    normalises = {"observations": normalises_observation, "rewards": normalises_reward}

    def init(key: Array, env_params: Any) -> AgentState:
        key_network, key_workers = jax.random.split(key)
        params = network.init(key_network)
        workers = reset(env, env_params, key_workers, num_envs)
        normaliser = init_normaliser(workers.observation, num_envs, **normalises)
        return AgentState(params, optimiser.init(params), workers, normaliser)

    def policy(state: AgentState) -> Policy:
        def act(observation: Any, noise: Array) -> Array:
            outputs = network.apply(state.params, normalise_observation(state.normaliser, observation))
            return policies.act(outputs["policy"], noise, action_space)

        return Policy(lambda key, shape: policies.draw_action_noise(key, action_space, shape), act)

    def rollout(state: AgentState, env_params: Any, key: Array) -> tuple[Workers, Rollout]:
        workers, trajectory = unroll(
            env,
            env_params,
            policy(state),
            state.workers,
            key,
            num_steps=unroll_length,
            keeps_final=objective.uses_final_observation,
        )
        return workers, complete_rollout(network, state, trajectory, workers.observation)

    def update(meta_params: Any, state: AgentState, env_params: Any, progress: Progress, key: Array):
        key_rollout, key_learn = jax.random.split(key)
        workers, seen = rollout(state, env_params, key_rollout)
        normaliser, scaled = normalise_rewards(state.normaliser, seen, discount)
        scaled = scaled._replace(observation=normalise_observation(normaliser, seen.observation))
        params, optimiser_state, info = learn(meta_params, state.params, state.optimiser, scaled, progress, key_learn)
        info = {**info, "reward": jnp.mean(seen.reward), "return": jnp.mean(workers.last_return)}
        return AgentState(params, optimiser_state, workers, see(normaliser, seen.observation)), info

    return Agent(init, update, rollout, policy, num_envs * unroll_length)


def complete_rollout(network: Network, state: AgentState, trajectory: Trajectory, observation_after: Any) -> Rollout:
    """Returns the trajectory with the network's outputs at every state and at its successor."""

    def outputs_at(observation: Any) -> Any:
        return network.apply(state.params, normalise_observation(state.normaliser, observation))

    if trajectory.final_observation is None:
        outputs = outputs_at(
            jax.tree.map(
                lambda before, last: jnp.concatenate([before, last[None]]), trajectory.observation, observation_after
            )
        )
        now, then = (jax.tree.map(lambda x, s=s: x[s], outputs) for s in (slice(None, -1), slice(1, None)))
    else:
        now, then = outputs_at(trajectory.observation), outputs_at(trajectory.final_observation)
    return Rollout(
        trajectory.observation,
        trajectory.action,
        trajectory.reward,
        trajectory.terminated,
        trajectory.truncated,
        now,
        then,
    )
