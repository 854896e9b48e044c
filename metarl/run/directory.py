"""A run directory: where a run keeps everything, opened by one process at a time and never half written.

Layout of `runs/<name>/`:
    config.json      the exact config with its type names; loads to an equal object
    provenance.json  what produced the run, one entry per session
    metrics.jsonl    one object a line
    checkpoints/     the whole state, the latest few
    export/          what is usable without the training code
    STATUS           running | done | interrupted | failed: reason
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from metarl.run.config_codec import decode, differences, encode
from metarl.run.errors import UserError, explain_os_errors

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,99}")
"""What a run may be called: anything that is one plain folder name everywhere."""
LOCK = ".lock"
"""The file whose lock shows that a process is using the directory; it holds the process id."""
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""How file systems that have no locks, as some mounted object stores, say so."""


class RunDirectory:
    """The paths of one run and, for the process that opened it for writing, the lock on it.

    Attributes:
        path: absolute path of the directory.
        config: the config of the run.
        is_lead: whether this process writes; all others, and readers, only look.
    """

    def __init__(self, path: Path, config: Any, *, is_lead: bool, lock: int | None = None):
        self.path, self.config, self.is_lead, self._lock = path, config, is_lead, lock
        self.config_file = path / "config.json"
        self.provenance_file = path / "provenance.json"
        self.metrics_file = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.export = path / "export"
        self.status_file = path / "STATUS"

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    def set_status(self, status: str) -> None:
        """Writes STATUS: `running`, `done`, `interrupted` or `failed: reason`; only the lead process writes.

        Raises:
            ValueError: for any other status.
            UserError: if the file cannot be written.
        """
        if status not in ("running", "done", "interrupted") and not status.startswith("failed: "):
            raise ValueError(f"a status is running, done, interrupted or 'failed: reason', but {status!r} was given")
        if self.is_lead:
            with explain_os_errors(self.status_file):
                write_atomic(self.status_file, " ".join(status.split()) + "\n")

    def status(self) -> str | None:
        """Returns what STATUS says, or None if the run has never been started."""
        return self.status_file.read_text().strip() if self.status_file.exists() else None

    def close(self) -> None:
        """Gives the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check_output(out: Path, taken: tuple[str, ...]) -> None:
    """Makes the directory of a file that is to be written after long work, and sees that it can be.

    Raises:
        UserError: if the path is a directory, ends as a file that is written beside it (`taken`), or cannot be written.
    """
    if out.is_dir():
        raise UserError(f"--out {out} is a directory; name a file in it")
    if out.suffix in taken:
        raise UserError(f"--out {out} has the ending of a file that is written beside it; end it with .json")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out.parent).close()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--out {out} cannot be written ({reason}); name a file where you may") from error


def open_run(
    root: str | os.PathLike, name: str, config: Any, types: Iterable[type], *, is_lead: bool = True
) -> RunDirectory:
    """Returns the run `root/name`, made if it does not exist, and locked by this process until it is closed or ends.

    Args:
        root: directory of all runs, made if it does not exist.
        name: the run's name: up to 100 letters, digits and `._+=-`, the first a letter or digit.
        config: frozen dataclass that `encode` accepts. A run that exists continues if its config equals this one.
        types: all dataclasses that appear in the config.
        is_lead: False in every process but the first of a multi-process run; these write nothing and take no lock.

    Raises:
        UserError: if the name is not one, the config cannot be stored, the directory is something else, holds another
            config (nothing in it is touched), is in use by another process, or cannot be written.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"a run cannot be named {name!r}; use up to 100 letters, digits and '._+=-', the first a letter or digit"
        )
    encoded, types = encode(config), tuple(types)
    if decode(encoded, types) != config:
        raise UserError(f"the config {config!r} changes when it is stored and loaded; a run needs one that does not")
    path = Path(root).absolute() / name
    _check_existing(path, encoded, types)
    if not is_lead:
        return RunDirectory(path, config, is_lead=False)
    with contextlib.ExitStack() as undo, explain_os_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
        undo.callback(os.close, lock)
        exists = _check_existing(path, encoded, types)  # again, because another process may have made it meanwhile
        for folder in ("checkpoints", "export"):
            (path / folder).mkdir(exist_ok=True)
        if not exists:
            write_atomic(path / "config.json", json.dumps(encoded, indent=2) + "\n")
        undo.pop_all()
    return RunDirectory(path, config, is_lead=True, lock=lock)


def load_run(path: str | os.PathLike, types: Iterable[type]) -> RunDirectory:
    """Returns an existing run for reading; takes no lock and writes nothing.

    Raises:
        UserError: if the path is not a run, or its config is not made of `types`.
    """
    path = Path(path).absolute()
    if not (path / "config.json").is_file():
        raise UserError(f"{path} is not a run, because it has no config.json; give the directory of a run")
    return RunDirectory(path, decode(_read_config(path), types), is_lead=False)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replaces a file as a whole: whatever happens on the way, the path holds all of the old content or all of the new.

    Raises:
        OSError: if the new content cannot be written; the old is then still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Asks the disk to remember which files the directory holds, where the file system knows how."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_existing(path: Path, encoded: Any, types: tuple[type, ...]) -> bool:
    """Returns whether the run exists; raises unless it is this run or there is nothing yet."""
    if not os.path.lexists(path):
        return False
    if not path.is_dir():
        raise UserError(f"{path} exists and is not a directory; choose another name for the run")
    if (path / "config.json").exists():
        changed = differences(_with_defaults(_read_config(path), types), encoded)
        if changed:
            raise UserError(
                f"the run {path} has another config ({'; '.join(changed)}); "
                "choose another --name, or delete the directory to start over"
            )
        return True
    # A process that died before it wrote the config leaves nothing but these behind.
    if not all(_is_beginning(entry) for entry in path.iterdir()):
        raise UserError(f"{path} exists but is not a run, because it has no config.json; choose another name")
    return False


def _with_defaults(data: Any, types: tuple[type, ...]) -> Any:
    """Returns a stored config with the defaults of fields that are newer than it; as it is if it cannot be read."""
    try:
        return encode(decode(data, types))
    except UserError:
        return data


def _is_beginning(path: Path) -> bool:
    if path.name in ("checkpoints", "export"):
        return path.is_dir() and not any(path.iterdir())
    return path.name == LOCK or path.name.startswith(".config.json.")


def _read_config(path: Path) -> Any:
    file = path / "config.json"
    with explain_os_errors(file, "read"):
        content = file.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); restore it, or choose another name for the run") from error


def _lock(path: Path) -> int:
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except BlockingIOError as error:
        holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise UserError(
            f"the run {path} is in use by process {holder}; wait for it or stop it, or choose another --name"
        ) from error
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            os.close(lock)
            raise
    return lock
