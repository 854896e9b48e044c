"""What a drift does, as numbers: its surface over ratio and advantage, its slope, and where the policy is let go.

A proximal rule raises `r A - f`, with r the ratio of an action's new and old probability and A its normalised
advantage. An action is *pushed* while the slope of that in r has the sign of A; a drift f is what ends the push.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.spaces import Discrete
from jaxtyping import Array, Float

from metarl.objectives.export import LoadedRule
from metarl.objectives.registry import OBJECTIVES, make_objective
from metarl.progress import REFERENCE_LAW, Progress

WINDOW = 1.0
"""Ratios are looked at from e^-1 to e^1, as in AlexGoldie/learn-rl-algorithms."""
MAX_ADVANTAGE = 4.0
"""Normalised advantages are looked at from minus to plus this."""
NUM_POINTS = 257
"""Points along each side of a surface; odd, so that r = 1 and A = 0 are among them."""
FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Points n/N in a life at which surfaces are drawn. A rule is never shown 1 itself: its last update has (N - 1)/N."""


class RuleDrift(NamedTuple):
    """The drift of a rule with its parameters filled in."""

    function: Callable[[Array, Array, Array, Progress], Array]
    """`function(ratio, log_ratio, advantage, progress) -> f`, elementwise."""
    sees_time: bool = False
    """Whether f depends on n/N."""
    sees_horizon: bool = False
    """Whether f depends on N itself too."""


class Surfaces(NamedTuple):
    """A drift on a grid, at points n/N of lives of N updates."""

    log_ratio: Float[np.ndarray, " R"]
    """log r, from -1 to 1."""
    advantage: Float[np.ndarray, " A"]
    """A, from -4 to 4."""
    fractions: Float[np.ndarray, " F"]
    """n/N."""
    lifetimes: Float[np.ndarray, " L"]
    """N."""
    drift: Float[np.ndarray, "L F A R"]
    """f."""
    slope: Float[np.ndarray, "L F A R"]
    """Derivative of r A - f with respect to r: what the policy is pushed by."""

    @property
    def drift_slope(self) -> Float[np.ndarray, "L F A R"]:
        """Derivative of f with respect to r."""
        return self.advantage[:, None] - self.slope

    @property
    def push(self) -> Float[np.ndarray, "L F A R"]:
        """Slope as a share of A: 1 without a drift, 0 where the action is let go, below 0 where rolled back.

        NaN at A = 0.
        """
        return self.slope / np.where(self.advantage == 0.0, np.nan, self.advantage)[:, None]


def has_drift(objective_name: str, settings: Mapping[str, Any]) -> bool:
    """Returns whether rules of this objective have a drift; an unknown objective has none.

    Raises:
        ValueError: if the objective does not take these settings.
    """
    if objective_name not in OBJECTIVES:
        return False
    return _objective(objective_name, settings).drift is not None


def rule_drift(rule: LoadedRule) -> RuleDrift:
    """Returns the drift of a rule.

    Raises:
        ValueError: if the objective is unknown or has no drift, or does not take these settings.
    """
    drift = _objective(rule.objective, rule.settings).drift
    if drift is None:
        raise ValueError(f"objective {rule.objective!r} has no drift; give a rule of lpo, ppo or dpo")
    is_temporal = bool(rule.settings.get("temporal", False))
    return RuleDrift(
        partial(drift, rule.meta_params), is_temporal, is_temporal and bool(rule.settings.get("log_horizon", False))
    )


def reference_drifts() -> dict[str, RuleDrift]:
    """Returns the drifts of PPO and DPO by arm."""
    return {name: rule_drift(LoadedRule(name, {}, (), {})) for name in ("ppo", "dpo")}


def _objective(name: str, settings: Mapping[str, Any]) -> Any:
    # Which actions there are makes no difference to a drift, but every objective is made for some.
    return make_objective(name, Discrete(2), **settings)


