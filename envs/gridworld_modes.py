"""The modes of the grid-world family: which levels each may produce, and how long agents live in them.

Source: Oh et al. 2020 (LPG), appendix, and Jackson et al. 2023 (GROOVE); values as in EmptyJackson/groove.
"""

from typing import NamedTuple

from envs.gridworld_mazes import MAZE_ROWS, MAZE_SIZE, maze_walls

Bounds = tuple[int, int] | tuple[float, float]
"""Ends of a uniform or log-uniform law; equal ends mean a constant."""


class GridWorldMode(NamedTuple):
    """A law over levels. Start and slots are always drawn, once per level, from the free cells without replacement."""

    sizes: Bounds
    """g, cells along one side: uniform over the integers in these bounds. The upper one is G."""
    num_objects: Bounds
    """k, slots in use: uniform over the integers in these bounds."""
    episode_steps: Bounds
    """Episode cap: log-uniform, rounded."""
    slot_types: tuple[int, ...]
    """Type of each of the K slots, in [0, M)."""
    rewards: tuple[Bounds, ...]
    """Per type: uniform."""
    terminate_probabilities: tuple[Bounds, ...]
    """Per type: log-uniform."""
    respawn_probabilities: tuple[Bounds, ...]
    """Per type: log-uniform."""
    lifetime: Bounds
    """Agent updates: log-uniform, rounded."""
    num_drawn_walls: int = 0
    """How many of the G^2 cell numbers are drawn as walls; those that do not exist in the level vanish."""
    wall_cells: tuple[int, ...] = ()
    """Cells that are always walls."""
    is_tabular: bool = True
    """Whether objects stay in the cells of the level, or move at every reset and respawn (`RandomGridWorld`)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """The static sizes (G, K, M)."""
        return int(self.sizes[1]), len(self.slot_types), len(self.rewards)


def _sampled(
    sizes: Bounds, num_objects: Bounds, episode_steps: Bounds, num_drawn_walls: int, lifetime: int
) -> GridWorldMode:
    """Levels of random size, walls and types, where slot i has type i and type 0 never costs anything."""
    num_types = int(num_objects[1])
    return GridWorldMode(
        sizes=sizes,
        num_objects=num_objects,
        episode_steps=episode_steps,
        slot_types=tuple(range(num_types)),
        rewards=((0.0, 1.0),) + ((-1.0, 1.0),) * (num_types - 1),
        terminate_probabilities=((0.01, 1.0),) * num_types,
        respawn_probabilities=((0.001, 0.1),) * num_types,
        lifetime=(lifetime, lifetime),
        num_drawn_walls=num_drawn_walls,
    )


def _fixed(
    size: int, slot_types: tuple[int, ...], types: tuple[tuple[float, float, float], ...], episode_steps: int
) -> GridWorldMode:
    """One world whose layout alone is drawn; `types` holds (reward, p_terminate, p_respawn) of each object type."""
    rewards, terminate, respawn = (tuple((value, value) for value in column) for column in zip(*types, strict=True))
    return GridWorldMode(
        sizes=(size, size),
        num_objects=(len(slot_types), len(slot_types)),
        episode_steps=(episode_steps, episode_steps),
        slot_types=slot_types,
        rewards=rewards,
        terminate_probabilities=terminate,
        respawn_probabilities=respawn,
        lifetime=(2500, 2500),
    )


def _random(mode: GridWorldMode, lifetime: int = 25_000) -> GridWorldMode:
    return mode._replace(is_tabular=False, lifetime=(lifetime, lifetime))


def _maze(name: str) -> GridWorldMode:
    """A maze with three objects that all pay."""
    mode = _sampled((MAZE_SIZE, MAZE_SIZE), (3, 3), (25, 50), 0, 2500)
    walls = tuple(int(cell) for cell in maze_walls(name).nonzero()[0])
    return mode._replace(rewards=((0.0, 1.0),) * 3, wall_cells=walls)


def _two_corridors(size: int, column: int, gaps: tuple[int, int]) -> tuple[int, ...]:
    return tuple(row * size + column for row in range(size) if row not in gaps)


def _four_rooms() -> tuple[int, ...]:
    """Cells of a vertical and a horizontal wall in a room of 11 x 11, each with two openings."""
    vertical = _two_corridors(11, 5, (0, 7))
    horizontal = tuple(4 * 11 + column for column in range(11) if column not in (2, 8))
    return tuple(sorted({*vertical, *horizontal}))


_ALL = _sampled((4, 10), (1, 5), (20, 750), 15, 1000)
_DENSE = _fixed(11, (0, 0, 1, 2), ((1.0, 0.0, 0.05), (-1.0, 0.5, 0.1), (-1.0, 0.0, 0.5)), 500)
_LONG = _fixed(11, (0, 0, 1, 1), ((1.0, 0.0, 0.01), (-1.0, 0.5, 1.0)), 1000)

SAMPLED_MODES: dict[str, GridWorldMode] = {
    "small": _sampled((4, 6), (1, 3), (20, 100), 7, 250),
    "medium": _sampled((6, 8), (2, 4), (100, 250), 10, 1000),
    "large": _sampled((8, 10), (2, 5), (250, 750), 15, 2500),
    "all": _ALL,
    "all_shortlife": _ALL._replace(lifetime=(250, 250)),
    "all_randlife": _ALL._replace(lifetime=(50, 250)),
    "all_vrandlife": _ALL._replace(lifetime=(10, 250)),
    "rand_all": _random(_ALL),
    "debug": _sampled((3, 4), (1, 2), (5, 10), 4, 4),
}
"""Modes whose levels differ in everything."""

FIXED_MODES: dict[str, GridWorldMode] = {
    "dense": _DENSE,
    "sparse": _fixed(13, (0, 1), ((1.0, 1.0, 0.0), (-1.0, 1.0, 0.0)), 50),
    "long": _LONG,
    # Learned policy gradients were published with 2 + 5 objects here; five keep the table of states small.
    "longer": _fixed(9, (0, 0, 1, 1, 1), ((1.0, 0.1, 0.01), (-1.0, 0.8, 1.0)), 2000)._replace(
        wall_cells=_two_corridors(9, 4, (1, 7))
    ),
    "long_dense": _fixed(11, (0, 0, 0, 0), ((1.0, 0.0, 0.005),), 2000)._replace(wall_cells=_four_rooms()),
    "rand_dense": _random(_DENSE),
    "rand_long": _random(_LONG),
    "rand_small": _random(_fixed(7, (0, 0, 1, 1), ((1.0, 0.0, 0.05), (-1.0, 0.5, 0.1)), 500))._replace(
        wall_cells=(1 * 7 + 2, 3 * 7 + 4)
    ),
    "rand_sparse": _random(_fixed(7, (0, 1, 1), ((1.0, 1.0, 1.0), (-1.0, 1.0, 1.0)), 50)),
    "rand_very_dense": _random(_fixed(11, (0,), ((1.0, 0.0, 1.0),), 2000)),
    "rand_tiny": _random(_fixed(3, (0, 0), ((1.0, 0.0, 1.0),), 50), 250),
    **{name: _maze(name) for name in MAZE_ROWS},
}
"""Modes that are one world up to its layout (and, in the mazes, its objects)."""

MODES: dict[str, GridWorldMode] = {**SAMPLED_MODES, **FIXED_MODES}
"""Every mode that is not a mixture."""

MIXTURES: dict[str, tuple[str, ...]] = {
    "tabular": ("dense", "sparse", "long", "longer", "long_dense"),
    "mazes": tuple(MAZE_ROWS),
}
"""Modes whose levels come from one of several modes, each equally likely."""
