"""A renderer for rooms with boxes in pure jax: one ray per pixel, slab tests, flat shading, checkers for textures.

Coordinates are x, y (up), z in metres; a heading of 0 looks along +x and grows to the left, so that the view direction
is (cos h, 0, -sin h).

Source: Kay and Kajiya 1986 (slab tests), Lambert's cosine law. Camera, light and room are those of the four-box room
of jon--lee/Miniworld.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

FIELD_OF_VIEW = 60.0
"""Vertical angle between the upper and the lower edge of an image, in degrees."""
ASPECT = 4.0 / 3.0
"""Width over height of what is seen. Images are square, hence their pixels are not."""
LIGHT_POSITION = (0.0, 2.5, 0.0)
AMBIENT, DIFFUSE = 0.45, 0.7
TILE, TILE_PHASE = 1.2, 0.3
"""Edge of a checker, and its offset in all directions: no surface of the room lies where two checkers meet."""
SURFACES = {
    "wall": ((0.78, 0.74, 0.68), (0.58, 0.54, 0.50)),
    "floor": ((0.45, 0.40, 0.36), (0.70, 0.64, 0.58)),
    "ceiling": ((0.92, 0.92, 0.92), (0.84, 0.84, 0.84)),
}
"""Albedos (red, green, blue) of the two kinds of checkers by surface."""
NUM_NORMALS = 6
"""Faces of a box, by the direction that they look in: +x, -x, +y, -y, +z, -z."""


class Boxes(NamedTuple):
    """Axis-aligned boxes, all inside the room; the eye is in none of them."""

    low: Float[Array, "N 3"]
    """Corners with the smallest coordinates."""
    high: Float[Array, "N 3"]
    """Corners with the largest coordinates."""
    colour: Float[Array, "N 3"]
    """Albedos: red, green and blue in [0, 1]."""


def pixel_rays(size: int, *, samples: int = 1) -> Float[np.ndarray, "R S S 2"]:
    """Returns where rays cross the plane at distance 1 before a camera, as (rightwards, upwards).

    Rows run downwards and columns to the right; R = samples^2 rays are spread evenly over a pixel.

    Args:
        size: S, pixels along a side, at least 1.
        samples: rays per pixel along a side, at least 1.

    Raises:
        ValueError: if either is below 1.
    """
    if size < 1 or samples < 1:
        raise ValueError(f"an image of size {size} with {samples} samples was asked for; both must be at least 1")
    centres = (np.arange(size * samples) + 0.5) / (size * samples) * 2.0 - 1.0
    extent = math.tan(math.radians(FIELD_OF_VIEW / 2.0))
    up, right = np.meshgrid(-centres * extent, centres * extent * ASPECT, indexing="ij")
    rays = np.stack([right, up], axis=-1).reshape(size, samples, size, samples, 2)
    return rays.transpose(1, 3, 0, 2, 4).reshape(samples**2, size, size, 2).astype(np.float32)


def ray_directions(rays: Float[np.ndarray, "*pixels 2"], heading: Float[Array, ""]) -> tuple[Array, Array, Array]:
    """Returns the x, y and z components `[*pixels]` of rays of a camera with this heading (radians); none is 0.

    They are as long as needed to advance by 1 in the direction of the view, so that lengths along a ray are depths.
    """
    right, up = jnp.asarray(rays[..., 0]), jnp.asarray(rays[..., 1])
    cos, sin = jnp.cos(heading), jnp.sin(heading)
    components = (cos + sin * right, up, cos * right - sin)
    # Parallel to a face, a ray would meet its plane at infinity, or nowhere: 0 / 0.
    return tuple(jnp.where(jnp.abs(one) < 1e-6, 1e-6, one) for one in components)  # pyright: ignore[reportReturnType]


def visible_surfaces(
    rays: Float[np.ndarray, "*pixels 2"],
    eye: Float[Array, "3"],
    heading: Float[Array, ""],
    low: Float[Array, "N 3"],
    high: Float[Array, "N 3"],
    room: tuple[float, float, float],
) -> Int[Array, "*pixels"]:
    """Returns which surface each ray meets first.

    Face `f` of box `i` is `6 i + f`; then come the faces of the room by the direction that they look in, each with its
    two kinds of checkers: `6 N + 2 f + kind`. Arguments are those of `render`.
    """
    directions = ray_directions(rays, heading)
    inverse = [1.0 / one for one in directions]
    # A ray sees the faces that look against it.
    faces = [jnp.where(one > 0, 2 * axis + 1, 2 * axis) for axis, one in enumerate(directions)]
    leaves = [jnp.maximum(-eye[axis] * inverse[axis], (room[axis] - eye[axis]) * inverse[axis]) for axis in range(3)]
    depth = jnp.minimum(jnp.minimum(*leaves[:2]), leaves[2])
    tiles = [jnp.floor((eye[axis] + depth * directions[axis] + TILE_PHASE) / TILE) for axis in range(3)]
    kind = (tiles[0] + tiles[1] + tiles[2]).astype(jnp.int32) & 1
    num_boxes = low.shape[0]
    surface = NUM_NORMALS * num_boxes + 2 * _of_axis(depth, leaves, faces) + kind
    for box in range(num_boxes):  # unrolled, which makes one fused loop over the pixels
        ends = [
            ((low[box, axis] - eye[axis]) * inverse[axis], (high[box, axis] - eye[axis]) * inverse[axis])
            for axis in range(3)
        ]
        near, far = [jnp.minimum(*end) for end in ends], [jnp.maximum(*end) for end in ends]
        enters = jnp.maximum(jnp.maximum(*near[:2]), near[2])
        is_seen = (enters < jnp.minimum(jnp.minimum(*far[:2]), far[2])) & (enters > 0.0) & (enters < depth)
        depth = jnp.where(is_seen, enters, depth)
        surface = jnp.where(is_seen, NUM_NORMALS * box + _of_axis(enters, near, faces), surface)
    return surface


def _of_axis(depth: Array, depths: list[Array], faces: list[Array]) -> Array:
    """Returns the face of the axis whose depth is the given one."""
    return jnp.where(depth == depths[0], faces[0], jnp.where(depth == depths[1], faces[1], faces[2]))


def face_shades(room: tuple[float, float, float]) -> Float[np.ndarray, "6"]:
    """Returns the brightness of faces by the direction that they look in: ambient light, and a lamp by Lambert's law.

    The lamp is taken to shine in one direction, from its place to the middle of the room.
    """
    towards_lamp = np.array(LIGHT_POSITION) - np.array(room) / 2.0
    towards_lamp = towards_lamp / np.linalg.norm(towards_lamp)
    cosines = np.stack([towards_lamp, -towards_lamp], axis=1).reshape(NUM_NORMALS)
    return (AMBIENT + DIFFUSE * np.maximum(cosines, 0.0)).astype(np.float32)


def surface_colours(colour: Float[Array, "N 3"], room: tuple[float, float, float]) -> Float[Array, "F 3"]:
    """Returns the colours, at most 1, of the surfaces that `visible_surfaces` numbers, from the boxes' albedos."""
    shades = face_shades(room)
    of_boxes = (colour[:, None, :] * jnp.asarray(shades)[None, :, None]).reshape(-1, 3)
    kinds = ("wall", "wall", "floor", "ceiling", "wall", "wall")
    of_room = np.array([SURFACES[kind] for kind in kinds], np.float32) * shades[:, None, None]
    return jnp.minimum(jnp.concatenate([of_boxes, jnp.asarray(of_room.reshape(-1, 3))]), 1.0)


def render(
    rays: Float[np.ndarray, "R S S 2"],
    eye: Float[Array, "3"],
    heading: Float[Array, ""],
    boxes: Boxes,
    room: tuple[float, float, float],
) -> Float[Array, "S S 3"]:
    """Returns what a camera sees: rows from the top, columns from the left, red, green and blue in [0, 1].

    Args:
        rays: from `pixel_rays`, made once.
        eye: where the camera is, inside the room and outside of the boxes.
        heading: in radians.
        boxes: what stands in the room.
        room: lengths of the room in x, y and z; a corner is the origin.
    """
    surfaces = visible_surfaces(rays, eye, heading, boxes.low, boxes.high, room)
    colours = surface_colours(boxes.colour, room)
    # Channel by channel: gathering numbers is three times as fast as gathering rows of three on a CPU.
    channels = [jnp.mean(jnp.take(colours[:, channel], surfaces, mode="clip"), axis=0) for channel in range(3)]
    return jnp.stack(channels, axis=-1)
