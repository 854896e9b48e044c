"""An agent: parameters, optimiser and workers in mid-episode, and the one update that its life consists of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from envs.rollout import Policy, Trajectory, Workers, reset, unroll
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


class Agent(NamedTuple):
    """How agents are born, learn and act, for one environment, network and objective."""

    init: Callable[[Array, Any], AgentState]
    """`init(key, env_params) -> AgentState`; consumes the key."""
    update: Callable[[Any, AgentState, Any, Progress, Array], tuple[AgentState, dict[str, Array]]]
    """`update(meta_params, state, env_params, progress, key) -> (state, info)`: one rollout and what is learned from
    it."""
    rollout: Callable[[AgentState, Any, Array], tuple[Workers, Rollout]]
    """`rollout(state, env_params, key) -> (workers afterwards, Rollout [T, B])`: acting without learning."""
    policy: Callable[[Any], Policy]
    """`policy(params) -> Policy`: sampled actions."""
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
) -> Agent:
    """Returns the agent that follows `objective` with `network` in `env`.

    Args:
        num_envs: B, workers that act in parallel and keep their episodes between updates.
        unroll_length: T, steps of every worker between updates.
        num_epochs: passes over each rollout.
        num_minibatches: gradient steps per pass; must divide T x B.

    Raises:
        ValueError: if the minibatches do not divide the rollout.
    """
    if (num_envs * unroll_length) % num_minibatches:
        raise ValueError(
            f"{num_minibatches} minibatches do not divide a rollout of {unroll_length} x {num_envs} transitions"
        )
    learn = _make_learn(objective, network, optimiser, num_epochs, num_minibatches)

    def init(key: Array, env_params: Any) -> AgentState:
        key_network, key_workers = jax.random.split(key)
        params = network.init(key_network)
        return AgentState(params, optimiser.init(params), reset(env, env_params, key_workers, num_envs))

    def policy(params: Any) -> Policy:
        return Policy(
            draw_noise=lambda key, shape: policies.draw_action_noise(key, action_space, shape),
            act=lambda observation, noise: policies.act(
                network.apply(params, observation)["policy"], noise, action_space
            ),
        )

    def rollout(state: AgentState, env_params: Any, key: Array) -> tuple[Workers, Rollout]:
        workers, trajectory = unroll(
            env,
            env_params,
            policy(state.params),
            state.workers,
            key,
            num_steps=unroll_length,
            keeps_final=objective.uses_final_observation,
        )
        return workers, complete_rollout(network, state.params, trajectory, workers.observation)

    def update(meta_params: Any, state: AgentState, env_params: Any, progress: Progress, key: Array):
        key_rollout, key_learn = jax.random.split(key)
        workers, seen = rollout(state, env_params, key_rollout)
        params, optimiser_state, info = learn(meta_params, state.params, state.optimiser, seen, progress, key_learn)
        info = {**info, "reward": jnp.mean(seen.reward), "return": jnp.mean(workers.last_return)}
        return AgentState(params, optimiser_state, workers), info

    return Agent(init, update, rollout, policy, num_envs * unroll_length)


def complete_rollout(network: Network, params: Any, trajectory: Trajectory, observation_after: Any) -> Rollout:
    """Returns the trajectory with the network's outputs at every state and at its successor."""
    if trajectory.final_observation is None:
        observations = jax.tree.map(
            lambda before, last: jnp.concatenate([before, last[None]]), trajectory.observation, observation_after
        )
        outputs = network.apply(params, observations)
        now, then = (jax.tree.map(lambda x, s=s: x[s], outputs) for s in (slice(None, -1), slice(1, None)))
    else:
        now = network.apply(params, trajectory.observation)
        then = network.apply(params, trajectory.final_observation)
    return Rollout(
        trajectory.observation,
        trajectory.action,
        trajectory.reward,
        trajectory.terminated,
        trajectory.truncated,
        now,
        then,
    )


def _make_learn(
    objective: Objective,
    network: Network,
    optimiser: optax.GradientTransformation,
    num_epochs: int,
    num_minibatches: int,
) -> Callable:
    def gradient_step(meta_params: Any, params: Any, optimiser_state: Any, batch: tuple, progress: Progress):
        rollout, targets = batch

        def loss(params: Any):
            outputs = network.apply(params, rollout.observation)
            return objective.loss(meta_params, outputs, rollout, targets, progress)

        gradients, info = jax.grad(loss, has_aux=True)(params)
        updates, optimiser_state = optimiser.update(gradients, optimiser_state, params)
        info = {**info, **_norms("gradient_norm", gradients), **_norms("update_norm", updates)}
        return optax.apply_updates(params, updates), optimiser_state, info

    def learn(meta_params: Any, params: Any, optimiser_state: Any, rollout: Rollout, progress: Progress, key: Array):
        batch = (rollout, objective.targets(meta_params, rollout, progress))
        if num_epochs == num_minibatches == 1:
            return gradient_step(meta_params, params, optimiser_state, batch, progress)

        def step(carry: tuple, indices: Array) -> tuple[tuple, dict]:
            params, optimiser_state, info = gradient_step(
                meta_params, *carry, jax.tree.map(lambda x: x[indices], flat), progress
            )
            return (params, optimiser_state), info

        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
        num_samples = rollout.reward.size
        keys = jax.random.split(key, num_epochs)
        order = jax.vmap(lambda key: jax.random.permutation(key, num_samples))(keys)
        indices = order.reshape(num_epochs * num_minibatches, -1)
        (params, optimiser_state), info = jax.lax.scan(step, (params, optimiser_state), indices)
        return params, optimiser_state, jax.tree.map(jnp.mean, info)

    return learn


def _norms(name: str, tree: dict[str, Any]) -> dict[str, Float[Array, ""]]:
    return {f"{name}_{head}": optax.tree.norm(branch) for head, branch in tree.items()}
