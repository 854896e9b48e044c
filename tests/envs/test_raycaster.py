"""The renderer: scenes whose every pixel is known in closed form, then a march along the rays as a reference."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.raycaster import (
    SURFACES,
    Boxes,
    face_shades,
    pixel_rays,
    ray_directions,
    render,
    surface_colours,
    visible_surfaces,
)

ROOM = (6.0, 2.74, 6.0)
SIZE = 25
EXTENT = math.tan(math.radians(30.0))
UP = (1.0 - 2.0 * (np.arange(SIZE) + 0.5) / SIZE) * EXTENT
"""Slopes of the rays by row."""
ASIDE = -UP * 4.0 / 3.0
"""Slopes of the rays by column."""
PLUS_X, MINUS_X, PLUS_Y, MINUS_Y, PLUS_Z, MINUS_Z = range(6)
ROUNDING = 1e-6  # float32, colours up to 1
RED, BLUE = (0.9, 0.1, 0.2), (0.1, 0.2, 0.9)


def boxes_at(*corners, colours=(RED, BLUE)):
    """Returns boxes from (low, high) pairs."""
    low, high = (np.array([pair[i] for pair in corners], np.float32).reshape(-1, 3) for i in (0, 1))
    return Boxes(jnp.asarray(low), jnp.asarray(high), jnp.asarray(colours[: len(corners)], jnp.float32).reshape(-1, 3))


def surfaces_seen(eye, degrees, boxes, rays=None):
    rays = pixel_rays(SIZE) if rays is None else rays
    heading = jnp.float32(math.radians(degrees))
    return np.asarray(visible_surfaces(rays, jnp.array(eye, jnp.float32), heading, boxes.low, boxes.high, ROOM))[0]


def image_seen(eye, degrees, boxes, rays=None):
    rays = pixel_rays(SIZE) if rays is None else rays
    return np.asarray(render(rays, jnp.array(eye, jnp.float32), jnp.float32(math.radians(degrees)), boxes, ROOM))


def random_scenes(count):
    """Returns eyes, headings (degrees) towards the first of three boxes, and the boxes, lower than the eyes."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        middle = rng.uniform(0.6, 5.4, (3, 2))
        height = rng.uniform(0.4, 1.4, 3)
        low = np.stack([middle[:, 0] - 0.4, np.zeros(3), middle[:, 1] - 0.4], 1)
        high = np.stack([middle[:, 0] + 0.4, height, middle[:, 1] + 0.4], 1)
        eye = (rng.uniform(0.2, 5.8), 1.5, rng.uniform(0.2, 5.8))
        towards = math.degrees(math.atan2(eye[2] - middle[0, 1], middle[0, 0] - eye[0])) + rng.uniform(-20, 20)
        yield eye, towards, boxes_at(*zip(low, high, strict=True), colours=(RED, BLUE, (0.5, 0.5, 0.5)))


def test_rays_span_sixty_degrees_upwards_and_four_thirds_of_that_aside():
    rays = pixel_rays(SIZE)
    assert rays.shape == (1, SIZE, SIZE, 2)
    np.testing.assert_allclose(rays[0, :, 3, 1], UP, atol=ROUNDING)
    np.testing.assert_allclose(rays[0, 3, :, 0], ASIDE, atol=ROUNDING)
    pixel = UP[0] - UP[1]
    assert math.degrees(2 * math.atan(UP[0] + pixel / 2)) == pytest.approx(60.0)


@pytest.mark.parametrize(("degrees", "expected"), [(0, (1, 0)), (90, (0, -1)), (180, (-1, 0)), (-90, (0, 1))])
def test_headings_grow_to_the_left(degrees, expected):
    x, _, z = ray_directions(pixel_rays(3), jnp.float32(math.radians(degrees)))
    np.testing.assert_allclose((x[0, 1, 1], z[0, 1, 1]), expected, atol=2e-6)  # zeros are replaced by 1e-6


def test_far_walls_fill_the_rows_between_ceiling_and_floor():
    """From the middle the wall is 3 m away, so it ends 1.24 / 3 above the eye and 1.5 / 3 below."""
    faces = surfaces_seen((3.0, 1.5, 3.0), 0.0, boxes_at()) // 2
    expected = np.where(UP * 3.0 > 2.74 - 1.5, MINUS_Y, np.where(UP * 3.0 < -1.5, PLUS_Y, MINUS_X))
    assert np.flatnonzero(expected == MINUS_Y).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(expected == PLUS_Y).tolist() == [23, 24]
    np.testing.assert_array_equal(faces, np.broadcast_to(expected[:, None], (SIZE, SIZE)))


