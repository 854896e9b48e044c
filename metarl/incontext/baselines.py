"""Classical rules for bandits as in-context agents, and the references that every learner is compared with, by name."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envs.domain import Domain
from metarl.incontext.agent import (
    InContextAgent,
    Transition,
    belief_agent,
    choose,
    posterior_mean_agent,
    posterior_sampling_agent,
    uniform_agent,
)

NUM_MODE_SAMPLES = 100
"""Posterior samples among which Thompson sampling, asked not to explore, takes the most frequent winner."""


class ArmStatistics(NamedTuple):
    """All that rules about unrelated arms remember."""

    count: Float[Array, " A"]
    """Pulls of each arm."""
    total: Float[Array, " A"]
    """Sum of its rewards."""


class Regression(NamedTuple):
    """A Gaussian posterior of the vector theta in `mean reward = features · theta`."""

    count: Float[Array, ""]
    """Pulls of all arms together."""
    mean: Float[Array, " d"]
    """Its mean."""
    covariance: Float[Array, "d d"]
    """Its covariance."""


def empirical_mean(domain: Domain, *, explores: bool) -> InContextAgent:
    """Returns the agent that pulls the arm with the largest mean of its rewards.

    If it explores, it first pulls every arm once; else an unseen arm counts as 0.

    Raises:
        ValueError: if the domain is no bandit.
    """

    def act(memory: ArmStatistics, key: Array) -> Array:
        means = _means(memory)
        return _best(jnp.where(memory.count == 0.0, jnp.inf, means) if explores else means)

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
        return _best(jnp.where(memory.count == 0.0, jnp.inf, bounds))

    return _arms_agent(domain, act)


def lcb(domain: Domain, *, c: float = 0.8) -> InContextAgent:
    """Returns the pessimist that pulls the arm with the largest `mean - c / sqrt(max(1, count))`, to act on given data.

    The mean of an unseen arm counts as 0.

    Raises:
        ValueError: if the domain is no bandit.

    Source: jon--lee/decision-pretrained-transformer, the lower-confidence rule it is compared with.
    """

    def act(memory: ArmStatistics, key: Array) -> Array:
        return _best(_means(memory) - c / jnp.sqrt(jnp.maximum(memory.count, 1.0)))

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


def lin_ucb(domain: Domain, *, c: float = 1.0) -> InContextAgent:
    """Returns the agent that pulls the arm with the largest `x · theta + c sqrt(x' V x)`; the first arm is random.

    V is the inverse of `I + Σ x x'` over the pulls and theta the ridge regression `V Σ x r`; c = 0 trusts it.

    Raises:
        ValueError: if the domain knows no features of its arms.

    Source: Li et al. 2010, algorithm 1, with features shared by all arms.
    """

    def act(memory: Regression, features: Float[Array, "A d"], key: Array) -> Array:
        spread = jnp.sum((features @ memory.covariance) * features, axis=1)
        best = _best(features @ memory.mean + c * jnp.sqrt(jnp.maximum(spread, 0.0)))
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
        return _best(features @ (memory.mean + cholesky(memory.covariance) @ normal))

    return _linear_agent(domain, act, lambda dim: 1.0 / dim, noise_variance=_noise(domain) ** 2)


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


def _means(memory: ArmStatistics) -> Float[Array, " A"]:
    return memory.total / jnp.maximum(memory.count, 1.0)


def _best(values: Float[Array, " A"]) -> Array:
    return jnp.argmax(values).astype(jnp.int32)


def _noise(domain: Domain) -> Float[Array, ""]:
    """Returns the standard deviation of rewards, which is the same in all tasks of a family."""
    middle = jnp.full((domain.family.num_dimensions,), 0.5, jnp.float32)
    return jnp.asarray(domain.family.decode(middle).params.noise, jnp.float32)


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
    noise_variance, num_samples = _noise(domain) ** 2, 1 if explores else NUM_MODE_SAMPLES

    def act(memory: ArmStatistics, key: Array) -> Array:
        precision = 1.0 / prior_variance + memory.count / noise_variance
        means = (prior_mean / prior_variance + memory.total / noise_variance) / precision
        normal = jax.random.normal(key, (num_samples, domain.num_actions))
        winners = jnp.argmax(means[None] + normal / jnp.sqrt(precision)[None], axis=1)
        return _best(jnp.sum(jax.nn.one_hot(winners, domain.num_actions, dtype=jnp.float32), axis=0))

    return _arms_agent(domain, act)


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


BASELINES: dict[str, Callable[[Domain], InContextAgent]] = {
    "uniform": uniform_agent,
    "emp": partial(empirical_mean, explores=True),
    "ucb1.0": partial(ucb, c=1.0),
    "ucb0.6": partial(ucb, c=0.6),
    "ucb0.3": partial(ucb, c=0.3),
    "lcb": lcb,
    "thompson": partial(gaussian_thompson, explores=True),
    "source": source_thompson,
    "linucb": lin_ucb,
    "linreg": partial(lin_ucb, c=0.0),
    "lints": lin_thompson,
    "posterior": posterior_sampling_agent,
    "sampled": partial(belief_agent, greedy=False),
    "argmax": partial(belief_agent, greedy=True),
    "mean": posterior_mean_agent,
    "psrl": posterior_sampling_agent,
}
"""Baselines by the names of result rows, as they act online."""
OFFLINE: dict[str, Callable[[Domain], InContextAgent]] = {
    "emp": partial(empirical_mean, explores=False),
    "thompson": partial(gaussian_thompson, explores=False),
}
"""Those that act otherwise on given data, where nothing can be explored any more."""


def has_gaussian_arms(domain: Domain) -> bool:
    """Returns whether the domain is a bandit whose rewards have Gaussian noise."""
    return domain.is_bandit and not domain.env.is_bernoulli


def baselines_for(domain: Domain, mode: str) -> dict[str, InContextAgent]:
    """Returns the baselines that make sense in the domain, by name; the mode is `online` or `offline`.

    | name | domains | mode |
    |---|---|---|
    | `uniform` | discrete actions | both |
    | `emp` | bandits | both |
    | `ucb1.0`, `ucb0.6`, `ucb0.3` | bandits | online |
    | `lcb` | bandits | offline |
    | `thompson` | bandits without features, Gaussian rewards | both |
    | `source`, `linucb`, `lints` | bandits with features | online |
    | `linreg` | bandits with features | both |
    | `posterior`, `mean` | bandits with an exact belief | both |
    | `psrl` | other domains with an exact belief | both |
    | `sampled`, `argmax` | domains with an exact belief | both |

    Raises:
        ValueError: if the mode is neither `online` nor `offline`.
    """
    if mode not in ("online", "offline"):
        raise ValueError(f"baselines were asked for with mode={mode!r}; choose online or offline")
    online, linear = mode == "online", domain.features is not None
    names = [] if domain.is_continuous else ["uniform"]
    if domain.is_bandit:
        names += ["emp"] + (["ucb1.0", "ucb0.6", "ucb0.3"] if online else ["lcb"])
        if linear:
            names += ["source", "linucb", "linreg", "lints"] if online else ["linreg"]
        elif has_gaussian_arms(domain):
            names += ["thompson"]
    if domain.belief is not None:
        names += ["posterior", "mean"] if domain.is_bandit else ["psrl"]
        names += ["sampled", "argmax"]
    chosen = BASELINES if online else BASELINES | OFFLINE
    return {name: chosen[name](domain) for name in names}
