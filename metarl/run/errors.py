"""What can end a run besides reaching its last step, each told in one sentence."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class UserError(ValueError):
    """An error that the user of a run can cause or cure; says what was given, what is allowed and what to do."""


class Interrupted(Exception):  # noqa: N818 - an interruption that was asked for is not an error
    """A run that stopped because a signal asked for it, after saving a checkpoint."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that obeyed the signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum


@contextlib.contextmanager
def explain_os_errors(path: str | os.PathLike, action: str = "write") -> Iterator[None]:
    """Returns a context in which an OSError, as of a full disk, becomes a UserError naming path and reason."""
    try:
        yield
    except OSError as error:
        where = Path(error.filename) if isinstance(error.filename, str) else Path(path)
        reason = error.strerror or str(error)
        raise UserError(f"cannot {action} {where}: {reason}; cure that and give the same command again") from error
