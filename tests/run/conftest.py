"""What the tests of this room share."""

import importlib.util
import resource
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny():
    """Returns the module `tiny_experiment`, which tests also run as a script."""
    spec = importlib.util.spec_from_file_location("tiny_experiment", Path(__file__).with_name("tiny_experiment.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def limit_file_size():
    """Returns a function after which no file may grow beyond a size; the system itself then refuses to write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
