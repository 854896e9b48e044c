"""Objectives by name, so that exported rules can be rebuilt."""

from collections.abc import Callable
from typing import Any

from metarl.objectives.a2c import a2c
from metarl.objectives.base import Objective
from metarl.objectives.dpo import dpo
from metarl.objectives.lpg import lpg
from metarl.objectives.lpo import lpo
from metarl.objectives.ppo import ppo

OBJECTIVES: dict[str, Callable[..., Objective]] = {"a2c": a2c, "ppo": ppo, "dpo": dpo, "lpg": lpg, "lpo": lpo}
"""Factories `f(action_space, **settings) -> Objective` by name."""


def make_objective(name: str, action_space: Any, **settings: Any) -> Objective:
    """Returns the named objective for this action space.

    Raises:
        ValueError: if the name is unknown or the factory does not take these settings.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective {name!r} is unknown; choose one of {', '.join(OBJECTIVES)}")
    try:
        return OBJECTIVES[name](action_space, **settings)
    except TypeError as error:
        raise ValueError(f"objective {name!r} does not take the settings {settings}: {error}") from error
