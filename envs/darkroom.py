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

from envs.domain import Belief, Domain
from envs.family import Task, TaskFamily
from envs.uniform_noise import UniformNoiseEnvironment

MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]], np.int32)
"""What the actions do: +x, -x, +y, -y, stay."""
NUM_ACTIONS = len(MOVES)
PERMUTATIONS = np.array(list(itertools.permutations(range(NUM_ACTIONS))), np.int32)
"""Every way to name the five moves: `PERMUTATIONS[i, action]` is the move that the action makes."""
MAX_LIFETIME = 1000
"""Agent updates of a life in one room, for learners that are trained on it."""
STARTS = ("corner", "centre", "random")
SPLIT_SEED = 0
"""Seed of the legacy generator that deals goals, or permutations, to training and test."""
TRAIN_SHARE = 0.8


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
        position = {
            "corner": jnp.zeros((2,), jnp.int32),
            "centre": jnp.full((2,), self.size // 2, jnp.int32),
            "random": random_cell(uniforms, self.size),
        }[self.start]
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


def random_cell(uniforms: Float[Array, "2"], size: int) -> Int[Array, "2"]:
    """Returns a uniform cell from two uniforms."""
    return jnp.minimum((uniforms * size).astype(jnp.int32), size - 1)


def one_hot_cell(position: Int[Array, "2"], size: int) -> Float[Array, " D"]:
    """Returns x and y as two one-hot vectors in a row."""
    return jax.nn.one_hot(position, size, dtype=jnp.float32).reshape(2 * size)


def goto_move(position: Int[Array, "2"], target: Int[Array, "2"]) -> Int[Array, ""]:
    """Returns the official expert's move towards a cell: x first, then y, then stay."""
    dx, dy = target[0] - position[0], target[1] - position[1]
    along_y = jnp.where(dy > 0, 2, jnp.where(dy < 0, 3, 4))
    return jnp.where(dx > 0, 0, jnp.where(dx < 0, 1, along_y)).astype(jnp.int32)


def best_moves(position: Int[Array, "2"], target: Int[Array, "2"], size: int | None = None) -> Float[Array, "5"]:
    """Returns equal weights on the moves after which the target is nearest.

    In a room of this size, moves that a wall stops at the target are as good as staying; None: there are no walls.
    """
    after = position[None] + jnp.asarray(MOVES)
    after = after if size is None else jnp.clip(after, 0, size - 1)
    distance = jnp.sum(jnp.abs(after - target[None]), axis=1)
    weights = (distance == jnp.min(distance)).astype(jnp.float32)
    return weights / jnp.sum(weights)


def split_indices(count: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]]:
    """Returns (training, test): a shuffle with a legacy generator, cut at four fifths. Disjoint, and together all."""
    order = np.arange(count)
    np.random.RandomState(SPLIT_SEED).shuffle(order)
    cut = int(TRAIN_SHARE * count)
    return order[:cut], order[cut:]


def goal_cells(size: int) -> tuple[Int[np.ndarray, "n 2"], Int[np.ndarray, "m 2"]]:
    """Returns the training and the test goals of a room of this size."""
    cells = np.array([(x, y) for x in range(size) for y in range(size)], np.int32)
    train, test = split_indices(len(cells))
    return cells[train], cells[test]


ENCODINGS: dict[str, tuple[Callable[[int], int], Callable[[Any, int], Array]]] = {
    "one-hot": (lambda size: 2 * size, one_hot_cell),
    "raw": (lambda size: 2, lambda position, size: position.astype(jnp.float32)),
    "index": (
        lambda size: size * size,
        lambda position, size: jax.nn.one_hot(position[0] * size + position[1], size * size, dtype=jnp.float32),
    ),
}
"""How a network is shown a cell: (number of entries, encoder) by name."""


