"""Meta-Bayesian optimisation per CPU-second: training, trajectories, scoring, memory, and the wait for a suggestion.

Costs are process CPU-seconds on one core without compilation, except the wait, which is wall time too. References are
those of the public code of huawei-noah/HEBO (NAP) on one core: .45 CPU-s for a forward pass of its network on 24
evaluations and 1000 candidates, which it needs for every choice, and twice 1.25 CPU-s for every transition that it
learns from; and 1.1 CPU-s for a Gaussian process in numpy that chooses 45 times among 1000 candidates.

    python tests/benchmarks/metabo_throughput.py [--only trajectory memory] [--out build/bench/metabo.json]
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.incontext_throughput import best  # isort: skip  # sets one thread before jax is imported

import jax
import jax.numpy as jnp
import optax

from envs.blackbox.environment import BlackBox
from envs.blackbox.protocol import protocol_pools
from metarl.experiments.metabo_build import build_optimisers, build_sources
from metarl.experiments.metabo_config import TasksConfig
from metarl.experiments.metabo_policy import make_policy_step
from metarl.experiments.metabo_presets import NAP, NAP_CPU
from metarl.metabo.acquisitions import nap_optimiser
from metarl.metabo.ask_tell import Optimizer
from metarl.metabo.batches import make_batches
from metarl.metabo.export import load_nap, save_nap
from metarl.metabo.gp import gp_ei
from metarl.metabo.likelihood import context_loss
from metarl.metabo.nap import believe_in_blocks, make_nap
from metarl.metabo.network import Evaluations
from metarl.metabo.space import Float
from metarl.metabo.trajectory import run_trajectory
from tests.benchmarks.measure import cpu_seconds, row, write

FORWARD, TRANSITION, PROCESS = 0.45, 2 * 1.25, 1.1
"""CPU-seconds of the references: a choice, a transition that is learned from, a trajectory of the Gaussian process."""
OFFICIAL = {"width": 512, "num_layers": 6, "num_heads": 4, "mlp_ratio": 2, "num_bars": 1000}
"""Our network as large as the public one."""
POOL, CONTEXT = 1000, 24
"""Candidates and evaluations that the references are about."""
ENV_STEPS = 100.0
"""Env-steps per CPU-second, optimisation included, that we aim for."""
FEW = {"num_tasks": 2, "num_minibatches": 2, "likelihood_batch": 2}
"""A sixth of the preset's tasks in every part of an iteration: the work of a step is the same."""
LATENCY = 0.020
"""Seconds within which a suggestion is to come."""


class Learner(NamedTuple):
    """What an iteration of reinforcement learning changes."""

    params: Any
    policy_optimiser: Any


def likelihood_rows(num_updates=5):
    """Yields the rate of updates of the first phase."""
    settings, nap = NAP_CPU.likelihood, make_nap(**asdict(NAP_CPU.model))
    sample, optimiser = _batches(NAP_CPU)(settings.batch_size), build_optimisers(NAP_CPU)[0]

    def loss(params, key):
        keys = jax.random.split(key, settings.batch_size)
        one = partial(context_loss, nap, params, max_context=settings.max_context)
        return jnp.mean(jax.vmap(one)(sample(key), keys))

    def update(carry, key):
        params, moments = carry
        updates, moments = optimiser.update(jax.grad(loss)(params, key), moments, params)
        return (optax.apply_updates(params, updates), moments), None

    run = jax.jit(lambda carry, keys: jax.lax.scan(update, carry, keys)[0])
    params = nap.init(jax.random.key(0))
    start, keys = (params, optimiser.init(params)), jax.random.split(jax.random.key(1), num_updates)
    seconds = best(lambda: run(start, keys)) / num_updates
    yield row("likelihood nap-cpu: update", seconds, "CPU-s")
    yield row("likelihood nap-cpu", settings.batch_size / seconds, "tasks/CPU-s")


def policy_rows():
    """Yields the rate of reinforcement learning, acting and learning included."""
    config = replace(NAP_CPU, policy=replace(NAP_CPU.policy, **FEW))
    yield row("policy nap-cpu", _steps_per_second(config), "env-steps/CPU-s", target=ENV_STEPS)


