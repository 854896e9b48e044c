"""Prioritised level replay: a buffer of the tasks that are worth doing again.

Here it sees returns only, as every teacher: what its papers take from the student's critic is told where it is
replaced.
"""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from metarl.teachers.base import TaskBox, Teacher, find, is_present, keep_state

Score = Literal["change", "learnability", "regret"]
"""What makes a task worth replaying."""
FILLED_SHARE = 0.5
"""Of the buffer, before anything is replayed."""


class PLRState(NamedTuple):
    """A buffer of N tasks."""

    tasks: Float[Array, "N D"]
    score: Float[Array, " N"]
    stamp: Int[Array, " N"]
    """Episodes there had been when the task was last done."""
    value: Float[Array, " N"]
    """Running mean of the task's rewards."""
    num_success: Int[Array, " N"]
    num_visits: Int[Array, " N"]
    """0 where the slot is free."""
    num_episodes: Int[Array, ""]
    """So far, in all tasks."""


def plr(
    box: TaskBox,
    *,
    capacity: int = 4000,
    replay_share: float = 0.8,
    staleness: float = 0.3,
    temperature: float = 0.3,
    score: Score = "change",
    value_rate: float = 0.3,
    edit: float | None = None,
) -> Teacher:
    """Returns prioritised level replay: tasks that scored well are done again.

    The papers' scores need the student's value function (regret, or positive advantages). Of returns alone, `change`
    is how far the reward is from the running mean of the task, or for a new task from the mean over the buffer;
    `learnability` is p (1 - p) of the success rate p, with one success and one failure added. `regret` is what is
    missing to the reward 1: sensible only where every task can be done as well as any other, or returns are told as
    regrets.

    Source: Jiang et al. 2021 (PLR), Parker-Holder et al. 2022 (ACCEL); settings as in DramaCow/jaxued.

    Args:
        box: where tasks live.
        capacity: of the buffer.
        replay_share: how often a task is replayed, once the buffer is half full.
        staleness: weight of how long ago a task was done, against its score.
        temperature: of ranks of scores, `weight ~ rank^(-1 / temperature)`.
        score: see above.
        value_rate: of the running means.
        edit: standard deviation of noise, in shares of the box, with which half of the replayed tasks are edited (as
            in ACCEL); None: none are.

    Raises:
        ValueError: if a setting is out of range.
    """
    if capacity < 2 or not 0.0 <= replay_share <= 1.0 or not 0.0 <= staleness <= 1.0 or temperature <= 0.0:
        raise ValueError(
            f"plr was given capacity={capacity}, replay_share={replay_share}, staleness={staleness} and temperature="
            f"{temperature}; give a capacity of at least 2, shares in [0, 1] and a positive temperature"
        )

    def init(key: Array) -> PLRState:
        numbers, counts = jnp.zeros((capacity,), jnp.float32), jnp.zeros((capacity,), jnp.int32)
        tasks = jnp.zeros((capacity, box.num_dimensions), jnp.float32)
        return PLRState(tasks, numbers, counts, numbers, counts, counts, jnp.int32(0))

    def sample(key: Array, state: PLRState, num: int) -> Float[Array, "n D"]:
        key_new, key_share, key_slot, *keys_edit = jax.random.split(key, 5)
        weights = replay_weights(state, staleness, temperature)
        replayed = state.tasks[jax.random.categorical(key_slot, jnp.log(weights), shape=(num,))]
        replayed = replayed if edit is None else _edited(box, replayed, edit, *keys_edit)
        has_enough = jnp.sum(state.num_visits > 0) >= math.ceil(FILLED_SHARE * capacity)
        is_replay = (jax.random.uniform(key_share, (num, 1)) < replay_share) & has_enough
        return jnp.where(is_replay, replayed, box.uniform(key_new, num))

    def observe(state: PLRState, vectors: Float[Array, "n D"], returns: Float[Array, " n"]) -> PLRState:
        present = is_present(returns)
        slot, is_known = find(state.tasks, state.num_visits > 0, vectors)
        rated = _rate(state, slot, is_known, box.reward(returns), returns > box.success_return, value_rate)
        found = getattr(rated, score)
        weights = replay_weights(state, staleness, temperature)
        is_done = jnp.zeros((capacity,), bool).at[jnp.where(present & is_known, slot, capacity)].set(True, mode="drop")
        new_place = _places(state, weights, is_done, jnp.where(present & ~is_known, found, -jnp.inf))
        place = jnp.where(present, jnp.where(is_known, slot, new_place), capacity)
        return _store(state, place, is_known, vectors, rated, found, jnp.sum(present.astype(jnp.int32)))

    return Teacher(init, sample, observe, keep_state)


