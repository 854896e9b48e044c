"""One generation is the same generation on 1, 2 or 8 devices, and devices exchange nothing but results."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from populations.evosax_strategy import make_evosax
from populations.generation import make_generation
from populations.mesh import make_mesh, replicate
from populations.openai_es import openai_es

PARAMS = {"w": jnp.zeros((4, 8)), "b": jnp.zeros(8)}
P = 32
STRATEGIES = {
    "openai_es": lambda: openai_es(P, learning_rate=0.1),
    "snes": lambda: make_evosax("snes", P, PARAMS, sigma=0.1),
}


def sample_task(key):
    key_lifetime, key_target = jax.random.split(key)
    lifetime = jax.random.randint(key_lifetime, (), 1, 20)
    return {"lifetime": lifetime, "target": jax.random.uniform(key_target, (8,))}


def evaluate(params, task, key, bound):
    """Returns how close a noisy recurrence comes to a target after its lifetime."""

    def update(step, point):
        inputs = jax.random.uniform(jax.random.fold_in(key, step), (4,))
        return jnp.where(step < task["lifetime"], 0.9 * point + jnp.tanh(inputs @ params["w"] + params["b"]), point)

    point = jax.lax.fori_loop(0, jnp.minimum(bound, 20), update, jnp.zeros(8))
    return -jnp.sum((point - task["target"]) ** 2), {"lifetime": task["lifetime"]}


def compiled_generation(strategy, num_devices):
    mesh = None if num_devices is None else make_mesh(num_devices)
    generation = make_generation(
        strategy, evaluate, sample_task, mesh=mesh, microbatch=4, cost=lambda task: task["lifetime"], tasks_per_pair=2
    )
    return mesh, jax.jit(generation)


def run(strategy, num_devices, num_generations=3):
    mesh, generation = compiled_generation(strategy, num_devices)
    state = replicate(strategy.init(jax.random.key(0), PARAMS), mesh)
    results = []
    for step in range(num_generations):
        state, result = generation(replicate(jax.random.fold_in(jax.random.key(1), step), mesh), state)
        results.append(result)
    assert generation._cache_size() == 1
    return state, results


@pytest.mark.parametrize(("name", "numbers"), [("openai_es", (1, 2, 8)), ("snes", (8,))])
def test_any_number_of_devices_gives_the_same_fitness_and_mean(name, numbers):
    """Fitness is bitwise the same for the same state; later states differ by what `tell` rounds."""
    strategy = STRATEGIES[name]()
    reference_state, reference = run(strategy, None)
    for num_devices in numbers:
        state, results = run(strategy, num_devices)
        np.testing.assert_array_equal(results[0].fitness, reference[0].fitness)
        for ours, expected in zip(results, reference, strict=True):
            np.testing.assert_array_equal(ours.info["lifetime"], expected.info["lifetime"])
            np.testing.assert_allclose(ours.fitness, expected.fitness, rtol=1e-5)  # after the first, of means as below
        for ours, expected in zip(*map(jax.tree.leaves, map(strategy.mean, (state, reference_state))), strict=True):
            np.testing.assert_allclose(ours, expected, atol=1e-6)  # the compiler may fuse and round `tell` otherwise


@pytest.mark.parametrize("name", STRATEGIES)
def test_devices_exchange_fitness_and_info_and_nothing_else(name):
    strategy = STRATEGIES[name]()
    mesh, generation = compiled_generation(strategy, 8)
    state, key = replicate((strategy.init(jax.random.key(0), PARAMS), jax.random.key(1)), mesh)
    text = generation.lower(key, state).compile().as_text()
    communication = r"= (\S+) (all-\w+|collective-\w+|reduce-scatter|ragged-\w+|send|recv)(?:-start)?\("
    found = re.findall(communication, text)
    # One gather for the fitness and one for the lifetimes, of two tasks for each of P/2 pairs of partners.
    assert [(kind, shape.split("{")[0]) for shape, kind in found] == [("all-gather", f"f32[{P},2]")] * 2


def test_the_result_is_whole_on_every_device():
    state, results = run(STRATEGIES["openai_es"](), 8, num_generations=1)
    assert all(leaf.is_fully_replicated and len(leaf.devices()) == 8 for leaf in jax.tree.leaves((state, results)))


@pytest.mark.parametrize("population_size", [8, 24])
def test_a_population_that_cannot_be_dealt_is_refused(population_size):
    with pytest.raises(ValueError, match=f"population size {population_size} cannot be dealt in pairs over 8 devices"):
        make_generation(openai_es(population_size), evaluate, sample_task, mesh=make_mesh(8))


def test_a_microbatch_that_does_not_divide_the_share_of_a_device_is_refused():
    with pytest.raises(ValueError, match=r"microbatch is 8 but .* 4 members .*population 32 over 8 devices"):
        make_generation(openai_es(P), evaluate, sample_task, mesh=make_mesh(8), microbatch=8)
