"""What a command asks of the machine."""

import os
from pathlib import Path

import pytest

from metarl.cli.machine import largest_share, prepare_jax

VARIABLES = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "XDG_CACHE_HOME")


@pytest.fixture
def environment(monkeypatch):
    """The environment without what matters here; put back afterwards."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is put back even if it was not set
        monkeypatch.delenv(name)
    return os.environ


def test_every_core_becomes_a_device_and_programs_are_kept(environment, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    prepare_jax()
    assert environment["XLA_FLAGS"] == "--xla_force_host_platform_device_count=3"
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(Path.home() / ".cache" / "metarl" / "compiled")
    assert float(environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"]) < 1.0


def test_the_cache_follows_the_users_cache_directory(environment):
    environment["XDG_CACHE_HOME"] = "/elsewhere"
    prepare_jax()
    assert environment["JAX_COMPILATION_CACHE_DIR"] == "/elsewhere/metarl/compiled"


def test_what_the_user_has_set_is_left_alone(environment):
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=5"
    environment["JAX_COMPILATION_CACHE_DIR"] = "/mine"
    prepare_jax()
    assert environment["XLA_FLAGS"] == "--xla_force_host_platform_device_count=5"
    assert environment["JAX_COMPILATION_CACHE_DIR"] == "/mine"


def test_other_flags_are_kept(environment):
    environment["XLA_FLAGS"] = "--xla_dump_to=/tmp/x"
    prepare_jax()
    assert environment["XLA_FLAGS"].startswith("--xla_dump_to=/tmp/x --xla_force_host_platform_device_count=")


@pytest.mark.parametrize(
    ("num_available", "num_candidates", "microbatch", "share"),
    [
        (1, 64, None, 1),
        (2, 64, None, 2),
        (3, 64, None, 2),  # 64 candidates are 32 pairs, which three devices cannot share
        (8, 4, None, 2),
        (8, 64, 8, 8),
        (16, 64, 8, 8),  # beyond eight devices a chunk of eight candidates would not be whole
        (7, 6, None, 3),
        (8, 10, 10, 1),
    ],
)
def test_the_share_is_the_largest_that_divides_in_whole_chunks_of_pairs(
    num_available, num_candidates, microbatch, share
):
    assert largest_share(num_available, num_candidates, microbatch) == share
