"""Proximal policy optimisation with a clipped ratio: the closed-form rule that learned drift functions start from."""

from typing import Any

from metarl.objectives.base import Objective
from metarl.objectives.drift import clip_drift
from metarl.objectives.proximal import proximal_objective


def ppo(
    action_space: Any,
    *,
    clip: float = 0.2,
    clips_value: bool = False,
    discount: float = 0.99,
    lambda_: float = 0.95,
    entropy_coefficient: float = 0.01,
    value_coefficient: float = 0.5,
) -> Objective:
    """Returns the PPO objective for this action space; its `meta_params` is `()`.

    Ratios are held within 1 - clip and 1 + clip, clip in (0, 1). The other settings are those of `proximal_objective`.

    Raises:
        ValueError: if `discount`, `lambda_` or `clip` is out of range.

    Source: Schulman et al. 2017, Eq. 7 and 9.
    """
    return proximal_objective(
        "ppo",
        action_space,
        lambda meta_params, ratio, log_ratio, advantage, progress: clip_drift(ratio, advantage, clip),
        {"clip": clip},
        clip=clip,
        clips_value=clips_value,
        discount=discount,
        lambda_=lambda_,
        entropy_coefficient=entropy_coefficient,
        value_coefficient=value_coefficient,
    )
