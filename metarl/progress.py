"""How far through its life an agent is, and the one place where that becomes features."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

REFERENCE_LAW = (10, 250)
"""Bounds of the log-uniform law of lifetimes that `centred` assumes unless told otherwise: that of EmptyJackson/groove.
"""


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


def _centred(progress: Progress, law: tuple[int, int]) -> tuple[Array, Array]:
    mean, deviation = log_uniform_moments(*law)
    return 2.0 * _fraction(progress) - 1.0, (_log_lifetime(progress) - mean) / deviation


ENCODINGS = {
    "none": lambda p, law: (),
    "paper": lambda p, law: (_fraction(p), _log_lifetime(p)),
    "raw": lambda p, law: (p.step.astype(jnp.float32), p.lifetime.astype(jnp.float32)),
    "centred": _centred,
    "remaining": lambda p, law: ((p.lifetime - p.step).astype(jnp.float32),),
    "fraction": lambda p, law: (_fraction(p),),
}
"""Time encodings by name. `paper` is (n/N, ln N); `raw` is (n, N); `centred` is 2n/N - 1 and the standard score of ln N
under the law of lifetimes; `remaining` is N - n; `fraction` is n/N alone; `none` has no features."""


def num_features(encoding: str) -> int:
    """Returns how many features `features` makes under this encoding.

    Raises:
        ValueError: if the encoding is unknown.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"time encoding {encoding!r} is unknown; choose one of {', '.join(ENCODINGS)}")
    return len(ENCODINGS[encoding](Progress(jnp.int32(0), jnp.int32(1)), REFERENCE_LAW))


def features(progress: Progress, encoding: str, law: tuple[int, int] = REFERENCE_LAW) -> Float[Array, " F"]:
    """Returns the time features of a point in a life, `[F]`.

    `progress.lifetime` must be at least 1. Counts are agent updates: n/N is free of units, ln N is not. `law` gives the
    bounds of the log-uniform law by which `centred` standardises ln N; the other encodings ignore it.

    Source: Jackson et al. 2024, Eq. 9 (`paper`); the other encodings are ablations.
    """
    if not num_features(encoding):
        return jnp.zeros((0,), jnp.float32)
    return jnp.stack(ENCODINGS[encoding](progress, law))


def log_uniform_moments(low: int | float, high: int | float) -> tuple[float, float]:
    """Returns mean and standard deviation of ln N for N ~ logU(low, high); the deviation is 1 where low == high."""
    if low == high:
        return math.log(low), 1.0
    return (math.log(low) + math.log(high)) / 2.0, (math.log(high) - math.log(low)) / math.sqrt(12.0)
