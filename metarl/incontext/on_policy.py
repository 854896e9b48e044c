"""Contexts that a model makes itself: what it will meet when it acts, not what a behaviour policy happened to do.

Source: Wang et al. 2024 (arXiv 2405.14219): pretraining on contexts of the model's own making.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from envs.domain import Domain
from metarl.incontext.agent import InContextAgent, Transition
from metarl.incontext.context import OrderedContext, is_first, keep_valid
from metarl.incontext.deploy import in_batches, make_episode


def make_self_contexts(
    domain: Domain, *, num_episodes: int, length: int, skips_seen: bool = False
) -> Callable[[InContextAgent, Array, int], tuple[Any, OrderedContext, Int[Array, " K"]]]:
    """Returns `rollout(agent, key, num_tasks) -> (params [K], contexts [K], steps [K])`.

    The agent acts in fresh training tasks and learns from every step over some episodes; the first `length` transitions
    are the context, and `steps` is how many were made, int32.

    Args:
        domain: where tasks are drawn.
        num_episodes: episodes in a row, at least 1.
        length: places of a context.
        skips_seen: whether pairs of observation and action that came before are left out of the context.

    Raises:
        ValueError: if a number is below 1, or pairs cannot be told apart in this domain.
    """
    if min(num_episodes, length) < 1:
        raise ValueError(f"num_episodes is {num_episodes} and length {length}; both must be at least 1")
    if skips_seen and domain.pair_index is None:
        raise ValueError(f"transitions of {domain.name} may differ when they are repeated; they cannot be skipped")
    horizon = domain.horizon if domain.horizon * num_episodes <= length or skips_seen else -(-length // num_episodes)

    def rollout(agent: InContextAgent, key: Array, num_tasks: int) -> tuple[Any, OrderedContext, Int[Array, " K"]]:
        play = make_episode(domain, agent, horizon=horizon)

        def one(key: Array) -> tuple[Any, OrderedContext, Int[Array, ""]]:
            key_task, key_init, key_run = jax.random.split(key, 3)
            params = domain.family.sample(key_task).params

            def episode(memory: Any, index: Int[Array, ""]) -> tuple[Any, tuple[Transition, Array]]:
                memory, _, trace, _ = play(memory, params, jax.random.fold_in(key_run, index), None, (0, horizon))
                return memory, trace

            _, trace = jax.lax.scan(episode, agent.init(key_init, length), jnp.arange(num_episodes))
            transitions, is_valid = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), trace)
            num_steps = jnp.sum(is_valid.astype(jnp.int32))
            if skips_seen and domain.pair_index is not None:
                pairs = jax.vmap(domain.pair_index)(transitions.observation, transitions.action)
                is_valid = is_valid & is_first(pairs, is_valid, domain.num_pairs)
            return params, keep_valid(transitions, is_valid, length), num_steps

        return in_batches(one, jax.random.split(key, num_tasks))

    return rollout
