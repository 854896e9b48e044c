import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.walker.hexagons import DEFAULT, HEXAGONS, hexagons_near
from envs.walker.lidar import ANGLES, RANGE, lidar
from envs.walker.noise import normal_noise, seed_from
from envs.walker.terrain import STUMPS, stump, stump_index, stumps_near
from envs.walker.world import GROUND, LENGTH, PAD, SKIN, STRIDE, Vector

SEED = np.array([12345, 678], np.uint32)


def points(x, y):
    return Vector(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))


def row(height=1.5, spacing=0.4):
    """Returns a row of stumps, and all of them as (left edge, top)."""
    place = stumps_near(jnp.array([height, spacing], jnp.float32), jnp.asarray(SEED), jnp.float32(0.0))
    edge, top = stump(place, jnp.arange(200, dtype=jnp.int32))
    is_there = np.asarray(top) > GROUND
    return place, np.asarray(edge)[is_there], np.asarray(top)[is_there]


def hexagons(seed=SEED, x=20.0):
    """Returns the obstacles about x, and the corners [2, 6, 2] of both."""
    parameters = jnp.asarray(np.random.default_rng(3).uniform(0.0, 4.0, 12), jnp.float32)
    place = hexagons_near(parameters, jnp.asarray(seed), jnp.float32(x))
    corners = np.stack([np.asarray(place.corners.x).T, np.asarray(place.corners.y).T], -1)
    return place, corners


def convex_hull(corners):
    """Returns the corners of the convex hull, counter-clockwise (Andrew's monotone chain)."""
    ordered = sorted(map(tuple, corners))
    halves = []
    for sequence in (ordered, ordered[::-1]):
        chain = []
        for point in sequence:
            while len(chain) > 1:
                (ax, ay), (bx, by) = chain[-2], chain[-1]
                if (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax) > 0:
                    break
                chain.pop()
            chain.append(point)
        halves.append(chain[:-1])
    return np.array(halves[0] + halves[1])


def crossing(start, direction, a, b):
    """Returns how far along a ray it crosses a segment, infinity if never."""
    edge, gap = b - a, a - start
    det = direction[0] * edge[1] - direction[1] * edge[0]
    if abs(det) < 1e-12:
        return np.inf
    along = (gap[0] * edge[1] - gap[1] * edge[0]) / det
    share = (gap[0] * direction[1] - gap[1] * direction[0]) / det
    return along if along >= 0.0 and 0.0 <= share <= 1.0 else np.inf


def cast(start, polygons):
    """Returns what the lidar sees, by trying every side of every polygon and the ground."""
    found = []
    for angle in ANGLES:
        direction = np.array([np.sin(angle), -np.cos(angle)])
        best = (start[1] - GROUND) / -direction[1]
        for polygon in polygons:
            sides = zip(polygon, np.roll(polygon, -1, axis=0), strict=True)
            best = min(best, *(crossing(start, direction, a, b) for a, b in sides))
        found.append(min(best / RANGE, 1.0))
    return np.array(found)


def test_noise_is_standard_normal_and_uncorrelated():
    seeds = jnp.asarray(np.random.default_rng(0).integers(0, 2**23, (2, 400)), jnp.uint32)
    index = jnp.broadcast_to(jnp.arange(180, dtype=jnp.int32)[:, None], (180, 400))
    noise = np.asarray(normal_noise(seeds, index), float)
    # 72000 numbers: standard errors are 0.0037 for a mean or a correlation, 0.0026 for a deviation, 0.018 for kurtosis.
    assert abs(noise.mean()) < 0.015 and abs(noise.std() - 1.0) < 0.011
    assert abs((noise**4).mean() - 3.0) < 0.1
    for shifted in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1], noise[2:] * noise[:-2]):
        assert abs(shifted.mean()) < 0.015
    assert np.abs(noise).max() < 6.0


def test_seeds_keep_all_bits_of_their_uniforms():
    uniforms = jnp.array([0.0, 1.0 - 2.0**-23], jnp.float32)
    assert seed_from(uniforms).tolist() == [0, 2**23 - 1]


def test_stumps_begin_after_the_pad_and_end_with_the_track():
    _, edge, top = row(height=0.0, spacing=0.0)
    assert edge[0] == pytest.approx(PAD) and edge[-1] < LENGTH <= edge[-1] + STRIDE + 0.02
    np.testing.assert_allclose(np.diff(edge), STRIDE + 0.01, atol=1e-4)
    assert len(edge) == 177
    assert (top >= GROUND + 0.05 * STRIDE - 1e-6).all()
    _, _, tall = row(height=3.0)
    assert tall.mean() == pytest.approx(GROUND + 3.0 * STRIDE, abs=0.02)


def test_the_height_field_is_that_of_a_search_through_all_stumps():
    place, edge, top = row()
    x = np.random.default_rng(0).uniform(8.0, 95.0, 500).astype(np.float32)
    index = stump_index(place, jnp.asarray(x))
    found_edge, found_top = stump(place, index)
    is_on = np.asarray((x >= found_edge) & (x < found_edge + STRIDE) & (found_top > GROUND))
    height = np.where(is_on, found_top, GROUND)
    inside = (x[:, None] >= edge) & (x[:, None] < edge + STRIDE)
    expected = np.where(inside.any(1), np.where(inside, top, 0.0).max(1), GROUND)
    assert inside.any(1).mean() > 0.3
    np.testing.assert_allclose(height, expected, atol=1e-6)


