"""How well samplers of Optuna optimise tables that no model was trained on, as their users run them.

A study proposes configurations of a space and never sees a pool. A grid answers exactly, a table of XGBoost with the
value of its nearest configuration (`envs.blackbox.lookup`), so that there a study optimises a function that is constant
around each of 1000 points: regrets are comparable between samplers, not with those of pools.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from envs.blackbox.live_suites import Track
from envs.blackbox.lookup import make_lookup
from envs.blackbox.protocol import BIG_TABLES
from envs.blackbox.splits import TEST
from envs.blackbox.tables import Table, load_table
from metarl.experiments.evaluate import row_of
from metarl.experiments.metabo_phases import INITIAL_POINTS
from metarl.experiments.regret_rows import NAPFindings, improvement_row, paired_rows, regret_rows
from metarl.metabo.export import TrainedNAP

if TYPE_CHECKING:
    from metarl.metabo.optuna_study import Course

NAME = "optuna"
"""What this examination is called among suites."""
HELD_OUT: tuple[str, ...] = (*(name for name in TEST if name.startswith("xgb/")), *BIG_TABLES)
"""20 tables: 14 of XGBoost and 3 grids to test on, and 3 grids by which models may have been chosen."""


def require_optuna() -> None:
    """Raises ValueError, which names the extra, if there is no Optuna."""
    try:
        import metarl.metabo.optuna_sampler  # noqa: F401
    except ImportError as error:
        raise ValueError(str(error)) from error


def examine_samplers(
    model: TrainedNAP,
    *,
    num_trials: int = 30,
    num_seeds: int = 10,
    seed: int = 0,
    tables: Sequence[str] = HELD_OUT,
    report: Callable[[str], None] = lambda message: None,
    track: Track = iter,
) -> NAPFindings:
    """Returns how samplers do in studies of all tables and seeds, paired: the same first trials for all.

    Curves and areas begin with the regret after the five start-up trials, which is the same for all samplers.

    Args:
        model: what `NAPSampler` chooses by.
        num_trials: T of a study, the start-up ones included: at least 6.
        num_seeds: studies of each table.
        seed: root of the seeds of studies.
        tables: names of `envs.blackbox.tables.TABLES`.
        report: told who is at work.
        track: shows how many tables are done.

    Raises:
        ValueError: if there is no Optuna, or there are no trials beyond the start-up.
    """
    require_optuna()
    from metarl.metabo.optuna_study import make_samplers, run_study

    if num_trials <= INITIAL_POINTS:
        raise ValueError(f"{num_trials} trials were given; {INITIAL_POINTS} are the start-up, so give more")
    tasks = tuple(name for name in tables for _ in range(num_seeds))
    rows, curves = [], {}
    for arm, make in make_samplers(model, num_startup=INITIAL_POINTS, num_trials=num_trials).items():
        report(f"{NAME}: {arm} in {len(tasks)} studies of {num_trials} trials")
        courses = [
            run_study(make(study_seed(seed, name, index)), lookup, num_trials)
            for name in track(list(tables))
            for lookup in [make_lookup(load_table(name))]
            for index in range(num_seeds)
        ]
        found = [regret_curve(load_table(task), course.rows) for task, course in zip(tasks, courses, strict=True)]
        curves[arm] = np.stack(found)[:, INITIAL_POINTS - 1 :]
        rows += regret_rows(NAME, tasks, arm, curves[arm], first=INITIAL_POINTS)
        rows.append(improvement_row(NAME, tasks, arm, curves[arm], first=INITIAL_POINTS))
        rows.append(seconds_row(arm, tasks, courses))
    rows += paired_rows(NAME, tasks, curves, first=INITIAL_POINTS)
    arrays = {f"{NAME}/{arm}": curve.astype(np.float32) for arm, curve in curves.items()}
    return NAPFindings(rows, {**arrays, f"{NAME}/tasks": np.array(tasks)})


def study_seed(seed: int, table: str, index: int) -> int:
    """Returns the seed of a study, which all samplers share: below 2^32, another for every table and index."""
    return int(np.random.SeedSequence([seed, zlib.crc32(table.encode()), index]).generate_state(1)[0])


def regret_curve(table: Table, rows: Int[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Returns the regret after each trial, as a share of the distance from best to worst of the whole table."""
    y = table.y.astype(np.float64)
    best = np.maximum.accumulate(y[rows])
    return (np.max(y) - best) / (np.max(y) - np.min(y))


def seconds_row(arm: str, tasks: Sequence[str], courses: Sequence["Course"]) -> dict[str, Any]:
    """Returns the row `seconds_per_suggestion`: for each task the median over trials after the start-up and seeds.

    Medians, because a few suggestions compile. The row's `median` is that over all tasks' trials.
    """
    seconds = np.stack([course.seconds[INITIAL_POINTS:] for course in courses])
    names = np.array(tasks)
    values = np.asarray([np.median(seconds[names == name]) for name in np.unique(names)])
    extra = {"median": float(np.median(seconds)), "num_trajectories": len(courses)}
    return row_of(arm, NAME, {"after": INITIAL_POINTS}, "seconds_per_suggestion", values, extra)
