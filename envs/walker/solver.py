"""Impulses that hold motors, limits and contacts: projected Gauss-Seidel in the decoupled coordinates (r, u).

One sweep goes through the legs' joints (motor, then limit, of hip and knee) and through all contacts (friction, then
normal). A row of leg l involves r and the two numbers of its own leg only. Friction and normal of a contact, and the
rows of a leg's joints, are solved from speeds taken once, with the effect of the earlier row on the later added: the
same numbers as one by one, in fewer operations.

Source: Catto 2005, "Iterative dynamics with temporal coherence"; constants of Box2D 2.3. The relaxation that takes back
the speed with which overlaps are corrected is as in Box2D 3 (soft step).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.walker.contacts import Contacts
from envs.walker.dynamics import Masses, Pose
from envs.walker.world import TIME_STEP, Vector, cross

FRICTION = (0.2 * 2.5) ** 0.5
"""Friction of the mix of leg (0.2) and ground (2.5)."""
SLOP = 0.005
"""Overlap in metres that is not corrected."""
SOFTNESS = 1e-6
"""Added to the inverse of effective masses."""
LOW, HIGH = (-0.8, -1.6), (1.1, -0.1)
"""Limits of hip and knee, in radians."""
LIMIT_SLOP = math.radians(2.0)
"""Radians beyond a limit that are not corrected."""
FREE = 1e6
"""A speed that no joint reaches."""
MOTOR_SPEED = (4.0, 6.0)
"""Speed that the motors of hip and knee aim at, in rad/s."""
WARM_START = 0.9
"""Share of the last step's contact impulses that a step starts with."""

Velocity = tuple[Float[Array, "3 *batch"], Float[Array, "2 L *batch"]]
"""(r, u)."""
Split = tuple[Float[Array, "3 *batch"], list[Float[Array, "2 *batch"]]]
"""(r, u of every leg)."""


class Joints(NamedTuple):
    """Rows of the joints; [2, ...] is (hip, knee)."""

    gain: Float[Array, "2 3 L *batch"]
    """Speed of a joint is u minus this times r."""
    on_root: Float[Array, "2 3 L *batch"]
    """Change of r per unit of impulse."""
    on_leg: Float[Array, "2 2 L *batch"]
    """Change of u per unit of impulse."""
    mass: Float[Array, "2 L *batch"]
    """Effective mass."""
    coupling: Float[Array, "L *batch"]
    """Change of the knee's speed per unit of the hip's impulse."""
    target: Float[Array, "2 L *batch"]
    """Speed of the motor."""
    strength: Float[Array, "2 L *batch"]
    """Largest impulse of the motor."""
    low: Float[Array, "2 L *batch"]
    """How far below the lower limit, less its slop."""
    high: Float[Array, "2 L *batch"]
    """How far below the upper limit, more its slop."""


class Rows(NamedTuple):
    """Rows of the contacts; [2, ...] is (tangent, normal), [5, ...] is (r, u of the leg)."""

    jacobian: Float[Array, "6 L 2 5 *batch"]
    """Speed of the contact per unit of velocity."""
    response: Float[Array, "6 L 2 5 *batch"]
    """Change of velocity per unit of impulse."""
    mass: Float[Array, "6 L 2 *batch"]
    """Effective mass, 0 without contact."""
    coupling: Float[Array, "6 L *batch"]
    """Change of the normal speed per unit of the tangential impulse."""
    friction: Float[Array, "6 L *batch"]
    """Coefficient of friction."""
    depth: Float[Array, "6 L *batch"]
    """Overlap."""


class Impulses(NamedTuple):
    """Accumulated impulses."""

    contacts: Float[Array, "6 L 2 *batch"]
    """(Tangent, normal) of every contact."""
    joints: Float[Array, "3 2 L *batch"]
    """(Motor, lower limit, upper limit) of (hip, knee)."""


def joint_rows(
    masses: Masses, q: Float[Array, "dof *batch"], action: Float[Array, "A *batch"], torque: Float[Array, "*batch"]
) -> Joints:
    """Returns the rows of motors, which actions in [-1, 1] drive, and of limits."""
    on_root = -jnp.sum(masses.root[None, :, :, None] * masses.gain[:, None], axis=2)
    through_root = -jnp.sum(masses.gain[:, None] * on_root[None], axis=2)
    response = through_root + masses.legs
    diagonal = jnp.stack([response[0, 0], response[1, 1]])
    drive, angle = jnp.stack([action[0::2], action[1::2]]), jnp.stack([q[3::2], q[4::2]])
    per_joint = lambda pair: jnp.asarray(pair, jnp.float32).reshape(2, *[1] * (angle.ndim - 1))  # noqa: E731
    return Joints(
        gain=masses.gain,
        on_root=on_root,
        on_leg=masses.legs,
        mass=1.0 / (diagonal + SOFTNESS),
        coupling=response[0, 1],
        target=jnp.sign(drive) * per_joint(MOTOR_SPEED),
        strength=jnp.abs(drive) * (torque * TIME_STEP)[None, None],
        low=per_joint(LOW) - LIMIT_SLOP - angle,
        high=per_joint(HIGH) + LIMIT_SLOP - angle,
    )


