"""Brax with physics that vary: they do what mechanics says."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.brax_env import BraxEnvironment
from envs.brax_physics import MULTIPLIERS, BraxPhysicsEnvironment, brax_physics_family, physics_params
from envs.registry import BRAX_PHYSICS, BRAX_SYSTEMS
from tests.envs.brax_sled import (
    FORCE,
    GRAVITY,
    IN_THE_AIR,
    MASSES,
    NUM_STEPS,
    TIME_STEP,
    VX,
    Sled,
    X,
    on_demand,
    plain_sled,
    random_life,
    registering,
    types,
    watch,
)


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Registers the sled with brax for the tests of this module."""
    with registering(sled=Sled):
        yield


@pytest.fixture(scope="module")
def plain(registered):
    return plain_sled()


class Varied(NamedTuple):
    """A sled whose physics vary, on one backend."""

    backend: str
    run: object
    """`run(acceleration, **multipliers) -> Seen`: pushed by what gives the original sled this acceleration."""
    jitted: object


@pytest.fixture(scope="module", params=[on_demand(name, but=("spring", "mjx")) for name in MASSES])
def varied(request, registered):
    jitted = jax.jit(partial(watch, BraxPhysicsEnvironment("sled", request.param)))

    def run(acceleration, **multipliers):
        values = [multipliers.get(name, 1.0) for name in MULTIPLIERS]
        push = acceleration * MASSES[request.param] / FORCE
        return jitted(physics_params(jnp.array(values, jnp.float32)), jax.random.key(0), jnp.float32(push))

    return Varied(request.param, run, jitted)


def velocity(found, step=IN_THE_AIR):
    """Returns the velocities of the first worker along x and z at the end of a step."""
    return np.asarray(found.trajectory.final_observation)[step, 0, VX:]


def assert_moves(found, across, down):
    """The velocities are those of the constant accelerations, up to the projections of the positional engine."""
    elapsed = TIME_STEP * (IN_THE_AIR + 1)
    np.testing.assert_allclose(velocity(found), [across * elapsed, -down * elapsed], rtol=1e-3)


def test_the_original_physics_are_those_of_the_plain_system(plain, registered):
    env = BraxPhysicsEnvironment("sled", "spring")
    varied = jax.jit(partial(watch, env))(env.default_params, jax.random.key(0), jnp.float32(0.25))
    # Constants and arguments compile to different fusions: one rounding a step.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=NUM_STEPS * 1e-7), varied, plain(0.25))


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_gravity_multiplies_falling(varied, factor):
    assert_moves(varied.run(3.0, gravity=factor), 3.0, GRAVITY * factor)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_mass_divides_the_effect_of_forces_and_leaves_falling(varied, factor):
    assert_moves(varied.run(3.0, mass=factor), 3.0 / factor, GRAVITY)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_actuator_strength_multiplies_forces_and_leaves_falling(varied, factor):
    assert_moves(varied.run(3.0, actuator_strength=factor), 3.0 * factor, GRAVITY)


def test_friction_slows_on_the_floor_and_not_in_the_air(varied):
    little, original, much = (varied.run(3.0, friction=factor) for factor in (0.5, 1.0, 2.0))
    np.testing.assert_array_equal(velocity(little), velocity(much))
    distances = [float(one.trajectory.final_observation[-1, 0, X]) for one in (little, original, much)]
    assert distances[0] > distances[1] + 1e-3 > distances[2] + 2e-3


def test_one_compilation_serves_all_physics(varied):
    varied.run(3.0)
    varied.run(3.0, gravity=0.7, mass=1.3, friction=0.6, actuator_strength=1.9)
    assert varied.jitted._cache_size() == 1


@pytest.mark.parametrize("system", [on_demand(name, but=("ant", "reacher")) for name in (*BRAX_SYSTEMS, "fast")])
def test_physics_vary_where_everything_matters_and_elsewhere_are_refused(system):
    if system in BRAX_PHYSICS:
        BraxPhysicsEnvironment(system)
    else:
        with pytest.raises(ValueError, match=f"would change nothing in brax's '{system}'; use the plain system, or"):
            BraxPhysicsEnvironment(system)