def _check(name: str, size: int, start: str, horizon: int, encoding: str, labels: str) -> None:
    if size < 2 or horizon < 1:
        raise ValueError(
            f"{name} was given size={size} and horizon={horizon}; it needs a size of at least 2 and a step"
        )
    for option, value, allowed in (
        ("start", start, STARTS),
        ("encoding", encoding, tuple(ENCODINGS)),
        ("labels", labels, ("first", "soft")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} was given {option}={value!r}; choose one of {', '.join(allowed)}")


def _family(name: str, env: DarkRoom, horizon: int, make: Callable[[Array], Any], indices: np.ndarray) -> TaskFamily:
    """Returns the law that draws one of the indices uniformly and makes a room of it."""
    known = jnp.asarray(indices, jnp.int32)

    def task(index: Array) -> Task:
        return Task(make(known[index]), jnp.int32(MAX_LIFETIME))

    def decode(vector: Float[Array, "1"]) -> Task:
        return task(jnp.clip((vector[0] * len(indices)).astype(jnp.int32), 0, len(indices) - 1))

    def sample(key: Array) -> Task:
        return task(jax.random.randint(key, (), 0, len(indices)))

    return TaskFamily(name, env, sample, decode, 1, MAX_LIFETIME, horizon)


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
        family=_family(name, env, horizon, make, split[0]),
        held_out=_family(name, env, horizon, make, split[1]),
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
    _check("darkroom", size, start, horizon, encoding, labels)
    if prior not in ("train", "all"):
        raise ValueError(f"darkroom was given prior={prior!r}; choose train or all")
    env = DarkRoom(size, start=start, terminates=terminates)
    moves = jnp.arange(NUM_ACTIONS, dtype=jnp.int32)

    def make(index: Array) -> DarkRoomParams:
        return DarkRoomParams(jnp.int32(horizon), jnp.stack([index // size, index % size]), moves)

    def expert(observation: Int[Array, "2"], params: DarkRoomParams) -> Float[Array, "5"]:
        if labels == "soft":
            return best_moves(observation, params.goal, size)
        return jax.nn.one_hot(goto_move(observation, params.goal), NUM_ACTIONS, dtype=jnp.float32)

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
    _check("darkroom-permuted", size, start, horizon, encoding, labels)
    if prior not in ("train", "all"):
        raise ValueError(f"darkroom-permuted was given prior={prior!r}; choose train or all")
    env = DarkRoom(size, start=start)
    goal, permutations = jnp.full((2,), size - 1, jnp.int32), jnp.asarray(PERMUTATIONS)

    def make(index: Array) -> DarkRoomParams:
        return DarkRoomParams(jnp.int32(horizon), goal, permutations[index])

    def expert(observation: Int[Array, "2"], params: DarkRoomParams) -> Float[Array, "5"]:
        if labels == "soft":
            return best_moves(observation, params.goal, size)[params.moves]
        move = goto_move(observation, params.goal)
        return (params.moves == move).astype(jnp.float32)

    split = split_indices(len(PERMUTATIONS))
    possible = split[0] if prior == "train" else np.arange(len(PERMUTATIONS))
    consistent = lambda observation, action, reward, after, params: jnp.all(  # noqa: E731
        env.move(observation, action, params) == after
    )
    belief = enumerated_belief(jax.vmap(make)(jnp.asarray(possible, jnp.int32)), consistent, expert)
    return _domain("darkroom-permuted", env, horizon, make, split, encoding, expert=expert, belief=belief)


def enumerated_belief(
    hypotheses: Any,
    consistent: Callable[[Any, Array, Array, Any, Any], Bool[Array, ""]],
    expert: Callable[[Any, Any], Float[Array, " A"]],
) -> Belief:
    """Returns exact inference over finitely many, a priori equally probable tasks with deterministic transitions.

    If no task is consistent with what was seen (a held-out task under the prior of the training tasks), all count as
    possible again.

    Args:
        hypotheses: EnvParams with a leading axis over the tasks.
        consistent: `consistent(observation, action, reward, next_observation, params)`: whether the transition can
            happen in a task.
        expert: `expert(observation, params) -> [A]`.
    """
    num_tasks = jax.tree.leaves(hypotheses)[0].shape[0]

    def weights(possible: Bool[Array, " n"]) -> Float[Array, " n"]:
        kept = jnp.where(jnp.any(possible), possible, True).astype(jnp.float32)
        return kept / jnp.sum(kept)

    def update(possible, observation, action, reward, next_observation):
        fits = jax.vmap(consistent, (None, None, None, None, 0))(
            observation, action, reward, next_observation, hypotheses
        )
        return possible & fits

    def probabilities(possible, query):
        return weights(possible) @ jax.vmap(expert, (None, 0))(query, hypotheses)

    def draw(key, possible):
        index = jax.random.choice(key, num_tasks, p=weights(possible))
        return jax.tree.map(lambda leaf: leaf[index], hypotheses)

    return Belief(lambda: jnp.ones((num_tasks,), bool), update, probabilities, draw)


if "DarkRoom-metarl" not in gymnax.registered_envs:
    gymnax.register("DarkRoom-metarl", DarkRoom)
