"""A room with coloured boxes, seen through a camera: going to the box of a hidden colour pays.

Rules as in the four-box room of jon--lee/Miniworld, with a renderer of our own (`envs.raycaster`).

Source: Lee et al. 2023 (DPT), the image-based navigation task.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, no_type_check

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Int

from envs.darkroom import enumerated_belief, split_indices
from envs.domain import Belief, Domain
from envs.family import Task, TaskFamily
from envs.raycaster import Boxes, pixel_rays, render
from envs.uniform_noise import UniformNoiseEnvironment

ROOM = (6.0, 2.74, 6.0)
"""Lengths in x, y (height) and z, in metres."""
BOX_SIZE = 0.8
BOX_RADIUS = BOX_SIZE * math.sqrt(2.0) / 2.0
AGENT_RADIUS = 0.4
EYE_HEIGHT = 1.5
STEP, TURN = 0.7, math.radians(15.0)
NEAR = BOX_RADIUS + AGENT_RADIUS + 1.05
"""Within this distance of the target's centre it pays, if it is in front."""
FRONT = math.radians(30.0)
"""What is at most this far to the left or to the right is in front."""
START = (ROOM[0] / 2.0, ROOM[2] / 2.0)
LEFT, RIGHT, FORWARD, STAY = range(4)
NUM_ACTIONS = 4
PALETTE = np.array(
    [
        [0.10, 0.15, 0.95],
        [0.95, 0.10, 0.10],
        [0.10, 0.80, 0.15],
        [0.95, 0.90, 0.10],
        [0.60, 0.10, 0.75],
        [0.10, 0.80, 0.85],
        [1.00, 0.50, 0.05],
        [0.95, 0.45, 0.70],
    ],
    np.float32,
)
"""Colours of boxes: blue, red, green, yellow, purple, cyan, orange, pink."""
_FAR = ROOM[0] - BOX_RADIUS
CORNERS = np.array([[BOX_RADIUS, BOX_RADIUS], [_FAR, BOX_RADIUS], [_FAR, _FAR], [BOX_RADIUS, _FAR]], np.float32)
"""Where the blue, the red, the green and the yellow box stand in the original."""
PLACES = np.array([cell for cell in itertools.product((1.0, 3.0, 5.0), repeat=2) if cell != (3.0, 3.0)], np.float32)
"""Middles of the squares, 2 m wide, that a box may stand in: all but that of the start."""
JITTER = 1.0 - BOX_RADIUS
"""How far from the middle, along x and z, so that boxes neither overlap nor leave the room, however turned."""
IMAGE_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGE_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet, by which networks are shown images."""
LAYOUTS = ("general", "corners")
MAX_LIFETIME = 1000
"""Agent updates of a life in one room, for learners that are trained on it."""


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one task
@partial(struct.dataclass, kw_only=True)
class VisualRoomParams(environment.EnvParams):
    """A room."""

    positions: Float[Array, "N 2"]
    """Middles (x, z) of the boxes."""
    colours: Int[Array, " N"]
    """Their colours, as indices into `PALETTE`."""
    target: Int[Array, ""]
    """Which of the boxes pays."""


class Pose(NamedTuple):
    """Where the agent is."""

    position: Float[Array, "2"]
    """(x, z) in metres."""
    heading: Float[Array, ""]
    """In [-pi, pi): 0 looks along +x, and turning left makes it larger."""


class VisualRoomState(NamedTuple):
    """What changes."""

    time: Int[Array, ""]
    """Steps since the episode began."""
    pose: Pose
    """Where the agent is."""


class VisualRoom(UniformNoiseEnvironment):
    """Turn left or right by 15 degrees, go 0.7 m forward, or stay; near the target and facing it, every step pays 1.

    Going forward is refused if the agent's disc would touch a wall or the target's; it can walk through other boxes.
    Episodes begin in the middle, looking along +x, and only end by time.

    An observation is the image, row by row, in [0, 1]; then the cosine and the sine of the heading; then x, z and the
    heading itself. These last three are what the simulator has to know to go on from an observation. They are not for
    networks: `Domain.encode` leaves them out.

    Args:
        image_size: pixels along a side.
        samples: rays per pixel along a side; 2 smoothes edges at four times the cost.
    """

    num_reset_uniforms = 0
    num_step_uniforms = 0

    def __init__(self, image_size: int = 25, *, samples: int = 1):
        self.image_size = image_size
        self._rays = pixel_rays(image_size, samples=samples)

    @property
    def default_params(self) -> VisualRoomParams:
        """The original layout with a blue target, 50 steps."""
        return corner_params(jnp.int32(0), 50)

    @property
    def num_actions(self) -> int:
        """Four."""
        return NUM_ACTIONS

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Discrete(4): left, right, forward, stay."""
        return spaces.Discrete(NUM_ACTIONS)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """Colours, cosine and sine, and the pose."""
        image = np.zeros((self.image_size**2 * 3,), np.float32)
        pi = np.float32(np.pi)
        low = np.append(image, np.array([-1.0, -1.0, 0.0, 0.0, -pi], np.float32))
        high = np.append(image + 1.0, np.array([1.0, 1.0, ROOM[0], ROOM[2], pi], np.float32))
        return spaces.Box(jnp.asarray(low), jnp.asarray(high), low.shape, jnp.float32)

    def observe(self, key: Any, state: VisualRoomState, action: Any, params: Any) -> Float[Array, " D"]:
        """Returns the observation."""
        return self.look(state.pose, params)

    def look(self, pose: Pose, params: Any) -> Float[Array, " D"]:
        """Returns what is observed from a pose."""
        position, heading = pose
        eye = jnp.stack([position[0], jnp.float32(EYE_HEIGHT), position[1]])
        image = render(self._rays, eye, heading, boxes_of(params), ROOM)
        known = jnp.stack([jnp.cos(heading), jnp.sin(heading), *position, heading])
        return jnp.concatenate([image.reshape(-1), known])

    def reset_from(self, uniforms: Float[Array, "0"], params: Any) -> tuple[Float[Array, " D"], VisualRoomState]:
        """Returns `(observation, state)` in the middle; deterministic."""
        state = VisualRoomState(jnp.int32(0), Pose(jnp.array(START, jnp.float32), jnp.float32(0.0)))
        return self.look(state.pose, params), state

    def transition(
        self, uniforms: Float[Array, "0"], state: VisualRoomState, action: Int[Array, ""], params: Any
    ) -> tuple[Float[Array, " D"], VisualRoomState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)`; deterministic."""
        pose = move(state.pose, action, params)
        state = VisualRoomState(state.time + 1, pose)
        info = {"discount": jnp.float32(1.0)}
        return self.look(pose, params), state, reward(pose, params), jnp.bool_(False), info

    def is_terminated(self, state: VisualRoomState, params: Any) -> Bool[Array, ""]:
        """Never."""
        return jnp.bool_(False)


def facing(pose: Pose, point: Float[Array, "2"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns the distance of a point and its bearing in [-pi, pi]: 0 straight ahead, positive to the left."""
    offset = point - pose.position
    cos, sin = jnp.cos(pose.heading), jnp.sin(pose.heading)
    ahead, leftwards = cos * offset[0] - sin * offset[1], -sin * offset[0] - cos * offset[1]
    return jnp.hypot(offset[0], offset[1]), jnp.arctan2(leftwards, ahead)


def move(pose: Pose, action: Int[Array, ""], params: VisualRoomParams) -> Pose:
    """Returns the pose after an action."""
    turn = jnp.where(action == LEFT, TURN, jnp.where(action == RIGHT, -TURN, 0.0))
    direction = jnp.stack([jnp.cos(pose.heading), -jnp.sin(pose.heading)])
    ahead = pose.position + STEP * direction
    room = jnp.array([ROOM[0], ROOM[2]], jnp.float32)
    touches_wall = jnp.any((ahead < AGENT_RADIUS) | (ahead > room - AGENT_RADIUS))
    offset = params.positions[params.target] - ahead
    touches_target = jnp.hypot(offset[0], offset[1]) < BOX_RADIUS + AGENT_RADIUS
    goes = (action == FORWARD) & ~touches_wall & ~touches_target
    return Pose(jnp.where(goes, ahead, pose.position), wrapped(pose.heading + turn))


def wrapped(angle: Float[Array, ""]) -> Float[Array, ""]:
    """Returns an angle in [-3 pi, 3 pi) as one in [-pi, pi), itself if it is one already."""
    return angle - jnp.where(angle >= jnp.pi, 2.0 * jnp.pi, jnp.where(angle < -jnp.pi, -2.0 * jnp.pi, 0.0))


def reward(pose: Pose, params: VisualRoomParams) -> Float[Array, ""]:
    """Returns 1 near the target and facing it, else 0."""
    distance, bearing = facing(pose, params.positions[params.target])
    return ((distance < NEAR) & (jnp.abs(bearing) <= FRONT)).astype(jnp.float32)


def expert_action(pose: Pose, params: VisualRoomParams) -> Int[Array, ""]:
    """Returns the official expert's action: turn the shorter way until the target is in front, go near it, stay."""
    distance, bearing = facing(pose, params.positions[params.target])
    turn = jnp.where(bearing > 0, LEFT, RIGHT)
    return jnp.where(jnp.abs(bearing) > FRONT, turn, jnp.where(distance < NEAR, STAY, FORWARD)).astype(jnp.int32)


def boxes_of(params: VisualRoomParams) -> Boxes:
    """Returns the boxes of a room as the renderer takes them."""
    half = BOX_SIZE / 2.0
    ground = jnp.zeros((params.positions.shape[0],), jnp.float32)
    x, z = params.positions[:, 0], params.positions[:, 1]
    low = jnp.stack([x - half, ground, z - half], axis=1)
    high = jnp.stack([x + half, ground + BOX_SIZE, z + half], axis=1)
    return Boxes(low, high, jnp.asarray(PALETTE)[params.colours])


def pose_of(observation: Float[Array, " D"]) -> Pose:
    """Returns the pose that an observation ends with."""
    return Pose(observation[-3:-1], observation[-1])


def random_pose(key: Array) -> Pose:
    """Returns a pose anywhere in the room, walls and boxes notwithstanding; consumes the key."""
    x, z, turn = jax.random.uniform(key, (3,))
    return Pose(jnp.stack([x * ROOM[0], z * ROOM[2]]), (2.0 * turn - 1.0) * jnp.pi)


def corner_params(target: Int[Array, ""], horizon: int) -> VisualRoomParams:
    """Returns the original room in which this box pays: 0 blue, 1 red, 2 green, 3 yellow."""
    return VisualRoomParams(
        max_steps_in_episode=jnp.int32(horizon),
        positions=jnp.asarray(CORNERS),
        colours=jnp.arange(len(CORNERS), dtype=jnp.int32),
        target=target,
    )


def place_sets(num_boxes: int) -> Int[np.ndarray, "n N"]:
    """Returns every set of places, as ascending indices into `PLACES`, that this many boxes may stand in."""
    return np.array(list(itertools.combinations(range(len(PLACES)), num_boxes)), np.int32)


def _quantile_index(quantile: Float[Array, ""], count: int) -> Int[Array, ""]:
    return jnp.clip((quantile * count).astype(jnp.int32), 0, count - 1)


def _general_family(env: VisualRoom, num_boxes: int, horizon: int, sets: Int[np.ndarray, "n N"]) -> TaskFamily:
    """Returns the law of rooms whose boxes stand in one of these sets of places.

    A task vector holds quantiles of the set, of the offsets from the middles, and of the target, and as many numbers
    as there are colours: their order is that in which colours are given to boxes.
    """
    num_dimensions = 1 + 2 * num_boxes + 1 + len(PALETTE)

    def decode(vector: Float[Array, " D"]) -> Task:
        vector = jnp.clip(vector, 0.0, 1.0)
        offsets, rest = vector[1 : 1 + 2 * num_boxes].reshape(num_boxes, 2), vector[1 + 2 * num_boxes :]
        places = jnp.asarray(sets)[_quantile_index(vector[0], len(sets))]
        params = VisualRoomParams(
            max_steps_in_episode=jnp.int32(horizon),
            positions=jnp.asarray(PLACES)[places] + (2.0 * offsets - 1.0) * JITTER,
            colours=jnp.argsort(rest[1:])[:num_boxes].astype(jnp.int32),
            target=_quantile_index(rest[0], num_boxes),
        )
        return Task(params, jnp.int32(MAX_LIFETIME))

    def sample(key: Array) -> Task:
        return decode(jax.random.uniform(key, (num_dimensions,)))

    return TaskFamily("visual-room", env, sample, decode, num_dimensions, MAX_LIFETIME, horizon)


def _corner_family(env: VisualRoom, horizon: int) -> TaskFamily:
    """Returns the law of the four original rooms; a task vector holds the target's quantile."""

    def decode(vector: Float[Array, "1"]) -> Task:
        return Task(corner_params(_quantile_index(vector[0], len(CORNERS)), horizon), jnp.int32(MAX_LIFETIME))

    def sample(key: Array) -> Task:
        return decode(jax.random.uniform(key, (1,)))

    return TaskFamily("visual-room", env, sample, decode, 1, MAX_LIFETIME, horizon)


def encode(observation: Float[Array, " D"]) -> Float[Array, " E"]:
    """Returns what a network is shown: the image with ImageNet's mean and deviation taken out, cosine and sine."""
    image = (observation[:-5].reshape(-1, 3) - jnp.asarray(IMAGE_MEAN)[None]) / jnp.asarray(IMAGE_DEVIATION)[None]
    return jnp.concatenate([image.reshape(-1), observation[-5:-3]])


def visual_room(
    *, layout: str = "general", num_boxes: int = 4, image_size: int = 25, horizon: int = 50, samples: int = 1
) -> Domain:
    """Returns the room in which the box of a hidden colour pays, seen as an image and a heading.

    In the `general` layout boxes of random, distinct colours stand in random places, and any of them is as probably
    the target as any other. Four fifths of the sets of squares that boxes can occupy are for training, the rest for
    testing, so that what a room looks like tells nothing about its target, in either.

    The `corners` are the original: four tasks, which leave nothing to hold out, so that test tasks are training tasks.
    Their exact belief is about what a network is shown, rewards but no next images: it does not use that the target
    alone is in the way of going forward.

    Args:
        layout: `general` or `corners`.
        num_boxes: from 2 to 7 in the general layout; 4 in the corners.
        image_size: pixels along a side, at least 8.
        horizon: steps of an episode.
        samples: rays per pixel along a side, 1 or more.

    Raises:
        ValueError: if an argument is out of range.
    """
    _check(layout, num_boxes, image_size, horizon, samples)
    env = VisualRoom(image_size, samples=samples)

    def expert(observation: Float[Array, " D"], params: VisualRoomParams) -> Float[Array, "4"]:
        return jax.nn.one_hot(expert_action(pose_of(observation), params), NUM_ACTIONS, dtype=jnp.float32)

    def transition(uniforms, observation, action, params):
        pose = move(pose_of(observation), action, params)
        return reward(pose, params), env.look(pose, params)

    if layout == "corners":
        family = held_out = _corner_family(env, horizon)
        belief = _corner_belief(horizon, expert)
    else:
        sets = place_sets(num_boxes)
        family, held_out = (_general_family(env, num_boxes, horizon, sets[part]) for part in split_indices(len(sets)))
        belief = None
    return Domain(
        name="visual-room",
        family=family,
        held_out=held_out,
        horizon=horizon,
        context_length=horizon,
        num_actions=NUM_ACTIONS,
        observation_size=image_size**2 * 3 + 2,
        encode=encode,
        transition=transition,
        sample_query=lambda key, params: env.look(random_pose(key), params),
        expert=expert,
        belief=belief,
        image_shape=(image_size, image_size, 3),
        shows_next=False,
    )


def _check(layout: str, num_boxes: int, image_size: int, horizon: int, samples: int) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"visual-room was given layout={layout!r}; choose one of {', '.join(LAYOUTS)}")
    if layout == "corners" and num_boxes != len(CORNERS):
        raise ValueError(f"visual-room was given num_boxes={num_boxes}; the corners hold 4, or choose layout=general")
    if not 2 <= num_boxes < len(PLACES):
        raise ValueError(f"visual-room was given num_boxes={num_boxes}; it can have 2 to {len(PLACES) - 1} boxes")
    if image_size < 8 or horizon < 1 or samples < 1:
        raise ValueError(
            f"visual-room was given image_size={image_size}, horizon={horizon}, samples={samples}; it needs at least 8 "
            "pixels, a step and a sample"
        )


def _corner_belief(horizon: int, expert: Callable[[Any, Any], Float[Array, "4"]]) -> Belief:
    """Returns inference about which corner pays, from what rewards would have been in each of the four rooms."""

    def consistent(observation, action, paid, next_observation, params):
        return (reward(move(pose_of(observation), action, params), params) > 0.5) == (paid > 0.5)

    hypotheses = jax.vmap(lambda target: corner_params(target, horizon))(jnp.arange(len(CORNERS), dtype=jnp.int32))
    return enumerated_belief(hypotheses, consistent, expert)


if "VisualRoom-metarl" not in gymnax.registered_envs:
    gymnax.register("VisualRoom-metarl", VisualRoom)
