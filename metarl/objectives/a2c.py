"""Advantage actor-critic: the policy gradient with a squared-error critic and an entropy bonus."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from metarl.networks import policy
from metarl.objectives.actor_critic_loss import (
    AdvantageTargets,
    actor_critic_heads,
    advantage_targets,
    check_settings,
    normalise,
    value_loss,
)
from metarl.objectives.base import Objective, Outputs, Rollout
from metarl.progress import Progress


def a2c(
    action_space: Any,
    *,
    discount: float = 0.99,
    lambda_: float = 0.95,
    entropy_coefficient: float = 0.01,
    value_coefficient: float = 0.5,
) -> Objective:
    """Returns the A2C objective for this action space; its `meta_params` is `()`.

    The loss is `-mean(log pi(a|s) A) + value_coefficient mean((v - target)^2) / 2 - entropy_coefficient H`, with A the
    generalised advantage normalised over the batch.

    Raises:
        ValueError: if `discount` or `lambda_` lies outside [0, 1].

    Source: Mnih et al. 2016, in the synchronous form; advantages of Schulman et al. 2016.
    """
    check_settings("a2c", discount=discount, lambda_=lambda_)

    def targets(meta_params: Any, rollout: Rollout, progress: Progress) -> AdvantageTargets:
        return advantage_targets(rollout, discount=discount, lambda_=lambda_)

    def loss(meta_params: Any, outputs: Outputs, rollout: Rollout, targets: AdvantageTargets, progress: Progress):
        actor, entropy = _actor_loss(outputs["policy"], rollout, targets, action_space)
        critic = value_loss(outputs["value"][..., 0], targets.value)
        info = {"policy_entropy": entropy, "value_loss": critic, "advantage_std": jnp.std(targets.advantage)}
        return actor + value_coefficient * critic - entropy_coefficient * entropy, info

    return Objective(
        name="a2c",
        settings={
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


def _actor_loss(
    policy_outputs: Array, rollout: Rollout, targets: AdvantageTargets, action_space: Any
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    log_prob = policy.log_prob(policy_outputs, rollout.action, action_space)
    entropy = policy.entropy(policy_outputs, action_space)
    return -jnp.mean(log_prob * normalise(targets.advantage)), jnp.mean(entropy)
