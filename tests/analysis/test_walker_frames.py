import io

import numpy as np
import pytest
from PIL import Image

from analysis.walker_frames import HULL, OBSTACLE, SIZE, SKY, SOIL, Scene, frame, leg_boxes, walker_gif

SCENE = Scene(
    hull=np.array([(-1.0, 0.3), (1.0, 0.3), (1.0, -0.3), (-1.0, -0.3)]),
    hips=np.array([(0.0, -0.25), (0.0, -0.25)]),
    leg=(1.0, 0.25, 0.2),
    ground=3.0,
    obstacles=[np.array([(13.0, 0.0), (14.0, 0.0), (14.0, 4.0), (13.0, 4.0)])],
    ray_angles=np.array([0.0, 1.0]),
    ray_range=5.0,
)
STANDING = np.array([10.0, 5.3, 0.0, 0.0, 0.0, 0.5, -1.0])


def colours(picture):
    return {tuple(int(value) for value in colour) for colour in picture.reshape(-1, 3)}


def test_a_frame_shows_hull_soil_sky_and_the_obstacle_where_they_are():
    picture = frame(SCENE, STANDING)
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    scale, left = SIZE[0] / 12.0, 10.0 - 0.35 * 12.0

    def at(x, y):
        return tuple(int(value) for value in picture[round(SIZE[1] - scale * (y - 2.0)), round(scale * (x - left))])

    assert (at(10.0, 5.3), at(12.0, 2.5), at(7.0, 6.0), at(13.5, 3.5)) == (HULL, SOIL, SKY, OBSTACLE)


def test_the_camera_follows_the_hull():
    far = STANDING + np.array([100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    empty = SCENE._replace(obstacles=[])
    # Edges may fall on another side of a rounding: a few pixels of 115200.
    differs = (frame(empty, STANDING) != frame(empty, far)).any(-1)
    assert differs.mean() < 0.01


def test_legs_hang_from_their_hips_and_bend_forwards():
    (straight, below), (bent, shin) = leg_boxes(SCENE, STANDING)
    np.testing.assert_allclose(straight[:2].mean(0), [10.0, 5.05])
    np.testing.assert_allclose(below[2:].mean(0), [10.0, 3.05])
    np.testing.assert_allclose(bent[2:].mean(0), [10.0 + np.sin(0.5), 5.05 - np.cos(0.5)])
    np.testing.assert_allclose(shin[2:].mean(0), [10.0, 5.05 - 2.0 * np.cos(0.5)], atol=1e-12)


def test_rays_are_drawn_only_if_given():
    assert (frame(SCENE, STANDING) != frame(SCENE, STANDING, np.array([1.0, 1.0]))).any()


def test_a_gif_has_every_second_state():
    positions = np.stack([STANDING + 0.1 * t * np.eye(7)[0] for t in range(7)])
    picture = Image.open(io.BytesIO(walker_gif(SCENE, positions)))
    assert (picture.n_frames, picture.size) == (4, SIZE)
    assert walker_gif(SCENE, positions) == walker_gif(SCENE, positions)


def test_no_states_are_refused():
    with pytest.raises(ValueError, match="0 states"):
        walker_gif(SCENE, np.zeros((0, 7)))
