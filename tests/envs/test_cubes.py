"""The toy task space, against a literal version in numpy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.cubes import Cubes, cubes


class LiteralCubes:
    """The rules one by one."""

    def __init__(self, dimensions, per_dimension):
        self.dimensions, self.size = dimensions, per_dimension
        self.competence = {cell: 0 for cell in itertools.product(range(per_dimension), repeat=dimensions)}

    def visit(self, vector):
        cell = tuple(min(int(np.floor(np.float32(x) * np.float32(self.size))), self.size - 1) for x in vector)
        neighbours = {
            tuple(max(index - step, 0) for index, step in zip(cell, steps, strict=True))
            for steps in itertools.product((0, 1), repeat=self.dimensions)
        } - {cell}
        if cell == (0,) * self.dimensions or any(self.competence[one] >= 75 for one in neighbours):
            self.competence[cell] = min(self.competence[cell] + 1, 100)
        return self.competence[cell] / 100


@pytest.mark.parametrize(("dimensions", "per_dimension", "visits"), [(1, 4, 600), (2, 3, 2500), (3, 2, 2000)])
def test_visits_follow_the_rules_literally(dimensions, per_dimension, visits):
    world, literal = (
        cubes(num_dimensions=dimensions, per_dimension=per_dimension),
        LiteralCubes(dimensions, per_dimension),
    )
    vectors = np.random.default_rng(0).random((visits, dimensions)).astype(np.float32)
    competence, rewards = jax.jit(world.visit_all)(world.init(), vectors)
    np.testing.assert_allclose(rewards, [literal.visit(vector) for vector in vectors], atol=1e-6)
    np.testing.assert_array_equal(competence, list(literal.competence.values()))  # row-major, as product counts
    assert 0 < int(jnp.sum(competence == 100)) and int(jnp.max(competence)) == 100
    share = np.mean(np.array(list(literal.competence.values())) > 75)
    assert float(world.mastered(competence)) == pytest.approx(100 * share)


def test_edges_belong_to_the_cells_beside_them():
    world = cubes(num_dimensions=2, per_dimension=4)
    corners = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [-3.0, 9.0], [0.25, 0.2499]], jnp.float32)
    assert jax.vmap(world.cell)(corners).tolist() == [0, 3, 12, 15, 3, 4]


def test_useless_coordinates_change_nothing(key):
    narrow, wide = cubes(), cubes(num_useless=3)
    vectors = jax.random.uniform(key, (300, 5))
    for a, b in zip(narrow.visit_all(narrow.init(), vectors[:, :2]), wide.visit_all(wide.init(), vectors), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_cell_is_mastered_above_75_and_not_at_it():
    world = Cubes(1, 4)
    assert float(world.mastered(jnp.array([75, 76, 100, 0], jnp.int32))) == 50.0


@pytest.mark.parametrize(
    "wrong", [{"num_dimensions": 0}, {"per_dimension": 1}, {"num_useless": -1}, {"num_dimensions": 7}]
)
def test_impossible_spaces_are_refused(wrong):
    with pytest.raises(ValueError, match="cubes were asked for with"):
        cubes(**wrong)
