import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import CATEGORICAL, NUMERIC, UNUSED, pool_params
from metarl.metabo.gp import prior_hyper
from metarl.metabo.optimiser import random_search
from metarl.metabo.trajectory import run_many
from metarl.metabo.trust_region import FIRST_SIDE, LEAST_SIDE, MOST_SIDE, Region, gp_turbo, how_far_outside, resize

NUM_DIMENSIONS = 5


def walk(bests, side=FIRST_SIDE):
    """Sides after each of these best values."""
    region = Region(prior_hyper(2), jnp.float32(side), jnp.int32(0), jnp.int32(0), jnp.float32(-jnp.inf))
    sides = []
    for best in bests:
        region = resize(region, jnp.float32(best), jnp.float32(1.0), jnp.int32(NUM_DIMENSIONS))
        sides.append(float(region.side))
    return np.array(sides) / side


def test_three_improvements_in_a_row_double_the_region_up_to_its_limit():
    np.testing.assert_allclose(walk([0, 1, 2, 3, 4, 5, 6]), [1, 1, 1, 2, 2, 2, 2])
    np.testing.assert_allclose(walk([0, 1, 2, 2, 3, 4, 5]), [1, 1, 1, 1, 1, 1, 2])
    assert MOST_SIDE == 2 * FIRST_SIDE


def test_as_many_failures_as_dimensions_halve_it_and_one_that_is_too_small_begins_again():
    np.testing.assert_allclose(walk([0] * 11), [1] * 5 + [0.5] * 5 + [0.25])
    hardly = 0.0005 * np.arange(6)  # less than a thousandth of the spread each time is no success
    np.testing.assert_allclose(walk(hardly), [1] * 5 + [0.5])
    assert walk([0] * 6, side=1.5 * LEAST_SIDE)[-1] * 1.5 * LEAST_SIDE == pytest.approx(FIRST_SIDE)


def test_sides_follow_lengthscales_at_the_same_volume_and_categories_lie_in_every_region():
    kind = jnp.array([NUMERIC, NUMERIC, CATEGORICAL, UNUSED], jnp.int32)
    hyper = prior_hyper(4)._replace(log_lengthscale=jnp.log(jnp.array([4.0, 1.0, 9.0, 100.0])))
    centre = jnp.array([0.5, 0.5, 0.0, 0.0])
    x = centre[None] + jnp.array([[0.19, 0.0, 1, 0], [0.0, 0.049, 0, 0], [0.4, 0.0, 0, 0], [0.0, 0.2, 0, 0.7]])
    found = how_far_outside(jnp.float32(0.2), hyper, centre, x, kind)  # sides of 0.4 and 0.1
    np.testing.assert_allclose(found, [0.0, 0.0, 1.0, 3.0], atol=1e-5)


@pytest.fixture(scope="module")
def bowl():
    """A hundred points of a square, ten of them padding, and the distance to a place off its centre."""
    x = np.random.default_rng(0).random((100, 2)).astype(np.float32)
    y = -np.linalg.norm(x - np.array([0.7, 0.4]), axis=1).astype(np.float32)
    is_valid = jnp.arange(100) < 90
    return pool_params(jnp.asarray(x), jnp.full((2,), NUMERIC, jnp.int32), jnp.asarray(y), is_valid=is_valid)


@pytest.mark.parametrize("side", [0.5, 2 * LEAST_SIDE])
def test_choices_lie_in_the_region_or_nearest_to_it(bowl, side):
    env, optimiser = BlackBox(100, max_horizon=5), gp_turbo()
    first = jnp.arange(5, dtype=jnp.int32)
    observation, _ = env.reset_at(first, bowl.replace(num_init=jnp.int32(5)))
    memory = optimiser.init(bowl)._replace(side=jnp.float32(side))
    region, index = jax.jit(optimiser.choose)(jax.random.key(0), memory, observation, bowl)
    centre = bowl.x[int(jnp.argmax(bowl.y[:5]))]
    outside = np.array(how_far_outside(region.side, region.hyper, centre, bowl.x, bowl.kind))
    outside[:5] = outside[90:] = np.inf
    assert outside[int(index)] == outside.min()
    assert (outside.min() == 0.0) == (side == 0.5)


def test_it_finds_the_bottom_of_a_bowl_long_before_random_search_and_needs_no_first_points(bowl):
    env, starts = BlackBox(100, max_horizon=20), jnp.arange(24, dtype=jnp.int32).reshape(8, 3)
    pools = jax.tree.map(lambda leaf: jnp.stack([leaf] * 8), bowl.replace(num_init=jnp.int32(3), horizon=jnp.int32(20)))
    ours, random = (run_many(o, env, pools, starts, jax.random.key(0)) for o in (gp_turbo(), random_search()))
    assert np.mean(ours[:, 8]) < 0.25 * np.mean(random[:, 8]) and np.max(ours[:, -1]) == 0.0
    blind = pools.replace(num_init=jnp.zeros((8,), jnp.int32))
    assert np.isfinite(run_many(gp_turbo(), env, blind, starts, jax.random.key(0))[:, -1]).all()
