"""From a vector of quantiles to a level: every draw that a mode makes is one entry of the vector."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from envs.family import Task
from envs.gridworld import GridWorldParams
from envs.gridworld_board import largest_region
from envs.gridworld_modes import Bounds, GridWorldMode


class _Law(NamedTuple):
    """Modes as arrays of common sizes: axis N over modes first, axis (low, high) of bounds last."""

    lifetime: np.ndarray
    sizes: np.ndarray
    num_objects: np.ndarray
    episode_steps: np.ndarray
    slot_types: np.ndarray
    rewards: np.ndarray
    terminate_probabilities: np.ndarray
    respawn_probabilities: np.ndarray
    walls: np.ndarray


class _Block(NamedTuple):
    """A part of a level's vector."""

    length: int
    """How many quantiles it has."""
    varies: bool
    """Whether they are in the vector at all."""


class LevelDecoder(NamedTuple):
    """How vectors of quantiles become levels."""

    decode: Callable[[Float[Array, " D"]], Task]
    """`decode(vector) -> Task`; entries outside [0, 1] are clipped."""
    num_dimensions: int
    """D."""


def make_level_decoder(modes: tuple[GridWorldMode, ...], *, reachable_only: bool) -> LevelDecoder:
    """Returns the decoder for levels of several modes, each equally likely; all levels have room for the largest.

    The vector holds quantiles of what varies in the modes, in this order: lifetime, which mode, g, k, episode cap, M
    rewards, M termination and M respawn probabilities, G^2 wall scores; and then G^2 placement scores. Walls are the
    top-scoring of all G^2 cell numbers, read with the level's own stride; start and slots 0..K-1 are the free cells of
    the highest scores, in this order. A level with fewer than k + 1 free cells gets fewer objects.

    Args:
        modes: at least one.
        reachable_only: turn every cell outside the largest connected region into a wall, so that nothing is cut off.
    """
    law, num_walls = _stack(modes), max(one.num_drawn_walls for one in modes)
    blocks = _blocks(law, num_walls)
    num_dimensions = sum(block.length for block in blocks.values() if block.varies)

    def decode(vector: Float[Array, " D"]) -> Task:
        if vector.shape != (num_dimensions,):
            raise ValueError(f"a level is a vector of {num_dimensions} quantiles, not an array of shape {vector.shape}")
        quantiles = _split(jnp.clip(vector, 0.0, 1.0), blocks)
        which = _uniform_int(quantiles["mode"][0], jnp.array([0, len(modes) - 1]))
        one = jax.tree.map(lambda values: jnp.asarray(values)[which], law)
        level = _level(quantiles, one, num_walls=num_walls, reachable_only=reachable_only)
        return Task(level, _round(_log_uniform(quantiles["lifetime"][0], one.lifetime)))

    return LevelDecoder(decode, num_dimensions)


def common_shape(modes: tuple[GridWorldMode, ...]) -> tuple[int, int, int]:
    """Returns (G, K, M) with room for every mode."""
    max_size, num_slots, num_types = (max(sizes) for sizes in zip(*(one.shape for one in modes), strict=True))
    return max_size, num_slots, num_types


def _level(
    quantiles: dict[str, Float[Array, " _"]], law: _Law, *, num_walls: int, reachable_only: bool
) -> GridWorldParams:
    size = _uniform_int(quantiles["size"][0], law.sizes)
    drawn = jax.lax.top_k(quantiles["walls"], num_walls)[1]
    walls = jnp.asarray(law.walls).at[drawn].set(True)
    is_free = ~walls & (jnp.arange(walls.shape[0]) < size**2)
    if reachable_only:
        is_free = largest_region(is_free, size)
        walls = ~is_free
    num_slots = law.slot_types.shape[0]
    places = jax.lax.top_k(jnp.where(is_free, quantiles["placement"], -1.0), num_slots + 1)[1]
    num_objects = _uniform_int(quantiles["num_objects"][0], law.num_objects)
    return GridWorldParams(
        max_steps_in_episode=_round(_log_uniform(quantiles["episode_steps"][0], law.episode_steps)),
        size=size,
        walls=walls,
        start=places[0],
        num_objects=jnp.minimum(num_objects, jnp.sum(is_free, dtype=jnp.int32) - 1),
        slot_types=law.slot_types,
        cells=places[1:],
        rewards=_uniform(quantiles["rewards"], law.rewards),
        terminate_probabilities=_log_uniform(quantiles["terminate"], law.terminate_probabilities),
        respawn_probabilities=_log_uniform(quantiles["respawn"], law.respawn_probabilities),
    )


