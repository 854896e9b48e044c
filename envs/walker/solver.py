"""Impulses that hold motors, limits and contacts, and the displacement that corrects overlaps.

Projected Gauss-Seidel in the decoupled coordinates (r, u). One sweep goes through the joints (motor, then limits, of
hip and knee) and through the contacts (friction, then normal); a row of a leg involves r and the two numbers of its leg
only. Friction and normal of a contact, and the rows of a leg's joints, are solved from speeds taken once, with the
effect of an earlier row on a later one added: the same numbers as one by one, in fewer operations.

As in Box2D 2.3, impulses know nothing of overlaps; a second pass moves the body out of them without giving it speed.

Source: Catto 2005, "Iterative dynamics with temporal coherence"; constants of Box2D 2.3 and flowersteam/teachDeepRL.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.walker.contacts import Contacts
from envs.walker.dynamics import Force, Masses, Pose
from envs.walker.world import TIME_STEP, Vector, cross

FRICTION = (0.2 * 2.5) ** 0.5
"""Friction of the mix of leg (0.2) and ground (2.5)."""
SHARE, SLOP, MAX_CORRECTION = 0.2, 0.005, 0.2
"""Share of an overlap that is corrected in a step, overlap in metres that is left, and the largest correction."""
SOFTNESS = 1e-6
"""Added to the inverse of effective masses."""
LOW, HIGH = (-0.8, -1.6), (1.1, -0.1)
"""Limits of hip and knee, in radians."""
LIMIT_SLOP = math.radians(2.0)
"""Radians beyond a limit that are not corrected."""
FREE = 1e6
"""More than any speed of a joint."""
MOTOR_SPEED = (4.0, 6.0)
"""Speed that the motors of hip and knee aim at, in rad/s."""


class Joints(NamedTuple):
    """Rows of the joints of every leg; [2, ...] is (hip, knee)."""

    gain: Float[Array, "L 2 3 *#batch"]
    """Speed of a joint is u minus this times r."""
    on_root: Float[Array, "L 2 3 *#batch"]
    """Change of r per unit of impulse."""
    on_leg: Float[Array, "L 2 2 *#batch"]
    """Change of u per unit of impulse."""
    inverse_mass: Float[Array, "L 2 *#batch"]
    """Change of a joint's speed per unit of its impulse."""
    mass: Float[Array, "L 2 *#batch"]
    """Its inverse."""
    coupling: Float[Array, "L *#batch"]
    """Change of the knee's speed per unit of the hip's impulse."""
    low: Float[Array, "L 2 *#batch"]
    """Least speed, or displacement, that the lower limit allows."""
    high: Float[Array, "L 2 *#batch"]
    """Largest speed, or displacement, that the upper limit allows."""
    target: Float[Array, "L 2 *#batch"]
    """Speed of the motor."""
    strength: Float[Array, "L 2 *#batch"] | None
    """Largest impulse of the motor; None where motors do not act."""


class Rows(NamedTuple):
    """Rows of the N = 6 L contacts; [2, ...] is (tangent, normal), [5, ...] is (r, u of the contact's leg)."""

    jacobian: Float[Array, "N 2 5 *#batch"]
    """Speed of the contact per unit of velocity."""
    response: Float[Array, "N 2 5 *#batch"]
    """Change of velocity per unit of impulse."""
    mass: Float[Array, "N 2 *#batch"]
    """Effective mass, 0 without contact."""
    coupling: Float[Array, "N *#batch"]
    """Change of the normal speed per unit of the tangential impulse."""


def _per_joint(pair: tuple[float, float], like: Array) -> Array:
    """Returns a number for hips and one for knees, ready to meet arrays [L, 2, *batch]."""
    return jnp.asarray(pair, jnp.float32).reshape(1, 2, *[1] * (like.ndim - 2))


def joint_angles(q: Float[Array, "dof *#batch"]) -> Float[Array, "L 2 *#batch"]:
    """Returns the angles, or speeds, of hip and knee of every leg."""
    return q[3:].reshape(-1, 2, *q.shape[1:])


def joint_rows(
    masses: Masses, q: Float[Array, "dof *#batch"], action: Float[Array, "A *#batch"], torque: Float[Array, "*#batch"]
) -> Joints:
    """Returns the rows of motors, which actions in [-1, 1] drive, and of limits, which hold joints beyond them."""
    on_root = -jnp.sum(masses.root[None, :, :, None] * masses.gain[:, None], axis=2)
    response = masses.legs - jnp.sum(masses.gain[:, None] * on_root[None], axis=2)
    inverse_mass = jnp.stack([response[0, 0], response[1, 1]], axis=1) + SOFTNESS
    angle, drive = joint_angles(q), action.reshape(-1, 2, *action.shape[1:])
    return Joints(
        gain=jnp.moveaxis(masses.gain, 2, 0),
        on_root=jnp.moveaxis(on_root, 2, 0),
        on_leg=jnp.moveaxis(masses.legs, 2, 0),
        inverse_mass=inverse_mass,
        mass=1.0 / inverse_mass,
        coupling=response[0, 1],
        low=jnp.where(angle <= _per_joint(LOW, angle), 0.0, -FREE),
        high=jnp.where(angle >= _per_joint(HIGH, angle), 0.0, FREE),
        target=jnp.sign(drive) * _per_joint(MOTOR_SPEED, drive),
        strength=jnp.abs(drive) * (torque * TIME_STEP)[None, None],
    )


