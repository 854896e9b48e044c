"""Families of grid-world levels by name, and their registration with gymnax."""

from functools import cache, partial

import gymnax
import jax

from envs.family import TaskFamily
from envs.gridworld import GridWorld
from envs.gridworld_decoding import common_shape, make_level_decoder
from envs.gridworld_modes import MIXTURES, MODES, GridWorldMode
from envs.gridworld_optimum import optimal_return
from envs.gridworld_random import RandomGridWorld

GRIDWORLD_ID = "GridWorld-{mode}-metarl"
"""gymnax id of a mode."""
GRIDWORLD_MODES: tuple[str, ...] = (*MODES, *MIXTURES)
"""Every name that `gridworld_family` knows."""


def gridworld_family(mode: str, *, reachable_only: bool = False) -> TaskFamily:
    """Returns the family of levels of a mode.

    `decode` and D are those of `make_level_decoder`; `sample(key)` decodes uniform quantiles.

    Args:
        mode: one of `GRIDWORLD_MODES`.
        reachable_only: turn every cell outside the largest connected region into a wall, so that nothing is cut off.

    Raises:
        ValueError: if there is no such mode.
    """
    modes = _modes_of(mode)
    decode, num_dimensions = make_level_decoder(modes, reachable_only=reachable_only)
    max_episode_steps = int(max(one.episode_steps[1] for one in modes))
    return TaskFamily(
        name=f"gridworld/{mode}",
        env=_shared_world(*common_shape(modes), modes[0].is_tabular),
        sample=lambda key: decode(jax.random.uniform(key, (num_dimensions,))),
        decode=decode,
        num_dimensions=num_dimensions,
        max_lifetime=int(max(one.lifetime[1] for one in modes)),
        max_episode_steps=max_episode_steps,
        optimal_return=partial(optimal_return, max_episode_steps=max_episode_steps) if modes[0].is_tabular else None,
    )


def _modes_of(mode: str) -> tuple[GridWorldMode, ...]:
    if mode not in GRIDWORLD_MODES:
        raise ValueError(f"there is no grid-world mode {mode!r}; choose one of {', '.join(GRIDWORLD_MODES)}")
    return tuple(MODES[name] for name in MIXTURES.get(mode, (mode,)))


@cache
def _shared_world(max_size: int, num_slots: int, num_types: int, is_tabular: bool) -> GridWorld:
    """Returns the one environment of these sizes: gymnax compiles anew for every object."""
    return (GridWorld if is_tabular else RandomGridWorld)(max_size, num_slots, num_types)


@cache
def _world_with_default_level(mode: str) -> GridWorld:
    """Returns an environment whose default parameters are a level of the mode."""
    family, modes = gridworld_family(mode), _modes_of(mode)
    world = GridWorld if modes[0].is_tabular else RandomGridWorld
    level = jax.jit(family.sample)(jax.random.key(0)).params
    return world(*common_shape(modes), default_level=level)


for _mode in GRIDWORLD_MODES:
    if GRIDWORLD_ID.format(mode=_mode) not in gymnax.registered_envs:
        gymnax.register(GRIDWORLD_ID.format(mode=_mode), partial(_world_with_default_level, _mode))
