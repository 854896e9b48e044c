"""What a choice is rewarded with, from the regrets before and after it.

Source: Maraval et al. 2023 (NAP), Eq. 1; the logarithm as in huawei-noah/HEBO, with a higher floor.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

FLOOR = 1e-3
"""Regrets below it count as it, in logarithms. The public code has 1e-20, and pays 20 for every step at the optimum."""

PAPER_FLOOR = 1e-20
"""That floor."""


def improvement(before: Float[Array, "*n"], after: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns by how much the regret fell."""
    return before - after


def neg_regret(before: Float[Array, "*n"], after: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns minus the regret afterwards: its sum is minus the area under the curve."""
    return -after


def neg_log10(before: Float[Array, "*n"], after: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns the decimal digits of the regret afterwards, in thirds: from 0 to 1."""
    return -jnp.log10(jnp.maximum(after, FLOOR)) / 3.0


def neg_log10_paper(before: Float[Array, "*n"], after: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns the decimal digits of the regret afterwards, as the public code has them: 20 at the optimum."""
    return -jnp.log10(jnp.maximum(after, PAPER_FLOOR))


def log_improvement(before: Float[Array, "*n"], after: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns how many decimal digits of regret were gained."""
    return jnp.log10(jnp.maximum(before, FLOOR)) - jnp.log10(jnp.maximum(after, FLOOR))


REWARDS: dict[str, Callable[[Array, Array], Array]] = {
    "improvement": improvement,
    "neg_regret": neg_regret,
    "neg_log10": neg_log10,
    "neg_log10_paper": neg_log10_paper,
    "log_improvement": log_improvement,
}
"""Rewards by name."""
