"""Exact inference about a tabular MDP by conjugacy, and the posterior draws that posterior sampling solves."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.domain import Belief

DRAWS_SEED = 0
"""Seed of the draws by which `Belief.probabilities` is estimated."""


class MDPBelief(NamedTuple):
    """Sufficient statistics of everything seen; the prior is not counted."""

    visits: Float[Array, "S A S"]
    """How often each pair led to each state."""
    total: Float[Array, "S A"]
    """Sum of the rewards of each pair."""


def mdp_belief(
    solved: Callable[[Array, Array, float], Any],
    expert: Callable[[Any, Any], Float[Array, " A"]],
    *,
    sizes: tuple[int, int, int],
    alpha: float,
    rewards: str,
    noise: float,
    num_draws: int,
) -> Belief:
    """Returns exact inference about an MDP by conjugacy; `draw` samples one and solves it, as PSRL does.

    Transition probabilities of a pair are `Dirichlet(alpha + visits)`; its expected reward, with n rewards of sum T, is
    `N(T / (n + noise²), noise² / (n + noise²))` under the normal prior and `N(T / n, noise² / n)` cut off outside
    [0, 1] under the uniform one. Which action is best has no closed form: `probabilities` is Monte Carlo, the mean of
    the expert over `num_draws` such MDPs, with a standard error of `sqrt(p (1 - p) / num_draws)`. Its key depends on
    the query alone, so that it is a function of belief and query, and equal beliefs agree.

    Args:
        solved: `solved(transitions, rewards, noise)`: the EnvParams of an MDP, its solution included.
        expert: `expert(observation, params) -> [A]`.
        sizes: S, A and H.
        alpha: concentration of the Dirichlet law.
        rewards: law of the expected rewards, `normal` or `uniform`.
        noise: standard deviation of rewards.
        num_draws: MDPs over which `probabilities` is a mean.
    """
    num_states, num_actions, horizon = sizes
    pairs = (num_states, num_actions)

    def init() -> MDPBelief:
        return MDPBelief(jnp.zeros((*pairs, num_states), jnp.float32), jnp.zeros(pairs, jnp.float32))

    def update(belief: MDPBelief, observation, action, reward, next_observation) -> MDPBelief:
        state, after = observation[0], next_observation[0]
        return MDPBelief(belief.visits.at[state, action, after].add(1.0), belief.total.at[state, action].add(reward))

    def draw(key: Array, belief: MDPBelief) -> Any:
        key_transitions, key_rewards = jax.random.split(key)
        transitions = jax.random.dirichlet(key_transitions, alpha + belief.visits)
        count = jnp.sum(belief.visits, axis=2)
        draw_means = normal_means if rewards == "normal" else cut_off_means
        return solved(transitions, draw_means(key_rewards, count, belief.total, noise), noise)

    def probabilities(belief: MDPBelief, query: Int[Array, "2"]) -> Float[Array, " A"]:
        key = jax.random.fold_in(jax.random.key(DRAWS_SEED), query[0] * (horizon + 1) + query[1])

        def best(key: Array) -> Float[Array, " A"]:
            return expert(query, draw(key, belief))

        return jnp.mean(jax.vmap(best)(jax.random.split(key, num_draws)), axis=0)

    return Belief(init, update, probabilities, draw)


def normal_means(
    key: Array, count: Float[Array, "S A"], total: Float[Array, "S A"], noise: float
) -> Float[Array, "S A"]:
    """Returns a draw of expected rewards a priori N(0, 1) after `count` rewards of sum `total`; consumes the key."""
    shrunk = count + noise**2
    return total / shrunk + noise / jnp.sqrt(shrunk) * jax.random.normal(key, total.shape)


def cut_off_means(
    key: Array, count: Float[Array, "S A"], total: Float[Array, "S A"], noise: float
) -> Float[Array, "S A"]:
    """Returns a draw of expected rewards a priori U[0, 1] after `count` rewards of sum `total`; consumes the key."""
    seen = jnp.maximum(count, 1.0)
    # Between 0 and 1, a normal law a thousand times as wide is uniform.
    mean, deviation = total / seen, jnp.where(count > 0, noise / jnp.sqrt(seen), 1e3)
    standard = jax.random.truncated_normal(key, -mean / deviation, (1.0 - mean) / deviation)
    return jnp.clip(mean + deviation * standard, 0.0, 1.0)
