"""Exact optimal returns and policies of grid-worlds whose objects stay in their cells, by dynamic programming.

With n steps to go, the value of standing on cell x while the objects e exist is

    V_n(x, e) = max over moves x -> y of  r(y, e) + (1 - p_terminate(y, e)) E[V_{n-1}(y, e') | y, e],      V_0 = 0.

The bracket depends on (y, e) only, and given (y, e) the slots change independently, so the expectation is K mixtures of
two tables instead of a sum over 2^K successors. Tables are `[E, G, G]`: existing slots as a number below E = 2^K, slot
i being bit i, and the board.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.gridworld import GridWorldParams
from envs.gridworld_board import cells_of_board, from_board, is_inside, neighbours

NOWHERE = -1e9
"""The value of being where nobody can be; finite, because it is multiplied by probabilities that may be 0."""


class OptimalPlan(NamedTuple):
    """What to do at each time in each state; states are numbered as in `IndexObservation.index`."""

    value: Float[Array, "T S"]
    """Optimal expected return from here to the end of the episode; 0 from the cap on and inside walls."""
    action: Int[Array, "T S"]
    """An optimal action."""


class _Model(NamedTuple):
    """One level as tables."""

    respawn_probability: Float[Array, " K"]
    """That a missing object of the slot comes back."""
    vanishes: Bool[Array, "K G G"]
    """Whether an existing object of the slot is gone after a step that ends here; always so for slots not in use."""
    reward: Float[Array, "E G G"]
    """Reward of a step that ends here."""
    continue_probability: Float[Array, "E G G"]
    """Probability that it does not end the episode."""
    is_free: Bool[Array, "G G"]
    """Places the agent can stand on."""


def optimal_return(params: GridWorldParams, max_episode_steps: int) -> Float[Array, ""]:
    """Returns the optimal expected undiscounted return of an episode of this level.

    Args:
        params: one level; for more, `vmap`.
        max_episode_steps: upper limit on the level's own episode cap, in steps; a longer episode counts as cut there.
    """
    model = _model(params)
    num_steps = jnp.minimum(params.max_steps_in_episode, max_episode_steps)
    no_value = jnp.zeros_like(model.reward)
    value = jax.lax.fori_loop(0, num_steps, lambda _, value: jnp.max(_action_values(model, value), axis=0), no_value)
    existing = 2 ** jnp.minimum(params.num_objects, params.cells.shape[0]) - 1
    return value[existing, params.start // params.size, params.start % params.size]


def optimal_plan(params: GridWorldParams, max_episode_steps: int) -> OptimalPlan:
    """Returns the optimal value and action at each time below T = `max_episode_steps` in each state."""
    model = _model(params)

    def step(value: Float[Array, "E G G"], _: None) -> tuple[Array, tuple[Array, Array]]:
        action_values = _action_values(model, value)
        value = jnp.max(action_values, axis=0)
        return value, (value, jnp.argmax(action_values, axis=0).astype(jnp.int32))

    _, (values, actions) = jax.lax.scan(step, jnp.zeros_like(model.reward), None, length=max_episode_steps)
    num_steps = jnp.minimum(params.max_steps_in_episode, max_episode_steps)
    steps_to_go = num_steps - jnp.arange(max_episode_steps)
    is_possible = (steps_to_go > 0)[:, None, None, None] & model.is_free[None, None]
    values = jnp.where(is_possible, values[jnp.maximum(steps_to_go - 1, 0)], 0.0)
    actions = actions[jnp.maximum(steps_to_go - 1, 0)]
    return OptimalPlan(*(from_board(table, params.size).reshape(max_episode_steps, -1) for table in (values, actions)))


def _model(params: GridWorldParams) -> _Model:
    num_slots, max_size = params.cells.shape[0], round(params.walls.shape[0] ** 0.5)
    cells = cells_of_board(params.size, max_size)
    inside = is_inside(params.size, max_size)
    is_used = jnp.arange(num_slots) < params.num_objects
    holds_slot = inside[None] & (params.cells[:, None, None] == cells[None])
    exists = (jnp.arange(2**num_slots)[:, None] >> jnp.arange(num_slots)[None]) % 2 == 1
    is_collected = (exists & is_used[None])[:, :, None, None] & holds_slot[None]

    def total(per_type: Float[Array, " M"]) -> Float[Array, "E G G"]:
        return jnp.sum(jnp.where(is_collected, per_type[params.slot_types][None, :, None, None], 0.0), axis=1)

    return _Model(
        respawn_probability=params.respawn_probabilities[params.slot_types],
        vanishes=holds_slot | ~is_used[:, None, None],
        reward=total(params.rewards),
        continue_probability=1.0 - total(params.terminate_probabilities),
        is_free=inside & ~params.walls[cells],
    )


def _action_values(model: _Model, value: Float[Array, "E G G"]) -> Float[Array, "A E G G"]:
    """Returns the value of each action with one step more to go than `value` has.

    Running into anything counts as impossible: staying does the same.
    """
    after = model.reward + model.continue_probability * _expectation(model, value)
    after = jnp.where(model.is_free[None], after, NOWHERE)
    return jnp.concatenate([neighbours(after, NOWHERE), after[None]])


def _expectation(model: _Model, value: Float[Array, "E G G"]) -> Float[Array, "E G G"]:
    """Returns E[value(y, e') | y, e], one slot at a time."""
    num_slots, *board = model.vanishes.shape
    for slot in range(num_slots):
        by_slot = value.reshape(-1, 2, 2**slot, *board)
        absent, present = by_slot[:, 0], by_slot[:, 1]
        if_absent = absent + model.respawn_probability[slot] * (present - absent)
        if_present = jnp.where(model.vanishes[slot][None, None], absent, present)
        value = jnp.stack([if_absent, if_present], axis=1).reshape(value.shape)
    return value
