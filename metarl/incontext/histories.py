"""Learning histories of source algorithms, made on device: what algorithm distillation distils.

Source: Laskin et al. 2022 (Algorithm Distillation); noise that falls as in corl-team/ad-eps (Zisman et al. 2023).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.domain import Domain
from metarl.incontext.agent import Transition, choose, expert_action, random_action, require_expert

History = Callable[[Any, Array], Transition]
"""`history(params, key) -> transitions [E, T]` of E episodes of one learner in the task with these params; consumes the
key. Where an episode can terminate, another begins at once and goes on to the end of the row."""


class Source(NamedTuple):
    """A source algorithm as pure functions."""

    init: Callable[[], Any]
    """`init() -> knowledge`."""
    act: Callable[[Any, Any, Any, Float[Array, ""], Array], Array]
    """`act(knowledge, observation, params, progress, key) -> action`; progress goes from 0 to 1 over the history."""
    learn: Callable[[Any, Transition, Bool[Array, ""]], Any]
    """`learn(knowledge, transition, terminated) -> knowledge`."""


def run_source(domain: Domain, source: Source, *, num_episodes: int) -> History:
    """Returns histories of this algorithm; every row has the domain's horizon.

    Raises:
        ValueError: if num_episodes is below 1.
    """
    if num_episodes < 1:
        raise ValueError(f"num_episodes is {num_episodes}; a history needs at least 1")
    env, horizon = domain.env, domain.horizon
    num_steps = num_episodes * horizon

    def history(params: Any, key: Array) -> Transition:
        params = params.replace(max_steps_in_episode=jnp.int32(horizon + 1))  # cut here, not there

        def episode(knowledge: Any, index: Int[Array, ""]) -> tuple[Any, Transition]:
            key_reset, key_steps = jax.random.split(jax.random.fold_in(key, index))

            def step(carry: tuple[Any, Any, Any], t: Int[Array, ""]) -> tuple[tuple, Transition]:
                knowledge, observation, state = carry
                key_act, key_step, key_again = jax.random.split(jax.random.fold_in(key_steps, t), 3)
                progress = (index * horizon + t).astype(jnp.float32) / num_steps
                action = source.act(knowledge, observation, params, progress, key_act)
                after, state, reward, terminated, _ = env.step_env(key_step, state, action, params)
                transition = Transition(observation, action, reward, after)
                knowledge = source.learn(knowledge, transition, terminated)
                return (knowledge, *choose(env.reset_env(key_again, params), (after, state), terminated)), transition

            (knowledge, _, _), transitions = jax.lax.scan(
                step, (knowledge, *env.reset_env(key_reset, params)), jnp.arange(horizon)
            )
            return knowledge, transitions

        return jax.lax.scan(episode, source.init(), jnp.arange(num_episodes))[1]

    return history


def noisy_expert_history(domain: Domain, *, num_episodes: int, min_noise: float = 0.0, share: float = 0.9) -> History:
    """Returns histories of the expert, whose share of random actions falls linearly from 1 to `min_noise`.

    It reaches that after `share` of the steps and stays there.

    Raises:
        ValueError: if num_episodes is below 1, a share outside [0, 1], or the domain has no expert.
    """
    require_expert(domain)
    if not (0.0 <= min_noise <= 1.0 and 0.0 < share <= 1.0):
        raise ValueError(f"min_noise is {min_noise} and share {share}; both must lie in [0, 1], the latter above 0")

    def act(knowledge: Any, observation: Any, params: Any, progress: Float[Array, ""], key: Array) -> Array:
        key_coin, key_random, key_expert = jax.random.split(key, 3)
        noise = jnp.maximum(1.0 - progress / share, 0.0) * (1.0 - min_noise) + min_noise
        best = expert_action(domain, observation, params, key_expert)
        return jnp.where(jax.random.uniform(key_coin) < noise, random_action(domain, key_random), best)

    return run_source(domain, Source(lambda: (), act, lambda knowledge, *_: knowledge), num_episodes=num_episodes)


def q_learning_history(
    domain: Domain,
    *,
    num_episodes: int,
    learning_rate: float = 0.9,
    discount: float = 0.95,
    min_exploration: float = 0.02,
    optimism: float = 1.0,
) -> History:
    """Returns histories of tabular Q-learning from scratch, epsilon-greedy with a falling share of random actions.

    Values start high, so that what was not tried is tried. The share of random actions falls linearly from 0.2 to
    `min_exploration` over half of the history.

    Args:
        domain: one whose pairs of observation and action have an index.
        num_episodes: episodes of a history.
        learning_rate: step towards the target, in (0, 1].
        discount: of the target.
        min_exploration: share of random actions in the second half.
        optimism: value of everything at the start.

    Raises:
        ValueError: if pairs have no index in this domain, or num_episodes is below 1.
    """
    if domain.pair_index is None:
        raise ValueError(
            f"observations of {domain.name} cannot be counted, so no table can be learned; use noisy-expert"
        )
    index, num_actions = domain.pair_index, domain.num_actions

    def state_of(observation: Any) -> Int[Array, ""]:
        return index(observation, jnp.int32(0)) // num_actions

    def init() -> Float[Array, "S A"]:
        return jnp.full((domain.num_pairs // num_actions, num_actions), optimism, jnp.float32)

    def act(values: Array, observation: Any, params: Any, progress: Float[Array, ""], key: Array) -> Array:
        key_coin, key_random, key_tie = jax.random.split(key, 3)
        own = values[state_of(observation)]
        ties = jnp.where(own >= jnp.max(own) - 1e-6, 0.0, -jnp.inf)
        best = jax.random.categorical(key_tie, ties).astype(jnp.int32)
        exploration = jnp.maximum(0.2 * (1.0 - 2.0 * progress), min_exploration)
        random = jax.random.randint(key_random, (), 0, num_actions)
        return jnp.where(jax.random.uniform(key_coin) < exploration, random, best)

    def learn(values: Array, transition: Transition, terminated: Bool[Array, ""]) -> Array:
        state, after = state_of(transition.observation), state_of(transition.next_observation)
        target = transition.reward + jnp.where(terminated, 0.0, discount * jnp.max(values[after]))
        error = target - values[state, transition.action]
        return values.at[state, transition.action].add(learning_rate * error)

    return run_source(domain, Source(init, act, learn), num_episodes=num_episodes)


def subsample(history: Transition, num_kept: int) -> Transition:
    """Returns `num_kept` episodes, evenly spaced from the first to the last, one after another: `[num_kept * T]`.

    A context of so many transitions then spans the whole of the learning.

    Raises:
        ValueError: if more are to be kept than there are, or fewer than 1.
    """
    num_episodes = history.reward.shape[0]
    if not 1 <= num_kept <= num_episodes:
        raise ValueError(f"{num_kept} episodes are to be kept of {num_episodes}; keep from 1 to all of them")
    chosen = jnp.round(jnp.linspace(0, num_episodes - 1, num_kept)).astype(jnp.int32)
    return jax.tree.map(lambda leaf: leaf[chosen].reshape(-1, *leaf.shape[2:]), history)
