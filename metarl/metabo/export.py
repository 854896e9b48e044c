"""A trained neural acquisition process as two files, `nap.npz` and `nap.json`, and back to its functions."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from metarl.exported import load_arrays, save_arrays
from metarl.metabo.acquisitions import HEADS
from metarl.metabo.nap import NAP, make_nap

STEM = "nap"
DESCRIPTION = f"{STEM}.json"
DEFAULT = "nap"
"""Name in the zoo of the model that is used where none is named."""


@dataclass(frozen=True, eq=False)  # jit hashes what it compiles
class TrainedNAP:
    """A model that was trained, and the record of it."""

    settings: dict[str, Any]
    """Arguments of `make_nap`."""
    params: Any
    """Its weights, float32 numpy arrays."""
    record: dict[str, Any]
    """Where it comes from, as its maker described it."""
    nap: NAP
    """Its functions."""
    digest: str
    """Hash of the weights."""

    @property
    def head(self) -> str:
        """Which of `metarl.metabo.acquisitions.HEADS` scores candidates."""
        return self.record["head"]


def save_nap(directory: str | os.PathLike, settings: Mapping[str, Any], params: Any, record: Mapping[str, Any]) -> Path:
    """Returns the directory with the model in it, written as by `metarl.exported.save_arrays`.

    Args:
        directory: where to.
        settings: arguments of `make_nap`; types are named, such as `"bfloat16"`.
        params: its parameters.
        record: JSON values; `head` says which of `HEADS` scores candidates.

    Raises:
        ValueError: if the parameters do not fit the settings, the record names no head, or something is no JSON value.
    """
    _check_head(record)
    _check_shapes(make_nap(**settings), params, "to be saved")
    return save_arrays(directory, STEM, {"settings": dict(settings), "record": dict(record)}, params)


def load_nap(path: str | os.PathLike) -> TrainedNAP:
    """Returns the model in a directory, or beside either of its two files. Nothing in them is executed.

    Raises:
        ValueError: if a file is missing, damaged, of an unknown schema, or the two do not belong together.
    """
    description, params = load_arrays(path, STEM, {"settings": dict, "record": dict})
    settings, record = description["settings"], description["record"]
    _check_head(record)
    try:
        nap = make_nap(**settings)
    except TypeError as error:
        raise ValueError(f"the model in {path} has settings that no model takes ({error}); export it again") from error
    _check_shapes(nap, params, f"in {path}")
    return TrainedNAP(settings, params, record, nap, description["sha256"])


def find_nap(checkpoint: str | os.PathLike | TrainedNAP | None = None) -> TrainedNAP:
    """Returns the model at a path or of a run, or of a name in the zoo; None: the one that ships as `nap`.

    A model is read once, so that whoever uses it shares what has been compiled for it.

    Raises:
        ValueError: if there is none, or it can only be examined.
    """
    if isinstance(checkpoint, TrainedNAP):
        return _checked(checkpoint)
    path = Path(DEFAULT if checkpoint is None else checkpoint)
    if checkpoint is None or not path.exists():
        from metarl import zoo

        if str(path) not in zoo.nap_names():
            there = ", ".join(zoo.nap_names()) or "none"
            raise ValueError(
                f"{str(path)!r} is neither a path nor a model of the zoo (there: {there}); give the path of one"
            )
        path = zoo.directory_of(str(path))
    path = (path if path.is_dir() else path.parent).resolve()
    if (path / "export" / DESCRIPTION).is_file():
        path = path / "export"
    description = path / DESCRIPTION
    return _checked(_load_once(str(path), description.stat().st_mtime_ns if description.exists() else 0))


def _checked(trained: TrainedNAP) -> TrainedNAP:
    """Returns the model, if it can optimise something whose best value is not known."""
    if not trained.nap.standardises:
        needs = {"range": "the best and the worst value in advance", "raw": "values in the units of its training"}
        raise ValueError(
            f"the model sees values as {trained.nap.values}: it needs {needs[trained.nap.values]}, which nobody has; "
            "examine it with 'metarl evaluate', or give one trained with model.values = standardised"
        )
    return trained


@functools.lru_cache(maxsize=8)
def _load_once(path: str, changed: int) -> TrainedNAP:
    """Returns the model in a directory whose description was changed at this time."""
    return load_nap(path)


def _check_head(record: Mapping[str, Any]) -> None:
    if record.get("head") not in HEADS:
        raise ValueError(f"the record says head={record.get('head')!r}; it must be one of {', '.join(HEADS)}")


def _check_shapes(nap: NAP, params: Any, where: str) -> None:
    needed = jax.tree.map(lambda leaf: leaf.shape, jax.eval_shape(nap.init, jax.random.key(0)))
    found = jax.tree.map(lambda leaf: leaf.shape, params)
    if needed != found:
        raise ValueError(f"the arrays of the model {where} do not fit its settings; export the model again")
