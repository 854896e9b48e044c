"""How configurations refuse what cannot be: in one sentence with the field, what was given, and what is allowed."""

import math

MAX_COUNT = 2**31 - 1
"""Largest number of anything that is counted on a device, where counts are int32."""


class ConfigError(ValueError):
    """A configuration that cannot be, in one sentence: the field, what was given, what is allowed."""


def require(holds: bool, sentence: str) -> None:
    """Raises `ConfigError` with this sentence unless the condition holds."""
    if not holds:
        raise ConfigError(sentence)


def require_counts(room: str, **counts: int) -> None:
    """Raises `ConfigError` for the first of these fields of a room that is not from 1 to the largest int32."""
    for name, count in counts.items():
        require(1 <= count <= MAX_COUNT, f"{room}{name} is {count}; it must be from 1 to {MAX_COUNT}")


def require_positive(room: str, **numbers: float) -> None:
    """Raises `ConfigError` for the first of these fields of a room that is not positive and finite."""
    for name, number in numbers.items():
        require(number > 0 and math.isfinite(number), f"{room}{name} is {number}; it must be positive and finite")
