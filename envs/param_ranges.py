"""Families over ranges of an environment's parameters: `Pendulum-v1@g=5..15,l=0.5..2`."""

import re
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from envs.family import Task, TaskFamily

RANGE = re.compile(r"(?P<name>\w+)=(?P<low>[-+.\deE]+?)\.\.(?P<high>[-+.\deE]+)")
DERIVED = {
    "masspole": lambda p: {"total_mass": p.masscart + p.masspole, "polemass_length": p.masspole * p.length},
    "masscart": lambda p: {"total_mass": p.masscart + p.masspole},
    "length": lambda p: {"polemass_length": p.masspole * p.length},
}
"""Parameters of gymnax's CartPole that others are derived from, which do not follow by themselves."""


def parse_ranges(words: str) -> dict[str, tuple[float, float]]:
    """Returns {parameter: (low, high)} of `name=low..high,name=low..high`.

    Raises:
        ValueError: if the words are none of that kind.
    """
    ranges = {}
    for word in words.split(","):
        match = RANGE.fullmatch(word)
        try:
            assert match is not None
            ranges[match["name"]] = (float(match["low"]), float(match["high"]))
        except (AssertionError, ValueError):
            raise ValueError(
                f"{word!r} is no range of a parameter; write it as name=low..high, such as g=5..15"
            ) from None
    return ranges


def param_ranges(family: TaskFamily, ranges: dict[str, tuple[float, float]]) -> TaskFamily:
    """Returns the family of uniform parameters in these ranges; all others are as in the family's one task.

    `decode` takes a quantile for each parameter, in the order given; `low` and `high` are the ends of the ranges.

    Raises:
        ValueError: if a parameter is unknown or no floating-point scalar, a range does not ascend, or the family has
            several tasks already.
    """
    if family.num_dimensions:
        raise ValueError(f"{family.name} has several tasks already; ranges need a family of one")
    default = family.sample(jax.random.key(0)).params
    known = {f.name for f in fields(default) if _is_scalar(getattr(default, f.name))}
    for name, (low, high) in ranges.items():
        if name not in known:
            raise ValueError(
                f"{family.name} has no parameter {name!r} to vary; choose among {', '.join(sorted(known))}"
            )
        if not low < high:
            raise ValueError(f"{family.name} was given {name}={low:g}..{high:g}; low must be below high")
    low, high = np.array(list(ranges.values()), np.float32).T

    def decode(vector: Float[Array, " D"]) -> Task:
        values = jnp.asarray(low) + jnp.clip(vector, 0.0, 1.0) * jnp.asarray(high - low)
        params = default.replace(**dict(zip(ranges, values, strict=True)))
        for name in ranges:
            follows = DERIVED[name](params) if name in DERIVED and hasattr(params, "polemass_length") else {}
            params = params.replace(**follows)
        return Task(params, jnp.int32(family.max_lifetime))

    words = ",".join(f"{name}={a:g}..{b:g}" for name, (a, b) in ranges.items())
    return family._replace(
        name=f"{family.name}@{words}",
        sample=lambda key: decode(jax.random.uniform(key, (len(ranges),))),
        decode=decode,
        num_dimensions=len(ranges),
        optimal_return=None,
        low=low,
        high=high,
    )


def _is_scalar(value: Any) -> bool:
    return jnp.ndim(value) == 0 and jnp.issubdtype(jnp.asarray(value).dtype, jnp.floating)
