"""Small rooms of the Dark Key-to-Door, its rules in plain Python and value iteration over them."""

import functools

import jax.numpy as jnp
import numpy as np

from envs.cells import MOVES, all_cells
from envs.key_to_door import KeyToDoorParams

RIGHT, LEFT, UP, DOWN, STAY = range(5)
ROUNDING = 1e-6  # float32, sums of at most 81 weights
SMALL = "key-to-door@size=3,horizon=8"


def room(key, door, limit=50):
    return KeyToDoorParams(
        max_steps_in_episode=jnp.int32(limit), key=jnp.array(key, jnp.int32), door=jnp.array(door, jnp.int32)
    )


def rooms(size):
    """Returns all rooms of a size, the door's cell running faster, and their number."""
    at, count = all_cells(size), size**4
    index = jnp.arange(count)
    limit = jnp.full((count,), 8, jnp.int32)
    return KeyToDoorParams(max_steps_in_episode=limit, key=at[index // size**2], door=at[index % size**2]), count


def step_by_hand(position, has_key, has_opened, action, key, door, pays_every):
    """Returns (position, has_key, has_opened, reward), written down a second time in plain Python."""
    position = tuple(int(np.clip(position[i] + MOVES[action][i], 0, 2)) for i in range(2))
    if not has_key:
        return position, position == key, False, float(position == key)
    if position != door:
        return position, True, has_opened, 0.0
    return position, True, True, float(pays_every or not has_opened)


@functools.cache
def best_value(position, has_key, has_opened, steps, key, door, rule):
    """Returns the optimal return of an episode with so many steps to go, by dynamic programming."""
    if steps == 0 or (rule == "terminates" and has_opened):
        return 0.0
    return max(action_values(position, has_key, has_opened, steps, key, door, rule))


def action_values(position, has_key, has_opened, steps, key, door, rule):
    values = []
    for action in range(5):
        *state, reward = step_by_hand(position, has_key, has_opened, action, key, door, rule == "every")
        values.append(reward + best_value(*state, steps - 1, key, door, rule))
    return values


RULES = {"once": "", "every": ",door_pays=every", "terminates": ",terminates=true"}


def queries():
    return jnp.array([(x, y, k) for x in range(3) for y in range(3) for k in range(2)], jnp.int32)
