"""Draws of Gaussian processes: tasks, the spaces they live on and the laws of their hyper-parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from envs.blackbox.gp_kernel import posterior, to_latent
from envs.blackbox.gp_laws import JITTER, LAWS, MAX_NOISE, hebo_law, log_uniform_law
from envs.blackbox.gp_prior import FEW_DIMENSIONS, MAX_LEVELS, NUM_GLOBAL, gp_prior, gp_prior_family
from envs.blackbox.kernels import MATERN32, MATERN52, RBF
from envs.blackbox.task import CATEGORICAL, MAX_CATEGORIES, MAX_DIMENSIONS, NUMERIC, ORDINAL, UNUSED

NUM_TASKS, BATCH = 2000, 250


@pytest.fixture(scope="module")
def sampler():
    prior = gp_prior(output_share=0.3)
    return jax.jit(jax.vmap(prior.sample_with_kernel))


@pytest.fixture(scope="module")
def draws(sampler):
    """Tasks and kernels [2000], as numpy."""
    keys = jax.random.split(jax.random.key(3), NUM_TASKS).reshape(-1, BATCH)
    parts = [jax.tree.map(np.asarray, sampler(keys_of_part)) for keys_of_part in keys]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def test_values_are_finite_and_vary_in_all_of_many_tasks(draws):
    task, kernel = draws
    assert all(np.isfinite(leaf).all() for leaf in (task.params.y, task.params.x, *kernel))
    assert (task.params.y_best > task.params.y_worst).all()
    assert (kernel.noise >= JITTER).all() and (kernel.lengthscale > 0).all()


def test_returned_kernels_predict_their_own_draws(draws):
    """Under the law a task was drawn from, squared errors are as large as their predicted variances on average."""
    task, kernel = jax.tree.map(lambda leaf: jnp.asarray(leaf[:BATCH]), draws)
    x, y = task.params.x, task.params.y
    for num_seen in (5, 20):
        seen = jnp.ones(num_seen, bool)
        mean, variance = jax.jit(jax.vmap(posterior, in_axes=(0, 0, 0, None, 0)))(
            kernel, x[:, :num_seen], y[:, :num_seen], seen, x[:, num_seen : num_seen + 1]
        )
        error = jax.vmap(to_latent)(kernel, y[:, num_seen : num_seen + 1]) - mean
        ratio = np.asarray(error**2 / variance)
        assert ratio.mean() == pytest.approx(1.0, abs=4 * np.sqrt(2 / BATCH))  # chi squared, 4 standard errors


def test_spaces_hold_what_their_kinds_say(draws):
    task, kernel = draws
    kind, x = task.params.kind, task.params.x
    num_dims = (kind != UNUSED).sum(-1)
    assert set(num_dims) == set(range(1, 9))
    assert (np.sort(kind == UNUSED, axis=-1) == (kind == UNUSED)).all()  # unused dimensions come last
    assert (x[np.broadcast_to((kind == UNUSED)[:, None], x.shape)] == 0).all()
    columns = {k: x.transpose(0, 2, 1)[kind == k] for k in (NUMERIC, ORDINAL, CATEGORICAL)}
    assert columns[NUMERIC].min() >= 0 and columns[NUMERIC].max() < 1
    assert columns[ORDINAL].min() == 0 and columns[ORDINAL].max() == 1
    assert {len(set(column)) for column in columns[ORDINAL]} == set(range(2, MAX_LEVELS + 1))
    assert (columns[CATEGORICAL] == np.round(columns[CATEGORICAL])).all()
    assert columns[CATEGORICAL].max() == MAX_CATEGORIES - 1
    few = num_dims < FEW_DIMENSIONS
    assert ((kernel.kind == NUMERIC).any(-1))[few].all()
    is_irrelevant = ((kernel.kind == UNUSED) & (kind != UNUSED)).sum(-1)
    assert is_irrelevant.sum() / (num_dims - 1).sum() == pytest.approx(0.3, abs=0.03)  # one dimension always matters
    assert (is_irrelevant < num_dims).all()
    warped = (kernel.tail != 1).mean()
    assert warped == pytest.approx(0.3, abs=0.05)


def test_pure_spaces_are_pure(key):
    for kinds, only in (("numeric", NUMERIC), ("categorical", CATEGORICAL)):
        family = gp_prior_family(kinds=kinds, num_candidates=8, dimensions=(2, 4))
        kind = jax.jit(jax.vmap(family.sample))(jax.random.split(key, 20)).params.kind
        assert set(np.unique(kind)) == {UNUSED, only}


def test_sampling_compiles_once_and_depends_on_the_key_alone(sampler, draws):
    again = sampler(jax.random.split(jax.random.key(3), NUM_TASKS)[:BATCH])
    assert sampler._cache_size() == 1
    np.testing.assert_array_equal(again[0].params.y, draws[0].params.y[:BATCH])
    assert len(np.unique(draws[0].params.y_best)) > 0.99 * NUM_TASKS  # of 2000 float32, two may be equal by chance


def test_decoding_is_finite_at_all_extremes_and_clips_beyond_them():
    prior = gp_prior(num_candidates=100, dimensions=(1, 6), output_share=0.5)
    decode = jax.jit(jax.vmap(prior.decode_with_kernel))
    corners = np.array(np.meshgrid(*[[0.0, 1.0]] * 6)).reshape(6, -1).T
    vectors = np.concatenate([corners[:, :NUM_GLOBAL], np.repeat(corners[:, 5:], 6, axis=1)], axis=1)
    task, kernel = decode(jnp.asarray(vectors, jnp.float32))
    assert jnp.all(jnp.isfinite(task.params.y)) and jnp.all(task.params.y_best > task.params.y_worst)
    num_dims = np.sum(np.asarray(task.params.kind) != UNUSED, axis=-1)
    np.testing.assert_array_equal(num_dims, np.where(vectors[:, 0] == 0, 1, 6))
    np.testing.assert_array_equal(kernel.shape, np.where(vectors[:, 1] == 0, MATERN52, RBF))
    np.testing.assert_allclose(kernel.noise, np.where(vectors[:, 2] == 0, JITTER, 0.1), rtol=1e-5)
    scale = np.sqrt(np.sum(np.asarray(kernel.kind) != UNUSED, axis=-1))
    np.testing.assert_allclose(kernel.lengthscale[:, 0], np.where(vectors[:, 5] == 0, 0.1, 2.0) * scale, rtol=1e-5)
    beyond = decode(jnp.asarray(vectors + np.where(vectors == 0, -0.5, 0.5), jnp.float32))
    np.testing.assert_array_equal(beyond[0].params.y, task.params.y)


@pytest.mark.slow
def test_jit_equals_eager_and_the_draw_entry_chooses_the_draw():
    family = gp_prior_family(num_candidates=12, dimensions=(2, 3))
    vector = jnp.array([0.9, 0.2, 0.5, 0.0, 0.25, 0.3, 0.6, 0.9], jnp.float32)
    eager, decode = family.decode(vector), jax.jit(family.decode)
    np.testing.assert_allclose(decode(vector).params.y, eager.params.y, atol=1e-4)  # float32 factorisation
    np.testing.assert_array_equal(decode(vector).params.x, eager.params.x)
    smoother = decode(vector.at[NUM_GLOBAL:].add(0.001))
    np.testing.assert_array_equal(smoother.params.x, eager.params.x)
    assert 0 < jnp.max(jnp.abs(smoother.params.y - eager.params.y)) < 0.2
    assert jnp.any(decode(vector.at[4].set(0.26)).params.x != eager.params.x)


def test_drawn_tasks_can_be_played_in_the_environment_of_the_family(key, draws):
    family = gp_prior_family()
    task = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), draws[0])
    assert task.params.x.shape == (100, MAX_DIMENSIONS) and family.num_dimensions == NUM_GLOBAL + 8
    _, state = family.env.reset_env(key, task.params)
    _, _, reward, _, _ = family.env.step_env(key, state, jnp.argmax(task.params.y), task.params)
    start = (task.params.y_best - state.best) / (task.params.y_best - task.params.y_worst)
    assert float(reward) == pytest.approx(float(start), abs=1e-6)


def test_hebo_law_has_the_published_marginals():
    law, quantiles = hebo_law(), np.array([0.01, 0.2, 0.5, 0.9, 0.99])
    expected = stats.gamma.ppf(quantiles, 1.2106559584074301, scale=1 / 1.5212245992840594)
    result = law.lengthscale(jnp.asarray(quantiles, jnp.float32), jnp.float32(7.0))
    np.testing.assert_allclose(result, expected, rtol=2e-3)  # linear in a table of 257
    signal = stats.gamma.ppf(0.3, 0.8452312502679863, scale=1 / 0.3993553245745406)
    noise = stats.lognorm.ppf(0.8, 0.5, scale=np.exp(-4.63))
    assert float(law.noise(jnp.float32(0.8), jnp.float32(0.3))) == pytest.approx(noise / signal, rel=2e-3)
    assert int(law.shape(jnp.float32(0.7))) == MATERN32


@pytest.mark.slow
def test_tasks_of_the_hebo_law_are_finite_in_eighteen_dimensions(key):
    prior = gp_prior(num_candidates=60, dimensions=(1, 18), kinds="numeric", law=hebo_law())
    task, kernel = jax.jit(jax.vmap(prior.sample_with_kernel))(jax.random.split(key, 200))
    assert jnp.all(jnp.isfinite(task.params.y)) and jnp.max(kernel.noise) <= MAX_NOISE
    assert jnp.all(kernel.warp == 1.0) and jnp.all(kernel.shape == MATERN32)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="1 candidates"):
        gp_prior(num_candidates=1)
    with pytest.raises(ValueError, match="3 to 2 dimensions"):
        gp_prior(dimensions=(3, 2))
    with pytest.raises(ValueError, match="within 1 to 20"):
        gp_prior_family(dimensions=(1, 21))
    with pytest.raises(ValueError, match="use one of mixed, numeric, categorical"):
        gp_prior(kinds="ordinal")
    with pytest.raises(ValueError, match="share in"):
        gp_prior(output_share=1.5)
    with pytest.raises(ValueError, match="lengthscales are from 0.0"):
        log_uniform_law(lengthscales=(0.0, 1.0))


def test_the_known_law_has_one_kernel(key):
    prior = gp_prior(num_candidates=8, dimensions=(2, 2), kinds="numeric", law=LAWS["known"]())
    kernel = jax.jit(jax.vmap(prior.sample_with_kernel))(jax.random.split(key, 50))[1]
    for leaf in kernel:
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    assert float(kernel.lengthscale[0, 0]) == pytest.approx(0.3 * np.sqrt(2.0)) and int(kernel.shape[0]) == MATERN52
