"""The moving picture of a drift."""

import io

import numpy as np
import pytest
from PIL import Image

from analysis.animation import FRAME_MS, PAUSE_MS, save_animation
from analysis.drift import make_surfaces, reference_drifts, rule_drift
from analysis.drift_animation import drift_animation

LIFE = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.fixture(scope="module")
def surfaces(planted):
    life = make_surfaces(rule_drift(planted.closing), LIFE, num_points=33)
    return life, make_surfaces(reference_drifts()["ppo"], num_points=33)


@pytest.fixture(scope="module")
def animation(surfaces):
    return drift_animation(*surfaces)


def frames(animation):
    with Image.open(io.BytesIO(animation.gif)) as image:
        found = []
        for index in range(image.n_frames):
            image.seek(index)
            found.append((np.asarray(image.convert("RGB")), image.info["duration"]))
        return found, image.info.get("loop")


def test_there_is_a_frame_for_each_point_in_life_and_it_starts_again(animation):
    found, loop = frames(animation)
    assert animation.gif[:6] == b"GIF89a" and loop == 0
    assert [duration for _, duration in found] == [PAUSE_MS, *[FRAME_MS] * 3, PAUSE_MS]
    assert found[0][0].shape[0] > 300 and tuple(found[0][0][0, 0]) == (255, 255, 255)


def test_the_rule_moves_and_ppo_does_not(animation):
    found, _ = frames(animation)
    images = np.stack([image for image, _ in found]).astype(int)
    changes = np.abs(np.diff(images, axis=0)).max(axis=(0, 3))  # [height, width]
    middle = changes.shape[1] // 2
    assert changes[:, :middle].max() > 50 and changes[:, middle:].max() == 0
    inside = changes[60:300, 80:middle]  # within the map, not its title or the bar above it
    assert np.mean(inside > 0) > 0.05


def test_numbers_are_what_was_drawn(animation, surfaces, tmp_path):
    save_animation(animation, tmp_path / "figures")
    assert (tmp_path / "figures/drift_life.gif").read_bytes() == animation.gif
    with np.load(tmp_path / "figures/drift_life.npz") as numbers:
        np.testing.assert_array_equal(numbers["slope"], surfaces[0].slope[-1])
        np.testing.assert_array_equal(numbers["ppo"], surfaces[1].slope[0, 0])
        np.testing.assert_array_equal(numbers["fractions"], LIFE)


def test_the_same_life_gives_the_same_bytes(animation, surfaces):
    again = drift_animation(*surfaces, sees_horizon=True)
    assert again.gif == animation.gif
    assert "N = 100." in again.caption and "N = " not in animation.caption


def test_nothing_moves_without_time(planted, surfaces):
    assert drift_animation(make_surfaces(rule_drift(planted.ppo), num_points=33), surfaces[1]) is None
