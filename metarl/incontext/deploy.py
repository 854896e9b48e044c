"""Acting in tasks that are learned in context: online over episodes, or from a given data set. One scan, tasks vmapped.

Every learner, from an exact posterior to a transformer, goes through here as an `InContextAgent`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from envs.domain import Domain
from metarl.incontext.agent import InContextAgent, Transition, absorb, choose

STAGES = (64, 128, 256, 512, 1024, 2048, 4096)
"""Transitions for which memories are given room as they fill: work per step follows what has been seen, in doublings,
and not what will be."""


class Protocol(NamedTuple):
    """When an agent may look at what it has done."""

    updates: Literal["step", "episode"] = "step"
    """After every step, or after the episode only (the context is frozen within it)."""
    context_episodes: int | None = None
    """With `episode`: how many of the latest episodes it remembers; None: all."""


STEPWISE = Protocol("step")
FROZEN = Protocol("episode")
OFFICIAL = Protocol("episode", 1)
"""Lee et al. 2023 in the Dark Room, where context length and horizon are equal: the previous episode alone."""


class Deployment(NamedTuple):
    """What happened to an agent in one task."""

    reward: Float[Array, "E T"]
    """Rewards by episode and step; 0 after an episode has ended."""
    regret: Float[Array, "E T"]
    """In bandits, how much better the best arm is than the pulled one, without noise; elsewhere zeros."""


def make_deploy(
    domain: Domain,
    agent: InContextAgent,
    *,
    num_episodes: int = 1,
    horizon: int | None = None,
    protocol: Protocol = STEPWISE,
    capacity: int | None = None,
) -> Callable[[Any, Array], Deployment]:
    """Returns `deploy(params, key) -> Deployment`: one agent, new to the task, over some episodes; vmap it over tasks.

    Args:
        domain: where to act.
        agent: who acts.
        num_episodes: E, episodes in a row, at least 1.
        horizon: T, steps of an episode, at least 1; None: the domain's own.
        protocol: when the agent may look at what it has done.
        capacity: transitions that the agent has room for; None: all that it will see under the protocol.

    Raises:
        ValueError: if a number is below 1.
    """
    horizon = domain.horizon if horizon is None else horizon
    kept = protocol.context_episodes
    if min(horizon, num_episodes, 1 if kept is None else kept, 1 if capacity is None else capacity) < 1:
        raise ValueError(
            f"num_episodes is {num_episodes}, horizon {horizon}, context_episodes {kept}, capacity {capacity}; each "
            "must be at least 1"
        )
    play = make_episode(domain, agent, horizon=horizon, updates=protocol.updates)
    if protocol.updates == "step":
        return _stepwise(agent, play, num_episodes, horizon, capacity)
    return _episodic(agent, play, num_episodes, horizon, kept, capacity)


def _stepwise(agent: InContextAgent, play: Callable, num_episodes: int, horizon: int, capacity: int | None) -> Callable:
    total = num_episodes * horizon
    limit = total if capacity is None else capacity

    def deploy(params: Any, key: Array) -> Deployment:
        key_init, key_run = jax.random.split(key)
        done, parts = 0, []
        memory = agent.init(key_init, min(STAGES[0], limit))
        if num_episodes == 1:  # the stages cut the episode
            start = None
            for stop in _stage_ends(total, limit, 1):
                memory = agent.reserve(memory, min(stop, limit))
                memory, start, _, part = play(memory, params, jax.random.fold_in(key_run, 0), start, (done, stop))
                parts.append(part)
                done = stop
            return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[None], *parts)
        for stop in _stage_ends(num_episodes, limit, horizon):
            memory = agent.reserve(memory, min(stop * horizon, limit))

            def one(memory: Any, index: Array) -> tuple[Any, Deployment]:
                memory, _, _, part = play(memory, params, jax.random.fold_in(key_run, index), None, (0, horizon))
                return memory, part

            memory, part = jax.lax.scan(one, memory, jnp.arange(done, stop))
            parts.append(part)
            done = stop
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

    return deploy


def _stage_ends(count: int, limit: int, unit: int) -> list[int]:
    """Returns after how many units of `unit` transitions, of `count`, a memory needs more room; the last is `count`."""
    ends = [stage // unit for stage in STAGES if stage // unit >= 1 and stage < min(count * unit, limit)]
    return [*sorted({end for end in ends if end < count}), count]


def _episodic(
    agent: InContextAgent, play: Callable, num_episodes: int, horizon: int, kept: int | None, capacity: int | None
) -> Callable:
    room = (num_episodes if kept is None else kept) * horizon
    room = room if capacity is None else min(room, capacity)

    def deploy(params: Any, key: Array) -> Deployment:
        key_init, key_run = jax.random.split(key)
        fresh = agent.init(key_init, room)

        def one(carry: tuple, index: Array) -> tuple[tuple, Deployment]:
            memory, window = carry
            memory, _, trace, part = play(memory, params, jax.random.fold_in(key_run, index), None, (0, horizon))
            if kept is None:
                return (absorb(agent, memory, *trace), None), part
            window = jax.tree.map(lambda old, new: jnp.concatenate([old[1:], new[None]]), window, trace)
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), window)
            return (absorb(agent, fresh, *flat), window), part

        window = None
        if kept is not None:
            shapes = jax.eval_shape(lambda: play(fresh, params, key_run, None, (0, horizon))[2])
            window = jax.tree.map(lambda leaf: jnp.zeros((kept, *leaf.shape), leaf.dtype), shapes)
        return jax.lax.scan(one, (fresh, window), jnp.arange(num_episodes))[1]

    return deploy


class EpisodeState(NamedTuple):
    """Where an episode is."""

    observation: Any
    """What is seen now."""
    state: Any
    """State of the environment."""
    is_over: Bool[Array, ""]
    """Whether it has terminated; nothing counts after that."""


def make_episode(domain: Domain, agent: InContextAgent, *, horizon: int, updates: str = "step") -> Callable:
    """Returns `play(memory, params, key, start, (first, stop)) -> (memory, EpisodeState, trace, Deployment [n])`.

    Plays the steps from `first` to `stop` of an episode that is cut after `horizon` steps; `start` is None or what
    the piece before ended with. The trace is `(transitions, is_valid)` of these n steps. With `updates="step"` the
    memory takes in every transition, otherwise none. Pieces of one episode are given one key.
    """
    env = domain.env

    def play(memory: Any, params: Any, key: Array, start: EpisodeState | None, piece: tuple[int, int]) -> tuple:
        key_begin, key_reset, key_steps = jax.random.split(key, 3)
        params = params.replace(max_steps_in_episode=jnp.int32(horizon + 1))  # cut here, not there
        best = best_mean(domain, params)
        if start is None:
            memory = agent.begin_episode(memory, key_begin)
            start = EpisodeState(*env.reset_env(key_reset, params), jnp.bool_(False))

        def step(carry: tuple, index: Array) -> tuple[tuple, tuple]:
            memory, now = carry
            key_act, key_step = jax.random.split(jax.random.fold_in(key_steps, index))
            action = agent.act(memory, now.observation, key_act)
            observation, state, reward, terminated, _ = env.step_env(key_step, now.state, action, params)
            is_valid = ~now.is_over
            transition = Transition(now.observation, action, reward, observation)
            if updates == "step":
                memory = agent.observe(memory, transition, is_valid)
            regret = jnp.float32(0.0)
            if domain.mean_reward is not None:
                regret = best - domain.mean_reward(now.observation, action, params)
            after = EpisodeState(observation, state, now.is_over | terminated)
            after = after._replace(**choose(after._asdict(), now._asdict(), is_valid))
            part = Deployment(jnp.where(is_valid, reward, 0.0), jnp.where(is_valid, regret, 0.0))
            return (memory, after), ((transition, is_valid), part)

        (memory, end), (trace, part) = jax.lax.scan(step, (memory, start), jnp.arange(*piece))
        return memory, end, trace, part

    return play


def best_mean(domain: Domain, params: Any) -> Float[Array, ""]:
    """Returns the mean reward of a bandit's best arm; 0 elsewhere."""
    if domain.mean_reward is None:
        return jnp.float32(0.0)
    observation = domain.sample_query(jax.random.key(0), params)
    means = jax.vmap(domain.mean_reward, (None, 0, None))(observation, jnp.arange(domain.num_actions), params)
    return jnp.max(means)


