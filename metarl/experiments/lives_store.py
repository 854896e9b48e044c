"""Finished lives on disk, so that an evaluation that is stopped goes on where it was."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from metarl.experiments.lives import Lives

DESCRIPTION = "evaluation.json"
"""What the stored lives are of; lives of anything else are thrown away."""


class LivesStore(NamedTuple):
    """Lives by name, in files of a directory."""

    directory: Path
    """Made when the first lives are kept."""
    write: Callable[[Path, bytes], None]
    """`write(path, content)`, atomically."""

    def recall(self, *name: Any) -> Lives | None:
        """Returns the lives kept under this name, without the agents' parameters, or None."""
        path = self._path(name)
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            curve = {name.removeprefix("curve/"): arrays[name] for name in arrays.files if name != "fitness"}
            return Lives(arrays["fitness"], curve, None)

    def keep(self, lives: Lives, *name: Any) -> None:
        """Writes lives under this name."""
        arrays = {"fitness": lives.fitness, **{f"curve/{name}": x for name, x in lives.curve.items()}}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **jax.device_get(arrays))
        self.write(self._path(name), buffer.getvalue())

    def discard(self) -> None:
        """Deletes everything that was kept."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _path(self, name: tuple[Any, ...]) -> Path:
        digest = hashlib.sha256(json.dumps([str(part) for part in name]).encode()).hexdigest()
        return self.directory / f"{digest[:32]}.npz"


def open_store(directory: Path, description: Any, write: Callable[[Path, bytes], None]) -> LivesStore:
    """Returns the store of an evaluation, empty unless the directory holds lives of one with the same description.

    Args:
        directory: where lives are kept.
        description: JSON values that determine every number of the evaluation.
        write: `write(path, content)`, atomically.
    """
    content = json.dumps(description, sort_keys=True).encode()
    path = directory / DESCRIPTION
    if directory.is_dir() and not (path.is_file() and path.read_bytes() == content):
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    write(path, content)
    return LivesStore(directory, write)
