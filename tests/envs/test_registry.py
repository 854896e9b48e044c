"""The registry: every name makes a family, families share their environment, and wrong names are answered helpfully."""

import ast
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.family import Task
from envs.gridworld_levels import GRIDWORLD_MODES
from envs.index_observation import IndexObservation
from envs.probes import PROBES
from envs.registry import families, make_family

NEEDS_INTERNET = "MNISTBandit-bsuite"
SLOW_TO_COMPILE = "Seaquest-MinAtar"
GYMNAX = [name for name in families() if "/" not in name and name != NEEDS_INTERNET]


def first_transition(family, task, key):
    """Resets and takes one random step."""
    key_reset, key_action, key_step = jax.random.split(key, 3)
    # Four environments count time in floating point, which gymnax's base class then compares with an int32 limit.
    with jax.numpy_dtype_promotion("standard"):
        observation, state = family.env.reset(key_reset, task.params)
        action = family.env.action_space(task.params).sample(key_action)
        return observation, family.env.step(key_step, state, action, task.params)


def test_every_kind_of_environment_is_listed_once():
    names = families()
    assert len(names) == len(set(names))
    assert {f"gridworld/{mode}" for mode in GRIDWORLD_MODES} | {f"probe/{name}" for name in PROBES} < set(names)
    assert {"CartPole-v1", "Breakout-MinAtar", "Pendulum-v1", "DeepSea-bsuite", "FrozenLake-misc"} < set(names)
    assert len(GYMNAX) >= 25
    assert not any(name.endswith(("-probe", "-metarl")) for name in names)


@pytest.mark.parametrize("name", GYMNAX)
def test_every_gymnax_environment_opens_resets_and_steps(name, key):
    family = make_family(name)
    task = family.sample(key)
    if name == SLOW_TO_COMPILE:
        observation, after = jax.eval_shape(lambda task, key: first_transition(family, task, key), task, key)
    else:
        observation, after = first_transition(family, task, key)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(after[:3]))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), observation) == jax.tree.map(
        lambda x: (x.shape, x.dtype), after[0]
    )
    assert after[2].shape == after[3].shape == after[4].shape == ()
    assert jnp.shape(observation) == tuple(family.env.observation_space(task.params).shape)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "BernoulliBandit-misc", "probe/endless_reward"])
def test_families_of_one_task_have_that_task_however_it_is_asked_for(name, key):
    family = make_family(name)
    default = make_family(name).env.default_params
    assert family.num_dimensions == 0 and family.name == name
    for task in (family.sample(key), family.decode(jnp.zeros((0,)))):
        assert isinstance(task, Task)
        assert task.lifetime == family.max_lifetime
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, np.asarray(y, x.dtype)), task.params, default)
        assert type(family.max_episode_steps) is int
        assert family.max_episode_steps == default.max_steps_in_episode


def test_tasks_are_strong_arrays_that_can_be_batched(key):
    family = make_family("CartPole-v1")
    tasks = jax.vmap(family.sample)(jax.random.split(key, 3))
    assert all(leaf.shape == (3,) and not leaf.weak_type for leaf in jax.tree.leaves(tasks))
    reset = jax.vmap(family.env.reset)(jax.random.split(key, 3), tasks.params)
    assert reset[0].shape == (3, 4)


@pytest.mark.parametrize(
    ("name", "updates"),
    [("CartPole-v1", 1000), ("Asterix-MinAtar", 100_000), ("Catch-bsuite", 100), ("probe/constant_reward", 250)],
)
def test_default_lifetimes_are_those_of_the_reference(name, updates):
    assert make_family(name).max_lifetime == updates


def test_a_lifetime_replaces_the_familys_own(key):
    family = make_family("CartPole-v1", lifetime=7)
    assert (family.max_lifetime, family.sample(key).lifetime, family.num_dimensions) == (7, 7, 0)


def test_a_pair_of_lifetimes_is_a_law(key):
    family = make_family("probe/constant_reward", lifetime=(10, 250))
    assert (family.max_lifetime, family.num_dimensions) == (250, 1)
    assert [int(family.decode(jnp.array([q])).lifetime) for q in (0.0, 0.5, 1.0)] == [10, 50, 250]


@pytest.mark.parametrize("lifetime", [0, (5, 4), (0, 3)])
def test_lifetimes_below_one_are_refused(lifetime):
    with pytest.raises(ValueError, match="1 <= low <= high"):
        make_family("CartPole-v1", lifetime=lifetime)


@pytest.mark.parametrize("name", ["CartPole-v1", "probe/delayed_reward", "gridworld/small"])
def test_families_share_their_environment(name):
    """gymnax hashes environments by identity, so a second object would compile everything again."""
    assert make_family(name).env is make_family(name, lifetime=3).env


def test_probes_know_their_optimal_return(key):
    family = make_family("probe/endless_reward")
    assert family.optimal_return(family.sample(key).params) == 10.0
    assert make_family("CartPole-v1").optimal_return is None


def test_gridworlds_come_from_their_own_module(key):
    family = make_family("gridworld/small", lifetime=5)
    task = family.sample(key)
    observation, _ = family.env.reset(key, task.params)
    assert isinstance(observation, IndexObservation)
    assert task.lifetime == 5


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("CartPole", "did you mean CartPole-v1"),
        ("gridworld/smal", "did you mean gridworld/small"),
        ("probe/constant", "did you mean probe/constant_reward"),
        ("zzzz", "envs.registry.families\\(\\) lists the names"),
    ],
)
def test_an_unknown_name_is_answered_with_close_ones(name, advice):
    with pytest.raises(ValueError, match=f"no task family called '{name}'; {advice}"):
        make_family(name)


def test_environments_registered_later_are_found():
    name = "Later-test"
    if name not in gymnax.registered_envs:
        gymnax.register(name, PROBES["constant_reward"].environment)
    assert name in families()
    assert make_family(name).max_episode_steps == 10


def test_the_registry_alone_makes_gymnax_environments():
    root = Path(envs.__file__).parents[1]
    makers = set()
    for room in ("envs", "metarl", "populations", "analysis"):
        for path in (root / room).rglob("*.py"):
            calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            if any(
                isinstance(f, ast.Attribute) and f.attr == "make" and getattr(f.value, "id", "") == "gymnax"
                for f in calls
            ):
                makers.add(path.relative_to(root).as_posix())
    assert makers == {"envs/registry.py"}
