"""Task families by name: grid-worlds, probes, every gymnax environment, brax, and any class that can be imported."""

import difflib
import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.family import Task, TaskFamily, with_lifetime
from envs.param_ranges import param_ranges, parse_ranges
from envs.probes import PROBES

GRIDWORLD, PROBE, BRAX, PHYSICS = "gridworld/", "probe/", "brax/", "-physics"
OWN_ENDINGS = ("-metarl", "-probe")
"""Endings of the gymnax ids of our own environments, which have shorter names here."""
LIFETIMES = {"-MinAtar": 100_000, "-bsuite": 100, "-probe": 250}
"""Agent updates of a life by the end of a gymnax id. MinAtar and bsuite as in EmptyJackson/groove, where an update
takes 64 x 20 steps."""
DEFAULT_LIFETIME = 1000
"""Agent updates of a life in any other environment."""
BRAX_SYSTEMS = (
    "ant",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_double_pendulum",
    "inverted_pendulum",
    "pusher",
    "reacher",
    "walker2d",
)
"""What brax simulates, without `swimmer`, whose fluid does not run on the jax that we need.

Spelled out because brax is slow to import, and listing names should not be.
"""
BRAX_PHYSICS = ("ant", "halfcheetah", "hopper", "humanoid", "humanoidstandup", "walker2d")
"""The systems with gravity, contacts and actuators, in which all physics that `brax_physics_family` varies matter."""
BRAX_LIFETIME = 30_000_000 // (2048 * 10)
"""Agent updates of a life in brax: 3e7 steps, where an update takes 2048 x 10."""
REQUIRED = ("reset", "step", "default_params", "action_space", "observation_space")
"""What makes an object a gymnax environment."""


def make_family(name: str, *, lifetime: int | tuple[int, int] | None = None) -> TaskFamily:
    """Returns the task family of this name.

    | name | family |
    |---|---|
    | `gridworld/<mode>` | levels of a mode |
    | `probe/<name>` | a probe |
    | a gymnax id, such as `CartPole-v1` | that environment |
    | `brax/<system>`, such as `brax/ant`, or `ant` for short | that system |
    | `brax/<system>-physics` | the system under varying gravity, mass, friction and actuator strength (D = 4) |
    | `brax/<system>@<backend>`, `brax/<system>-physics@<backend>` | as above, on another engine than `positional` |
    | `package.module:Class` | an environment with gymnax's methods, made without arguments |
    | `<id>@<parameter>=<low>..<high>,...`, such as `Pendulum-v1@g=5..15,l=0.5..2` | the same, varied |

    Where nothing else is said, it has one task (D = 0): the environment's default parameters. Environments are made
    once and shared by all families of the same name, because gymnax compiles anew for every object. Modules are found
    in the current directory too.

    Args:
        name: as above; `families()` lists all but the last two kinds.
        lifetime: agent updates of every life; a pair (low, high) for log-uniform lifetimes; None for the family's own.

    Raises:
        ValueError: if the name is unknown, no environment can be made of it, or the lifetime is below 1.
    """
    if "@" in name and ".." in name:
        family = _ranges_family(name)
        return family if lifetime is None else _with_lifetime(family, lifetime)
    full_name = _full_name(name)
    listed = full_name.split("@")[0] if full_name.startswith(BRAX) else full_name
    if ":" not in name and listed not in families():
        short_names = (known.removeprefix(BRAX) for known in families() if known.startswith(BRAX))
        close = difflib.get_close_matches(name, [*families(), *short_names], n=3, cutoff=0.5)
        advice = f"did you mean {' or '.join(close)}" if close else "envs.registry.families() lists the names"
        raise ValueError(f"there is no task family called {name!r}; {advice}")
    family = _make_family(full_name)
    return family if lifetime is None else _with_lifetime(family, lifetime)


def _with_lifetime(family: TaskFamily, lifetime: int | tuple[int, int]) -> TaskFamily:
    low, high = (lifetime, lifetime) if isinstance(lifetime, int) else lifetime
    return with_lifetime(family, low, high)


@functools.cache
def _ranges_family(name: str) -> TaskFamily:
    inner, _, words = name.rpartition("@")
    return param_ranges(make_family(inner), parse_ranges(words))


