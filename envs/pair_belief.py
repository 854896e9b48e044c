"""Exact inference about a hidden key and a hidden door: which pairs of cells are still possible."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.cells import all_cells, towards
from envs.domain import Belief


class PairBelief(NamedTuple):
    """Which cells may hold what. Evidence factorises: steps without the key tell of the key, others of the door."""

    key: Bool[Array, " C"]
    """Cells that may hold the key."""
    door: Bool[Array, " C"]
    """Cells that may hold the door."""
    has_door: Bool[Array, ""]
    """Whether the door has paid, so that it is known."""


def pair_belief(size: int, make: Callable[[Array], Any], labels: str, indices: Int[np.ndarray, " n"] | None) -> Belief:
    """Returns exact inference over pairs of cells, a priori equally probable: those of the indices, or all (None).

    A pair has the index `cell of the key x number of cells + cell of the door`; `make(index)` returns its EnvParams.

    Transitions may come from anywhere, or be whole episodes in order: a door that has paid once in an episode and then
    pays nothing is still the door. If no pair of the prior is consistent with what was seen (a held-out pair under the
    prior of the training pairs), every pair of cells that is counts as possible.
    """
    num_cells, at = size * size, all_cells(size)
    flat = np.ones((num_cells**2,), np.float32) if indices is None else np.zeros((num_cells**2,), np.float32)
    flat[... if indices is None else indices] = 1.0
    known = jnp.asarray(flat.reshape(num_cells, num_cells))

    def init() -> PairBelief:
        everywhere = jnp.ones((num_cells,), bool)
        return PairBelief(everywhere, everywhere, jnp.bool_(False))

    def update(belief: PairBelief, observation, action, reward, next_observation) -> PairBelief:
        here = jnp.arange(num_cells) == next_observation[0] * size + next_observation[1]
        has_key, pays = observation[2] > 0, reward > 0.5
        learns_door = has_key & (pays | ~belief.has_door)
        return PairBelief(
            jnp.where(has_key, belief.key, belief.key & (here == pays)),
            jnp.where(learns_door, belief.door & (here == pays), belief.door),
            belief.has_door | (has_key & pays),
        )

    def weights(belief: PairBelief) -> tuple[Float[Array, "C C"], Float[Array, " C"], Float[Array, " C"]]:
        """Returns which pairs are possible a priori, then how probable keys and doors are, without normalisation."""
        key, door = belief.key.astype(jnp.float32), belief.door.astype(jnp.float32)
        pairs = jnp.where(key @ (known @ door) > 0, known, jnp.ones_like(known))
        return pairs, key * (pairs @ door), door * (key @ pairs)

    def probabilities(belief: PairBelief, query: Int[Array, "3"]) -> Float[Array, "5"]:
        _, key, door = weights(belief)
        target = jnp.where(query[2] > 0, door, key)
        actions = jax.vmap(lambda cell: towards(query[:2], cell, size, labels))(at)
        return (target / jnp.sum(target)) @ actions

    def draw(key: Array, belief: PairBelief) -> Any:
        key_key, key_door = jax.random.split(key)
        pairs, cell_weights, _ = weights(belief)
        key_cell = jax.random.categorical(key_key, jnp.log(cell_weights))
        door_cell = jax.random.categorical(key_door, jnp.log(pairs[key_cell] * belief.door.astype(jnp.float32)))
        return make(key_cell * num_cells + door_cell)

    return Belief(init, update, probabilities, draw)
