"""Suites of real programs: each is a handful of tables, evaluated on this machine once and kept."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.blackbox.built import BuiltTable
from envs.blackbox.task import NUM_INIT, BlackBoxParams, pool_params

NUM_CONFIGS = 300
"""Configurations of a table."""
SEED = 0
"""Of the configurations drawn."""
CIRCUITS = (("adder", 16), ("multiplier", 8), ("sorter", 16))
"""Circuits that ABC makes itself."""
INSTANCES = (6, 7, 8, 10, 12)
"""Seeds of integer programs whose parameters matter; with many others all configurations cost the same."""

Built = list[tuple[str, BuiltTable]]
Track = Callable[[Sequence[Any]], Iterable[Any]]
"""Shows how far one is in a sequence."""


def sklearn_tables(num_configs: int = NUM_CONFIGS, track: Track = iter) -> Built:
    """Returns the accuracy of 4 kinds of classifiers on 4 data sets; 15 CPU-minutes for 1000 configurations each.

    Raises:
        ValueError: if scikit-learn is missing.
    """
    from envs.blackbox.live_sklearn import NAMES, build

    return [(f"sklearn/{name}", build(name, num_configs=num_configs, seed=SEED, track=track)) for name in NAMES]


def abc_tables(num_configs: int = NUM_CONFIGS, track: Track = iter) -> Built:
    """Returns the quality of flows of logic synthesis for circuits that ABC makes itself.

    Raises:
        ValueError: if ABC is missing.
    """
    from envs.blackbox.logic_synthesis import build, generate_circuit

    names = [f"logic/{kind}{size}" for kind, size in CIRCUITS]
    return [
        (name, build(generate_circuit(*circuit), num_flows=num_configs, seed=SEED, track=track))
        for name, circuit in zip(names, CIRCUITS, strict=True)
    ]


def scip_tables(num_configs: int = NUM_CONFIGS, track: Track = iter) -> Built:
    """Returns the effort of SCIP on set-cover problems by its parameters.

    Raises:
        ValueError: if pyscipopt is missing.
    """
    from envs.blackbox.mip import build, set_cover

    return [
        (f"scip/{seed}", build(set_cover(seed), num_configs=num_configs, seed=SEED, track=track)) for seed in INSTANCES
    ]


def built_pools(tables: Built, *, horizon: int, num_seeds: int) -> tuple[tuple[str, ...], BlackBoxParams, Any]:
    """Returns (task of each pool, pools [K], initial points [K, I]) of tables, with seeds for starts."""
    initial = [
        np.random.default_rng((number, seed)).choice(len(table.y), NUM_INIT, replace=False)
        for number, (_, table) in enumerate(tables)
        for seed in range(num_seeds)
    ]
    return *stacked_pools(tables, horizon=horizon, num_seeds=num_seeds), jnp.asarray(np.stack(initial), jnp.int32)


def stacked_pools(tables: Built, *, horizon: int, num_seeds: int) -> tuple[tuple[str, ...], BlackBoxParams]:
    """Returns (task of each pool, pools [K]) of tables, each `num_seeds` times, padded to the largest."""
    size = max(len(table.y) for _, table in tables)
    tasks, pools = [], []
    for name, table in tables:
        missing = size - len(table.y)
        pool = pool_params(
            jnp.asarray(np.pad(table.x, ((0, missing), (0, 0)))),
            jnp.asarray(table.kind),
            jnp.asarray(np.pad(table.y, (0, missing))),
            is_valid=jnp.arange(size) < len(table.y),
            horizon=horizon,
        )
        tasks += [name] * num_seeds
        pools += [pool] * num_seeds
    return tuple(tasks), jax.tree.map(lambda *leaves: jnp.stack(leaves), *pools)


LIVE: dict[str, Callable[[int, Track], Built]] = {"sklearn": sklearn_tables, "abc": abc_tables, "scip": scip_tables}
"""Tables by suite."""
