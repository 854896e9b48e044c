"""Throughput of the walker on stump tracks against Box2D: env-steps per CPU-second, and CPU-seconds to compile.

512 environments with tracks of their own take random actions; an episode that ends begins again on a new track. Costs
are process CPU-seconds on one core; the median of the repetitions counts.

The reference is the official environment, `bipedal_walker_continuous.py` of flowersteam/teachDeepRL with Box2D 2.3.10
from Python on one thread, which steps one body at a time.

    python tests/benchmarks/walker_throughput.py [--out build/bench/walker.json]
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# One thread does the work: CPU-seconds of waiting threads would count too.
os.environ["NPROC"] = "1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp

from envs.walker.families import hexagon_tracks, stump_tracks
from tests.benchmarks.measure import cpu_seconds, row, write

NUM_ENVS, NUM_STEPS, NUM_REPETITIONS = 512, 200, 5
MAX_COMPILE = 8.0
"""CPU-seconds within which the program is to be traced and compiled."""
EMITTERS = {"": {}, ", no fusion emitters": {"xla_cpu_use_fusion_emitters": False}}
"""How the compiler makes code of fused operations: as by default, or the older way."""
WORLDS = (
    ("stumps default", stump_tracks, "default", 2941.0, 14.0),
    ("stumps short", stump_tracks, "short", 3353.0, None),
    ("stumps quadru", stump_tracks, "quadru", 2727.0, None),
    ("hexagons quadru", hexagon_tracks, "quadru", 2523.0, None),
)
"""Tracks, body, env-steps per CPU-second of the official code, and how many times that we aim for."""


def program(family, num_envs):
    """Returns `(start, walk)`: `start(key)` is the carry of `walk(carry, key)`, which takes `NUM_STEPS` steps."""
    env = family.env

    def start(key):
        key_task, key_reset = jax.random.split(key)
        params = jax.vmap(lambda key: family.sample(key).params)(jax.random.split(key_task, num_envs))
        return params, *jax.vmap(env.reset)(jax.random.split(key_reset, num_envs), params)

    def walk(carry, key):
        params = carry[0]

        def step(carry, key):
            key_action, key_step = jax.random.split(key)
            action = jax.random.uniform(key_action, (num_envs, env.num_actions), minval=-1.0)
            keys = jax.random.split(key_step, num_envs)
            observation, state, reward, terminated, truncated, _ = jax.vmap(env.step)(keys, carry[1], action, params)
            return (observation, state), (reward, terminated | truncated)

        after, (rewards, ends) = jax.lax.scan(step, carry[1:], jax.random.split(key, NUM_STEPS))
        return (params, *after), (jnp.mean(rewards), jnp.sum(ends))

    return start, walk


def rows_of(name, make, body, reference, target):
    """Yields the rows of one world."""
    start, walk = program(make(body=body), NUM_ENVS)
    carry = jax.jit(start)(jax.random.key(0))
    for words, options in EMITTERS.items():
        seconds, compiled = cpu_seconds(
            lambda: jax.jit(walk).lower(carry, jax.random.key(0)).compile(compiler_options=options)  # noqa: B023
        )
        limit = row(f"{name}{words}: trace and compile", seconds, "CPU-s")
        yield limit if target is None else limit | {"target": MAX_COMPILE, "met": bool(seconds <= MAX_COMPILE)}
        rates = []
        for repetition in range(NUM_REPETITIONS + 1):  # the first is not counted
            used, (carry, _) = cpu_seconds(lambda: jax.block_until_ready(compiled(carry, jax.random.key(repetition))))  # noqa: B023
            rates += [NUM_ENVS * NUM_STEPS / used] if repetition else []
        compared = () if target is None else (reference, target * reference)
        yield row(f"{name}{words}, {NUM_ENVS} at once", statistics.median(rates), "env-steps/CPU-s", *compared)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench/walker.json"), help="where rows are written")
    write([result for world in WORLDS for result in rows_of(*world)], parser.parse_args().out)


if __name__ == "__main__":
    main()
