"""Where a drift lets the policy go: the clip that it implies, and what it does to actions beyond PPO's.

An action of advantage A is *pushed* while the slope of `r A - f` in r has the sign of A.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from analysis.drift import FRACTIONS, WINDOW, RuleDrift, check_life, over_lives, single, value_and_slope
from metarl.progress import Progress

ADVANTAGES = (2.0, 1.0, -1.0, -2.0)
"""One and two standard deviations either way, for what is told of single advantages."""
CLIP = 0.2
"""Of PPO, the reference; what lies further from a ratio of 1 counts as beyond the clip."""
VANISHING = 1e-5
"""A push below this share of the advantage counts as none; float32 leaves 1e-6."""
_BISECTIONS, _MEAN_POINTS = 24, 2048


def implied_clip(
    drift: RuleDrift,
    fractions: Sequence[float] = FRACTIONS,
    lifetimes: Sequence[float] = (100.0,),
    *,
    advantages: Sequence[float] = ADVANTAGES,
) -> Float[np.ndarray, "L F G"]:
    """Returns the first ratio at which an action of each advantage is no longer pushed further: PPO's says 1 +- 0.2.

    It is looked for away from 1 in the direction of the push, r > 1 for A > 0 and r < 1 for A < 0, and refined by
    bisection. NaN where the action is pushed as far as e^1 or e^-1.

    Args:
        drift: whose.
        fractions: n/N, in [0, 1]; the first alone counts if the drift does not see time.
        lifetimes: N, at least 1.
        advantages: [G], none of them 0.

    Raises:
        ValueError: if one of these is out of range.
    """
    life = check_life(drift, fractions, lifetimes)
    points = single(_check_advantages(advantages)), *map(single, life)
    return np.asarray(_first_ratio_let_go(drift.function, *points), np.float64)


def push_beyond_clip(
    drift: RuleDrift,
    fractions: Sequence[float] = FRACTIONS,
    lifetimes: Sequence[float] = (100.0,),
    *,
    advantages: Sequence[float] = ADVANTAGES,
) -> Float[np.ndarray, "L F G"]:
    """Returns the mean slope of `r A - f` beyond PPO's clip, as a share of A, uniform in log r up to e^1 or e^-1.

    1 without a drift and 0 for PPO; below 0 the rule rolls ratios back that have gone too far. Arguments and errors are
    those of `implied_clip`.
    """
    life = check_life(drift, fractions, lifetimes)
    points = single(_check_advantages(advantages)), *map(single, life)
    return np.asarray(_mean_push(drift.function, *points), np.float64)


def _check_advantages(advantages: Sequence[float]) -> Sequence[float]:
    if not all(advantages):
        raise ValueError(
            f"pushes were asked for at the advantages {list(advantages)}; at 0 there is none, leave it out"
        )
    return advantages


def _push(function: Callable, log_ratio: Array, advantage: Array, progress: Progress) -> Array:
    return value_and_slope(function, log_ratio, advantage, progress)[1] / advantage


@partial(jax.jit, static_argnums=0)
def _mean_push(function: Callable, advantages: Array, fractions: Array, lifetimes: Array) -> Array:
    def of_one(advantage: Array, progress: Progress) -> Array:
        start = jnp.log1p(jnp.sign(advantage) * CLIP)
        middles = (jnp.arange(_MEAN_POINTS, dtype=jnp.float32) + 0.5) / _MEAN_POINTS
        log_ratio = start + (jnp.sign(advantage) * WINDOW - start) * middles
        return jnp.mean(_push(function, log_ratio, jnp.full_like(log_ratio, advantage), progress))

    return over_lives(lambda p: jax.vmap(partial(of_one, progress=p))(advantages), fractions, lifetimes)


@partial(jax.jit, static_argnums=0)
def _first_ratio_let_go(function: Callable, advantages: Array, fractions: Array, lifetimes: Array) -> Array:
    distances = jnp.arange(1, _MEAN_POINTS + 1, dtype=jnp.float32) * (WINDOW / _MEAN_POINTS)

    def of_one(advantage: Array, progress: Progress) -> Array:
        def is_let_go(distance: Array) -> Array:
            log_ratio = jnp.sign(advantage) * distance
            return _push(function, log_ratio, jnp.full_like(log_ratio, advantage), progress) <= VANISHING

        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            middle = 0.5 * (ends[0] + ends[1])
            return jnp.where(is_let_go(middle), ends[0], middle), jnp.where(is_let_go(middle), middle, ends[1])

        let_go = is_let_go(distances)
        outer = distances[jnp.argmax(let_go)]
        _, outer = jax.lax.fori_loop(0, _BISECTIONS, halve, (outer - distances[0], outer))
        return jnp.where(jnp.any(let_go), jnp.exp(jnp.sign(advantage) * outer), jnp.nan)

    return over_lives(lambda p: jax.vmap(partial(of_one, progress=p))(advantages), fractions, lifetimes)