def tasks_at_once() -> int:
    """Returns how many tasks to act in at once: on CPU so few that what is remembered of them stays in its caches."""
    return 16 if jax.default_backend() == "cpu" else 256


def deploy_many(deploy: Callable[[Any, Array], Any], params: Any, key: Array, *, batch_size: int | None = None) -> Any:
    """Returns what `deploy` does in each of K tasks (params with leading axis K), with a key of its own, `[K, ...]`.

    `batch_size` tasks are vmapped at a time; None: `tasks_at_once`. Consumes the key.
    """
    num_tasks = jax.tree.leaves(params)[0].shape[0]
    return in_batches(deploy, params, jax.random.split(key, num_tasks), batch_size=batch_size)


def in_batches(function: Callable[..., Any], *inputs: Any, batch_size: int | None = None) -> Any:
    """Returns what `jax.vmap(function)` does to inputs [K, ...], `batch_size` or `tasks_at_once` at a time."""
    count = jax.tree.leaves(inputs)[0].shape[0]
    batch_size = tasks_at_once() if batch_size is None else batch_size
    if batch_size >= count:
        return jax.vmap(function)(*inputs)
    place = jnp.arange(count + -count % batch_size) % count  # the last batch is full, so that one program serves all
    batches = jax.tree.map(lambda leaf: leaf[place].reshape(-1, batch_size, *leaf.shape[1:]), inputs)
    found = jax.lax.map(lambda batch: jax.vmap(function)(*batch), batches)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], found)
