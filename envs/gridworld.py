"""The grid-worlds of learned policy gradients: collect objects that pay, end the episode, and come back.

Cells are numbered `row * g + col` with the level's own size `g`, while arrays have room for the largest grid `G`; cells
from `g^2` on do not exist. Actions: 0 up, 1 down, 2 left, 3 right, 4 stay.

Source: Oh et al. 2020 (LPG), appendix; dynamics as in EmptyJackson/groove.
"""

from functools import partial
from typing import Any, no_type_check

import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import EnvParams, EnvState
from jaxtyping import Array, Bool, Float, Int

from envs.index_observation import IndexObservation
from envs.uniform_noise import UniformNoiseEnvironment

NUM_ACTIONS = 5
TIME_SCALE = 0.001
"""Observed time is this times the steps since the episode began."""


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one level
@partial(struct.dataclass, kw_only=True)
class GridWorldParams(EnvParams):
    """One level. All leaves are traced, so levels are data and not programs."""

    max_steps_in_episode: Int[Array, ""]
    """Episode cap, in steps."""
    size: Int[Array, ""]
    """g: cells along one side, at most G."""
    walls: Bool[Array, " cells"]
    """[G^2] whether the cell with this number is a wall; entries from g^2 on mean nothing."""
    start: Int[Array, ""]
    """Cell where every episode starts."""
    num_objects: Int[Array, ""]
    """k: slots in use; slots k..K-1 stay empty for ever."""
    slot_types: Int[Array, " K"]
    """Object type of each slot, in [0, M)."""
    cells: Int[Array, " K"]
    """Cell of each slot (ignored where objects are placed at random)."""
    rewards: Float[Array, " M"]
    """Reward for collecting an object of each type."""
    terminate_probabilities: Float[Array, " M"]
    """Probability that collecting an object of each type ends the episode."""
    respawn_probabilities: Float[Array, " M"]
    """Probability per step that a missing object of each type comes back."""


@no_type_check
@struct.dataclass
class GridWorldState(EnvState):
    """Where the agent is and which objects exist."""

    time: Int[Array, ""]
    """Steps since the episode began."""
    position: Int[Array, ""]
    """Cell of the agent."""
    exists: Bool[Array, " K"]
    """Which slots hold an object now."""
    cells: Int[Array, " placed"]
    """[K] cells of the objects where they move ([0] where they are part of the level)."""


def move(position: Int[Array, ""], action: Int[Array, ""], params: GridWorldParams) -> Int[Array, ""]:
    """Returns the cell reached by an action; the border and walls hold the agent where it is."""
    size = params.size
    row, column = position // size, position % size
    new_row = row + jnp.where(action == 1, 1, 0) - jnp.where(action == 0, 1, 0)
    new_column = column + jnp.where(action == 3, 1, 0) - jnp.where(action == 2, 1, 0)
    is_inside = (new_row >= 0) & (new_row < size) & (new_column >= 0) & (new_column < size)
    target = jnp.where(is_inside, new_row * size + new_column, position)
    return jnp.where(params.walls[target], position, target)


