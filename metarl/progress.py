"""How far through its life an agent is, and the one place where that becomes features."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

CENTRE_LOG_LIFETIME = 3.91
"""Mean of ln N under N ~ logU(10, 250), the reference law of the `centred` encoding."""
SCALE_LOG_LIFETIME = 0.93
"""Standard deviation of ln N under the same law."""


class Progress(NamedTuple):
    """Position in a life, counted in agent updates."""

    step: Int[Array, ""]
    """n: updates already applied, 0-based."""
    lifetime: Int[Array, ""]
    """N: updates in the whole life."""


def _fraction(progress: Progress) -> Array:
    return progress.step.astype(jnp.float32) / progress.lifetime.astype(jnp.float32)


def _log_lifetime(progress: Progress) -> Array:
    return jnp.log(progress.lifetime.astype(jnp.float32))


ENCODINGS = {
    "none": lambda p: (),
    "paper": lambda p: (_fraction(p), _log_lifetime(p)),
    "raw": lambda p: (p.step.astype(jnp.float32), p.lifetime.astype(jnp.float32)),
    "centred": lambda p: (2.0 * _fraction(p) - 1.0, (_log_lifetime(p) - CENTRE_LOG_LIFETIME) / SCALE_LOG_LIFETIME),
    "remaining": lambda p: ((p.lifetime - p.step).astype(jnp.float32),),
    "fraction": lambda p: (_fraction(p),),
}
"""Time encodings by name. `paper` is (n/N, ln N); `raw` is (n, N); `centred` is both paper features shifted and scaled to
about [-1, 1]; `remaining` is N - n; `fraction` is n/N alone; `none` has no features."""


def num_features(encoding: str) -> int:
    """Returns how many features `features` makes under this encoding.

    Raises:
        ValueError: if the encoding is unknown.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"time encoding {encoding!r} is unknown; choose one of {', '.join(ENCODINGS)}")
    return len(ENCODINGS[encoding](Progress(jnp.int32(0), jnp.int32(1))))


def features(progress: Progress, encoding: str) -> Float[Array, " F"]:
    """Returns the time features of a point in a life, `[F]`.

    `progress.lifetime` must be at least 1. Counts are agent updates: n/N is free of units, ln N is not.

    Source: Jackson et al. 2024, Eq. 9 (`paper`); the other encodings are ablations.
    """
    if not num_features(encoding):
        return jnp.zeros((0,), jnp.float32)
    return jnp.stack(ENCODINGS[encoding](progress))


def log_uniform_moments(low: float, high: float) -> tuple[float, float]:
    """Returns mean and standard deviation of ln N for N ~ logU(low, high): what `centred` would use for that law."""
    return (math.log(low) + math.log(high)) / 2.0, (math.log(high) - math.log(low)) / math.sqrt(12.0)
