"""Classical rules for linear bandits, which know the features of the arms, as in-context agents."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envs.domain import Domain
from metarl.incontext.agent import InContextAgent, Transition, choose
from metarl.incontext.arm_rules import best_arm, reward_noise


class Regression(NamedTuple):
    """A Gaussian posterior of the vector theta in `mean reward = features · theta`."""

    count: Float[Array, ""]
    """Pulls of all arms together."""
    mean: Float[Array, " d"]
    """Its mean."""
    covariance: Float[Array, "d d"]
    """Its covariance."""


def lin_ucb(domain: Domain, *, c: float = 1.0) -> InContextAgent:
    """Returns the agent that pulls the arm with the largest `x · theta + c sqrt(x' V x)`; the first arm is random.

    V is the inverse of `I + Σ x x'` over the pulls and theta the ridge regression `V Σ x r`; c = 0 trusts it.

    Raises:
        ValueError: if the domain knows no features of its arms.

    Source: Li et al. 2010, algorithm 1, with features shared by all arms.
    """

    def act(memory: Regression, features: Float[Array, "A d"], key: Array) -> Array:
        spread = jnp.sum((features @ memory.covariance) * features, axis=1)
        best = best_arm(features @ memory.mean + c * jnp.sqrt(jnp.maximum(spread, 0.0)))
        return jnp.where(memory.count == 0.0, jax.random.randint(key, (), 0, domain.num_actions), best)

    return _linear_agent(domain, act, lambda dim: 1.0, noise_variance=1.0)


def lin_thompson(domain: Domain) -> InContextAgent:
    """Returns exact Thompson sampling of theta ~ N(0, I / d) under the domain's own noise.

    Raises:
        ValueError: if the domain knows no features of its arms.

    Source: Agrawal and Goyal 2013, with the true prior and noise.
    """

    def act(memory: Regression, features: Float[Array, "A d"], key: Array) -> Array:
        normal = jax.random.normal(key, memory.mean.shape)
        return best_arm(features @ (memory.mean + cholesky(memory.covariance) @ normal))

    return _linear_agent(domain, act, lambda dim: 1.0 / dim, noise_variance=reward_noise(domain) ** 2)


def cholesky(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Returns the lower factor L of a positive definite matrix `L L'`, column by column.

    Written out because LAPACK inside vmapped programs can wait for ever on a CPU with few cores. What rounding makes
    negative under a root counts as 0.
    """
    dim = matrix.shape[0]
    factor = jnp.zeros_like(matrix)
    for j in range(dim):
        column = matrix[:, j] - factor @ factor[j]
        pivot = jnp.sqrt(jnp.maximum(column[j], 1e-30))
        factor = factor.at[j:, j].set(column[j:] / pivot)
    return factor


def _linear_agent(
    domain: Domain,
    act: Callable[[Regression, Float[Array, "A d"], Array], Array],
    prior_variance: Callable[[int], float],
    *,
    noise_variance: Any,
) -> InContextAgent:
    """Returns the agent that remembers the posterior of theta ~ N(0, v(d) I), updated by rank one at every pull."""
    features_of = domain.features
    if features_of is None:
        raise ValueError(f"{domain.name} knows no features of arms; linear baselines are for linear-bandit")
    dim = jax.eval_shape(features_of, jnp.zeros((domain.observation_size,), jnp.float32)).shape[1]

    def init(key: Array, capacity: int) -> Regression:
        identity = prior_variance(dim) * jnp.eye(dim, dtype=jnp.float32)
        return Regression(jnp.float32(0.0), jnp.zeros((dim,), jnp.float32), identity)

    def observe(memory: Regression, transition: Transition, is_valid: Bool[Array, ""]) -> Regression:
        x = features_of(transition.observation)[transition.action]
        along = memory.covariance @ x
        scale = noise_variance + x @ along
        mean = memory.mean + along * (transition.reward - x @ memory.mean) / scale
        # Sherman and Morrison: the inverse after one more pull, without an inversion.
        covariance = memory.covariance - jnp.outer(along, along) / scale
        return choose(Regression(memory.count + 1.0, mean, covariance), memory, is_valid)

    def act_on(memory: Regression, observation: Any, key: Array) -> Array:
        return act(memory, features_of(observation), key)

    return InContextAgent(init, act_on, observe)
