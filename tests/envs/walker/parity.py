"""Restarts the engine from states of Box2D and compares where both are ten steps later."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from envs.walker.body import BUILDS, make_body
from envs.walker.contacts import NUM_SLOTS
from envs.walker.physics import Motion, advance
from envs.walker.terrain import STUMPS, Stumps
from envs.walker.world import STRIDE

ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "walker" / "box2d_trajectories.npz"
HORIZON, EVERY = 10, 5
"""Steps from restart to comparison, and from restart to restart."""
BODIES = {"default_flat": "default", "default_stumps": "default", "short_flat": "short", "quadru_flat": "quadru"}
ACTIONS = ("zero", "rand", "hold", "sine")
LOW = -100.0
"""Where the tops of stumps that are not there lie."""


def windows(archive, group):
    """Returns {kind of actions: windows stacked as (q, qd, actions, q after, contact, start, pitch, tops)}."""
    found = {}
    for kind in ACTIONS:
        rows = []
        for seed in range(4):
            prefix = f"{group}/{kind}/seed{seed}/"
            if prefix + "q" not in archive:
                continue
            q, qd, action, contact = (archive[prefix + name] for name in ("q", "qd", "action", "contact"))
            start, pitch, tops = 1000.0, 1.0, np.full(40, LOW, np.float32)
            if prefix + "stumps" in archive:
                stumps = archive[prefix + "stumps"]
                tops = np.full(220, LOW, np.float32)
                tops[: len(stumps)] = stumps[:, 1]
                start, pitch = stumps[0, 0], STRIDE + archive[prefix + "spacing"]
            for t in range(EVERY, len(q) - HORIZON, EVERY):
                end = t + HORIZON
                touched = contact[t : end + 1].any()
                rows.append((q[t], qd[t], action[t:end], q[end], touched, np.float32(start), np.float32(pitch), tops))
        if rows:
            found[kind] = [np.stack(column) for column in zip(*rows, strict=True)]
    return found


@partial(jax.jit, static_argnames="num_sweeps")
def replay(body, torque, q, qd, actions, start, pitch, tops, *, num_sweeps):
    """Returns the coordinates [N, dof] after the actions [N, T, A]; `tops` is [N, stumps]."""
    stumps = Stumps(start, pitch, jnp.zeros_like(pitch), jnp.zeros((2, 1), jnp.uint32), tops.T)
    body = jax.tree.map(lambda leaf: leaf[..., None], body)
    number, legs = q.shape[0], actions.shape[-1] // 2
    none = jnp.zeros((NUM_SLOTS, legs, 2, number), jnp.float32)
    motion = Motion(q.T, qd.T, none, jnp.zeros((legs, number), bool))

    def step(motion, action):
        after = advance(
            body, torque[None], STUMPS, stumps, motion, action.T, num_sweeps
        )
        return after, None

    return jax.lax.scan(step, motion, jnp.swapaxes(actions, 0, 1))[0].position.T


def errors(archive, group, *, num_sweeps=8):
    """Returns {kind: {"air" or "contact": (number of windows, {quantity: median absolute error, signed y})}}."""
    build, found = BUILDS[BODIES[group]], {}
    for kind, (q, qd, actions, after, touched, start, pitch, tops) in windows(archive, group).items():
        reached = replay(
            make_body(build), jnp.float32(build.torque), q, qd, actions, start, pitch, tops,
            num_sweeps=num_sweeps,
        )  # fmt: skip
        difference = np.asarray(reached) - after
        size = np.abs(difference)
        found[kind] = {}
        for name, mask in (("air", ~touched), ("contact", touched)):
            if mask.any():
                one = size[mask]
                quantities = {"position": one[:, :2], "x": one[:, 0], "y": one[:, 1], "angle": one[:, 2], "joints": one[:, 3:]}
                medians = {key: float(np.median(value)) for key, value in quantities.items()}
                found[kind][name] = (int(mask.sum()), medians | {"signed y": float(np.median(difference[mask, 1]))})
    return found
