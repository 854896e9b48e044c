"""An agent: parameters, optimiser and workers in mid-episode, and the one update that its life consists of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool

from envs.rollout import Policy, Trajectory, Workers, reset, unroll
from metarl.lifetime.learn import Learn, make_learn
from metarl.lifetime.normalise import (
    Normaliser,
    init_normaliser,
    normalise_observation,
    normalise_rewards,
    see,
)
from metarl.networks import policy as policies
from metarl.networks.network import Network
from metarl.objectives.base import Objective, Outputs, Rollout
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
    learn: Callable[[Any, AgentState, Workers, Rollout, Progress, Array], tuple[AgentState, dict[str, Array]]]
    """`learn(meta_params, state, workers, rollout, progress, key) -> (state, info)`: the other half of an update, from
    what `rollout` returned."""
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
    keeps: Callable[[Any], Any] | None = None,
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
        keeps: `keeps(environment states [B, ...])`, recorded at every step as `Rollout.kept`.

    Raises:
        ValueError: if the minibatches do not divide the rollout.
    """
    if (num_envs * unroll_length) % num_minibatches:
        raise ValueError(
            f"{num_minibatches} minibatches do not divide a rollout of {unroll_length} x {num_envs} transitions"
        )
    schedule = {"num_epochs": num_epochs, "num_minibatches": num_minibatches, "anneals": anneals}
    policy = _policy_maker(network, action_space)
    learn = _learner(make_learn(objective, network, optimiser, **schedule), discount)
    normalises = {"observations": normalises_observation, "rewards": normalises_reward}

    def init(key: Array, env_params: Any) -> AgentState:
        key_network, key_workers = jax.random.split(key)
        params = network.init(key_network)
        workers = reset(env, env_params, key_workers, num_envs)
        normaliser = init_normaliser(workers.observation, num_envs, **normalises)
        return AgentState(params, optimiser.init(params), workers, normaliser)

    def rollout(state: AgentState, env_params: Any, key: Array) -> tuple[Workers, Rollout]:
        workers, trajectory = unroll(
            env,
            env_params,
            policy(state),
            state.workers,
            key,
            num_steps=unroll_length,
            keeps_final=objective.uses_final_observation,
            keeps=keeps,
        )
        return workers, complete_rollout(network, state, trajectory, workers.observation)

    def update(meta_params: Any, state: AgentState, env_params: Any, progress: Progress, key: Array):
        key_rollout, key_learn = jax.random.split(key)
        workers, seen = rollout(state, env_params, key_rollout)
        return learn(meta_params, state, workers, seen, progress, key_learn)

    return Agent(init, update, rollout, learn, policy, num_envs * unroll_length)


def _policy_maker(network: Network, action_space: Any) -> Callable[[AgentState], Policy]:
    def policy(state: AgentState) -> Policy:
        return Policy(
            draw_noise=lambda key, shape: policies.draw_action_noise(key, action_space, shape),
            act=lambda outputs, noise: policies.act(outputs["policy"], noise, action_space),
            infer=lambda observation: outputs_at(network, state, observation),
        )

    return policy


def _learner(learn: Learn, discount: float) -> Callable[..., tuple[AgentState, dict[str, Array]]]:
    """Returns `Agent.learn`: what a rollout teaches, its rewards and observations normalised as they were acted on."""

    def from_rollout(
        meta_params: Any, state: AgentState, workers: Workers, seen: Rollout, progress: Progress, key: Array
    ):
        normaliser, scaled = normalise_rewards(state.normaliser, seen._replace(kept=None), discount)
        scaled = scaled._replace(observation=normalise_observation(normaliser, seen.observation))
        params, optimiser_state, info = learn(meta_params, state.params, state.optimiser, scaled, progress, key)
        info = {**info, "reward": jnp.mean(seen.reward), "return": jnp.mean(workers.last_return)}
        return AgentState(params, optimiser_state, workers, see(normaliser, seen.observation)), info

    return from_rollout


def complete_rollout(network: Network, state: AgentState, trajectory: Trajectory, observation_after: Any) -> Rollout:
    """Returns the trajectory with the network's outputs at every state, which it acted by, and at its successor."""

    def infer(observation: Any) -> Outputs:
        return outputs_at(network, state, observation)

    # The successor of a state is the next state, unless the episode ended in between.
    next_outputs = jax.tree.map(
        lambda now, last: jnp.concatenate([now[1:], last[None]]), trajectory.outputs, infer(observation_after)
    )
    if trajectory.final_observation is not None:
        next_outputs = replace_where(trajectory.truncated, next_outputs, infer, trajectory.final_observation)
    return Rollout(
        trajectory.observation,
        trajectory.action,
        trajectory.reward,
        trajectory.terminated,
        trajectory.truncated,
        trajectory.outputs,
        next_outputs,
        trajectory.kept,
    )


def outputs_at(network: Network, state: AgentState, observation: Any) -> Outputs:
    """Returns what the agent's network says about observations with any leading axes."""
    return network.apply(state.params, normalise_observation(state.normaliser, observation))


def replace_where(chosen: Bool[Array, "T B"], values: Any, compute: Callable[[Any], Any], inputs: Any) -> Any:
    """Returns `values` with those of `compute(inputs)` where `chosen`; leaves are `[T, B, ...]`.

    It takes one pass over the workers for every chosen entry of the worker that has most: none at all in most rollouts,
    where a pass over all entries would cost as much as acting did.

    Args:
        chosen: where.
        values: what is replaced there.
        compute: maps `[B, ...]` to `[B, ...]`, worker by worker.
        inputs: of every entry.
    """
    workers = jnp.arange(chosen.shape[1])

    def replace_next(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        left, values = carry
        at = (jnp.argmax(left, axis=0), workers)  # the next one of every worker, or some other if it has none left
        is_left = left[at]

        def put(old: Array, new: Array) -> Array:
            shape = (-1,) + (1,) * (new.ndim - 1)
            return old.at[at].set(jnp.where(is_left.reshape(shape), new, old[at]))

        values = jax.tree.map(put, values, compute(jax.tree.map(lambda x: x[at], inputs)))
        return left.at[at].set(False), values

    return jax.lax.while_loop(lambda carry: jnp.any(carry[0]), replace_next, (chosen, values))[1]