def _uniform(quantile: Float[Array, "*n"], bounds: Float[Array, "*n 2"]) -> Float[Array, "*n"]:
    low, high = bounds[..., 0], bounds[..., 1]
    return low + quantile * (high - low)


def _log_uniform(quantile: Float[Array, "*n"], bounds: Float[Array, "*n 2"]) -> Float[Array, "*n"]:
    """Returns the quantile of the log-uniform law; constants, which may be 0, come out exactly."""
    is_constant = bounds[..., 0] == bounds[..., 1]
    logarithms = jnp.log(jnp.where(is_constant[..., None], 1.0, bounds))
    return jnp.where(is_constant, bounds[..., 0], jnp.exp(_uniform(quantile, logarithms)))


def _uniform_int(quantile: Float[Array, ""], bounds: Int[Array, " 2"]) -> Int[Array, ""]:
    """Returns the quantile of the uniform law on the integers low..high."""
    count = (bounds[1] - bounds[0] + 1).astype(jnp.float32)
    return jnp.minimum(bounds[0] + jnp.floor(quantile * count).astype(jnp.int32), bounds[1])


def _round(value: Float[Array, ""]) -> Int[Array, ""]:
    return jnp.round(value).astype(jnp.int32)


def _blocks(law: _Law, num_walls: int) -> dict[str, _Block]:
    """Returns the parts of a level's vector, in order."""
    num_types, num_cells = law.rewards.shape[1], law.walls.shape[1]

    def block(bounds: np.ndarray, length: int = 1) -> _Block:
        return _Block(length, bool(np.any(bounds[..., 0] != bounds[..., 1])))

    return {
        "lifetime": block(law.lifetime),
        "mode": _Block(1, law.sizes.shape[0] > 1),
        "size": block(law.sizes),
        "num_objects": block(law.num_objects),
        "episode_steps": block(law.episode_steps),
        "rewards": block(law.rewards, num_types),
        "terminate": block(law.terminate_probabilities, num_types),
        "respawn": block(law.respawn_probabilities, num_types),
        "walls": _Block(num_cells, num_walls > 0),
        "placement": _Block(num_cells, True),
    }


def _split(vector: Float[Array, " D"], blocks: dict[str, _Block]) -> dict[str, Float[Array, " _"]]:
    """Returns the blocks of a vector; what never varies reads as zeros."""
    quantiles, start = {}, 0
    for name, block in blocks.items():
        stop = start + block.length * block.varies
        quantiles[name] = vector[start:stop] if block.varies else jnp.zeros((block.length,), jnp.float32)
        start = stop
    return quantiles


def _stack(modes: tuple[GridWorldMode, ...]) -> _Law:
    max_size, num_slots, num_types = common_shape(modes)

    def pad(bounds: tuple[Bounds, ...]) -> tuple[Bounds, ...]:
        return bounds + ((0.0, 0.0),) * (num_types - len(bounds))

    return _Law(
        lifetime=np.array([one.lifetime for one in modes], np.float32),
        sizes=np.array([one.sizes for one in modes], np.int32),
        num_objects=np.array([one.num_objects for one in modes], np.int32),
        episode_steps=np.array([one.episode_steps for one in modes], np.float32),
        slot_types=np.array([one.slot_types + (0,) * (num_slots - len(one.slot_types)) for one in modes], np.int32),
        rewards=np.array([pad(one.rewards) for one in modes], np.float32),
        terminate_probabilities=np.array([pad(one.terminate_probabilities) for one in modes], np.float32),
        respawn_probabilities=np.array([pad(one.respawn_probabilities) for one in modes], np.float32),
        walls=np.array([np.isin(np.arange(max_size**2), one.wall_cells) for one in modes]),
    )
