"""What the tests of this room share."""

import importlib.util
import resource
from pathlib import Path

import pytest

from metarl.run.directory import open_run


@pytest.fixture(scope="session")
def tiny():
    """Returns the module `tiny_experiment`, which tests also run as a script."""
    spec = importlib.util.spec_from_file_location("tiny_experiment", Path(__file__).with_name("tiny_experiment.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def opened(tmp_path, tiny):
    """Returns a function that opens the run of a name; all are closed afterwards."""
    directories = []

    def open_one(name="a"):
        directories.append(open_run(tmp_path / "runs", name, tiny.TinyConfig(), (tiny.TinyConfig,)))
        return directories[-1]

    yield open_one
    for directory in directories:
        directory.close()


@pytest.fixture
def limit_file_size():
    """Returns a function after which no file may grow beyond a size; the system itself then refuses to write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
