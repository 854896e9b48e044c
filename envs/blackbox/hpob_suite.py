"""HPO-B's test tasks as suites, one per search space, with the starts that its protocol prescribes."""

import os
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from envs.blackbox.hpob import SEEDS, hpob_task, initial_points, open_hpob
from envs.blackbox.live_suites import stacked_pools
from envs.blackbox.suites import Suite


def hpob_suites(folder: str | os.PathLike, *, horizon: int = 100, num_seeds: int = len(SEEDS)) -> Iterator[Suite]:
    """Yields `hpob/<space>` for every space with data sets to test on; pools of one space are padded to its largest.

    Args:
        folder: the four files of the benchmark, see `envs.blackbox.hpob`.
        horizon: T, evaluations after the five that are prescribed.
        num_seeds: sets of prescribed points, at most 5.

    Raises:
        ValueError: if a file is missing or damaged, or there are fewer seeds.
    """
    if not 1 <= num_seeds <= len(SEEDS):
        raise ValueError(f"{num_seeds} starts in each table were asked for; HPO-B prescribes {len(SEEDS)}")
    benchmark = open_hpob(folder)
    for space, datasets in benchmark.datasets["test"].items():
        tables = [(f"hpob/{space}/{name}", hpob_task(benchmark, space, name)) for name in datasets]
        starts = [[initial_points(benchmark, space, name, seed) for seed in SEEDS[:num_seeds]] for name in datasets]
        tasks, params = stacked_pools(tables, horizon=horizon, num_seeds=num_seeds)
        initial = jnp.asarray(np.concatenate([np.stack(of_table) for of_table in starts]), jnp.int32)
        yield Suite(f"hpob/{space}", tasks, params, initial)
