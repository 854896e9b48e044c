"""Two processes of four devices each run the same generations as one process of eight.

The test starts this file as a script in both processes.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from populations.generation import make_generation
from populations.mesh import initialise, is_lead, make_mesh, replicate, split, to_host
from populations.openai_es import openai_es

PARAMS = {"w": np.zeros((4, 8), np.float32), "b": np.zeros(8, np.float32)}  # jax must be untouched until processes meet
TIMEOUT = 240
"""Seconds; a pair of processes takes about 10 when the machine is quiet."""


def sample_task(key):
    key_lifetime, key_target = jax.random.split(key)
    lifetime = jax.random.randint(key_lifetime, (), 1, 20)
    return {"lifetime": lifetime, "target": jax.random.uniform(key_target, (8,))}


def evaluate(params, task, key, bound):
    def update(step, point):
        inputs = jax.random.uniform(jax.random.fold_in(key, step), (4,))
        return jnp.where(step < task["lifetime"], 0.9 * point + jnp.tanh(inputs @ params["w"] + params["b"]), point)

    point = jax.lax.fori_loop(0, jnp.minimum(bound, 20), update, jnp.zeros(8))
    return -jnp.sum((point - task["target"]) ** 2), {}


def run():
    """Returns the fitness of three generations and the mean after them, as lists, from all devices of all processes."""
    mesh, strategy = make_mesh(8), openai_es(32, learning_rate=0.1)
    generation = jax.jit(
        make_generation(strategy, evaluate, sample_task, mesh=mesh, microbatch=4, cost=lambda task: task["lifetime"])
    )
    state, key = replicate((strategy.init(jax.random.key(0), PARAMS), jax.random.key(1)), mesh)
    fitness = []
    for step in range(3):
        state, result = generation(jax.random.fold_in(key, step), state)
        fitness.append(to_host(result.fitness).tolist())
    spread = to_host(split(jnp.arange(16.0), mesh))
    mean = {name: leaf.tolist() for name, leaf in to_host(strategy.mean(state)).items()}
    return {"fitness": fitness, "mean": mean, "spread": spread.tolist(), "num_compiled": generation._cache_size()}


def start(process_id, port, folder):
    environment = os.environ | {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(process_id),
        "JAX_PLATFORMS": "cpu",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    with open(folder / f"log{process_id}", "w") as log:
        return subprocess.Popen([sys.executable, __file__, str(folder)], env=environment, stdout=log, stderr=log)


@pytest.mark.multiprocess
def test_two_processes_equal_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start(process_id, port, tmp_path) for process_id in range(2)]
    try:
        codes = [process.wait(TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert codes == [0, 0], "\n".join((tmp_path / f"log{i}").read_text() for i in range(2))
    first, second = (json.loads((tmp_path / f"process{i}.json").read_text()) for i in range(2))
    assert first.pop("leads") and not second.pop("leads")
    assert first == second
    alone = run()
    assert first["fitness"] == alone["fitness"]
    assert first["num_compiled"] == 1
    assert first["spread"] == list(range(16))
    for name, leaf in alone["mean"].items():
        np.testing.assert_allclose(first["mean"][name], leaf, atol=1e-6)  # as across devices


if __name__ == "__main__":
    assert initialise()
    report = run() | {"leads": is_lead()}
    Path(sys.argv[1], f"process{jax.process_index()}.json").write_text(json.dumps(report))
