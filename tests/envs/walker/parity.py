"""Restarts the engine from states of Box2D and compares where both are ten steps later."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.walker.body import BUILDS, make_body
from envs.walker.contacts import NUM_SLOTS, lower_corners
from envs.walker.dynamics import pose
from envs.walker.physics import Motion, advance
from envs.walker.terrain import STUMPS, Stumps
from envs.walker.world import GROUND, STRIDE

ARCHIVE = Path(__file__).parents[4] / "shared" / "data" / "walker" / "box2d_trajectories.npz"
"""Beside the checkout, for it is data and not code."""
HORIZON, EVERY = 10, 5
"""Steps from restart to comparison, and from restart to restart."""
BODIES = {"default_flat": "default", "default_stumps": "default", "short_flat": "short", "quadru_flat": "quadru"}
ACTIONS = ("zero", "rand", "hold", "sine")
GIVING = 0.1
"""Height in metres below which a leg of the quadruped counts as touching. From joint angles, its feet rest from
13 cm below to 7 cm above the ground in the data, perhaps because Box2D's joints come apart; chosen after seeing that.
"""
NUM_TOPS, LOW = 220, -100.0
"""Room for stumps, and where the tops of those that are not there lie."""


class Windows(NamedTuple):
    """Restarts and where they led, [N, ...]."""

    kind: np.ndarray
    position: np.ndarray
    velocity: np.ndarray
    actions: np.ndarray
    after: np.ndarray
    touches: np.ndarray
    start: np.ndarray
    pitch: np.ndarray
    tops: np.ndarray


def windows(archive, group):
    """Returns all restarts of a group of episodes."""
    rows = []
    for prefix in sorted({name.rsplit("/", 1)[0] for name in archive if name.startswith(f"{group}/")}):
        if prefix.count("/") != 2:
            continue
        q, qd, action, contact = (archive[f"{prefix}/{name}"] for name in ("q", "qd", "action", "contact"))
        start, pitch, tops = 1000.0, 1.0, np.full(NUM_TOPS, LOW, np.float32)
        if f"{prefix}/stumps" in archive:
            stumps = archive[f"{prefix}/stumps"]
            tops[: len(stumps)] = stumps[:, 1]
            start, pitch = stumps[0, 0], STRIDE + archive[f"{prefix}/spacing"]
        for t in range(EVERY, len(q) - HORIZON, EVERY):
            end = t + HORIZON
            # Of the quadruped's lower legs the flags follow only two.
            touches = contact[t : end + 1].any() or (group == "quadru_flat" and reaches_ground(q[t : end + 1]))
            track = (np.float32(start), np.float32(pitch), tops)
            rows.append((prefix.split("/")[1], q[t], qd[t], action[t:end], q[end], touches, *track))
    return Windows(*(np.stack(column) for column in zip(*rows, strict=True)))


def reaches_ground(q):
    """Returns whether a leg of the quadruped may touch the flat ground in any of the states [T, dof]."""
    body = jax.tree.map(lambda leaf: leaf[..., None], make_body(BUILDS["quadru"]))
    at = pose(body, jnp.asarray(q.T))
    return bool((np.asarray(lower_corners(body, at).y) + q[:, 1] < GROUND + GIVING).any())


@partial(jax.jit, static_argnames="num_sweeps")
def replay(body, torque, q, qd, actions, start, pitch, tops, *, num_sweeps):
    """Returns the coordinates [N, dof] after the actions [N, T, A]; `tops` is [N, stumps]."""
    stumps = Stumps(start, pitch, jnp.zeros_like(pitch), jnp.zeros((2, 1), jnp.uint32), tops.T)
    body = jax.tree.map(lambda leaf: leaf[..., None], body)
    number, legs = q.shape[0], actions.shape[-1] // 2
    none = jnp.zeros((NUM_SLOTS * legs, 2, number), jnp.float32)
    motion = Motion(q.T, qd.T, none, jnp.zeros((legs, number), bool))

    def step(motion, action):
        after = advance(body, torque[None], STUMPS, stumps, motion, action.T, num_sweeps)
        return after, None

    return jax.lax.scan(step, motion, jnp.swapaxes(actions, 0, 1))[0].position.T


def errors(archive, group, *, num_sweeps=10):
    """Returns {(kind of actions, "air" or "contact"): (number of windows, {quantity: median absolute error})}."""
    build, found = BUILDS[BODIES[group]], {}
    every = windows(archive, group)
    reached = replay(make_body(build), jnp.float32(build.torque), *every[1:4], *every[6:], num_sweeps=num_sweeps)
    difference = np.asarray(reached) - every.after
    for kind in ACTIONS:
        for name, is_touching in (("air", False), ("contact", True)):
            some = difference[(every.kind == kind) & (every.touches == is_touching)]
            if len(some):
                size = np.abs(some)
                parts = {
                    "position": size[:, :2],
                    "x": size[:, 0],
                    "y": size[:, 1],
                    "angle": size[:, 2],
                    "joints": size[:, 3:],
                }
                medians = {key: float(np.median(value)) for key, value in parts.items()}
                found[kind, name] = (len(some), medians | {"signed y": float(np.median(some[:, 1]))})
    return found
