"""The reinforcement half: proximal policy optimisation of which candidate is evaluated next.

Source: Schulman et al. 2017 (PPO); Maraval et al. 2023 (NAP), section 3.2. The baseline without a critic, which is the
mean of other episodes of the same task from the same start, is that of Shao et al. 2024.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from envs.blackbox.task import regret
from metarl.metabo.episode import Decision, evaluations_of
from metarl.metabo.nap import NAP, among
from metarl.metabo.rewards import REWARDS
from metarl.returns import discounted_returns, generalised_advantages, lambda_returns


class Outcome(NamedTuple):
    """What came of an episode."""

    reward: Float[Array, " T"]
    """Reward of each choice."""
    regret: Float[Array, " T"]
    """Regret after each choice."""


class PolicyLoss(NamedTuple):
    """Parts of the loss, before they are weighted, and what to watch."""

    surrogate: Float[Array, ""]
    """Minus the clipped surrogate."""
    value: Float[Array, ""]
    """Mean squared error of the critic."""
    entropy: Float[Array, ""]
    """Mean entropy of choices in nats."""
    clipped: Float[Array, ""]
    """Share of choices whose ratio is out of bounds."""
    divergence: Float[Array, ""]
    """Estimate of the divergence from the policy that chose, in nats."""


def outcome(start: Float[Array, ""], best: Float[Array, " T"], task: Any, *, reward: str) -> Outcome:
    """Returns what the best value after every choice is worth."""
    after = regret(best, task)
    before = jnp.concatenate([regret(start, task)[None], after[:-1]])
    return Outcome(REWARDS[reward](before, after), after)


def group_advantages(reward: Float[Array, "K G T"], *, discount: float) -> Float[Array, "K G T"]:
    """Returns returns-to-go minus their mean over the G episodes of the same task and start."""
    done = jnp.zeros(reward.shape, bool)
    to_go = jax.vmap(jax.vmap(lambda r, d: discounted_returns(r, d, discount)))(reward, done)
    return to_go - jnp.mean(to_go, axis=1, keepdims=True)


def critic_advantages(
    reward: Float[Array, "K G T"], value: Float[Array, "K G T"], *, discount: float, lambda_: float
) -> tuple[Float[Array, "K G T"], Float[Array, "K G T"]]:
    """Returns (advantages, targets of the critic); the last choice ends the episode."""
    ends = jnp.arange(reward.shape[-1]) == reward.shape[-1] - 1
    keywords = {"terminated": ends, "truncated": jnp.zeros_like(ends), "discount": discount, "lambda_": lambda_}

    def one(reward: Array, value: Array) -> tuple[Array, Array]:
        after = jnp.concatenate([value[1:], jnp.zeros((1,), jnp.float32)])
        advantages = generalised_advantages(reward, value, after, **keywords)
        return advantages, lambda_returns(reward, after, **keywords)

    return jax.vmap(jax.vmap(one))(reward, value)


def normalise(advantages: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Returns advantages of mean 0 and standard deviation 1 over everything."""
    return (advantages - jnp.mean(advantages)) / (jnp.std(advantages) + 1e-8)


def make_policy_loss(
    nap: NAP, *, clip: float, temperature: float = 1.0, rereads: bool
) -> Callable[[Any, Any, Decision, Array, Array], PolicyLoss]:
    """Returns `loss(params, task, decision, advantage, target)` of one decision.

    Args:
        nap: the model.
        clip: bound of the ratio of probabilities.
        temperature: what logits are divided by.
        rereads: whether the transformer looks at the evaluations again, so that gradients can reach it; otherwise what
            it made of them when the decision was taken is used, which is the same as long as it has not changed.
    """

    def loss(
        params: Any, task: Any, decision: Decision, advantage: Float[Array, ""], target: Float[Array, ""]
    ) -> PolicyLoss:
        observation, belief = decision.observation, decision.belief
        if rereads:
            belief = nap.believe(params, task.kind, evaluations_of(observation, task), task.x)
        progress = observation["progress"]
        logits = among(nap.prefer(params, belief, progress) / temperature, decision.is_allowed)
        log_probs = jax.nn.log_softmax(logits)
        change = log_probs[decision.action] - decision.log_prob
        ratio = jnp.exp(change)
        bounded = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
        return PolicyLoss(
            surrogate=-jnp.minimum(ratio * advantage, bounded * advantage),
            value=(nap.value(params, belief, progress) - target) ** 2,
            entropy=-jnp.sum(jnp.where(decision.is_allowed, jnp.exp(log_probs) * log_probs, 0.0)),
            clipped=(ratio != bounded).astype(jnp.float32),
            divergence=ratio - 1.0 - change,
        )

    return loss
