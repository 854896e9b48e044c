"""evosax behind the interface: the same numbers as evosax alone, the right settings, clear refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from evosax.algorithms import CMA_ES, SNES, Open_ES

from populations.evosax_strategy import evosax_strategy, make_evosax

PARAMS = {"w": jnp.full((2, 3), -0.5), "b": jnp.zeros(2)}
P = 16


def cost(params):
    return jnp.sum((params["w"] - 1.0) ** 2) + jnp.sum(params["b"] ** 2)


@pytest.mark.parametrize("make", [CMA_ES, Open_ES])
def test_it_equals_a_hand_written_evosax_loop(key, make):
    """CMA-ES keeps part of its sampling in the state that `ask` returns, which the interface has no room for."""
    algorithm = make(P, PARAMS)
    strategy = evosax_strategy(algorithm, P, PARAMS)
    settings = algorithm.default_params
    state, reference = strategy.init(key, PARAMS), algorithm.init(key, PARAMS, settings)
    for step in range(4):
        key_step = jax.random.fold_in(key, step)
        population = strategy.ask(key_step, state)
        members = jax.vmap(strategy.expand, (None, 0))(state, population)
        state = strategy.tell(state, population, -jax.vmap(cost)(members))
        asked, reference = algorithm.ask(jax.random.fold_in(key_step, 0), reference, settings)
        reference, _ = algorithm.tell(
            jax.random.fold_in(key_step, 1), asked, jax.vmap(cost)(asked), reference, settings
        )
        jax.tree.map(np.testing.assert_array_equal, members, asked)
        jax.tree.map(np.testing.assert_array_equal, strategy.mean(state), algorithm.get_mean(reference))


def test_open_es_steps_by_adam_with_b1_of_099(key):
    strategy = make_evosax("open_es", P, PARAMS, sigma=0.1, learning_rate=0.3)
    state = strategy.init(key, PARAMS)
    population = strategy.ask(key, state)
    told = strategy.tell(state, population, jnp.arange(16.0))
    step = told.mean - state.mean
    np.testing.assert_allclose(np.abs(step), 0.3, rtol=1e-5)  # the first step of Adam is the learning rate long
    again = strategy.tell(told, strategy.ask(key, told), jnp.zeros(P))
    # A zero gradient leaves 0.99 and 0.999 of the moments: m/(1 - 0.99^2) over sqrt(v/(1 - 0.999^2)).
    momentum = 0.99 * 0.01 / (1 - 0.99**2) / np.sqrt(0.999 * 0.001 / (1 - 0.999**2))
    np.testing.assert_allclose(again.mean - told.mean, momentum * step, rtol=1e-4)


@pytest.mark.parametrize("name", ["open_es", "pgpe"])
def test_partners_mirror_each_other_around_the_mean(key, name):
    strategy = make_evosax(name, P, PARAMS, sigma=0.2)
    state = strategy.init(key, PARAMS)
    members = strategy.ask(key, state).params["b"]
    np.testing.assert_allclose(members[:8] + members[8:], np.zeros((8, 2)), atol=1e-6)


@pytest.mark.parametrize("name", ["open_es", "pgpe", "snes", "cma_es", "sep_cma_es"])
def test_the_first_population_has_the_given_spread(key, name):
    strategy = make_evosax(name, 64, PARAMS, sigma=0.25)
    members = strategy.ask(key, strategy.init(key, PARAMS)).params["w"]
    assert abs(np.std(members + 0.5) / 0.25 - 1.0) < 0.15  # 4 standard errors of the spread of 384 numbers


def test_the_algorithm_is_not_modified():
    algorithm = SNES(P, PARAMS)
    before = dict(vars(algorithm))
    evosax_strategy(algorithm, P, PARAMS, std_init=0.1)
    assert vars(algorithm) == before


def test_settings_reach_the_algorithm(key):
    strategy = evosax_strategy(SNES(P, PARAMS, optimizer=optax.sgd(1.0)), P, PARAMS, std_init=0.125)
    np.testing.assert_array_equal(strategy.init(key, PARAMS).std, np.full(8, 0.125))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "genetic"}, "'genetic' is unknown; choose one of open_es, "),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"population_size": 15}, "population size is 15 but open_es samples in pairs"),
        ({"name": "cma_es", "learning_rate": 0.1}, "learning_rate is 0.1 but cma_es"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, message):
    given = {"name": "open_es", "population_size": P, "params": PARAMS, "sigma": 0.1} | arguments
    with pytest.raises(ValueError, match=message):
        make_evosax(**given)


def test_an_algorithm_of_another_size_is_refused():
    with pytest.raises(ValueError, match="population size is 8 but the algorithm was made for 16"):
        evosax_strategy(SNES(P, PARAMS), 8, PARAMS)
    with pytest.raises(ValueError, match="template has 2 parameters but the algorithm was made for 8"):
        evosax_strategy(SNES(P, PARAMS), P, PARAMS["b"])


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError, match="SNES has no setting sigma"):
        evosax_strategy(SNES(P, PARAMS), P, PARAMS, sigma=0.1)
