"""In-context domains by name, with options: `bandit`, `darkroom@size=5,horizon=25`."""

import difflib
import functools
import importlib
import inspect
from typing import Any

from envs.domain import Domain

DOMAINS = {
    "bandit": ("envs.bandits", "bandit"),
    "linear-bandit": ("envs.bandits", "linear_bandit"),
    "darkroom": ("envs.darkroom", "dark_room"),
    "darkroom-permuted": ("envs.darkroom", "permuted_dark_room"),
    "tabular-mdp": ("envs.tabular_mdp", "tabular_mdp"),
    "key-to-door": ("envs.key_to_door", "key_to_door"),
    "velocity": ("envs.velocity", "velocity"),
    "visual-room": ("envs.visual_room_domain", "visual_room"),
}
"""Module and factory of every domain by name; imported when asked for."""


@functools.cache
def make_domain(spec: str) -> Domain:
    """Returns the domain that `name` or `name@option=value,option=value` stands for.

    Options are the keyword arguments of the domain's factory. Domains are made once and shared by all who ask with the
    same words, because gymnax compiles anew for every environment object.

    Raises:
        ValueError: if the name or an option is unknown, or a value out of range.
    """
    name, _, options = spec.partition("@")
    if name not in DOMAINS:
        close = difflib.get_close_matches(name, DOMAINS, n=2, cutoff=0.4)
        advice = f"did you mean {' or '.join(close)}" if close else f"choose one of {', '.join(DOMAINS)}"
        raise ValueError(f"there is no in-context domain called {name!r}; {advice}")
    module, factory_name = DOMAINS[name]
    factory = getattr(importlib.import_module(module), factory_name)
    parameters = inspect.signature(factory).parameters
    known = {key: one for key, one in parameters.items() if one.default is not None}  # words cannot spell the rest
    given = {}
    for option in filter(None, options.split(",")):
        key, has_value, value = option.partition("=")
        if key not in known or not has_value:
            raise ValueError(
                f"{spec!r} has the option {option!r}; {name} takes {', '.join(known)}, each as option=value"
            )
        given[key] = _parse(spec, key, value, known[key].default)
    domain = factory(**given)
    return domain._replace(
        name=spec, family=domain.family._replace(name=spec), held_out=domain.held_out._replace(name=spec)
    )


def _parse(spec: str, key: str, value: str, default: Any) -> Any:
    kind = type(default)
    try:
        if kind is bool:
            return {"true": True, "false": False}[value.lower()]
        return kind(value)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{spec!r} has {key}={value!r}, which is no {kind.__name__}; its default is {default}"
        ) from error
