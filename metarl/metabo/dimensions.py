"""Dimensions of a space as practitioners have them, and as coordinates that a model reads (numpy only)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64

UNUSED, NUMERIC, ORDINAL, CATEGORICAL = 0, 1, 2, 3
"""Kinds of dimensions, as in `envs.blackbox.task`, which this file does not import so that it needs no jax."""
MAX_DIMENSIONS, MAX_CATEGORIES = 20, 12
"""Most dimensions of a space and most values of a category, as there."""
LARGEST = 2**53
"""Whole numbers up to here are exact in float64."""

Column = Float64[np.ndarray, " n"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


@dataclass(frozen=True)
class _Number:
    """A number between two ends, both included; as a coordinate it runs from 0 to 1, in the logarithm if `log`."""

    low: float | int
    """Lower end."""
    high: float | int
    """Upper end."""
    log: bool = False
    """Whether ratios matter and not differences."""
    step: float | int | None = None
    """Distance of neighbouring values, counted from `low`; None: any number."""

    kind: ClassVar[int] = NUMERIC

    def __post_init__(self) -> None:
        given = f"{type(self).__name__}({self.low}, {self.high}, log={self.log}, step={self.step})"
        if not all(_is_number(end) and abs(end) <= self._largest for end in (self.low, self.high)):
            raise ValueError(f"{given} has an end that cannot be used; give finite numbers up to {self._largest:.3g}")
        if self.low >= self.high:
            raise ValueError(f"{given} has no room; give low < high, or Fixed for a single value")
        if self.log and self.low <= 0:
            raise ValueError(f"{given} has no logarithm at its lower end; give low > 0")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"{given} has a step that does not fit; give a number in (0, high - low]")

    _largest: ClassVar[float] = 1e300

    @property
    def num_values(self) -> float:
        """How many values there are, infinite if they are not counted."""
        return math.inf if self.step is None else math.floor((self.high - self.low) / self.step + 1e-8) + 1.0

    def encode(self, values: Sequence[Any]) -> Column:
        """Returns coordinates in [0, 1]; numbers between steps go to the nearest.

        Raises:
            ValueError: if something is no number between the ends.
        """
        slack = 1e-9 * max(abs(self.low), abs(self.high))  # what rounding may have done to an end
        for value in values:
            if not _is_number(value) or not self.low - slack <= value <= self.high + slack:
                raise ValueError(f"{value!r}; it must be a number in [{self.low}, {self.high}]")
        return self._unit(self._snap(np.asarray(values, np.float64)))

    def decode(self, x: Column) -> list[Any]:
        """Returns the values at coordinates, or the nearest that there are."""
        return [float(value) for value in self._values(x)]

    def clean(self, value: Any) -> Any:
        """Returns a valid value as the plain Python number."""
        return float(value)

    def snap(self, x: Column) -> Column:
        """Returns the nearest coordinates at which there is a value."""
        return np.clip(x, 0.0, 1.0) if self.step is None else self._unit(self._values(x))

    def spread(self, uniform: Column) -> Column:
        """Returns coordinates, all values being equally probable (in the logarithm if `log`)."""
        if self.step is None:
            return uniform
        if not self.log:
            return self._unit(
                self.low + np.minimum(np.floor(uniform * self.num_values), self.num_values - 1) * self.step
            )
        half = self.step / 2.0
        low, high = math.log(self.low - half), math.log(self.high + half)
        return self._unit(self._snap(np.exp(low + uniform * (high - low))))

    def _snap(self, values: Column) -> Column:
        """Returns the nearest values there are."""
        values = np.clip(values, self.low, self.high)
        if self.step is None:
            return values
        places = np.clip(np.round((values - self.low) / self.step), 0, self.num_values - 1)
        return np.minimum(self.low + places * self.step, self.high)

    def _unit(self, values: Column) -> Column:
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return np.clip((np.log(values) - low) / (high - low), 0.0, 1.0)
        return np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)

    def _values(self, x: Column) -> Column:
        x = np.clip(x, 0.0, 1.0)
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return self._snap(np.exp(low + x * (high - low)))
        return self._snap(self.low + x * (self.high - self.low))


@dataclass(frozen=True)
class Float(_Number):
    """A real number in [low, high]."""


@dataclass(frozen=True)
class Int(_Number):
    """A whole number in [low, high]."""

    step: int = 1
    """Distance of neighbouring values, counted from `low`."""

    _largest: ClassVar[float] = LARGEST

    def __post_init__(self) -> None:
        if not all(_is_number(value) and value == int(value) for value in (self.low, self.high, self.step)):
            raise ValueError(f"Int({self.low}, {self.high}, step={self.step}) must be made of whole numbers")
        super().__post_init__()

    def encode(self, values: Sequence[Any]) -> Column:
        """Returns coordinates in [0, 1]; whole numbers between steps go to the nearest.

        Raises:
            ValueError: if something is no whole number between the ends.
        """
        x = super().encode(values)
        if wrong := [value for value in values if value != int(value)]:
            raise ValueError(f"{wrong[0]!r}; it must be a whole number")
        return x

    def decode(self, x: Column) -> list[Any]:
        """Returns the values at coordinates, or the nearest that there are."""
        return [int(value) for value in self._values(x)]

    def clean(self, value: Any) -> Any:
        """Returns a valid value as the plain Python number."""
        return int(value)


@dataclass(frozen=True)
class _Listed:
    """One of some values, which may be anything that can be compared."""

    values: tuple[Any, ...]
    """What there is."""

    kind: ClassVar[int] = UNUSED

    def __init__(self, values: Sequence[Any]) -> None:
        object.__setattr__(self, "values", tuple(values))
        if len(self.values) < 2:
            raise ValueError(f"{type(self).__name__}({values!r}) leaves no choice; give 2 or more values, or Fixed")
        if self._places(self.values) != list(range(len(self.values))):
            raise ValueError(f"{type(self).__name__}({values!r}) has a value twice; give each of them once")

    @property
    def num_values(self) -> float:
        """How many values there are."""
        return float(len(self.values))

    @property
    def _last(self) -> float:
        """Coordinate of the last value."""
        return 1.0

    def encode(self, values: Sequence[Any]) -> Column:
        """Returns coordinates.

        Raises:
            ValueError: if something is none of the values.
        """
        return np.asarray(self._places(values), np.float64) * self._last / (len(self.values) - 1)

    def decode(self, x: Column) -> list[Any]:
        """Returns the values at coordinates, or the nearest that there are."""
        return [
            self.values[place] for place in np.round(self.snap(x) * (len(self.values) - 1) / self._last).astype(int)
        ]

    def clean(self, value: Any) -> Any:
        """Returns a valid value as it stands in the list."""
        return self.values[self._place(value)]

    def snap(self, x: Column) -> Column:
        """Returns the nearest coordinates at which there is a value."""
        count = len(self.values) - 1
        return np.round(np.clip(x / self._last, 0.0, 1.0) * count) * self._last / count

    def spread(self, uniform: Column) -> Column:
        """Returns coordinates, all values being equally probable."""
        count = len(self.values)
        return np.minimum(np.floor(uniform * count), count - 1) * self._last / (count - 1)

    def _places(self, values: Sequence[Any]) -> list[int]:
        return [self._place(value) for value in values]

    def _place(self, value: Any) -> int:
        """Returns where a value stands; `1` and `True` are told apart where both are there."""
        same = [place for place, known in enumerate(self.values) if known is value or known == value]
        exact = [place for place in same if type(self.values[place]) is type(value)]
        if not same:
            raise ValueError(f"{value!r}; it must be one of {list(self.values)!r}")
        return (exact or same)[0]


@dataclass(frozen=True, init=False)
class Ordinal(_Listed):
    """One of some values in ascending or descending order, which stand evenly spaced between 0 and 1."""

    kind: ClassVar[int] = ORDINAL


@dataclass(frozen=True, init=False)
class Categorical(_Listed):
    """One of up to 12 values without an order; its coordinate is its place in the list."""

    kind: ClassVar[int] = CATEGORICAL

    def __init__(self, values: Sequence[Any]) -> None:
        super().__init__(values)
        if len(self.values) > MAX_CATEGORIES:
            raise ValueError(f"Categorical has {len(self.values)} choices; a model reads up to {MAX_CATEGORIES}")

    @property
    def _last(self) -> float:
        return len(self.values) - 1.0


@dataclass(frozen=True)
class Fixed:
    """A value that every configuration has and no model sees."""

    value: Any
    """It."""
