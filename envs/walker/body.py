"""Bodies of the walker: a hull and two-part legs, as numbers that can be traced and batched.

Source: flowersteam/teachDeepRL (`default`, `short`, `quadru`). Masses follow from polygons of unit thickness.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from envs.walker.world import PIXEL

HULL_DENSITY, LEG_DENSITY = 5.0, 1.0
"""Kilogrammes a square metre."""
HIP_HEIGHT = -8.0 * PIXEL
"""Height of the hips above the hull's origin."""


class Body(NamedTuple):
    """A hull with L legs; metres, kilogrammes, kg m². Every leaf may have a batch of bodies as its last axis."""

    hull: Float[Array, "5 2 *#batch"]
    """Corners of the convex hull about its origin, in order."""
    hull_mass: Float[Array, "*#batch"]
    """Mass."""
    hull_centre: Float[Array, "2 *#batch"]
    """Centre of mass about the origin."""
    hull_inertia: Float[Array, "*#batch"]
    """Inertia about the centre of mass."""
    hips: Float[Array, "L 2 *#batch"]
    """Where the legs are attached."""
    length: Float[Array, "*#batch"]
    """Length of a part of a leg: the upper and the lower one are equally long."""
    upper_width: Float[Array, "*#batch"]
    """Width of the upper part."""
    upper_mass: Float[Array, "*#batch"]
    """Mass of the upper part."""
    upper_inertia: Float[Array, "*#batch"]
    """Inertia about its middle."""
    lower_width: Float[Array, "*#batch"]
    """Width of the lower part."""
    lower_mass: Float[Array, "*#batch"]
    """Mass of the lower part."""
    lower_inertia: Float[Array, "*#batch"]
    """Inertia about its middle."""


class Build(NamedTuple):
    """What a body is made of, and what it is driven with; lengths in pixels unless said otherwise."""

    hull: Sequence[tuple[float, float]]
    """Corners of the hull."""
    hips: Sequence[float]
    """Hip of every leg along the hull, in metres."""
    leg: tuple[float, float, float]
    """Length of a part of a leg, width of the upper and of the lower part."""
    torque: float
    """Largest torque of a motor, in N m."""
    action_cost: float
    """What a full action of one motor costs per step."""


_HULL = ((-30, 9), (6, 9), (34, 1), (34, -8), (-30, -8))
_WIDE_HULL = ((-46, 13), (6, 13), (50, 5), (50, -12), (-46, -12))
BUILDS = {
    "default": Build(_HULL, (0.0, 0.0), (34, 8, 6.4), 80.0, 0.00035 * 80.0),
    "short": Build(_HULL, (0.0, 0.0), (17, 8, 6.4), 80.0, 0.00035 * 80.0),
    "quadru": Build(_WIDE_HULL, (-1.2, -1.2, 0.85, 0.85), (51, 10, 8), 300.0, 0.00035 / 8 * 300.0),
}
"""The bodies by name. The two legs of a hip follow each other."""


def make_body(build: Build) -> Body:
    """Returns the body of a build, float32."""
    corners = np.asarray(build.hull, float) * PIXEL
    length, upper, lower = (np.asarray(build.leg, float) * PIXEL).tolist()
    mass, centre, inertia = polygon_mass(corners, HULL_DENSITY)
    parts = {}
    for name, width in (("upper", upper), ("lower", lower)):
        part_mass = LEG_DENSITY * length * width
        part_inertia = part_mass * (length**2 + width**2) / 12.0
        parts |= {f"{name}_width": width, f"{name}_mass": part_mass, f"{name}_inertia": part_inertia}
    hips = [(x, HIP_HEIGHT) for x in build.hips]
    fields = {"hull": corners, "hull_mass": mass, "hull_centre": centre, "hull_inertia": inertia, "hips": hips}
    fields |= parts | {"length": length}
    return Body(**{name: jnp.asarray(value, jnp.float32) for name, value in fields.items()})


def polygon_mass(corners: Float[np.ndarray, "n 2"], density: float) -> tuple[float, Float[np.ndarray, "2"], float]:
    """Returns mass, centre of mass and inertia about it, of a simple polygon with corners in order."""
    x, y = corners.T
    after_x, after_y = np.roll(x, -1), np.roll(y, -1)
    areas = (x * after_y - after_x * y) / 2.0
    mass = density * areas.sum()
    centre = np.array([(areas * (x + after_x)).sum(), (areas * (y + after_y)).sum()]) / (3.0 * areas.sum())
    squares = x * x + x * after_x + after_x**2 + y * y + y * after_y + after_y**2
    inertia = density * (areas * squares).sum() / 6.0 - mass * (centre @ centre)
    return abs(float(mass)), centre, abs(float(inertia))