def training_rows():
    """Yields the rate at which transitions on pools of 1000 are learned from; ours act within the time as well."""
    rate, reference = _steps_per_second(_on_large_pools(NAP_CPU)), 1.0 / TRANSITION
    yield row("training N 1000 T 24, nap-cpu", rate, "transitions/CPU-s", reference, 10.0 * reference)


def joint_rows():
    """Yields the same two rates where reinforcement learning moves the transformer too, in one epoch on large pools."""
    model = replace(NAP_CPU.model, stop_gradient=False)
    config = replace(NAP_CPU, model=model, policy=replace(NAP_CPU.policy, **FEW))
    yield row("policy nap-joint-cpu", _steps_per_second(config), "env-steps/CPU-s")
    config = _on_large_pools(config)
    config = replace(config, policy=replace(config.policy, num_epochs=1))
    unit, reference = "transitions/CPU-s", 1.0 / TRANSITION
    yield row("training N 1000 T 24, joint, 1 epoch", _steps_per_second(config), unit, reference)


def trajectory_rows(horizon=100):
    """Yields the rate of trajectories of the default network and of the Gaussian process; one is run at a time."""
    nap = make_nap(**asdict(NAP_CPU.model))
    model = nap_optimiser(nap, nap.init(jax.random.key(0)))
    reference = 1.0 / (horizon * FORWARD)
    rate = 1.0 / _seconds_of_trajectory(model, horizon)
    yield row(f"trajectory N 1000 T {horizon}, nap-cpu", rate, "trajectories/CPU-s", reference, 50.0 * reference)
    rate = 1.0 / _seconds_of_trajectory(gp_ei(), 45)
    yield row("trajectory N 1000 T 45, GP-EI", rate, "trajectories/CPU-s", 1.0 / PROCESS)


def official_rows():
    """Yields the rate of our network at the size of the public one, like for like."""
    nap, task = make_nap(**OFFICIAL), jax.tree.map(lambda leaf: leaf[0], _pools(45).params)
    params = nap.init(jax.random.key(0))
    seen = Evaluations(task.x[:CONTEXT], task.y[:CONTEXT], jnp.ones((CONTEXT,), bool))

    @jax.jit
    def forward(params, task):
        return nap.prefer(params, nap.believe(params, task.kind, seen, task.x), jnp.float32(0.5))

    @jax.jit
    def gradient(params, task):
        return jax.grad(lambda p: context_loss(nap, p, task, jax.random.key(1), max_context=CONTEXT))(params)

    rate = 1.0 / best(lambda: forward(params, task))
    yield row("official size, forward N 1000 L 24", rate, "passes/CPU-s", 1.0 / FORWARD)
    rate = 1.0 / best(lambda: gradient(params, task))
    yield row("official size, forward and backward", rate, "passes/CPU-s", 2.0 / TRANSITION)


def memory_rows(sizes=(1000, 8000, 65_000)):
    """Yields the peak of what one pass holds between input and output, as the compiler planned it."""
    density = {}
    for size in sizes:
        megabytes = _megabytes(NAP_CPU, size)
        density[size] = size / megabytes
        yield row(f"memory nap-cpu N {size}", megabytes, "MB")
    name = f"memory nap-cpu N {sizes[-1]} against N {sizes[1]}"
    yield row(name, density[sizes[-1]], "candidates/MB", density[sizes[1]], 0.95 * density[sizes[1]])
    yield row(f"memory nap-cpu N {sizes[-1]} in blocks", _megabytes(NAP_CPU, sizes[-1], True), "MB")
    yield row(f"memory nap N {sizes[-1]}", _megabytes(NAP, sizes[-1]), "MB")
    yield row(f"memory nap N {sizes[-1]} in blocks", _megabytes(NAP, sizes[-1], True), "MB")


