"""What the tests of brax share: a sled whose motions are known in closed form, and lives in brax's systems.

Systems of brax take long to compile, so most claims are tested on the sled: a ball of 4 kg that slides along x, pushed
by a motor of 40 N, and falls along z onto a floor.
"""

from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import brax.envs
import jax
import jax.numpy as jnp
import pytest
from brax.io import mjcf

from envs import rollout
from envs.brax_env import BraxEnvironment

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
GRAVITY, FORCE = 9.81, 40.0
MASSES = {"positional": 1.0, "spring": 1.0, "generalized": 4.0, "mjx": 4.0}
"""What the sled weighs: the first two engines raise masses to a power, which is 0 here as it is in ant and hopper."""
PHYSICS_STEP, TIME_STEP = 0.005, 0.01
HEIGHT, NOISE, FINISH = 1.0, 0.01, 0.5
NUM_WORKERS, NUM_STEPS = 3, 70
IN_THE_AIR = 20
"""A step before the fall ends at about the 42nd."""
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


@contextmanager
def registering(**systems):
    """Registers these systems with brax by their names, and takes them out again."""
    for name, system in systems.items():
        brax.envs.register_environment(name, system)
    try:
        yield
    finally:
        for name in systems:
            del brax.envs._envs[name]


def on_demand(name, but):
    """Returns the parameter, marked slow unless it is one of those named."""
    return name if name in but else pytest.param(name, marks=pytest.mark.slow)


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


def plain_sled():
    """Returns `(push, max_steps) -> Seen` for the sled as brax has it, compiled once."""
    env = BraxEnvironment("sled", "spring")
    jitted = jax.jit(partial(watch, env))

    def run(push, max_steps=1000):
        params = env.default_params.replace(max_steps_in_episode=jnp.int32(max_steps))
        return jitted(params, jax.random.key(0), jnp.float32(push))

    return run


def types(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


def random_life(env, key, params, num_steps):
    """Returns rewards, observations and the rest of a trajectory [T, 1] of random actions."""
    key_reset, key_unroll = jax.random.split(key)
    policy = rollout.Policy(
        lambda key, shape: jax.random.uniform(key, (*shape, env.num_actions), minval=-1.0),
        lambda observation, noise: noise,
    )
    workers = rollout.reset(env, params, key_reset, 1)
    return rollout.unroll(env, params, policy, workers, key_unroll, num_steps=num_steps, keeps_final=True)[1]
