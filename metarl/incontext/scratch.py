"""PPO from scratch in every task: what a learner that knows nothing of the family does with the same steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float

from envs.domain import Domain
from metarl.lifetime.agent import Agent, AgentState, make_agent
from metarl.lifetime.optimiser import make_optimiser
from metarl.networks.network import make_network
from metarl.objectives.ppo import ppo
from metarl.progress import Progress

MAX_MINIBATCHES = 4
"""Most parts that an episode is learned in, where nothing else is asked for."""


class EncodedEnvironment(Environment):
    """A domain's environment whose observations are what networks are shown of them."""

    def __init__(self, domain: Domain):
        self.domain, self.inner = domain, domain.env

    @property
    def default_params(self) -> Any:
        """Those of the environment inside."""
        return self.inner.default_params

    @property
    def num_actions(self) -> int:
        """Those of the environment inside."""
        return self.inner.num_actions

    def action_space(self, params: Any = None) -> Any:
        """That of the environment inside."""
        return self.inner.action_space(params)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """A vector of the domain's encoded size."""
        return spaces.Box(-jnp.inf, jnp.inf, (self.domain.observation_size,), jnp.float32)

    def reset_env(self, key: Array, params: Any) -> tuple[Array, Any]:
        """Returns `(encoded observation, state)`; consumes the key."""
        observation, state = self.inner.reset_env(key, params)
        return self.domain.encode(observation), state

    def step_env(self, key: Array, state: Any, action: Array, params: Any) -> tuple[Array, Any, Array, Array, dict]:
        """Returns `(encoded observation, state, reward, terminated, info)`; consumes the key."""
        observation, *rest = self.inner.step_env(key, state, action, params)
        return self.domain.encode(observation), *rest

    def is_terminated(self, state: Any, params: Any) -> Array:
        """That of the environment inside."""
        return self.inner.is_terminated(state, params)


def ppo_from_scratch(
    domain: Domain,
    *,
    num_episodes: int,
    horizon: int | None = None,
    learning_rate: float = 3e-3,
    num_epochs: int = 8,
    num_minibatches: int | None = None,
    entropy: float = 0.05,
    hidden: tuple[int, ...] = (64, 64),
) -> Callable[[Any, Array], Float[Array, " E"]]:
    """Returns `learn(params, key) -> return of each episode [E]` of a fresh agent in one task; vmap it over tasks.

    It acts in one environment and learns after every T steps, so that its episode e is to be held against the episode e
    of a learner in context: no more steps of the world for one than for the other. Where episodes terminate early, it
    begins the next one at once.

    Args:
        domain: where; discrete actions.
        num_episodes: E, at least 1.
        horizon: T, steps of an episode; None: the domain's own.
        learning_rate: of Adam.
        num_epochs: passes over each episode.
        num_minibatches: parts of it; must divide T. None: up to 4, the most that do.
        entropy: weight of the entropy bonus.
        hidden: widths of the layers.

    Raises:
        ValueError: for continuous actions, a number below 1, or if minibatches do not divide the steps.
    """
    if domain.is_continuous:
        raise ValueError(f"{domain.name} has continuous actions; PPO from scratch is here for discrete ones")
    horizon = domain.horizon if horizon is None else horizon
    if min(num_episodes, horizon) < 1:
        raise ValueError(f"num_episodes is {num_episodes} and horizon {horizon}; both must be at least 1")
    if num_minibatches is None:
        num_minibatches = max(parts for parts in range(1, MAX_MINIBATCHES + 1) if horizon % parts == 0)
    sizes = {"unroll_length": horizon, "num_epochs": num_epochs, "num_minibatches": num_minibatches}
    agent = _ppo_agent(domain, learning_rate=learning_rate, entropy=entropy, hidden=hidden, **sizes)

    def learn(params: Any, key: Array) -> Float[Array, " E"]:
        key_init, key_life = jax.random.split(key)
        params = params.replace(max_steps_in_episode=jnp.int32(horizon))

        def update(state: AgentState, index: Array) -> tuple[AgentState, tuple[Array, Array]]:
            key_rollout, key_learn = jax.random.split(jax.random.fold_in(key_life, index))
            workers, seen = agent.rollout(state, params, key_rollout)
            progress = Progress(index, jnp.int32(num_episodes))
            state, _ = agent.learn((), state, workers, seen, progress, key_learn)
            return state, (seen.reward[:, 0], seen.done[:, 0])

        _, (reward, done) = jax.lax.scan(update, agent.init(key_init, params), jnp.arange(num_episodes))
        return episode_returns(reward.reshape(-1), done.reshape(-1), num_episodes)

    return learn


def _ppo_agent(domain: Domain, *, learning_rate: float, entropy: float, hidden: tuple[int, ...], **sizes: int) -> Agent:
    """Returns the agent that learns in one environment, from encoded observations."""
    env = EncodedEnvironment(domain)
    objective = ppo(env.action_space(), entropy_coefficient=entropy)
    network = make_network(
        "mlp", env.observation_space(), objective.heads(env.action_space()), hidden=hidden, activation="tanh"
    )
    optimiser = make_optimiser(
        "adam",
        policy_learning_rate=learning_rate,
        value_learning_rate=learning_rate,
        max_grad_norm=0.5,
        joint_clip=True,
    )
    return make_agent(env, objective, network, optimiser, action_space=env.action_space(), num_envs=1, **sizes)


def episode_returns(reward: Float[Array, " N"], done: Bool[Array, " N"], num_episodes: int) -> Float[Array, " E"]:
    """Returns the sum of rewards of each of the first E episodes, of which `done` marks the last steps."""
    ended = done.astype(jnp.int32)
    episode = jnp.cumsum(ended) - ended
    return jnp.zeros((num_episodes,), jnp.float32).at[episode].add(reward, mode="drop")
