"""A walker's episode as an animation, from the arrays that teaching leaves of it (`export/film.npz`)."""

import math
from collections.abc import Mapping

import numpy as np

from analysis.animation import Animation
from analysis.walker_frames import FRAME_MS, Scene, walker_gif

MAX_FRAMES = 200
"""Pictures of an episode at most; longer ones are shown faster."""
STEP_MS = 20
"""Time of a step in the walker's world."""


def walk_animation(film: Mapping[str, np.ndarray]) -> Animation:
    """Returns the moving picture of a film, as `metarl.experiments.walker_film` describes it.

    Raises:
        KeyError: if something is missing in it.
    """
    num_steps = int(np.sum(film["lasts"]))
    every = max(2, math.ceil(num_steps / MAX_FRAMES))
    ground = float(film["ground"])
    outline = np.asarray(film["outline"])
    closing = np.array([[outline[-1, 0], ground], [outline[0, 0], ground]])
    scene = Scene(
        hull=film["hull"],
        hips=film["hips"],
        leg=(float(film["leg"][0]), float(film["leg"][1]), float(film["leg"][2])),
        ground=ground,
        obstacles=[np.concatenate([outline, closing])],
        ray_angles=film["ray_angles"],
        ray_range=float(film["ray_range"]),
    )
    task = ", ".join(f"{value:.2f}" for value in film["test_vector"])
    speed = every * STEP_MS / FRAME_MS
    caption = (
        f"The first student of the first teacher at the end of the run, in test task ({task}): the one that it only "
        f"just masters, or does best in if it masters none. It returns {float(film['grade']):.0f} in {num_steps} "
        f"steps of {STEP_MS} ms, shown at {speed:.1f} times its speed. Red: what its lidar sees."
    )
    gif = walker_gif(scene, film["position"][:num_steps], film["rays"][:num_steps], every=every)
    return Animation("walk", "A student at work", caption, gif, dict(film))
