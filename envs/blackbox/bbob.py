"""The 24 noiseless functions of the black-box optimisation benchmark (BBOB), as families and as fixed pools.

This is the one file that imports bbobax, which the extra `metabo-real` installs.

Source: Hansen, Finck, Ros, Auger 2009, "Real-parameter black-box optimization benchmarking: noiseless functions
definitions"; public repository `maxencefaldor/bbobax`.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from envs.blackbox.designs import key_of, make_design
from envs.blackbox.environment import BlackBox
from envs.blackbox.task import NUM_INIT, NUMERIC, BlackBoxParams, as_task, pool_params
from envs.family import Task, TaskFamily

MISSING = "BBOB's functions are defined by bbobax, which is not installed; pip install 'metarl[metabo-real]'"
NUM_FUNCTIONS = 24
DIMENSIONS = (2, 3, 5)
"""Of the protocol."""
NUM_CANDIDATES = 1000
"""Of the protocol."""
HALF_WIDTH = 5.0
"""The box is [-5, 5]^d."""


class BBOBPool(NamedTuple):
    """One task of the protocol."""

    name: str
    """Such as `bbob/f15-d5-i0`."""
    params: BlackBoxParams
    """Candidates and their values."""
    initial: Int[Array, "S 5"]
    """The initial points of each seed; all seeds have the same pool."""


def bbob_family(
    function: int,
    num_dims: int,
    num_candidates: int = 100,
    *,
    design: str = "uniform",
    horizon: int = 45,
    num_init: int = NUM_INIT,
) -> TaskFamily:
    """Returns the family of the instances of function f1 to f24, each with candidates of its own.

    Values are negated. Instances move the optimum, whose value is 0, and turn the space; a task vector has one entry,
    whose 32 bits make the key of both.

    Raises:
        ValueError: if bbobax is missing, there is no such function, or it is asked for in fewer than 2 dimensions; and
            as `make_design`.
    """
    problem = _problem(function, num_dims)
    candidates = make_design(design, num_candidates, num_dims)

    def sample(key: Array) -> Task:
        key_instance, key_candidates = jax.random.split(key)
        x = candidates(key_candidates)
        y = _objective(problem, x, problem.sample(key_instance))
        kind = jnp.full((num_dims,), NUMERIC, jnp.int32)
        return as_task(pool_params(x, kind, y, horizon=horizon, num_init=num_init))

    return TaskFamily(
        name=f"blackbox/bbob-f{function}-d{num_dims}",
        env=BlackBox(num_candidates, max_horizon=horizon, max_init=num_init),
        sample=sample,
        decode=lambda vector: sample(key_of(vector[0])),
        num_dimensions=1,
        max_lifetime=1,
        max_episode_steps=horizon,
    )


def bbob_pools(
    seeds: Iterable[int],
    *,
    functions: Iterable[int] = range(1, NUM_FUNCTIONS + 1),
    dimensions: Iterable[int] = DIMENSIONS,
    instances: Iterable[int] = (0,),
    num_candidates: int = NUM_CANDIDATES,
    design: str = "sobol",
) -> Iterator[BBOBPool]:
    """Yields the tasks that optimisers are compared on, one after the other; the same ones each time.

    A pool is made of its function, dimension and instance alone; seeds choose the initial points.

    Args:
        seeds: of initial points.
        functions: among 1 to 24.
        dimensions: 2 or more.
        instances: numbers of instances.
        num_candidates: N.
        design: of the candidates.

    Raises:
        ValueError: as `bbob_family`.
    """
    seeds, instances = tuple(seeds), tuple(instances)
    for num_dims in dimensions:
        for function in functions:
            family = bbob_family(function, num_dims, num_candidates, design=design)
            sample = jax.jit(family.sample)
            for instance in instances:
                key = _pool_key(function, num_dims, instance)
                initial = jnp.stack([_initial(jax.random.fold_in(key, seed), num_candidates) for seed in seeds])
                yield BBOBPool(f"bbob/f{function}-d{num_dims}-i{instance}", sample(key).params, initial)


def _pool_key(*numbers: int) -> Array:
    key = jax.random.key(0)
    for number in numbers:
        key = jax.random.fold_in(key, number)
    return key


def _initial(key: Array, num_candidates: int) -> Int[Array, " 5"]:
    return jax.random.permutation(key, num_candidates)[:NUM_INIT].astype(jnp.int32)


def _problem(function: int, num_dims: int) -> Any:
    """Returns bbobax's problem of this number."""
    try:
        import bbobax
    except ImportError as error:
        raise ValueError(MISSING) from error
    if not 1 <= function <= NUM_FUNCTIONS or num_dims < 2:
        raise ValueError(
            f"BBOB was asked for f{function} in {num_dims} dimensions; it has f1 to f{NUM_FUNCTIONS}, in 2 or more"
        )
    return list(bbobax.BBOB_PROBLEMS.values())[function - 1](num_dims=num_dims)


def _objective(problem: Any, x: Float[Array, "N d"], instance: Any) -> Float[Array, " N"]:
    """Returns the negated values at unit coordinates; the key is for noise, of which there is none."""
    key = jax.random.key(0)
    native = HALF_WIDTH * (2.0 * x - 1.0)
    return -jax.vmap(lambda point: problem.evaluate(key, point, instance).fitness)(native)
