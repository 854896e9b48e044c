"""ALP-GMM and Covar-GMM."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.stats import binom

from metarl.ring import Ring
from metarl.teachers.base import unit_box
from metarl.teachers.gmm import alp_gmm, covar_gmm
from metarl.teachers.mixture import Mixture


def in_order(held: Ring):
    """Returns the rows of a ring that is not full, oldest first."""
    return np.asarray(held.rows)[: int(held.count)]


def test_progress_is_the_change_since_the_nearest_task_as_scipy_finds_it():
    generator = np.random.default_rng(0)
    tasks, rewards = generator.random((250, 2)).astype(np.float32), generator.random(250).astype(np.float32)
    teacher = alp_gmm(unit_box(2))
    state = teacher.init(jax.random.key(0))
    observe = jax.jit(teacher.observe)
    expected = []
    for i in range(250):
        expected.append(
            0.0 if i <= 5 else abs(rewards[i] - rewards[cKDTree(tasks[:i]).query(tasks[i])[1]])
        )  # nothing is known as long as 5 episodes or fewer are
        state = observe(state, tasks[i : i + 1], rewards[i : i + 1])
    np.testing.assert_array_equal(in_order(state.window), np.c_[tasks, np.array(expected, np.float32)])


def test_a_batch_is_compared_with_what_came_before_it(key):
    teacher = alp_gmm(unit_box(1))
    before = jnp.linspace(0.0, 1.0, 11, dtype=jnp.float32)[:, None]
    state = teacher.observe(teacher.init(key), before, jnp.zeros((11,), jnp.float32))
    state = teacher.observe(state, jnp.full((2, 1), 0.5, jnp.float32), jnp.array([0.25, 1.0], jnp.float32))
    assert in_order(state.window)[-2:, 1].tolist() == [0.25, 1.0]


def test_gaussians_are_chosen_by_their_mean_progress(key):
    teacher = alp_gmm(unit_box(1), random_share=0.0)
    state = teacher.init(key)
    used = jnp.array([True, True] + [False] * 8)
    mean = jnp.zeros((10, 2), jnp.float32).at[0].set(jnp.array([0.2, 0.3])).at[1].set(jnp.array([0.8, 0.1]))
    thin = jnp.broadcast_to(1e-3 * jnp.eye(2, dtype=jnp.float32)[None], (10, 2, 2))
    weight = jnp.where(used, 0.5, 0.0).at[1].set(5.0)  # how often tasks were there does not count
    state = state._replace(mixture=Mixture(used, weight, mean, thin), utility=mean[:, 1], has_fit=jnp.bool_(True))
    tasks = np.asarray(teacher.sample(key, state, 4000))[:, 0]
    assert np.all((np.abs(tasks - 0.2) < 0.01) | (np.abs(tasks - 0.8) < 0.01))
    assert np.mean(tasks < 0.5) == pytest.approx(0.75, abs=0.028)  # 4 standard errors


def learned(teacher, key, trend):
    """Returns the state after 250 episodes whose rewards depend on (task, time), and one fit."""
    key_init, key_tasks, key_fit = jax.random.split(key, 3)
    tasks = jax.random.uniform(key_tasks, (250, 1))
    time = jnp.arange(250, dtype=jnp.float32) / 250
    state = teacher.observe(teacher.init(key_init), tasks, trend(tasks[:, 0], time))
    return teacher.refit(key_fit, state)


@pytest.mark.parametrize(("sign", "absolute", "follows"), [(1, False, True), (-1, False, False), (-1, True, True)])
def test_covariance_follows_a_planted_trend(sign, absolute, follows, key):
    teacher = covar_gmm(unit_box(1), absolute=absolute, random_share=0.0)

    def trend(task, time):
        return jnp.where(task > 0.6, 0.5 + sign * 0.5 * (time - 0.5), 0.5)

    state = learned(teacher, key, trend)
    tasks = np.asarray(teacher.sample(key, state, 2000))
    assert bool(state.has_fit)
    assert (np.mean(tasks > 0.55) > 0.8) == follows
    if sign < 0 and not absolute:  # what falls is worth nothing
        rising = state.mixture.is_used & (state.mixture.mean[:, 0] > 0.7)
        assert float(jnp.max(jnp.where(rising, state.utility, 0.0))) < 1e-3


@pytest.mark.parametrize("make", [alp_gmm, covar_gmm])
def test_tasks_are_uniform_before_the_first_fit_and_a_fifth_of_them_after(make, key):
    teacher = make(unit_box(1))
    tasks = np.asarray(teacher.sample(key, teacher.init(key), 4000))
    assert np.histogram(tasks, bins=4, range=(0, 1))[0].min() > 1000 - 4 * np.sqrt(4000 * 0.25 * 0.75)
    state = learned(teacher, key, lambda task, time: jnp.where(task > 0.9, time, 0.0))
    assert bool(state.has_fit)
    narrow = state.mixture._replace(mean=jnp.full_like(state.mixture.mean, 0.9), cholesky=1e-3 * state.mixture.cholesky)
    state = state._replace(mixture=narrow)
    low = np.sum(np.asarray(teacher.sample(key, state, 4000)) < 0.5)  # only uniform tasks go there
    assert binom.cdf(low, 4000, 0.1) > 1e-4 and binom.sf(low, 4000, 0.1) > 1e-4


def test_time_runs_through_every_window(key):
    teacher = covar_gmm(unit_box(1), window=10)
    zeros = jnp.zeros((7, 1), jnp.float32)
    state = teacher.observe(teacher.init(key), zeros, zeros[:, 0].at[2].set(jnp.nan))
    np.testing.assert_allclose(in_order(state.window)[:, 1], np.arange(6) / 10)
    state = teacher.observe(state, zeros, zeros[:, 0])
    rows = np.asarray(state.window.rows)[np.argsort(np.asarray(state.window.stamp)), 1]
    np.testing.assert_allclose(rows, [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.0, 0.1, 0.2])


def test_a_window_without_finite_rows_keeps_the_fit(key):
    teacher = alp_gmm(unit_box(1))
    assert not bool(teacher.refit(key, teacher.init(key)).has_fit)
    state = learned(teacher, key, lambda task, time: task * time)
    broken = state._replace(window=Ring(jnp.full_like(state.window.rows, jnp.nan), state.window.count))
    for kept, before in zip(
        jax.tree.leaves(teacher.refit(key, broken)._replace(window=state.window)), jax.tree.leaves(state), strict=True
    ):
        np.testing.assert_array_equal(kept, before)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"window": 0}, "window is 0"),
        ({"random_share": 1.5}, "random_share is 1.5"),
        ({"capacity": 0}, "capacity is 0"),
        ({"refit_every": 0}, "refit_every is 0"),
    ],
)
def test_impossible_settings_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        alp_gmm(unit_box(2), **wrong)
