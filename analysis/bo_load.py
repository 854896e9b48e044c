"""What the examination of a neural process holds: regrets along evaluations, paired differences, predictions."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float

from analysis.load import Row
from analysis.looks import OPTIMISER_ARMS
from metarl.statistics import bootstrap_mean_band

PIECES = {
    "config.json": "configuration",
    "provenance.json": "provenance",
    "metrics.jsonl": "metrics of training",
    "STATUS": "status",
    "export/nap.json": "description of the exported model",
    "export/nap.npz": "weights of the exported model",
    "evaluation.json": "results on tasks that were not trained on",
    "export/curves.npz": "regret along the evaluations of every trajectory",
}
"""The files of a run that a report is made of, relative to it, in words."""
TRAINED = ("nap", "np-ei", "np-ucb", "np-ts", "np-ei-pretrained")
MODEL_ARMS = (*TRAINED, *(f"{arm}-oracle-normalised" for arm in TRAINED))
"""Arms that the run trained, the one that counts most first."""
NUM_RESAMPLES = 2000
TASKS = "tasks"
"""Name of the array of a suite that is no arm."""


class SuiteCurves(NamedTuple):
    """What happened on one suite."""

    tasks: tuple[str, ...]
    """[K] the task of each trajectory; seeds of one share it."""
    regret: Mapping[str, Float[np.ndarray, "K T"]]
    """Regret of each arm's trajectories after `first` to `first` + T - 1 evaluations."""
    first: int = 0
    """Evaluations before the first choice that are counted like others."""

    @property
    def num_tasks(self) -> int:
        """Different tasks."""
        return len(set(self.tasks))

    @property
    def is_study(self) -> bool:
        """Whether samplers ran in studies of whole tables; else optimisers chose from pools."""
        return self.first > 0


class Band(NamedTuple):
    """A mean over tasks and its 95 % bootstrap interval."""

    mean: Float[np.ndarray, "*n"]
    """Mean."""
    low: Float[np.ndarray, "*n"]
    """Lower end."""
    high: Float[np.ndarray, "*n"]
    """Upper end."""


class Difference(NamedTuple):
    """Area under the regret curve of one arm minus that of another, paired by task."""

    env: str
    """Suite."""
    arm: str
    """Who is better if the difference is negative."""
    minus: str
    """Who is compared with."""
    mean: float
    """Mean over tasks."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end."""
    num_tasks: int
    """Tasks."""

    @property
    def includes_zero(self) -> bool:
        """Whether the interval leaves open who is better."""
        return self.low <= 0.0 <= self.high

    def reversed(self) -> "Difference":
        """Returns the same with the arms' places exchanged."""
        return self._replace(arm=self.minus, minus=self.arm, mean=-self.mean, low=-self.high, high=-self.low)


def optimiser_order(arms: Iterable[str]) -> list[str]:
    """Returns each arm once: those that are known as `OPTIMISER_ARMS` has them, then others as they appear."""
    places = {arm: place for place, arm in enumerate(OPTIMISER_ARMS)}
    return sorted(dict.fromkeys(arms), key=lambda arm: places.get(arm, len(places)))


def read_suites(path: Path, rows: Iterable[Row] = ()) -> dict[str, SuiteCurves]:
    """Returns the curves in a file of arrays `suite/arm` [K, T + 1] and `suite/tasks` [K]; none if there is no file.

    Args:
        path: npz file.
        rows: of the same evaluation, which say where the curves of a suite begin; without any it is at 0.

    Raises:
        ValueError: if the file is damaged or an array is not of this shape.
    """
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:  # closed if it is no archive
            arrays = {name: held[name] for name in held.files}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it with its evaluation and evaluate again") from error
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        suite, _, arm = name.rpartition("/")
        found.setdefault(suite, {})[arm] = array
    firsts = {row.env: row.first for row in rows if row.metric == "regret_auc"}
    return {suite: _suite(path, suite, held, firsts.get(suite, 0)) for suite, held in found.items()}


def _suite(path: Path, name: str, arrays: dict[str, np.ndarray], first: int) -> SuiteCurves:
    tasks = arrays.pop(TASKS, None)
    shapes = {arm: curves.shape for arm, curves in arrays.items()}
    if not name or tasks is None or len(set(shapes.values())) != 1:
        raise ValueError(f"{path} has arrays {shapes} and tasks {tasks is not None} for {name!r}; evaluate again")
    (shape,) = set(shapes.values())
    if len(shape) != 2 or shape[0] != len(tasks):
        raise ValueError(
            f"{path} has curves of shape {shape} for {len(tasks)} trajectories of {name!r}; evaluate again"
        )
    regret = {arm: np.asarray(arrays[arm], np.float64) for arm in optimiser_order(arrays)}
    return SuiteCurves(tuple(str(task) for task in tasks), regret, first)


def by_task(values: Float[np.ndarray, "K ..."], tasks: Sequence[str]) -> Float[np.ndarray, "G ..."]:
    """Returns the mean over the trajectories of each task."""
    _, place = np.unique(np.array(tasks), return_inverse=True)
    return np.stack([values[place == index].mean(axis=0) for index in range(place.max() + 1)])


def task_band(values: Float[np.ndarray, "K T"], tasks: Sequence[str]) -> Band:
    """Returns the mean over tasks, each the mean of its trajectories, with its 95 % bootstrap interval over tasks."""
    return Band(*bootstrap_mean_band(by_task(values, tasks), num_resamples=NUM_RESAMPLES))


def mean_band(values: Float[np.ndarray, " n"]) -> Band:
    """Returns the mean of one value per task with its 95 % bootstrap interval over tasks."""
    return Band(*(part[0] for part in bootstrap_mean_band(values[:, None], num_resamples=NUM_RESAMPLES)))


def read_differences(rows: Iterable[Row]) -> list[Difference]:
    """Returns the differences of areas, the arm that comes first in `optimiser_order` minus the other."""
    found = []
    for row in rows:
        if row.metric != "regret_auc_difference":
            continue
        minus, count = str(row.setting["minus"]), len(row.values)
        one = Difference(row.env, row.arm, minus, row.mean, row.low, row.high, count)
        found.append(one if optimiser_order([row.arm, minus])[0] == row.arm else one.reversed())
    places = {arm: place for place, arm in enumerate(optimiser_order(arm for d in found for arm in (d.arm, d.minus)))}
    return sorted(found, key=lambda d: (places[d.arm], places[d.minus]))


def envs_of(rows: Iterable[Row]) -> list[str]:
    """Returns the suites in file order."""
    return list(dict.fromkeys(row.env for row in rows))


def measured(rows: Iterable[Row]) -> list[str]:
    """Returns the suites that something was optimised in."""
    return envs_of(row for row in rows if row.metric == "regret_auc")


def studies(rows: Iterable[Row]) -> list[str]:
    """Returns the suites in which samplers ran in studies of whole tables, and nobody chose from a pool."""
    return envs_of(row for row in rows if row.metric == "regret_auc" and row.first > 0)
