"""Boxes of tasks and what all teachers share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.teachers.base import Teacher, keep_state, proportional, take_in, task_box, unit_box


def test_returns_are_mapped_to_the_unit_interval(stumps):
    returns = jnp.array([-150.0, 100.0, 350.0, 900.0, -1e9, jnp.nan, jnp.inf], jnp.float32)
    np.testing.assert_allclose(stumps.reward(returns), [0, 0.5, 1, 1, 0, np.nan, np.nan])


def test_uniform_tasks_fill_the_box(stumps, key):
    tasks = np.asarray(stumps.uniform(key, 4000))
    assert np.all(tasks >= stumps.low) and np.all(tasks <= stumps.high)
    errors = np.abs(tasks.mean(0) - [1.5, 3.0])
    assert np.all(errors < 4 * np.array([3.0, 6.0]) / np.sqrt(12 * 4000))  # 4 standard errors


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [([0, 0], [1], "one length"), ([], [], "one length"), ([0, 2], [1, 2], "low < high"), ([0], [np.inf], "finite")],
)
def test_impossible_boxes_are_refused(low, high, words):
    with pytest.raises(ValueError, match=words):
        task_box(low, high)


def test_returns_must_ascend():
    with pytest.raises(ValueError, match=r"\(1.0, 1.0\); it must ascend"):
        unit_box(2, return_range=(1.0, 1.0))


def test_proportional_choice_is_uniform_when_nothing_is_useful():
    valid = jnp.array([True, True, False, True])
    law = jnp.exp(proportional(jnp.array([1.0, 3.0, 9.0, 0.0], jnp.float32), valid))
    np.testing.assert_allclose(law / jnp.sum(law), [0.25, 0.75, 0, 0], rtol=1e-6)
    law = jnp.exp(proportional(jnp.zeros((4,), jnp.float32), valid))
    np.testing.assert_allclose(law / jnp.sum(law), [1 / 3, 1 / 3, 0, 1 / 3], rtol=1e-6)


@pytest.mark.parametrize(("batch", "due"), [(1, [250, 500]), (100, [300, 500]), (250, [250, 500])])
def test_refits_are_due_at_multiples(batch, due):
    counting = Teacher(
        init=lambda key: jnp.int32(0),
        sample=lambda key, state, num: jnp.zeros((num, 1), jnp.float32),
        observe=lambda state, vectors, returns: state,
        refit=lambda key, state: state + 1,
        refit_every=250,
    )
    vectors, returns = jnp.zeros((batch, 1), jnp.float32), jnp.zeros((batch,), jnp.float32)

    def step(state, count):
        after = take_in(counting, jax.random.key(0), state, vectors, returns, count)
        return after, after > state

    counts = jnp.arange(0, 500, batch)
    _, was_refitted = jax.lax.scan(step, jnp.int32(0), counts)
    assert [int(count) + batch for count, was in zip(counts, was_refitted, strict=True) if was] == due


def test_teachers_without_a_fit_are_never_refitted():
    idle = Teacher(lambda key: (), lambda key, state, num: None, lambda state, v, r: state, keep_state)
    zeros = jnp.zeros((3, 1), jnp.float32)
    assert take_in(idle, jax.random.key(0), (), zeros, zeros[:, 0], 10**6) == ()
