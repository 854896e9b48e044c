"""Brax as gymnax: episodes begin and end as gymnax has them."""

from functools import partial

import brax.envs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import rollout
from envs.brax_env import BraxEnvironment
from envs.brax_physics import BraxPhysicsEnvironment
from envs.registry import BRAX_SYSTEMS
from tests.envs.brax_sled import (
    FINISH,
    FORCE,
    HEIGHT,
    NOISE,
    NUM_STEPS,
    NUM_WORKERS,
    PHYSICS_STEP,
    VX,
    Sled,
    X,
    Z,
    on_demand,
    plain_sled,
    pushing,
    random_life,
    registering,
    types,
)


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


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Registers the systems of this module with brax for its tests."""
    with registering(sled=Sled, echo=Echo, dictionary=partial(Echo, observes_dictionary=True)):
        yield


@pytest.fixture(scope="module")
def plain(registered):
    return plain_sled()


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


@pytest.mark.slow
def test_a_hopper_that_falls_terminates(key):
    env = BraxEnvironment("hopper")
    trajectory = jax.jit(partial(random_life, env, num_steps=1000))(key, env.default_params)
    assert trajectory.terminated.sum() >= 5 and not trajectory.truncated.any()
    height, angle = np.moveaxis(np.asarray(trajectory.final_observation)[..., :2], -1, 0)
    np.testing.assert_array_equal(trajectory.terminated, (height <= 0.7) | (np.abs(angle) >= 0.2))
