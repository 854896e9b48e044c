"""BBOB: sign and box by closed forms, pools that are the same each time, and a clear word when bbobax is missing."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.bbob import DIMENSIONS, NUM_FUNCTIONS, bbob_family, bbob_pools
from envs.blackbox.task import NUMERIC, UNUSED

NEEDS_BBOBAX = "bbobax is not installed (metarl[metabo-real])"
SPHERE, SLOPE = 1, 5


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bbobax", None)
    with pytest.raises(ValueError, match=r"metarl\[metabo-real\]"):
        bbob_family(SPHERE, 2)


def test_the_sphere_is_a_negated_square_over_a_box_ten_wide(key):
    pytest.importorskip("bbobax", reason=NEEDS_BBOBAX)
    params = jax.jit(bbob_family(SPHERE, 3, 50).sample)(key).params
    native = 10.0 * np.asarray(params.x[:, :3], np.float64) - 5.0
    # y = -|x - c|² is linear in (c, |c|²) once -|x|² is taken off.
    rest = np.asarray(params.y, np.float64) + np.sum(native**2, axis=1)
    solution, *_ = np.linalg.lstsq(np.column_stack([2 * native, -np.ones(50)]), rest, rcond=None)
    centre = solution[:3]
    assert np.abs(centre).max() <= 4.0
    np.testing.assert_allclose(params.y, -np.sum((native - centre) ** 2, axis=1), atol=1e-3)
    assert solution[3] == pytest.approx(np.sum(centre**2), abs=1e-3)  # the optimum is worth 0


def test_the_slope_has_its_best_corner_at_zero(key):
    pytest.importorskip("bbobax", reason=NEEDS_BBOBAX)
    params = jax.jit(bbob_family(SLOPE, 2, 4, design="grid").sample)(key).params
    values = np.sort(np.asarray(params.y))
    # Slopes are 1 and 10, the box 10 wide: the other corners lose 10 * 1, 10 * 10 and both.
    np.testing.assert_allclose(values, [-110.0, -100.0, -10.0, 0.0], atol=1e-3)


def test_families_draw_instances_and_compile_once(key):
    pytest.importorskip("bbobax", reason=NEEDS_BBOBAX)
    family = bbob_family(8, 2, 20)
    sample = jax.jit(jax.vmap(family.sample))
    params = sample(jax.random.split(key, 16)).params
    sample(jax.random.split(jax.random.key(1), 16))
    assert sample._cache_size() == 1
    assert jnp.all(jnp.isfinite(params.y)) and jnp.all(params.y <= 0) and len(np.unique(params.y_best)) == 16
    assert jnp.all(params.kind[:, :2] == NUMERIC) and jnp.all(params.kind[:, 2:] == UNUSED)
    decode = jax.jit(family.decode)
    first, again, other = (decode(jnp.array([q], jnp.float32)).params.y for q in (0.5, 0.5, 0.6))
    np.testing.assert_array_equal(first, again)
    assert jnp.any(first != other)


def test_pools_do_not_depend_on_seeds_and_initial_points_do():
    pytest.importorskip("bbobax", reason=NEEDS_BBOBAX)
    settings = {"functions": (SPHERE,), "dimensions": (2,), "instances": (0, 1), "num_candidates": 32}
    first, second = bbob_pools((0, 1, 2), **settings)
    (other, _) = bbob_pools((2,), **settings)
    assert (first.name, second.name) == ("bbob/f1-d2-i0", "bbob/f1-d2-i1")
    assert first.initial.shape == (3, 5) and len(np.unique(first.initial, axis=0)) == 3
    assert all(len(set(row)) == 5 for row in np.asarray(first.initial).tolist())
    np.testing.assert_array_equal(other.params.y, first.params.y)
    np.testing.assert_array_equal(other.initial[0], first.initial[2])
    assert jnp.any(second.params.y != first.params.y)


@pytest.mark.slow
def test_all_pools_of_the_protocol_are_finite_and_their_optimum_is_below_zero():
    pytest.importorskip("bbobax", reason=NEEDS_BBOBAX)
    names = []
    for pool in bbob_pools((0,)):
        names.append(pool.name)
        y = np.asarray(pool.params.y)
        assert y.shape == (1000,) and np.isfinite(y).all() and y.max() <= 1e-3 and y.max() > y.min(), pool.name
    assert len(set(names)) == NUM_FUNCTIONS * len(DIMENSIONS)


def test_settings_that_make_no_sense_are_refused():
    pytest.importorskip("bbobax", reason=NEEDS_BBOBAX)
    with pytest.raises(ValueError, match="f25 in 2 dimensions"):
        bbob_family(25, 2)
    with pytest.raises(ValueError, match="in 2 or more"):
        bbob_family(1, 1)
