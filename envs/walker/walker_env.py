"""The walker as an environment: observation, reward and ends of an episode on a track.

Source: flowersteam/teachDeepRL (Portelas et al. 2019).
"""

from functools import partial
from typing import Any, no_type_check

import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.environment import EnvParams, EnvState
from jaxtyping import Array, Bool, Float, Int, UInt32

from envs.uniform_noise import UniformNoiseEnvironment
from envs.walker.body import BUILDS, Body, make_body
from envs.walker.contacts import hull_touches
from envs.walker.lidar import NUM_RAYS, lidar
from envs.walker.noise import seed_from
from envs.walker.physics import Motion, advance, batch_last, start
from envs.walker.terrain import STUMPS, Terrain
from envs.walker.world import FINISH, PIXEL, TIME_STEP, Vector, rotated

MAX_STEPS = 2000
PUSH = 5.0
"""Newtons of the largest push at the start."""
PROGRESS, UPRIGHT, FALL = 130.0 * PIXEL, 5.0, -100.0
"""Reward per metre, cost per radian of the hull's angle, and reward of the step in which an episode fails."""
VIEW = (600.0 * PIXEL, 400.0 * PIXEL)
"""Width and height of the official window, in which speeds are measured."""
HIP_SPEED, KNEE_SPEED, KNEE_OFFSET = 1.0 / 4.0, 1.0 / 6.0, 1.0
"""How joints are observed."""


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one track
@partial(struct.dataclass, kw_only=True)
class WalkerParams(EnvParams):
    """A body on a track."""

    max_steps_in_episode: Int[Array, ""]
    """Time limit, in steps."""
    terrain: Float[Array, " D"]
    """Parameters of the track, in its own units."""
    body: Body
    """The body; as many legs as the environment was made for."""
    torque: Float[Array, ""]
    """Largest torque of a motor, in N m."""
    action_cost: Float[Array, ""]
    """What a full action of one motor costs per step."""


@no_type_check
@struct.dataclass
class WalkerState(EnvState):
    """A body in motion."""

    time: Int[Array, ""]
    """Steps since the episode began."""
    motion: Motion
    """Where the body is and how it moves."""
    seed: UInt32[Array, "2"]
    """Of the obstacles, which are new in every episode."""
    fails: Bool[Array, ""]
    """Whether the hull touches the track or has left it backwards."""


