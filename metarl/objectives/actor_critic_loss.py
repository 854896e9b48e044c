"""What objectives with a policy and a value head share: advantages, critic losses, and checks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from metarl.networks import policy
from metarl.objectives.base import Rollout
from metarl.returns import generalised_advantages

EPSILON = 1e-8
"""Added to the standard deviation that advantages are divided by."""


class AdvantageTargets(NamedTuple):
    """What a rollout says about actions and states, computed once under the acting parameters."""

    advantage: Float[Array, "*TB"]
    """How much better the action was than the policy's average; not normalised."""
    value: Float[Array, "*TB"]
    """What the critic should have said: advantage plus the value under the acting parameters."""


def actor_critic_heads(action_space: Any) -> dict[str, int]:
    """Returns the heads of every objective here: `policy`, sized by the action space, and `value`, one number."""
    return {"policy": policy.policy_head_size(action_space), "value": 1}


def advantage_targets(rollout: Rollout, *, discount: float, lambda_: float) -> AdvantageTargets:
    """Returns generalised advantages and critic targets of a rollout `[T, B]`."""
    value, next_value = rollout.outputs["value"][..., 0], rollout.next_outputs["value"][..., 0]

    def of_one_worker(reward: Array, value: Array, next_value: Array, terminated: Array, truncated: Array) -> Array:
        flags = {"terminated": terminated, "truncated": truncated}
        return generalised_advantages(reward, value, next_value, **flags, discount=discount, lambda_=lambda_)

    over_workers = jax.vmap(of_one_worker, in_axes=1, out_axes=1)
    advantage = over_workers(rollout.reward, value, next_value, rollout.terminated, rollout.truncated)
    return AdvantageTargets(advantage, advantage + value)


def normalise(advantage: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Returns the advantages shifted to mean 0 and scaled to deviation 1 over all axes; equal ones become 0."""
    return (advantage - jnp.mean(advantage)) / (jnp.std(advantage) + EPSILON)


def value_loss(value: Float[Array, "*batch"], target: Float[Array, "*batch"]) -> Float[Array, ""]:
    """Returns `mean((v - target)^2) / 2`."""
    return 0.5 * jnp.mean(jnp.square(value - target))


def clipped_value_loss(
    value: Float[Array, "*batch"], target: Float[Array, "*batch"], old_value: Float[Array, "*batch"], clip: float
) -> Float[Array, ""]:
    """Returns the mean, halved, of the larger squared error of `v` and of `v` held within `clip` of `old_value`.

    Source: the original code of PPO (openai/baselines, 2017).
    """
    held = old_value + jnp.clip(value - old_value, -clip, clip)
    return 0.5 * jnp.mean(jnp.maximum(jnp.square(value - target), jnp.square(held - target)))


def kl_estimate(log_ratio: Float[Array, "*batch"]) -> Float[Array, ""]:
    """Returns `mean(r - 1 - log r)` over actions of the old policy: unbiased for KL(old || new), and never negative.

    Source: Schulman 2020, "Approximating KL divergence", estimator k3.
    """
    return jnp.mean(jnp.expm1(log_ratio) - log_ratio)


def check_settings(name: str, *, discount: float, lambda_: float, clip: float = 0.2) -> None:
    """Checks the numbers that every objective here takes.

    Raises:
        ValueError: unless `discount` and `lambda_` lie in [0, 1] and `clip` in (0, 1).
    """
    for setting, number in (("discount", discount), ("lambda_", lambda_)):
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{name} was given {setting} = {number}; it must lie in [0, 1]")
    if not 0.0 < clip < 1.0:
        raise ValueError(f"{name} was given clip = {clip}; it must lie in (0, 1)")
