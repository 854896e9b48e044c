"""Brax as gymnax: episodes begin and end as gymnax has them, and physics that vary do what mechanics says.

Systems of brax take long to compile, so most claims are tested on a sled: a ball of 4 kg that slides along x, pushed by
a motor of 40 N, and falls along z onto a floor. Its motions are known in closed form.
"""

from functools import partial
from typing import NamedTuple

import brax.envs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.io import mjcf

from envs import rollout
from envs.brax_env import BraxEnvironment
from envs.brax_physics import MULTIPLIERS, BraxPhysicsEnvironment, brax_physics_family, physics_params
from envs.registry import BRAX_PHYSICS, BRAX_SYSTEMS

SLED = """<mujoco>
  <option timestep="0.005"/>
  <custom>
    <numeric name="spring_mass_scale" data="1"/> <numeric name="spring_inertia_scale" data="0"/>
    <numeric name="constraint_stiffness" data="2000"/> <numeric name="constraint_ang_damping" data="0"/>
    <numeric name="constraint_vel_damping" data="0"/>
  </custom>
  <worldbody>
    <geom type="plane" size="40 40 40" friction="0.5 0.1 0.1"/>
    <body>
      <joint name="x" type="slide" axis="1 0 0"/> <joint name="z" type="slide" axis="0 0 1"/>
      <geom type="sphere" size="0.1" mass="4" friction="0.5 0.1 0.1"/>
    </body>
  </worldbody>
  <actuator><motor joint="x" gear="40" ctrlrange="-1 1" ctrllimited="true"/></actuator>
</mujoco>"""
GRAVITY, FORCE, FRICTION = 9.81, 40.0, 0.5
MASSES = {"positional": 1.0, "spring": 1.0, "generalized": 4.0, "mjx": 4.0}
"""What the sled weighs: the first two engines raise masses to a power, which is 0 here as it is in ant and hopper."""
PHYSICS_STEP, TIME_STEP = 0.005, 0.01
HEIGHT, NOISE, FINISH = 1.0, 0.01, 0.5
NUM_WORKERS, NUM_STEPS = 3, 70
IN_THE_AIR, ON_THE_FLOOR = 20, slice(60, 70)
"""A step before the fall ends at about the 42nd, and steps after it."""
X, Z, VX, VZ = range(4)


class Sled(brax.envs.PipelineEnv):
    """Starts in the air and is done at the finish; mixes weak types in, as brax's systems do."""

    def __init__(self, backend):
        super().__init__(mjcf.loads(SLED), backend, n_frames=2)

    def reset(self, rng):
        start = jnp.array([0.0, HEIGHT]) + jax.random.uniform(rng, (2,), minval=-NOISE, maxval=NOISE)
        physics = self.pipeline_init(start, jnp.zeros(2))
        zero = jnp.zeros(())
        return brax.envs.State(physics, self._observation(physics), zero, zero, {"x": zero}, {"time_out": zero})

    def step(self, state, action):
        physics = self.pipeline_step(state.pipeline_state, action)
        state.metrics.update(x=physics.q[0])
        done = jnp.where(physics.q[0] > FINISH, 1.0, 0.0)
        info = {**state.info, "time_out": done}
        return state.replace(pipeline_state=physics, obs=self._observation(physics), reward=1.0, done=done, info=info)

    def _observation(self, physics):
        return jnp.concatenate([physics.q, physics.qd])


class Echo(brax.envs.Env):
    """Has no physics; observes where it began and is rewarded with the sum of the action."""

    observation_size, action_size, backend = 1, 2, "none"

    def __init__(self, backend, observes_dictionary=False):
        self._observes_dictionary = observes_dictionary

    def reset(self, rng):
        observation = jax.random.uniform(rng, (1,))
        observation = {"state": observation} if self._observes_dictionary else observation
        return brax.envs.State(None, observation, jnp.zeros(()), jnp.zeros(()))

    def step(self, state, action):
        return state.replace(reward=action.sum(), done=0.0)


