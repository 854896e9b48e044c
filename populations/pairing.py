"""Antithetic pairs: candidates i and i + P/2 live in the same worlds with the same randomness.

One *trial* is one task that both partners of a pair live through. A generation has `num_pairs * tasks_per_pair`
trials, ordered by pair and then by repetition.

Source: Jackson et al. 2024 (antithetic task sampling); sharing the life keys as well is common random numbers.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, Shaped


def pair_index(population_size: int) -> Int[Array, " P"]:
    """Returns the pair that each of the P members belongs to: i mod P/2.

    Raises:
        ValueError: if the population size is odd or below 2.
    """
    if population_size < 2 or population_size % 2:
        raise ValueError(f"population size is {population_size} but pairs need an even number of at least 2; change it")
    half = jnp.arange(population_size // 2, dtype=jnp.int32)
    return jnp.concatenate([half, half])


def to_pairs(population: Any) -> Any:
    """Returns the pytree with leading axis P regrouped to leading axes [P/2, 2]: pair, then partner."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(2, x.shape[0] // 2, *x.shape[1:]), 0, 1), population)


def to_members(pairs: Shaped[Array, "N 2"]) -> Shaped[Array, " P"]:
    """Returns values with leading axes [P/2, 2] in member order [P]; undoes `to_pairs`."""
    return jnp.swapaxes(pairs, 0, 1).reshape(-1)


def trial_keys(key: Array, num_pairs: int, tasks_per_pair: int) -> Key[Array, " trials"]:
    """Returns one key per trial, made from the pair and the repetition and from nothing else; consumes the key."""
    pairs = jnp.arange(num_pairs, dtype=jnp.uint32)
    repetitions = jnp.arange(tasks_per_pair, dtype=jnp.uint32)
    fold = jax.random.fold_in
    keys = jax.vmap(lambda pair: jax.vmap(lambda repetition: fold(fold(key, pair), repetition))(repetitions))(pairs)
    return keys.reshape(-1)


def partner_keys(keys: Key[Array, " trials"]) -> Key[Array, "trials 2"]:
    """Returns two keys per trial, for partners that share their task but not their luck; consumes the keys."""
    return jax.vmap(lambda key: jax.random.split(key, 2))(keys)
