"""The world of the walker: lengths in metres, times in seconds, and vectors in the plane.

Source: `bipedal_walker_continuous.py` of flowersteam/teachDeepRL (Portelas et al. 2019).
"""

from typing import Any, no_type_check

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array

PIXEL = 1.0 / 30.0
"""Metres a pixel: bodies are designed in pixels."""
TIME_STEP = 0.02
GRAVITY = 10.0
STRIDE = 14.0 * PIXEL
"""Unit of length of the track, the width of a stump, and the unit of obstacle heights."""
GROUND = 10.0 / 3.0
"""Height of the ground, which is flat."""
SPAWN = 10.0 * STRIDE
"""Where the hull's origin starts."""
PAD = 20.0 * STRIDE
"""Where obstacles begin."""
FINISH = 190.0 * STRIDE
"""The track is done beyond this."""
LENGTH = 200.0 * STRIDE
"""No obstacle begins beyond this."""
SKIN = 0.02
"""How far apart surfaces are that touch: both polygons of a contact have rounded corners of 0.01 m in Box2D."""


@no_type_check  # components have any shape, and jax builds it anew with leaves that are no arrays
@struct.dataclass
class Vector:
    """A vector, or an array of vectors, in the plane. Structure comes first in shapes and a batch of worlds last."""

    x: Array
    """Forwards."""
    y: Array
    """Upwards."""

    def __add__(self, other: "Vector") -> "Vector":
        """Returns the sum."""
        return Vector(self.x + other.x, self.y + other.y)

    def __sub__(self, other: "Vector") -> "Vector":
        """Returns the difference."""
        return Vector(self.x - other.x, self.y - other.y)

    def __mul__(self, factor: Any) -> "Vector":
        """Returns the vector scaled by a number, or by as many numbers as there are vectors."""
        return Vector(self.x * factor, self.y * factor)

    def __getitem__(self, index: Any) -> "Vector":
        """Returns the vectors at an index of both components."""
        return Vector(self.x[index], self.y[index])


def dot(a: Vector, b: Vector) -> Array:
    """Returns the inner products."""
    return a.x * b.x + a.y * b.y


def cross(a: Vector, b: Vector) -> Array:
    """Returns the outer products: the torque of a force `b` with the arm `a`."""
    return a.x * b.y - a.y * b.x


def turned(a: Vector) -> Vector:
    """Returns the vectors turned by a right angle to the left: the velocity at the arm `a` of a turn of 1 rad/s."""
    return Vector(-a.y, a.x)


def rotated(a: Vector, cos: Array, sin: Array) -> Vector:
    """Returns the vectors rotated by the angle with this cosine and sine."""
    return Vector(cos * a.x - sin * a.y, sin * a.x + cos * a.y)


def stacked(vectors: list[Vector]) -> Vector:
    """Returns the vectors along a new first axis."""
    return Vector(jnp.stack([one.x for one in vectors]), jnp.stack([one.y for one in vectors]))
