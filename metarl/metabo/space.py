"""Spaces of configurations, and configurations as rows of numbers that a model reads (numpy only)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32

from metarl.metabo.dimensions import (
    CATEGORICAL,
    MAX_DIMENSIONS,
    UNUSED,
    Categorical,
    Fixed,
    Float,
    Int,
    Ordinal,
)

__all__ = [
    "CATEGORICAL",
    "MAX_DIMENSIONS",
    "Categorical",
    "Config",
    "Dimension",
    "Fixed",
    "Float",
    "Int",
    "Ordinal",
    "Space",
    "space_of",
]

Config = dict[str, Any]
Dimension = Float | Int | Ordinal | Categorical
TYPES = {kind.__name__: kind for kind in (Float, Int, Ordinal, Categorical, Fixed)}


class Space:
    """Named dimensions. A row of D = 20 numbers holds the free ones in the order given, and zeros behind."""

    def __init__(self, dimensions: Mapping[str, Dimension | Fixed]) -> None:
        """Makes the space.

        Raises:
            ValueError: if nothing or more than 20 dimensions are free, or something is no dimension.
        """
        self.dimensions = dict(dimensions)
        for name, dimension in self.dimensions.items():
            if not isinstance(dimension, Dimension | Fixed):
                raise ValueError(f"{name} is {dimension!r}; a dimension is one of {', '.join(TYPES)}")
        self.free: dict[str, Dimension] = {n: d for n, d in self.dimensions.items() if not isinstance(d, Fixed)}
        self.fixed: Config = {n: d.value for n, d in self.dimensions.items() if isinstance(d, Fixed)}
        if not 1 <= len(self.free) <= MAX_DIMENSIONS:
            raise ValueError(f"the space has {len(self.free)} free dimensions; a model reads 1 to {MAX_DIMENSIONS}")

    @property
    def num_free(self) -> int:
        """d, columns in use."""
        return len(self.free)

    @property
    def kind(self) -> Int32[np.ndarray, " D"]:
        """What each column holds."""
        kinds = [dimension.kind for dimension in self.free.values()]
        return np.asarray(kinds + [UNUSED] * (MAX_DIMENSIONS - len(kinds)), np.int32)

    @property
    def num_values(self) -> Float64[np.ndarray, " d"]:
        """How many values each free dimension has."""
        return np.asarray([dimension.num_values for dimension in self.free.values()], np.float64)

    @property
    def size(self) -> float:
        """How many configurations there are, infinite if they are not counted."""
        return float(np.prod(self.num_values))

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> Float64[np.ndarray, "n D"]:
        """Returns rows of configurations; fixed values may be left out.

        Raises:
            ValueError: if a configuration lacks a dimension, has another one, or a value that is not in the space.
        """
        for config in configs:
            missing, unknown = self.free.keys() - config.keys(), config.keys() - self.dimensions.keys()
            if missing or unknown:
                raise ValueError(f"a configuration lacks {sorted(missing)} and has {sorted(unknown)} beyond the space")
            if wrong := [name for name, value in self.fixed.items() if name in config and config[name] != value]:
                raise ValueError(
                    f"{wrong[0]} was given as {config[wrong[0]]!r}; it is fixed at {self.fixed[wrong[0]]!r}"
                )
        x = np.zeros((len(configs), MAX_DIMENSIONS))
        for column, (name, dimension) in enumerate(self.free.items()):
            try:
                x[:, column] = dimension.encode([config[name] for config in configs])
            except ValueError as error:
                raise ValueError(f"{name} was given as {error}") from error
        return x

    def decode(self, x: Float64[np.ndarray, "n D"]) -> list[Config]:
        """Returns the configurations of rows, or the nearest that there are, with the names in the order given."""
        columns = {name: dimension.decode(x[:, i]) for i, (name, dimension) in enumerate(self.free.items())}
        columns |= {name: [value] * len(x) for name, value in self.fixed.items()}
        return [{name: columns[name][row] for name in self.dimensions} for row in range(len(x))]

    def clean(self, config: Mapping[str, Any]) -> Config:
        """Returns a valid configuration with plain values, fixed ones included, and the names in the order given."""
        free = {name: dimension.clean(config[name]) for name, dimension in self.free.items()}
        return {name: free[name] if name in free else self.fixed[name] for name in self.dimensions}

    def snap(self, x: Float64[np.ndarray, "n D"]) -> Float64[np.ndarray, "n D"]:
        """Returns the nearest rows that are configurations, with zeros in unused columns."""
        return self._by_column("snap", x)

    def spread(self, uniform: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n D"]:
        """Returns rows from uniform numbers in [0, 1), all values of a dimension being equally probable."""
        return self._by_column("spread", uniform)

    def grid(self) -> Float64[np.ndarray, "n D"]:
        """Returns all configurations of a space of finite size, as rows."""
        counts = self.num_values.astype(int)
        places = np.stack(np.unravel_index(np.arange(int(np.prod(counts))), counts), axis=1)
        return self.spread((places + 0.5) / counts)

    def describe(self) -> dict[str, Any]:
        """Returns the space as JSON values, provided that its values are."""
        return {name: {"type": type(d).__name__, **asdict(d)} for name, d in self.dimensions.items()}

    def _by_column(self, method: str, x: np.ndarray) -> Float64[np.ndarray, "n D"]:
        result = np.zeros((len(x), MAX_DIMENSIONS))
        for column, dimension in enumerate(self.free.values()):
            result[:, column] = getattr(dimension, method)(x[:, column])
        return result


def space_of(description: Mapping[str, Mapping[str, Any]]) -> Space:
    """Returns the space that `Space.describe` described."""
    made = {}
    for name, fields in description.items():
        fields = dict(fields)
        made[name] = TYPES[fields.pop("type")](**fields)
    return Space(made)