def contact_rows(masses: Masses, at: Pose, contacts: Contacts) -> Rows:
    """Returns the rows of the contacts."""
    normal = _jacobian(masses, at, contacts, contacts.normal)
    tangent = _jacobian(masses, at, contacts, Vector(contacts.normal.y, -contacts.normal.x))
    jacobian = [jnp.stack([a, b], axis=2) for a, b in zip(tangent, normal, strict=True)]
    response: list = [sum(masses.root[i, j][None, None, None] * jacobian[j] for j in range(3)) for i in range(3)]
    response += [sum(masses.legs[i, j][None, :, None] * jacobian[3 + j] for j in range(2)) for i in range(2)]
    inverse_mass = sum(a * b for a, b in zip(jacobian, response, strict=True))
    coupling = sum(a[:, :, 1] * b[:, :, 0] for a, b in zip(jacobian, response, strict=True))
    mass = jnp.where((contacts.depth > 0.0)[:, :, None], 1.0 / (inverse_mass + SOFTNESS), 0.0)
    rows = Rows(jnp.stack(jacobian, axis=3), jnp.stack(response, axis=3), mass, coupling)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)


def _jacobian(masses: Masses, at: Pose, contacts: Contacts, direction: Vector) -> list[Float[Array, "6 L *#batch"]]:
    """Returns the five columns of the speed at the contacts along a direction, decoupled."""
    point = contacts.point
    hip = cross(Vector(point.x - at.hip.x[None], point.y - at.hip.y[None]), direction)
    knee = cross(Vector(point.x - at.knee.x[None], point.y - at.knee.y[None]), direction)
    knee = jnp.concatenate([knee[:-1], jnp.zeros_like(knee[-1:])])  # the last contact is above the knee
    root = (direction.x, direction.y, cross(point, direction))
    gain = masses.gain[:, :, None]
    return [*(one - gain[0, i] * hip - gain[1, i] * knee for i, one in enumerate(root)), hip, knee]


def solve_velocity(
    joints: Joints, rows: Rows, velocity: Force, warm: Float[Array, "N 2 *#batch"], num_sweeps: int
) -> tuple[Force, Float[Array, "N 2 *#batch"]]:
    """Returns ((r, u), contact impulses) after motors, limits and contacts have acted on a free velocity (r, u).

    Contacts that still are start from `warm`, their impulses of the last step.
    """
    impulse = jnp.where(rows.mass > 0.0, warm, 0.0)
    number = joints.gain.shape[0]
    push = jnp.sum(rows.response * impulse[:, :, None], axis=1)
    leg_push = jnp.sum(push[:, 3:].reshape(-1, number, 2, *push.shape[2:]), axis=0)
    root, legs = velocity[0] + jnp.sum(push[:, :3], axis=0), jnp.swapaxes(velocity[1], 0, 1) + leg_push
    motors = jnp.zeros((number, 3, 2, *root.shape[1:]), jnp.float32)
    which = _legs_of_contacts(rows, number)

    def sweep(_: Array, carry: tuple) -> tuple:
        root, legs, motors, impulse = carry
        root, (legs, motors) = jax.lax.scan(_solve_joints, root, (joints, legs, motors))
        (root, legs), impulse = jax.lax.scan(_solve_contact, (root, legs), (rows, which, impulse))
        return root, legs, motors, impulse

    root, legs, _, impulse = jax.lax.fori_loop(0, num_sweeps, sweep, (root, legs, motors, impulse))
    return (root, jnp.swapaxes(legs, 0, 1)), impulse


def _legs_of_contacts(rows: Rows, number: int) -> Array:
    return jnp.arange(rows.mass.shape[0], dtype=jnp.int32) % number


