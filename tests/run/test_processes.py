"""Runs in processes of their own, stopped and killed at moments they do not choose."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metarl.run import checkpoint
from metarl.run.directory import load_run
from metarl.run.metrics import read_metrics

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("tiny_experiment.py")
NUM_STEPS = 300
PATIENCE = 120.0
"""Seconds after which a process counts as stuck; far more than any needs on a busy machine."""


def start(root, name, num_steps=NUM_STEPS, work=0, **environment):
    return subprocess.Popen(
        [sys.executable, SCRIPT, root, name, str(num_steps), str(work)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out.split()[-1]


def wait_until(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def num_lines(root, name):
    file = root / name / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def rows(root, name):
    return [
        {k: v for k, v in row.items() if k not in ("wall_s", "cpu_s")}
        for row in read_metrics(root / name / "metrics.jsonl")
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns the digest of the final state, and the metrics, of a run that was left alone."""
    root = tmp_path_factory.mktemp("whole")
    return finish(start(root, "whole")), rows(root, "whole")


@pytest.mark.parametrize("signum, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_stopped_by_a_signal_and_continued_equals_one_left_alone(tmp_path, tiny, whole, signum, code):
    process = start(tmp_path, "a")
    wait_until(lambda: num_lines(tmp_path, "a") >= 20, process)
    process.send_signal(signum)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    run = load_run(tmp_path / "a", (tiny.TinyConfig,))
    assert run.status() == "interrupted"
    assert 20 <= checkpoint.steps(run.checkpoints)[-1] == len(rows(tmp_path, "a")) < NUM_STEPS
    assert finish(start(tmp_path, "a")) == whole[0]
    assert rows(tmp_path, "a") == whole[1]
    assert run.status() == "done"


def test_a_run_killed_again_and_again_and_continued_equals_one_left_alone(tmp_path, whole):
    chance = random.Random(0)
    for first in (0, 60, 150):  # the first kill comes before the first checkpoint, the others anywhere
        process = start(tmp_path, "a")
        wait_until(lambda first=first: num_lines(tmp_path, "a") > first, process)
        time.sleep(0.1 * chance.random() if first else 0.0)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert finish(start(tmp_path, "a")) == whole[0]
    assert rows(tmp_path, "a") == whole[1]
    assert not list((tmp_path / "a/checkpoints").glob(".*"))


def test_a_second_interrupt_stops_at_once(tmp_path, tiny):
    process = start(tmp_path, "a", work=100_000)  # the first dispatch takes minutes
    wait_until((tmp_path / "a/STATUS").exists, process)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    line = process.stderr.readline()
    assert line == "interrupted: finishing this dispatch, then saving; Ctrl-C again stops at once\n"
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == -signal.SIGINT
    assert time.monotonic() - asked < 5.0  # at once, on a busy machine
    assert load_run(tmp_path / "a", (tiny.TinyConfig,)).status() == "interrupted"
    process.communicate()


def test_two_processes_cannot_run_the_same_directory(tmp_path):
    process = start(tmp_path, "a", num_steps=100_000)
    wait_until(lambda: num_lines(tmp_path, "a"), process)
    other = start(tmp_path, "a", num_steps=100_000)
    _, err = other.communicate(timeout=PATIENCE)
    assert other.returncode == 1 and f"{tmp_path}/a is in use by process {process.pid}" in err
    process.kill()
    process.communicate()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_cluster(root, name):
    address = f"127.0.0.1:{free_port()}"
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_NUM_PROCESSES": "2"}
    return [start(root, name, JAX_COORDINATOR_ADDRESS=address, JAX_PROCESS_ID=str(i), **flags) for i in range(2)]


@pytest.mark.multiprocess
def test_processes_of_a_cluster_stop_together_and_continue_together(tmp_path):
    expected = {finish(process) for process in start_cluster(tmp_path, "whole")}
    assert len(expected) == 1
    processes = start_cluster(tmp_path, "a")
    wait_until(lambda: num_lines(tmp_path, "a") >= 20, processes[0])
    processes[1].send_signal(signal.SIGTERM)  # only the one that does not lead
    for process in processes:
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 143, err
    assert len(rows(tmp_path, "a")) < NUM_STEPS
    assert {finish(process) for process in start_cluster(tmp_path, "a")} == expected
    assert rows(tmp_path, "a") == rows(tmp_path, "whole")
