"""Levels laid out as boards: arrays [G, G] whose upper left g x g corner is the level.

Cell numbers have the level's own stride `g`, which is data; on a board neighbours are one row or column away.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped


def cells_of_board(size: Int[Array, ""], max_size: int) -> Int[Array, "G G"]:
    """Returns the cell number at each place of the board; places outside the level get numbers of other cells."""
    row, column = jnp.meshgrid(jnp.arange(max_size), jnp.arange(max_size), indexing="ij")
    return jnp.minimum(row * size + column, max_size**2 - 1)


def is_inside(size: Int[Array, ""], max_size: int) -> Bool[Array, "G G"]:
    """Returns which places of the board belong to the level."""
    is_used = jnp.arange(max_size) < size
    return is_used[:, None] & is_used[None, :]


def from_board(board: Shaped[Array, "*batch G G"], size: Int[Array, ""]) -> Shaped[Array, "*batch cells"]:
    """Returns the board's values by cell number; numbers of cells that do not exist get values of other cells."""
    max_size = board.shape[-1]
    cells = jnp.arange(max_size**2)
    places = jnp.minimum(cells // size * max_size + cells % size, max_size**2 - 1)
    return board.reshape(*board.shape[:-2], max_size**2)[..., places]


def neighbours(board: Shaped[Array, "*batch G G"], outside: float | int | bool) -> Shaped[Array, "4 *batch G G"]:
    """Returns the values above, below, left and right of each place, ordered as actions; `outside` off the board."""
    border = [(0, 0)] * (board.ndim - 2) + [(1, 1), (1, 1)]
    padded = jnp.pad(board, border, constant_values=outside)
    above, below = padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]
    left, right = padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
    return jnp.stack([above, below, left, right])


def largest_region(is_free: Bool[Array, " cells"], size: Int[Array, ""]) -> Bool[Array, " cells"]:
    """Returns the cells of the largest connected set of free cells; of several equally large ones, one."""
    max_size = round(is_free.shape[0] ** 0.5)
    free = is_free[cells_of_board(size, max_size)] & is_inside(size, max_size)
    own = jnp.arange(1, max_size**2 + 1).reshape(max_size, max_size)

    def spread(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        labels, _ = carry
        spread_labels = jnp.where(free, jnp.maximum(labels, jnp.max(neighbours(labels, 0), axis=0)), 0)
        return spread_labels, jnp.any(spread_labels != labels)

    labels, _ = jax.lax.while_loop(lambda carry: carry[1], spread, (jnp.where(free, own, 0), jnp.bool_(True)))
    counts = jnp.zeros((max_size**2 + 1,), jnp.int32).at[labels].add(1).at[0].set(0)
    return from_board(labels == jnp.argmax(counts), size) & is_free
