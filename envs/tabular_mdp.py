"""Random tabular MDPs with a finite horizon, solved when they are sampled, and exact inference by conjugacy.

Source: the priors and the posterior sampling of Osband, Russo, Van Roy 2013, "(More) efficient reinforcement learning
via posterior sampling" (PSRL).
"""

from functools import partial
from typing import Any, NamedTuple, no_type_check

import gymnax
import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces
from jax.scipy.special import gammainc, gammaln
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int

from envs.domain import Domain
from envs.family import Task, TaskFamily
from envs.mdp_belief import mdp_belief
from envs.uniform_noise import UniformNoiseEnvironment, standard_normal

MAX_LIFETIME = 1000
"""Agent updates of a life in one MDP, for learners that are trained on it."""
CONTEXT_EPISODES = 20
"""Episodes' worth of transitions in a context: five visits to each pair of the default sizes."""
STARTS = ("first", "random")
REWARDS = ("normal", "uniform")


@no_type_check  # jax builds it anew with leaves of any rank: the types are those of one task
@partial(struct.dataclass, kw_only=True)
class TabularMDPParams(environment.EnvParams):
    """An MDP and its solution."""

    transitions: Float[Array, "S A S"]
    """`transitions[s, a, t]`: the probability of going from s to t by a."""
    rewards: Float[Array, "S A"]
    """Expected rewards."""
    noise: Float[Array, ""]
    """Standard deviation of rewards about these."""
    values: Float[Array, "H S A"]
    """Optimal expected reward from step h to the end of the episode, after an action in a state."""


class TabularMDPState(NamedTuple):
    """Where an episode is."""

    time: Int[Array, ""]
    """Steps since it began."""
    index: Int[Array, ""]
    """The state of the MDP."""


