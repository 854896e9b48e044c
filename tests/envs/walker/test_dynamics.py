import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.walker.body import BUILDS, make_body
from envs.walker.dynamics import (
    arms,
    couple,
    decouple,
    inertial_change,
    masses,
    part_places,
    part_velocities,
    pose,
    response,
)
from envs.walker.noise import seed_from
from envs.walker.physics import advance, batch_last, start
from envs.walker.terrain import STUMPS
from envs.walker.world import GRAVITY, TIME_STEP


def random_motion(name, seed=0):
    """Returns a body and coordinates and speeds that are nothing special."""
    number = 3 + 2 * len(BUILDS[name].hips)
    q, v = np.random.default_rng(seed).normal(size=(2, number)).astype(np.float32)
    return make_body(BUILDS[name]), jnp.asarray(q), jnp.asarray(v)


def centres(body, q):
    """Returns the centres of all parts in the world, [1 + 2 L, 2], the angles of the parts, and their masses."""
    at = pose(body, q)
    hull, upper, lower = part_places(body, at)
    x = jnp.concatenate([hull.x[None], upper.x, lower.x]) + q[0]
    y = jnp.concatenate([hull.y[None], upper.y, lower.y]) + q[1]
    turned = q[2][None] + q[3::2]
    return jnp.stack([x, y], axis=1), jnp.concatenate([q[2][None], turned, turned + q[4::2]])


def part_masses(body):
    number = body.hips.shape[0]
    legs = [[body.upper_mass] * number + [body.lower_mass] * number]
    inertias = [[body.upper_inertia] * number + [body.lower_inertia] * number]
    return np.array([body.hull_mass, *legs[0]]), np.array([body.hull_inertia, *inertias[0]])


def mass_matrix(body, q):
    """Returns the mass matrix from the Jacobians of all parts, in float64."""
    mass, inertia = part_masses(body)
    place, angle = jax.jacobian(lambda q: centres(body, q))(q)
    place, angle = np.asarray(place, float), np.asarray(angle, float)
    return np.einsum("p,pci,pcj->ij", mass, place, place) + np.einsum("p,pi,pj->ij", inertia, angle, angle)


@pytest.mark.parametrize("name", BUILDS)
def test_decoupled_blocks_are_the_inverse_of_the_mass_matrix(name):
    body, q, v = random_motion(name)
    mass = masses(body, pose(body, q))
    number = len(q)

    def column(one):
        return couple(mass, *response(mass, (one[:3], jnp.stack([one[3::2], one[4::2]]))))

    inverse = np.asarray(jax.vmap(column, out_axes=1)(jnp.eye(number)))
    # float32: the condition number of the matrix is some hundreds.
    np.testing.assert_allclose(inverse @ mass_matrix(body, q), np.eye(number), atol=2e-3)
    np.testing.assert_allclose(couple(mass, *decouple(mass, v)), v, atol=1e-5)


@pytest.mark.parametrize("name", BUILDS)
def test_velocities_of_parts_are_derivatives_of_their_places(name):
    body, q, v = random_motion(name)
    at = pose(body, q)
    hull, upper, lower = part_velocities(arms(body, at), at, v)
    found = np.stack(
        [np.concatenate([np.atleast_1d(getattr(one, axis)) for one in (hull, upper, lower)]) for axis in "xy"], 1
    )
    _, (expected, _) = jax.jvp(lambda q: centres(body, q), (q,), (v,))
    np.testing.assert_allclose(found + np.asarray(v[:2])[None], expected, atol=1e-5)


def test_gravity_alone_makes_everything_fall_alike():
    body, q, _ = random_motion("quadru")
    at = pose(body, q)
    mass = masses(body, at)
    still = jnp.zeros_like(q)
    change = couple(mass, *response(mass, inertial_change(body, at, q, still)))
    # The joints' part is a difference of large numbers over the light legs.
    np.testing.assert_allclose(change, still.at[1].set(-GRAVITY * TIME_STEP), atol=2e-5)