def test_a_refusal_names_what_has_no_effect():
    with pytest.raises(ValueError, match="^friction would"):
        BraxPhysicsEnvironment("reacher")
    with pytest.raises(ValueError, match="^gravity would"):
        BraxPhysicsEnvironment("pusher")


def test_links_of_ant_gain_weight_although_its_masses_are_raised_to_nothing():
    env = BraxPhysicsEnvironment("ant", "spring")
    assert BraxEnvironment("ant", "spring")._brax.sys.spring_mass_scale == 1
    system = env._world(env.default_params.replace(mass=jnp.float32(1.5))).sys
    inertia = system.link.inertia
    np.testing.assert_array_equal(inertia.mass ** (1 - system.spring_mass_scale), 1.5)
    moments = np.asarray(inertia.i ** (1 - system.spring_inertia_scale))
    np.testing.assert_array_equal(np.diagonal(moments, axis1=1, axis2=2), 1.5)


def test_the_task_space_is_log_uniform_around_the_original(key):
    family = brax_physics_family("hopper", lifetime=7)
    assert (family.name, family.num_dimensions, family.max_lifetime, family.max_episode_steps) == (
        "brax/hopper-physics", 4, 7, 1000,
    )  # fmt: skip
    for quantile, multiplier in ((-1.0, 0.5), (0.0, 0.5), (0.5, 1.0), (0.75, 2**0.5), (1.0, 2.0)):
        for d, name in enumerate(MULTIPLIERS):
            params = family.decode(jnp.full((4,), 0.5).at[d].set(quantile)).params
            expected = {other: multiplier if other == name else 1.0 for other in MULTIPLIERS}
            np.testing.assert_allclose(
                [getattr(params, other) for other in expected], list(expected.values()), rtol=1e-6
            )
    tasks = jax.vmap(family.sample)(jax.random.split(key, 1000))
    assert types(family.sample(key)) == types(family.decode(jnp.zeros(4)))
    logs = np.log2([getattr(tasks.params, name) for name in MULTIPLIERS])
    assert (np.abs(logs) <= 1.0 + 1e-6).all()
    # The standard error of a mean of 1000 draws of U[-1, 1] is 0.018, of their correlation 0.032.
    assert (np.abs(logs.mean(axis=1)) < 0.1).all()
    assert (np.abs(np.corrcoef(logs) - np.eye(4)) < 0.15).all()


@pytest.mark.slow
def test_the_original_physics_of_ant_are_those_of_plain_ant(key):
    plain, varied = BraxEnvironment("ant"), BraxPhysicsEnvironment("ant")
    found = jax.jit(partial(random_life, varied, num_steps=10))(key, varied.default_params)
    expected = jax.jit(partial(random_life, plain, num_steps=10))(key, plain.default_params)
    # The engine divides differences of positions by a time step of 1/200 s, and so 200 times their rounding.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), found, expected)
    assert np.abs(expected.final_observation[-1] - expected.observation[0]).max() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("system", ["ant", "halfcheetah", "humanoid"])  # one for each way that brax scales inertia
def test_the_corners_of_the_task_space_can_be_lived_in(system, key):
    family = brax_physics_family(system, lifetime=1)
    corners = jnp.stack(jnp.meshgrid(*[jnp.array([0.0, 1.0])] * 4), axis=-1).reshape(-1, 4)
    live = jax.jit(lambda vector: random_life(family.env, key, family.decode(vector).params, 200))
    lives = [live(corner) for corner in corners]
    assert live._cache_size() == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(lives))
    seen = np.stack([life.final_observation[0, 0] for life in lives])
    assert len(np.unique(seen, axis=0)) > 4  # some start in the air, where friction has not mattered yet
