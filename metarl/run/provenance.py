"""What produced a run: code, packages, devices and command, one entry for every session that worked on it."""

import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from metarl import __version__
from metarl.run.directory import RunDirectory, write_atomic
from metarl.run.errors import UserError, explain_os_errors

PACKAGES = ("jax", "jaxlib", "numpy", "flax", "optax", "distrax", "gymnax", "evosax", "brax", "orbax-checkpoint")
"""Distributions whose versions, beside our own, can change the numbers of a run."""


def record_session(directory: RunDirectory, *, step: int) -> None:
    """Appends what this process is to `provenance.json`; only the lead process writes.

    Args:
        directory: the run.
        step: the step from which this session continues; 0 for a new run.

    Raises:
        UserError: if the file cannot be read or written.
    """
    if not directory.is_lead:
        return
    sessions = [*read_sessions(directory), {"first_step": step, **describe_session()}]
    with explain_os_errors(directory.provenance_file):
        write_atomic(directory.provenance_file, json.dumps({"schema": 1, "sessions": sessions}, indent=2) + "\n")


def read_sessions(directory: RunDirectory) -> list[dict[str, Any]]:
    """Returns the entries of `provenance.json`, oldest first; empty if the run has not been started.

    Raises:
        UserError: if the file is not what `record_session` writes.
    """
    file = directory.provenance_file
    if not file.exists():
        return []
    with explain_os_errors(file, "read"):
        content = file.read_bytes()
    try:
        return list(json.loads(content)["sessions"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is not a provenance file; restore it or move it away") from error


def describe_session() -> dict[str, Any]:
    """Returns what this process is, as JSON values: time, command, code, packages, platform, devices, processes.

    `git` is None where the code is not part of a git working tree.
    """
    import jax

    kinds = [f"{device.platform}: {device.device_kind}" for device in jax.devices()]
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "git": describe_git(Path(__file__)),
        "packages": {"metarl": __version__, **{name: _version(name) for name in PACKAGES}},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "num_processes": jax.process_count(),
    }


def describe_git(file: Path) -> dict[str, Any] | None:
    """Returns `{"commit": ..., "dirty": ...}` of the working tree that tracks the file, or None if there is none.

    A tree is dirty if it has changes, or new files that git does not ignore. A package that was installed inside
    somebody's working tree is not tracked by it, so it does not borrow that tree's commit.
    """
    tracked = _git(file.parent, "ls-files", "--error-unmatch", file.name)
    commit = _git(file.parent, "rev-parse", "HEAD")
    changes = _git(file.parent, "status", "--porcelain")
    if tracked is None or commit is None or changes is None:
        return None
    return {"commit": commit.strip(), "dirty": bool(changes.strip())}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
