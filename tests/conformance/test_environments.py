"""What every environment of ours must do. A new one is one more line of `WORLDS`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.environment import Environment

from envs.blackbox.environment import BlackBox
from envs.blackbox.task import CATEGORICAL, NUMERIC, pool_params
from envs.brax_env import BraxEnvironment
from envs.domains import make_domain
from envs.gridworld_dense import DenseGridWorld
from envs.gridworld_levels import gridworld_family
from envs.probes import PROBES
from envs.uniform_noise import UniformNoiseEnvironment
from envs.walker.families import stump_tracks

NUM_STEPS = 24
CAP = 7


def sampled_levels(mode):
    """Returns three levels of a grid-world mode."""
    return [jax.jit(gridworld_family(mode).sample)(jax.random.key(i)).params for i in range(3)]


def sampled_tasks(spec):
    """Returns the environment of an in-context domain and three of its training tasks."""
    family = make_domain(spec).family
    return family.env, [jax.jit(family.sample)(jax.random.key(i)).params for i in range(3)]


def sampled_tracks(family):
    """Returns the walker and three of its tracks."""
    return family.env, [jax.jit(family.sample)(jax.random.key(i)).params for i in range(3)]


def sampled_pools():
    """Returns a black box and three pools, the second with a category, the third with padding."""
    x, y = jax.random.uniform(jax.random.key(0), (3, 12, 2)), jax.random.normal(jax.random.key(1), (3, 12))
    kind = jnp.full((2,), NUMERIC, jnp.int32)
    category = jnp.round(x[1].at[:, 0].set(0.0) * 2) + x[1].at[:, 1].set(0.0)
    pools = [
        pool_params(x[0], kind, y[0], horizon=9, num_init=3),
        pool_params(category, kind.at[1].set(CATEGORICAL), y[1], horizon=5, num_init=2),
        pool_params(x[2], kind, y[2], is_valid=jnp.arange(12) < 8, horizon=10, num_init=3),
    ]
    return BlackBox(12, max_horizon=10, max_init=3), pools


WORLDS = {  # name: () -> (environment, three worlds it can be)
    "gridworld": lambda: (gridworld_family("debug").env, sampled_levels("debug")),
    "gridworld dense": lambda: (DenseGridWorld(4, 2, 2), sampled_levels("debug")),
    "gridworld random": lambda: (gridworld_family("rand_small").env, sampled_levels("rand_small")),
    **{
        f"probe {name}": lambda probe=probe: (probe.environment(), [probe.environment().default_params] * 3)
        for name, probe in PROBES.items()
    },
    # Little noise: a reward that its noise nearly cancels would amplify the roundings in which programs differ.
    "bandit": lambda: sampled_tasks("bandit@noise=0.001"),
    "bandit bernoulli": lambda: sampled_tasks("bandit@rewards=bernoulli"),
    "bandit linear": lambda: sampled_tasks("linear-bandit@noise=0.001"),
    "bandit linear resampled": lambda: sampled_tasks("linear-bandit@arms=resampled,noise=0.001"),
    "darkroom": lambda: sampled_tasks("darkroom@size=4,start=random"),
    "darkroom permuted": lambda: sampled_tasks("darkroom-permuted@size=4"),
    "darkroom terminating": lambda: sampled_tasks("darkroom@size=3,start=centre,terminates=true"),
    "tabular mdp": lambda: sampled_tasks("tabular-mdp@num_states=4,rewards=uniform,noise=0.001,start=random"),
    "black box": sampled_pools,
    "key to door": lambda: sampled_tasks("key-to-door@size=4,start=random"),
    "navigation": lambda: sampled_tasks("navigation@start=random"),
    "visual room": lambda: sampled_tasks("visual-room"),
    "walker": lambda: sampled_tracks(stump_tracks()),
    # Brax's toy: real physics amplify the roundings in which compiled programs differ; tests/envs/test_brax_physics.py.
    "brax fast": lambda: (BraxEnvironment("fast"), [BraxEnvironment("fast").default_params] * 3),
}
# Contacts of the walker are solved by iteration, through which the roundings of programs grow: 6e-6 was seen after one
# step. Positions in the arena are sums of steps: what is rounded at 1 may be left near 0.
LOOSE = {"walker": {"rtol": 1e-5, "atol": 1e-5}, "navigation": {"rtol": 0.0, "atol": 1e-6}}
SLOW = ("walker",)
"""Those that take long to compile."""
FROM_UNIFORMS = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in WORLDS if not name.startswith("brax")
]
"""Those whose randomness is a vector of uniforms."""


class Life(NamedTuple):
    """What a random agent went through: the reset, then stacked steps."""

    first: Any
    steps: Any
    actions: Any


class World(NamedTuple):
    """An environment, three worlds with an episode cap of seven, how to live in one, and a life in the first."""

    env: Environment
    params: list
    live: Callable[[Any, Any], Life]
    life: Life
    rounding: dict[str, float]
    """How far programs for one computation may lie apart."""


def live(env, key, params):
    key_reset, key_actions, key_steps = jax.random.split(key, 3)
    actions = jax.vmap(env.action_space(params).sample)(jax.random.split(key_actions, NUM_STEPS))
    first = env.reset(key_reset, params)

    def step(state, inputs):
        outputs = env.step(inputs[0], state, inputs[1], params)
        return outputs[1], outputs

    _, steps = jax.lax.scan(step, first[1], (jax.random.split(key_steps, NUM_STEPS), actions))
    return Life(first, steps, actions)


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in WORLDS]
)
def world(request):
    env, params = WORLDS[request.param]()
    params = [one.replace(max_steps_in_episode=jnp.int32(CAP)) for one in params]
    jitted = jax.jit(partial(live, env))
    rounding = LOOSE.get(request.param, {"rtol": 3e-7})
    return World(env, params, jitted, jitted(jax.random.key(0), params[0]), rounding)


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def assert_close(world, found, expected):
    """Equal up to two roundings of float32, or what the world allows: programs fuse their operations differently."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **world.rounding), found, expected)


