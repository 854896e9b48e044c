"""Rings, and the nearest neighbours in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree

from metarl.ring import nearest, put, ring

ALL = jnp.ones((4,), bool)


def rows(*numbers):
    return jnp.array(numbers, jnp.float32)[:, None]


def test_the_oldest_rows_are_overwritten():
    held = put(put(ring(5, 1), rows(1, 2, 3, 4), ALL), rows(5, 6, 7, 8), ALL)
    assert sorted(held.rows[:, 0].tolist()) == [4, 5, 6, 7, 8] and int(held.count) == 8
    assert held.rows[jnp.argsort(held.stamp), 0].tolist() == [4, 5, 6, 7, 8]
    assert sorted(held.stamp.tolist()) == [3, 4, 5, 6, 7]


def test_absent_rows_are_not_stored():
    held = put(ring(5, 1), rows(1, np.nan, 3, np.nan), jnp.array([True, False, True, False]))
    assert int(held.count) == 2 and held.rows[held.is_filled, 0].tolist() == [1, 3]
    assert held.stamp.tolist() == [0, 1, -1, -1, -1]


def test_of_more_rows_than_room_the_last_stay():
    held = put(put(ring(3, 1), rows(0), ALL[:1]), rows(1, 2, 3, 4), ALL)
    assert held.rows[jnp.argsort(held.stamp), 0].tolist() == [2, 3, 4] and int(held.count) == 5


def test_a_ring_without_room_is_refused():
    with pytest.raises(ValueError, match="room for 0 rows"):
        ring(0, 1)


@pytest.mark.parametrize("dimensions", [1, 2, 6])
def test_neighbours_are_those_of_scipy(dimensions):
    generator = np.random.default_rng(dimensions)
    before = generator.random((700, dimensions)).astype(np.float32)
    points = generator.random((300, dimensions)).astype(np.float32)
    held = put(ring(1000, dimensions), jnp.asarray(before), jnp.ones((700,), bool))
    np.testing.assert_array_equal(jax.jit(nearest)(held, points), cKDTree(before).query(points)[1])


def test_of_equally_near_rows_the_newest_counts():
    held = put(ring(4, 1), rows(0, 1, 0, 2), ALL)
    assert nearest(held, rows(0)).tolist() == [2]
    held = put(held, rows(0), jnp.array([True]))  # overwrites the first
    assert nearest(held, rows(0)).tolist() == [0]
