"""Tables as functions of named parameters, for optimisers that propose configurations and know nothing of pools."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from envs.blackbox.tables import Table
from envs.blackbox.task import NUMERIC, ORDINAL

LOG_OFFSETS = {"dim_3": 0.05 / 9.95}
"""Of numbers in tables of XGBoost whose logarithm was drawn evenly, from [.05, 10]; tables have them as they are."""


class Lookup(NamedTuple):
    """A table that can be asked for any configuration of its space."""

    table: Table
    """It."""
    num_levels: dict[str, int]
    """Values of each parameter, in the order of the table's dimensions; 0: any number in [0, 1]."""
    log_offset: dict[str, float]
    """What makes the logarithm of `number + this` even over the table's configurations; numbers that are even
    themselves are not here."""
    row: Callable[[Mapping[str, float | int]], int]
    """`row(config)`: which row of the table answers for a configuration by name. A parameter with levels is given as
    the place among them, from 0."""


def make_lookup(table: Table) -> Lookup:
    """Returns the table as a function.

    A table without numbers is a grid, all cells of which have been measured: the answer is exact. A table of numbers
    is some configurations here and there: the nearest of them answers, the first if several are, by Euclidean distance
    where configurations are even over [0, 1]^d. The function is then constant around each configuration, and has the
    optimum of the table.

    Raises:
        ValueError: if the table has both numbers and levels, or is a grid with cells missing or measured twice.
    """
    is_number = table.kind == NUMERIC
    if is_number.all():
        is_xgb = table.name.startswith("xgb/")
        offsets = {name: offset for name, offset in LOG_OFFSETS.items() if is_xgb and name in table.space}
        return Lookup(table, dict.fromkeys(table.space, 0), offsets, _nearest(table, offsets))
    if is_number.any():
        raise ValueError(f"{table.name} has both numbers and levels; only grids and tables of numbers can be looked up")
    levels = np.asarray([len(np.unique(column)) for column in table.x.T])
    return Lookup(table, dict(zip(table.space, levels.tolist(), strict=True)), {}, _exact(table, levels))


def _nearest(table: Table, offsets: Mapping[str, float]) -> Callable[[Mapping[str, float | int]], int]:
    def evened(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        columns = [_evened(column, offsets.get(name)) for name, column in zip(table.space, x.T, strict=True)]
        return np.stack(columns, axis=1)

    x: Float[np.ndarray, "N d"] = evened(table.x.astype(np.float64))

    def row(config: Mapping[str, float | int]) -> int:
        point = np.asarray([[config[name] for name in table.space]], np.float64)
        return int(np.argmin(np.sum(np.square(x - evened(point)), axis=1)))

    return row


def _evened(column: Float[np.ndarray, " n"], offset: float | None) -> Float[np.ndarray, " n"]:
    if offset is None:
        return column
    return np.log(column / offset + 1.0) / np.log(1.0 / offset + 1.0)


def _exact(table: Table, levels: Int[np.ndarray, " d"]) -> Callable[[Mapping[str, float | int]], int]:
    last = np.where(table.kind == ORDINAL, levels - 1, 1)[None]
    places = np.round(table.x.astype(np.float64) * last).astype(np.int64)
    size = int(np.prod(levels))
    cells = np.asarray(np.ravel_multi_index(tuple(places.T), tuple(levels), mode="clip"))
    rows = np.argsort(cells, kind="stable")
    if len(cells) != size or not np.array_equal(np.sort(cells), np.arange(size)):
        raise ValueError(f"{table.name} has {len(cells)} rows for {size} cells; every cell must be there once")

    def row(config: Mapping[str, float | int]) -> int:
        place = tuple(int(config[name]) for name in table.space)
        return int(rows.item(int(np.ravel_multi_index(place, tuple(levels)))))

    return row
