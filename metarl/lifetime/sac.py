"""Soft actor-critic: off-policy learning from a replay buffer, in compiled rounds of acting and learning.

Source: Haarnoja et al. 2018 ("Soft Actor-Critic Algorithms and Applications"), with a fixed entropy coefficient.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from envs.rollout import Policy, Trajectory, Workers, reset, unroll
from metarl.networks.actor_critic import mlp
from metarl.networks.network import Network, make_network
from metarl.networks.squashed import squashed_action
from metarl.ring import Ring, put, ring


class Batch(NamedTuple):
    """Transitions."""

    observation: Float[Array, "N D"]
    action: Float[Array, "N A"]
    """Within [-1, 1]."""
    reward: Float[Array, " N"]
    terminated: Float[Array, " N"]
    """1 where nothing comes afterwards; a time limit is no such end."""
    next_observation: Float[Array, "N D"]


class Learner(NamedTuple):
    """What gradient steps change."""

    policy: Any
    critics: Any
    targets: Any
    """Slow copies of the critics."""
    optimisers: tuple[Any, Any]
    """Those of policy and critics."""


class SACState(NamedTuple):
    """Everything that changes over a life."""

    learner: Learner
    workers: Workers
    replay: Ring
    """Rows [observation, action, reward, terminated, next observation]."""


class SAC(NamedTuple):
    """How these agents are born, learn and act."""

    init: Callable[[Array, Any], SACState]
    """`init(key, env_params) -> state`; consumes the key."""
    update: Callable[[SACState, Any, Array], tuple[SACState, Trajectory]]
    """`update(state, env_params, key) -> (state, what happened [T, B])`: one unroll and the gradient steps after it."""
    policy: Callable[[SACState], Policy]
    """`policy(state) -> Policy`: sampled actions; with noise 0, the middle of their distribution."""
    layers: Callable[[SACState], dict[str, dict[str, Array]]]
    """`layers(state) -> {"0": {"kernel", "bias"}, ...}`: ReLU layers, the last of which gives what tanh squashes into
    the middle of the distribution of actions within [-1, 1]."""
    steps_per_update: int
    """Environment steps of one update, T x B."""


class SACSettings(NamedTuple):
    """Numbers of the algorithm."""

    num_envs: int
    """B, workers that act in parallel."""
    unroll_length: int
    """T, steps of every worker between two learnings."""
    num_gradients: int
    """Gradient steps of a learning."""
    hidden: tuple[int, ...]
    """Widths of the layers of all networks, ReLU."""
    learning_rate: float
    """Of Adam, for all networks."""
    entropy_coefficient: float
    """Weight of the entropy, in units of rewards."""
    discount: float
    polyak: float
    """Share of the target critics that stays at each gradient step."""
    batch_size: int
    """Transitions of a gradient step."""
    capacity: int
    """Transitions of the replay buffer."""
    random_steps: int
    """Environment steps with uniform actions, before anything is learned."""


def make_sac(
    env: Any,
    settings: SACSettings,
    *,
    observation_space: Any,
    action_space: Any,
    keeps: Callable[[Any], Any] | None = None,
) -> SAC:
    """Returns the soft actor-critic for an environment with arrays as observations and a box of actions.

    Args:
        env: gymnax environment.
        settings: see there.
        observation_space, action_space: its gymnax spaces.
        keeps: `keeps(environment states [B, ...])`, recorded at every step as `Trajectory.kept`.

    Raises:
        ValueError: if the spaces are of another kind.
    """
    if not hasattr(action_space, "low"):
        raise ValueError(f"the action space is {action_space!r}; soft actor-critic acts in a Box")
    num_actions, num_inputs = (int(np.prod(space.shape)) for space in (action_space, observation_space))
    actor = make_network("mlp", observation_space, {"policy": 2 * num_actions}, hidden=settings.hidden)
    critic = mlp((num_inputs + num_actions,), {"first": 1, "second": 1}, hidden=settings.hidden)
    optimiser = optax.adam(settings.learning_rate)
    learn = _make_learn(actor, critic, optimiser, num_actions, settings)
    acting = partial(_acting, actor, action_space)

    def init(key: Array, env_params: Any) -> SACState:
        key_policy, key_critics, key_workers = jax.random.split(key, 3)
        policy, critics = actor.init(key_policy), critic.init(key_critics)
        learner = Learner(policy, critics, critics, (optimiser.init(policy), optimiser.init(critics)))
        workers = reset(env, env_params, key_workers, settings.num_envs)
        return SACState(learner, workers, ring(settings.capacity, 2 * num_inputs + num_actions + 2))

    def update(state: SACState, env_params: Any, key: Array) -> tuple[SACState, Trajectory]:
        key_act, key_learn = jax.random.split(key)
        explores = state.replay.count < settings.random_steps
        workers, seen = unroll(
            env,
            env_params,
            acting(state.learner.policy, explores=explores),
            state.workers,
            key_act,
            num_steps=settings.unroll_length,
            keeps_final=True,
            keeps=keeps,
        )
        rows = _to_rows(seen, action_space)
        replay = put(state.replay, rows, jnp.ones((rows.shape[0],), bool))
        learner = learn(state.learner, replay, key_learn)
        learner = jax.tree.map(lambda new, old: jnp.where(explores, old, new), learner, state.learner)
        return SACState(learner, workers, replay), seen

    return SAC(
        init,
        update,
        lambda state: acting(state.learner.policy, explores=jnp.bool_(False)),
        lambda state: _layers(state.learner.policy["policy"], num_actions),
        settings.num_envs * settings.unroll_length,
    )


def _layers(policy: Any, num_actions: int) -> dict[str, dict[str, Array]]:
    """Returns the layers of a head with a body of its own, without the outputs for deviations."""
    body = policy.get("body", {})
    hidden = [body[f"Dense_{i}"] for i in range(len(body))]
    middle = jax.tree.map(lambda leaf: leaf[..., :num_actions], policy["Dense_0"])
    return {str(i): dict(layer) for i, layer in enumerate([*hidden, middle])}


def _acting(actor: Network, action_space: Any, policy: Any, *, explores: Bool[Array, ""]) -> Policy:
    """Returns how an actor with these parameters acts.

    The noise is A normals, and A uniforms that are the actions while it explores.
    """
    low, high = _bounds(action_space)

    def draw_noise(key: Array, shape: tuple[int, ...]) -> Array:
        key_normal, key_uniform = jax.random.split(key)
        shape = (*shape, low.size)
        uniform = jax.random.uniform(key_uniform, shape, minval=-1.0)
        return jnp.concatenate([jax.random.normal(key_normal, shape), uniform], axis=-1)

    def act(outputs: Array, noise: Array) -> Array:
        normal, uniform = jnp.split(noise, 2, axis=-1)
        action = jnp.where(explores, uniform, squashed_action(outputs, normal)[0])
        return jnp.reshape(low + 0.5 * (action + 1.0) * (high - low), (-1, *action_space.shape))

    return Policy(draw_noise, act, lambda observation: actor.apply(policy, observation)["policy"])


def _make_learn(
    actor: Network,
    critic: Network,
    optimiser: optax.GradientTransformation,
    num_actions: int,
    settings: SACSettings,
) -> Callable[[Learner, Ring, Array], Learner]:
    """Returns `learn(learner, replay, key) -> learner`, all gradient steps after an unroll."""

    def values(critics: Any, observation: Array, action: Array) -> Float[Array, "2 N"]:
        found = critic.apply(critics, jnp.concatenate([observation, action], axis=-1))
        return jnp.stack([found["first"][..., 0], found["second"][..., 0]])

    def soft_values(policy: Any, critics: Any, observation: Array, noise: Array) -> Float[Array, " N"]:
        action, log_density = squashed_action(actor.apply(policy, observation)["policy"], noise)
        worst = jnp.min(values(critics, observation, action), axis=0)
        return worst - settings.entropy_coefficient * log_density

    def critic_loss(critics: Any, batch: Batch, goal: Float[Array, " N"]) -> Float[Array, ""]:
        return jnp.sum(jnp.mean(jnp.square(values(critics, batch.observation, batch.action) - goal[None]), axis=1))

    def policy_loss(policy: Any, critics: Any, batch: Batch, noise: Array) -> Float[Array, ""]:
        return -jnp.mean(soft_values(policy, critics, batch.observation, noise))

    def gradient_step(learner: Learner, batch: Batch, key: Array) -> Learner:
        key_next, key_now = jax.random.split(key)
        noise_next, noise_now = (jax.random.normal(k, batch.action.shape) for k in (key_next, key_now))
        after = soft_values(learner.policy, learner.targets, batch.next_observation, noise_next)
        goal = batch.reward + settings.discount * (1.0 - batch.terminated) * after
        of_policy, of_critics = learner.optimisers
        gradient = jax.grad(critic_loss)(learner.critics, batch, goal)
        changes, of_critics = optimiser.update(gradient, of_critics)
        critics = optax.apply_updates(learner.critics, changes)
        gradient = jax.grad(policy_loss)(learner.policy, critics, batch, noise_now)
        changes, of_policy = optimiser.update(gradient, of_policy)
        policy = optax.apply_updates(learner.policy, changes)
        targets = optax.incremental_update(critics, learner.targets, 1.0 - settings.polyak)
        return Learner(policy, critics, targets, (of_policy, of_critics))

    def learn(learner: Learner, replay: Ring, key: Array) -> Learner:
        num_stored = jnp.minimum(replay.count, settings.capacity)

        def step(learner: Learner, key: Array) -> tuple[Learner, None]:
            key_batch, key_step = jax.random.split(key)
            places = jax.random.randint(key_batch, (settings.batch_size,), 0, num_stored)
            return gradient_step(learner, _to_batch(replay.rows[places], num_actions), key_step), None

        return jax.lax.scan(step, learner, jax.random.split(key, settings.num_gradients))[0]

    return learn


def _to_rows(seen: Trajectory, action_space: Any) -> Float[Array, "N d"]:
    """Returns the transitions of an unroll, in order of time, as rows of the replay buffer."""
    num_steps, num_envs = seen.reward.shape
    low, high = _bounds(action_space)
    action = seen.action.reshape(num_steps, num_envs, low.size)
    action = 2.0 * (action - low[None]) / (high - low)[None] - 1.0
    parts = (seen.observation, action, seen.reward, seen.terminated, seen.final_observation)
    flat = [part.astype(jnp.float32).reshape(num_steps * num_envs, -1) for part in parts]
    return jnp.concatenate(flat, axis=1)


def _to_batch(rows: Float[Array, "N d"], num_actions: int) -> Batch:
    num_inputs = (rows.shape[1] - num_actions - 2) // 2
    ends = np.cumsum([num_inputs, num_actions, 1, 1])
    observation, action, reward, terminated, after = jnp.split(rows, ends, axis=1)
    return Batch(observation, action, reward[:, 0], terminated[:, 0], after)


def _bounds(action_space: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lowest and the highest action of a box, [1, A] each."""
    low, high = (np.broadcast_to(x, action_space.shape).reshape(1, -1) for x in (action_space.low, action_space.high))
    return low, high
