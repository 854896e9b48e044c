"""The Dark Key-to-Door: find a key, then a door, in a dark room; with exact inference about both.

Source: Laskin et al. 2022 (Algorithm Distillation). Public versions differ in what the door pays, in when an episode
ends and in where it starts; all of this is an option here.
"""

from functools import partial
from typing import Any, NamedTuple, no_type_check

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Int

from envs.cells import ENCODINGS, LABELS, MOVES, NUM_ACTIONS, STARTS, all_cells, start_cell, towards
from envs.domain import Domain
from envs.finite_tasks import PRIORS, enumerated_family, split_indices
from envs.pair_belief import pair_belief
from envs.uniform_noise import UniformNoiseEnvironment

CONTEXT_EPISODES = 4
"""Episodes' worth of transitions in a context."""
DOOR_PAYS = ("once", "every")


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one task
@partial(struct.dataclass, kw_only=True)
class KeyToDoorParams(environment.EnvParams):
    """A room."""

    key: Int[Array, "2"]
    """The key's cell (x, y)."""
    door: Int[Array, "2"]
    """The door's cell (x, y), possibly the key's."""


class KeyToDoorState(NamedTuple):
    """Where an episode is."""

    time: Int[Array, ""]
    """Steps since it began."""
    position: Int[Array, "2"]
    """The agent's cell (x, y)."""
    has_key: Bool[Array, ""]
    """Whether the key has been found."""
    has_opened: Bool[Array, ""]
    """Whether the door has been reached with the key."""


class KeyToDoor(UniformNoiseEnvironment):
    """A square room; a step onto the key pays 1, once, and from then on a step onto the door pays 1.

    Steps are those of the Dark Room: +x, -x, +y, -y, stay; walls stop them. The step that finds the key does not open
    a door in the same cell: the next one can, by staying. The observation is (x, y, has_key).

    Args:
        size: cells along a side.
        start: `corner` (0, 0), `centre` or `random`.
        terminates: whether the door ends the episode.
        door_pays: `once`, or at `every` step that ends on it with the key.
    """

    num_reset_uniforms = 2
    num_step_uniforms = 0

    def __init__(self, size: int = 9, *, start: str = "centre", terminates: bool = False, door_pays: str = "once"):
        self.size, self.start, self.terminates, self.door_pays = size, start, terminates, door_pays

    @property
    def default_params(self) -> KeyToDoorParams:
        """The key in one corner, the door in the opposite one, 50 steps."""
        far = jnp.full((2,), self.size - 1, jnp.int32)
        return KeyToDoorParams(max_steps_in_episode=jnp.int32(50), key=jnp.zeros((2,), jnp.int32), door=far)

    @property
    def num_actions(self) -> int:
        """Five."""
        return NUM_ACTIONS

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Discrete(5)."""
        return spaces.Discrete(NUM_ACTIONS)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """Two integers below size, and 0 or 1."""
        return spaces.Box(0, jnp.array([self.size - 1, self.size - 1, 1], jnp.int32), (3,), jnp.int32)

    def observe(self, key: Any, state: KeyToDoorState, action: Any, params: Any) -> Int[Array, "3"]:
        """Returns (x, y, has_key)."""
        return jnp.append(state.position, state.has_key.astype(jnp.int32))

    def reset_from(self, uniforms: Float[Array, "2"], params: Any) -> tuple[Int[Array, "3"], KeyToDoorState]:
        """Returns `(observation, state)` at the start, without the key."""
        position = start_cell(self.start, self.size, uniforms)
        state = KeyToDoorState(jnp.int32(0), position, jnp.bool_(False), jnp.bool_(False))
        return self.observe(None, state, None, params), state

    def move(
        self, position: Int[Array, "2"], has_key: Bool[Array, ""], action: Int[Array, ""], params: Any
    ) -> tuple[Int[Array, "2"], Bool[Array, ""], Bool[Array, ""]]:
        """Returns the next cell, whether the step finds the key, and whether it ends on the door with the key."""
        after = jnp.clip(position + jnp.asarray(MOVES)[action], 0, self.size - 1)
        return after, ~has_key & jnp.all(after == params.key), has_key & jnp.all(after == params.door)

    def transition(
        self, uniforms: Float[Array, "0"], state: KeyToDoorState, action: Int[Array, ""], params: Any
    ) -> tuple[Int[Array, "3"], KeyToDoorState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)`; deterministic."""
        position, finds, opens = self.move(state.position, state.has_key, action, params)
        pays = finds | (opens if self.door_pays == "every" else opens & ~state.has_opened)
        state = KeyToDoorState(state.time + 1, position, state.has_key | finds, state.has_opened | opens)
        terminated = self.is_terminated(state, params)
        info = {"discount": 1.0 - terminated.astype(jnp.float32)}
        return self.observe(None, state, action, params), state, pays.astype(jnp.float32), terminated, info

    def is_terminated(self, state: KeyToDoorState, params: Any) -> Bool[Array, ""]:
        """Returns whether the door ends the episode and has been opened."""
        return state.has_opened if self.terminates else jnp.bool_(False)

    def optimal_return(self, params: KeyToDoorParams) -> Float[Array, ""]:
        """Returns what the shortest way collects within the episode, in the mean over starts."""
        middle = self.size // 2
        starts = {"corner": np.zeros((1, 2), np.int32), "centre": np.full((1, 2), middle, np.int32)}
        starts = jnp.asarray(starts.get(self.start, np.asarray(all_cells(self.size))))
        to_key = jnp.maximum(jnp.sum(jnp.abs(starts - params.key[None]), axis=1), 1)
        to_door = to_key + jnp.maximum(jnp.sum(jnp.abs(params.key - params.door)), 1)
        paid = jnp.maximum(params.max_steps_in_episode - to_door + 1, 0)
        if self.door_pays == "once" or self.terminates:
            paid = jnp.minimum(paid, 1)
        return jnp.mean(((to_key <= params.max_steps_in_episode).astype(jnp.int32) + paid).astype(jnp.float32))


