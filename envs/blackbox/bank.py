"""Families of pools drawn, on the device, from tables of the training split and from draws of processes fitted to them.

`sample` and `decode` of these families are callables with arrays, `jax.tree_util.Partial`: given to a jitted function
as arguments they keep the bank out of the compiled program; called from within one they are constants of it.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from envs.blackbox.environment import BlackBox
from envs.blackbox.posterior import NUM_SOURCES, cached_draws, standardised
from envs.blackbox.splits import TRAIN, training_table
from envs.blackbox.task import MAX_DIMENSIONS, NUM_INIT, NUMERIC, as_task, pool_params
from envs.family import Task, TaskFamily

MAX_WARP = 0.7
"""Numbers u become u**p with log p uniform between minus and plus this."""
REAL_TABLES: tuple[str, ...] = tuple(name for name in TRAIN if not name.startswith("xgb/"))
"""Training tables that no process was fitted to."""


class PoolBank(NamedTuple):
    """S tables of N configurations in D dimensions, each with M objectives."""

    x: Float[Array, "S N D"]
    """Configurations, encoded as pools are; unused dimensions behind a table's own."""
    kind: Int[Array, "S D"]
    """What each dimension holds."""
    y: Float[Array, "S M N"]
    """Objectives, maximised; the first is what was measured."""


class PoolLaw(NamedTuple):
    """How pools are made of a bank: numbers that shapes depend on."""

    num_candidates: int
    """N of a pool."""
    warped: tuple[int, ...]
    """Dimensions that are warped where they hold numbers."""
    horizon: int
    """T, evaluations after the initial ones."""
    num_init: int
    """Initial evaluations."""


def posterior_bank(num_draws: int = 49, *, seed: int = 0, directory: Path | None = None) -> PoolBank:
    """Returns the training tables of XGBoost with what was measured and draws of the processes fitted to them.

    Objectives are standardised in each table. Takes seconds the first time and is read from the user's cache later.

    Args:
        num_draws: draws per table, M - 1.
        seed: decides them.
        directory: of the cache; the user's own by default.
    """
    tables = [training_table(f"xgb/{i}") for i in range(NUM_SOURCES)]
    measured = np.stack([standardised(i) for i in range(NUM_SOURCES)]).astype(np.float32)
    y = np.concatenate([measured[:, None], cached_draws(num_draws, seed=seed, directory=directory)], axis=1)
    return PoolBank(
        x=jnp.asarray(np.stack([table.x for table in tables])),
        kind=jnp.asarray(np.stack([table.kind for table in tables])),
        y=jnp.asarray(y),
    )


def table_bank(names: Sequence[str] = REAL_TABLES, *, num_rows: int = 8000, seed: int = 0) -> PoolBank:
    """Returns some rows of training tables in random order, padded to the dimensions of the widest; M is 1.

    Args:
        names: tables of the training split.
        num_rows: N, rows drawn from each without replacement.
        seed: decides which.

    Raises:
        ValueError: if a table is not for training or has fewer rows.
    """
    tables = [training_table(name) for name in names]
    width = max((table.x.shape[1] for table in tables), default=0)
    if not tables or num_rows > min(len(table.y) for table in tables):
        raise ValueError(f"{num_rows} rows were asked of each of the tables {list(names)}; not all have as many")
    rows = [np.random.default_rng((seed, i)).permutation(len(t.y))[:num_rows] for i, t in enumerate(tables)]
    missing = [width - table.x.shape[1] for table in tables]
    return PoolBank(
        x=jnp.asarray(
            np.stack([np.pad(t.x[r], ((0, 0), (0, m))) for t, r, m in zip(tables, rows, missing, strict=True)])
        ),
        kind=jnp.asarray(np.stack([np.pad(t.kind, (0, m)) for t, m in zip(tables, missing, strict=True)])),
        y=jnp.asarray(np.stack([t.y[r][None] for t, r in zip(tables, rows, strict=True)])),
    )


