"""Sampling for learnability, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.teachers.base import unit_box
from metarl.teachers.learnability import sfl

BOX = unit_box(1, success_return=0.5)


def test_the_most_learnable_candidates_are_chosen(key):
    teacher = sfl(BOX, num_candidates=20, num_chosen=4, num_trials=4)
    state = teacher.init(key)
    difficulty = jnp.linspace(0, 1, 20)[jnp.argsort(jnp.argsort(state.candidates[:, 0]))]
    for trial in range(4):
        returns = (difficulty < (trial + 0.5) / 4).astype(jnp.float32)
        state = teacher.observe(state, state.candidates, returns)
    p = np.asarray(state.num_success) / 4
    best = np.sort(p * (1 - p))[-4:]
    after = teacher.refit(jax.random.fold_in(key, 1), state)
    np.testing.assert_allclose(np.sort(after.learnability), best)
    assert np.isin(np.asarray(after.chosen), np.asarray(state.candidates)).all()
    assert int(jnp.sum(after.num_visits)) == 0 and teacher.refit_every == 160
    tasks = np.asarray(teacher.sample(key, after, 4000))
    assert np.isin(tasks, np.asarray(after.chosen)).mean() == pytest.approx(0.5, abs=0.032)


def test_candidates_are_tried_equally_often(key):
    teacher = sfl(BOX, num_candidates=10, num_chosen=2, num_trials=2)
    state = teacher.init(key)
    for i in range(5):
        tasks = teacher.sample(jax.random.fold_in(key, i), state, 4)
        state = teacher.observe(state, tasks, jnp.zeros((4,), jnp.float32))
    assert state.num_visits.tolist() == [2] * 10


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="sfl was given"):
        sfl(BOX, num_trials=1)