class GridWorld(UniformNoiseEnvironment):
    """Grid-worlds whose objects stay in the cells the level gives them: states can be numbered.

    Observation: `IndexObservation(position + G^2 sum_i exists_i 2^i, 0.001 t)`. The S = G^2 2^K indices are the rows of
    a tabular agent. An episode ends by `terminated` when an object ends it and by `truncated` at the level's cap.

    Args:
        max_size: G, largest grid side of the family.
        num_slots: K, object slots.
        num_types: M, object types.
        default_level: the default parameters; None for an empty room.
    """

    num_reset_uniforms = 0

    def __init__(
        self,
        max_size: int = 6,
        num_slots: int = 3,
        num_types: int = 3,
        *,
        default_level: GridWorldParams | None = None,
    ):
        super().__init__()
        self.default_level = default_level
        self.max_size, self.num_slots, self.num_types = max_size, num_slots, num_types
        self.num_step_uniforms = 1 + num_slots

    @property
    def num_cells(self) -> int:
        """G^2, the room for cells."""
        return self.max_size**2

    @property
    def num_states(self) -> int:
        """S = G^2 2^K, how many indices an observation can have."""
        return self.num_cells * 2**self.num_slots

    @property
    def num_actions(self) -> int:
        """Five: up, down, left, right, stay."""
        return NUM_ACTIONS

    @property
    def default_params(self) -> GridWorldParams:
        """The default level, or an empty room: start in the first cell, an object of type 0 worth 1 in the last."""
        if self.default_level is not None:
            return self.default_level
        slots, types = self.num_slots, self.num_types
        return GridWorldParams(
            max_steps_in_episode=jnp.int32(100),
            size=jnp.int32(self.max_size),
            walls=jnp.zeros((self.num_cells,), bool),
            start=jnp.int32(0),
            num_objects=jnp.int32(1),
            slot_types=jnp.arange(slots, dtype=jnp.int32) % types,
            cells=self.num_cells - 1 - jnp.arange(slots, dtype=jnp.int32),
            rewards=jnp.ones((types,), jnp.float32),
            terminate_probabilities=jnp.ones((types,), jnp.float32),
            respawn_probabilities=jnp.zeros((types,), jnp.float32),
        )

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Discrete(5)."""
        return spaces.Discrete(NUM_ACTIONS)

    def observation_space(self, params: Any = None) -> spaces.Dict:
        """The index, Discrete(S), and the time feature, Box()."""
        return spaces.Dict(
            {"index": spaces.Discrete(self.num_states), "time": spaces.Box(0.0, jnp.inf, (), jnp.float32)}
        )

    def state_space(self, params: Any = None) -> spaces.Dict:
        """Ranges of the state's fields."""
        return spaces.Dict(
            {
                "time": spaces.Discrete(jnp.iinfo(jnp.int32).max),
                "position": spaces.Discrete(self.num_cells),
                "exists": spaces.Box(False, True, (self.num_slots,), bool),
            }
        )

    def observe(self, key: Any, state: GridWorldState, action: Any, params: GridWorldParams) -> IndexObservation:
        """Returns the observation of a state; no randomness."""
        weights = self.num_cells * 2 ** jnp.arange(self.num_slots, dtype=jnp.int32)
        index = state.position + jnp.sum(jnp.where(state.exists, weights, 0), dtype=jnp.int32)
        return IndexObservation(index, jnp.float32(TIME_SCALE) * state.time.astype(jnp.float32))

    def reset_from(self, uniforms: Float[Array, " n"], params: GridWorldParams) -> tuple[Any, GridWorldState]:
        """Returns `(observation, state)` at the start cell with objects 0..k-1 present."""
        state = GridWorldState(
            time=jnp.int32(0),
            position=params.start,
            exists=jnp.arange(self.num_slots) < params.num_objects,
            cells=self._placed_cells(uniforms, params),
        )
        return self.observe(None, state, None, params), state

    def transition(
        self, uniforms: Float[Array, " n"], state: GridWorldState, action: Int[Array, ""], params: GridWorldParams
    ) -> tuple[Any, GridWorldState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)` without auto-reset.

        In this order: move, collect, respawn, clear, terminate.
        `uniforms[0]` decides termination, `uniforms[1 : K + 1]` the respawns. An object collected in this step cannot
        respawn in it.
        """
        slots = self.num_slots
        position = move(state.position, action, params)
        is_collected = state.exists & (self._object_cells(state, params) == position)
        types = params.slot_types
        comes_back = ~state.exists & (uniforms[1 : slots + 1] < params.respawn_probabilities[types])
        exists = (state.exists | comes_back) & ~is_collected & (jnp.arange(slots) < params.num_objects)
        reward = jnp.sum(jnp.where(is_collected, params.rewards[types], 0.0))
        terminate_probability = jnp.sum(jnp.where(is_collected, params.terminate_probabilities[types], 0.0))
        terminated = uniforms[0] < terminate_probability
        cells = self._cells_after_respawn(uniforms[slots + 1 :], state, position, comes_back, params)
        state = GridWorldState(time=state.time + 1, position=position, exists=exists, cells=cells)
        info = {"discount": 1.0 - terminated.astype(jnp.float32)}
        return self.observe(None, state, None, params), state, reward, terminated, info

    def _object_cells(self, state: GridWorldState, params: GridWorldParams) -> Int[Array, " K"]:
        return params.cells

    def _placed_cells(self, uniforms: Array, params: GridWorldParams) -> Int[Array, " placed"]:
        return jnp.zeros((0,), jnp.int32)

    def _cells_after_respawn(
        self, uniforms: Array, state: GridWorldState, position: Array, comes_back: Array, params: GridWorldParams
    ) -> Int[Array, " placed"]:
        return state.cells
