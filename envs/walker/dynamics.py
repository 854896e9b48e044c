"""Rigid-body dynamics of a hull with legs, in coordinates that let the legs feel each other through the hull only.

Coordinates q [3 + 2 L]: x and y of the hull's origin, angle of the hull, then hip and knee angle of every leg. The
mass matrix is a block arrow [[A, C], [C', B]] with one 2 x 2 block in B per leg. With G = C B^-1, the velocities of
the root, r = q'[:3], and u = q'[3:] + G' r have the block-diagonal mass matrix (S, B), S = A - G C'. All inverses are
closed forms.

Shapes have structure first and a batch of worlds, `*batch`, last: in that order the inner loops run over the batch.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.walker.body import Body
from envs.walker.world import GRAVITY, TIME_STEP, Vector, cross, dot, rotated, turned


class Pose(NamedTuple):
    """Where the parts are, relative to the hull's origin, in world axes; arrays of legs are [L, *batch]."""

    root: Vector
    """The hull's origin in the world, [*batch]."""
    cos: Float[Array, "*#batch"]
    """Cosine of the hull's angle."""
    sin: Float[Array, "*#batch"]
    """Sine of the hull's angle."""
    centre: Vector
    """The hull's centre of mass, [*batch]."""
    hip: Vector
    """Hips."""
    knee: Vector
    """Knees."""
    upper: Vector
    """Direction from the hip to the knee, of length 1."""
    lower: Vector
    """Direction from the knee to the foot, of length 1."""


def pose(body: Body, q: Float[Array, "dof *#batch"]) -> Pose:
    """Returns where the parts are at coordinates `q`."""
    cos, sin = jnp.cos(q[2]), jnp.sin(q[2])
    hip_angle = q[2][None] + q[3::2]
    knee_angle = hip_angle + q[4::2]
    hip = rotated(Vector(body.hips[:, 0], body.hips[:, 1]), cos[None], sin[None])
    upper = Vector(jnp.sin(hip_angle), -jnp.cos(hip_angle))
    lower = Vector(jnp.sin(knee_angle), -jnp.cos(knee_angle))
    centre = rotated(Vector(body.hull_centre[0], body.hull_centre[1]), cos, sin)
    return Pose(Vector(q[0], q[1]), cos, sin, centre, hip, hip + upper * body.length[None], upper, lower)


class Arms(NamedTuple):
    """Velocities of the middles of leg parts per unit of each rate of turn, [L, *batch]."""

    upper_root: Vector
    """Upper part, hull turning."""
    upper_hip: Vector
    """Upper part, hip turning."""
    lower_root: Vector
    """Lower part, hull turning."""
    lower_hip: Vector
    """Lower part, hip turning."""
    lower_knee: Vector
    """Lower part, knee turning."""


def arms(body: Body, at: Pose) -> Arms:
    """Returns the columns of the Jacobians of the middles of the parts."""
    half = body.length[None] * 0.5
    upper_hip, lower_knee = turned(at.upper * half), turned(at.lower * half)
    lower_hip = turned(at.knee - at.hip) + lower_knee
    hip = turned(at.hip)
    return Arms(hip + upper_hip, upper_hip, hip + lower_hip, lower_hip, lower_knee)


class Masses(NamedTuple):
    """The decoupled mass matrix."""

    gain: Float[Array, "2 3 L *#batch"]
    """G': `gain[j, i]` is the speed of joint j (hip, knee) that unit speed of root coordinate i takes away."""
    legs: Float[Array, "2 2 L *#batch"]
    """B^-1 of every leg."""
    root: Float[Array, "3 3 *#batch"]
    """S^-1."""