@pytest.mark.parametrize(("degrees", "wall"), [(0, MINUS_X), (90, PLUS_Z), (180, PLUS_X), (-90, MINUS_Z)])
def test_each_wall_looks_into_the_room(degrees, wall):
    assert surfaces_seen((3.0, 1.5, 3.0), degrees, boxes_at())[12, 12] // 2 == wall


def test_a_box_straight_ahead_covers_the_pixels_of_its_front():
    """Its front is 2 m away, 0.8 m wide, and reaches from 1 m below the eye to 0.4 m above; it hides the rest of it."""
    image = image_seen((1.0, 1.5, 3.0), 0.0, boxes_at(((3.0, 0.5, 2.6), (3.8, 1.9, 3.4))))
    covered = ((UP * 2.0 < 0.4) & (UP * 2.0 > -1.0))[:, None] & (np.abs(ASIDE * 2.0) < 0.4)[None]
    assert covered.sum() == 15 * 7
    shade = 0.45 + 0.7 * 3.0 / math.sqrt(3.0**2 + 1.13**2 + 3.0**2)
    np.testing.assert_allclose(image[covered], np.broadcast_to(shade * np.array(RED), (105, 3)), atol=ROUNDING)
    empty = image_seen((1.0, 1.5, 3.0), 0.0, boxes_at())
    np.testing.assert_array_equal(image[~covered], empty[~covered])
    assert (np.abs(image[covered] - empty[covered]).max(axis=1) > 0.1).all()


def test_a_low_box_shows_its_top_behind_its_front():
    """The top is 0.7 m below the eye and from 2 m to 2.8 m away."""
    column = surfaces_seen((1.0, 1.5, 3.0), 0.0, boxes_at(((3.0, 0.0, 2.6), (3.8, 0.8, 3.4))))[:, 12]
    np.testing.assert_array_equal(column == MINUS_X, UP < -0.7 / 2.0)
    np.testing.assert_array_equal(column == PLUS_Y, (UP > -0.7 / 2.0) & (UP < -0.7 / 2.8))
    assert (column == PLUS_Y).sum() == 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_box_hides_the_farther(order):
    corners, colours = [((2.0, 0.5, 2.6), (2.8, 1.9, 3.4)), ((4.0, 0.5, 2.6), (4.8, 1.9, 3.4))], [RED, BLUE]
    boxes = boxes_at(*(corners[i] for i in order), colours=[colours[i] for i in order])
    image = image_seen((1.0, 1.5, 3.0), 0.0, boxes)
    np.testing.assert_allclose(image[12, 12] / image[12, 12, 0] * RED[0], RED, atol=ROUNDING)
    assert not (image[..., 2] > 2 * image[..., 0]).any()


def test_a_box_behind_is_not_seen():
    boxes = boxes_at(((3.0, 0.5, 2.6), (3.8, 1.9, 3.4)))
    assert (surfaces_seen((1.0, 1.5, 3.0), 180.0, boxes) >= 6).all()


def test_turning_left_moves_what_is_seen_to_the_right():
    boxes = boxes_at(((3.0, 0.5, 2.6), (3.8, 1.9, 3.4)))
    columns = [np.argwhere(surfaces_seen((1.0, 1.5, 3.0), turn, boxes) < 6)[:, 1].mean() for turn in (-15, 0, 15)]
    assert columns[0] < columns[1] == 12 < columns[2]


