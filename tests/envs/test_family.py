"""Log-uniform quantiles and families with other lifetimes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.family import Task, TaskFamily, log_uniform, log_uniform_int, with_lifetime

FAMILY = TaskFamily(
    name="numbers",
    env=None,
    sample=lambda key: Task(jax.random.uniform(key), jnp.int32(7)),
    decode=lambda vector: Task(2.0 * vector[0] + vector[1], jnp.int32(7)),
    num_dimensions=2,
    max_lifetime=7,
    max_episode_steps=5,
)


def test_log_uniform_is_geometric_between_its_ends():
    quantiles = jnp.array([0.0, 0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(log_uniform(quantiles, 0.01, 100.0), [0.01, 0.1, 1.0, 10.0, 100.0], rtol=1e-5)


def test_log_uniform_clips_quantiles():
    np.testing.assert_allclose(log_uniform(jnp.array([-1.0, 3.0]), 2.0, 8.0), [2.0, 8.0], rtol=1e-6)


def test_log_uniform_int_rounds_and_reaches_both_ends():
    quantiles = jnp.linspace(0.0, 1.0, 10_001)
    values = np.asarray(log_uniform_int(quantiles, 10, 250))
    assert values.dtype == np.int32 and set(values) == set(range(10, 251))
    # P(n) = ln((n + 1/2) / (n - 1/2)) / ln 25, and half of that below at the lower end.
    assert np.mean(values == 20) == pytest.approx(np.log(20.5 / 19.5) / np.log(25), abs=1e-3)
    assert np.mean(values == 10) == pytest.approx(np.log(10.5 / 10) / np.log(25), abs=1e-3)


def test_a_fixed_lifetime_adds_no_dimension():
    family = with_lifetime(FAMILY, 30, 30)
    assert (family.num_dimensions, family.max_lifetime, family.max_episode_steps) == (2, 30, 5)
    task = family.decode(jnp.array([0.5, 0.25]))
    assert (float(task.params), int(task.lifetime)) == (1.25, 30)
    assert family.sample(jax.random.key(0)).lifetime == 30


def test_a_varying_lifetime_is_the_first_quantile():
    family = with_lifetime(FAMILY, 10, 1000)
    assert (family.num_dimensions, family.max_lifetime) == (3, 1000)
    task = family.decode(jnp.array([0.5, 0.5, 0.25]))
    assert (float(task.params), int(task.lifetime)) == (1.25, 100)
    assert task.lifetime.dtype == jnp.int32


def test_sampled_lifetimes_are_log_uniform_and_independent_of_the_task():
    tasks = jax.vmap(with_lifetime(FAMILY, 10, 1000).sample)(jax.random.split(jax.random.key(0), 4000))
    logarithms = np.log10(np.asarray(tasks.lifetime))
    assert 10 <= tasks.lifetime.min() < 11 and 980 < tasks.lifetime.max() <= 1000
    # Uniform on (1, 3): standard deviation 0.577; four standard errors.
    assert abs(logarithms.mean() - 2.0) < 4 * 0.577 / np.sqrt(4000)
    assert abs(np.corrcoef(logarithms, tasks.params)[0, 1]) < 4 / np.sqrt(4000)


@pytest.mark.parametrize(("low", "high"), [(0, 5), (6, 5), (-1, -1)])
def test_impossible_lifetimes_are_refused(low, high):
    with pytest.raises(ValueError, match="1 <= low <= high"):
        with_lifetime(FAMILY, low, high)
