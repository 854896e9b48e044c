"""Search spaces of real programs: from points of the unit cube to configurations with units, and draws of them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Shaped

from envs.blackbox.task import CATEGORICAL, NUMERIC, ORDINAL

SIGNIFICANT_DIGITS = 6
"""Of decoded numbers, so that no difference between mathematical libraries reaches a program or the key of a cache."""


class Parameter(NamedTuple):
    """One dimension; made by `real`, `integer`, `ordinal` or `category`."""

    name: str
    """As the program calls it."""
    kind: int
    """What the encoded entry holds, see `envs.blackbox.task`."""
    low: float = 0.0
    """Smallest value of a number."""
    high: float = 1.0
    """Largest value of a number."""
    is_log: bool = False
    """Whether it is the logarithm of the number that is spread evenly."""
    is_integer: bool = False
    """Whether only whole numbers are allowed."""
    values: tuple[Any, ...] = ()
    """Values of a category or of places on a grid, in order."""


def real(name: str, low: float, high: float, *, is_log: bool = False) -> Parameter:
    """Returns a number in [low, high]."""
    return _number(name, low, high, is_log, False)


def integer(name: str, low: int, high: int, *, is_log: bool = False) -> Parameter:
    """Returns a whole number in [low, high], both possible."""
    return _number(name, float(low), float(high), is_log, True)


def ordinal(name: str, *values: Any) -> Parameter:
    """Returns one of the values, which are in order."""
    return Parameter(name, ORDINAL, values=values)


def category(name: str, *values: Any) -> Parameter:
    """Returns one of the values, which have no order."""
    return Parameter(name, CATEGORICAL, values=values)


def _number(name: str, low: float, high: float, is_log: bool, is_integer: bool) -> Parameter:
    if not low < high or (is_log and low <= 0):
        raise ValueError(
            f"{name} lies between {low} and {high}; the first must be smaller, and positive on a log scale"
        )
    return Parameter(name, NUMERIC, low, high, is_log, is_integer)


def kinds(space: Sequence[Parameter]) -> Int32[np.ndarray, " d"]:
    """Returns what each dimension holds."""
    return np.array([parameter.kind for parameter in space], np.int32)


def category_counts(space: Sequence[Parameter]) -> Int32[np.ndarray, " d"]:
    """Returns the number of values of categorical dimensions, 0 for the others."""
    return np.array([len(p.values) if p.kind == CATEGORICAL else 0 for p in space], np.int32)


def decode(space: Sequence[Parameter], x: Shaped[np.ndarray, " d"]) -> dict[str, Any]:
    """Returns {name: value} of an encoded point; numbers outside [0, 1] are clipped."""
    return {parameter.name: _decode_one(parameter, float(entry)) for parameter, entry in zip(space, x, strict=True)}


def encode(space: Sequence[Parameter], configuration: dict[str, Any]) -> Float32[np.ndarray, " d"]:
    """Returns the encoded point of a configuration; decoded again, reals may differ by 1e-7 of their range."""
    return np.array([_encode_one(parameter, configuration[parameter.name]) for parameter in space], np.float32)


def draw(space: Sequence[Parameter], num_configs: int, seed: int) -> Float32[np.ndarray, "N d"]:
    """Returns encoded points drawn evenly from the space, no two of which decode to the same configuration.

    Raises:
        ValueError: if the space seems to hold fewer configurations than that.
    """
    rng, found = np.random.default_rng(seed), {}
    for _ in range(100):
        for uniforms in rng.random((num_configs, len(space))):
            x = np.array([_draw_one(p, float(u)) for p, u in zip(space, uniforms, strict=True)], np.float32)
            found.setdefault(tuple(decode(space, x).values()), x)
        if len(found) >= num_configs:
            return np.stack(list(found.values())[:num_configs])
    raise ValueError(f"{num_configs} different configurations were asked for; only {len(found)} were found")


def _draw_one(parameter: Parameter, uniform: float) -> float:
    if parameter.values:
        index = min(int(uniform * len(parameter.values)), len(parameter.values) - 1)
        return _encode_one(parameter, parameter.values[index])
    return _encode_one(parameter, _decode_one(parameter, uniform)) if parameter.is_integer else uniform


def _decode_one(parameter: Parameter, entry: float) -> Any:
    if parameter.values:
        last = len(parameter.values) - 1
        place = entry if parameter.kind == CATEGORICAL else entry * last
        return parameter.values[min(max(round(place), 0), last)]
    low, high = _ends(parameter)
    number = low + min(max(entry, 0.0), 1.0) * (high - low)
    number = math.exp(number) if parameter.is_log else number
    if parameter.is_integer:
        return int(min(max(math.floor(number), parameter.low), parameter.high))
    return float(f"{min(max(number, parameter.low), parameter.high):.{SIGNIFICANT_DIGITS}g}")


def _encode_one(parameter: Parameter, value: Any) -> float:
    if parameter.values:
        index = parameter.values.index(value)
        return float(index) if parameter.kind == CATEGORICAL else index / max(len(parameter.values) - 1, 1)
    low, high = _ends(parameter)
    value = value + 0.5 if parameter.is_integer else value
    value = math.log(value) if parameter.is_log else value
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _ends(parameter: Parameter) -> tuple[float, float]:
    """Returns the numbers at 0 and 1; the whole numbers at both ends have a share of the way as the others have."""
    low, high = parameter.low, parameter.high + 1 if parameter.is_integer else parameter.high
    return (math.log(low), math.log(high)) if parameter.is_log else (low, high)
