"""Results of slow programs, kept on disk: what has been evaluated once is never evaluated again.

One SQLite file per suite holds them, so that it survives a kill at any moment. Processes that want the same
evaluation at the same time wait for the first one, by locks that the kernel takes back from a process that dies.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Configuration = Mapping[str, Any]
"""A point as its program takes it: names to numbers, booleans, strings or lists of them."""
Evaluator = Callable[[Configuration], Sequence[float]]
"""Evaluates a configuration, always to as many numbers; raises `EvaluationFailed` where there is no result."""

_TABLE = "CREATE TABLE IF NOT EXISTS evaluations (key TEXT PRIMARY KEY, numbers TEXT NOT NULL, reason TEXT NOT NULL)"


class EvaluationFailed(Exception):
    """The configuration has no result (it diverged, took too long, was refused); any other error is a bug."""


class Problem(NamedTuple):
    """What is evaluated besides the configuration; everything on which a result depends belongs here."""

    suite: str
    """Names the file."""
    tool: str
    """The program."""
    version: str
    """Its version: another one may have other results."""
    content: str
    """Hash of the instance, with limits such as a budget of nodes."""


class Evaluation(NamedTuple):
    """What came out for one configuration."""

    numbers: tuple[float, ...]
    """The results; a single NaN if it failed."""
    reason: str
    """Why it failed; empty if it did not."""


def cache_directory() -> Path:
    """Returns where results are kept: `metarl/blackbox` below `XDG_CACHE_HOME`, or below `~/.cache` without one."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "metarl" / "blackbox"


def content_hash(*parts: str | bytes) -> str:
    """Returns a hash of the parts, in hexadecimal; where one part ends and the next begins counts."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def evaluation_key(problem: Problem, configuration: Configuration) -> str:
    """Returns the text under which a result is kept; the order of names does not matter.

    Raises:
        ValueError: if the configuration holds something that JSON has no exact form for, NaN and infinities included.
    """
    whole = [problem.tool, problem.version, problem.content, dict(configuration)]
    try:
        return json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the configuration {dict(configuration)} cannot be kept: {error}; use plain values"
        ) from error


def evaluate_all(
    problem: Problem,
    configurations: Sequence[Configuration],
    evaluate: Evaluator,
    *,
    track: Callable[[Sequence[Configuration]], Iterable[Configuration]] = iter,
) -> list[Evaluation]:
    """Returns one evaluation per configuration, in order; only those that are not kept yet are made, and then kept.

    A failure is kept as well. Any exception but `EvaluationFailed` passes through, and nothing is kept then.

    Args:
        problem: what is evaluated.
        configurations: the points; equal ones are evaluated once.
        evaluate: the program. It must not ask this cache itself.
        track: goes through the configurations and may show how far it is, as `tqdm.tqdm` does.
    """
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(_connect(directory / f"{problem.suite}.sqlite")) as connection:
        return [_evaluate_once(connection, problem, configuration, evaluate) for configuration in track(configurations)]


def forget_failures(suite: str) -> int:
    """Returns how many kept failures of the suite were dropped, to be tried again (say, on a less busy machine)."""
    path = cache_directory() / f"{suite}.sqlite"
    if not path.exists():
        return 0
    with contextlib.closing(_connect(path)) as connection, connection:
        return connection.execute("DELETE FROM evaluations WHERE reason != ''").rowcount


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60.0)
    with connection:
        connection.execute(_TABLE)
    return connection


def _evaluate_once(
    connection: sqlite3.Connection, problem: Problem, configuration: Configuration, evaluate: Evaluator
) -> Evaluation:
    key = evaluation_key(problem, configuration)
    if (kept := _read(connection, key)) is not None:
        return kept
    with _held(problem.suite, key):
        if (kept := _read(connection, key)) is not None:  # another process was faster
            return kept
        try:
            result = Evaluation(tuple(float(number) for number in evaluate(configuration)), "")
        except EvaluationFailed as failure:
            result = Evaluation((math.nan,), str(failure) or "failed")
        with connection:
            connection.execute("INSERT INTO evaluations VALUES (?, ?, ?)", (key, json.dumps(result[0]), result[1]))
        return result


def _read(connection: sqlite3.Connection, key: str) -> Evaluation | None:
    row = connection.execute("SELECT numbers, reason FROM evaluations WHERE key = ?", (key,)).fetchone()
    return None if row is None else Evaluation(tuple(json.loads(row[0])), row[1])


@contextlib.contextmanager
def _held(suite: str, key: str) -> Iterator[None]:
    """Holds the right to evaluate the key; 4096 files serve all keys, so that two rarely wait for each other."""
    path = cache_directory() / f"{suite}.locks" / hashlib.sha256(key.encode()).hexdigest()[:3]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
