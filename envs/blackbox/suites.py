"""What optimisers are compared on: pools, initial points and the names of what they are of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from envs.blackbox.live_suites import LIVE, NUM_CONFIGS, Track, built_pools
from envs.blackbox.protocol import BIG_TABLES, protocol_pools
from envs.blackbox.task import NUM_INIT, UNUSED
from envs.naming import check_name

XGB_TEST = tuple(f"xgb/{i}" for i in range(34, 47))
"""Tables of XGBoost to test on; the last of the split, which is shorter, is left out of published comparisons."""


XGB_VALID = tuple(f"xgb/{i}" for i in range(20, 34))
"""Tables of XGBoost of the split for validation."""
NUM_ANALYTIC = 500
"""Candidates of a pool of an analytic function, uniform in the box."""


class Suite(NamedTuple):
    """K pools of one size."""

    name: str
    """What it is called."""
    tasks: tuple[str, ...]
    """Table or function of each pool; seeds of one share it."""
    params: Any
    """The pools, `BlackBoxParams` with a leading axis K."""
    initial: Int[Array, "K I"]
    """Where optimisation begins."""


def make_suite(name: str, *, horizon: int = 45, num_seeds: int = 5, track: Track = iter) -> Suite:
    """Returns a suite; none of its tasks can be trained on, but functions of the law of `analytic` can.

    | name | pools |
    |---|---|
    | `xgb` | 13 tables of XGBoost of the test split, whole |
    | `xgb-valid` | the 14 tables of XGBoost of the split for validation, which may have chosen a model's parameters |
    | `hpo-tables` | 1000 rows of each of 6 big tables: 3 of the test split and 3 of that for validation |
    | `bbob` | 24 functions in 2, 3 and 5 dimensions (extra `metabo-real`) |
    | `analytic` | Branin, Goldstein-Price, Hartmann and Ackley in 2 to 10 dimensions, moved and scaled at random |
    | `sklearn` | 300 configurations of 4 classifiers on 4 data sets, evaluated here (extra `metabo-real`) |
    | `abc` | 300 flows of logic synthesis for 3 circuits, evaluated here by `berkeley-abc` |
    | `scip` | 300 configurations of SCIP on 5 integer programs, evaluated here (extra `metabo-real`) |

    Args:
        name: as above.
        horizon: T, evaluations after the initial ones.
        num_seeds: pools, or starts, for each task.
        track: shows how far real programs are.

    Raises:
        ValueError: if the name is unknown, or a package is missing.
    """
    check_name(name, (*SUITES, *LIVE), "suite")
    if name in LIVE:
        tables = LIVE[name](NUM_CONFIGS, track)
        return Suite(name, *built_pools(tables, horizon=horizon, num_seeds=num_seeds))
    return SUITES[name](name, horizon, num_seeds)


def narrow(params: Any) -> Any:
    """Returns the pools, `BlackBoxParams` [K], without the last dimensions if no pool uses them.

    Optimisers whose work grows with dimensions need not carry those that others leave room for.
    """
    is_used = np.any(np.asarray(params.kind) != UNUSED, axis=0)
    width = int(np.max(np.flatnonzero(is_used), initial=0)) + 1
    return params.replace(x=params.x[..., :width], kind=params.kind[:, :width])


def _tables(tables: tuple[str, ...]) -> Callable[[str, int, int], Suite]:
    def make(name: str, horizon: int, num_seeds: int) -> Suite:
        cases = [(table, seed) for table in tables for seed in range(num_seeds)]
        pools = protocol_pools(cases, horizon=horizon)
        return Suite(name, tuple(table for table, _ in cases), pools.params, pools.initial)

    return make


def _bbob(name: str, horizon: int, num_seeds: int) -> Suite:
    from envs.blackbox.bbob import bbob_pools

    pools = list(bbob_pools(range(num_seeds)))
    tasks = tuple(pool.name for pool in pools for _ in range(num_seeds))
    params = jax.tree.map(lambda *leaves: jnp.repeat(jnp.stack(leaves), num_seeds, axis=0), *(p.params for p in pools))
    horizons = jnp.full((len(tasks),), horizon, jnp.int32)
    return Suite(name, tasks, params.replace(horizon=horizons), jnp.concatenate([pool.initial for pool in pools]))


def _analytic(name: str, horizon: int, num_seeds: int) -> Suite:
    from envs.blackbox.analytic import FUNCTIONS, analytic_family

    pools = []
    for index, function in enumerate(FUNCTIONS):
        family = analytic_family(function, num_candidates=NUM_ANALYTIC, horizon=horizon)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), index), num_seeds)
        pools.append(jax.vmap(family.sample)(keys).params)
    tasks = tuple(function for function in FUNCTIONS for _ in range(num_seeds))
    first = jnp.broadcast_to(jnp.arange(NUM_INIT, dtype=jnp.int32), (len(tasks), NUM_INIT))  # candidates are random
    return Suite(name, tasks, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *pools), first)


SUITES: dict[str, Callable[[str, int, int], Suite]] = {
    "xgb": _tables(XGB_TEST),
    "xgb-valid": _tables(XGB_VALID),
    "hpo-tables": _tables(BIG_TABLES),
    "bbob": _bbob,
    "analytic": _analytic,
}
"""Suites by name; those of real programs are in `LIVE`."""
