"""Metrics of a run: one JSON object a line, each step once, whatever happened to the process that wrote them."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from metarl.run.directory import write_atomic
from metarl.run.errors import UserError, explain_os_errors

NONFINITE = "nonfinite"
"""The key under which a row names its values that were NaN or infinite; they themselves are null."""


class MetricsWriter:
    """Appends rows to a metrics file, which is made if it does not exist.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path):
        self.path = path
        with explain_os_errors(path):
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - open for as long as the run

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the rows in one go; if they do not all fit on the disk, none of them stays.

        Args:
            rows: each maps names to int, float, str, bool or None and has an int `step`. A float that is not finite
                becomes null, and its name is listed under `nonfinite`.

        Raises:
            UserError: if the file cannot be written.
        """
        content = "".join(encode_row(row) + "\n" for row in rows).encode()
        end = os.fstat(self._file.fileno()).st_size
        with explain_os_errors(self.path):
            try:
                while content:
                    content = content[self._file.write(content) :]
            except OSError:
                os.truncate(self._file.fileno(), end)
                raise

    def truncate_after(self, step: int) -> None:
        """Drops the rows of later steps, and a last line that a killed process left unfinished; all or nothing.

        Raises:
            UserError: if the file is not a metrics file or cannot be written.
        """
        rows = [row for row in read_metrics(self.path) if row["step"] <= step]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        if content == self.path.read_bytes():
            return
        with explain_os_errors(self.path):
            write_atomic(self.path, content)
            self._file.close()
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - open for as long as the run

    def sync(self) -> None:
        """Asks the disk to remember all rows; what a checkpoint refers to must survive a power cut."""
        with explain_os_errors(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def encode_row(row: Mapping[str, Any]) -> str:
    """Returns one line without its end: valid JSON, floats to the last bit, NaN and infinities as null.

    Raises:
        ValueError: if the row has a value named `nonfinite`.
    """
    if NONFINITE in row:
        raise ValueError(f"a metric is named {NONFINITE!r}, which lists the metrics that were not finite; rename it")
    bad = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    values = {name: None if name in bad else value for name, value in row.items()}
    return json.dumps(values | ({NONFINITE: bad} if bad else {}), allow_nan=False)


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Returns the rows of a metrics file, oldest first; values that were not finite are None.

    A last line that was never finished is left out, so a file can be read while it is written.

    Raises:
        UserError: if there is no such file, or a line other than the last is not a row.
    """
    with explain_os_errors(path, "read"):
        lines = Path(path).read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        row = _decode_row(line)
        if row is not None:
            rows.append(row)
        elif number < len(lines):
            raise UserError(f"line {number} of {path} is {line[:60]!r}, which is not a row of metrics; remove it")
    return rows


def _decode_row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
