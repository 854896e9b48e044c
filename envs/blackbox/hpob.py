"""HPO-B, the benchmark of tabulated hyper-parameter optimisation, from a folder that the user has: it is not shipped.

The files are hundreds of megabytes of JSON. They are read once, one space at a time, and kept as npz in the user's
cache; after that only the space that is asked for is read.

Source: Pineda Arango et al. 2021, HPO-B; files of the repository `machinelearningnuremberg/HPO-B`, version 3.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from envs.blackbox.built import BuiltTable
from envs.blackbox.evaluation_cache import cache_directory, content_hash
from envs.blackbox.task import NUMERIC

SPLITS = ("train", "validation", "test")
"""Parts of the benchmark; a data set of a space is in one of them."""
INITIALISATIONS = "bo-initializations.json"
"""The file of initial points."""
SEEDS = ("test0", "test1", "test2", "test3", "test4")
"""Names of the five sets of initial points."""
_INDEX = "index.json"


class HPOB(NamedTuple):
    """The benchmark, opened."""

    directory: Path
    """Where it is cached: `<split>/<space>.npz`."""
    datasets: dict[str, dict[str, list[str]]]
    """{split: {space: names of its data sets}}."""
    initial: dict[str, dict[str, dict[str, list[int]]]]
    """{space: {dataset: {seed: indices of initial points}}}."""


def open_hpob(folder: str | os.PathLike) -> HPOB:
    """Returns the benchmark of a folder, parsed if it has not been since the files were last changed.

    Raises:
        ValueError: if one of the four files is missing, or is not what HPO-B has.
    """
    files = _files(Path(folder))
    stamps = [f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files.values()]
    directory = cache_directory() / "hpob" / content_hash(*stamps)[:16]
    if not (directory / _INDEX).exists():
        datasets = {split: _cache_split(files[split], directory / split) for split in SPLITS}
        _write_text(directory / _INDEX, json.dumps(datasets))  # last, so that what was interrupted is done again
    datasets = json.loads((directory / _INDEX).read_text())
    return HPOB(directory, datasets, json.loads(files["initial"].read_text()))


def hpob_task(benchmark: HPOB, space: str, dataset: str) -> BuiltTable:
    """Returns the table of a data set, whichever split it is in; y is the accuracy as published, not normalised.

    All dimensions count as numbers: HPO-B has turned categories into indicators.

    Raises:
        ValueError: if there is none of these names.
    """
    split = _split(benchmark, space, dataset)
    with np.load(benchmark.directory / split / f"{space}.npz", allow_pickle=False) as arrays:
        x, y = arrays[f"{dataset}__x"], arrays[f"{dataset}__y"]
    num_dimensions = x.shape[1]
    return BuiltTable(
        x=x,
        kind=np.full(num_dimensions, NUMERIC, np.int32),
        num_categories=np.zeros(num_dimensions, np.int32),
        y=y,
        names=tuple(f"x{place}" for place in range(num_dimensions)),
    )


def initial_points(benchmark: HPOB, space: str, dataset: str, seed: str) -> Int32[np.ndarray, " I"]:
    """Returns the candidates that the protocol evaluates first, five of them; seeds are `test0` to `test4`.

    Raises:
        ValueError: if the benchmark gives none for these names.
    """
    given = benchmark.initial.get(space, {}).get(dataset, {})
    if seed not in given:
        raise ValueError(f"HPO-B has no initial points {space}/{dataset}/{seed}; it has the seeds {sorted(given)}")
    return np.array(given[seed], np.int32)


def _files(folder: Path) -> dict[str, Path]:
    """Returns {split or "initial": file}; of the two files for training the augmented one is second choice."""
    train = folder / "meta-train-dataset.json"
    if not train.exists() and (folder / "meta-train-dataset-augmented.json").exists():
        train = folder / "meta-train-dataset-augmented.json"
    files = {
        "train": train,
        "validation": folder / "meta-validation-dataset.json",
        "test": folder / "meta-test-dataset.json",
        "initial": folder / INITIALISATIONS,
    }
    if missing := [path.name for path in files.values() if not path.is_file()]:
        raise ValueError(
            "HPO-B needs meta-train-dataset.json (or meta-train-dataset-augmented.json), meta-validation-dataset.json, "
            f"meta-test-dataset.json and {INITIALISATIONS} in one folder; {folder} lacks {', '.join(missing)}"
        )
    return files


def _split(benchmark: HPOB, space: str, dataset: str) -> str:
    for split, spaces in benchmark.datasets.items():
        if dataset in spaces.get(space, ()):
            return split
    spaces = sorted({space for spaces in benchmark.datasets.values() for space in spaces})
    raise ValueError(f"HPO-B has no task {space}/{dataset}; its spaces are {', '.join(spaces)}")


def _cache_split(file: Path, directory: Path) -> dict[str, list[str]]:
    """Returns {space: names of data sets} of one file, after writing an npz per space."""
    directory.mkdir(parents=True, exist_ok=True)
    found = {}
    for space, datasets in _members(file.read_text(), file.name):
        arrays = {}
        for name, table in datasets.items():
            arrays[f"{name}__x"] = np.asarray(table["X"], np.float32)
            arrays[f"{name}__y"] = np.asarray(table["y"], np.float32).reshape(-1)
        _write_npz(directory / f"{space}.npz", arrays)
        found[space] = list(datasets)
    return found


def _members(text: str, name: str) -> Iterator[tuple[str, Any]]:
    """Yields the members of a JSON object one at a time, so that only one is in memory as Python objects."""
    decoder = json.JSONDecoder()
    place = _skip(text, 0)
    if text[place : place + 1] != "{":
        raise ValueError(f"{name} holds no JSON object; it is not a file of HPO-B")
    place = _skip(text, place + 1)
    try:
        while text[place] != "}":
            key, place = decoder.raw_decode(text, place)
            value, place = decoder.raw_decode(text, _skip(text, _skip(text, place) + 1))  # after the colon
            yield key, value
            place = _skip(text, place)
            place = _skip(text, place + 1) if text[place] == "," else place
    except (IndexError, json.JSONDecodeError) as error:
        raise ValueError(f"{name} ends too early or is damaged near character {place}; fetch it again") from error


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes the arrays so that no other process ever sees half a file."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)


def _write_text(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    os.replace(temporary, path)