def bank_family(
    bank: PoolBank,
    num_candidates: int = 100,
    *,
    name: str = "blackbox/bank",
    horizon: int = 45,
    num_init: int = NUM_INIT,
    env: BlackBox | None = None,
) -> TaskFamily:
    """Returns the family of pools drawn from a bank.

    `sample` draws a table, one of its objectives, different rows (`random_rows`), and a monotone warp `u**p`,
    p = exp(U(-0.7, 0.7)), of each dimension that holds numbers. `decode` takes the quantiles of the table, the
    objective (if there are several) and log p (if anything is warped); its rows depend on table and objective only, so
    that a vector is one task.

    Args:
        bank: `posterior_bank()` or `table_bank()`.
        num_candidates: N of the pools.
        name: of the family.
        horizon: T, evaluations after the initial ones.
        num_init: initial evaluations.
        env: shared with other families of pools of this size; a new one by default.

    Raises:
        ValueError: if the bank has fewer rows than a pool, or the environment another size.
    """
    if not 1 <= num_candidates <= bank.x.shape[1]:
        raise ValueError(f"pools of {num_candidates} candidates were asked of a bank of {bank.x.shape[1]} rows")
    env = BlackBox(num_candidates, max_horizon=horizon, max_init=num_init) if env is None else env
    if env.num_candidates != num_candidates or env.max_init < num_init or env.max_horizon < horizon:
        raise ValueError(
            f"an environment of {env.num_candidates} candidates, {env.max_init} initial points and a horizon of "
            f"{env.max_horizon} cannot hold pools of {num_candidates}, {num_init} and {horizon}"
        )
    columns = np.flatnonzero((np.asarray(bank.kind) == NUMERIC).any(axis=0))
    law = PoolLaw(num_candidates, tuple(columns.tolist()), horizon, num_init)
    low, high = _bounds(bank, law)
    return TaskFamily(
        name=name,
        env=env,
        sample=Partial(partial(_sample, law), bank),
        decode=Partial(partial(_decode, law), bank),
        num_dimensions=len(low),
        max_lifetime=1,
        max_episode_steps=horizon,
        low=low,
        high=high,
    )


def random_rows(key: Array, num_rows: int, size: int) -> Int[Array, " n"]:
    """Returns `size` different rows, one from each of as many equal stretches of a circle of rows; consumes the key.

    Every row is equally likely. Where rows are in random order this is as good as drawing without replacement, and it
    needs no sorting, which for a thousand rows costs more than all the rest of a task.
    """
    key_rows, key_start = jax.random.split(key)
    ends = np.arange(size + 1, dtype=np.int64) * num_rows // size
    widths = jnp.asarray(np.diff(ends), jnp.int32)
    places = (jax.random.uniform(key_rows, (size,)) * widths.astype(jnp.float32)).astype(jnp.int32)
    start = jax.random.randint(key_start, (), 0, num_rows)
    return (start + jnp.asarray(ends[:-1], jnp.int32) + jnp.minimum(places, widths - 1)) % num_rows


def _bounds(bank: PoolBank, law: PoolLaw) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, " V"]]:
    """Returns what the quantiles 0 and 1 of a vector stand for: table, objective, logarithms of exponents."""
    num_tables, num_objectives = bank.y.shape[:2]
    counts = [num_tables] + [num_objectives] * (num_objectives > 1)
    warps = [MAX_WARP] * len(law.warped)
    low = np.array([0.0] * len(counts) + [-warp for warp in warps], np.float32)
    return low, np.array([*counts, *warps], np.float32)


def _sample(law: PoolLaw, bank: PoolBank, key: Array) -> Task:
    """Returns a random task; consumes the key."""
    key_vector, key_rows = jax.random.split(key)
    table, objective, powers = _parts(law, bank, jax.random.uniform(key_vector, (len(_bounds(bank, law)[0]),)))
    return _task(law, bank, table, objective, powers, key_rows)


def _decode(law: PoolLaw, bank: PoolBank, vector: Float[Array, " V"]) -> Task:
    """Returns the task of a vector of quantiles."""
    table, objective, powers = _parts(law, bank, vector)
    key_rows = jax.random.fold_in(jax.random.key(0), table * bank.y.shape[1] + objective)
    return _task(law, bank, table, objective, powers, key_rows)


def _parts(
    law: PoolLaw, bank: PoolBank, vector: Float[Array, " V"]
) -> tuple[Int[Array, ""], Int[Array, ""], Float[Array, " D"]]:
    """Returns (table, objective, exponent of each dimension) of quantiles."""
    num_tables, num_objectives = bank.y.shape[:2]
    has_choice = num_objectives > 1
    objective = _place(vector[1], num_objectives) if has_choice else jnp.int32(0)
    warps = MAX_WARP * (2.0 * jnp.clip(vector[1 + has_choice :], 0.0, 1.0) - 1.0)
    powers = jnp.ones((bank.x.shape[2],), jnp.float32).at[jnp.array(law.warped, jnp.int32)].set(jnp.exp(warps))
    return _place(vector[0], num_tables), objective, powers


def _place(quantile: Float[Array, ""], count: int) -> Int[Array, ""]:
    return jnp.clip((quantile * count).astype(jnp.int32), 0, count - 1)


def _task(
    law: PoolLaw,
    bank: PoolBank,
    table: Int[Array, ""],
    objective: Int[Array, ""],
    powers: Float[Array, " D"],
    key_rows: Array,
) -> Task:
    """Returns a pool of random rows; these are chosen before anything is gathered, for a whole table is large."""
    rows = random_rows(key_rows, bank.x.shape[1], law.num_candidates)
    x, kind = bank.x[table, rows], bank.kind[table]
    warped = jnp.where(kind[None] == NUMERIC, x ** powers[None], x)
    params = pool_params(
        warped,
        kind,
        bank.y[table, objective, rows],
        horizon=law.horizon,
        num_init=law.num_init,
        max_dimensions=max(MAX_DIMENSIONS, bank.x.shape[2]),
    )
    return as_task(params)
