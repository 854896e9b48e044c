"""Prioritised level replay, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from metarl.teachers.base import unit_box
from metarl.teachers.replay import plr, replay_weights

BOX = unit_box(1, success_return=0.5)


def column(*numbers):
    return jnp.array(numbers, jnp.float32)[:, None]


def filled(teacher, key, scores):
    """Returns a buffer whose tasks 0.0, 0.1, ... have these scores and were done one after another."""
    state, num = teacher.init(key), len(scores)
    slots = jnp.arange(num)
    return state._replace(
        tasks=state.tasks.at[slots, 0].set(slots.astype(jnp.float32) / 10),
        score=state.score.at[slots].set(jnp.array(scores, jnp.float32)),
        stamp=state.stamp.at[slots].set(slots + 1),
        num_visits=state.num_visits.at[slots].set(1),
        num_episodes=jnp.int32(num),
    )


def test_weights_mix_ranks_and_staleness_in_closed_form(key):
    state = filled(plr(BOX, capacity=5), key, [0.1, 0.9, 0.5])
    by_rank = np.array([3.0, 1.0, 2.0]) ** (-1 / 0.3)
    stale = np.array([2.0, 1.0, 0.0])
    expected = 0.7 * by_rank / by_rank.sum() + 0.3 * stale / stale.sum()
    np.testing.assert_allclose(replay_weights(state, 0.3, 0.3), [*expected, 0, 0], rtol=1e-5)


def test_tasks_done_at_once_are_equally_stale(key):
    state = filled(plr(BOX, capacity=4), key, [0.1, 0.9])
    state = state._replace(stamp=jnp.full_like(state.stamp, 2))
    np.testing.assert_allclose(replay_weights(state, 1.0, 0.3), [0.5, 0.5, 0, 0])


def test_new_tasks_take_free_slots_then_those_of_least_weight_that_score_less(key):
    teacher = plr(BOX, capacity=3)
    state = teacher.observe(teacher.init(key), column(0.1, 0.2), jnp.array([0.3, 0.9], jnp.float32))
    assert sorted(np.asarray(state.tasks[:, 0]).tolist()) == pytest.approx([0.0, 0.1, 0.2])
    assert int(jnp.sum(state.num_visits)) == 2
    state = filled(teacher, key, [0.4, 0.2, 0.3])._replace(value=jnp.full((3,), 0.5, jnp.float32))
    # |reward - 0.5|: 0.45 for the first new task, 0.05 for the second.
    state = teacher.observe(state, column(0.7, 0.8), jnp.array([0.95, 0.55], jnp.float32))
    # Of weights .82, .12 and .06 the last is the smallest; the second new task scores less than what is left.
    assert sorted(np.asarray(state.tasks[:, 0]).tolist()) == pytest.approx([0.0, 0.1, 0.7])
    assert float(jnp.max(state.score)) == pytest.approx(0.45)


def test_known_tasks_are_updated_in_place(key):
    teacher = plr(BOX, capacity=4, value_rate=0.5)
    state = teacher.observe(teacher.init(key), column(0.1), jnp.array([0.2], jnp.float32))
    state = teacher.observe(state, column(0.1), jnp.array([0.8], jnp.float32))
    assert int(jnp.sum(state.num_visits > 0)) == 1 and int(jnp.max(state.num_visits)) == 2
    assert float(jnp.max(state.value)) == pytest.approx(0.5) and float(jnp.max(state.score)) == pytest.approx(0.6)
    assert int(jnp.max(state.num_success)) == 1


def test_several_episodes_in_a_task_are_all_counted_and_the_last_is_remembered(key):
    teacher = plr(BOX, capacity=4, value_rate=1.0)
    state = teacher.observe(teacher.init(key), column(0.1), jnp.array([0.2], jnp.float32))
    state = teacher.observe(state, column(0.1, 0.1, 0.1), jnp.array([0.9, 0.8, 0.4], jnp.float32))
    slot = int(jnp.argmax(state.num_visits))
    assert int(state.num_visits[slot]) == 4 and int(state.num_success[slot]) == 2
    assert float(state.value[slot]) == pytest.approx(0.4) and float(state.score[slot]) == pytest.approx(0.2)
    assert int(jnp.sum(state.num_visits > 0)) == 1 and int(state.num_episodes) == 4


def test_a_task_that_was_just_done_is_not_given_away(key):
    teacher = plr(BOX, capacity=2)
    state = filled(teacher, key, [0.4, 0.0])._replace(value=jnp.full((2,), 0.5, jnp.float32))
    done = state.tasks[1, 0]
    state = teacher.observe(state, jnp.stack([done, jnp.float32(0.9)])[:, None], jnp.array([0.5, 0.95], jnp.float32))
    assert sorted(np.asarray(state.tasks[:, 0]).tolist()) == pytest.approx([0.1, 0.9])


def test_learnability_is_largest_for_tasks_solved_half_of_the_time(key):
    teacher = plr(BOX, capacity=8, score="learnability")
    state = teacher.init(key)
    for returned in ([1, 1, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]):
        state = teacher.observe(state, column(0.1, 0.2, 0.3), jnp.array(returned, jnp.float32))
    score = {
        round(float(task), 1): float(s) for task, s in zip(state.tasks[:, 0], state.score, strict=True) if task > 0
    }
    assert score[0.1] == pytest.approx(0.25) and score[0.2] == score[0.3] == pytest.approx(5 / 36)


def test_nothing_is_replayed_before_the_buffer_is_half_full(key):
    teacher = plr(BOX, capacity=8)
    known = [0.0, 0.1, 0.2, 0.3]
    tasks = np.asarray(teacher.sample(key, filled(teacher, key, known[:3]), 1000))
    assert not np.isin(tasks, np.float32(known)).any()
    tasks = np.asarray(teacher.sample(key, filled(teacher, key, known), 4000)).round(6)
    assert np.isin(tasks, np.float32(known).round(6)).mean() == pytest.approx(0.8, abs=0.026)


def test_edited_tasks_stay_near_what_they_were(key):
    teacher = plr(BOX, capacity=2, replay_share=1.0, edit=0.01)
    tasks = np.asarray(teacher.sample(key, filled(teacher, key, [0.1, 0.1])._replace(tasks=column(0.5, 0.5)), 4000))
    assert np.mean(tasks == 0.5) == pytest.approx(0.5, abs=0.032)
    assert np.std(tasks[tasks != 0.5]) == pytest.approx(0.01, rel=0.08)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="plr was given"):
        plr(BOX, capacity=1)


def test_regret_is_what_is_missing_to_the_best(key):
    teacher = plr(BOX, capacity=4, score="regret")
    state = teacher.observe(teacher.init(key), column(0.1, 0.2), jnp.array([0.25, 1.5], jnp.float32))
    np.testing.assert_allclose(np.sort(np.asarray(state.score)), [0.0, 0.0, 0.0, 0.75])
