"""Cost of teachers on the toy, of the walker, and of both with a student in one program, in CPU-seconds.

References: the teachers of flowersteam/teachDeepRL on their own toy, 20,000 episodes, one run after another; its walker
with Box2D from Python; and, for the whole program, what one core is expected to do.

    python tests/benchmarks/teaching_throughput.py [--out build/bench/teaching.json]
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.walker_throughput import WORLDS, rows_of  # isort: skip  # sets one thread before jax is imported

import jax

from metarl.experiments.teach import make_teaching
from metarl.experiments.teach_config import TeachConfig
from metarl.experiments.teach_presets import TEACH_PRESETS
from tests.benchmarks.measure import cpu_seconds, row, write

NUM_SEEDS = 32
TOY = (("alp-gmm", 21.0, 100.0), ("covar-gmm", 16.4, 100.0), ("riac", 41.8, 10.0), ("uniform", 3.9, None))
"""Teacher, CPU-seconds of a run of the official code, and how many times less that we aim for."""
EXPECTED = 25_000.0
"""Env-steps per CPU-second of student, teacher and walker together."""


def toy_rows():
    """Yields the CPU-seconds of a run of 20,000 episodes, many of which are one program."""
    for spec, reference, target in TOY:
        teaching = make_teaching(TeachConfig(teachers=(spec,), num_students=NUM_SEEDS))
        state = jax.jit(teaching.experiment.init)(jax.random.key(0))
        step = jax.jit(teaching.experiment.step).lower(state).compile()

        def run(state=state, step=step):
            for _ in range(80):
                state, metrics = step(state)
            return jax.block_until_ready(metrics)

        used, metrics = cpu_seconds(run)
        goal = () if target is None else (target / reference,)
        compared = () if target is None else (1.0 / reference, *goal)
        yield row(f"toy {spec}, {NUM_SEEDS} seeds", NUM_SEEDS / used, "runs/CPU-s", *compared)
        yield row(f"toy {spec}, mastered", float(metrics[f"mastered/{spec}"]), "%")


def program_rows():
    """Yields the throughput of PPO on the walker with ALP-GMM, acting, learning and fitting included."""
    config = TEACH_PRESETS["alp-gmm-stumps-cpu"].config
    config = replace(
        config,
        teachers=("alp-gmm",),
        num_students=1,
        updates=8,
        updates_per_step=2,
        student=replace(config.student, grid=1),
    )
    teaching = make_teaching(config)
    state = jax.jit(teaching.experiment.init)(jax.random.key(0))
    seconds, step = cpu_seconds(lambda: jax.jit(teaching.experiment.step).lower(state).compile())
    yield row("PPO + ALP-GMM + walker: trace and compile", seconds, "CPU-s")
    rates = []
    for _ in range(4):
        used, (state, metrics) = cpu_seconds(lambda state=state: jax.block_until_ready(step(state)))
        rates.append(int(metrics["env_steps"]) / used)
    yield row("PPO + ALP-GMM + walker", max(rates), "env-steps/CPU-s", EXPECTED, EXPECTED)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench/teaching.json"), help="where rows are written")
    rows = [*toy_rows(), *program_rows(), *(result for world in WORLDS for result in rows_of(*world))]
    write(rows, parser.parse_args().out)


if __name__ == "__main__":
    main()
