"""In-context domains by name, with options: `bandit`, `darkroom@size=5,horizon=25`."""

import functools
import importlib

from envs.domain import Domain
from envs.naming import check_name, options_in

DOMAINS = {
    "bandit": ("envs.bandits", "bandit"),
    "linear-bandit": ("envs.linear_bandit", "linear_bandit"),
    "darkroom": ("envs.darkroom", "dark_room"),
    "darkroom-permuted": ("envs.darkroom", "permuted_dark_room"),
    "tabular-mdp": ("envs.tabular_mdp", "tabular_mdp"),
    "key-to-door": ("envs.key_to_door", "key_to_door"),
    "navigation": ("envs.navigation", "navigation"),
    "velocity": ("envs.velocity_domain", "velocity"),
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
    name = spec.partition("@")[0]
    check_name(name, DOMAINS, "in-context domain")
    module, factory_name = DOMAINS[name]
    factory = getattr(importlib.import_module(module), factory_name)
    domain = factory(**options_in(spec, factory))
    return domain._replace(
        name=spec, family=domain.family._replace(name=spec), held_out=domain.held_out._replace(name=spec)
    )
