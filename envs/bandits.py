"""Bandits, and the law of those with independent arms (Gaussian or Bernoulli), with their exact posteriors.

Source: Lee et al. 2023 (DPT), sections on bandits; laws and constants as in jon--lee/decision-pretrained-transformer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, no_type_check

import gymnax
import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Int

from envs.bandit_beliefs import arms_belief
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


def bandit_domain(env: Bandit, name: str, sample: Callable, decode: Callable, dimensions: int, **rest: Any) -> Domain:
    """Returns the domain of bandits of one law.

    Args:
        env: the bandit.
        name: of the domain.
        sample: `sample(key) -> Task`.
        decode: `decode(vector) -> Task`.
        dimensions: length of that vector.
        rest: the remaining fields of `Domain`, among them the horizon.
    """
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

    return bandit_domain(
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


for _id, _make in {
    "GaussianBandit-metarl": lambda: Bandit(),
    "BernoulliBandit-metarl": lambda: Bandit(is_bernoulli=True),
    "LinearBandit-metarl": lambda: Bandit(10),
}.items():
    if _id not in gymnax.registered_envs:
        gymnax.register(_id, _make)
