"""Students: what a teacher proposes tasks to, as pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.cubes import cubes
from metarl.experiments.teach_config import CubesConfig
from metarl.teachers.base import TaskBox, unit_box


class Studied(NamedTuple):
    """What came of one update."""

    vectors: Float[Array, "n D"]
    """Tasks of the episodes that finished."""
    returns: Float[Array, " n"]
    """Their undiscounted returns; NaN in rows without an episode."""
    env_steps: Int[Array, ""]
    """Environment steps taken."""


class Student(NamedTuple):
    """How students are born, study and are examined."""

    box: TaskBox
    """Where tasks live."""
    num_proposals: int
    """Tasks that a teacher proposes for an update."""
    finishes_all: bool
    """Whether every proposal is one finished episode, so that all students finish equally many."""
    init: Callable[[Array, Float[Array, "M D"]], Any]
    """`init(key, vectors) -> state`: a new student, whose first episodes are in these tasks."""
    study: Callable[[Any, Float[Array, "M D"], Any, Array], tuple[Any, Studied]]
    """`study(state, vectors, progress, key)`: one update in these tasks."""
    examine: Callable[[Any], Float[Array, " G"]]
    """`examine(state) -> how well it does in each test task`, in the units of `passes_above`."""
    passes_above: float
    """A test task is mastered above it."""
    test_vectors: Float[Array, "G D"]
    """The test tasks."""
    layers: Callable[[Any], dict[str, dict[str, Array]]] | None = None
    """`layers(state) -> {"0": {"kernel", "bias"}, ...}` of the perceptron that acts without noise, for
    `envs.trained_policy`; None where it is none."""
    film: Callable[[Any, Array], dict[str, Array]] | None = None
    """`film(state, number) -> arrays` to watch it in a test task; None where there is nothing to see."""


def cubes_student(config: CubesConfig) -> Student:
    """Returns the toy student, whose competences are its state; a test task is a cell.

    Raises:
        ValueError: if a size is out of range.
    """
    world = cubes(
        num_dimensions=config.num_dimensions, per_dimension=config.per_dimension, num_useless=config.num_useless
    )
    num_coordinates = config.num_dimensions + config.num_useless

    def study(competence: Array, vectors: Array, progress: Any, key: Array) -> tuple[Array, Studied]:
        competence, rewards = world.visit_all(competence, vectors)
        return competence, Studied(vectors, rewards, jnp.int32(config.batch))

    middles = (jnp.asarray(world.places(), jnp.float32) + 0.5) / config.per_dimension
    rest = jnp.full((world.num_cells, config.num_useless), 0.5, jnp.float32)
    return Student(
        box=unit_box(num_coordinates, success_return=0.75),
        num_proposals=config.batch,
        finishes_all=True,
        init=lambda key, vectors: world.init(),
        study=study,
        examine=lambda competence: competence.astype(jnp.float32) / 100.0,
        passes_above=0.75,
        test_vectors=jnp.concatenate([middles, rest], axis=1),
    )
