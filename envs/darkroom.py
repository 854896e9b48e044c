"""The Dark Room: walk to a goal that cannot be seen; with known moves, or with the meaning of the actions hidden.

Source: Laskin et al. 2022 (Algorithm Distillation); rules, split and expert as in
jon--lee/decision-pretrained-transformer (Lee et al. 2023).
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, no_type_check

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Int

from envs.cells import ENCODINGS, LABELS, MOVES, NUM_ACTIONS, STARTS, all_cells, random_cell, start_cell, towards
from envs.domain import Domain
from envs.finite_tasks import PRIORS, enumerated_belief, enumerated_family, split_indices
from envs.uniform_noise import UniformNoiseEnvironment

PERMUTATIONS = np.array(list(itertools.permutations(range(NUM_ACTIONS))), np.int32)
"""Every way to name the five moves: `PERMUTATIONS[i, action]` is the move that the action makes."""


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one task
@struct.dataclass
class DarkRoomParams(environment.EnvParams):
    """A room."""

    max_steps_in_episode: Int[Array, ""] | int = 100
    """Steps of an episode."""
    goal: Int[Array, "2"] | None = None
    """The goal's cell (x, y)."""
    moves: Int[Array, "5"] | None = None
    """The move that each action makes, as an index into `MOVES`."""


class DarkRoomState(NamedTuple):
    """Where the agent stands."""

    time: Int[Array, ""]
    """Steps since the episode began."""
    position: Int[Array, "2"]
    """Cell (x, y)."""


class DarkRoom(UniformNoiseEnvironment):
    """A square room; every step that ends on the goal pays 1. Walls stop moves. The observation is the cell (x, y)."""

    num_reset_uniforms = 2
    num_step_uniforms = 0

    def __init__(self, size: int = 10, *, start: str = "corner", terminates: bool = False):
        self.size, self.start, self.terminates = size, start, terminates

    @property
    def default_params(self) -> DarkRoomParams:
        """The goal opposite to the start corner, plain moves, 100 steps."""
        goal = jnp.full((2,), self.size - 1, jnp.int32)
        return DarkRoomParams(jnp.int32(100), goal, jnp.arange(NUM_ACTIONS, dtype=jnp.int32))

    @property
    def num_actions(self) -> int:
        """Five."""
        return NUM_ACTIONS

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Discrete(5)."""
        return spaces.Discrete(NUM_ACTIONS)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """Two integers in [0, size)."""
        return spaces.Box(0, self.size - 1, (2,), jnp.int32)

    def observe(self, key: Any, state: DarkRoomState, action: Any, params: Any) -> Int[Array, "2"]:
        """Returns the cell."""
        return state.position

    def reset_from(self, uniforms: Float[Array, "2"], params: Any) -> tuple[Int[Array, "2"], DarkRoomState]:
        """Returns `(observation, state)` at the start."""
        position = start_cell(self.start, self.size, uniforms)
        return position, DarkRoomState(jnp.int32(0), position)

    def move(self, position: Int[Array, "2"], action: Int[Array, ""], params: Any) -> Int[Array, "2"]:
        """Returns the cell that an action leads to."""
        return jnp.clip(position + jnp.asarray(MOVES)[params.moves[action]], 0, self.size - 1)

    def transition(
        self, uniforms: Float[Array, "0"], state: DarkRoomState, action: Int[Array, ""], params: Any
    ) -> tuple[Int[Array, "2"], DarkRoomState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)`; deterministic."""
        position = self.move(state.position, action, params)
        state = DarkRoomState(state.time + 1, position)
        terminated = self.is_terminated(state, params)
        info = {"discount": 1.0 - terminated.astype(jnp.float32)}
        return position, state, self.reward(position, params), terminated, info

    def reward(self, position: Int[Array, "2"], params: Any) -> Float[Array, ""]:
        """Returns 1 on the goal, else 0."""
        return jnp.all(position == params.goal).astype(jnp.float32)

    def is_terminated(self, state: DarkRoomState, params: Any) -> Bool[Array, ""]:
        """Returns whether the goal ends the episode and has been reached by a step."""
        is_there = jnp.all(state.position == params.goal) & (state.time > 0)
        return is_there if self.terminates else jnp.bool_(False)


def goal_cells(size: int) -> tuple[Int[np.ndarray, "n 2"], Int[np.ndarray, "m 2"]]:
    """Returns the training and the test goals of a room of this size."""
    cells = np.asarray(all_cells(size))
    train, test = split_indices(len(cells))
    return cells[train], cells[test]


def _check(name: str, size: int, horizon: int, **options: str) -> None:
    if size < 2 or horizon < 1:
        raise ValueError(
            f"{name} was given size={size} and horizon={horizon}; it needs a size of at least 2 and a step"
        )
    choices = {"start": STARTS, "encoding": tuple(ENCODINGS), "labels": LABELS, "prior": PRIORS}
    for option, value in options.items():
        if value not in choices[option]:
            raise ValueError(f"{name} was given {option}={value!r}; choose one of {', '.join(choices[option])}")


