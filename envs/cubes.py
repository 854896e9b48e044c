"""The n-dimensional toy task space: cells that are unlocked by mastering their neighbours.

A task is a point of the unit box, an episode one visit of its cell. How good the student is at every cell, its
competence, outlives episodes: here the table of competences *is* the student.

Source: Portelas et al. 2019 (ALP-GMM), toy environment.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

MAX_COMPETENCE = 100
UNLOCKING = 75
"""Competence of a neighbour that unlocks a cell; a cell is mastered above it."""


class Cubes(NamedTuple):
    """A grid of cells in the unit box; vectors may have further coordinates, which do nothing."""

    num_dimensions: int = 2
    """n, dimensions that matter."""
    per_dimension: int = 10
    """Cells along each of them."""
    num_useless: int = 0
    """Further coordinates of a task vector."""

    @property
    def num_cells(self) -> int:
        """Cells in all."""
        return self.per_dimension**self.num_dimensions

    def init(self) -> Int[Array, " C"]:
        """Returns the competences of a new student: all 0."""
        return jnp.zeros((self.num_cells,), jnp.int32)

    def cell(self, vector: Float[Array, " D"]) -> Int[Array, ""]:
        """Returns the row-major index of a vector's cell; 1.0 belongs to the last, and values outside to the edge."""
        places = jnp.floor(vector[: self.num_dimensions] * self.per_dimension).astype(jnp.int32)
        return jnp.dot(jnp.clip(places, 0, self.per_dimension - 1), jnp.asarray(self._strides()))

    def is_unlocked(self, competence: Int[Array, " C"], cell: Int[Array, ""]) -> Bool[Array, ""]:
        """Returns whether visits of a cell teach anything: it is the first, or a lower neighbour is good enough."""
        lower = jnp.asarray(self._lower_neighbours())[cell]
        return (cell == 0) | jnp.any((competence[lower] >= UNLOCKING) & (lower != cell))

    def visit(
        self, competence: Int[Array, " C"], vector: Float[Array, " D"]
    ) -> tuple[Int[Array, " C"], Float[Array, ""]]:
        """Returns (competences, reward in [0, 1]) after an episode: a visit of an unlocked cell adds 1, up to 100."""
        cell = self.cell(vector)
        gained = competence.at[cell].add(self.is_unlocked(competence, cell).astype(jnp.int32))
        gained = jnp.minimum(gained, MAX_COMPETENCE)
        return gained, gained[cell].astype(jnp.float32) / MAX_COMPETENCE

    def visit_all(
        self, competence: Int[Array, " C"], vectors: Float[Array, "n D"]
    ) -> tuple[Int[Array, " C"], Float[Array, " n"]]:
        """Returns (competences, rewards) after one episode per vector, in order."""
        return jax.lax.scan(self.visit, competence, vectors)

    def mastered(self, competence: Int[Array, " C"]) -> Float[Array, ""]:
        """Returns the percentage of cells with a competence above 75."""
        return 100.0 * jnp.mean((competence > UNLOCKING).astype(jnp.float32))

    def _strides(self) -> Int[np.ndarray, " n"]:
        return self.per_dimension ** np.arange(self.num_dimensions, dtype=np.int32)[::-1]

    def places(self) -> Int[np.ndarray, "C n"]:
        """Returns the place of every cell along each dimension that matters."""
        return np.array(list(itertools.product(range(self.per_dimension), repeat=self.num_dimensions)), np.int32)

    def _lower_neighbours(self) -> Int[np.ndarray, "C m"]:
        """Returns for every cell those one lower along some of the dimensions, cut off at the edge."""
        places = self.places()
        steps = np.array(list(itertools.product((0, 1), repeat=self.num_dimensions))[1:], np.int32)
        return np.maximum(places[:, None] - steps[None], 0) @ self._strides()


def cubes(*, num_dimensions: int = 2, per_dimension: int = 10, num_useless: int = 0) -> Cubes:
    """Returns the toy task space.

    Raises:
        ValueError: unless there are 1 or more dimensions, 2 or more cells along each, at most a million in all, and no
            negative number of useless dimensions.
    """
    if num_dimensions < 1 or per_dimension < 2 or num_useless < 0 or per_dimension**num_dimensions > 1_000_000:
        raise ValueError(
            f"cubes were asked for with {num_dimensions} dimensions of {per_dimension} cells and {num_useless} useless "
            "ones; give at least 1 dimension, at least 2 cells along each and at most a million cells in all"
        )
    return Cubes(num_dimensions, per_dimension, num_useless)