def _solve_joints(root: Array, inputs: tuple[Joints, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
    """Returns (r, (u, impulses)) after the rows of one leg's hip and knee; impulses are of ([motor,] lower, upper)."""
    joints, leg, impulse = inputs
    speed = leg - jnp.sum(joints.gain * root[None], axis=1)
    hip, hip_change = _solve_joint(joints, 0, speed[0], impulse[:, 0])
    knee, knee_change = _solve_joint(joints, 1, speed[1] + joints.coupling * hip_change, impulse[:, 1])
    root = root + joints.on_root[0] * hip_change[None] + joints.on_root[1] * knee_change[None]
    leg = leg + joints.on_leg[0] * hip_change[None] + joints.on_leg[1] * knee_change[None]
    return root, (leg, jnp.stack([hip, knee], axis=1))


def _solve_joint(joints: Joints, which: int, speed: Array, impulse: Array) -> tuple[Array, Array]:
    """Returns (impulses, their total change) of the motor, if there is one, and the limits of a joint of this speed."""
    mass, before = joints.mass[which], list(impulse)
    after: list[Array] = []

    def settle(aim: Array, bound: Callable[[Array], Array], speed: Array) -> Array:
        old = before[len(after)]
        after.append(bound(old + mass * (aim - speed)))
        return speed + (after[-1] - old) * joints.inverse_mass[which]

    if joints.strength is not None:
        strength = joints.strength[which]
        speed = settle(joints.target[which], lambda impulse: jnp.clip(impulse, -strength, strength), speed)
    speed = settle(joints.low[which], lambda impulse: jnp.maximum(impulse, 0.0), speed)
    settle(joints.high[which], lambda impulse: jnp.minimum(impulse, 0.0), speed)
    changes = [new - old for new, old in zip(after, before, strict=True)]
    return jnp.stack(after), functools.reduce(operator.add, changes)


def _solve_contact(velocity: tuple[Array, Array], inputs: tuple[Rows, Array, Array]) -> tuple[tuple, Array]:
    """Returns ((r, u of all legs), impulses) after friction and normal of one contact."""
    (root, legs), (row, which, impulse) = velocity, inputs
    leg = legs[which]
    speed = jnp.sum(row.jacobian[:, :3] * root[None], axis=1) + jnp.sum(row.jacobian[:, 3:] * leg[None], axis=1)
    limit = FRICTION * impulse[1]
    tangent = jnp.clip(impulse[0] - row.mass[0] * speed[0], -limit, limit)
    normal = jnp.maximum(impulse[1] - row.mass[1] * (speed[1] + row.coupling * (tangent - impulse[0])), 0.0)
    push = row.response[0] * (tangent - impulse[0])[None] + row.response[1] * (normal - impulse[1])[None]
    return (root + push[:3], legs.at[which].set(leg + push[3:])), jnp.stack([tangent, normal])


def solve_position(
    joints: Joints,
    rows: Rows,
    drift: Force,
    depth: Float[Array, "N *#batch"],
    angle: Float[Array, "L 2 *#batch"],
    num_sweeps: int,
) -> Force:
    """Returns the displacement of (r, u) that corrects overlaps and limits after a step.

    It starts from `drift`; neither motors nor friction resist it. Given are overlaps and joint angles after the step;
    contacts and limits that did not act in the step do not act here.
    """
    number = joints.gain.shape[0]
    normals = (rows.jacobian[:, 1], rows.response[:, 1], rows.mass[:, 1], _need(depth))
    low, high = _per_joint(LOW, angle) - LIMIT_SLOP - angle, _per_joint(HIGH, angle) + LIMIT_SLOP - angle
    joints = joints._replace(
        low=jnp.where(joints.low < 0.0, -FREE, low),
        high=jnp.where(joints.high > 0.0, FREE, high),
        strength=None,
    )
    root, legs = drift[0], jnp.swapaxes(drift[1], 0, 1)
    limits = jnp.zeros((number, 2, 2, *root.shape[1:]), jnp.float32)
    which = _legs_of_contacts(rows, number)

    def sweep(_: Array, carry: tuple) -> tuple:
        root, legs, limits, impulse = carry
        root, (legs, limits) = jax.lax.scan(_solve_joints, root, (joints, legs, limits))
        (root, legs), impulse = jax.lax.scan(_move_contact, (root, legs), (normals, which, impulse))
        return root, legs, limits, impulse

    carry = (root, legs, limits, jnp.zeros_like(depth))
    root, legs, _, _ = jax.lax.fori_loop(0, num_sweeps, sweep, carry)
    return root, jnp.swapaxes(legs, 0, 1)


def _need(depth: Float[Array, "N *#batch"]) -> Float[Array, "N *#batch"]:
    """Returns how far along its normal a contact is to move; less than 0 is room."""
    excess = depth - SLOP
    return jnp.where(excess > 0.0, jnp.minimum(SHARE * excess, MAX_CORRECTION), excess)


def _move_contact(velocity: tuple[Array, Array], inputs: tuple[tuple, Array, Array]) -> tuple[tuple, Array]:
    """Returns ((r, u of all legs), impulse) after one contact has been pushed out along its normal."""
    (root, legs), ((jacobian, response, mass, need), which, impulse) = velocity, inputs
    leg = legs[which]
    moved = jnp.sum(jacobian[:3] * root, axis=0) + jnp.sum(jacobian[3:] * leg, axis=0)
    after = jnp.maximum(impulse + mass * (need - moved), 0.0)
    push = response * (after - impulse)[None]
    return (root + push[:3], legs.at[which].set(leg + push[3:])), after


def normal_speeds(rows: Rows, velocity: Force) -> Float[Array, "N *#batch"]:
    """Returns the speeds of the contacts along their normals."""
    root, legs = velocity
    number = legs.shape[1]
    normal = rows.jacobian[:, 1].reshape(-1, number, 5, *root.shape[1:])
    speed = jnp.sum(normal[:, :, :3] * root[None, None], axis=2)
    return (speed + jnp.sum(normal[:, :, 3:] * jnp.swapaxes(legs, 0, 1)[None], axis=2)).reshape(-1, *root.shape[1:])
