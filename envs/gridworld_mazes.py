"""Nine mazes of thirteen rows, each row a hexadecimal number whose set bits are walls.

Source: facebookresearch/minimax, whose mazes the learned-policy-gradient literature uses as held-out grid-worlds.
"""

import numpy as np
from jaxtyping import Bool

MAZE_SIZE = 13
"""Cells along one side of every maze."""

MAZE_ROWS = {
    "sixteen_rooms": "0248.0008.0240.176E.0200.0048.1ADD.0208.0240.0F6B.0248.0040.0208",
    "sixteen_rooms_2": "0208.0048.0248.1EDD.0240.0048.17DF.0248.0200.1B6F.0248.0040.0248",
    "labyrinth": "0000.0FFE.0802.0BFA.0A0A.0AEA.0AAA.0AAA.088A.0FFA.0082.1EBE.0080",
    "labyrinth_flipped": "0000.0FFE.0802.0BFA.0A0A.0AEA.0AAA.0AAA.0A22.0BFE.0820.0FAF.0020",
    "labyrinth_2": "0800.0BFE.0A02.0AFA.0A8A.02AA.1EAA.02EA.0A0A.0BFA.0802.0FFE.0000",
    "standard_maze": "0084.0EF6.0800.0FF7.0010.1FBE.0120.0C6F.0522.15BA.1488.16EE.0228",
    "standard_maze_2": "0284.0AF1.0804.0FF7.0254.1AD4.0A16.0B72.093A.0DAA.08AA.0AAA.0220",
    "standard_maze_3": "0140.0F5E.0850.03D5.1A14.02D6.0A92.0ABB.08A8.0EAE.08A2.0BAA.0888",
    "small_corridor": "0000.0AAA.0AAA.0AAA.0AAA.0AAA.0FFE.0AAA.0AAA.0AAA.0AAA.0AAA.0000",
}
"""Rows from top to bottom; the most significant of a row's 13 bits is its leftmost cell."""


def maze_walls(name: str) -> Bool[np.ndarray, "169"]:
    """Returns which cells of the named maze, numbered row by row, are walls.

    Raises:
        ValueError: if there is no maze of that name.
    """
    if name not in MAZE_ROWS:
        raise ValueError(f"there is no maze {name!r}; choose one of {', '.join(MAZE_ROWS)}")
    rows = [f"{int(row, 16):0{MAZE_SIZE}b}" for row in MAZE_ROWS[name].split(".")]
    return np.array([cell == "1" for cell in "".join(rows)])
