"""Throughput of PPO on MinAtar Breakout against public JAX code: `make bench-ppo`.

64 environments x 128 steps, 4 epochs x 8 minibatches, separate actor and critic of 64-64 units on flattened pictures,
one life alone and four at once. Costs are process CPU-seconds on one core without compilation; the median of
interleaved repetitions counts.

The references are PureJaxRL's ppo.py (luchris429/purejaxrl; `--public DIRECTORY` of a checkout) and rejax (measured if
it is installed). Both step gymnax 1.0 through gymnax's own wrapper for its former interface, without the true successor
in `info`, which they do not use. The faster of those that are measured side by side is what ours is compared with; if
there is none, the rate stored here, and the ratio then carries the difference between machines.
"""

import argparse
import importlib.util
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# JAX starts a thread for every core it may use. On one core none waits for another at the expense of CPU-seconds, which
# costs the programs up to a fifth, unequally; and on two cores PureJaxRL's four lives can wait for ever.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

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
STORED = {1: 61.4e3, 4: 55.1e3}
"""env-steps per CPU-second by the number of lives at once, of PureJaxRL; rejax 0.1.3 is within 3 % of it. Measured with
jax 0.10.2 on one of two x86-64 cores with AVX-512."""


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


def purejaxrl(directory: Path) -> Callable[[jax.Array], Any]:
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


def rejax() -> Callable[[jax.Array], Any]:
    """Returns `train(key)` of rejax with the same network and batch. It clips gradients entry by entry, keeps one
    optimiser for the actor and one for the critic, and does not anneal."""
    from rejax import PPO  # pyright: ignore[reportMissingImports]

    agent = default_agent(ENV, "ppo", None)
    env, params = gymnax.make(ENV)
    num_steps = NUM_UPDATES * agent.num_envs * agent.unroll_length
    program = PPO.create(
        env=FormerInterface(env),
        env_params=params,
        num_envs=agent.num_envs,
        num_steps=agent.unroll_length,
        num_epochs=agent.num_epochs,
        num_minibatches=agent.num_minibatches,
        learning_rate=agent.policy_learning_rate,
        max_grad_norm=agent.max_grad_norm,
        agent_kwargs={"activation": agent.activation, "hidden_layer_sizes": agent.hidden},
        total_timesteps=num_steps,
        eval_freq=num_steps,
        skip_initial_evaluation=True,
    )
    return program.replace(eval_callback=lambda program, state, key: ()).train


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
    medians = {name: statistics.median(values) for name, values in rates.items()}
    reference = max((rate for name, rate in medians.items() if name != "ours"), default=STORED[num_lives])
    for name, rate in medians.items():
        compared = (reference, reference) if name == "ours" else ()
        rows.append(row(f"{name}, {num_lives} at once", rate, "env-steps/CPU-s", *compared))
    return rows


def main() -> None:
    """Measures, prints the rows and writes them."""
    parser = argparse.ArgumentParser(description="Throughput of PPO on MinAtar Breakout.")
    parser.add_argument("--public", type=Path, help="checkout of luchris429/purejaxrl, to be measured side by side")
    arguments = parser.parse_args()
    programs = {"ours": ours()}
    if arguments.public is not None:
        programs["PureJaxRL"] = purejaxrl(arguments.public)
    if importlib.util.find_spec("rejax") is not None:
        programs["rejax"] = rejax()
    write([result for num_lives in (1, 4) for result in measure(programs, num_lives)], OUT)


if __name__ == "__main__":
    main()