def families() -> list[str]:
    """Returns the names that `make_family` knows, gymnax ids registered since included.

    Not listed, but known: brax names without `brax/`, brax names with a backend, and classes to import.
    """
    from envs.gridworld_levels import GRIDWORLD_MODES

    return [
        *(GRIDWORLD + mode for mode in GRIDWORLD_MODES),
        *(PROBE + name for name in PROBES),
        *(BRAX + system for system in BRAX_SYSTEMS),
        *(BRAX + system + PHYSICS for system in BRAX_PHYSICS),
        *(gymnax_id for gymnax_id in gymnax.registered_envs if not gymnax_id.endswith(OWN_ENDINGS)),
    ]


def _full_name(name: str) -> str:
    is_short = name.split("@")[0].removesuffix(PHYSICS) in BRAX_SYSTEMS
    return BRAX + name if is_short else name


@functools.cache
def _make_family(name: str) -> TaskFamily:
    if name.startswith(GRIDWORLD):
        from envs.gridworld_levels import gridworld_family

        return gridworld_family(name.removeprefix(GRIDWORLD))
    if name.startswith(PROBE):
        probe = PROBES[name.removeprefix(PROBE)]
        return _gymnax_family(name, probe.gymnax_id, probe.optimal_return)
    if name.startswith(BRAX):
        return _brax_family(name)
    if ":" in name and name not in gymnax.registered_envs:
        env = _imported_environment(name)
        return _single_task_family(name, env, env.default_params, DEFAULT_LIFETIME)
    return _gymnax_family(name, name)


def _brax_family(name: str) -> TaskFamily:
    system, has_backend, backend = name.removeprefix(BRAX).partition("@")
    backend = backend if has_backend else None
    if system.endswith(PHYSICS):
        from envs.brax_physics import brax_physics_family

        return brax_physics_family(system.removesuffix(PHYSICS), backend, lifetime=BRAX_LIFETIME)
    from envs.brax_env import BraxEnvironment

    env = BraxEnvironment(system, backend)
    return _single_task_family(name, env, env.default_params, BRAX_LIFETIME)


def _gymnax_family(
    name: str, gymnax_id: str, optimal_return: Callable[[Any], Float[Array, ""]] | None = None
) -> TaskFamily:
    env, params = gymnax.make(gymnax_id)
    lifetime = next((n for ending, n in LIFETIMES.items() if gymnax_id.endswith(ending)), DEFAULT_LIFETIME)
    return _single_task_family(name, env, params, lifetime)._replace(optimal_return=optimal_return)


def _single_task_family(name: str, env: Any, params: Any, lifetime: int) -> TaskFamily:
    params = jax.tree.map(_as_array, params)
    return TaskFamily(
        name=name,
        env=env,
        sample=lambda key: Task(params, jnp.int32(lifetime)),
        decode=lambda vector: Task(params, jnp.int32(lifetime)),
        num_dimensions=0,
        max_lifetime=lifetime,
        # BernoulliBandit counts its steps in floating point.
        max_episode_steps=int(params.max_steps_in_episode),
    )


def _imported_environment(name: str) -> Any:
    """Returns a new environment of the class that a name `package.module:Class` stands for, checked."""
    make = _imported_class(name)
    try:
        env = make()
    except Exception as error:
        raise ValueError(f"{name!r} cannot be made without arguments ({error}); give all of them defaults") from error
    missing = [required for required in REQUIRED if not hasattr(env, required)]
    if missing:
        raise ValueError(f"{name!r} is no gymnax environment: it lacks {', '.join(missing)}")
    if not hasattr(env.default_params, "max_steps_in_episode"):
        raise ValueError(
            f"the default_params of {name!r} lack max_steps_in_episode; derive them from gymnax's EnvParams"
        )
    return env


def _imported_class(name: str) -> Callable[[], Any]:
    module_name, _, class_name = name.partition(":")
    if os.getcwd() not in sys.path:  # as `python -m` has it; an installed command starts without
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(
            f"the module of {name!r} cannot be imported ({type(error).__name__}: {error}); name one that is installed "
            "or lies in the current directory"
        ) from error
    found = getattr(module, class_name, None)
    if not callable(found):
        raise ValueError(f"{module_name} has no class {class_name!r}; name it as in package.module:Class")
    return found


def _as_array(leaf: Any) -> Array:
    """Returns the parameter as an array without a weak type, so that tasks can be batched and compile once."""
    array = jnp.asarray(leaf)
    return jax.lax.convert_element_type(array, array.dtype)
