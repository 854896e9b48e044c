"""What the walker sees ahead: ten rays from the hull's origin, from straight down to almost level.

Source: flowersteam/teachDeepRL.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from envs.walker.terrain import Terrain
from envs.walker.world import PIXEL, Vector

NUM_RAYS = 10
RANGE = 160.0 * PIXEL
"""Metres."""
ANGLES = 1.5 * np.arange(NUM_RAYS) / NUM_RAYS
"""Of the rays, in radians from straight down; the hull's angle does not turn them."""


def lidar(terrain: Terrain, place: Any, origin: Vector) -> Float[Array, "10 *#batch"]:
    """Returns the share of its range that each ray travels before it meets the track, 1 if it meets nothing."""
    shape = (NUM_RAYS, *[1] * origin.x.ndim)
    directions = Vector(
        jnp.asarray(np.sin(ANGLES), jnp.float32).reshape(shape),
        jnp.asarray(-np.cos(ANGLES), jnp.float32).reshape(shape),
    )
    return jnp.clip(terrain.rays(place, origin, directions) * (1.0 / RANGE), 0.0, 1.0)
