"""Where legs touch the track, and whether the hull does.

Every leg has six possible contacts: the four corners of its lower part with the track, the deepest corner of an
obstacle inside its lower part, and the same for its upper part. Nothing else touches: legs pass through each other, and
an episode ends when the hull touches.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envs.walker.body import Body
from envs.walker.dynamics import Pose
from envs.walker.terrain import Terrain, is_below
from envs.walker.world import SKIN, Vector, dot, rotated, turned

NUM_SLOTS, NUM_LOWER = 6, 5
"""Contacts of a leg, and how many of them are those of its lower part: the first ones."""
NEAR_LEG, NEAR_HULL = 3, 7
"""Stumps whose corners may be inside a part of a leg, and inside the hull."""


class Contacts(NamedTuple):
    """Possible contacts, [6, L, *batch]."""

    depth: Float[Array, "6 L *#batch"]
    """Metres; positive where there is contact."""
    normal: Vector
    """Unit vector along which the leg is pushed."""
    point: Vector
    """Where, relative to the hull's origin."""


def find_contacts(body: Body, at: Pose, terrain: Terrain, place: Any) -> Contacts:
    """Returns the contacts of the legs at a pose."""
    corners = lower_corners(body, at)
    flat = corners.x.shape
    world = Vector(corners.x + at.root.x[None, None], corners.y + at.root.y[None, None])
    points = Vector(world.x.reshape(-1, *flat[2:]), world.y.reshape(-1, *flat[2:]))
    depth, normal = terrain.surface(place, points)
    half, axis = body.length[None] * 0.5, _joined(at.lower, at.upper)
    middle = _joined(at.knee, at.hip) + axis * half
    widths = [jnp.broadcast_to(one[None], at.hip.x.shape) for one in (body.lower_width, body.upper_width)]
    inside = _corner_inside(at.root, terrain, place, (middle, axis), half, jnp.concatenate(widths) * 0.5)
    inside = jax.tree.map(lambda leaf: leaf.reshape(2, *flat[1:]), inside)
    normal = Vector(normal.x.reshape(flat), normal.y.reshape(flat))
    depth = jnp.concatenate([depth.reshape(flat), inside.depth])
    return Contacts(depth, _joined(normal, inside.normal), _joined(corners, inside.point))


def _joined(first: Vector, second: Vector) -> Vector:
    return Vector(jnp.concatenate([first.x, second.x]), jnp.concatenate([first.y, second.y]))


def lower_corners(body: Body, at: Pose) -> Vector:
    """Returns the corners of the lower parts, [4, L, *batch]: left and right at the knee, then at the foot."""
    side = turned(at.lower) * (body.lower_width[None] * 0.5)
    foot = at.knee + at.lower * body.length[None]
    corners = (at.knee - side, at.knee + side, foot - side, foot + side)
    return Vector(jnp.stack([one.x for one in corners]), jnp.stack([one.y for one in corners]))


def _corner_inside(
    root: Vector, terrain: Terrain, place: Any, boxes: tuple[Vector, Vector], half: Array, half_width: Array
) -> Contacts:
    """Returns the contact of the obstacles' corner that is deepest inside each box (middle, long axis), [n, *batch]."""
    middle, axis = boxes
    corners = terrain.corners(place, middle.x + root.x[None], NEAR_LEG)
    away = Vector(corners.x - (root.x[None] + middle.x)[None], corners.y - (root.y[None] + middle.y)[None])
    side = turned(axis)
    across = away.x * side.x[None] + away.y * side.y[None]
    along = away.x * axis.x[None] + away.y * axis.y[None]
    depth_across = (half_width + SKIN)[None] - jnp.abs(across)
    depth_along = (half + SKIN)[None] - jnp.abs(along)
    depths = jnp.minimum(depth_across, depth_along)
    number = jnp.arange(depths.shape[0]).reshape(-1, *[1] * (depths.ndim - 1))
    is_best = number == jnp.argmax(depths, axis=0)[None]
    depth, depth_across, across, along = (
        jnp.sum(jnp.where(is_best, one, 0.0), axis=0) for one in (depths, depth_across, across, along)
    )
    is_side = depth == depth_across
    normal_side, normal_along = side * -jnp.sign(across), axis * -jnp.sign(along)
    normal = Vector(
        jnp.where(is_side, normal_side.x, normal_along.x), jnp.where(is_side, normal_side.y, normal_along.y)
    )
    return Contacts(depth, normal, middle + side * across + axis * along)


def hull_touches(
    body: Body, root: Vector, cos: Float[Array, "*#batch"], sin: Float[Array, "*#batch"], terrain: Terrain, place: Any
) -> Bool[Array, "*#batch"]:
    """Returns whether the hull touches the track: a corner of either is inside the other."""
    arms = rotated(Vector(body.hull[:, 0], body.hull[:, 1]), cos[None], sin[None])
    corners = Vector(root.x[None] + arms.x, root.y[None] + arms.y)
    sinks = jnp.any(is_below(place, terrain, corners), axis=0)
    obstacles = terrain.corners(place, root.x[None], NEAR_HULL)[:, 0]
    edge = Vector(*(jnp.roll(one, -1, axis=0) - one for one in (corners.x, corners.y)))
    # Corners run clockwise: what is inside lies to the right of every edge; [edges, obstacles' corners, *batch].
    away = Vector(obstacles.x[None] - corners.x[:, None], obstacles.y[None] - corners.y[:, None])
    distance = away.y * edge.x[:, None] - away.x * edge.y[:, None]
    is_inside = jnp.all(distance < SKIN * jnp.sqrt(dot(edge, edge))[:, None], axis=0)
    return sinks | jnp.any(is_inside, axis=0)
