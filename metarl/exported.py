"""Learned things as two files: numbers in `<stem>.npz` and what they are in `<stem>.json`. Numpy alone reads them."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

SCHEMA = 1
"""Version of the layout of the descriptions."""


def save_arrays(directory: str | os.PathLike, stem: str, description: Mapping[str, Any], tree: Any) -> Path:
    """Returns the directory, made if missing, with `<stem>.npz` and `<stem>.json` in it; older ones are replaced.

    Each file is replaced atomically and the description comes last, with the hash of the arrays: an interruption leaves
    the old pair, the new one, or a pair that `load_arrays` refuses, never a mixture that loads. Equal input gives equal
    bytes.

    Args:
        directory: where to.
        stem: what it is, such as `rule` or `model`.
        description: JSON values.
        tree: nested dict with string keys and floating-point arrays, saved as float32; or `()`.

    Raises:
        ValueError: if something is not of these kinds.
    """
    directory = Path(directory)
    arrays = _flatten(tree)
    if taken := {"file", "allow_pickle"} & arrays.keys():
        raise ValueError(
            f"arrays are called {sorted(taken)} at the root, names that numpy keeps for itself; rename them"
        )
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    content = {
        "schema": SCHEMA,
        **description,
        "shapes": {path: list(array.shape) for path, array in arrays.items()},
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    try:
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings and record of a {stem} must be JSON values, but {error}") from error
    directory.mkdir(parents=True, exist_ok=True)
    replace_file(directory / f"{stem}.npz", buffer.getvalue())
    replace_file(directory / f"{stem}.json", text.encode())
    return directory


def load_arrays(path: str | os.PathLike, stem: str, fields: Mapping[str, type]) -> tuple[dict[str, Any], Any]:
    """Returns `(description, tree)` of the pair in a directory; nothing in it is executed.

    Args:
        path: the directory or either of the two files.
        stem: what it is, such as `rule` or `model`.
        fields: fields that the description must have, and their types.

    Raises:
        ValueError: if a file is missing, damaged, of an unknown schema, or the two do not belong together.
    """
    path = Path(path)
    directory = path.parent if path.name in (f"{stem}.npz", f"{stem}.json") else path
    description = _read_description(directory / f"{stem}.json", stem, {**fields, "shapes": dict, "sha256": str})
    arrays = _read_arrays(directory / f"{stem}.npz", stem, description)
    return description, _unflatten(arrays) if arrays else ()


def _read_description(path: Path, stem: str, fields: Mapping[str, type]) -> dict[str, Any]:
    content = _read(path, stem)
    try:
        description = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); export the {stem} again") from error
    if not isinstance(description, dict) or "schema" not in description:
        raise ValueError(
            f"{path} does not describe a {stem}: it has no field 'schema'; give the directory of an exported one"
        )
    if description["schema"] != SCHEMA:
        raise ValueError(f"{path} has schema {description['schema']!r}; this version reads schema {SCHEMA}")
    for field, kind in fields.items():
        if not isinstance(description.get(field), kind):
            raise ValueError(f"{path} lacks a valid field {field!r} ({kind.__name__}); export the {stem} again")
    return description


def _read_arrays(path: Path, stem: str, description: dict[str, Any]) -> dict[str, np.ndarray]:
    content = _read(path, stem)
    digest = hashlib.sha256(content).hexdigest()
    if digest != description["sha256"]:
        raise ValueError(
            f"{path} has sha256 {digest}, but {stem}.json says {description['sha256']}; export the {stem} again"
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, OSError, EOFError, KeyError, BadZipFile) as error:
        raise ValueError(f"{path} is not an archive of plain arrays ({error}); export the {stem} again") from error
    found = {name: list(array.shape) for name, array in arrays.items() if array.dtype == np.float32}
    if found != description["shapes"]:
        raise ValueError(
            f"{path} holds the float32 arrays {found}, but {stem}.json lists {description['shapes']}; "
            f"export the {stem} again"
        )
    return arrays


def _read(path: Path, stem: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); give the directory of an exported {stem}"
        ) from error


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file so that at any moment it holds either what it held before or all of the content."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _flatten(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Returns `{"a/b/c": float32 array}` of a nested dict."""
    if not prefix and isinstance(tree, tuple) and not tree:
        return {}
    if isinstance(tree, Mapping):
        flat = {}
        for name, branch in tree.items():
            if not isinstance(name, str) or "/" in name or not name:
                raise ValueError(f"arrays have the key {name!r}; keys must be non-empty strings without '/'")
            flat |= _flatten(branch, f"{prefix}/{name}" if prefix else name)
        return flat
    array = None if isinstance(tree, list | tuple) else np.asarray(tree)
    # bfloat16 is not a subtype of np.floating; its kind is "V", and casting tells it from records.
    if not prefix or array is None or array.dtype.kind not in "fV" or array.dtype.names is not None:
        raise ValueError(
            f"arrays are {type(tree).__name__} at {prefix or 'the root'!r}; they must be nested dicts of "
            "floating-point arrays"
        )
    return {prefix: array.astype(np.float32)}


def _unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, array in flat.items():
        *parents, leaf = path.split("/")
        branch = tree
        for name in parents:
            branch = branch.setdefault(name, {})
        branch[leaf] = array
    return tree