def contact_rows(masses: Masses, at: Pose, contacts: Contacts) -> Rows:
    """Returns the rows of the contacts."""
    normal = _jacobian(masses, at, contacts, contacts.normal)
    tangent = _jacobian(masses, at, contacts, Vector(contacts.normal.y, -contacts.normal.x))
    jacobian = [jnp.stack([a, b], axis=2) for a, b in zip(tangent, normal, strict=True)]
    response = [sum(masses.root[i, j][None, None, None] * jacobian[j] for j in range(3)) for i in range(3)]
    response += [sum(masses.legs[i, j][None, :, None] * jacobian[3 + j] for j in range(2)) for i in range(2)]
    inverse_mass = sum(a * b for a, b in zip(jacobian, response, strict=True))
    is_active = contacts.depth > 0.0
    coupling = sum(a[:, :, 1] * b[:, :, 0] for a, b in zip(jacobian, response, strict=True))
    return Rows(
        jacobian=jnp.stack(jacobian, axis=3),
        response=jnp.stack(response, axis=3),
        mass=jnp.where(is_active[:, :, None], 1.0 / (inverse_mass + SOFTNESS), 0.0),
        coupling=coupling,
        friction=jnp.full_like(coupling, FRICTION),
        depth=contacts.depth,
    )


def _jacobian(masses: Masses, at: Pose, contacts: Contacts, direction: Vector) -> list[Float[Array, "6 L *batch"]]:
    """Returns the five columns of the speed at the contacts along a direction, decoupled."""
    point = contacts.point
    hip = cross(Vector(point.x - at.hip.x[None], point.y - at.hip.y[None]), direction)
    knee = cross(Vector(point.x - at.knee.x[None], point.y - at.knee.y[None]), direction)
    knee = jnp.concatenate([knee[:-1], jnp.zeros_like(knee[-1:])])  # the last contact is above the knee
    root = (direction.x, direction.y, cross(point, direction))
    gain = masses.gain[:, :, None]
    return [*(one - gain[0, i] * hip - gain[1, i] * knee for i, one in enumerate(root)), hip, knee]


def solve_velocity(
    joints: Joints, rows: Rows, velocity: Velocity, warm: Float[Array, "6 L 2 *batch"], num_sweeps: int
) -> tuple[Velocity, Float[Array, "6 L 2 *batch"]]:
    """Returns ((r, u), contact impulses) after motors, limits and contacts have acted on a free velocity."""
    impulse = jnp.where(rows.mass > 0.0, warm * WARM_START, 0.0)
    push = jnp.sum(rows.response * impulse[:, :, :, None], axis=(0, 2))
    root = velocity[0] + jnp.sum(push[:, :3], axis=0)
    legs = velocity[1] + jnp.swapaxes(push[:, 3:], 0, 1)
    joints = joints._replace(
        low=jnp.where(joints.low > -LIMIT_SLOP, 0.0, -FREE), high=jnp.where(joints.high < LIMIT_SLOP, 0.0, FREE)
    )
    velocity, impulses = _sweeps(joints, rows._replace(depth=jnp.zeros_like(rows.depth)), (root, legs), impulse, num_sweeps)
    return velocity, impulses


def solve_position(joints: Joints, rows: Rows, velocity: Velocity, drift: Velocity, num_sweeps: int) -> Velocity:
    """Returns the displacement that corrects overlaps and limits after a step with this velocity.

    It starts from `drift`; neither motors nor friction resist it, and it has no part in the velocity.
    """
    root, legs = velocity
    speed = legs - jnp.sum(joints.gain * root[None, :, None], axis=1)
    both = jnp.concatenate([jnp.broadcast_to(root[:, None], (3, *legs.shape[1:])), legs])
    deeper = rows.depth - SLOP - TIME_STEP * jnp.sum(rows.jacobian[:, :, 1] * jnp.swapaxes(both, 0, 1)[None], axis=2)
    joints = joints._replace(
        strength=jnp.zeros_like(joints.strength),
        low=jnp.where(joints.low > -LIMIT_SLOP, joints.low - TIME_STEP * speed, -FREE),
        high=jnp.where(joints.high < LIMIT_SLOP, joints.high - TIME_STEP * speed, FREE),
    )
    rows = rows._replace(depth=deeper, friction=jnp.zeros_like(rows.friction))
    return _sweeps(joints, rows, drift, jnp.zeros_like(rows.mass), num_sweeps)[0]


