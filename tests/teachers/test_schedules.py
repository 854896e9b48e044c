"""Uniform tasks, the oracle's window and the box of ADR, under scripted returns."""

import jax.numpy as jnp
import numpy as np
import pytest

from metarl.teachers.base import task_box
from metarl.teachers.schedules import adr, oracle, uniform


def returned(value, num):
    return jnp.full((num,), value, jnp.float32)


def anywhere(num):
    return jnp.zeros((num, 2), jnp.float32)


def test_uniform_tasks_do_not_depend_on_returns(stumps, key):
    teacher = uniform(stumps)
    state = teacher.observe(teacher.init(key), anywhere(5), returned(300.0, 5))
    np.testing.assert_array_equal(teacher.sample(key, state, 7), stumps.uniform(key, 7))


def test_the_window_starts_at_the_easy_end_and_moves_with_success(stumps, key):
    teacher = oracle(stumps, (0.1, -0.2))
    state = teacher.init(key)
    np.testing.assert_allclose(state.low, [0.0, 5.0])
    tasks = np.asarray(teacher.sample(key, state, 500))
    assert np.all(tasks >= [0.0, 5.0 - 1e-6]) and np.all(tasks <= [0.5 + 1e-6, 6.0])
    state = teacher.observe(state, anywhere(49), returned(240.0, 49))
    np.testing.assert_allclose(state.low, [0.0, 5.0])
    state = teacher.observe(state, anywhere(1), returned(240.0, 1))
    np.testing.assert_allclose(state.low, [0.1, 4.8], rtol=1e-6)
    state = teacher.observe(state, anywhere(50), returned(230.0, 50))  # mastery is above 230
    np.testing.assert_allclose(state.low, [0.1, 4.8], rtol=1e-6)
    state = teacher.observe(state, anywhere(3000), returned(300.0, 3000))
    np.testing.assert_allclose(state.low, [2.5, 0.0], atol=1e-6)


def test_absent_episodes_do_not_move_the_window(stumps, key):
    teacher = oracle(stumps, (0.1, -0.2))
    mixed = jnp.where(jnp.arange(98) % 2 == 0, 240.0, jnp.nan)
    state = teacher.observe(teacher.init(key), anywhere(98), mixed)
    assert int(state.count) == 49 and state.low[0] == 0.0


def test_a_side_moves_outwards_with_success_and_inwards_without(stumps, key):
    teacher = adr(stumps, start=(1.0, 3.0), boundary_share=0.7)
    state = teacher.init(key)
    start = jnp.array([[1.0, 3.0]], jnp.float32)
    np.testing.assert_array_equal(teacher.sample(key, state, 5), jnp.tile(start, (5, 1)))
    # At first all sides coincide: one episode counts on every one of them.
    state = teacher.observe(state, jnp.tile(start, (9, 1)), returned(200.0, 9))
    np.testing.assert_array_equal(state.count, np.full((2, 2), 9))
    state = teacher.observe(state, start, returned(200.0, 1))
    np.testing.assert_allclose(state.bounds, [[0.9, 2.9], [1.1, 3.1]], rtol=1e-6)
    # Ten failures on the upper side of the first coordinate alone.
    upper = jnp.stack([jnp.tile(state.bounds[1, 0], 10), jnp.linspace(2.95, 3.05, 10)], axis=1)
    narrower = teacher.observe(state, upper, returned(-20.0, 10))
    np.testing.assert_allclose(narrower.bounds, [[0.9, 2.9], [1.0, 3.1]], rtol=1e-6)
    between = teacher.observe(state, upper, returned(100.0, 10))
    np.testing.assert_array_equal(between.bounds, state.bounds)
    assert int(between.count[1, 0]) == 0


def test_sides_never_pass_each_other_or_the_box(stumps, key):
    teacher = adr(stumps, start=(0.05, 3.0), step=0.2)
    state = teacher.init(key)
    point = jnp.tile(jnp.array([[0.05, 3.0]], jnp.float32), (10, 1))
    worse = teacher.observe(state, point, returned(-50.0, 10))
    assert jnp.all(worse.bounds[0] <= worse.bounds[1])
    better = teacher.observe(state, point, returned(300.0, 10))
    assert float(better.bounds[0, 0]) == 0.0


def test_tasks_are_put_on_sides_that_can_still_move(stumps, key):
    teacher = adr(stumps, start=(1.0, 3.0), boundary_share=0.5)
    whole = jnp.array([[0.0, 2.0], [3.0, 4.0]], jnp.float32)  # the first coordinate has reached the box
    state = teacher.init(key)._replace(bounds=whole)
    tasks = np.asarray(teacher.sample(key, state, 4000))
    on_first = np.isin(tasks[:, 0], [0.0, 3.0])
    on_second = np.isin(tasks[:, 1], [2.0, 4.0])
    assert not on_first.any() and np.mean(on_second) == pytest.approx(0.25, abs=0.028)


@pytest.mark.parametrize("wrong", [{"step": 0.0}, {"queue_length": 0}, {"raise_above": 0.0}, {"boundary_share": 2.0}])
def test_impossible_boxes_of_adr_are_refused(stumps, wrong):
    with pytest.raises(ValueError, match="adr was given"):
        adr(stumps, **wrong)


def test_a_start_outside_is_refused(stumps):
    with pytest.raises(ValueError, match="not in the box"):
        adr(stumps, start=(4.0, 1.0))
    with pytest.raises(ValueError, match="give 2 steps"):
        oracle(stumps, (0.1,))
    with pytest.raises(ValueError, match="give 1 steps"):
        oracle(task_box([0], [1]), (0.1,), window_share=0.0)
