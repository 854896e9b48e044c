"""Bandits whose arms share a linear structure, with exact posteriors.

Source: Lee et al. 2023 (DPT), section on linear bandits; laws and constants as in
jon--lee/decision-pretrained-transformer.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from envs.bandit_beliefs import linear_belief
from envs.bandits import MAX_LIFETIME, Bandit, BanditParams, LinearBanditParams, bandit_domain
from envs.domain import Domain
from envs.family import Task

FEATURES_SEED = 1234
"""Seed of the fixed arms of the public code."""


def fixed_features(num_arms: int = 10, dim: int = 2) -> Float[np.ndarray, "A d"]:
    """Returns the arms of the public code: normal numbers of a legacy generator, divided by sqrt(d)."""
    return (np.random.RandomState(FEATURES_SEED).normal(size=(num_arms, dim)) / np.sqrt(dim)).astype(np.float32)


def _check_linear(num_arms: int, dim: int, noise: float, arms: str, horizon: int, num_angles: int) -> None:
    if num_arms < 2 or dim < 1 or noise <= 0 or horizon < 1 or num_angles < 8:
        raise ValueError(
            f"linear-bandit was given num_arms={num_arms}, dim={dim}, noise={noise}, horizon={horizon}, "
            f"num_angles={num_angles}; it needs at least 2 arms, 1 dimension, positive noise, a horizon of at least 1 "
            "and at least 8 angles"
        )
    if arms not in ("fixed", "resampled"):
        raise ValueError(f"linear-bandit was given arms={arms!r}; choose fixed or resampled")


def linear_bandit(
    *,
    num_arms: int = 10,
    dim: int = 2,
    noise: float = 0.3,
    arms: str = "fixed",
    horizon: int = 200,
    num_angles: int = 7200,
) -> Domain:
    """Returns the bandit whose means are `features · theta`, theta ~ N(0, I / d).

    The task vector of `decode` holds quantiles of theta, and of the features if they are resampled.

    Args:
        num_arms: A, at least 2.
        dim: d, at least 1. The exact probabilities of the best arm need d = 2; otherwise there is no belief.
        noise: standard deviation of rewards, positive.
        arms: `fixed` (the same features in every task, which the observation does not show) or `resampled` (new ones in
            every task, shown in the observation).
        horizon: pulls.
        num_angles: angles of theta at which the posterior is summed.

    Raises:
        ValueError: if an argument is out of range.
    """
    _check_linear(num_arms, dim, noise, arms, horizon, num_angles)
    constant = jnp.asarray(fixed_features(num_arms, dim)) if arms == "fixed" else None
    env = Bandit(num_arms, feature_size=dim if constant is None else None)

    def make(means: Float[Array, " A"]) -> BanditParams:
        return BanditParams(jnp.int32(horizon), means, jnp.float32(noise))

    has_belief = dim == 2 and constant is not None
    return bandit_domain(
        env,
        "linear-bandit",
        *_linear_law(make, constant, (num_arms, dim)),
        horizon=horizon,
        context_length=horizon,
        belief=linear_belief(constant, noise, make, num_angles=num_angles) if has_belief else None,
        behaviour="thompson",
        is_ordered=True,
        features=lambda observation: observation.reshape(num_arms, dim) if constant is None else constant,
    )


def _linear_law(
    make: Callable, constant: Float[Array, "A d"] | None, shape: tuple[int, int]
) -> tuple[Callable, Callable, int]:
    """Returns `sample(key)`, `decode(vector)` and the length of that vector.

    Args:
        make: parameters of a bandit from its means.
        constant: features that all tasks share. None: every task has its own.
        shape: (A, d).
    """
    num_arms, dim = shape
    scale = jnp.float32(dim) ** -0.5

    def task(theta: Float[Array, " d"], features: Float[Array, "A d"]) -> Task:
        params = make(features @ theta)
        if constant is None:
            params = LinearBanditParams(params.max_steps_in_episode, params.means, params.noise, features)
        return Task(params, jnp.int32(MAX_LIFETIME))

    def decode(vector: Float[Array, " D"]) -> Task:
        normal = scale * norm.ppf(jnp.clip(vector, 1e-6, 1.0 - 1e-6))
        return task(normal[:dim], normal[dim:].reshape(shape) if constant is None else constant)

    def sample(key: Array) -> Task:
        key_theta, key_features = jax.random.split(key)
        features = scale * jax.random.normal(key_features, shape) if constant is None else constant
        return task(scale * jax.random.normal(key_theta, (dim,)), features)

    return sample, decode, dim if constant is not None else dim + num_arms * dim
