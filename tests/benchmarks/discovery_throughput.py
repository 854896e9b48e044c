"""Throughput of one ES generation in two settings that EmptyJackson/groove was measured in: `make bench-discovery`.

Each setting is one generation of 16 candidates with 16 workers each; nominal work counts 250 updates for every life, as
the reference does, while kept work counts the updates that change an agent. Costs are process CPU-seconds without
compilation. The reference rates were measured once on another machine (jax 0.4.13); ratios to them are indicative, so
rates of kept work are printed beside them.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

from metarl.experiments.build import build_agent, build_families, build_rule, build_strategy
from metarl.experiments.config import AgentConfig, FamilyConfig, LPGConfig, PopulationConfig
from metarl.lifetime.lifetime import make_lifetime
from populations.generation import make_generation
from tests.benchmarks.measure import cpu_seconds, row, write

OUT = Path("build/bench/discovery.json")
NUM_PAIRS, NUM_ENVS, UNROLL, NOMINAL_LIFETIME = 8, 16, 20, 250
NUM_GENERATIONS = 8
"""Generations averaged over, each with fresh levels and lifetimes."""


class Setting(NamedTuple):
    """One row of the reference."""

    name: str
    env: str
    lifetime: tuple[int, int]
    """Bounds of the log-uniform law of lifetimes, in updates."""
    hidden_size: int
    microbatch: int
    reference: float
    """env-steps per CPU-second of the reference."""
    target: float


SETTINGS = (
    Setting("all_vrandlife, GRU-256", "gridworld/all_vrandlife", (10, NOMINAL_LIFETIME), 256, 2, 10.2e3, 204e3),
    Setting("small, GRU-32", "gridworld/small", (NOMINAL_LIFETIME, NOMINAL_LIFETIME), 32, 16, 136e3, 1.36e6),
)


def measure(setting: Setting) -> list[dict]:
    """Returns the result rows of one setting: rates of nominal and of kept work, and the cost of compiling."""
    generation, state = make_benchmark(setting)
    compile_seconds, compiled = cpu_seconds(lambda: jax.jit(generation).lower(jax.random.key(0), state).compile())
    keys = jax.random.split(jax.random.key(1), NUM_GENERATIONS)
    jax.block_until_ready(compiled(jax.random.key(0), state))
    cost, results = cpu_seconds(lambda: jax.block_until_ready([compiled(key, state)[1] for key in keys]))
    steps_per_update = NUM_ENVS * UNROLL
    nominal = NUM_GENERATIONS * 2 * NUM_PAIRS * NOMINAL_LIFETIME * steps_per_update / cost
    kept = float(sum(jnp.sum(result.info["lifetime"]) for result in results)) * steps_per_update / cost
    return [
        row(f"{setting.name}: nominal", nominal, "env-steps/CPU-s", setting.reference, setting.target),
        row(f"{setting.name}: kept", kept, "env-steps/CPU-s"),
        row(f"{setting.name}: generation", cost / NUM_GENERATIONS, "CPU-s"),
        row(f"{setting.name}: trace and compile", compile_seconds, "CPU-s"),
    ]


def make_benchmark(setting: Setting):
    """Returns `(generation(key, state), state)`: fresh levels and lifetimes, whole lives, evaluation included."""
    family = build_families(FamilyConfig((setting.env,), setting.lifetime))[0]
    params = jax.eval_shape(family.sample, jax.random.key(0)).params
    rule = LPGConfig(hidden_size=setting.hidden_size)
    objective = build_rule(rule, AgentConfig(), family.env.action_space(params))
    agent = build_agent(AgentConfig(num_envs=NUM_ENVS, unroll_length=UNROLL), family, objective, params)
    lifetime = make_lifetime(family, agent, num_envs=NUM_ENVS)
    initial = jax.tree.map(jnp.zeros_like, objective.init(jax.random.key(0)))
    strategy = build_strategy(PopulationConfig(size=2 * NUM_PAIRS), initial)

    def evaluate(meta_params, task, key, bound):
        return lifetime(meta_params, task, key, bound).fitness, {"lifetime": task.lifetime}

    generation = make_generation(
        strategy, evaluate, family.sample, microbatch=setting.microbatch, cost=lambda task: task.lifetime
    )
    return generation, strategy.init(jax.random.key(0), initial)


def main() -> None:
    """Measures all settings, prints the rows and writes them."""
    write([result for setting in SETTINGS for result in measure(setting)], OUT)


if __name__ == "__main__":
    main()
