"""What the tests of this room share: a finished smoke run, the command line in this process, and runs in their own."""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from metarl.cli import main

ROOT = Path(__file__).parents[2]
PATIENCE = 600.0
"""Seconds after which a process counts as stuck; far more than any needs on a busy machine."""


class Answer(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


def start(*words, cwd) -> subprocess.Popen:
    """Starts `metarl` as a process of its own, away from the source tree."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "metarl", *map(str, words)],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process) -> Answer:
    out, err = process.communicate(timeout=PATIENCE)
    return Answer(process.returncode, out, err)


@pytest.fixture(scope="session")
def metarl():
    """Returns `(start, finish)` for commands in processes of their own."""
    return start, finish


class Smoke(NamedTuple):
    """The finished run of the preset `smoke`."""

    path: Path
    out: str
    err: str


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Smoke:
    """The run of `metarl discover --preset smoke`, made once for all workers; tests that change it take a copy."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with open(root / "smoke.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "smoke.out").exists():
            answer = finish(start("discover", "--preset", "smoke", cwd=root))
            assert answer.code == 0, answer.err
            (root / "smoke.err").write_text(answer.err)
            (root / "smoke.out").write_text(answer.out)
    return Smoke(root / "runs" / "smoke", (root / "smoke.out").read_text(), (root / "smoke.err").read_text())


@pytest.fixture
def cli(capsys):
    """Returns a function that gives words to the command line and returns its answer."""

    def call(*words) -> Answer:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return call


@pytest.fixture
def refused(cli):
    """Returns a function that checks that words are refused in one sentence that holds all of `mentions`."""

    def call(*words, mentions) -> None:
        code, out, err = cli(*words)
        assert (code, out) == (2, ""), err
        assert err.startswith("metarl: error: ") and err.count("\n") == 1, err
        assert all(str(mention) in err for mention in mentions), err

    return call


def contents(path: Path) -> dict[str, str]:
    """Returns the digest of every file below a path, but for the lock, which says who looked last."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="session")
def tree():
    """Returns the function `contents`, which tells whether anything on disk has changed."""
    return contents


def wait_until(condition, process) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="session")
def wait():
    """Returns the function `wait_until`, which fails if the process ends first."""
    return wait_until
