"""Cells of a square room with walls: moves between them, ways to a cell, and how a network is shown one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]], np.int32)
"""What the actions do: +x, -x, +y, -y, stay."""
NUM_ACTIONS = len(MOVES)
STARTS = ("corner", "centre", "random")
"""Where episodes can start."""
LABELS = ("first", "soft")
"""What experts answer: x, then y, then stay, as officially; or every optimal move, with equal weights."""


def all_cells(size: int) -> Int[Array, "C 2"]:
    """Returns all cells (x, y) of a room; `x * size + y` is the index of a cell."""
    index = jnp.arange(size * size, dtype=jnp.int32)
    return jnp.stack([index // size, index % size], axis=1)


def start_cell(start: str, size: int, uniforms: Float[Array, "2"]) -> Int[Array, "2"]:
    """Returns the cell that an episode starts in: (0, 0), the middle, or a uniform one."""
    return {
        "corner": jnp.zeros((2,), jnp.int32),
        "centre": jnp.full((2,), size // 2, jnp.int32),
        "random": random_cell(uniforms, size),
    }[start]


def random_cell(uniforms: Float[Array, "2"], size: int) -> Int[Array, "2"]:
    """Returns a uniform cell from two uniforms."""
    return jnp.minimum((uniforms * size).astype(jnp.int32), size - 1)


def one_hot_cell(position: Int[Array, "2"], size: int) -> Float[Array, " D"]:
    """Returns x and y as two one-hot vectors in a row."""
    return jax.nn.one_hot(position, size, dtype=jnp.float32).reshape(2 * size)


def goto_move(position: Int[Array, "2"], target: Int[Array, "2"]) -> Int[Array, ""]:
    """Returns the official expert's move towards a cell: x first, then y, then stay."""
    dx, dy = target[0] - position[0], target[1] - position[1]
    along_y = jnp.where(dy > 0, 2, jnp.where(dy < 0, 3, 4))
    return jnp.where(dx > 0, 0, jnp.where(dx < 0, 1, along_y)).astype(jnp.int32)


def best_moves(position: Int[Array, "2"], target: Int[Array, "2"], size: int) -> Float[Array, "5"]:
    """Returns equal weights on the moves after which the target is nearest.

    Moves that a wall stops at the target are as good as staying.
    """
    after = jnp.clip(position[None] + jnp.asarray(MOVES), 0, size - 1)
    distance = jnp.sum(jnp.abs(after - target[None]), axis=1)
    weights = (distance == jnp.min(distance)).astype(jnp.float32)
    return weights / jnp.sum(weights)


def towards(position: Int[Array, "2"], target: Int[Array, "2"], size: int, labels: str) -> Float[Array, "5"]:
    """Returns how probably the expert with these labels makes each move on its way to a cell."""
    if labels == "soft":
        return best_moves(position, target, size)
    return jax.nn.one_hot(goto_move(position, target), NUM_ACTIONS, dtype=jnp.float32)


ENCODINGS: dict[str, tuple[Callable[[int], int], Callable[[Any, int], Array]]] = {
    "one-hot": (lambda size: 2 * size, one_hot_cell),
    "raw": (lambda size: 2, lambda position, size: position.astype(jnp.float32)),
    "index": (
        lambda size: size * size,
        lambda position, size: jax.nn.one_hot(position[0] * size + position[1], size * size, dtype=jnp.float32),
    ),
}
"""How a network is shown a cell: (number of entries, encoder) by name."""
