"""evosax algorithms as strategies: the one place where the sign of the fitness flips, because evosax minimises."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from populations.fitness import replace_nonfinite
from populations.strategy import Strategy


class Candidates(NamedTuple):
    """P candidates, and what it takes to ask for them once more."""

    params: Any
    """Pytree of candidates with leading axis P."""
    key: Key[Array, " P"]
    """The key they were asked with, the same for every member."""


def evosax_strategy(algorithm: Any, population_size: int, params_template: Any, **settings: Any) -> Strategy:
    """Returns a strategy that runs a distribution-based evosax algorithm, e.g. `Open_ES(64, params, ...)`.

    Non-finite fitness counts as the worst of the generation; a generation with nothing finite leaves the state alone.

    Args:
        algorithm: an evosax algorithm object, which is not modified. Algorithms that subtract fitness across members by
            position (PGPE, ARS) need an even population; partners are then i and i + P/2.
        population_size: P; must be the one the algorithm was made with.
        params_template: pytree with the structure, shapes and dtypes of the parameters, as given to the algorithm.
        settings: fields of the algorithm's evosax parameters to replace, e.g. `std_init=0.1`.

    Raises:
        ValueError: if the sizes disagree or the algorithm has no such parameters.
    """
    _check_algorithm(algorithm, population_size, params_template)
    algorithm = copy.copy(algorithm)
    algorithm.metrics_fn = lambda key, population, fitness, state, params: {}  # evosax's own copies the mean each time
    settings = _replace_settings(algorithm, settings)

    def init(key: Array, params: Any) -> Any:
        state = jax.tree.map(_strongly_typed, algorithm.init(key, params, settings))
        return state.replace(best_solution=state.mean)  # evosax starts it at NaN

    def ask(key: Array, state: Any) -> Candidates:
        candidates, _ = _ask(algorithm, settings, key, state)
        return Candidates(params=candidates, key=jnp.broadcast_to(key, (population_size,)))

    def tell(state: Any, population: Candidates, fitness: Float[Array, " P"]) -> Any:
        # Some algorithms keep part of their sampling in the state. Asking again recovers it; XLA drops the rest.
        key = population.key[0]
        _, asked = _ask(algorithm, settings, key, state)
        key_tell = jax.random.fold_in(key, 1)
        cost = -replace_nonfinite(fitness)
        told, _ = algorithm.tell(key_tell, population.params, cost, asked, settings)
        measured = jnp.any(jnp.isfinite(fitness))
        return jax.tree.map(lambda new, old: jnp.where(measured, new.astype(old.dtype), old), told, state)

    return Strategy(
        type(algorithm).__name__.lower(),
        population_size,
        init,
        ask,
        lambda state, member: member.params,
        tell,
        algorithm.get_mean,
    )


def make_evosax(
    name: str, population_size: int, params: Any, *, sigma: float, learning_rate: float | None = None
) -> Strategy:
    """Returns the named evosax strategy with settings that suit the parameters of a network.

    Args:
        name: `open_es` (antithetic, centred ranks, Adam with b1 0.99), `pgpe` (antithetic, centred ranks, Adam),
            `snes`, `cma_es` or `sep_cma_es` (weighted recombination). `cma_es` needs memory for the square of D.
        population_size: P; even for `open_es` and `pgpe`.
        params: pytree with the structure, shapes and dtypes of the D parameters.
        sigma: standard deviation of the first population; all but `open_es` adapt it. Above 0.
        learning_rate: of the mean. None takes 0.01 for `open_es` and `pgpe` and 1 for `snes`, whose rate has no unit;
            the CMA family has none.

    Raises:
        ValueError: if the name is unknown, sigma is not above 0, the population is odd where pairs are needed, or a
            learning rate is given that is not used.
    """
    if name not in EVOSAX:
        raise ValueError(f"evosax strategy {name!r} is unknown; choose one of {', '.join(EVOSAX)}")
    if sigma <= 0.0:
        raise ValueError(f"sigma is {sigma} but candidates must differ; choose it above 0")
    if name in ANTITHETIC and population_size % 2:
        raise ValueError(f"population size is {population_size} but {name} samples in pairs; choose an even number")
    if name in WITHOUT_LEARNING_RATE and learning_rate is not None:
        raise ValueError(f"learning_rate is {learning_rate} but {name} sets its own step; leave it None")
    algorithm, settings = EVOSAX[name](population_size, params, sigma, learning_rate)
    return evosax_strategy(algorithm, population_size, params, **settings)._replace(name=name)


# evosax computes while it is imported, and processes can only join before the first computation: hence no import above.


def _open_es(population_size: int, params: Any, sigma: float, learning_rate: float | None) -> tuple[Any, dict]:
    from evosax.algorithms import Open_ES

    optimizer = optax.adam(0.01 if learning_rate is None else learning_rate, b1=0.99)
    return Open_ES(
        population_size,
        params,
        use_antithetic_sampling=True,
        optimizer=optimizer,
        std_schedule=optax.constant_schedule(sigma),
    ), {}


def _pgpe(population_size: int, params: Any, sigma: float, learning_rate: float | None) -> tuple[Any, dict]:
    from evosax.algorithms import PGPE

    optimizer = optax.adam(0.01 if learning_rate is None else learning_rate)
    return PGPE(population_size, params, optimizer=optimizer), {"std_init": sigma}


def _snes(population_size: int, params: Any, sigma: float, learning_rate: float | None) -> tuple[Any, dict]:
    from evosax.algorithms import SNES

    optimizer = optax.sgd(1.0 if learning_rate is None else learning_rate)
    return SNES(population_size, params, optimizer=optimizer), {"std_init": sigma}


def _cma_es(population_size: int, params: Any, sigma: float, learning_rate: None) -> tuple[Any, dict]:
    from evosax.algorithms import CMA_ES

    return CMA_ES(population_size, params), {"std_init": sigma}


def _sep_cma_es(population_size: int, params: Any, sigma: float, learning_rate: None) -> tuple[Any, dict]:
    from evosax.algorithms import Sep_CMA_ES

    return Sep_CMA_ES(population_size, params), {"std_init": sigma}


EVOSAX: dict[str, Callable[..., tuple[Any, dict]]] = {
    "open_es": _open_es,
    "pgpe": _pgpe,
    "snes": _snes,
    "cma_es": _cma_es,
    "sep_cma_es": _sep_cma_es,
}
"""Makers of `(algorithm, settings)` by strategy name."""
ANTITHETIC = ("open_es", "pgpe")
"""Names of the strategies whose members i and i + P/2 mirror each other."""
WITHOUT_LEARNING_RATE = ("cma_es", "sep_cma_es")
"""Names of the strategies whose mean moves by recombination alone."""


def _ask(algorithm: Any, settings: Any, key: Array, state: Any) -> tuple[Any, Any]:
    return algorithm.ask(jax.random.fold_in(key, 0), state, settings)


def _strongly_typed(leaf: Any) -> Array:
    leaf = jnp.asarray(leaf)
    return leaf.astype(leaf.dtype)  # naming the dtype drops the weak type, which would compile the next step anew


def _replace_settings(algorithm: Any, settings: dict[str, Any]) -> Any:
    defaults = algorithm.default_params
    unknown = [name for name in settings if not hasattr(defaults, name)]
    if unknown:
        raise ValueError(f"{type(algorithm).__name__} has no setting {', '.join(unknown)}; see its default_params")
    # NumPy leaves become constants of the program on every process of a multi-process run.
    return jax.tree.map(lambda x: np.asarray(x, jnp.result_type(x)), defaults.replace(**settings))


def _check_algorithm(algorithm: Any, population_size: int, params_template: Any) -> None:
    if algorithm.population_size != population_size:
        raise ValueError(
            f"population size is {population_size} but the algorithm was made for {algorithm.population_size}; "
            "make them equal"
        )
    num_given = sum(np.size(leaf) for leaf in jax.tree.leaves(params_template))
    if algorithm.num_dims != num_given:
        raise ValueError(
            f"the template has {num_given} parameters but the algorithm was made for {algorithm.num_dims}; "
            "make it for the same template"
        )
