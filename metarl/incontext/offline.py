"""What agents do with a data set that others gathered: one decision in a bandit, or an episode elsewhere."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envs.domain import Domain
from metarl.incontext.agent import InContextAgent, Transition, absorb
from metarl.incontext.deploy import best_mean, make_episode


def make_offline(
    domain: Domain, agent: InContextAgent, *, lengths: tuple[int, ...]
) -> Callable[[Any, Transition, Array], Float[Array, "..."]]:
    """Returns `offline(params, transitions [H], key) -> suboptimality [len(lengths)]` of a bandit agent given data.

    After each of the ascending `lengths` first transitions it is asked for one action; counted is how much better the
    best arm is, without noise.

    Raises:
        ValueError: if the domain is no bandit, or lengths do not ascend from 0 or above.
    """
    if domain.mean_reward is None:
        raise ValueError(f"{domain.name} is no bandit; offline, its agents play an episode: make_offline_episode")
    if list(lengths) != sorted(set(lengths)) or min(lengths) < 0:
        raise ValueError(f"lengths are {lengths}; they must ascend and be at least 0")
    mean_reward = domain.mean_reward

    def offline(params: Any, transitions: Transition, key: Array) -> Float[Array, " n"]:
        key_init, key_act, key_begin, key_query = jax.random.split(key, 4)
        memory = agent.begin_episode(agent.init(key_init, max(lengths[-1], 1)), key_begin)
        best, done, found = best_mean(domain, params), 0, []
        observation = domain.sample_query(key_query, params)
        for length in lengths:
            piece = jax.tree.map(lambda leaf, a=done, b=length: leaf[a:b], transitions)
            if length > done:
                memory = absorb(agent, memory, piece, jnp.ones((length - done,), bool))
            action = agent.act(memory, observation, jax.random.fold_in(key_act, length))
            found.append(best - mean_reward(observation, action, params))
            done = length
        return jnp.stack(found)

    return offline


def make_offline_episode(
    domain: Domain,
    agent: InContextAgent,
    *,
    horizon: int | None = None,
    updates: Literal["step", "episode"] = "episode",
) -> Callable[[Any, Transition, Bool[Array, " H"], Array], Float[Array, ""]]:
    """Returns `offline(params, transitions [H], is_valid [H], key) -> return` of one episode after a given data set.

    With `updates="step"` the agent's context grows within the episode; else it stays the data set.
    """
    horizon = domain.horizon if horizon is None else horizon
    play = make_episode(domain, agent, horizon=horizon, updates=updates)

    def offline(params: Any, transitions: Transition, is_valid: Bool[Array, " H"], key: Array) -> Float[Array, ""]:
        key_init, key_play = jax.random.split(key)
        room = is_valid.shape[0] + (horizon if updates == "step" else 0)
        memory = absorb(agent, agent.init(key_init, max(room, 1)), transitions, is_valid)
        return jnp.sum(play(memory, params, key_play, None, (0, horizon))[3].reward)

    return offline