def _edited(
    box: TaskBox, tasks: Float[Array, "n D"], edit: float, key_edit: Array, key_noise: Array
) -> Float[Array, "n D"]:
    """Returns the tasks, half of them with noise of `edit` shares of the box."""
    noise = edit * jnp.asarray(box.size)[None] * jax.random.normal(key_noise, tasks.shape)
    is_edited = jax.random.bernoulli(key_edit, 0.5, (tasks.shape[0], 1))
    return jnp.where(is_edited, box.clip(tasks + noise), tasks)


class _Rated(NamedTuple):
    """What episodes say about their tasks, in the light of what was known before the batch."""

    change: Float[Array, " n"]
    learnability: Float[Array, " n"]
    regret: Float[Array, " n"]
    value: Float[Array, " n"]
    success: Int[Array, " n"]


def _rate(
    state: PLRState,
    slot: Int[Array, " n"],
    is_known: Bool[Array, " n"],
    rewards: Float[Array, " n"],
    is_success: Bool[Array, " n"],
    value_rate: float,
) -> _Rated:
    is_used = state.num_visits > 0
    mean = jnp.sum(jnp.where(is_used, state.value, 0.0)) / jnp.maximum(jnp.sum(is_used), 1).astype(jnp.float32)
    before = jnp.where(is_known, state.value[slot], mean)
    visits, successes = (jnp.where(is_known, count[slot], 0) for count in (state.num_visits, state.num_success))
    success = is_success.astype(jnp.int32)
    p = (successes + success + 1) / (visits + 3)
    value = jnp.where(is_known, before + value_rate * (rewards - before), rewards)
    return _Rated(jnp.abs(rewards - before), p * (1.0 - p), 1.0 - rewards, value, success)


def _store(
    state: PLRState,
    place: Int[Array, " n"],
    is_known: Bool[Array, " n"],
    vectors: Float[Array, "n D"],
    rated: _Rated,
    score: Float[Array, " n"],
    num_present: Int[Array, ""],
) -> PLRState:
    """Returns the buffer with these episodes at these slots, N for those that have none.

    Of several episodes in one task the last is remembered; all are counted.
    """
    capacity = state.score.shape[0]
    row = jnp.arange(place.shape[0])
    is_last = ~jnp.any((place[None] == place[:, None]) & (row[None] > row[:, None]), axis=1)
    last = jnp.where(is_last, place, capacity)
    fresh = jnp.where(is_known, capacity, place)  # what lay there before counts no longer
    visits, successes = (
        count.at[fresh].set(0, mode="drop").at[place].add(more, mode="drop")
        for count, more in ((state.num_visits, jnp.ones_like(rated.success)), (state.num_success, rated.success))
    )
    now = state.num_episodes + num_present
    return PLRState(
        tasks=state.tasks.at[last].set(vectors, mode="drop"),
        score=state.score.at[last].set(score, mode="drop"),
        stamp=state.stamp.at[last].set(now, mode="drop"),
        value=state.value.at[last].set(rated.value, mode="drop"),
        num_success=successes,
        num_visits=visits,
        num_episodes=now,
    )


def replay_weights(state: PLRState, staleness: float, temperature: float) -> Float[Array, " N"]:
    """Returns the probabilities of replaying each task; those of free slots are 0, of an empty buffer uniform."""
    is_used = state.num_visits > 0
    order = jnp.argsort(jnp.where(is_used, -state.score, jnp.inf))
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(1, order.shape[0] + 1, dtype=order.dtype))
    by_score = _normalise(jnp.where(is_used, rank.astype(jnp.float32) ** (-1.0 / temperature), 0.0), is_used)
    age = jnp.where(is_used, state.num_episodes - state.stamp, 0).astype(jnp.float32)
    return (1.0 - staleness) * by_score + staleness * _normalise(age, is_used)


def _normalise(weights: Float[Array, " N"], is_used: Bool[Array, " N"]) -> Float[Array, " N"]:
    fallback = jnp.where(jnp.any(is_used), is_used, True).astype(jnp.float32)
    weights = jnp.where(jnp.sum(weights) > 0.0, weights, fallback)
    return weights / jnp.sum(weights)


def _places(
    state: PLRState, weights: Float[Array, " N"], is_done: Bool[Array, " N"], score: Float[Array, " n"]
) -> Int[Array, " n"]:
    """Returns a slot for each new task, N for those that find none; a score of -inf is no task.

    Free slots first; then those of the smallest weight, if the new score is greater. The best new task chooses first.
    Slots whose task was done in this batch are not given away.
    """
    capacity, num = weights.shape[0], score.shape[0]
    slots = jnp.argsort(jnp.where(is_done, jnp.inf, jnp.where(state.num_visits > 0, weights, -1.0)))[:num]
    order = jnp.argsort(-score)[: slots.shape[0]]
    is_free = state.num_visits[slots] == 0
    enters = (score[order] > -jnp.inf) & (is_free | (score[order] > state.score[slots])) & ~is_done[slots]
    return jnp.full((num,), capacity, slots.dtype).at[order].set(jnp.where(enters, slots, capacity))