def fly(name, num_steps):
    """Returns the (coordinates, speeds) of a body high above the track that turns and swings without motors."""
    body = make_body(BUILDS[name])
    motion = start(body, jnp.float32(0.0))
    number = len(motion.position)
    swing = 0.5 * jnp.asarray([0.3, 0.2, -0.2, 1.0, -1.5, -1.0, 1.2, 0.7, 0.5, 0.3, -0.4][:number])
    position = motion.position.at[1].add(50.0).at[4::2].set(-0.8)
    motion = motion._replace(position=position, velocity=swing)
    place = STUMPS.near(jnp.zeros(2), seed_from(jnp.zeros(2)), motion.position[0])
    still = jnp.zeros(number - 3)

    def step(motion, _):
        after = advance(body, jnp.float32(0.0), STUMPS, place, motion, still, 10)
        return after, (after.position, after.velocity)

    _, (q, v) = jax.jit(lambda motion: jax.lax.scan(step, motion, None, num_steps))(motion)
    first = (motion.position, motion.velocity)
    return body, *(np.concatenate([np.asarray(a)[None], np.asarray(b)]) for a, b in zip(first, (q, v), strict=True))


@pytest.mark.parametrize("name", ["default", pytest.param("quadru", marks=pytest.mark.slow)])
def test_free_flight_conserves_momentum_and_energy(name):
    num_steps = 20
    body, q, v = fly(name, num_steps)
    mass, inertia = part_masses(body)
    limits = np.array([-0.8, 1.1]), np.array([-1.6, -0.1])
    assert all(
        (q[:, 3 + i :: 2] > low).all() and (q[:, 3 + i :: 2] < high).all() for i, (low, high) in enumerate(limits)
    )
    place, _ = jax.vmap(lambda q: centres(body, q))(jnp.asarray(q))
    centre = np.einsum("p,tpc->tc", mass, np.asarray(place, float)) / mass.sum()
    # Parts fly straight in a step, so the centre of mass is exact up to float32 at 50 m.
    time = TIME_STEP * np.arange(num_steps + 1)
    steps = np.diff(centre, axis=0)
    np.testing.assert_allclose(steps[:, 0], steps[0, 0], atol=3e-5)
    np.testing.assert_allclose(np.diff(steps[:, 1]), -GRAVITY * TIME_STEP**2, atol=5e-5)
    assert time[-1] == pytest.approx(0.4)
    energies = []
    for one_q, one_v in zip(q, v, strict=True):
        matrix = mass_matrix(body, jnp.asarray(one_q))
        momentum = matrix[:2] @ one_v
        moving = 0.5 * one_v @ matrix @ one_v - 0.5 * momentum @ momentum / mass.sum()
        energies.append(moving)
    # What turns about the centre of mass: a first-order method drifts by a few per cent over 20 steps.
    np.testing.assert_allclose(energies, energies[0], rtol=0.05)


@pytest.mark.parametrize("name", BUILDS)
def test_the_start_stands_on_the_ground(name):
    from envs.walker.contacts import lower_corners
    from envs.walker.world import GROUND, SKIN

    body = make_body(BUILDS[name])
    motion = start(body, jnp.float32(3.0))
    at = pose(body, motion.position)
    height = np.asarray(lower_corners(body, at).y + motion.position[1]) - GROUND
    assert height.min() == pytest.approx(SKIN - 0.005, abs=2e-6)
    np.testing.assert_allclose(motion.position[3:5], [-0.05, -0.1])
    np.testing.assert_allclose(motion.position[5:7], [0.05, -0.1])
    assert float(motion.velocity[0]) == pytest.approx(3.0 / (50.0 * float(body.hull_mass)))


def test_a_batch_may_be_any_part_of_the_arguments():
    scale = batch_last(lambda a, b: (a * b[None], b))
    a, b = jnp.arange(6.0).reshape(2, 3), jnp.arange(2.0)
    np.testing.assert_array_equal(jax.vmap(scale)(a, b)[0], a * b[:, None])
    product, kept = jax.vmap(scale, (None, 0))(a[0], b)
    np.testing.assert_array_equal(product, b[:, None] * a[:1])
    np.testing.assert_array_equal(kept, b)
    nested = jax.vmap(jax.vmap(scale, (0, None)), (None, 0))(a, b)[0]
    np.testing.assert_array_equal(nested, b[:, None, None] * a[None])
