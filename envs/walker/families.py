"""The track families of curriculum teachers: stump tracks with two parameters, hexagon tracks with twelve.

Source: Portelas et al. 2019 (ALP-GMM); bounds, interval of returns and threshold of mastery as in
flowersteam/teachDeepRL.
"""

import dataclasses
import functools

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from envs.family import Task, TaskFamily
from envs.walker.body import BUILDS
from envs.walker.hexagons import HEXAGONS
from envs.walker.terrain import STUMPS, Terrain
from envs.walker.walker_env import MAX_STEPS, Walker, walker_params

MAX_LIFETIME = 1000
"""Agent updates of a life on one track, for learners that are trained on it."""
RETURN_RANGE, SUCCESS_RETURN = (-150.0, 350.0), 230.0
"""Returns that teachers map to 0 and 1, and above which a track is mastered."""


def stump_tracks(
    *, body: str = "default", low: tuple[float, ...] | None = None, high: tuple[float, ...] | None = None
) -> TaskFamily:
    """Returns tracks of stumps; D = 2: mean height in strides (14/30 m), and distance between stumps in metres.

    Args:
        body: `default`, `short` or `quadru`.
        low: lower bounds, (0, 0) if None.
        high: upper bounds, (3, 6) if None; studies of unfeasible tasks use heights up to 9.

    Raises:
        ValueError: if there is no such body, or the bounds are not two numbers each, in order.
    """
    return _tracks(STUMPS, body, low, high)


def hexagon_tracks(
    *, body: str = "quadru", low: tuple[float, ...] | None = None, high: tuple[float, ...] | None = None
) -> TaskFamily:
    """Returns tracks of hexagons; D = 12: how far the six corners are moved along x and y, in strides (14/30 m).

    The y of the first and of the last corner are ignored: irrelevant dimensions are part of the problem.

    Args:
        body: `default`, `short` or `quadru`.
        low: lower bounds, all 0 if None.
        high: upper bounds, all 4 if None.

    Raises:
        ValueError: if there is no such body, or the bounds are not twelve numbers each, in order.
    """
    return _tracks(HEXAGONS, body, low, high)


def _tracks(terrain: Terrain, body: str, low: tuple[float, ...] | None, high: tuple[float, ...] | None) -> TaskFamily:
    low, high = terrain.low if low is None else tuple(low), terrain.high if high is None else tuple(high)
    number = len(terrain.low)
    if len(low) != number or len(high) != number or any(a > b for a, b in zip(low, high, strict=True)):
        raise ValueError(
            f"{terrain.name} were given the bounds {low} and {high}; they take {number} numbers each, none of the "
            "lower bounds above its upper one"
        )
    params = walker_params(body, low)
    bottom, top = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)

    def decode(vector: Float[Array, " D"]) -> Task:
        place = bottom + jnp.clip(vector, 0.0, 1.0) * (top - bottom)
        return Task(dataclasses.replace(params, terrain=place), jnp.int32(MAX_LIFETIME))

    return TaskFamily(
        name=f"walker/{terrain.name}@body={body}",
        env=walker(len(BUILDS[body].hips), terrain),
        sample=lambda key: decode(jax.random.uniform(key, (number,))),
        decode=decode,
        num_dimensions=number,
        max_lifetime=MAX_LIFETIME,
        max_episode_steps=MAX_STEPS,
        low=np.asarray(low, np.float32),
        high=np.asarray(high, np.float32),
        return_range=RETURN_RANGE,
        success_return=SUCCESS_RETURN,
    )


@functools.cache
def walker(num_legs: int, terrain: Terrain) -> Walker:
    """Returns the environment that bodies with so many legs share, always the same object: gymnax hashes identities."""
    return Walker(num_legs, terrain)


_IDS = {
    "StumpTracks-metarl": functools.partial(Walker, 2, STUMPS),
    "StumpTracksQuadruped-metarl": functools.partial(Walker, 4, STUMPS),
    "HexagonTracks-metarl": functools.partial(Walker, 4, HEXAGONS),
}
for _id, _make in _IDS.items():
    if _id not in gymnax.registered_envs:
        gymnax.register(_id, _make)
