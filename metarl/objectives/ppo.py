"""Proximal policy optimisation with a clipped ratio: the closed-form rule that learned drift functions start from."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from metarl.objectives.actor_critic_loss import (
    AdvantageTargets,
    actor_critic_heads,
    advantage_targets,
    check_settings,
    proximal_loss,
)
from metarl.objectives.base import Objective, Outputs, Rollout
from metarl.progress import Progress


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

    Args:
        action_space: gymnax action space.
        clip: ratios are held within 1 - clip and 1 + clip, in (0, 1).
        clips_value: whether the critic's loss also ignores gains from moving further than `clip` from the old value.
        discount: in [0, 1].
        lambda_: of the generalised advantages, in [0, 1]; advantages are normalised per minibatch.
        entropy_coefficient: weight of the entropy bonus.
        value_coefficient: weight of the critic's loss, `mean((v - target)^2) / 2`.

    Raises:
        ValueError: if `discount`, `lambda_` or `clip` is out of range.

    Source: Schulman et al. 2017, Eq. 7 and 9.
    """
    check_settings("ppo", discount=discount, lambda_=lambda_, clip=clip)

    def targets(meta_params: Any, rollout: Rollout, progress: Progress) -> AdvantageTargets:
        return advantage_targets(rollout, discount=discount, lambda_=lambda_)

    def loss(meta_params: Any, outputs: Outputs, rollout: Rollout, targets: AdvantageTargets, progress: Progress):
        return proximal_loss(
            outputs,
            rollout,
            targets,
            action_space=action_space,
            drift=lambda ratio, log_ratio, advantage: clip_drift(ratio, advantage, clip),
            entropy_coefficient=entropy_coefficient,
            value_coefficient=value_coefficient,
            clip=clip,
            clips_value=clips_value,
        )

    return Objective(
        name="ppo",
        settings={
            "clip": clip,
            "clips_value": clips_value,
            "discount": discount,
            "lambda_": lambda_,
            "entropy_coefficient": entropy_coefficient,
            "value_coefficient": value_coefficient,
        },
        heads=actor_critic_heads,
        init=lambda key: (),
        targets=targets,
        loss=loss,
    )


def clip_drift(ratio: Float[Array, "*batch"], advantage: Float[Array, "*batch"], clip: float) -> Float[Array, "*batch"]:
    """Returns PPO as a drift, `relu((r - clip(r, 1 - c, 1 + c)) A)`, so that `r A - drift = min(r A, clip(r) A)`.

    Source: Schulman et al. 2017, Eq. 7, in the form of Lu et al. 2022.
    """
    return jax.nn.relu((ratio - jnp.clip(ratio, 1.0 - clip, 1.0 + clip)) * advantage)