def masses(body: Body, at: Pose) -> Masses:
    """Returns the decoupled mass matrix at a pose."""
    arm = arms(body, at)
    (b00, b01, b11), coupling = _leg_blocks(body, arm)
    scale = 1.0 / (b00 * b11 - b01 * b01)
    i00, i01, i11 = b11 * scale, -b01 * scale, b00 * scale
    gain = [[hip * i00 + knee * i01 for hip, knee in coupling], [hip * i01 + knee * i11 for hip, knee in coupling]]
    root = _root_block(body, at, arm)

    def schur(i: int, j: int) -> Array:
        (hip, knee), (gain_hip, gain_knee) = coupling[j], (gain[0][i], gain[1][i])
        return root[i][j] - jnp.sum(gain_hip * hip + gain_knee * knee, axis=0)

    inverse = _symmetric_inverse(schur(0, 0), schur(0, 1), schur(0, 2), schur(1, 1), schur(1, 2), schur(2, 2))
    legs = jnp.stack([jnp.stack([i00, i01]), jnp.stack([i01, i11])])
    return Masses(jnp.stack([jnp.stack(one) for one in gain]), legs, inverse)


def _leg_blocks(body: Body, arm: Arms) -> tuple[tuple[Array, Array, Array], list[tuple[Array, Array]]]:
    """Returns B as (hip-hip, hip-knee, knee-knee) and C as (hip, knee) for x, y and angle of the root; [L, *batch]."""
    m1, m2 = body.upper_mass[None], body.lower_mass[None]
    i1, i2 = body.upper_inertia[None], body.lower_inertia[None]
    knee_knee = m2 * dot(arm.lower_knee, arm.lower_knee) + i2
    hip_knee = m2 * dot(arm.lower_hip, arm.lower_knee) + i2
    hip_hip = m1 * dot(arm.upper_hip, arm.upper_hip) + i1 + m2 * dot(arm.lower_hip, arm.lower_hip) + i2
    hip, knee = arm.upper_hip * m1 + arm.lower_hip * m2, arm.lower_knee * m2
    turn_hip = m1 * dot(arm.upper_root, arm.upper_hip) + i1 + m2 * dot(arm.lower_root, arm.lower_hip) + i2
    turn_knee = m2 * dot(arm.lower_root, arm.lower_knee) + i2
    return (hip_hip, hip_knee, knee_knee), [(hip.x, knee.x), (hip.y, knee.y), (turn_hip, turn_knee)]


def _root_block(body: Body, at: Pose, arm: Arms) -> list[list[Array]]:
    """Returns A, [3][3] of [*batch]."""
    m1, m2 = body.upper_mass[None], body.lower_mass[None]
    moment = arm.upper_root * m1 + arm.lower_root * m2
    hull = turned(at.centre) * body.hull_mass
    x, y = hull.x + jnp.sum(moment.x, axis=0), hull.y + jnp.sum(moment.y, axis=0)
    turning = m1 * dot(arm.upper_root, arm.upper_root) + m2 * dot(arm.lower_root, arm.lower_root)
    turning = turning + body.upper_inertia[None] + body.lower_inertia[None]
    inertia = body.hull_inertia + body.hull_mass * dot(at.centre, at.centre) + jnp.sum(turning, axis=0)
    mass = body.hull_mass + at.hip.x.shape[0] * (body.upper_mass + body.lower_mass)
    zero = jnp.zeros_like(mass)
    return [[mass, zero, x], [zero, mass, y], [x, y, inertia]]


def _symmetric_inverse(a: Array, b: Array, c: Array, d: Array, e: Array, f: Array) -> Float[Array, "3 3 *#batch"]:
    """Returns the inverse of [[a, b, c], [b, d, e], [c, e, f]] by cofactors."""
    xx, xy, xz = d * f - e * e, c * e - b * f, b * e - c * d
    yy, yz, zz = a * f - c * c, b * c - a * e, a * d - b * b
    scale = 1.0 / (a * xx + b * xy + c * xz)
    rows = ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))
    return jnp.stack([jnp.stack([entry * scale for entry in row]) for row in rows])


Force = tuple[Float[Array, "3 *#batch"], Float[Array, "2 L *#batch"]]
"""On the root, and on (hip, knee) of every leg."""


class Parts(NamedTuple):
    """A vector for the centre of every part of the body."""

    hull: Vector
    """[*batch]."""
    upper: Vector
    """[L, *batch]."""
    lower: Vector
    """[L, *batch]."""


def part_places(body: Body, at: Pose) -> Parts:
    """Returns where the parts' centres are, relative to the hull's origin."""
    half = body.length[None] * 0.5
    return Parts(at.centre, at.hip + at.upper * half, at.knee + at.lower * half)