def test_depth_in_a_stump_is_to_its_nearest_face():
    place, edge, top = row()
    i = 7
    inside = points(
        [edge[i] + 0.01, edge[i] + STRIDE - 0.03, edge[i] + 0.2], [top[i] - 0.3, top[i] - 0.3, top[i] - 0.05]
    )
    depth, normal = STUMPS.surface(place, inside)
    np.testing.assert_allclose(depth, np.array([0.01, 0.03, 0.05]) + SKIN, atol=1e-5)
    np.testing.assert_array_equal(normal.x, [-1.0, 1.0, 0.0])
    np.testing.assert_array_equal(normal.y, [0.0, 0.0, 1.0])
    between = points([edge[i] - 0.2, 5.0], [GROUND + 0.1, GROUND - 0.01])
    depth, normal = STUMPS.surface(place, between)
    np.testing.assert_allclose(depth, [SKIN - 0.1, SKIN + 0.01], atol=1e-5)
    np.testing.assert_array_equal(normal.y, [1.0, 1.0])


@pytest.mark.parametrize(("height", "spacing"), [(0.0, 0.0), (1.5, 0.4), (3.0, 1.0), (2.0, 6.0)])
def test_stump_lidar_is_that_of_brute_force(height, spacing):
    place, edge, top = row(height, spacing)
    boxes = [np.array([[a, 0.0], [a + STRIDE, 0.0], [a + STRIDE, t], [a, t]]) for a, t in zip(edge, top, strict=True)]
    for x, above in ((4.7, 2.5), (9.0, 1.2), (12.34, 2.9), (40.1, 2.0), (92.0, 2.2)):
        under = top[(edge <= x) & (x <= edge + STRIDE)]
        start = np.array([x, max([GROUND, *under]) + above])
        found = lidar(STUMPS, place, Vector(jnp.float32(start[0]), jnp.float32(start[1])))
        np.testing.assert_allclose(found, cast(start, boxes), atol=1e-4)


def test_hexagons_are_the_convex_hulls_of_their_corners():
    place, corners = hexagons()
    assert ((GROUND <= corners[..., 1]) & (corners[..., 1] < GROUND + 5.0 * STRIDE)).all()
    np.testing.assert_allclose(corners[:, [0, 5], 1], GROUND)
    rng = np.random.default_rng(1)
    for obstacle in range(2):
        low, high = corners[obstacle].min(0), corners[obstacle].max(0)
        some = rng.uniform(low - 0.2, high + 0.2, (300, 2))
        hull = convex_hull(corners[obstacle])
        edges = np.roll(hull, -1, axis=0) - hull
        gaps = some[:, None] - hull
        distance = (edges[:, 0] * gaps[..., 1] - edges[:, 1] * gaps[..., 0]) / np.linalg.norm(edges, axis=1)
        depth, normal = HEXAGONS.surface(place, points(some[:, 0], some[:, 1]))
        deepest = distance.min(1) + SKIN
        # Where the nearest side is the base, or is nearer than the ground, the ground is what counts.
        slopes = np.stack([-edges[:, 1], edges[:, 0]], 1) / np.linalg.norm(edges, axis=1)[:, None]
        is_base = -slopes[distance.argmin(1), 1] < -0.999
        ground = GROUND + SKIN - some[:, 1]
        counts = (deepest > np.maximum(ground, 0.0)) & ~is_base
        assert 0.05 < counts.mean() < 0.95
        np.testing.assert_allclose(depth, np.where(counts, deepest, ground), atol=1e-4)
        np.testing.assert_allclose(np.hypot(normal.x, normal.y), 1.0, atol=1e-5)


def test_hexagon_lidar_is_that_of_brute_force():
    for x in (15.0, 17.0, 21.0, 26.5):
        place, corners = hexagons(x=x)
        hulls = [convex_hull(one) for one in corners]
        start = np.array([x, GROUND + 3.2])
        found = lidar(HEXAGONS, place, Vector(jnp.float32(start[0]), jnp.float32(start[1])))
        np.testing.assert_allclose(found, cast(start, hulls), atol=2e-4)


def test_heights_of_end_corners_of_hexagons_are_ignored():
    def corners(changed):
        parameters = jnp.full((12,), 2.0, jnp.float32).at[jnp.array([1, 11])].set(changed)
        place = hexagons_near(parameters, jnp.asarray(SEED), jnp.float32(12.0))
        return np.stack([place.corners.x, place.corners.y])

    np.testing.assert_array_equal(corners(0.0), corners(4.0))
    assert not np.allclose(corners(0.0)[1, 1:5, 0], GROUND)


def test_hexagons_stand_nine_metres_apart():
    seen = set()
    for x in np.linspace(0.0, 93.0, 60):
        place, corners = hexagons_near(jnp.zeros(12), jnp.asarray(SEED), jnp.float32(x)), None
        middle = (np.asarray(place.corners.x).mean(0), np.asarray(place.corners.y).max(0))
        seen |= {round((mid - PAD) / 9.0) for mid, up in zip(*middle, strict=True) if up > GROUND}
        del corners
    assert seen == set(range(10))
    assert len(DEFAULT) == 6


@pytest.mark.parametrize("terrain", [STUMPS, HEXAGONS])
def test_episodes_have_tracks_of_their_own(terrain):
    parameters = jnp.full((len(terrain.low),), 1.5, jnp.float32)

    def view(seed):
        place = terrain.near(parameters, seed, jnp.float32(18.0))
        return lidar(terrain, place, Vector(jnp.float32(18.0), jnp.float32(GROUND + 3.0)))

    first, second = (np.asarray(jax.jit(view)(jnp.asarray(seed))) for seed in (SEED, SEED + 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, jax.jit(view)(jnp.asarray(SEED)))
