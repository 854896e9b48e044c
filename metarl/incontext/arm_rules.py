"""Classical rules for bandits whose arms have nothing in common, as in-context agents."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envs.domain import Domain
from metarl.incontext.agent import InContextAgent, Transition, choose

NUM_MODE_SAMPLES = 100
"""Posterior samples among which Thompson sampling, asked not to explore, takes the most frequent winner."""


class ArmStatistics(NamedTuple):
    """All that rules about unrelated arms remember."""

    count: Float[Array, " A"]
    """Pulls of each arm."""
    total: Float[Array, " A"]
    """Sum of its rewards."""


def empirical_mean(domain: Domain, *, explores: bool) -> InContextAgent:
    """Returns the agent that pulls the arm with the largest mean of its rewards.

    If it explores, it first pulls every arm once; else an unseen arm counts as 0.

    Raises:
        ValueError: if the domain is no bandit.
    """

    def act(memory: ArmStatistics, key: Array) -> Array:
        means = _means(memory)
        return best_arm(jnp.where(memory.count == 0.0, jnp.inf, means) if explores else means)

    return _arms_agent(domain, act)


def ucb(domain: Domain, *, c: float = 1.0) -> InContextAgent:
    """Returns the agent that pulls every arm once and then the one with the largest `mean + c / sqrt(count)`.

    The bonus has no logarithm of time.

    Raises:
        ValueError: if the domain is no bandit.

    Source: jon--lee/decision-pretrained-transformer, the upper-confidence rule it is compared with.
    """

    def act(memory: ArmStatistics, key: Array) -> Array:
        bounds = _means(memory) + c / jnp.sqrt(jnp.maximum(memory.count, 1.0))
        return best_arm(jnp.where(memory.count == 0.0, jnp.inf, bounds))

    return _arms_agent(domain, act)


def lcb(domain: Domain, *, c: float = 0.8) -> InContextAgent:
    """Returns the pessimist that pulls the arm with the largest `mean - c / sqrt(max(1, count))`, to act on given data.

    The mean of an unseen arm counts as 0.

    Raises:
        ValueError: if the domain is no bandit.

    Source: jon--lee/decision-pretrained-transformer, the lower-confidence rule it is compared with.
    """

    def act(memory: ArmStatistics, key: Array) -> Array:
        return best_arm(_means(memory) - c / jnp.sqrt(jnp.maximum(memory.count, 1.0)))

    return _arms_agent(domain, act)


def gaussian_thompson(domain: Domain, *, explores: bool) -> InContextAgent:
    """Returns Thompson sampling with N(1/2, 1/12) priors, the moments of U[0, 1], and the domain's own noise.

    If it does not explore, it pulls the most frequent winner of 100 posterior samples.

    Raises:
        ValueError: if the domain is no bandit with Gaussian rewards.

    Source: Thompson 1933.
    """
    return _thompson(domain, 0.5, 1.0 / 12.0, explores=explores)


def source_thompson(domain: Domain) -> InContextAgent:
    """Returns Thompson sampling with N(0, 1) priors of unrelated arms: what gathers the linear bandit's contexts.

    Raises:
        ValueError: if the domain is no bandit with Gaussian rewards.

    Source: Lee et al. 2023, contexts of the linear bandit.
    """
    return _thompson(domain, 0.0, 1.0, explores=True)


def _means(memory: ArmStatistics) -> Float[Array, " A"]:
    return memory.total / jnp.maximum(memory.count, 1.0)


def _arms_agent(domain: Domain, act: Callable[[ArmStatistics, Array], Array]) -> InContextAgent:
    if not domain.is_bandit:
        raise ValueError(f"{domain.name} is no bandit and has no arms to count; use the baselines of baselines_for")
    num_arms = domain.num_actions

    def init(key: Array, capacity: int) -> ArmStatistics:
        return ArmStatistics(jnp.zeros((num_arms,), jnp.float32), jnp.zeros((num_arms,), jnp.float32))

    def observe(memory: ArmStatistics, transition: Transition, is_valid: Bool[Array, ""]) -> ArmStatistics:
        pulled = jax.nn.one_hot(transition.action, num_arms, dtype=jnp.float32)
        return choose(ArmStatistics(memory.count + pulled, memory.total + pulled * transition.reward), memory, is_valid)

    return InContextAgent(init, lambda memory, observation, key: act(memory, key), observe)


def _thompson(domain: Domain, prior_mean: float, prior_variance: float, *, explores: bool) -> InContextAgent:
    if not has_gaussian_arms(domain):
        raise ValueError(f"{domain.name} has no Gaussian rewards; its Thompson sampling is posterior_sampling_agent")
    noise_variance, num_samples = reward_noise(domain) ** 2, 1 if explores else NUM_MODE_SAMPLES

    def act(memory: ArmStatistics, key: Array) -> Array:
        precision = 1.0 / prior_variance + memory.count / noise_variance
        means = (prior_mean / prior_variance + memory.total / noise_variance) / precision
        normal = jax.random.normal(key, (num_samples, domain.num_actions))
        winners = jnp.argmax(means[None] + normal / jnp.sqrt(precision)[None], axis=1)
        return best_arm(jnp.sum(jax.nn.one_hot(winners, domain.num_actions, dtype=jnp.float32), axis=0))

    return _arms_agent(domain, act)


def best_arm(values: Float[Array, " A"]) -> Array:
    """Returns the first arm with the highest value."""
    return jnp.argmax(values).astype(jnp.int32)


def reward_noise(domain: Domain) -> Float[Array, ""]:
    """Returns the standard deviation of rewards, which is the same in all tasks of a family."""
    middle = jnp.full((domain.family.num_dimensions,), 0.5, jnp.float32)
    return jnp.asarray(domain.family.decode(middle).params.noise, jnp.float32)


def has_gaussian_arms(domain: Domain) -> bool:
    """Returns whether the domain is a bandit whose rewards have Gaussian noise."""
    return domain.is_bandit and not domain.env.is_bernoulli
