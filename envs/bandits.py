"""Bandits: independent arms (Gaussian or Bernoulli) and arms that share a linear structure, with exact posteriors.

Source: Lee et al. 2023 (DPT), sections on bandits; laws and constants as in jon--lee/decision-pretrained-transformer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, no_type_check

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int

from envs.bandit_beliefs import arms_belief, linear_belief
from envs.domain import Domain
from envs.family import Task, TaskFamily
from envs.uniform_noise import UniformNoiseEnvironment, standard_normal

MAX_LIFETIME = 1000
"""Agent updates of a life in a bandit, for learners that are trained on one."""


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one task
@struct.dataclass
class BanditParams(environment.EnvParams):
    """A bandit task."""

    max_steps_in_episode: Int[Array, ""] | int = 500
    """Pulls in an episode."""
    means: Float[Array, " A"] | None = None
    """Expected reward of every arm."""
    noise: Float[Array, ""] | float = 0.3
    """Standard deviation of Gaussian rewards; ignored by Bernoulli arms."""


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one task
@struct.dataclass
class LinearBanditParams(BanditParams):
    """A task whose means are linear in the arms' features."""

    features: Float[Array, "A d"] | None = None
    """Feature vectors of the arms; `means` are their products with an unknown vector."""


class BanditState(NamedTuple):
    """The only thing that changes."""

    time: Int[Array, ""]
    """Pulls so far."""


class Bandit(UniformNoiseEnvironment):
    """Pull one of A arms; the observation is always the same, `[1.0]` or the arms' features.

    A reward is `mean + noise x N(0, 1)`, or 1 with probability `mean` for Bernoulli arms.
    """

    num_reset_uniforms = 0
    num_step_uniforms = 1

    def __init__(self, num_arms: int = 5, *, is_bernoulli: bool = False, feature_size: int | None = None):
        self._num_arms, self.is_bernoulli, self.feature_size = num_arms, is_bernoulli, feature_size

    @property
    def default_params(self) -> BanditParams:
        """Arms whose means rise evenly from 0 to 1."""
        means = jnp.linspace(0.0, 1.0, self._num_arms, dtype=jnp.float32)
        if self.feature_size is None:
            return BanditParams(means=means)
        return LinearBanditParams(means=means, features=jnp.zeros((self._num_arms, self.feature_size), jnp.float32))

    @property
    def num_actions(self) -> int:
        """A."""
        return self._num_arms

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Discrete(A)."""
        return spaces.Discrete(self._num_arms)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """The number 1, or all features in a row."""
        size = 1 if self.feature_size is None else self._num_arms * self.feature_size
        return spaces.Box(-jnp.inf, jnp.inf, (size,), jnp.float32)

    def observe(self, key: Any, state: BanditState, action: Any, params: Any) -> Float[Array, " D"]:
        """Returns the constant observation."""
        return jnp.ones((1,), jnp.float32) if self.feature_size is None else params.features.reshape(-1)

    def reset_from(self, uniforms: Float[Array, "0"], params: Any) -> tuple[Float[Array, " D"], BanditState]:
        """Returns `(observation, state)`; deterministic."""
        state = BanditState(jnp.int32(0))
        return self.observe(None, state, None, params), state

    def reward(self, uniforms: Float[Array, "1"], action: Int[Array, ""], params: Any) -> Float[Array, ""]:
        """Returns the reward of a pull."""
        mean = params.means[action]
        if self.is_bernoulli:
            return (uniforms[0] < mean).astype(jnp.float32)
        return mean + params.noise * standard_normal(uniforms[0])

    def transition(
        self, uniforms: Float[Array, "1"], state: BanditState, action: Int[Array, ""], params: Any
    ) -> tuple[Float[Array, " D"], BanditState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)`; never terminates."""
        state = BanditState(state.time + 1)
        observation = self.observe(None, state, action, params)
        return observation, state, self.reward(uniforms, action, params), jnp.bool_(False), {"discount": jnp.float32(1)}

    def is_terminated(self, state: BanditState, params: Any) -> Bool[Array, ""]:
        """Never."""
        return jnp.bool_(False)


def _domain(env: Bandit, name: str, sample: Callable, decode: Callable, dimensions: int, **rest: Any) -> Domain:
    horizon = rest["horizon"]
    family = TaskFamily(name, env, sample, decode, dimensions, MAX_LIFETIME, horizon)

    def transition(uniforms, observation, action, params):
        return env.reward(uniforms, action, params), observation

    return Domain(
        name=name,
        family=family,
        held_out=family,
        num_actions=env.num_actions,
        observation_size=env.observation_space().shape[0],
        encode=lambda observation: observation,
        transition=transition,
        sample_query=lambda key, params: env.observe(key, BanditState(jnp.int32(0)), None, params),
        expert=lambda observation, params: jax.nn.one_hot(jnp.argmax(params.means), env.num_actions, dtype=jnp.float32),
        mean_reward=lambda observation, action, params: params.means[action],
        shows_next=False,
        **rest,
    )


def bandit(
    *, num_arms: int = 5, noise: float = 0.3, rewards: str = "gaussian", horizon: int = 500, quadrature: int = 401
) -> Domain:
    """Returns the bandit with independent arms, means drawn from U[0, 1].

    The task vector of `decode` is the means themselves.

    Args:
        num_arms: A, at least 2.
        noise: standard deviation of Gaussian rewards, positive.
        rewards: `gaussian` or `bernoulli`.
        horizon: pulls.
        quadrature: points on [0, 1] at which the posterior's integral is evaluated, at least 3.

    Raises:
        ValueError: if an argument is out of range.
    """
    if num_arms < 2 or noise <= 0 or horizon < 1 or quadrature < 3:
        raise ValueError(
            f"bandit was given num_arms={num_arms}, noise={noise}, horizon={horizon}, quadrature={quadrature}; it "
            "needs at least 2 arms, positive noise, a horizon of at least 1 and at least 3 points"
        )
    if rewards not in ("gaussian", "bernoulli"):
        raise ValueError(f"bandit was given rewards={rewards!r}; choose gaussian or bernoulli")
    is_bernoulli = rewards == "bernoulli"
    env = Bandit(num_arms, is_bernoulli=is_bernoulli)

    def make(means: Float[Array, " A"]) -> BanditParams:
        return BanditParams(jnp.int32(horizon), means, jnp.float32(noise))

    def decode(vector: Float[Array, " A"]) -> Task:
        return Task(make(jnp.clip(vector, 0.0, 1.0)), jnp.int32(MAX_LIFETIME))

    return _domain(
        env,
        "bandit",
        lambda key: decode(jax.random.uniform(key, (num_arms,))),
        decode,
        num_arms,
        horizon=horizon,
        context_length=horizon,
        belief=arms_belief(num_arms, noise, make, is_bernoulli=is_bernoulli, num_points=quadrature),
        behaviour="tilted",
    )


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
    return _domain(
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


for _id, _make in {
    "GaussianBandit-metarl": lambda: Bandit(),
    "BernoulliBandit-metarl": lambda: Bandit(is_bernoulli=True),
    "LinearBandit-metarl": lambda: Bandit(10),
}.items():
    if _id not in gymnax.registered_envs:
        gymnax.register(_id, _make)