def _sweeps(
    joints: Joints, rows: Rows, velocity: Velocity, impulse: Array, num_sweeps: int
) -> tuple[Velocity, Array]:
    root, legs = velocity
    zeros = jnp.zeros((3, *joints.mass.shape[:2], *root.shape[1:]), jnp.float32)
    carry = ((root, [legs[:, i] for i in range(legs.shape[1])]), Impulses(impulse, zeros))
    (root, legs), impulses = jax.lax.fori_loop(0, num_sweeps, lambda _, carry: _sweep(joints, rows, carry), carry)
    return (root, jnp.stack(legs, axis=1)), impulses.contacts


def _sweep(joints: Joints, rows: Rows, carry: tuple[Split, Impulses]) -> tuple[Split, Impulses]:
    (root, legs), impulses = carry
    legs, joint_impulses = list(legs), []
    for i in range(len(legs)):
        one = jax.tree.map(lambda leaf, i=i: jnp.take(leaf, i, axis=_leg_axis(leaf, joints.coupling)), joints)
        root, legs[i], impulse = _solve_joints(one, root, legs[i], impulses.joints[:, :, i])
        joint_impulses.append(impulse)

    def slot(velocity: Split, inputs: tuple[Rows, Array]) -> tuple[Split, Array]:
        (root, legs), found = velocity, []
        legs = list(legs)
        for i in range(len(legs)):
            row, before = jax.tree.map(lambda leaf, i=i: leaf[i], inputs)
            root, legs[i], after = _solve_contact(row, root, legs[i], before)
            found.append(after)
        return (root, legs), jnp.stack(found)

    velocity, contacts = jax.lax.scan(slot, (root, legs), (rows, impulses.contacts))
    return velocity, Impulses(contacts, jnp.stack(joint_impulses, axis=2))


def _leg_axis(leaf: Array, per_leg: Array) -> int:
    """Returns which axis of a leaf of `Joints` counts legs: the one before those of the batch."""
    return leaf.ndim - per_leg.ndim


def _solve_joints(joints: Joints, root: Array, leg: Array, impulse: Array) -> tuple[Array, Array, Array]:
    """Returns (r, u, impulses) after the rows of one leg's hip and knee; `joints` are those of this leg."""
    speed = leg - jnp.sum(joints.gain * root[None], axis=1)
    hip, hip_change = _solve_joint(joints, 0, speed[0], impulse[:, 0])
    knee, knee_change = _solve_joint(joints, 1, speed[1] + joints.coupling * hip_change, impulse[:, 1])
    root = root + joints.on_root[0] * hip_change[None] + joints.on_root[1] * knee_change[None]
    leg = leg + joints.on_leg[0] * hip_change[None] + joints.on_leg[1] * knee_change[None]
    return root, leg, jnp.stack([hip, knee], axis=1)


def _solve_joint(joints: Joints, which: int, speed: Array, impulse: Array) -> tuple[Array, Array]:
    """Returns (impulses, their total change) of the motor and the limits of a joint with this speed."""
    mass, strength = joints.mass[which], joints.strength[which]
    motor = jnp.clip(impulse[0] + mass * (joints.target[which] - speed), -strength, strength)
    speed = speed + (motor - impulse[0]) / mass
    low = jnp.maximum(impulse[1] + mass * (joints.low[which] - speed), 0.0)
    speed = speed + (low - impulse[1]) / mass
    high = jnp.minimum(impulse[2] + mass * (joints.high[which] - speed), 0.0)
    after = jnp.stack([motor, low, high])
    return after, jnp.sum(after - impulse, axis=0)


def _solve_contact(row: Rows, root: Array, leg: Array, impulse: Array) -> tuple[Array, Array, Array]:
    """Returns (r, u, impulse) after friction and normal of one contact; `row` is that of this contact."""
    speed = jnp.sum(row.jacobian[:, :3] * root[None], axis=1) + jnp.sum(row.jacobian[:, 3:] * leg[None], axis=1)
    limit = row.friction * impulse[1]
    tangent = jnp.clip(impulse[0] - row.mass[0] * speed[0], -limit, limit)
    normal_speed = speed[1] + row.coupling * (tangent - impulse[0])
    normal = jnp.maximum(impulse[1] + row.mass[1] * (row.depth - normal_speed), 0.0)
    after = jnp.stack([tangent, normal])
    change = after - impulse
    push = row.response[0] * change[0][None] + row.response[1] * change[1][None]
    return root + push[:3], leg + push[3:], after
