"""The last rows of a stream, in an array of fixed size."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Ring(NamedTuple):
    """The last `capacity` rows that were put in, at changing places."""

    rows: Float[Array, "M d"]
    """Row i of the stream lies at place i mod M."""
    count: Int[Array, ""]
    """Rows put in so far."""

    @property
    def is_filled(self) -> Bool[Array, " M"]:
        """Which places hold a row."""
        return jnp.arange(self.rows.shape[0]) < self.count

    @property
    def stamp(self) -> Int[Array, " M"]:
        """Which row of the stream lies at each place; -1 at empty places."""
        capacity = self.rows.shape[0]
        place = jnp.arange(capacity, dtype=jnp.int32)
        last = self.count - 1
        return jnp.where(self.is_filled, last - jnp.mod(last - place, capacity), -1)


def ring(capacity: int, size: int) -> Ring:
    """Returns an empty ring for `capacity` rows of `size` numbers.

    Raises:
        ValueError: unless the capacity is at least 1.
    """
    if capacity < 1:
        raise ValueError(f"a ring was asked for with room for {capacity} rows; it needs at least 1")
    return Ring(jnp.zeros((capacity, size), jnp.float32), jnp.int32(0))


def put(held: Ring, rows: Float[Array, "n d"], is_present: Bool[Array, " n"]) -> Ring:
    """Returns the ring after the present rows, in order; the oldest are overwritten, of many the first of them too."""
    capacity = held.rows.shape[0]
    order = jnp.cumsum(is_present.astype(jnp.int32))
    stays = is_present & (order > order[-1] - capacity)
    place = jnp.where(stays, jnp.mod(held.count + order - 1, capacity), capacity)
    return Ring(held.rows.at[place].set(rows, mode="drop"), held.count + order[-1])


def nearest(held: Ring, points: Float[Array, "n D"]) -> Int[Array, " n"]:
    """Returns the place of the row nearest to each point in its first D numbers, of equally near ones the newest.

    Distances are Euclidean, from differences of float32. An empty ring gives place 0.
    """
    dimensions = points.shape[1]
    squared = jnp.zeros((points.shape[0], held.rows.shape[0]), jnp.float32)
    for axis in range(dimensions):  # a loop instead of a third axis: no temporary array of that size
        squared += (points[:, axis, None] - held.rows[None, :, axis]) ** 2
    squared = jnp.where(held.is_filled[None], squared, jnp.inf)
    is_nearest = squared == jnp.min(squared, axis=1, keepdims=True)
    return jnp.argmax(jnp.where(is_nearest, held.stamp[None], -2), axis=1)