def on_demand(name, but):
    """Returns the parameter, marked slow unless it is one of those named."""
    return name if name in but else pytest.param(name, marks=pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Registers the systems of this module with brax for its tests."""
    ours = {"sled": Sled, "echo": Echo, "dictionary": partial(Echo, observes_dictionary=True)}
    for name, system in ours.items():
        brax.envs.register_environment(name, system)
    yield
    for name in ours:
        del brax.envs._envs[name]


class Seen(NamedTuple):
    """What the workers went through."""

    first: jax.Array
    """[B, D] observations before the first step."""
    trajectory: rollout.Trajectory
    """[T, B]"""
    workers: rollout.Workers
    """[B] after the last step."""


def pushing(push):
    """Returns the policy that acts `push` always."""
    return rollout.Policy(lambda key, shape: jnp.broadcast_to(push, (*shape, 1)), lambda observation, noise: noise)


def watch(env, params, key, push):
    key_reset, key_unroll = jax.random.split(key)
    workers = rollout.reset(env, params, key_reset, NUM_WORKERS)
    after, trajectory = rollout.unroll(
        env, params, pushing(push), workers, key_unroll, num_steps=NUM_STEPS, keeps_final=True
    )
    return Seen(workers.observation, trajectory, after)


@pytest.fixture(scope="module")
def plain(registered):
    """Returns `(push, max_steps) -> Seen` for the sled as brax has it, compiled once."""
    env = BraxEnvironment("sled", "spring")
    jitted = jax.jit(partial(watch, env))

    def run(push, max_steps=1000):
        params = env.default_params.replace(max_steps_in_episode=jnp.int32(max_steps))
        return jitted(params, jax.random.key(0), jnp.float32(push))

    return run


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


def types(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


def test_every_episode_of_every_worker_begins_elsewhere(plain):
    found = plain(0.0, max_steps=7)
    later = np.asarray(found.trajectory.observation)[7::7].reshape(-1, 4)
    firsts = np.concatenate([np.asarray(found.first), later])
    assert len(firsts) == NUM_WORKERS * NUM_STEPS // 7
    assert len(np.unique(firsts[:, X])) == len(np.unique(firsts[:, Z])) == len(firsts)
    assert (np.abs(firsts - [0, HEIGHT, 0, 0]) <= NOISE).all()


def test_the_time_limit_truncates_and_does_not_terminate(plain):
    trajectory = plain(0.0, max_steps=7).trajectory
    expected = np.arange(1, NUM_STEPS + 1) % 7 == 0
    np.testing.assert_array_equal(trajectory.truncated, np.tile(expected[:, None], NUM_WORKERS))
    assert not trajectory.terminated.any()


def test_what_brax_calls_done_terminates_and_does_not_truncate(plain):
    trajectory = plain(0.25).trajectory
    np.testing.assert_array_equal(trajectory.terminated, np.asarray(trajectory.final_observation)[..., X] > FINISH)
    assert trajectory.terminated.any(axis=0).all()
    assert not trajectory.truncated.any()


@pytest.mark.parametrize(("push", "max_steps"), [(0.25, 1000), (0.0, 7)])
def test_the_final_observation_is_the_successor_before_the_reset(plain, push, max_steps):
    trajectory = plain(push, max_steps=max_steps).trajectory
    before, final = np.asarray(trajectory.observation), np.asarray(trajectory.final_observation)
    done = np.asarray(trajectory.terminated | trajectory.truncated)
    np.testing.assert_array_equal(before[1:][~done[:-1]], final[:-1][~done[:-1]])
    # Two steps of semi-implicit Euler, whose few roundings are of numbers below 4.
    push_velocity = FORCE * push * PHYSICS_STEP
    np.testing.assert_allclose(final[..., VX], before[..., VX] + 2 * push_velocity, atol=3e-6)
    moved = 2 * PHYSICS_STEP * before[..., VX] + 3 * PHYSICS_STEP * push_velocity
    np.testing.assert_allclose(final[..., X], before[..., X] + moved, atol=3e-6)


def test_workers_keep_their_types_so_that_unrolling_compiles_once(plain):
    env = BraxEnvironment("sled", "spring")
    before = jax.eval_shape(lambda key: rollout.reset(env, env.default_params, key, NUM_WORKERS), jax.random.key(0))
    assert types(before) == types(plain(0.0).workers)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(plain(0.0)))


def test_actions_are_clipped_to_their_bounds():
    env = BraxEnvironment("echo")
    _, state = env.reset(jax.random.key(0))
    rewards = [
        float(env.step(jax.random.key(1), state, jnp.array(action))[2])
        for action in ([0.25, 0.5], [0.25, 2.0], [-3.0, -9.0])
    ]
    assert rewards == [0.75, 1.25, -2.0]
    space = env.action_space()
    assert space.contains(jnp.array([-1.0, 1.0])) and not space.contains(jnp.array([0.0, 1.1]))
    assert space.shape == (env.num_actions,) == (2,)


def test_evaluation_counts_one_episode():
    """With `fast`, which accelerates by 0.02 a step and is paid its position."""
    env = BraxEnvironment("fast")
    params = env.default_params.replace(max_steps_in_episode=jnp.int32(10))
    returns = rollout.evaluate(env, params, pushing(1.0), jax.random.key(0), num_envs=2, num_steps=25)
    np.testing.assert_allclose(returns, 0.02**2 * 10 * 11 * 12 / 6, rtol=1e-6)


def test_the_default_time_limit_is_a_thousand_steps():
    params = BraxEnvironment("echo").default_params
    assert params.max_steps_in_episode == 1000 and params.max_steps_in_episode.dtype == jnp.int32


@pytest.mark.parametrize("system", [on_demand(name, but=("hopper", "inverted_pendulum")) for name in BRAX_SYSTEMS])
def test_a_step_of_every_system_returns_the_types_of_its_reset(system):
    env = BraxEnvironment(system)
    action = jax.ShapeDtypeStruct((env.num_actions,), jnp.float32)
    observation, state = jax.eval_shape(env.reset_env, jax.random.key(0), env.default_params)
    after = jax.eval_shape(env.step_env, jax.random.key(0), state, action, env.default_params)
    assert types(after[0]) == types(observation) == (env.observation_space().shape, jnp.float32, False)
    assert types(after[1]) == types(state)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((observation, state, after)))
    assert [(leaf.shape, leaf.dtype) for leaf in after[2:4]] == [((), jnp.float32), ((), bool)]


@pytest.mark.parametrize("system", [on_demand(name, but=("hopper",)) for name in BRAX_SYSTEMS])
def test_bounds_of_actions_are_those_of_the_motors_or_are_scaled_to_them(system):
    """Brax has no action spaces, yet all its systems take [-1, 1]: those not in the list pass it on to their motors."""
    scaled = ("humanoid", "humanoidstandup", "inverted_pendulum", "inverted_double_pendulum", "pusher")
    bounds = BraxEnvironment(system)._brax.sys.actuator.ctrl_range
    assert system in scaled or (np.asarray(bounds) == [-1.0, 1.0]).all()


@pytest.mark.parametrize(
    ("system", "backend", "message"),
    [
        ("cat", None, "brax has no system 'cat'; choose one of ant, "),
        ("ant", "bullet", "brax has no backend 'bullet'; choose one of positional, spring, generalized, mjx"),
        ("swimmer", "spring", "brax cannot run 'swimmer' on 'spring' .*; name another backend"),
        ("swimmer", "generalized", "'swimmer' moves through a fluid"),
        ("dictionary", None, "'dictionary' observes a dictionary"),
    ],
)
def test_what_brax_cannot_make_is_refused(system, backend, message):
    with pytest.raises(ValueError, match=message):
        BraxEnvironment(system, backend)


def test_making_a_system_leaves_no_log_behind(tmp_path, monkeypatch, capfd):
    """The file of `halfcheetah` has a word that MuJoCo warns of, in a file in the current directory."""
    monkeypatch.chdir(tmp_path)
    BraxEnvironment("halfcheetah")
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_names_say_system_and_backend():
    assert BraxEnvironment("hopper").name == "brax/hopper@positional"
    assert BraxPhysicsEnvironment("hopper", "spring").name == "brax/hopper-physics@spring"


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


def random_life(env, key, params, num_steps):
    """Returns rewards, observations and the rest of a trajectory [T, 1] of random actions."""
    key_reset, key_unroll = jax.random.split(key)
    policy = rollout.Policy(
        lambda key, shape: jax.random.uniform(key, (*shape, env.num_actions), minval=-1.0),
        lambda observation, noise: noise,
    )
    workers = rollout.reset(env, params, key_reset, 1)
    return rollout.unroll(env, params, policy, workers, key_unroll, num_steps=num_steps, keeps_final=True)[1]


@pytest.mark.slow
def test_a_hopper_that_falls_terminates(key):
    env = BraxEnvironment("hopper")
    trajectory = jax.jit(partial(random_life, env, num_steps=1000))(key, env.default_params)
    assert trajectory.terminated.sum() >= 5 and not trajectory.truncated.any()
    height, angle = np.moveaxis(np.asarray(trajectory.final_observation)[..., :2], -1, 0)
    np.testing.assert_array_equal(trajectory.terminated, (height <= 0.7) | (np.abs(angle) >= 0.2))


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
