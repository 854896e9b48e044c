"""Pools and initial points that optimisers are compared on: decided by a table and a seed, the same for everyone.

A table of XGBoost is a pool as a whole. Of a big table, 1000 rows are drawn. Never put regrets of whole big tables and
of such pools into one table: the best of all rows is far better than that of a thousand.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.blackbox.tables import Table, load_table, padded_rows
from envs.blackbox.task import NUM_INIT, BlackBoxParams, pool_params

BIG_TABLES: tuple[str, ...] = (
    "hpobench/credit_g",
    "hpobench/kc1",
    "hpolib/parkinsons_telemonitoring",
    "hpolib/protein_structure",
    "nasbench201/cifar100",
    "nasbench201/imagenet",
)
"""Big tables that the protocol has, in the order of their numbers."""
FIRST_BIG = 100
"""Number of the first of them; a table of XGBoost has its own."""
POOL_SIZE = 1000
"""Rows drawn from a big table."""


class ProtocolPools(NamedTuple):
    """K pools of one size, and where their optimisation begins."""

    cases: tuple[tuple[str, int], ...]
    """(table, seed) of each."""
    params: Any
    """The pools, `BlackBoxParams` with a leading axis K; smaller ones are padded."""
    initial: Int[Array, "K I"]
    """The initial points, as rows of the pool; for `BlackBox.reset_at`."""


def protocol_pools(
    cases: Sequence[tuple[str, int]],
    *,
    horizon: int = 45,
    num_candidates: int = POOL_SIZE,
) -> ProtocolPools:
    """Returns the pools of some tables and seeds.

    Args:
        cases: (table, seed) of each pool.
        horizon: T, evaluations after the initial ones.
        num_candidates: N that pools are padded to.

    Raises:
        ValueError: if the protocol has no such table, or there are no cases.
    """
    if not cases:
        raise ValueError("protocol_pools was given no cases; it needs at least one (table, seed)")
    pools, initial = [], []
    for name, seed in cases:
        table = load_table(name)
        rows, first = protocol_rows(table, seed)
        pools.append(padded_rows(table, rows=rows, num_candidates=num_candidates))
        initial.append(first)
    x, kind, y, is_valid = (jnp.asarray(np.stack(leaves)) for leaves in zip(*pools, strict=True))
    params = _batch(x, kind, y, is_valid, jnp.int32(horizon))
    return ProtocolPools(tuple(cases), params, jnp.asarray(np.stack(initial), jnp.int32))


def protocol_rows(table: Table, seed: int) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " I"]]:
    """Returns the rows of a table that make the pool, and the initial points as indices into these.

    Raises:
        ValueError: if the protocol has no such table.
    """
    group, _, member = table.name.partition("/")
    if group == "xgb":
        law = np.random.RandomState(1000 * int(member) + seed)
        return np.arange(len(table.y)), law.choice(len(table.y), NUM_INIT, replace=False)
    if table.name not in BIG_TABLES:
        raise ValueError(f"the protocol has no {table.name}; its tables are those of xgb and {', '.join(BIG_TABLES)}")
    law = np.random.RandomState(1000 * (FIRST_BIG + BIG_TABLES.index(table.name)) + seed)
    return law.choice(len(table.y), POOL_SIZE, replace=False), np.arange(NUM_INIT)


@jax.jit
def _batch(
    x: Float[Array, "K N D"],
    kind: Int[Array, "K D"],
    y: Float[Array, "K N"],
    is_valid: Bool[Array, "K N"],
    horizon: Int[Array, ""],
) -> BlackBoxParams:
    def one(x: Array, kind: Array, y: Array, is_valid: Array) -> BlackBoxParams:
        return pool_params(x, kind, y, is_valid=is_valid, horizon=horizon)

    return jax.vmap(one)(x, kind, y, is_valid)
