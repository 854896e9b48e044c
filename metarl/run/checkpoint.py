"""Checkpoints: the whole state of a run, complete and unchanged or not there at all. The one file that knows orbax.

    checkpoints/<step>/manifest.json   names, shapes and dtypes of the leaves, the notes, and a SHA-256 of every file
                       state/          the leaves, as orbax stores them; typed keys stay typed

A checkpoint is written beside its place and renamed into it, so a process killed meanwhile leaves none rather than half
of one. Every byte is checked before orbax reads it: orbax itself does not notice a flipped bit, and casts other dtypes.
"""

import contextlib
import gc
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from metarl.run.directory import sync_directory, write_atomic
from metarl.run.errors import UserError, explain_os_errors

NUM_KEPT = 3
"""How many checkpoints a run keeps, the latest ones."""
SECONDS_TO_FAIL = 0.5
"""How long the writes that are under way when one fails may take to end."""
UNFINISHED = ".unfinished-"
"""How the names of checkpoints that are being written or deleted begin."""


class Restored(NamedTuple):
    """A state that was read back."""

    state: Any
    """The state, bit for bit as it was saved."""
    step: int
    """The step it was saved at."""
    notes: dict[str, Any]
    """The JSON values saved with it."""
    unusable: dict[int, str]
    """Why each later checkpoint was passed over, by step; empty if the latest was read."""


def save(directory: Path, step: int, state: Any, notes: dict[str, Any], *, is_lead: bool = True) -> None:
    """Writes `directory/<step>` and then deletes all but the latest `NUM_KEPT` checkpoints.

    All processes of a run must call it together, on one shared file system.

    Args:
        directory: absolute path of the checkpoints of a run.
        step: a step that has no checkpoint yet.
        state: pytree of arrays; typed keys and arrays of size zero are fine.
        notes: JSON values to keep with it.
        is_lead: whether this process writes the manifest and renames.

    Raises:
        UserError: if the disk is full or not writable; earlier checkpoints are then untouched.
    """
    unfinished = directory / f"{UNFINISHED}{step}"
    with explain_os_errors(unfinished):
        if is_lead:
            shutil.rmtree(unfinished, ignore_errors=True)
        try:
            _write_leaves(unfinished / "state", state)
            if is_lead:
                _commit(unfinished, directory / str(step), {"step": step, "leaves": _signature(state), "notes": notes})
        except OSError:
            if is_lead:
                shutil.rmtree(unfinished, ignore_errors=True)  # its space may be what STATUS needs
            raise
        if is_lead:
            _delete([directory / str(s) for s in steps(directory)[:-NUM_KEPT]])


def restore(directory: Path, template: Any) -> Restored | None:
    """Returns the latest usable checkpoint, or None if there are no checkpoints; changes nothing on disk.

    All processes of a run must call it together.

    Args:
        directory: absolute path of the checkpoints of a run.
        template: pytree like the state, of arrays or of what `jax.eval_shape` returns. Leaves are placed like those of
            the template, or on the default device where these have no sharding.

    Raises:
        UserError: if there are checkpoints but none can be used: each must be complete, unchanged, and have the leaves
            of the template.
    """
    unusable = {}
    for step in reversed(steps(directory)):
        try:
            manifest = _verified_manifest(directory / str(step))
            _check_signature(manifest["leaves"], _signature(template))
            state = _read_leaves(directory / str(step) / "state", template)
            return Restored(state, step, manifest["notes"], unusable)
        except _UnusableError as error:
            unusable[step] = str(error)
    if not unusable:
        return None
    latest = max(unusable)
    raise UserError(
        f"no checkpoint in {directory} can be used, the latest ({directory / str(latest)}) because {unusable[latest]}; "
        "it must be complete, unchanged and made by the same code and config: restore its files or start another run"
    )


def steps(directory: Path) -> list[int]:
    """Returns the steps that have a checkpoint, ascending, whether or not they can be used."""
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if re.fullmatch(r"0|[1-9]\d*", entry.name))


def tidy(directory: Path, unusable: dict[int, str]) -> list[Path]:
    """Returns where unusable checkpoints were moved to, out of the way of new ones; also removes unfinished ones.

    Only the lead process may call it, while it holds the run's lock and nothing is being saved or restored.

    Raises:
        UserError: if the directory cannot be changed.
    """
    moved = []
    with explain_os_errors(directory):
        _delete(list(directory.glob(f"{UNFINISHED}*")))
        for step in unusable:
            taken = len(list(directory.glob(f"{step}.unusable*")))
            moved.append((directory / str(step)).rename(directory / f"{step}.unusable{taken or ''}"))
    return moved


