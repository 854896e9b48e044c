"""Moving pictures of a walker: hull, legs, track and lidar rays, with a camera that follows the hull.

Everything is drawn from arrays, so that stored motions can be drawn without running anything.
"""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

SIZE = (480, 240)
"""Width and height of a picture, in pixels."""
SPAN, SMOOTH = 12.0, 2
"""Metres from the left to the right edge, and how much larger pictures are drawn than shown."""
BELOW = 1.0
"""Metres of soil at the lower edge."""
FRAME_MS = 40
"""How long a frame is shown: every second step of 0.02 s is real time."""
SKY, SOIL, OBSTACLE, HULL, RAY = (244, 246, 250), (214, 205, 190), (150, 140, 125), (60, 90, 150), (225, 120, 110)
LEGS = ((105, 140, 200), (60, 90, 150))
"""Colours of every other leg, so that two at a hip can be told apart."""


class Scene(NamedTuple):
    """What stays the same in a moving picture; metres."""

    hull: Float[np.ndarray, "n 2"]
    """Corners of the hull about its origin."""
    hips: Float[np.ndarray, "L 2"]
    """Where legs are attached."""
    leg: tuple[float, float, float]
    """Length of a part of a leg, width of the upper and of the lower part."""
    ground: float
    """Height of the ground."""
    obstacles: Sequence[Float[np.ndarray, "_ 2"]]
    """Corners of obstacles, each in order."""
    ray_angles: Float[np.ndarray, " R"]
    """Of lidar rays, in radians from straight down."""
    ray_range: float
    """Length of a ray that meets nothing."""


def frame(
    scene: Scene, position: Float[np.ndarray, " dof"], rays: Float[np.ndarray, " R"] | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """Returns the picture of a body at coordinates (x, y, angle, then hip and knee of every leg).

    `rays` are shares of the range; None draws none.
    """
    x, y, angle = (float(value) for value in position[:3])
    scale = SMOOTH * SIZE[0] / SPAN
    picture = Image.new("RGB", (SMOOTH * SIZE[0], SMOOTH * SIZE[1]), SKY)
    draw = ImageDraw.Draw(picture)
    left, bottom = x - 0.35 * SPAN, scene.ground - BELOW

    def pixels(points: np.ndarray) -> list[tuple[float, float]]:
        return [(scale * (px - left), picture.height - scale * (py - bottom)) for px, py in np.asarray(points)]

    soil = [(left, bottom), (left + SPAN, bottom), (left + SPAN, scene.ground), (left, scene.ground)]
    draw.polygon(pixels(np.array(soil)), fill=SOIL)
    for obstacle in scene.obstacles:
        draw.polygon(pixels(obstacle), fill=OBSTACLE)
    for share, ray in zip([] if rays is None else rays, scene.ray_angles, strict=False):
        end = (x + share * scene.ray_range * math.sin(ray), y - share * scene.ray_range * math.cos(ray))
        draw.line(pixels(np.array([(x, y), end])), fill=RAY, width=SMOOTH)
    for index, parts in enumerate(leg_boxes(scene, position)):
        for part in parts:
            draw.polygon(pixels(part), fill=LEGS[index % 2], outline=HULL)
    draw.polygon(pixels(_turned(scene.hull, angle) + np.array([x, y])), fill=HULL)
    return np.asarray(picture.resize(SIZE, Image.Resampling.LANCZOS))


def leg_boxes(scene: Scene, position: Float[np.ndarray, " dof"]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the corners (4, 2) of the upper and of the lower part of every leg, in the world."""
    length, *widths = scene.leg
    boxes = []
    for hip, angles in zip(scene.hips, np.asarray(position[3:], float).reshape(-1, 2), strict=True):
        joint, angle, parts = position[:2] + _turned(hip[None], float(position[2]))[0], float(position[2]), []
        for bend, width in zip(angles, widths, strict=True):
            angle += float(bend)
            box = np.array([(-width / 2, 0.0), (width / 2, 0.0), (width / 2, -length), (-width / 2, -length)])
            parts.append(_turned(box, angle) + joint)
            joint = joint + _turned(np.array([[0.0, -length]]), angle)[0]
        boxes.append((parts[0], parts[1]))
    return boxes


def _turned(points: Float[np.ndarray, "n 2"], angle: float) -> Float[np.ndarray, "n 2"]:
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def walker_gif(
    scene: Scene,
    positions: Float[np.ndarray, "T dof"],
    rays: Float[np.ndarray, "T R"] | None = None,
    *,
    every: int = 2,
) -> bytes:
    """Returns every so many-th of T states as a GIF that starts again at its end.

    Raises:
        ValueError: if there is no state, or `every` is below 1.
    """
    if len(positions) == 0 or every < 1:
        raise ValueError(f"{len(positions)} states, every {every}th, make no picture; give at least one state and step")
    pictures = [
        Image.fromarray(frame(scene, positions[t], None if rays is None else rays[t]))
        for t in range(0, len(positions), every)
    ]
    palette = pictures[len(pictures) // 2].quantize(64, dither=Image.Dither.NONE)
    first, *others = (one.quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures)
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=FRAME_MS, loop=0, optimize=False)
    return buffer.getvalue()