def latency_rows(num_told=50, repeats=10):
    """Yields how long one waits for a suggestion of an untrained model after some results."""
    settings = asdict(NAP_CPU.model)
    params = jax.device_get(make_nap(**settings).init(jax.random.key(0)))
    with tempfile.TemporaryDirectory() as directory:
        trained = load_nap(save_nap(directory, settings, params, {"head": "acquisition"}))
    optimizer = Optimizer({f"x{i}": Float(0.0, 1.0) for i in range(6)}, trained)

    def answer(config):
        optimizer.tell(config, -sum((value - 0.3) ** 2 for value in config.values()))

    answers = optimizer.space.decode(optimizer.space.spread(_uniform(num_told - 2)))
    for config in answers:
        answer(config)
    waits, used = [], []
    for is_warm in (False, False, *[True] * repeats):
        start = time.perf_counter()
        seconds, (config,) = cpu_seconds(optimizer.ask)
        if is_warm:
            waits.append(time.perf_counter() - start)
            used.append(seconds)
        answer(config)
    median = statistics.median(waits)
    yield row("suggestion at 50 results, wall, fastest", 1e3 * min(waits), "ms")
    yield row("suggestion at 50 results, wall, median", 1e3 * median, "ms")
    yield row("suggestion at 50 results, CPU, median", 1e3 * statistics.median(used), "CPU-ms")
    yield row("suggestions at 50 results", 1.0 / median, "asks/s", target=1.0 / LATENCY)


ROWS = {
    "memory": memory_rows,
    "latency": latency_rows,
    "trajectory": trajectory_rows,
    "official": official_rows,
    "likelihood": likelihood_rows,
    "training": training_rows,
    "policy": policy_rows,
    "joint": joint_rows,
}
"""What is measured, by name."""


def _batches(config):
    families = build_sources(config)
    return partial(make_batches, families, config.tasks.shares, permuted=config.tasks.permuted)


def _on_large_pools(config):
    policy = replace(config.policy, horizon=CONTEXT, group_size=4, **FEW)
    return replace(config, tasks=TasksConfig(("xgb-bank",), (1.0,), num_candidates=POOL), policy=policy)


def _steps_per_second(config):
    """Returns env-steps per CPU-second of an iteration of reinforcement learning."""
    nap, optimiser = make_nap(**asdict(config.model)), build_optimisers(config)[1]
    improve = jax.jit(make_policy_step(config, nap, _batches(config), optimiser))
    params, key = nap.init(jax.random.key(0)), jax.random.key(1)
    state = Learner(params, optimiser.init(params))
    compiled = improve.lower(state, key).compile()
    seconds, (_, metrics) = cpu_seconds(lambda: jax.block_until_ready(compiled(state, key)))
    return int(metrics["env_steps"]) / seconds


def _pools(horizon):
    return protocol_pools([("xgb/34", 0)], horizon=horizon, num_candidates=POOL)


def _seconds_of_trajectory(optimiser, horizon):
    pools, env = _pools(horizon), BlackBox(POOL, max_horizon=horizon)
    task = jax.tree.map(lambda leaf: leaf[0], pools.params)
    run = jax.jit(partial(run_trajectory, optimiser, env))
    return best(lambda: run(task, pools.initial[0], jax.random.key(0)))


def _megabytes(config, size, in_blocks=False):
    nap = make_nap(**asdict(config.model))
    believe = partial(believe_in_blocks, nap) if in_blocks else nap.believe

    def choose(params, kind, seen, candidates):
        return jnp.argmax(nap.prefer(params, believe(params, kind, seen, candidates), jnp.float32(0.5)))

    shaped = jax.ShapeDtypeStruct
    seen = Evaluations(shaped((50, 20), jnp.float32), shaped((50,), jnp.float32), shaped((50,), jnp.bool_))
    rest = shaped((20,), jnp.int32), seen, shaped((size, 20), jnp.float32)
    compiled = jax.jit(choose).lower(jax.eval_shape(nap.init, jax.random.key(0)), *rest).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


def _uniform(count):
    return jax.device_get(jax.random.uniform(jax.random.key(7), (count, 6))).astype(float)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), help="what is measured")
    parser.add_argument("--out", type=Path, default=Path("build/bench/metabo.json"), help="where rows are written")
    given = parser.parse_args()
    write([result for name in given.only for result in ROWS[name]()], given.out)


if __name__ == "__main__":
    main()
