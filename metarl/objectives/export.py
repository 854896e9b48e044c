"""A learned rule as two files, numbers in `rule.npz` and what they are in `rule.json`; numpy alone can read them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metarl.exported import load_arrays, save_arrays

STEM = "rule"
ARRAYS, DESCRIPTION = f"{STEM}.npz", f"{STEM}.json"


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

    Files are written as by `metarl.exported.save_arrays`.

    Args:
        directory: where to.
        objective_name: registry name, as in `Objective.name`.
        settings: JSON values, as in `Objective.settings`.
        meta_params: nested dict with string keys and floating-point arrays, saved as float32; or `()`.
        record: JSON values that say where the rule comes from.

    Raises:
        ValueError: if something is not of these kinds.
    """
    description = {"objective": objective_name, "settings": dict(settings), "record": dict(record)}
    return save_arrays(directory, STEM, description, meta_params)


def load_rule(path: str | os.PathLike) -> LoadedRule:
    """Returns the rule in a directory; `path` is the directory or either of its two files. Nothing in them is executed.

    Raises:
        ValueError: if a file is missing, damaged, of an unknown schema, or the two do not belong together.
    """
    description, meta_params = load_arrays(path, STEM, {"objective": str, "settings": dict, "record": dict})
    return LoadedRule(description["objective"], description["settings"], meta_params, description["record"])
