"""What a track is to the walker, and the track of stumps: boxes of equal width, of random height, in a regular row.

Obstacles are never listed. Which of them is near a point follows from the point in closed form, and its height from a
hash of its number, so that nothing has to be stored or drawn at a reset.

Source: `stump_tracks` of flowersteam/teachDeepRL.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from envs.walker.noise import normal_noise
from envs.walker.world import GROUND, LENGTH, PAD, SKIN, STRIDE, Vector

HEIGHT_DEVIATION = 0.1
"""Standard deviation of heights (and of the corners of hexagons), in strides."""
MIN_HEIGHT, MIN_GAP = 0.05, 0.01
"""Least height of a stump, in strides, and least distance between stumps, in metres."""
ABSENT = GROUND - 1.0
"""Top of a stump that does not exist."""


class Terrain(NamedTuple):
    """A kind of track, as functions of `place`: its obstacles, all of them or those near the walker."""

    name: str
    """What its obstacles are called."""
    low: tuple[float, ...]
    """Lower bounds of its parameters, D of them."""
    high: tuple[float, ...]
    """Upper bounds of its parameters."""
    near: Callable[[Float[Array, "D *#batch"], UInt32[Array, "2 *#batch"], Float[Array, "*#batch"]], Any]
    """`near(parameters, seed, x)`: the place, valid about a hull whose origin is at x."""
    surface: Callable[[Any, Vector], tuple[Float[Array, "n *#batch"], Vector]]
    """`surface(place, points)`: how deep each of n points is inside (negative outside) and the way out, a unit vector.
    The surface lies a skin's thickness outside of the shapes."""
    corners: Callable[[Any, Float[Array, "n *#batch"], int], Vector]
    """`corners(place, x, number)`: [corners, n, *batch] corners of obstacles near each x; of `number` stumps."""
    rays: Callable[[Any, Vector, Vector], Float[Array, "R *#batch"]]
    """`rays(place, origin, directions [R])`: distance to the first surface, without a skin; large if there is none."""


class Stumps(NamedTuple):
    """A row of stumps."""

    start: Float[Array, "*#batch"]
    """Left edge of the first, in metres."""
    pitch: Float[Array, "*#batch"]
    """Distance from left edge to left edge, more than a stump's width."""
    height: Float[Array, "*#batch"]
    """Mean height, in strides."""
    seed: UInt32[Array, "2 *#batch"]
    """Of the deviations of heights."""
    tops: Float[Array, "N *#batch"] | None = None
    """Heights above 0 of all tops, in metres, for a track that is known; None for random heights."""


def stumps_near(
    parameters: Float[Array, "2 *#batch"], seed: UInt32[Array, "2 *#batch"], x: Float[Array, "*#batch"]
) -> Stumps:
    """Returns the row of stumps with parameters (mean height in strides, distance in metres), wherever the hull is."""
    pitch = STRIDE + jnp.maximum(parameters[1], MIN_GAP)
    return Stumps(jnp.full_like(pitch, PAD), pitch, parameters[0], seed)


def stump_index(stumps: Stumps, x: Float[Array, "n *#batch"]) -> Int[Array, "n *#batch"]:
    """Returns the number of the last stump whose left edge is not beyond x; negative before the first."""
    return jnp.floor((x - stumps.start[None]) / stumps.pitch[None]).astype(jnp.int32)


def stump(
    stumps: Stumps, index: Int[Array, "n *#batch"]
) -> tuple[Float[Array, "n *#batch"], Float[Array, "n *#batch"]]:
    """Returns (left edges, tops) of the stumps with these numbers; the top of a stump that is not there is low."""
    edge = stumps.start[None] + index.astype(jnp.float32) * stumps.pitch[None]
    if stumps.tops is None:
        height = stumps.height[None] + HEIGHT_DEVIATION * normal_noise(stumps.seed, index)
        top = GROUND + STRIDE * jnp.maximum(height, MIN_HEIGHT)
        exists = (index >= 0) & (edge < LENGTH)
    else:
        number = stumps.tops.shape[0]
        index = jnp.broadcast_to(index, jnp.broadcast_shapes(index.shape, (1, *stumps.tops.shape[1:])))
        top = jnp.take_along_axis(stumps.tops, jnp.clip(index, 0, number - 1), axis=0)
        exists = (index >= 0) & (index < number)
    return edge, jnp.where(exists, top, ABSENT)


def stump_surface(stumps: Stumps, points: Vector) -> tuple[Float[Array, "n *#batch"], Vector]:
    """Returns depths and ways out: of the nearest face of a stump where that is deeper than the ground."""
    edge, top = stump(stumps, stump_index(stumps, points.x + SKIN))
    ground = GROUND + SKIN - points.y
    left, right, up = points.x + SKIN - edge, edge + (STRIDE + SKIN) - points.x, top + SKIN - points.y
    side = jnp.minimum(left, right)
    depth = jnp.minimum(side, up)
    is_stump = depth > jnp.maximum(ground, 0.0)
    is_side = is_stump & (side < up)
    sideways = jnp.where(is_side, jnp.where(left < right, -1.0, 1.0), 0.0)
    return jnp.where(is_stump, depth, ground), Vector(sideways, jnp.where(is_side, 0.0, 1.0))


def stump_corners(stumps: Stumps, x: Float[Array, "n *#batch"], number: int) -> Vector:
    """Returns the two top corners of the `number` stumps about each x."""
    shifts = jnp.arange(number, dtype=jnp.int32).reshape(-1, *[1] * x.ndim) - number // 2
    index = stump_index(stumps, x)[None] + shifts
    flat = index.reshape(-1, *index.shape[2:])
    edge, top = (one.reshape(index.shape) for one in stump(stumps, flat))
    return Vector(jnp.concatenate([edge, edge + STRIDE]), jnp.concatenate([top, top]))


NUM_IN_SIGHT = 13
"""Stumps that a ray may meet: the hull's own and those before it within 5.3 metres."""


def stump_rays(
    stumps: Stumps, origin: Vector, directions: Vector, number: int = NUM_IN_SIGHT
) -> Float[Array, "R *#batch"]:
    """Returns distances along rays, all downwards and forwards (x >= 0, y < 0), to the ground or a stump.

    A stump is the part below its top of the strip between its sides: a ray enters at the later of side and top.
    """
    first = stump_index(stumps, origin.x[None])
    index = first + jnp.arange(number, dtype=jnp.int32).reshape(-1, *[1] * origin.x.ndim)
    edge, top = stump(stumps, index)
    edge, drop = edge - origin.x[None], origin.y[None] - top
    per_x, per_y = 1.0 / jnp.maximum(directions.x, 1e-9), -1.0 / directions.y
    distance = (origin.y[None] - GROUND) * per_y
    enters = jnp.maximum(jnp.maximum(edge[:, None] * per_x[None], drop[:, None] * per_y[None]), 0.0)
    is_met = enters <= (edge[:, None] + STRIDE) * per_x[None]
    distance = jnp.minimum(distance, jnp.min(jnp.where(is_met, enters, jnp.inf), axis=0))
    return distance


STUMPS = Terrain("stumps", (0.0, 0.0), (3.0, 6.0), stumps_near, stump_surface, stump_corners, stump_rays)


def is_below(place: Any, terrain: Terrain, points: Vector) -> Bool[Array, "n *#batch"]:
    """Returns which points are inside the surface of a track."""
    return terrain.surface(place, points)[0] > 0.0
