"""Moving pictures as small GIF files that carry their numbers."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

FRAME_MS, PAUSE_MS = 120, 1500
"""How long a frame is shown, and the first and last."""
WHITE = 255
"""Place of white in the palette, after all that quantising finds."""


class Animation(NamedTuple):
    """A moving picture, what it says and the numbers it was drawn from."""

    name: str
    """File name without its ending."""
    title: str
    """A few words."""
    caption: str
    """What is seen and how it was computed."""
    gif: bytes
    """The file."""
    numbers: dict[str, np.ndarray]
    """Everything that was drawn, by name."""


def save_animation(animation: Animation, directory: Path) -> None:
    """Writes `<name>.gif` and `<name>.npz` (the numbers) into a directory, made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{animation.name}.gif").write_bytes(animation.gif)
    np.savez_compressed(directory / f"{animation.name}.npz", **animation.numbers)


def encode_gif(frames: list[UInt8[np.ndarray, "H W 3"]]) -> bytes:
    """Returns the frames as a GIF that starts again at its end; all share one palette, without dithering."""
    samples = [frames[0], frames[len(frames) // 2], frames[-1]]
    palette = Image.fromarray(np.concatenate(samples)).quantize(WHITE, dither=Image.Dither.NONE)
    first, *others = (_indexed(frame, palette) for frame in frames)
    durations = [PAUSE_MS, *[FRAME_MS] * (len(frames) - 2), PAUSE_MS]
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


def _indexed(frame: UInt8[np.ndarray, "H W 3"], palette: Image.Image) -> Image.Image:
    """Returns the frame in the colours of the palette, and white where it is white, for quantising dims the page."""
    indices = np.array(Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE))
    indices[np.all(frame == 255, axis=-1)] = WHITE
    image = Image.fromarray(indices)
    image.putpalette((palette.getpalette() or [])[: 3 * WHITE] + [255, 255, 255])
    return image
