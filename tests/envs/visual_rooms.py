"""Rooms, poses and tasks that the tests of the visual room share."""

import functools
import math

import jax
import jax.numpy as jnp

from envs.visual_room import Pose, corner_params

BLUE, RED, GREEN, YELLOW = range(4)
ROUNDING = 2e-6  # float32, numbers up to 6
CORNERS, GENERAL = "visual-room@layout=corners,image_size=8", "visual-room@image_size=8"


@functools.cache
def corner_tasks():
    """Returns the four original rooms, stacked."""
    return jax.vmap(lambda target: corner_params(target, 50))(jnp.arange(4, dtype=jnp.int32))


def pose_at(x, z, degrees):
    return Pose(jnp.array([x, z], jnp.float32), jnp.float32(math.radians(degrees)))


def tasks(family, count, seed=0):
    return jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(seed), count)).params
