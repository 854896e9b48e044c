"""Proximal policy optimisation with any drift: PPO, DPO and LPO are this objective and differ in the drift alone."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from metarl.networks import policy
from metarl.objectives.actor_critic_loss import (
    AdvantageTargets,
    actor_critic_heads,
    advantage_targets,
    check_settings,
    clipped_value_loss,
    kl_estimate,
    normalise,
    value_loss,
)
from metarl.objectives.base import Objective, Outputs, Rollout
from metarl.objectives.drift import Drift
from metarl.progress import Progress


def proximal_objective(
    name: str,
    action_space: Any,
    drift: Callable[..., Array],
    rule_settings: Mapping[str, Any],
    *,
    init: Callable[[Array], Any] = lambda key: (),
    clip: float = 0.2,
    clips_value: bool,
    discount: float,
    lambda_: float,
    entropy_coefficient: float,
    value_coefficient: float,
) -> Objective:
    """Returns the objective `-mean(r A - f) + value_coefficient x value loss - entropy_coefficient x entropy`.

    Args:
        name: registry name.
        action_space: gymnax action space.
        drift: `drift(meta_params, ratio, log_ratio, advantage, progress) -> f`, elementwise.
        rule_settings: the factory's own settings, beside those that all proximal objectives share.
        init: `init(key) -> meta_params`; closed forms have none.
        clip: ratios further than this from 1 count in `clip_fraction`; also the critic's clip.
        clips_value: whether the critic's loss ignores gains from moving further than `clip` from the old value.
        discount: in [0, 1].
        lambda_: of the generalised advantages, in [0, 1]; advantages are normalised per minibatch.
        entropy_coefficient: weight of the entropy bonus.
        value_coefficient: weight of the critic's loss, `mean((v - target)^2) / 2`.

    Raises:
        ValueError: if `discount`, `lambda_` or `clip` is out of range.

    Source: Lu et al. 2022 (the mirror learning form of the actor loss).
    """
    check_settings(name, discount=discount, lambda_=lambda_, clip=clip)

    def targets(meta_params: Any, rollout: Rollout, progress: Progress) -> AdvantageTargets:
        return advantage_targets(rollout, discount=discount, lambda_=lambda_)

    def loss(meta_params: Any, outputs: Outputs, rollout: Rollout, targets: AdvantageTargets, progress: Progress):
        def penalty(ratio: Array, log_ratio: Array, advantage: Array) -> Array:
            return drift(meta_params, ratio, log_ratio, advantage, progress)

        actor, info = actor_loss(outputs["policy"], rollout, targets, action_space, drift=penalty, clip=clip)
        critic = _critic_loss(outputs, rollout, targets, clip if clips_value else None)
        info = {**info, "value_loss": critic, "advantage_std": jnp.std(targets.advantage)}
        return actor + value_coefficient * critic - entropy_coefficient * info["policy_entropy"], info

    return Objective(
        name=name,
        settings={
            **rule_settings,
            "clips_value": clips_value,
            "discount": discount,
            "lambda_": lambda_,
            "entropy_coefficient": entropy_coefficient,
            "value_coefficient": value_coefficient,
        },
        heads=actor_critic_heads,
        init=init,
        targets=targets,
        loss=loss,
        drift=drift,
        starts_from_zeros=False,
    )


def actor_loss(
    policy_outputs: Float[Array, "*batch size"],
    rollout: Rollout,
    targets: AdvantageTargets,
    action_space: Any,
    *,
    drift: Drift,
    clip: float,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Returns `-mean(r A - f)` and the policy's statistics.

    r is the ratio of the action's probability to what it was when acting, A the advantage normalised over the batch
    given, and `f = drift(r, log r, A)`.
    """
    old_log_prob = policy.log_prob(rollout.outputs["policy"], rollout.action, action_space)
    log_ratio = policy.log_prob(policy_outputs, rollout.action, action_space) - old_log_prob
    ratio, advantage = jnp.exp(log_ratio), normalise(targets.advantage)
    info = {
        "policy_entropy": jnp.mean(policy.entropy(policy_outputs, action_space)),
        "policy_kl": kl_estimate(log_ratio),
        "clip_fraction": jnp.mean((jnp.abs(ratio - 1.0) > clip).astype(jnp.float32)),
    }
    return -jnp.mean(ratio * advantage - drift(ratio, log_ratio, advantage)), info


def _critic_loss(outputs: Outputs, rollout: Rollout, targets: AdvantageTargets, clip: float | None) -> Float[Array, ""]:
    value, old_value = outputs["value"][..., 0], rollout.outputs["value"][..., 0]
    if clip is None:
        return value_loss(value, targets.value)
    return clipped_value_loss(value, targets.value, old_value, clip)