class _UnusableError(Exception):
    """Why one checkpoint cannot be used, as half a sentence."""


def _signature(state: Any) -> list[list[Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [[jax.tree_util.keystr(p, simple=True, separator="."), str(x.dtype), list(x.shape)] for p, x in leaves]


def _check_signature(on_disk: list[list[Any]], needed: list[list[Any]]) -> None:
    for left, right in zip(on_disk, needed, strict=False):
        if left != right:
            raise _UnusableError(f"it holds {_shown_leaf(left)} where {_shown_leaf(right)} is needed")
    if len(on_disk) != len(needed):
        raise _UnusableError(f"it holds {len(on_disk)} arrays where {len(needed)} are needed")


def _shown_leaf(leaf: list[Any]) -> str:
    name, dtype, shape = leaf
    return f"{name}: {dtype}{shape}"


def _by_index(state: Any) -> dict[str, Any]:
    """Returns the leaves that orbax can store, by position: it refuses arrays of size zero."""
    return {str(index): leaf for index, leaf in enumerate(jax.tree.leaves(state)) if leaf.size}


def _write_leaves(path: Path, state: Any) -> None:
    with _quiet(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        code = None
        try:
            checkpointer.save(path, args=ocp.args.StandardSave(_by_index(state)))
        except (OSError, ValueError) as error:
            code = _os_error_code(error)
            if code is None:
                raise
        if code is not None:
            # orbax gives up at the first write that fails; the others have to end while nobody listens.
            time.sleep(SECONDS_TO_FAIL)
            gc.collect()
            raise OSError(code, os.strerror(code), str(path.parent))


def _os_error_code(error: OSError | ValueError) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))  # how tensorstore reports what the system said
    return int(found[1]) if found else None


def _read_leaves(path: Path, template: Any) -> Any:
    default = jnp.zeros((), jnp.float32).sharding
    leaves = jax.tree.leaves(template)
    placed = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None) or default) for x in leaves]
    with _quiet(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        try:
            found = checkpointer.restore(path, args=ocp.args.StandardRestore(_by_index(placed)))
        except Exception as error:  # orbax raises whatever the broken part raises, a bare Exception included
            raise _UnusableError(f"orbax cannot read it ({str(error).splitlines()[0][:200]})") from error
    restored = [found[str(i)] if x.size else _empty(x) for i, x in enumerate(placed)]
    return jax.tree.unflatten(jax.tree.structure(template), restored)


def _empty(leaf: jax.ShapeDtypeStruct) -> jax.Array:
    return jax.device_put(jnp.empty(leaf.shape, leaf.dtype), leaf.sharding)


def _commit(unfinished: Path, final: Path, content: dict[str, Any]) -> None:
    content = {**content, "files": _digests(unfinished)}
    write_atomic(unfinished / "manifest.json", json.dumps({"content": content, "sha256": _digest(content)}))
    os.rename(unfinished, final)
    sync_directory(final.parent)


def _verified_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        content = manifest["content"]
        if manifest["sha256"] != _digest(content):
            raise _UnusableError("its manifest.json was changed")
        found = _digests(path)
    except FileNotFoundError as error:
        raise _UnusableError("it has no manifest.json") from error
    except OSError as error:
        raise _UnusableError(f"it cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _UnusableError("its manifest.json is not one of ours") from error
    if content["step"] != int(path.name):
        raise _UnusableError(f"it is the checkpoint of step {content['step']}, renamed")
    for name, digest in content["files"].items():
        if name not in found:
            raise _UnusableError(f"its file {name} is missing")
        if found[name] != digest:
            raise _UnusableError(f"its file {name} was changed")
    return content


def _digests(path: Path) -> dict[str, str]:
    digests = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p != path / "manifest.json"):
        with open(file, "rb") as stream:
            digests[file.relative_to(path).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _delete(paths: list[Path]) -> None:
    """Deletes directories so that a process killed meanwhile leaves nothing that looks like a checkpoint."""
    for path in paths:
        doomed = path if path.name.startswith(UNFINISHED) else path.rename(path.with_name(f"{UNFINISHED}{path.name}"))
        shutil.rmtree(doomed, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Returns a context without the tracebacks that orbax and its threads write to stderr beside the error raised."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels, hook = [logger.level for logger in loggers], sys.unraisablehook
    try:
        sys.unraisablehook = lambda unraisable: None
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        sys.unraisablehook = hook
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