def test_checkers_of_the_floor_change_where_they_meet():
    """Along +x they meet at 3.3 m and 4.5 m; the rows from the lowest up see x = 3.7, 3.95, 4.25, 4.6, 5.06, 5.64."""
    column = surfaces_seen((1.0, 1.5, 3.0), 0.0, boxes_at())[:, 12]
    is_floor = UP * 5.0 < -1.5
    x = 1.0 - 1.5 / UP[is_floor]
    np.testing.assert_array_equal(column[is_floor] // 2, PLUS_Y)
    assert (x < 4.5).sum() == 3 == (x > 4.5).sum()
    assert len(set(column[is_floor][x < 4.5])) == len(set(column[is_floor][x > 4.5])) == 1
    assert column[is_floor][0] != column[is_floor][-1]


def test_faces_are_as_bright_as_they_look_at_the_lamp():
    lamp = np.array([-3.0, 2.5 - 1.37, -3.0])
    normals = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    expected = [0.45 + 0.7 * max(0.0, normal @ lamp / np.linalg.norm(lamp)) for normal in normals]
    np.testing.assert_allclose(face_shades(ROOM), expected, atol=ROUNDING)


def test_surfaces_are_numbered_as_they_are_coloured():
    colours, shades = np.asarray(surface_colours(jnp.array([RED, BLUE]), ROOM)), face_shades(ROOM)
    assert colours.shape == (2 * 6 + 6 * 2, 3)
    np.testing.assert_allclose(colours[6 + PLUS_Z], shades[PLUS_Z] * np.array(BLUE), atol=ROUNDING)
    np.testing.assert_allclose(
        colours[12 + 2 * PLUS_Y + 1], shades[PLUS_Y] * np.array(SURFACES["floor"][1]), atol=ROUNDING
    )
    np.testing.assert_allclose(
        colours[12 + 2 * MINUS_Y], shades[MINUS_Y] * np.array(SURFACES["ceiling"][0]), atol=ROUNDING
    )
    np.testing.assert_allclose(
        colours[12 + 2 * MINUS_Z], shades[MINUS_Z] * np.array(SURFACES["wall"][0]), atol=ROUNDING
    )


def first_met(point, boxes):
    """Returns, of points [T, ...] along rays, what the first to be inside a box or outside the room has met."""
    low, high = np.asarray(boxes.low), np.asarray(boxes.high)
    inside = ((point[..., None, :] >= low) & (point[..., None, :] <= high)).all(-1)
    outside = ((point < 0) | (point > np.array(ROOM))).any(-1)
    met = np.where(inside.any(-1), inside.argmax(-1), np.where(outside, len(low), -1))
    return np.take_along_axis(met, (met >= 0).argmax(0)[None], 0)[0]


def test_marching_along_the_rays_meets_the_same_boxes():
    step, size = 0.01, 15
    rays = pixel_rays(size)
    for eye, degrees, boxes in random_scenes(4):
        directions = np.stack(ray_directions(rays, jnp.float32(math.radians(degrees))), -1)[0]
        marched = np.arange(0, 8.6, step)[:, None, None, None] * directions[None] + np.array(eye)
        seen = surfaces_seen(eye, degrees, boxes, rays)
        found = np.minimum(seen // 6, 3)  # three boxes, then the room
        # A march leaps over an edge that a ray cuts by less than a step: a few pixels of 225.
        assert (found == first_met(marched, boxes)).mean() > 0.98
        assert len(np.unique(found)) > 1


def test_supersampling_averages_the_pixels_of_a_larger_image():
    for eye, degrees, boxes in random_scenes(3):
        fine = image_seen(eye, degrees, boxes, pixel_rays(2 * SIZE))
        blocks = fine.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
        smooth = image_seen(eye, degrees, boxes, pixel_rays(SIZE, samples=2))
        np.testing.assert_allclose(smooth, blocks, atol=ROUNDING)
        assert not np.array_equal(smooth, image_seen(eye, degrees, boxes))


def test_colours_are_in_range_also_along_the_walls_and_in_corners():
    boxes = boxes_at(((3.0, 0.0, 2.6), (3.8, 0.8, 3.4)))
    places = [(0.0, 0.0), (6.0, 6.0), (0.0, 3.0), (3.4, 3.0), (3.0, 2.6)]  # two of them right above the box
    eyes = jnp.array([(x, 1.5, z) for x, z in places for _ in range(24)], jnp.float32)
    headings = jnp.tile(jnp.arange(24, dtype=jnp.float32) * (jnp.pi / 12), len(places))
    rays = pixel_rays(SIZE)
    images = jax.jit(jax.vmap(lambda eye, heading: render(rays, eye, heading, boxes, ROOM)))(eyes, headings)
    assert images.shape == (120, SIZE, SIZE, 3)
    assert images.dtype == jnp.float32
    assert np.isfinite(images).all()
    assert (images >= 0).all() and (images <= 1).all()
    assert (np.asarray(images).max(axis=(1, 2, 3)) > 0.2).all()


@pytest.mark.parametrize(("size", "samples"), [(0, 1), (25, 0)])
def test_images_without_pixels_or_rays_are_refused(size, samples):
    with pytest.raises(ValueError, match="at least 1"):
        pixel_rays(size, samples=samples)
