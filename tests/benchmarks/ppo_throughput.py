"""Throughput of PPO on MinAtar Breakout against public single-file JAX code: `make bench-ppo`.

64 environments x 128 steps, 4 epochs x 8 minibatches, separate actor and critic of 64-64 units on flattened pictures,
one life alone and four at once. Costs are process CPU-seconds without compilation; the median of interleaved
repetitions counts.

The reference is PureJaxRL's ppo.py (luchris429/purejaxrl), the faster of the two public programs that were measured
(the other is rejax). It steps gymnax 1.0 through gymnax's own wrapper for its former interface, without the true
successor in `info`, which it does not use. With `--public DIRECTORY`, a checkout of it, it is measured side by side;
otherwise rates are compared with those once measured on two x86-64 cores with jax 0.10.2, and the ratio carries the
difference between machines.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import gymnax
import jax
import jax.numpy as jnp
from gymnax.wrappers import LegacyStepAPIWrapper

from envs.registry import make_family
from metarl.experiments.agents import default_agent
from metarl.experiments.build import build_agent, build_objective
from metarl.progress import Progress
from tests.benchmarks.measure import cpu_seconds, row, write

OUT = Path("build/bench/ppo.json")
ENV, NUM_UPDATES, NUM_REPETITIONS = "Breakout-MinAtar", 5, 7
STORED = {1: 43.0e3, 4: 43.0e3}
"""env-steps per CPU-second of PureJaxRL, by the number of lives at once."""


def ours() -> Callable[[jax.Array], Any]:
    """Returns `train(key)`, a life of PPO through this package's agent."""
    config, family = default_agent(ENV, "ppo", None), make_family(ENV)
    params = family.env.default_params
    objective = build_objective("ppo", config, family.env.action_space(params))
    agent = build_agent(config, family, objective, params)

    def train(key: jax.Array) -> Any:
        key_init, key_updates = jax.random.split(key)

        def update(state: Any, step: jax.Array) -> tuple[Any, dict]:
            progress = Progress(step, jnp.int32(NUM_UPDATES))
            return agent.update((), state, params, progress, jax.random.fold_in(key_updates, step))

        return jax.lax.scan(update, agent.init(key_init, params), jnp.arange(NUM_UPDATES))

    return train


class FormerInterface(LegacyStepAPIWrapper):
    """An environment with five-value steps and no true successor in `info`."""

    def __deepcopy__(self, memo: dict) -> "FormerInterface":
        """Returns itself: gymnax compiles anew for every copy."""
        return self

    def step(self, key: Any, state: Any, action: Any, params: Any = None) -> tuple:
        """Returns `(observation, state, reward, done, info)`."""
        *rest, info = super().step(key, state, action, params)
        return *rest, {"discount": info["discount"]}


def public(directory: Path) -> Callable[[jax.Array], Any]:
    """Returns `train(key)` of PureJaxRL's ppo.py with the same settings."""
    sys.path.insert(0, str(directory))
    import purejaxrl.ppo as program  # pyright: ignore[reportMissingImports]

    def make(name: str) -> tuple[Any, Any]:
        env, params = gymnax.make(name)
        return FormerInterface(env), params

    program.gymnax = type("Gymnax", (), {"make": staticmethod(make)})
    agent = default_agent(ENV, "ppo", None)
    return program.make_train(
        {
            "ENV_NAME": ENV,
            "LR": agent.policy_learning_rate,
            "NUM_ENVS": agent.num_envs,
            "NUM_STEPS": agent.unroll_length,
            "TOTAL_TIMESTEPS": NUM_UPDATES * agent.num_envs * agent.unroll_length,
            "UPDATE_EPOCHS": agent.num_epochs,
            "NUM_MINIBATCHES": agent.num_minibatches,
            "GAMMA": agent.discount,
            "GAE_LAMBDA": agent.lambda_,
            "CLIP_EPS": 0.2,
            "ENT_COEF": agent.entropy_coefficient,
            "VF_COEF": agent.value_coefficient,
            "MAX_GRAD_NORM": agent.max_grad_norm,
            "ACTIVATION": agent.activation,
            "ANNEAL_LR": True,
            "DEBUG": False,
        }
    )


def measure(programs: dict[str, Callable], num_lives: int) -> list[dict]:
    """Returns the rows of every program with so many lives at once, the programs taking turns."""
    agent = default_agent(ENV, "ppo", None)
    steps = num_lives * NUM_UPDATES * agent.num_envs * agent.unroll_length
    compiled, rows = {}, []
    for name, train in programs.items():
        lives = jax.jit(jax.vmap(train))
        keys = jax.random.split(jax.random.key(0), num_lives)
        seconds, compiled[name] = cpu_seconds(lambda lives=lives, keys=keys: lives.lower(keys).compile())
        rows.append(row(f"{name}, {num_lives} at once: trace and compile", seconds, "CPU-s"))
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for repetition in range(NUM_REPETITIONS + 1):  # the first is not counted
        keys = jax.random.split(jax.random.key(repetition), num_lives)
        for name, train in compiled.items():
            seconds, _ = cpu_seconds(lambda train=train, keys=keys: jax.block_until_ready(train(keys)))
            rates[name] += [steps / seconds] if repetition else []
    reference = statistics.median(rates["PureJaxRL"]) if "PureJaxRL" in rates else STORED[num_lives]
    for name, values in rates.items():
        compared = (reference, reference) if name == "ours" else ()
        rows.append(row(f"{name}, {num_lives} at once", statistics.median(values), "env-steps/CPU-s", *compared))
    return rows


def main() -> None:
    """Measures, prints the rows and writes them."""
    parser = argparse.ArgumentParser(description="Throughput of PPO on MinAtar Breakout.")
    parser.add_argument("--public", type=Path, help="checkout of luchris429/purejaxrl, to be measured side by side")
    arguments = parser.parse_args()
    programs = {"ours": ours()}
    if arguments.public is not None:
        programs["PureJaxRL"] = public(arguments.public)
    write([result for num_lives in (1, 4) for result in measure(programs, num_lives)], OUT)


if __name__ == "__main__":
    main()
