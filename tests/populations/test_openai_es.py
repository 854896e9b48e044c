"""OpenAI-ES against the dense estimator, a NumPy Adam and its schedules, and its memory."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from populations.fitness import centred_ranks, pair_signs, z_scores
from populations.generation import make_generation
from populations.openai_es import draw_noise, openai_es, weighted_noise
from populations.pairing import to_pairs

PARAMS = {"w": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4), "b": jnp.zeros(2)}


def flatten(tree):
    """Returns the leaves of one pytree as one vector."""
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def candidates(strategy, state, population):
    """Returns the whole population, [P, D], which only a test may hold."""
    members = jax.vmap(strategy.expand, (None, 0))(state, population)
    return np.concatenate([np.reshape(x, (strategy.population_size, -1)) for x in jax.tree.leaves(members)], axis=1)


def quadratic(vectors):
    return jnp.asarray(-np.sum((vectors - 0.7) ** 2, axis=1), jnp.float32)


def gradient_told(strategy, state, population, fitness, b1):
    """Returns the gradient that `tell` ascended, from what it did to the first moment of Adam."""
    before, after = (flatten(s.optimiser[0].mu) for s in (state, strategy.tell(state, population, fitness)))
    return -(after - b1 * before) / (1.0 - b1)


@pytest.mark.parametrize("chunk_size", [1, 2, 16])
@pytest.mark.parametrize("shaping", [pair_signs, centred_ranks, z_scores])
def test_regenerated_noise_gives_the_dense_gradient(key, shaping, chunk_size):
    strategy = openai_es(12, sigma=0.2, b1=0.5, shaping=shaping, chunk_size=chunk_size)
    state = strategy.init(key, PARAMS)
    population = strategy.ask(key, state)
    vectors = candidates(strategy, state, population)
    fitness = quadratic(vectors)
    noise = (vectors - flatten(PARAMS)) / 0.2
    dense = np.asarray(shaping(fitness)) @ noise / (12 * 0.2)
    # Twelve terms of order one in another order, and noise recovered by a subtraction: rounding of 1e-7 each.
    np.testing.assert_allclose(gradient_told(strategy, state, population, fitness, 0.5), dense, rtol=1e-5, atol=4e-6)


def test_chunked_sum_of_noise_equals_the_dense_sum(key):
    keys, weights = jax.random.split(key, 6), jnp.array([1.0, -2.0, 0.5, 0.0, 3.0, -1.0])
    dense = sum(w * flatten(draw_noise(k, PARAMS)) for k, w in zip(keys, weights, strict=True))
    for chunk in (1, 2, 3, 6):
        np.testing.assert_allclose(flatten(weighted_noise(keys, weights, PARAMS, chunk)), dense, atol=1e-6)


def test_noise_is_standard_normal_and_different_in_every_leaf(key):
    noise = draw_noise(key, {"a": jnp.zeros(20_000), "b": jnp.zeros(20_000)})
    assert abs(np.corrcoef(noise["a"], noise["b"])[0, 1]) < 0.03  # 4 standard errors of 1/sqrt(20000)
    for leaf in noise.values():
        assert abs(np.mean(leaf)) < 0.03 and abs(np.std(leaf) - 1.0) < 0.02  # 4 standard errors


def test_partners_mirror_each_other_around_the_mean(key):
    strategy = openai_es(8, sigma=0.3)
    state = strategy.init(key, PARAMS)
    vectors = candidates(strategy, state, strategy.ask(key, state))
    np.testing.assert_allclose(vectors[:4] + vectors[4:], np.tile(2.0 * flatten(PARAMS), (4, 1)), atol=1e-6)
    assert len(np.unique(vectors, axis=0)) == 8


def test_sigma_follows_its_schedule_and_is_the_same_in_expand_and_tell(key):
    strategy = openai_es(8, sigma=0.4, sigma_decay=0.5, sigma_floor=0.15, b1=0.5)
    state = strategy.init(key, PARAMS)
    unit_noise = None
    for sigma in (0.4, 0.2, 0.15, 0.15):
        population = strategy.ask(key, state)
        vectors = candidates(strategy, state, population)
        noise = (vectors - flatten(state.mean)) / sigma
        unit_noise = noise if unit_noise is None else unit_noise
        np.testing.assert_allclose(noise, unit_noise, atol=1e-5)  # the same key draws the same noise
        fitness = quadratic(vectors)
        dense = np.asarray(pair_signs(fitness)) @ noise / (8 * sigma)
        np.testing.assert_allclose(gradient_told(strategy, state, population, fitness, 0.5), dense, atol=1e-4)
        state = strategy.tell(state, population, fitness)


def test_mean_follows_adam_with_b1_of_099_and_a_floored_learning_rate(key):
    strategy = openai_es(8, learning_rate=0.1, learning_rate_decay=0.5, learning_rate_floor=0.03)
    state = strategy.init(key, PARAMS)
    mean, first, second = flatten(PARAMS), 0.0, 0.0
    for step, rate in enumerate((0.1, 0.05, 0.03, 0.03), start=1):
        population = strategy.ask(jax.random.fold_in(key, step), state)
        vectors = candidates(strategy, state, population)
        fitness = quadratic(vectors)
        gradient = np.asarray(pair_signs(fitness)) @ (vectors - flatten(state.mean)) / (8 * 0.1**2)
        first, second = 0.99 * first + 0.01 * gradient, 0.999 * second + 0.001 * gradient**2
        mean = mean + rate * (first / (1 - 0.99**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        state = strategy.tell(state, population, fitness)
        np.testing.assert_allclose(flatten(state.mean), mean, atol=2e-6)  # steps of 0.1 with gradients good to 1e-5
    assert int(state.generation) == 4


def test_a_decay_of_one_keeps_sigma_and_learning_rate_constant(key):
    strategy = openai_es(4, sigma=0.1, sigma_decay=1.0, sigma_floor=0.01, learning_rate=0.5, learning_rate_decay=1.0)
    state = strategy.init(key, PARAMS)
    for _ in range(2):  # equal gradients make every Adam step the learning rate long
        before = flatten(state.mean)
        state = strategy.tell(state, strategy.ask(key, state), jnp.array([1.0, 1.0, 0.0, 0.0]))
        np.testing.assert_allclose(np.abs(flatten(state.mean) - before), 0.5, rtol=1e-4)  # bias terms of Adam


def test_parameters_keep_their_dtypes(key):
    params = {"half": jnp.zeros(3, jnp.bfloat16), "single": jnp.zeros(2)}
    strategy = openai_es(4)
    state = strategy.init(key, params)
    population = strategy.ask(key, state)
    member = strategy.expand(state, jax.tree.map(lambda x: x[0], population))
    told = strategy.tell(state, population, jnp.arange(4.0))
    for tree in (member, strategy.mean(told)):
        assert jax.tree.map(lambda x: x.dtype, tree) == jax.tree.map(lambda x: x.dtype, params)


def compiled_generation(population_size, num_parameters, microbatch):
    strategy, key = openai_es(population_size, chunk_size=2), jax.random.key(0)

    def evaluate(params, task, life_key, bound):
        return -jnp.sum((params - task) ** 2), {}

    generation = jax.jit(make_generation(strategy, evaluate, jax.random.normal, microbatch=microbatch))
    return generation.lower(key, strategy.init(key, jnp.zeros(num_parameters))).compile()


def test_no_array_of_population_by_parameters_exists_in_the_compiled_generation():
    compiled = compiled_generation(64, 5003, microbatch=4)
    shapes = [[int(n) for n in s.split(",")] for s in re.findall(r"\b[a-z]+\d*\[([\d,]+)\]", compiled.as_text())]
    largest = max(int(np.prod(shape)) for shape in shapes)
    assert largest >= 5003  # the text does hold the shapes
    assert largest <= 2 * 4 * 5003  # uint32 pairs of the generator, for one chunk


def test_memory_does_not_grow_with_the_population():
    small, large = (compiled_generation(p, 5003, microbatch=4).memory_analysis() for p in (16, 256))
    assert small.temp_size_in_bytes > 5003 * 4
    assert large.temp_size_in_bytes - small.temp_size_in_bytes < 5003 * 4  # less than one of the 240 more candidates


@pytest.mark.parametrize("size", [0, 1, 9])
def test_a_population_without_pairs_is_refused(size):
    with pytest.raises(ValueError, match=f"population size is {size}"):
        openai_es(size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"sigma": 0.1, "sigma_floor": 0.2}, "floor 0.2"),
        ({"sigma_decay": 1.1}, "decay 1.1"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate_decay": 0.0}, "decay 0.0"),
        ({"chunk_size": 0}, "chunk_size is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        openai_es(8, **settings)


def test_parameters_that_noise_cannot_move_are_refused(key):
    with pytest.raises(ValueError, match="int32"):
        openai_es(4).init(key, {"count": jnp.zeros((), jnp.int32)})


def test_pairs_share_their_key_and_have_opposite_signs(key):
    strategy = openai_es(6)
    pairs = to_pairs(strategy.ask(key, strategy.init(key, PARAMS)))
    data = jax.random.key_data(pairs.key)
    np.testing.assert_array_equal(data[:, 0], data[:, 1])
    np.testing.assert_array_equal(pairs.sign, np.tile([1.0, -1.0], (3, 1)))


def test_importing_it_does_not_import_evosax():
    code = "import sys, populations.openai_es, populations.generation; sys.exit('evosax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
