"""Task families by name: our grid-worlds, our probes, and every gymnax environment, made nowhere else."""

import difflib
import functools
from collections.abc import Callable
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.family import Task, TaskFamily, with_lifetime
from envs.probes import PROBES

GRIDWORLD, PROBE = "gridworld/", "probe/"
OWN_ENDINGS = ("-metarl", "-probe")
"""Endings of the gymnax ids of our own environments, which have shorter names here."""
LIFETIMES = {"-MinAtar": 100_000, "-bsuite": 100, "-probe": 250}
"""Agent updates of a life by the end of a gymnax id. MinAtar and bsuite as in EmptyJackson/groove, where an update
takes 64 x 20 steps."""
DEFAULT_LIFETIME = 1000
"""Agent updates of a life in any other gymnax environment."""


def make_family(name: str, *, lifetime: int | tuple[int, int] | None = None) -> TaskFamily:
    """Returns the task family of this name: `gridworld/<mode>`, `probe/<name>` or a gymnax id such as `CartPole-v1`.

    Probes and gymnax environments are families of one task (D = 0): their default parameters. Environments are made
    once and shared by all families of the same name, because gymnax compiles anew for every object.

    Args:
        name: one of `families()`.
        lifetime: agent updates of every life; a pair (low, high) for log-uniform lifetimes; None for the family's own.

    Raises:
        ValueError: if the name is unknown or the lifetime is below 1.
    """
    if name not in families():
        close = difflib.get_close_matches(name, families(), n=3, cutoff=0.5)
        advice = f"did you mean {' or '.join(close)}" if close else "envs.registry.families() lists the names"
        raise ValueError(f"there is no task family called {name!r}; {advice}")
    family = _make_family(name)
    if lifetime is None:
        return family
    low, high = (lifetime, lifetime) if isinstance(lifetime, int) else lifetime
    return with_lifetime(family, low, high)


def families() -> list[str]:
    """Returns the names that `make_family` knows: grid-worlds, probes, and gymnax ids, also those registered since."""
    from envs.gridworld_levels import GRIDWORLD_MODES

    return [
        *(GRIDWORLD + mode for mode in GRIDWORLD_MODES),
        *(PROBE + name for name in PROBES),
        *(gymnax_id for gymnax_id in gymnax.registered_envs if not gymnax_id.endswith(OWN_ENDINGS)),
    ]


@functools.cache
def _make_family(name: str) -> TaskFamily:
    if name.startswith(GRIDWORLD):
        from envs.gridworld_levels import gridworld_family

        return gridworld_family(name.removeprefix(GRIDWORLD))
    if name.startswith(PROBE):
        probe = PROBES[name.removeprefix(PROBE)]
        return _single_task_family(name, probe.gymnax_id, probe.optimal_return)
    return _single_task_family(name, name, None)


def _single_task_family(
    name: str, gymnax_id: str, optimal_return: Callable[[Any], Float[Array, ""]] | None
) -> TaskFamily:
    env, params = gymnax.make(gymnax_id)
    lifetime = next((n for ending, n in LIFETIMES.items() if gymnax_id.endswith(ending)), DEFAULT_LIFETIME)
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
        optimal_return=optimal_return,
    )


def _as_array(leaf: Any) -> Array:
    """Returns the parameter as an array without a weak type, so that tasks can be batched and compile once."""
    array = jnp.asarray(leaf)
    return jax.lax.convert_element_type(array, array.dtype)