def _domain(
    name: str,
    env: DarkRoom,
    horizon: int,
    make: Callable[[Array], Any],
    split: tuple[np.ndarray, np.ndarray],
    encoding: str,
    **rest: Any,
) -> Domain:
    size = env.size
    num_entries, encode = ENCODINGS[encoding]
    cell = lambda position: position[0] * size + position[1]  # noqa: E731

    def transition(uniforms, observation, action, params):
        after = env.move(observation, action, params)
        return env.reward(after, params), after

    return Domain(
        name=name,
        family=enumerated_family(name, env, make, split[0], horizon),
        held_out=enumerated_family(name, env, make, split[1], horizon),
        horizon=horizon,
        context_length=horizon,
        num_actions=NUM_ACTIONS,
        observation_size=num_entries(size),
        encode=lambda observation: encode(observation, size),
        transition=transition,
        sample_query=lambda key, params: random_cell(jax.random.uniform(key, (2,)), size),
        pair_index=lambda observation, action: (cell(observation) * NUM_ACTIONS + action).astype(jnp.int32),
        num_pairs=size * size * NUM_ACTIONS,
        **rest,
    )


def dark_room(
    *,
    size: int = 10,
    horizon: int = 100,
    start: str = "corner",
    terminates: bool = False,
    encoding: str = "one-hot",
    labels: str = "first",
    prior: str = "train",
) -> Domain:
    """Returns the room with a hidden goal; four fifths of the goals are for training, the rest for testing.

    Args:
        size: cells along a side, at least 2.
        horizon: steps of an episode.
        start: `corner` (0, 0), `centre` or `random`.
        terminates: whether the goal ends the episode.
        encoding: `one-hot` coordinates, `raw` numbers or the `index` of the cell as a one-hot vector.
        labels: `first` (x, then y, then stay: the official expert) or `soft` (every optimal move).
        prior: goals that the exact belief holds possible: those of `train`, or `all` cells.

    Raises:
        ValueError: if an argument is out of range.
    """
    _check("darkroom", size, horizon, start=start, encoding=encoding, labels=labels, prior=prior)
    env = DarkRoom(size, start=start, terminates=terminates)
    moves = jnp.arange(NUM_ACTIONS, dtype=jnp.int32)

    def make(index: Array) -> DarkRoomParams:
        return DarkRoomParams(jnp.int32(horizon), jnp.stack([index // size, index % size]), moves)

    def expert(observation: Int[Array, "2"], params: DarkRoomParams) -> Float[Array, "5"]:
        return towards(observation, params.goal, size, labels)

    split = split_indices(size * size)
    possible = split[0] if prior == "train" else np.arange(size * size)
    consistent = lambda observation, action, reward, after, params: (  # noqa: E731
        (env.reward(after, params) > 0.5) == (reward > 0.5)
    )
    belief = enumerated_belief(jax.vmap(make)(jnp.asarray(possible, jnp.int32)), consistent, expert)
    return _domain("darkroom", env, horizon, make, split, encoding, expert=expert, belief=belief)


def permuted_dark_room(
    *,
    size: int = 10,
    horizon: int = 100,
    start: str = "corner",
    encoding: str = "one-hot",
    labels: str = "first",
    prior: str = "all",
) -> Domain:
    """Returns the room with the goal in the far corner and one of 120 hidden meanings of the actions.

    Four fifths of the permutations, dealt like goals, are for training. Arguments are those of `dark_room`.

    Raises:
        ValueError: if an argument is out of range.
    """
    _check("darkroom-permuted", size, horizon, start=start, encoding=encoding, labels=labels, prior=prior)
    env = DarkRoom(size, start=start)
    goal, permutations = jnp.full((2,), size - 1, jnp.int32), jnp.asarray(PERMUTATIONS)

    def make(index: Array) -> DarkRoomParams:
        return DarkRoomParams(jnp.int32(horizon), goal, permutations[index])

    def expert(observation: Int[Array, "2"], params: DarkRoomParams) -> Float[Array, "5"]:
        return towards(observation, params.goal, size, labels)[params.moves]

    split = split_indices(len(PERMUTATIONS))
    possible = split[0] if prior == "train" else np.arange(len(PERMUTATIONS))
    consistent = lambda observation, action, reward, after, params: jnp.all(  # noqa: E731
        env.move(observation, action, params) == after
    )
    belief = enumerated_belief(jax.vmap(make)(jnp.asarray(possible, jnp.int32)), consistent, expert)
    return _domain("darkroom-permuted", env, horizon, make, split, encoding, expert=expert, belief=belief)


if "DarkRoom-metarl" not in gymnax.registered_envs:
    gymnax.register("DarkRoom-metarl", DarkRoom)
