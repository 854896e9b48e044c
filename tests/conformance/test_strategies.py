"""Every strategy keeps the same contract; a new one is one line in the table."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from populations.evosax_strategy import EVOSAX, make_evosax
from populations.fitness import centred_ranks, z_scores
from populations.openai_es import openai_es

PARAMS = {"w": jnp.full((2, 3), -0.5), "b": jnp.zeros(2)}  # w is weakly typed; what a strategy makes of it must not be
TARGET = {"w": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.array([0.5, -1.0])}
P = 16

RATES = {"open_es": 0.1, "pgpe": 0.1}
"""Learning rates for a problem of eight parameters at distances of about one."""
STRATEGIES = {
    "openai_es": partial(openai_es, P, learning_rate=0.1),
    "openai_es_centred_ranks": partial(openai_es, P, learning_rate=0.1, shaping=centred_ranks),
    "openai_es_z_scores": partial(openai_es, P, learning_rate=0.1, shaping=z_scores),
    **{name: partial(make_evosax, name, P, PARAMS, sigma=0.1, learning_rate=RATES.get(name)) for name in EVOSAX},
}


@pytest.fixture(scope="module", params=STRATEGIES)
def strategy(request):
    return STRATEGIES[request.param]()


def fitness_of(params):
    return -sum(jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(TARGET), strict=True))


def generation(strategy, key, state, fitness=fitness_of):
    """Returns the next state and the fitness of the population that led to it."""
    population = strategy.ask(key, state)
    values = jax.vmap(lambda member: fitness(strategy.expand(state, member)))(population)
    return strategy.tell(state, population, values), values


@pytest.fixture(scope="module")
def compiled(strategy):
    """The generation of the strategy under test, jitted once for all tests of this strategy."""
    return jax.jit(partial(generation, strategy))


def climb(strategy, compiled, num_generations):
    state = strategy.init(jax.random.key(0), PARAMS)
    for index in range(num_generations):
        state, _ = compiled(jax.random.fold_in(jax.random.key(1), index), state)
    return state


def types(tree):
    return jax.tree.map(lambda x: (jnp.shape(x), x.dtype, x.weak_type), tree)


def test_climbs_a_quadratic(strategy, compiled):
    mean = strategy.mean(climb(strategy, compiled, 120))
    assert fitness_of(PARAMS) < -4.0
    assert fitness_of(mean) > -0.4


def test_the_mean_starts_at_the_given_parameters(strategy, key):
    jax.tree.map(np.testing.assert_array_equal, strategy.mean(strategy.init(key, PARAMS)), PARAMS)


def test_state_keeps_its_types_and_the_step_compiles_once(strategy, compiled):
    state = climb(strategy, compiled, 0)
    told = climb(strategy, compiled, 3)
    assert jax.tree.structure(told) == jax.tree.structure(state)
    assert types(told) == types(state)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    assert compiled._cache_size() == 1


def test_members_and_mean_look_like_parameters(strategy, key):
    state = strategy.init(key, PARAMS)
    population = strategy.ask(key, state)
    assert all(leaf.shape[0] == P == strategy.population_size for leaf in jax.tree.leaves(population))
    member = strategy.expand(state, jax.tree.map(lambda x: x[3], population))
    assert types(member) == types(strategy.mean(state)) == types(TARGET)


def test_eager_equals_jitted(strategy, compiled, key):
    state = strategy.init(key, PARAMS)
    eager, eager_fitness = generation(strategy, key, state)
    jitted, jitted_fitness = compiled(key, state)
    np.testing.assert_allclose(eager_fitness, jitted_fitness, rtol=1e-5)  # sums of eight squares
    for a, b in zip(jax.tree.leaves(strategy.mean(eager)), jax.tree.leaves(strategy.mean(jitted)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)  # steps of 0.1, taken from the rounded sums above


def test_same_key_same_generation_and_other_key_other_generation(strategy, compiled, key):
    state = strategy.init(key, PARAMS)
    first, again, other = (compiled(jax.random.key(seed), state) for seed in (5, 5, 6))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.any(first[1] == other[1])


def test_state_is_finite_after_a_generation(strategy, compiled):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(climb(strategy, compiled, 1)))


def test_nonfinite_fitness_counts_as_the_worst(strategy, key):
    """Where everything above the start in one coordinate breaks and the rest is equal, that coordinate must fall."""
    state = strategy.init(key, PARAMS)

    @jax.jit
    def told_mean(key, bad):
        told, _ = generation(strategy, key, state, lambda params: jnp.where(params["b"][0] > 0.0, bad, 0.0))
        return strategy.mean(told)

    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        means = [told_mean(jax.random.key(seed), bad) for seed in range(8)]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(means))
        assert np.mean([mean["b"][0] for mean in means]) < 0.0


def test_a_generation_with_nothing_finite_does_not_move_the_mean(strategy, key):
    state = strategy.init(key, PARAMS)
    told = strategy.tell(state, strategy.ask(key, state), jnp.full(P, jnp.nan).at[0].set(jnp.inf))
    jax.tree.map(np.testing.assert_array_equal, strategy.mean(told), PARAMS)
    assert types(told) == types(state)
