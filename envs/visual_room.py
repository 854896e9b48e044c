"""A room with coloured boxes, seen through a camera: going to the box of a hidden colour pays.

Rules as in the four-box room of jon--lee/Miniworld, with a renderer of our own (`envs.raycaster`).

Source: Lee et al. 2023 (DPT), the image-based navigation task.
"""

import math
from functools import partial
from typing import Any, NamedTuple, no_type_check

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Int

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


if "VisualRoom-metarl" not in gymnax.registered_envs:
    gymnax.register("VisualRoom-metarl", VisualRoom)
