"""Discovered policy optimisation: the closed form that was read off a learned drift."""

from typing import Any

from metarl.objectives.base import Objective
from metarl.objectives.drift import dpo_drift
from metarl.objectives.proximal import proximal_objective


def dpo(
    action_space: Any,
    *,
    a: float = 2.0,
    b: float = 0.6,
    clips_value: bool = False,
    discount: float = 0.99,
    lambda_: float = 0.95,
    entropy_coefficient: float = 0.01,
    value_coefficient: float = 0.5,
) -> Objective:
    """Returns the DPO objective for this action space; its `meta_params` is `()`.

    Args:
        action_space: gymnax action space.
        a: where the drift of positive advantages sets in, above 0.
        b: where the drift of negative advantages sets in, above 0.
        clips_value: this and the others as in `proximal_objective`.

    Raises:
        ValueError: if `discount` or `lambda_` is out of range, or `a` or `b` is not positive.

    Source: Lu et al. 2022, Eq. 15 and 16.
    """
    if not (a > 0.0 and b > 0.0):
        raise ValueError(f"dpo was given a = {a} and b = {b}; both must be positive")
    return proximal_objective(
        "dpo",
        action_space,
        lambda meta_params, ratio, log_ratio, advantage, progress: dpo_drift(ratio, log_ratio, advantage, a=a, b=b),
        {"a": a, "b": b},
        clips_value=clips_value,
        discount=discount,
        lambda_=lambda_,
        entropy_coefficient=entropy_coefficient,
        value_coefficient=value_coefficient,
    )
