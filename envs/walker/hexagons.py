"""The track of hexagons: convex hulls of six random points, nine metres apart, as intersections of half-planes.

Source: `hexagon_tracks` of flowersteam/teachDeepRL, where Box2D takes the convex hull.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from envs.walker.noise import normal_noise
from envs.walker.terrain import HEIGHT_DEVIATION, Terrain
from envs.walker.world import GROUND, PAD, SKIN, STRIDE, Vector

NUM_OBSTACLES, SPACING = 10, 9.0
"""Obstacles of a track, and metres from one to the next."""
DEFAULT = ((-0.5, 0.0), (-0.5, 0.25), (-0.25, 0.5), (0.25, 0.5), (0.5, 0.25), (0.5, 0.0))
"""Corners before they are moved, in strides about the obstacle's base."""
BEHIND = 7.5
"""Metres behind the hull's origin at which an obstacle's base no longer matters; nor does it `SPACING` further on from
the obstacle after it."""
FAR = 1e3
"""More than any distance on the track, in metres."""
PAIRS = np.array([pair for pair in itertools.permutations(range(6), 2)], np.int32)
"""Ordered pairs of corners: each is the side of a half-plane if no corner lies to its left."""


class Hexagons(NamedTuple):
    """Two obstacles, [2, ...]; the side of a half-plane is `normal . p <= offset`."""

    corners: Vector
    """[6, 2, *batch] points of which the obstacle is the convex hull."""
    normal: Vector
    """[30, 2, *batch] outwards, of length 1."""
    offset: Float[Array, "30 2 *#batch"]
    """Largest `normal . p`; 1000 for pairs that are no side."""


def hexagons_near(
    parameters: Float[Array, "12 *#batch"], seed: UInt32[Array, "2 *#batch"], x: Float[Array, "*#batch"]
) -> Hexagons:
    """Returns the two obstacles about a hull at x; parameters are (x, y) of six corners, in strides.

    The y of the first and of the last corner have no effect: both stand on the ground.
    """
    first = jnp.ceil((x - BEHIND - PAD) / SPACING).astype(jnp.int32)
    number = jnp.stack([first, first + 1])
    exists = (number >= 0) & (number < NUM_OBSTACLES)
    index = number[None] * 12 + jnp.arange(12, dtype=jnp.int32).reshape(12, *[1] * number.ndim)
    noise = normal_noise(seed, index.reshape(24, *x.shape)).reshape(index.shape)
    moved = parameters[:, None] + HEIGHT_DEVIATION * noise
    default = np.asarray(DEFAULT, np.float32).reshape(6, 2, *[1] * number.ndim)
    base = PAD + SPACING * number.astype(jnp.float32)
    along = base[None] + STRIDE * (moved[0::2] + default[:, 0])
    up = STRIDE * (moved[1::2] + default[:, 1])
    stands = np.array([True, False, False, False, False, True]).reshape(6, *[1] * number.ndim)
    up = jnp.where(stands | ~exists[None], 0.0, up)
    return _half_planes(Vector(along, GROUND - jnp.where(exists[None], 0.0, 1.0) + up))


def _half_planes(corners: Vector) -> Hexagons:
    """Returns the half-planes whose intersection is the convex hull of six points of each of two obstacles."""
    start, end = corners[PAIRS[:, 0]], corners[PAIRS[:, 1]]
    edge = end - start
    length = jnp.sqrt(edge.x**2 + edge.y**2)
    scale = 1.0 / jnp.maximum(length, 1e-6)
    normal = Vector(-edge.y * scale, edge.x * scale)
    offset = normal.x * start.x + normal.y * start.y
    reach = normal.x * corners.x[0][None] + normal.y * corners.y[0][None]
    for i in range(1, 6):
        reach = jnp.maximum(reach, normal.x * corners.x[i][None] + normal.y * corners.y[i][None])
    is_side = (reach <= offset + 1e-4) & (length > 1e-4)
    return Hexagons(corners, normal, jnp.where(is_side, reach, FAR))


def hexagon_surface(place: Hexagons, points: Vector) -> tuple[Float[Array, "n *#batch"], Vector]:
    """Returns depths and ways out: of the nearest side of an obstacle where that is deeper than the ground."""
    depth = GROUND + SKIN - points.y
    normal = Vector(jnp.zeros_like(depth), jnp.ones_like(depth))
    for obstacle in range(2):
        planes, offset = place.normal[:, obstacle], place.offset[:, obstacle]
        inside = jnp.full_like(depth, FAR)
        way = normal
        for i in range(offset.shape[0]):
            one = offset[i][None] + SKIN - planes.x[i][None] * points.x - planes.y[i][None] * points.y
            nearer = one < inside
            inside = jnp.where(nearer, one, inside)
            way = _chosen(nearer, Vector(planes.x[i][None], planes.y[i][None]), way)
        # The side on which the obstacle stands is no way out.
        is_deeper = (inside > jnp.maximum(depth, 0.0)) & (way.y > -0.999)
        depth, normal = jnp.where(is_deeper, inside, depth), _chosen(is_deeper, way, normal)
    return depth, normal


def _chosen(condition: Array, yes: Vector, no: Vector) -> Vector:
    return Vector(jnp.where(condition, yes.x, no.x), jnp.where(condition, yes.y, no.y))


def hexagon_corners(place: Hexagons, x: Float[Array, "n *#batch"], number: int) -> Vector:
    """Returns the corners of both obstacles, twelve for every x."""
    shape = (12, *x.shape)
    flat = [jnp.broadcast_to(one.reshape(12, 1, *one.shape[2:]), shape) for one in (place.corners.x, place.corners.y)]
    return Vector(*flat)


def hexagon_rays(place: Hexagons, origin: Vector, directions: Vector) -> Float[Array, "R *#batch"]:
    """Returns distances along rays (y < 0) to the ground or the nearest obstacle, whose half-planes clip the ray."""
    distance = (GROUND - origin.y[None]) / directions.y
    for obstacle in range(2):
        enters, leaves = jnp.zeros_like(distance), jnp.full_like(distance, FAR)
        is_met = jnp.ones_like(distance, bool)
        for i in range(place.offset.shape[0]):
            x, y = place.normal.x[i, obstacle], place.normal.y[i, obstacle]
            gap = (place.offset[i, obstacle] - x * origin.x - y * origin.y)[None]
            speed = x[None] * directions.x + y[None] * directions.y
            at = gap / jnp.where(jnp.abs(speed) < 1e-9, 1e-9, speed)
            enters = jnp.where(speed < -1e-9, jnp.maximum(enters, at), enters)
            leaves = jnp.where(speed > 1e-9, jnp.minimum(leaves, at), leaves)
            is_met = is_met & ((jnp.abs(speed) > 1e-9) | (gap >= 0.0))
        is_met = is_met & (enters <= leaves)
        distance = jnp.where(is_met, jnp.minimum(distance, enters), distance)
    return distance


HEXAGONS = Terrain("hexagons", (0.0,) * 12, (4.0,) * 12, hexagons_near, hexagon_surface, hexagon_corners, hexagon_rays)
