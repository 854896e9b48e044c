"""One step of the walker, and the pose in which it starts, for one world or a batch of them.

`batch_last` makes a function that reads structure first and batch last into one that `vmap` may batch: loops then run
over a contiguous batch instead of over legs and coordinates, which is several times as fast on CPU.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envs.walker.body import Body
from envs.walker.contacts import NUM_LOWER, NUM_SLOTS, find_contacts, lower_corners
from envs.walker.dynamics import couple, decouple, inertial_change, masses, pose, response, straight_flight
from envs.walker.solver import (
    contact_rows,
    joint_angles,
    joint_rows,
    normal_speeds,
    solve_position,
    solve_velocity,
)
from envs.walker.terrain import Terrain
from envs.walker.world import GROUND, SKIN, SPAWN, TIME_STEP

TILT, BEND = 0.05, -0.1
"""Angles of hips (minus, then plus) and knees at the start, in radians."""
SINKING = 0.005
"""How deep a foot sinks into its skin at rest, in metres: the overlap that is not corrected."""


NUM_CORRECTIONS = 4
"""Sweeps of the solver that corrects overlaps."""


class Motion(NamedTuple):
    """Where a body is and how it moves."""

    position: Float[Array, "dof *#batch"]
    """x and y of the hull's origin, its angle, and hip and knee of every leg; metres and radians."""
    velocity: Float[Array, "dof *#batch"]
    """Their time derivatives."""
    impulses: Float[Array, "N 2 *#batch"]
    """(Tangent, normal) impulses of the last step at the N = 6 L contacts, in the order of `Contacts`."""
    touches: Bool[Array, "L *#batch"]
    """Whether the lower part of each leg touched the track in the last step."""


def advance(
    body: Body,
    torque: Float[Array, "*#batch"],
    terrain: Terrain,
    place: Any,
    motion: Motion,
    action: Float[Array, "A *#batch"],
    num_sweeps: int,
) -> Motion:
    """Returns the motion 0.02 s later under an action in [-1, 1] per motor.

    Torque is the motors' largest in N m; `num_sweeps` is that of the solver for velocities.
    """
    at = pose(body, motion.position)
    mass = masses(body, at)
    change = response(mass, inertial_change(body, at, motion.position, motion.velocity))
    free = tuple(a + b for a, b in zip(decouple(mass, motion.velocity), change, strict=True))
    contacts = find_contacts(body, at, terrain, place)
    joints, rows = joint_rows(mass, motion.position, action, torque), contact_rows(mass, at, contacts)
    after, impulses = solve_velocity(joints, rows, free, motion.impulses, num_sweeps)
    velocity = couple(mass, *after)
    position = motion.position + TIME_STEP * velocity
    drift = response(mass, straight_flight(body, at, motion.position, velocity))
    depth = contacts.depth.reshape(rows.coupling.shape) - TIME_STEP * normal_speeds(rows, after)
    displacement = solve_position(joints, rows, drift, depth, joint_angles(position), NUM_CORRECTIONS)
    position = position + couple(mass, *displacement)
    touches = jnp.any(contacts.depth[:NUM_LOWER] > 0.0, axis=0)
    return Motion(position, velocity, impulses, touches)


def start(body: Body, push: Float[Array, "*#batch"]) -> Motion:
    """Returns a body that stands at the start, with knees slightly bent, after a push on its hull.

    `push` is a force in newtons along x that has acted for one step.
    """
    number = body.hips.shape[0]
    zero = jnp.zeros_like(push + body.length)
    joints = [zero + (BEND if i % 2 else TILT * (-1.0 if i % 4 == 0 else 1.0)) for i in range(2 * number)]
    crouching = jnp.stack([zero + SPAWN, zero, zero, *joints])
    lowest = jnp.min(lower_corners(body, pose(body, crouching)).y, axis=(0, 1))
    position = crouching.at[1].set(GROUND + SKIN - SINKING - lowest)
    velocity = jnp.zeros_like(position).at[0].set(push * TIME_STEP / body.hull_mass)
    impulses = jnp.zeros((NUM_SLOTS * number, 2, *zero.shape), jnp.float32)
    return Motion(position, velocity, impulses, jnp.ones((number, *zero.shape), bool))


def batch_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function, which takes and returns trees of arrays, such that `vmap` adds an axis at the end.

    What a `vmap` does not batch gets an axis of length 1, so that all ranks stay equal. Nested `vmap`s put all but the
    innermost in front.
    """

    @jax.custom_batching.custom_vmap
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    @call.def_vmap
    def _(axis_size: int, is_batched: Any, *arguments: Any) -> tuple[Any, Any]:
        def moved(leaf: Array, batched: bool) -> Array:
            return jnp.moveaxis(leaf, 0, -1) if batched else leaf[..., None]

        outputs = call_batched(*jax.tree.map(moved, arguments, tuple(is_batched)))
        outputs = jax.tree.map(lambda leaf: jnp.moveaxis(_widened(leaf, axis_size), -1, 0), outputs)
        return outputs, jax.tree.map(lambda leaf: True, outputs)

    call_batched = function
    return wraps(function)(lambda *arguments: call(*arguments))


def _widened(leaf: Array, size: int) -> Array:
    return leaf if leaf.shape[-1] == size else jnp.broadcast_to(leaf, (*leaf.shape[:-1], size))
