"""What a walker does in one episode, as arrays that can be drawn without running anything."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from envs.family import TaskFamily
from envs.rollout import Policy, reset, unroll
from envs.walker.lidar import ANGLES, NUM_RAYS, RANGE
from envs.walker.terrain import Terrain
from envs.walker.walker_env import WalkerParams
from envs.walker.world import GROUND, LENGTH, Vector

RESOLUTION = 0.02
"""Metres between two points of the outline of a track."""
ABOVE = 10.0
"""Metres above the ground, higher than any obstacle."""


def walker_film(family: TaskFamily, params: WalkerParams, policy: Policy, key: Array) -> dict[str, Array]:
    """Returns one episode: `position [T, dof]`, `rays [T, R]`, `reward [T]` and `lasts [T]`, false after its end.

    With them come the body and the track: `hull`, `hips`, `leg`, `outline [n, 2]`, `ground`, `ray_angles` and
    `ray_range`, in metres and radians. The episode is the one that `evaluate` runs with the same key.
    """
    workers = reset(family.env, params, jax.random.split(key, 3)[0], 1)
    _, seen = unroll(
        family.env,
        params,
        policy,
        workers,
        key,
        num_steps=family.max_episode_steps,
        keeps=lambda state: state.motion.position,
    )
    done = (seen.terminated | seen.truncated)[:, 0].astype(jnp.int32)
    body, seed = params.body, workers.state.seed[0]
    return {
        "position": seen.kept[:, 0],
        "rays": seen.observation[:, 0, -NUM_RAYS:],
        "reward": seen.reward[:, 0],
        "lasts": jnp.cumsum(done) - done == 0,
        "hull": body.hull,
        "hips": body.hips,
        "leg": jnp.stack([body.length, body.upper_width, body.lower_width]),
        "outline": outline(family.env.terrain, params.terrain, seed),
        "ground": jnp.float32(GROUND),
        "ray_angles": jnp.asarray(ANGLES, jnp.float32),
        "ray_range": jnp.float32(RANGE),
    }


def outline(terrain: Terrain, parameters: Array, seed: Array) -> Array:
    """Returns points [n, 2] on the surface of a track from its start to its end, as seen from above."""

    def height(x: Array) -> Array:
        place = terrain.near(parameters, seed, x)
        down: Any = Vector(jnp.zeros((1,)), -jnp.ones((1,)))
        return GROUND + ABOVE - terrain.rays(place, Vector(x, jnp.float32(GROUND + ABOVE)), down)[0]

    x = jnp.asarray(np.arange(0.0, LENGTH, RESOLUTION), jnp.float32)
    return jnp.stack([x, jax.vmap(height)(x)], axis=1)
