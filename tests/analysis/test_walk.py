"""Animations of a walker's episode, and the page they stand on."""

import io

import numpy as np
import pytest
from PIL import Image

from analysis.walk import MAX_FRAMES, walk_animation

NUM_STEPS = 900


def film(num_steps=NUM_STEPS):
    """A walker that slides for so many steps of 1000."""
    x = np.linspace(5.0, 30.0, 1000)
    swing = np.sin(0.1 * np.arange(1000))  # equal frames would be written as one
    position = np.stack([x, np.full(1000, 5.3), 0 * x, swing, -1 - swing, -swing, -1 + swing], axis=1)
    return {
        "position": position, "rays": np.ones((1000, 10)), "lasts": np.arange(1000) < num_steps,
        "hull": np.array([(-1.0, 0.3), (1.0, 0.3), (1.0, -0.3), (-1.0, -0.3)]), "hips": np.zeros((2, 2)),
        "leg": np.array([1.0, 0.25, 0.2]), "outline": np.array([(0.0, 3.0), (20.0, 3.0), (21.0, 4.0), (93.0, 3.0)]),
        "ground": np.float32(3.0), "ray_angles": np.linspace(0, 1.35, 10), "ray_range": np.float32(5.3),
        "test_vector": np.array([0.5, 0.25]), "grade": np.float32(231.4),
    }  # fmt: skip


def test_long_episodes_are_shown_faster_and_end_where_they_ended():
    animation = walk_animation(film())
    picture = Image.open(io.BytesIO(animation.gif))
    assert picture.n_frames == NUM_STEPS // 5 <= MAX_FRAMES
    assert "test task (0.50, 0.25)" in animation.caption and "returns 231 in 900 steps" in animation.caption
    assert "at 2.5 times its speed" in animation.caption
    assert len(animation.gif) < 2_000_000
    np.testing.assert_array_equal(animation.numbers["lasts"], film()["lasts"])


def test_short_ones_are_shown_in_their_own_time():
    animation = walk_animation(film(40))
    assert Image.open(io.BytesIO(animation.gif)).n_frames == 20 and "at 1.0 times its speed" in animation.caption


def test_a_film_that_lacks_something_is_no_film():
    broken = film()
    del broken["hull"]
    with pytest.raises(KeyError, match="hull"):
        walk_animation(broken)