def part_velocities(arm: Arms, at: Pose, velocity: Float[Array, "dof *#batch"]) -> Parts:
    """Returns the velocities of the parts' centres, relative to the hull's origin."""
    turn, hip, knee = velocity[2], velocity[3::2], velocity[4::2]
    upper = arm.upper_root * turn[None] + arm.upper_hip * hip
    lower = arm.lower_root * turn[None] + arm.lower_hip * hip + arm.lower_knee * knee
    return Parts(turned(at.centre) * turn, upper, lower)


def pull(body: Body, arm: Arms, at: Pose, ways: Parts) -> Force:
    """Returns the generalised forces of forces at the parts' centres: `ways` times the masses of the parts."""
    hull = ways.hull * body.hull_mass
    upper, lower = ways.upper * body.upper_mass[None], ways.lower * body.lower_mass[None]
    joints = [dot(arm.upper_hip, upper) + dot(arm.lower_hip, lower), dot(arm.lower_knee, lower)]
    turning = cross(at.centre, hull) + jnp.sum(dot(arm.upper_root, upper) + dot(arm.lower_root, lower), axis=0)
    total = hull + Vector(jnp.sum(upper.x + lower.x, axis=0), jnp.sum(upper.y + lower.y, axis=0))
    return jnp.stack([total.x, total.y, turning]), jnp.stack(joints)


def inertial_change(
    body: Body, at: Pose, q: Float[Array, "dof *#batch"], velocity: Float[Array, "dof *#batch"]
) -> Force:
    """Returns the generalised impulse of gravity, and of parts that keep the velocity of the last step, in one step.

    Parts fly straight while joints turn: what they had at the pose of one step ago is what they bring along. To first
    order this is the centrifugal force, but it conserves momentum exactly.
    """
    arm, earlier = arms(body, at), pose(body, q - TIME_STEP * velocity)
    now, then = part_velocities(arm, at, velocity), part_velocities(arms(body, earlier), earlier, velocity)
    fall = Vector(0.0, -GRAVITY * TIME_STEP)
    ways = Parts(*(_plus(before - after, fall) for before, after in zip(then, now, strict=True)))
    return pull(body, arm, at, ways)


def straight_flight(
    body: Body, at: Pose, q: Float[Array, "dof *#batch"], velocity: Float[Array, "dof *#batch"]
) -> Force:
    """Returns the generalised impulse that moves parts from where turning joints take them to where they fly.

    It acts as a displacement: multiplied with the inverse mass matrix it is a change of coordinates.
    """
    arm, next_pose = arms(body, at), pose(body, q + TIME_STEP * velocity)
    speeds = part_velocities(arm, at, velocity)
    here, there = part_places(body, at), part_places(body, next_pose)
    ways = (a + speed * TIME_STEP - b for a, speed, b in zip(here, speeds, there, strict=True))
    return pull(body, arm, at, Parts(*ways))


def _plus(a: Vector, b: Vector) -> Vector:
    return Vector(a.x + b.x, a.y + b.y)


def decouple(masses: Masses, velocity: Float[Array, "dof *#batch"]) -> Force:
    """Returns (r, u)."""
    joints = jnp.stack([velocity[3::2], velocity[4::2]])
    return velocity[:3], joints + jnp.sum(masses.gain * velocity[:3][None, :, None], axis=1)


def couple(
    masses: Masses, root: Float[Array, "3 *#batch"], legs: Float[Array, "2 L *#batch"]
) -> Float[Array, "dof *#batch"]:
    """Returns q' of (r, u)."""
    joints = legs - jnp.sum(masses.gain * root[None, :, None], axis=1)
    return jnp.concatenate([root, jnp.swapaxes(joints, 0, 1).reshape(-1, *root.shape[1:])])


def response(masses: Masses, impulse: Force) -> Force:
    """Returns the change of (r, u) under generalised impulses."""
    root, legs = impulse
    root = root - jnp.sum(masses.gain * legs[:, None], axis=(0, 2))
    return jnp.sum(masses.root * root[None], axis=1), jnp.sum(masses.legs * legs[None], axis=1)