class TabularMDP(UniformNoiseEnvironment):
    """S states, A actions, H steps; the observation is (state, step), where the step after the last is H.

    Rewards are Gaussian about `params.rewards`. The solution is for H steps; an episode that goes on is shown as being
    at step H. Starts in state 0 or, with `start="random"`, in any.
    """

    num_reset_uniforms = 1
    num_step_uniforms = 2

    def __init__(self, num_states: int = 10, num_actions: int = 4, horizon: int = 10, *, start: str = "first"):
        self.num_states, self._num_actions, self.horizon, self.start = num_states, num_actions, horizon, start

    @property
    def default_params(self) -> TabularMDPParams:
        """Uniform transitions; action 0 of state 0 pays 1."""
        shape = (self.num_states, self._num_actions)
        transitions = jnp.full((*shape, self.num_states), 1.0 / self.num_states, jnp.float32)
        return self.solved(transitions, jnp.zeros(shape, jnp.float32).at[0, 0].set(1.0), 1.0)

    def solved(
        self, transitions: Float[Array, "S A S"], rewards: Float[Array, "S A"], noise: float
    ) -> TabularMDPParams:
        """Returns the MDP with its optimal values."""
        return TabularMDPParams(
            max_steps_in_episode=jnp.int32(self.horizon),
            transitions=transitions,
            rewards=rewards,
            noise=jnp.float32(noise),
            values=optimal_values(transitions, rewards, self.horizon),
        )

    @property
    def num_actions(self) -> int:
        """A."""
        return self._num_actions

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Discrete(A)."""
        return spaces.Discrete(self._num_actions)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """A state below S and a step up to H."""
        return spaces.Box(0, jnp.array([self.num_states - 1, self.horizon], jnp.int32), (2,), jnp.int32)

    def observe(self, key: Any, state: TabularMDPState, action: Any, params: Any) -> Int[Array, "2"]:
        """Returns (state, step)."""
        return jnp.stack([state.index, jnp.minimum(state.time, self.horizon)])

    def reset_from(self, uniforms: Float[Array, "1"], params: Any) -> tuple[Int[Array, "2"], TabularMDPState]:
        """Returns `(observation, state)` at the start."""
        anywhere = jnp.minimum((uniforms[0] * self.num_states).astype(jnp.int32), self.num_states - 1)
        state = TabularMDPState(jnp.int32(0), anywhere if self.start == "random" else jnp.int32(0))
        return self.observe(None, state, None, params), state

    def move(
        self, uniforms: Float[Array, "2"], index: Int[Array, ""], action: Int[Array, ""], params: Any
    ) -> tuple[Float[Array, ""], Int[Array, ""]]:
        """Returns `(reward, next state)` of an action in a state."""
        upto = jnp.cumsum(params.transitions[index, action])
        after = jnp.sum((upto <= uniforms[0] * upto[-1]).astype(jnp.int32))
        reward = params.rewards[index, action] + params.noise * standard_normal(uniforms[1])
        return reward, jnp.minimum(after, self.num_states - 1)

    def transition(
        self, uniforms: Float[Array, "2"], state: TabularMDPState, action: Int[Array, ""], params: Any
    ) -> tuple[Int[Array, "2"], TabularMDPState, Float[Array, ""], Bool[Array, ""], dict]:
        """Returns `(observation, state, reward, terminated, info)`; never terminates."""
        reward, index = self.move(uniforms, state.index, action, params)
        state = TabularMDPState(state.time + 1, index)
        return self.observe(None, state, action, params), state, reward, jnp.bool_(False), {"discount": jnp.float32(1)}

    def is_terminated(self, state: TabularMDPState, params: Any) -> Bool[Array, ""]:
        """Never."""
        return jnp.bool_(False)


def optimal_values(
    transitions: Float[Array, "S A S"], rewards: Float[Array, "S A"], horizon: int
) -> Float[Array, "H S A"]:
    """Returns the optimal expected reward to come from every step, by value iteration backwards from the end."""

    def backward(later: Float[Array, " S"], _: None) -> tuple[Float[Array, " S"], Float[Array, "S A"]]:
        values = rewards + transitions @ later
        return jnp.max(values, axis=1), values

    return jax.lax.scan(backward, jnp.zeros_like(rewards[:, 0]), None, length=horizon, reverse=True)[1]


def log_gamma_quantile(quantile: Float[Array, "*batch"], shape: float) -> Float[Array, "*batch"]:
    """Returns the logarithm of the quantile, in (0, 1), of the gamma law with this shape and scale 1, by bisection."""
    # P(x) <= x^shape / Gamma(shape + 1), and nearly equal where x is small, where x may be too small for a float.
    smallest = (jnp.log(quantile) + gammaln(shape + 1.0)) / shape
    largest = jnp.full_like(quantile, jnp.log(shape + 10.0 * shape**0.5 + 30.0))

    def halve(_: Int[Array, ""] | int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        is_low = gammainc(jnp.full_like(middle, shape), jnp.exp(middle)) < quantile
        return jnp.where(is_low, middle, low), jnp.where(is_low, high, middle)

    low, high = jax.lax.fori_loop(0, 30, halve, (smallest, largest))
    return jnp.where(smallest < -15.0, smallest, 0.5 * (low + high))


def _check(num_states: int, num_actions: int, horizon: int, alpha: float, noise: float, num_draws: int) -> None:
    if min(num_states, num_actions) < 2 or horizon < 1 or alpha <= 0 or noise <= 0 or num_draws < 1:
        raise ValueError(
            f"tabular-mdp was given num_states={num_states}, num_actions={num_actions}, horizon={horizon}, "
            f"alpha={alpha}, noise={noise}, num_draws={num_draws}; it needs at least 2 states, 2 actions, 1 step and "
            "1 draw, and positive alpha and noise"
        )


def tabular_mdp(
    *,
    num_states: int = 10,
    num_actions: int = 4,
    horizon: int = 10,
    alpha: float = 1.0,
    rewards: str = "normal",
    noise: float = 1.0,
    start: str = "first",
    num_draws: int = 64,
) -> Domain:
    """Returns the domain of MDPs with `P(. | s, a) ~ Dirichlet(alpha)` and random expected rewards.

    Training and test tasks are of one law. The task vector of `decode` holds quantiles: of the gamma variables whose
    shares are the transition probabilities, then of the expected rewards.

    Args:
        num_states: S, at least 2.
        num_actions: A, at least 2.
        horizon: H, steps of an episode.
        alpha: concentration of the Dirichlet law, positive; small: nearly deterministic transitions.
        rewards: law of the expected rewards, `normal` for N(0, 1) or `uniform` for U[0, 1].
        noise: standard deviation of rewards, positive.
        start: `first` (state 0) or `random`.
        num_draws: posterior draws by which the belief estimates `P(a* | data)`.

    Raises:
        ValueError: if an argument is out of range.
    """
    _check(num_states, num_actions, horizon, alpha, noise, num_draws)
    for option, value, allowed in (("rewards", rewards, REWARDS), ("start", start, STARTS)):
        if value not in allowed:
            raise ValueError(f"tabular-mdp was given {option}={value!r}; choose one of {', '.join(allowed)}")
    env = TabularMDP(num_states, num_actions, horizon, start=start)

    def expert(observation: Int[Array, "2"], params: TabularMDPParams) -> Float[Array, " A"]:
        step = jnp.minimum(observation[1], horizon - 1)
        return jax.nn.one_hot(jnp.argmax(params.values[step, observation[0]]), num_actions, dtype=jnp.float32)

    def transition(uniforms, observation, action, params):
        reward, after = env.move(uniforms, observation[0], action, params)
        return reward, jnp.stack([after, jnp.minimum(observation[1] + 1, horizon)])

    def encode(observation: Int[Array, "2"]) -> Float[Array, " D"]:
        one_hot = partial(jax.nn.one_hot, dtype=jnp.float32)  # of step H: zeros
        return jnp.concatenate([one_hot(observation[0], num_states), one_hot(observation[1], horizon)])

    family = _family(env, alpha, rewards, noise)
    return Domain(
        name="tabular-mdp",
        family=family,
        held_out=family,
        horizon=horizon,
        context_length=CONTEXT_EPISODES * horizon,
        num_actions=num_actions,
        observation_size=num_states + horizon,
        encode=encode,
        transition=transition,
        sample_query=lambda key, params: jax.random.randint(
            key, (2,), 0, jnp.array([num_states, horizon], jnp.int32), jnp.int32
        ),
        expert=expert,
        belief=mdp_belief(
            env.solved,
            expert,
            sizes=(num_states, num_actions, horizon),
            alpha=alpha,
            rewards=rewards,
            noise=noise,
            num_draws=num_draws,
        ),
    )


def _family(env: TabularMDP, alpha: float, rewards: str, noise: float) -> TaskFamily:
    pairs = (env.num_states, env.num_actions)
    size = env.num_states * env.num_actions * env.num_states

    def decode(vector: Float[Array, " D"]) -> Task:
        quantile = jnp.clip(vector, 1e-6, 1.0 - 1e-6)
        weights = log_gamma_quantile(quantile[:size], alpha).reshape(*pairs, env.num_states)
        means = quantile[size:].reshape(pairs)
        means = norm.ppf(means) if rewards == "normal" else means
        return Task(env.solved(jax.nn.softmax(weights), means, noise), jnp.int32(MAX_LIFETIME))

    def sample(key: Array) -> Task:
        key_transitions, key_rewards = jax.random.split(key)
        transitions = jax.random.dirichlet(key_transitions, jnp.full((env.num_states,), alpha, jnp.float32), pairs)
        draw = jax.random.normal if rewards == "normal" else jax.random.uniform
        return Task(env.solved(transitions, draw(key_rewards, pairs), noise), jnp.int32(MAX_LIFETIME))

    def optimal_return(params: TabularMDPParams) -> Float[Array, ""]:
        values = jnp.max(params.values[0], axis=1)
        return jnp.mean(values) if env.start == "random" else values[0]

    dimensions = size + env.num_states * env.num_actions
    return TaskFamily("tabular-mdp", env, sample, decode, dimensions, MAX_LIFETIME, env.horizon, optimal_return)


if "TabularMDP-metarl" not in gymnax.registered_envs:
    gymnax.register("TabularMDP-metarl", TabularMDP)