def _check(size: int, horizon: int, **options: str) -> None:
    if size < 2 or horizon < 1:
        raise ValueError(f"key-to-door was given size={size} and horizon={horizon}; it needs a size of 2 and a step")
    choices = {
        "start": STARTS,
        "door_pays": DOOR_PAYS,
        "encoding": tuple(ENCODINGS),
        "labels": LABELS,
        "prior": PRIORS,
    }
    for option, value in options.items():
        if value not in choices[option]:
            raise ValueError(f"key-to-door was given {option}={value!r}; choose one of {', '.join(choices[option])}")


def key_to_door(
    *,
    size: int = 9,
    horizon: int = 50,
    start: str = "centre",
    terminates: bool = False,
    door_pays: str = "once",
    encoding: str = "one-hot",
    labels: str = "first",
    prior: str = "train",
    shows_key: bool = True,
) -> Domain:
    """Returns the room with a hidden key and a hidden door; four fifths of the pairs of cells are for training.

    `Domain.transition` knows no episode: from a cell with the key, every step onto the door pays.

    Args:
        size: cells along a side, at least 2.
        horizon: steps of an episode.
        start: `corner` (0, 0), `centre` or `random`.
        terminates: whether the door ends the episode.
        door_pays: `once` in an episode, or at `every` step that ends on it with the key.
        encoding: of the cell, as in the Dark Room; has_key follows as one more number.
        labels: `first` (x, then y, then stay) or `soft` (every move that shortens the way).
        prior: pairs that the exact belief holds possible: those of `train`, or `all`.
        shows_key: whether a network is shown has_key. If not, that number is always 0, and the optimal action depends
            on what happened earlier in the episode: RL² and algorithm distillation, which follow it, can know it, and
            decision pretraining, whose questions come out of the blue, refuses such a domain. Observations themselves
            always hold has_key, so that experts and the belief answer rightly.

    Raises:
        ValueError: if an argument is out of range.
    """
    _check(size, horizon, start=start, door_pays=door_pays, encoding=encoding, labels=labels, prior=prior)
    env = KeyToDoor(size, start=start, terminates=terminates, door_pays=door_pays)
    num_entries, encode_cell = ENCODINGS[encoding]
    train, test = split_indices(size**4)
    make = partial(_params, size=size, horizon=horizon)
    law = partial(enumerated_family, "key-to-door", env, make, horizon=horizon, optimal_return=env.optimal_return)

    def encode(observation: Int[Array, "3"]) -> Float[Array, " D"]:
        has_key = observation[2].astype(jnp.float32) if shows_key else jnp.float32(0.0)
        return jnp.append(encode_cell(observation[:2], size), has_key)

    def expert(observation: Int[Array, "3"], params: KeyToDoorParams) -> Float[Array, "5"]:
        return towards(observation[:2], jnp.where(observation[2] > 0, params.door, params.key), size, labels)

    def transition(uniforms, observation, action, params):
        after, finds, opens = env.move(observation[:2], observation[2] > 0, action, params)
        has_key = (observation[2] > 0) | finds
        return (finds | opens).astype(jnp.float32), jnp.append(after, has_key.astype(jnp.int32))

    return Domain(
        name="key-to-door",
        family=law(train),
        held_out=law(test),
        horizon=horizon,
        context_length=CONTEXT_EPISODES * horizon,
        num_actions=NUM_ACTIONS,
        observation_size=num_entries(size) + 1,
        encode=encode,
        transition=transition,
        sample_query=lambda key, params: jax.random.randint(
            key, (3,), 0, jnp.array([size, size, 2], jnp.int32), jnp.int32
        ),
        expert=expert,
        belief=pair_belief(size, make, labels, None if prior == "all" else train),
        behaviour="uniform" if shows_key else "walk",
        is_ordered=not shows_key,
        pair_index=partial(_pair_index, size=size) if shows_key else None,
        num_pairs=size * size * 2 * NUM_ACTIONS if shows_key else 0,
        shows_state=shows_key,
    )


def _pair_index(observation: Int[Array, "3"], action: Int[Array, ""], *, size: int) -> Int[Array, ""]:
    cell = observation[0] * size + observation[1]
    return ((cell * 2 + observation[2]) * NUM_ACTIONS + action).astype(jnp.int32)


def _params(index: Int[Array, ""], size: int, horizon: int) -> KeyToDoorParams:
    """Returns the room of a pair: index = cell of the key x number of cells + cell of the door."""
    at = all_cells(size)
    return KeyToDoorParams(max_steps_in_episode=jnp.int32(horizon), key=at[index // size**2], door=at[index % size**2])


if "KeyToDoor-metarl" not in gymnax.registered_envs:
    gymnax.register("KeyToDoor-metarl", KeyToDoor)