def shown_lifetimes(drift: RuleDrift, trained: tuple[float, float] | None) -> tuple[float, ...]:
    """Returns the lifetimes to show a drift at: the shortest trained, the geometric mean and the longest.

    One alone if the drift does not depend on it; those of REFERENCE_LAW if the trained ones are not known.
    """
    shortest, longest = trained or REFERENCE_LAW
    if not drift.sees_horizon or shortest == longest:
        return (float(longest),)
    return float(shortest), float(round((shortest * longest) ** 0.5)), float(longest)


def make_surfaces(
    drift: RuleDrift,
    fractions: Sequence[float] = FRACTIONS,
    lifetimes: Sequence[float] = (100.0,),
    *,
    num_points: int = NUM_POINTS,
    advantages: Sequence[float] | None = None,
) -> Surfaces:
    """Returns the drift and the slope of `r A - f` over log r in [-1, 1] and A in [-4, 4].

    A drift that does not see time is evaluated at the first fraction alone. At kinks the slope is what automatic
    differentiation says it is.

    Args:
        drift: whose.
        fractions: n/N, in [0, 1].
        lifetimes: N, at least 1.
        num_points: points along each axis, at least 2.
        advantages: the only ones, instead of `num_points` of them.

    Raises:
        ValueError: if one of these is out of range.
    """
    life = check_life(drift, fractions, lifetimes)
    if num_points < 2:
        raise ValueError(f"surfaces were asked for with {num_points} points a side; give 2 or more")
    log_ratio = np.linspace(-WINDOW, WINDOW, num_points)
    every = np.linspace(-MAX_ADVANTAGE, MAX_ADVANTAGE, num_points)
    advantage = every if advantages is None else np.asarray(advantages, np.float64)
    values, slopes = _on_grid(drift.function, single(log_ratio), single(advantage), *map(single, life))
    return Surfaces(log_ratio, advantage, *life, np.asarray(values), np.asarray(slopes))


def single(values: Any) -> Float[np.ndarray, " n"]:
    """Returns the values as float32."""
    return np.asarray(values, np.float32)


def check_life(
    drift: RuleDrift, fractions: Sequence[float], lifetimes: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns fractions and lifetimes as arrays, the first fraction alone for a drift that does not see time.

    Raises:
        ValueError: if there is none of either, a fraction is outside [0, 1], or a lifetime below 1.
    """
    if not len(fractions) or not all(0.0 <= fraction <= 1.0 for fraction in fractions):
        raise ValueError(f"a drift was asked for at n/N = {list(fractions)}; give one fraction or more in [0, 1]")
    if not len(lifetimes) or not all(lifetime >= 1.0 for lifetime in lifetimes):
        raise ValueError(f"a drift was asked for at N = {list(lifetimes)}; give one lifetime or more of at least 1")
    return np.asarray(fractions if drift.sees_time else fractions[:1], np.float64), np.asarray(lifetimes, np.float64)


def value_and_slope(function: Callable, log_ratio: Array, advantage: Array, progress: Progress) -> tuple[Array, Array]:
    """Returns f and the derivative of `r A - f` in r, elementwise; log r moves with r."""
    ratio = jnp.exp(log_ratio)
    value, slope = jax.jvp(
        lambda ratio, log_ratio: function(ratio, log_ratio, advantage, progress),
        (ratio, log_ratio),
        (jnp.ones_like(ratio), 1.0 / ratio),
    )
    return value, advantage - slope


def over_lives(compute: Callable[[Progress], Any], fractions: Array, lifetimes: Array) -> Any:
    """Returns the results of `compute` at every point, leading axes [L, F]; one after another, for memory's sake."""

    def at(lifetime: Array) -> Any:
        # n need not be whole here: drifts see it divided by N.
        return jax.lax.map(lambda fraction: compute(Progress(fraction * lifetime, lifetime)), fractions)

    return jax.lax.map(at, lifetimes)


@partial(jax.jit, static_argnums=0)
def _on_grid(function: Callable, log_ratio: Array, advantage: Array, fractions: Array, lifetimes: Array) -> Any:
    advantage, log_ratio = jnp.meshgrid(advantage, log_ratio, indexing="ij")
    return over_lives(partial(value_and_slope, function, log_ratio, advantage), fractions, lifetimes)