def test_compiled_equals_eager(world):
    def transition(key, state, action):
        return world.env.step_env(key, state, action, world.params[0])

    inputs = (jax.random.split(jax.random.key(2), NUM_STEPS), world.life.steps[1], world.life.actions)
    assert_close(world, jax.vmap(transition)(*inputs), jax.jit(jax.vmap(transition))(*inputs))


def test_a_batch_of_worlds_equals_each_alone(world):
    keys, params = jax.random.split(jax.random.key(1), 3), jax.tree.map(lambda *a: jnp.stack(a), *world.params)
    # Run once, so that optimising it would take longer than it saves.
    batch = jax.jit(jax.vmap(partial(live, world.env)), compiler_options={"xla_backend_optimization_level": 0})(
        keys, params
    )
    for i in range(3):
        assert_close(world, jax.tree.map(lambda leaf, i=i: leaf[i], batch), world.live(keys[i], world.params[i]))


def test_one_compilation_serves_every_world(world):
    for i in range(3):
        world.live(jax.random.key(i), world.params[i])
    assert world.live._cache_size() == 1


def test_the_key_decides_everything(world):
    assert_equal(world.live(jax.random.key(0), world.params[0]), world.life)
    lives = [world.live(jax.random.key(i), world.params[0]) for i in range(1, 4)]
    assert any((one.actions != world.life.actions).any() for one in lives)


def test_a_step_returns_the_types_of_a_reset(world):
    def types(tree):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)

    key, params = jax.random.key(0), world.params[0]
    observation, state = jax.eval_shape(world.env.reset, key, params)
    space = world.env.action_space(params)
    after = jax.eval_shape(world.env.step, key, state, jax.ShapeDtypeStruct(space.shape, space.dtype), params)
    assert types(after[0]) == types(observation) == types(after[5]["final_observation"])
    assert types(after[1]) == types(state)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((observation, state, after)))
    assert (after[2].shape, after[2].dtype) == ((), jnp.float32)
    assert after[3].dtype == after[4].dtype == bool


def test_everything_is_finite(world):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((world.life.first, world.life.steps)))


def test_observations_and_states_lie_in_their_spaces(world):
    env, params = world.env, world.params[0]
    space = env.observation_space(params)
    observations, states = world.life.steps[:2]
    leaves = list(space.spaces.values()) if hasattr(space, "spaces") else [space]
    for leaf, one in zip(jax.tree.leaves(observations), leaves, strict=True):
        assert (leaf.shape[1:], leaf.dtype) == (tuple(one.shape), one.dtype)
    assert jax.vmap(space.contains)(observations).all()
    actions = env.action_space(params)
    assert env.num_actions == (actions.n if actions.shape == () else actions.shape[0])
    if type(env).state_space is not Environment.state_space:
        assert jax.vmap(env.state_space(params).contains)(states).all()


def test_episodes_are_cut_at_their_cap_and_start_again(world):
    _, states, _, terminated, truncated, info = world.life.steps
    steps = 0
    for t in range(NUM_STEPS):
        steps += 1
        assert bool(truncated[t]) == (steps == CAP)
        done = bool(terminated[t] | truncated[t])
        steps = 0 if done else steps
        assert int(states.time[t]) == steps
    assert (info["terminated"] == terminated).all() and (info["truncated"] == truncated).all()
    np.testing.assert_array_equal(info["discount"], 1.0 - terminated.astype(np.float32))


def test_the_final_observation_is_the_successor_and_differs_after_a_reset_only(world):
    observation, _, _, terminated, truncated, info = world.life.steps
    running = np.asarray(~(terminated | truncated))
    jax.tree.map(
        lambda seen, true: np.testing.assert_array_equal(seen[running], true[running]),
        observation,
        info["final_observation"],
    )


@pytest.mark.parametrize("world", FROM_UNIFORMS, indirect=True, scope="module")
def test_keys_and_uniforms_are_two_ways_to_say_the_same(world):
    env, params, key = world.env, world.params[0], jax.random.key(3)
    assert isinstance(env, UniformNoiseEnvironment)
    observation, state = env.reset_env(key, params)
    assert_equal(env.reset_from(jax.random.uniform(key, (env.num_reset_uniforms,)), params), (observation, state))
    uniforms = jax.random.uniform(key, (env.num_step_uniforms,))
    action = env.action_space(params).sample(key)
    assert_equal(env.transition(uniforms, state, action, params), env.step_env(key, state, action, params))


@pytest.mark.parametrize("world", FROM_UNIFORMS, indirect=True, scope="module")
@pytest.mark.parametrize("uniform", [0.0, float(np.nextafter(np.float32(1), np.float32(0)))])
def test_the_ends_of_the_uniforms_are_ordinary(world, uniform):
    env, params = world.env, world.params[0]
    observation, state = env.reset_from(jnp.full((env.num_reset_uniforms,), uniform, jnp.float32), params)
    space = env.action_space(params)
    for action in (1, 1, 0):
        uniforms = jnp.full((env.num_step_uniforms,), uniform, jnp.float32)
        action = jnp.full(space.shape, action, space.dtype)
        observation, state, reward, _, _ = env.transition(uniforms, state, action, params)
        assert env.observation_space(params).contains(observation)
        assert jnp.isfinite(reward)
