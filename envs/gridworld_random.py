"""Grid-worlds whose objects are placed at random at every reset and every respawn, seen as layers of a picture.

Source: Oh et al. 2020 (LPG), appendix, the random grid-worlds.
"""

from typing import Any

import jax.numpy as jnp
from gymnax.environments import spaces
from jaxtyping import Array, Bool, Float, Int

from envs.gridworld import TIME_SCALE, GridWorld, GridWorldParams, GridWorldState


class RandomGridWorld(GridWorld):
    """Grid-worlds whose objects move when they come back: states are too many to be numbered.

    At a reset the objects are placed uniformly, without replacement, on the free cells other than the agent's. An
    object that comes back moves to a uniform cell that is free, not the agent's new cell, and no slot's stored cell.

    Observation: `[G^2 (M + 1) + 1]` float32: the agent's cell as one-hot, then one layer of G^2 per object type, then
    0.001 t.
    """

    def __init__(
        self,
        max_size: int = 6,
        num_slots: int = 3,
        num_types: int = 3,
        *,
        default_level: GridWorldParams | None = None,
    ):
        super().__init__(max_size, num_slots, num_types, default_level=default_level)
        self.num_reset_uniforms = num_slots
        self.num_step_uniforms = 1 + 2 * num_slots

    @property
    def observation_size(self) -> int:
        """G^2 (M + 1) + 1, the length of an observation."""
        return self.num_cells * (self.num_types + 1) + 1

    def observation_space(self, params: Any = None) -> spaces.Box:
        """Box of the observation's length; all entries but the last are 0 or 1."""
        return spaces.Box(0.0, jnp.inf, (self.observation_size,), jnp.float32)

    def state_space(self, params: Any = None) -> spaces.Dict:
        """Ranges of the state's fields."""
        cells = spaces.Box(0, self.num_cells - 1, (self.num_slots,), jnp.int32)
        return spaces.Dict({**super().state_space(params).spaces, "cells": cells})

    def observe(
        self, key: Any, state: GridWorldState, action: Any, params: GridWorldParams
    ) -> Float[Array, " features"]:
        """Returns the observation of a state; no randomness."""
        places = jnp.arange(self.num_cells * (self.num_types + 1))
        object_places = (1 + params.slot_types) * self.num_cells + state.cells
        is_object = jnp.any(state.exists[None] & (places[:, None] == object_places[None]), axis=1)
        picture = (is_object | (places == state.position)).astype(jnp.float32)
        time = jnp.float32(TIME_SCALE) * state.time.astype(jnp.float32)
        return jnp.concatenate([picture, time[None]])

    def _object_cells(self, state: GridWorldState, params: GridWorldParams) -> Int[Array, " K"]:
        return state.cells

    def _placed_cells(self, uniforms: Float[Array, " K"], params: GridWorldParams) -> Int[Array, " K"]:
        is_needed = jnp.ones((self.num_slots,), bool)
        available = self._free_cells(params).at[params.start].set(False)
        return draw_cells(uniforms, is_needed, available, otherwise=available)

    def _cells_after_respawn(
        self,
        uniforms: Float[Array, " K"],
        state: GridWorldState,
        position: Int[Array, ""],
        comes_back: Bool[Array, " K"],
        params: GridWorldParams,
    ) -> Int[Array, " K"]:
        free = self._free_cells(params).at[position].set(False)
        # A crowded level may have no cell that was never used: then one without an object has to do.
        without_object = free & ~self._holds(state.cells, state.exists)
        never_used = free & ~self._holds(state.cells, jnp.ones_like(state.exists))
        cells = draw_cells(uniforms, comes_back, never_used, otherwise=without_object)
        return jnp.where(comes_back, cells, state.cells)

    def _free_cells(self, params: GridWorldParams) -> Bool[Array, " cells"]:
        return ~params.walls & (jnp.arange(self.num_cells) < params.size**2)

    def _holds(self, cells: Int[Array, " K"], is_counted: Bool[Array, " K"]) -> Bool[Array, " cells"]:
        return jnp.any(is_counted[None] & (jnp.arange(self.num_cells)[:, None] == cells[None]), axis=1)


def draw_cells(
    uniforms: Float[Array, " K"],
    is_needed: Bool[Array, " K"],
    available: Bool[Array, " cells"],
    *,
    otherwise: Bool[Array, " cells"],
) -> Int[Array, " K"]:
    """Returns one cell per draw: the floor(u n)-th of the n available cells that earlier needed draws have left.

    Args:
        uniforms: one number in [0, 1) per draw.
        is_needed: whether the draw's cell will be used, and so is no longer available to later draws.
        available: cells to draw from.
        otherwise: cells to draw from, by the same rule, when none of those is left. When none of these is left either,
            the result is 0.
    """
    num_cells = available.shape[0]
    reserve = otherwise & ~available
    count, count_reserve = (jnp.cumsum(cells.astype(jnp.int32)) for cells in (available, reserve))
    rank = jnp.where(available, count - 1, jnp.where(reserve, count[-1] + count_reserve - 1, num_cells))
    ranks = _draw_ranks(uniforms, is_needed, count[-1], count[-1] + count_reserve[-1])
    return jnp.sum(jnp.where(rank[None] == ranks[:, None], jnp.arange(num_cells)[None], 0), axis=1, dtype=jnp.int32)


def _draw_ranks(
    uniforms: Float[Array, " K"], is_needed: Bool[Array, " K"], num_available: Int[Array, ""], num_all: Int[Array, ""]
) -> Int[Array, " K"]:
    """Returns distinct ranks below `num_available`, or below `num_all` once those are used up."""
    taken: list[Array] = []  # sorted; counting cells anew for every draw would cost many times as much
    num_taken, ranks = jnp.int32(0), []
    for uniform, is_kept in zip(uniforms, is_needed, strict=True):
        num_left = jnp.where(num_taken < num_available, num_available, num_all) - num_taken
        rank = jnp.floor(uniform * num_left.astype(jnp.float32)).astype(jnp.int32)
        for other in taken:
            rank += (other <= rank).astype(jnp.int32)
        ranks.append(rank)
        num_taken += is_kept.astype(jnp.int32)
        largest = jnp.where(is_kept, rank, jnp.iinfo(jnp.int32).max)
        for place, other in enumerate(taken):
            taken[place], largest = jnp.minimum(other, largest), jnp.maximum(other, largest)
        taken.append(largest)
    return jnp.stack(ranks)
