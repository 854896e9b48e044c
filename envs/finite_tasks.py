"""Families of finitely many tasks: which are for training, how they are drawn, and inference about which it is."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.domain import Belief
from envs.family import Task, TaskFamily

SPLIT_SEED = 0
"""Seed of the legacy generator that deals tasks to training and test."""
TRAIN_SHARE = 0.8
PRIORS = ("train", "all")
"""What an exact belief can hold possible: the training tasks, or all."""
MAX_LIFETIME = 1000
"""Agent updates of a life in one task, for learners that are trained on it."""


def split_indices(count: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """Returns (training, test): a shuffle with a legacy generator, cut at four fifths. Disjoint, and together all."""
    order = np.arange(count)
    np.random.RandomState(SPLIT_SEED).shuffle(order)
    cut = int(TRAIN_SHARE * count)
    return order[:cut], order[cut:]


def enumerated_family(
    name: str,
    env: Any,
    make: Callable[[Array], Any],
    indices: Int[np.ndarray, " n"],
    horizon: int,
    optimal_return: Callable[[Any], Float[Array, ""]] | None = None,
) -> TaskFamily:
    """Returns the law that draws one of these indices uniformly and makes EnvParams of it, `make(index) -> params`.

    A task vector holds the quantile of the index in the list.
    """
    known = jnp.asarray(indices, jnp.int32)

    def task(place: Array) -> Task:
        return Task(make(known[place]), jnp.int32(MAX_LIFETIME))

    def decode(vector: Float[Array, "1"]) -> Task:
        return task(jnp.clip((vector[0] * len(indices)).astype(jnp.int32), 0, len(indices) - 1))

    def sample(key: Array) -> Task:
        return task(jax.random.randint(key, (), 0, len(indices)))

    return TaskFamily(name, env, sample, decode, 1, MAX_LIFETIME, horizon, optimal_return)


def enumerated_belief(
    hypotheses: Any,
    consistent: Callable[[Any, Array, Array, Any, Any], Bool[Array, ""]],
    expert: Callable[[Any, Any], Float[Array, " A"]],
) -> Belief:
    """Returns exact inference over finitely many, a priori equally probable tasks with deterministic transitions.

    If no task is consistent with what was seen (a held-out task under the prior of the training tasks), all count as
    possible again.

    Args:
        hypotheses: EnvParams with a leading axis over the tasks.
        consistent: `consistent(observation, action, reward, next_observation, params)`: whether the transition can
            happen in a task.
        expert: `expert(observation, params) -> [A]`.
    """
    num_tasks = jax.tree.leaves(hypotheses)[0].shape[0]

    def weights(possible: Bool[Array, " n"]) -> Float[Array, " n"]:
        kept = jnp.where(jnp.any(possible), possible, True).astype(jnp.float32)
        return kept / jnp.sum(kept)

    def update(possible, observation, action, reward, next_observation):
        fits = jax.vmap(consistent, (None, None, None, None, 0))(
            observation, action, reward, next_observation, hypotheses
        )
        return possible & fits

    def probabilities(possible, query):
        return weights(possible) @ jax.vmap(expert, (None, 0))(query, hypotheses)

    def draw(key, possible):
        index = jax.random.choice(key, num_tasks, p=weights(possible))
        return jax.tree.map(lambda leaf: leaf[index], hypotheses)

    return Belief(lambda: jnp.ones((num_tasks,), bool), update, probabilities, draw)