class Walker(UniformNoiseEnvironment):
    """A hull on L legs that is paid for walking to the end of a track.

    An action in [-1, 1] per motor (hip and knee of each leg in turn; clipped) is a share of the largest torque and, by
    its sign, the direction in which the motor turns. Observation: angle of the hull, its rate of turn, velocity of its
    centre of mass, then per leg hip angle, hip speed, knee angle + 1, knee speed and whether the lower part touched the
    track, then ten lidar rays; the scales are the official ones.

    Reward is 130/30 per metre, less 5 per radian that the hull's angle grows, less the cost of the action; exactly -100
    in the step in which the hull touches the track or is at x < 0, which terminates; so does passing the finish.

    Args:
        num_legs: L, 2 or 4.
        terrain: the kind of track.
        num_sweeps: sweeps of the contact solver.
    """

    num_reset_uniforms = 3
    num_step_uniforms = 0

    def __init__(self, num_legs: int = 2, terrain: Terrain = STUMPS, *, num_sweeps: int = 10):
        super().__init__()
        if num_legs not in (2, 4):
            raise ValueError(f"a walker with {num_legs} legs was asked for; there are builds with 2 and 4 legs")
        if num_sweeps < 1:
            raise ValueError(f"the solver was given {num_sweeps} sweeps; it needs at least 1")
        self.num_legs, self.terrain = num_legs, terrain
        self._advance = batch_last(partial(_advance_and_look, terrain, num_sweeps))
        self._start = batch_last(partial(_start_and_look, terrain))

    @property
    def default_params(self) -> WalkerParams:
        """The default body, or the quadruped, on the easiest track."""
        return walker_params("default" if self.num_legs == 2 else "quadru", self.terrain.low)

    @property
    def num_actions(self) -> int:
        """Two motors a leg."""
        return 2 * self.num_legs

    def action_space(self, params: Any = None) -> spaces.Box:
        """[-1, 1] per motor."""
        return spaces.Box(-1.0, 1.0, (self.num_actions,), jnp.float32)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """Any numbers, 4 + 5 L + 10 of them."""
        return spaces.Box(-jnp.inf, jnp.inf, (4 + 5 * self.num_legs + NUM_RAYS,), jnp.float32)

    def reset_from(self, uniforms: Float[Array, "3"], params: WalkerParams) -> tuple[Float[Array, " O"], WalkerState]:
        """Returns `(observation, state)` at the start of a new track."""
        seed = seed_from(uniforms[:2])
        push = PUSH * (2.0 * uniforms[2] - 1.0)
        motion, observation = self._start(params.body, params.terrain, seed, push)
        return observation, WalkerState(jnp.int32(0), motion, seed, jnp.bool_(False))

    def transition(
        self, uniforms: Float[Array, "0"], state: WalkerState, action: Float[Array, " A"], params: WalkerParams
    ) -> tuple[Float[Array, " O"], WalkerState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)`; deterministic."""
        action = jnp.clip(action, -1.0, 1.0)
        before = state.motion.position
        motion, observation, touches = self._advance(
            params.body, params.torque, params.terrain, state.seed, state.motion, action
        )
        after = motion.position
        state = WalkerState(state.time + 1, motion, state.seed, touches | (after[0] < 0.0))
        cost = params.action_cost * jnp.sum(jnp.abs(action))
        gain = PROGRESS * (after[0] - before[0]) - UPRIGHT * (jnp.abs(after[2]) - jnp.abs(before[2])) - cost
        reward = jnp.where(state.fails, FALL, gain)
        terminated = self.is_terminated(state, params)
        return observation, state, reward, terminated, {"discount": 1.0 - terminated.astype(jnp.float32)}

    def is_terminated(self, state: WalkerState, params: Any) -> Bool[Array, ""]:
        """Returns whether the walker has fallen, left the track, or passed the finish."""
        return state.fails | (state.motion.position[0] > FINISH)


def walker_params(body: str, terrain: tuple[float, ...], max_steps: int = MAX_STEPS) -> WalkerParams:
    """Returns the parameters of a body, by name, on a track.

    Raises:
        ValueError: if there is no body of that name.
    """
    if body not in BUILDS:
        raise ValueError(f"there is no body called {body!r}; choose one of {', '.join(BUILDS)}")
    build = BUILDS[body]
    return WalkerParams(
        max_steps_in_episode=jnp.int32(max_steps),
        terrain=jnp.asarray(terrain, jnp.float32),
        body=make_body(build),
        torque=jnp.float32(build.torque),
        action_cost=jnp.float32(build.action_cost),
    )


def _advance_and_look(
    terrain: Terrain,
    num_sweeps: int,
    body: Body,
    torque: Float[Array, "*#batch"],
    parameters: Float[Array, "D *#batch"],
    seed: UInt32[Array, "2 *#batch"],
    motion: Motion,
    action: Float[Array, "A *#batch"],
) -> tuple[Motion, Float[Array, "O *#batch"], Bool[Array, "*#batch"]]:
    """Returns (motion, observation, whether the hull touches the track) after a step."""
    place = terrain.near(parameters, seed, motion.position[0])
    motion = advance(body, torque, terrain, place, motion, action, num_sweeps)
    root, angle = Vector(motion.position[0], motion.position[1]), motion.position[2]
    touches = hull_touches(body, root, jnp.cos(angle), jnp.sin(angle), terrain, place)
    return motion, observe(body, motion, lidar(terrain, place, root)), touches


def _start_and_look(
    terrain: Terrain,
    body: Body,
    parameters: Float[Array, "D *#batch"],
    seed: UInt32[Array, "2 *#batch"],
    push: Float[Array, "*#batch"],
) -> tuple[Motion, Float[Array, "O *#batch"]]:
    """Returns (motion, observation) at the start."""
    motion = start(body, push)
    root = Vector(motion.position[0], motion.position[1])
    place = terrain.near(parameters, seed, root.x)
    return motion, observe(body, motion, lidar(terrain, place, root))


def observe(body: Body, motion: Motion, rays: Float[Array, "10 *#batch"]) -> Float[Array, "O *#batch"]:
    """Returns the observation of a motion and what the lidar sees."""
    q, v = motion.position, motion.velocity
    centre = rotated(Vector(body.hull_centre[0], body.hull_centre[1]), jnp.cos(q[2]), jnp.sin(q[2]))
    velocity = Vector(v[0] - v[2] * centre.y, v[1] + v[2] * centre.x)
    hull = [
        q[2],
        2.0 * TIME_STEP * v[2],
        0.3 * VIEW[0] * TIME_STEP * velocity.x,
        0.3 * VIEW[1] * TIME_STEP * velocity.y,
    ]
    hip, knee = (slice(start, None, 2) for start in (3, 4))
    touches = motion.touches.astype(jnp.float32)
    legs = jnp.stack([q[hip], HIP_SPEED * v[hip], q[knee] + KNEE_OFFSET, KNEE_SPEED * v[knee], touches], axis=1)
    return jnp.concatenate([jnp.stack(hull), legs.reshape(-1, *q.shape[1:]), rays])
