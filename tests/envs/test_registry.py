"""The registry: every name makes a family, families share their environment, and wrong names are answered helpfully."""

import ast
import importlib
import subprocess
import sys
import textwrap
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
from envs.registry import BRAX_PHYSICS, BRAX_SYSTEMS, families, make_family

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
    assert {"brax/ant", "brax/ant-physics", "brax/reacher"} < set(names) and "brax/reacher-physics" not in names
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
        ("CartPole-v1@spring", "did you mean CartPole-v1"),
        ("brax/hoper", "did you mean brax/hopper"),
        ("hoper", "did you mean hopper"),
        ("brax/reacher-physics@spring", "did you mean brax/"),
        ("brax/swimmer", "did you mean brax/"),
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


def test_names_of_brax_are_those_brax_has():
    """Without its toy for tests and `swimmer`, whose fluid calls what jax has removed."""
    brax_envs = importlib.import_module("brax.envs")
    ours = {name for name, system in brax_envs._envs.items() if system.__module__.startswith("brax.")}
    assert {*BRAX_SYSTEMS, "fast", "swimmer"} == ours
    assert set(BRAX_PHYSICS) < set(BRAX_SYSTEMS)
    with pytest.raises(TypeError, match="a_min"):
        jnp.clip(jnp.zeros(1), a_min=0.0)


def test_listing_names_does_not_import_brax():
    code = "import sys; from envs.registry import families; families(); assert 'brax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(envs.__file__).parents[1])


@pytest.mark.parametrize(
    ("name", "full_name", "env_name"),
    [
        ("brax/reacher", "brax/reacher", "brax/reacher@positional"),
        ("reacher", "brax/reacher", "brax/reacher@positional"),
        ("reacher@spring", "brax/reacher@spring", "brax/reacher@spring"),
        ("hopper-physics", "brax/hopper-physics", "brax/hopper-physics@positional"),
        ("brax/hopper-physics@mjx", "brax/hopper-physics@mjx", "brax/hopper-physics@mjx"),
    ],
)
def test_systems_of_brax_have_short_names_and_backends(name, full_name, env_name, key):
    family = make_family(name)
    assert (family.name, family.env.name) == (full_name, env_name)
    assert family.env is make_family(full_name, lifetime=3).env
    assert (family.max_lifetime, family.max_episode_steps) == (1464, 1000)
    assert family.num_dimensions == (4 if "physics" in name else 0)
    task = family.sample(key)
    assert (task.lifetime, task.params.max_steps_in_episode) == (1464, 1000)


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="brax has no backend 'bullet'; choose one of positional, spring"):
        make_family("ant@bullet")


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    """Writes a module into the current directory, from which nothing could be imported before; returns its name."""
    name = f"written_by_{request.node.name.split('[')[0]}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    source = """
        from envs.probes import DelayedReward

        class Mine(DelayedReward):
            pass

        class Picky(DelayedReward):
            def __init__(self, size):
                pass

        class Blind:
            default_params = reset = step = action_space = None

        class Endless(DelayedReward):
            default_params = None

        number = 3
    """
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
    importlib.invalidate_caches()
    yield name
    sys.modules.pop(name, None)


def test_a_class_in_the_current_directory_is_a_family_of_one_task(module, key):
    family = make_family(f"{module}:Mine")
    assert type(family.env).__name__ == "Mine" and family.name == f"{module}:Mine"
    assert (family.num_dimensions, family.max_lifetime, family.max_episode_steps) == (0, 1000, 10)
    _, after = first_transition(family, family.sample(key), key)
    assert after[2] == 0.0 and not after[3]
    assert make_family(f"{module}:Mine", lifetime=3).env is family.env
    assert f"{module}:Mine" not in families()


@pytest.mark.parametrize(
    ("class_name", "message"),
    [
        ("Yours", "has no class 'Yours'; name it as in package.module:Class"),
        ("number", "has no class 'number'"),
        ("", "has no class ''"),
        ("Picky", r"cannot be made without arguments \(.*size.*\); give all of them defaults"),
        ("Blind", "is no gymnax environment: it lacks observation_space$"),
        ("Endless", "lack max_steps_in_episode; derive them from gymnax's EnvParams"),
    ],
)
def test_what_is_no_environment_is_refused(module, class_name, message):
    with pytest.raises(ValueError, match=message):
        make_family(f"{module}:{class_name}")


@pytest.mark.parametrize("name", ["no_such_module:Mine", ":Mine", "envs.no_such_module:Mine"])
def test_a_module_that_cannot_be_imported_is_refused(name):
    with pytest.raises(
        ValueError, match=f"the module of '{name}' cannot be imported .*; name one that is installed or"
    ):
        make_family(name)
