"""A learned rule as two files, numbers in `rule.npz` and what they are in `rule.json`; numpy alone can read them."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

SCHEMA = 1
"""Version of the layout of `rule.json`."""
ARRAYS, DESCRIPTION = "rule.npz", "rule.json"
_FIELDS = {"objective": str, "settings": dict, "shapes": dict, "sha256": str, "record": dict}


class LoadedRule(NamedTuple):
    """A rule read from disk."""

    objective: str
    """Registry name of the objective."""
    settings: dict[str, Any]
    """Keyword arguments that rebuild the objective from its name."""
    meta_params: Any
    """Nested dict of float32 numpy arrays; `()` for rules without parameters."""
    record: dict[str, Any]
    """Where the rule comes from, as its maker described it."""


def save_rule(
    directory: str | os.PathLike,
    objective_name: str,
    settings: Mapping[str, Any],
    meta_params: Any,
    record: Mapping[str, Any],
) -> Path:
    """Returns the directory, made if missing, with `rule.npz` and `rule.json` in it; an older rule is replaced.

    Each file is replaced atomically and the description comes last, with the hash of the arrays: an interruption leaves
    the old rule, the new one, or a pair that `load_rule` refuses, never a mixture that loads. Equal input gives equal
    bytes.

    Args:
        directory: where to.
        objective_name: registry name, as in `Objective.name`.
        settings: JSON values, as in `Objective.settings`.
        meta_params: nested dict with string keys and floating-point arrays, saved as float32; or `()`.
        record: JSON values that say where the rule comes from.

    Raises:
        ValueError: if something is not of these kinds.
    """
    directory = Path(directory)
    arrays = _flatten(meta_params)
    if taken := {"file", "allow_pickle"} & arrays.keys():
        raise ValueError(
            f"meta-parameters have {sorted(taken)} at the root, names that numpy keeps for itself; rename them"
        )
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    description = {
        "schema": SCHEMA,
        "objective": objective_name,
        "settings": dict(settings),
        "shapes": {path: list(array.shape) for path, array in arrays.items()},
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "record": dict(record),
    }
    try:
        text = json.dumps(description, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"settings and record of a rule must be JSON values, but {error}") from error
    directory.mkdir(parents=True, exist_ok=True)
    _replace(directory / ARRAYS, buffer.getvalue())
    _replace(directory / DESCRIPTION, text.encode())
    return directory


def load_rule(path: str | os.PathLike) -> LoadedRule:
    """Returns the rule in a directory; `path` is the directory or either of its two files. Nothing in them is executed.

    Raises:
        ValueError: if a file is missing, damaged, of an unknown schema, or the two do not belong together.
    """
    path = Path(path)
    directory = path.parent if path.name in (ARRAYS, DESCRIPTION) else path
    description = _read_description(directory / DESCRIPTION)
    arrays = _read_arrays(directory / ARRAYS, description)
    meta_params = _unflatten(arrays) if arrays else ()
    return LoadedRule(description["objective"], description["settings"], meta_params, description["record"])


def _read_description(path: Path) -> dict[str, Any]:
    content = _read(path)
    try:
        description = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); export the rule again") from error
    if not isinstance(description, dict) or "schema" not in description:
        raise ValueError(
            f"{path} does not describe a rule: it has no field 'schema'; give the directory of an exported rule"
        )
    if description["schema"] != SCHEMA:
        raise ValueError(f"{path} has schema {description['schema']!r}; this version reads schema {SCHEMA}")
    for field, kind in _FIELDS.items():
        if not isinstance(description.get(field), kind):
            raise ValueError(f"{path} lacks a valid field {field!r} ({kind.__name__}); export the rule again")
    return description


def _read_arrays(path: Path, description: dict[str, Any]) -> dict[str, np.ndarray]:
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest != description["sha256"]:
        raise ValueError(
            f"{path} has sha256 {digest}, but {DESCRIPTION} says {description['sha256']}; export the rule again"
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, TypeError, OSError, EOFError, KeyError, BadZipFile) as error:
        raise ValueError(f"{path} is not an archive of plain arrays ({error}); export the rule again") from error
    found = {name: list(array.shape) for name, array in arrays.items() if array.dtype == np.float32}
    if found != description["shapes"]:
        raise ValueError(
            f"{path} holds the float32 arrays {found}, but {DESCRIPTION} lists {description['shapes']}; "
            "export the rule again"
        )
    return arrays


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); give the directory of an exported rule") from error


def _replace(path: Path, content: bytes) -> None:
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
                raise ValueError(f"meta-parameters have the key {name!r}; keys must be non-empty strings without '/'")
            flat |= _flatten(branch, f"{prefix}/{name}" if prefix else name)
        return flat
    array = None if isinstance(tree, list | tuple) else np.asarray(tree)
    # bfloat16 is not a subtype of np.floating; its kind is "V", and casting tells it from records.
    if not prefix or array is None or array.dtype.kind not in "fV" or array.dtype.names is not None:
        raise ValueError(
            f"meta-parameters are {type(tree).__name__} at {prefix or 'the root'!r}; they must be nested dicts of "
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
