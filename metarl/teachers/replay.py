"""Teachers that keep tasks worth doing again: prioritised level replay, and sampling for learnability.

Here both see returns only, as every teacher: what their papers take from the student's critic is told where it is
replaced.
"""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from metarl.teachers.base import TaskBox, Teacher, is_present, keep_state

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
        key_new, key_share, key_slot, key_edit, key_noise = jax.random.split(key, 5)
        weights = replay_weights(state, staleness, temperature)
        slot = jax.random.categorical(key_slot, jnp.log(weights), shape=(num,))
        replayed = state.tasks[slot]
        if edit is not None:
            noise = edit * jnp.asarray(box.size)[None] * jax.random.normal(key_noise, replayed.shape)
            is_edited = jax.random.bernoulli(key_edit, 0.5, (num, 1))
            replayed = jnp.where(is_edited, box.clip(replayed + noise), replayed)
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


def find(
    tasks: Float[Array, "N D"], is_used: Bool[Array, " N"], vectors: Float[Array, "n D"]
) -> tuple[Int[Array, " n"], Bool[Array, " n"]]:
    """Returns (slot of each vector, whether it is there at all); slots of the others are 0."""
    same = jnp.all(tasks[None] == vectors[:, None], axis=2) & is_used[None]
    return jnp.argmax(same, axis=1), jnp.any(same, axis=1)


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


class SFLState(NamedTuple):
    """Candidates that are being tried, and the most learnable of those before."""

    candidates: Float[Array, "M D"]
    num_success: Int[Array, " M"]
    num_visits: Int[Array, " M"]
    chosen: Float[Array, "S D"]
    """Tasks that are trained on."""
    learnability: Float[Array, " S"]
    """Their p (1 - p) when they were chosen."""
    has_chosen: Bool[Array, ""]


def sfl(
    box: TaskBox, *, num_candidates: int = 250, num_chosen: int = 50, num_trials: int = 4, chosen_share: float = 0.5
) -> Teacher:
    """Returns sampling for learnability: half the tasks are from the set with the largest p (1 - p).

    The paper rolls the student out for this; a teacher that only proposes spends the other half of its proposals on
    candidates, each tried several times, and chooses anew when that many episodes have passed.

    Source: Rutherford et al. 2024.

    Args:
        box: where tasks live; success is a return above its `success_return`.
        num_candidates: uniform tasks that are tried.
        num_chosen: of which so many are kept.
        num_trials: episodes in each candidate.
        chosen_share: of the tasks that are from the chosen set.

    Raises:
        ValueError: if a setting is out of range.
    """
    if not 1 <= num_chosen <= num_candidates or num_trials < 2 or not 0.0 <= chosen_share < 1.0:
        raise ValueError(
            f"sfl was given num_candidates={num_candidates}, num_chosen={num_chosen}, num_trials={num_trials} and "
            f"chosen_share={chosen_share}; give 1 <= num_chosen <= num_candidates, at least 2 trials and a share in "
            "[0, 1)"
        )
    refit_every = round(num_candidates * num_trials / (1.0 - chosen_share))

    def init(key: Array) -> SFLState:
        nothing = jnp.zeros((num_candidates,), jnp.int32)
        chosen = jnp.zeros((num_chosen, box.num_dimensions), jnp.float32)
        scores = jnp.zeros((num_chosen,), jnp.float32)
        return SFLState(box.uniform(key, num_candidates), nothing, nothing, chosen, scores, jnp.bool_(False))

    def sample(key: Array, state: SFLState, num: int) -> Float[Array, "n D"]:
        key_share, key_chosen, key_tie = jax.random.split(key, 3)
        ties = jax.random.uniform(key_tie, (num_candidates,))
        least_tried = jnp.argsort(state.num_visits.astype(jnp.float32) + ties)
        candidates = state.candidates[least_tried[jnp.arange(num) % num_candidates]]
        chosen = state.chosen[jax.random.randint(key_chosen, (num,), 0, num_chosen)]
        is_chosen = (jax.random.uniform(key_share, (num, 1)) < chosen_share) & state.has_chosen
        return jnp.where(is_chosen, chosen, candidates)

    def observe(state: SFLState, vectors: Float[Array, "n D"], returns: Float[Array, " n"]) -> SFLState:
        slot, is_known = find(state.candidates, jnp.ones((num_candidates,), bool), vectors)
        slot = jnp.where(is_known & is_present(returns), slot, num_candidates)
        success = (returns > box.success_return).astype(jnp.int32)
        return state._replace(
            num_success=state.num_success.at[slot].add(success, mode="drop"),
            num_visits=state.num_visits.at[slot].add(1, mode="drop"),
        )

    def refit(key: Array, state: SFLState) -> SFLState:
        p = state.num_success / jnp.maximum(state.num_visits, 1)
        score = jnp.where(state.num_visits > 0, p * (1.0 - p), -1.0)
        learnability, best = jax.lax.top_k(score, num_chosen)
        chosen = state.candidates[best]
        return init(key)._replace(chosen=chosen, learnability=learnability, has_chosen=jnp.bool_(True))

    return Teacher(init, sample, observe, refit, refit_every)
