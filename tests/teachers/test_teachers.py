"""What holds for every teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.teachers.base import take_in, task_box
from metarl.teachers.teachers import TEACHERS, make_teacher

SPECS = (*TEACHERS, "plr@capacity=60", "sfl@num_candidates=10,num_chosen=3,num_trials=2", "riac@leaves_only=true")
BOX = task_box([-1.0, 0.0, 2.0], [1.0, 5.0, 2.5], return_range=(-150.0, 350.0), success_return=230.0)
BATCH, NUM_BATCHES = 50, 24


def returns_of(vectors, key):
    """Returns what a student returns who does well where the first coordinate is small, some episodes not finished."""
    noise = jax.random.normal(key, vectors.shape[:1])
    returns = 300.0 - 200.0 * vectors[:, 0] + 40.0 * noise
    return jnp.where(jax.random.uniform(jax.random.fold_in(key, 1), returns.shape) < 0.1, jnp.nan, returns)


def live(teacher, key):
    """Returns (state, all proposals) after 1200 episodes."""
    key_init, key = jax.random.split(key)

    def step(state, index):
        key_sample, key_return, key_fit = jax.random.split(jax.random.fold_in(key, index), 3)
        vectors = teacher.sample(key_sample, state, BATCH)
        returns = returns_of(vectors, key_return)
        return take_in(teacher, key_fit, state, vectors, returns, index * BATCH), vectors

    return jax.lax.scan(step, teacher.init(key_init), jnp.arange(NUM_BATCHES))


@pytest.fixture(params=SPECS)
def teacher(request):
    return make_teacher(request.param, BOX)


def test_proposals_lie_in_the_box_and_states_stay_finite(teacher, key):
    state, vectors = jax.jit(lambda key: live(teacher, key))(key)
    assert vectors.shape == (NUM_BATCHES, BATCH, 3) and vectors.dtype == jnp.float32
    assert np.all(np.asarray(vectors) >= BOX.low) and np.all(np.asarray(vectors) <= BOX.high)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))
    for before, after in zip(jax.tree.leaves(teacher.init(key)), jax.tree.leaves(state), strict=True):
        assert (before.shape, before.dtype, before.weak_type) == (after.shape, after.dtype, after.weak_type)


def test_many_students_learn_what_each_learns_alone(teacher):
    keys = jax.random.split(jax.random.key(3), 3)
    together = jax.jit(jax.vmap(lambda key: live(teacher, key)))(keys)[1]
    alone = jax.jit(lambda key: live(teacher, key))
    for i, key in enumerate(keys):  # the first fit may see other roundings, and after that tasks differ
        np.testing.assert_allclose(together[i][:3], alone(key)[1][:3], atol=1e-5)


def test_going_on_from_a_state_is_not_having_stopped(teacher, key):
    key_init, key_a, key_b = jax.random.split(key, 3)
    step = jax.jit(lambda key, state: _one(teacher, key, state))
    state, _ = step(key_a, teacher.init(key_init))
    stored = jax.tree.map(np.asarray, state)
    for a, b in zip(
        jax.tree.leaves(step(key_b, state)),
        jax.tree.leaves(step(key_b, jax.tree.map(jnp.asarray, stored))),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def _one(teacher, key, state):
    key_sample, key_return, key_fit = jax.random.split(key, 3)
    vectors = teacher.sample(key_sample, state, BATCH)
    return teacher.refit(key_fit, teacher.observe(state, vectors, returns_of(vectors, key_return))), vectors


def test_unfinished_episodes_leave_no_trace(teacher, key):
    key_init, key_sample = jax.random.split(key)
    state = teacher.init(key_init)
    vectors = teacher.sample(key_sample, state, BATCH)
    after = teacher.observe(state, vectors, jnp.full((BATCH,), jnp.nan, jnp.float32))
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_options_are_spelled_behind_the_name():
    assert make_teacher("alp-gmm@refit_every=100", BOX).refit_every == 100
    with pytest.raises(ValueError, match="no teacher called 'alp'; did you mean alp-gmm"):
        make_teacher("alp", BOX)
    with pytest.raises(ValueError, match="takes window, refit_every"):
        make_teacher("alp-gmm@windw=3", BOX)
    with pytest.raises(ValueError, match="which is no int"):
        make_teacher("alp-gmm@window=many", BOX)
    with pytest.raises(ValueError, match="has score='luck'; choose one of change, learnability, regret"):
        make_teacher("plr@score=luck", BOX)
