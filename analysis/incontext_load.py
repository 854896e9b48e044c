"""What a pretraining run holds: its examination, as outcomes at single points and as curves."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from analysis.load import Run, load_run, read_rows
from metarl.experiments.findings import Curve

PIECES = {
    "config.json": "configuration",
    "provenance.json": "provenance",
    "metrics.jsonl": "metrics of training",
    "STATUS": "status",
    "export/model.json": "description of the exported model",
    "export/model.npz": "weights of the exported model",
    "evaluation.json": "results in held-out tasks",
    "export/curves.npz": "curves of means and standard errors in held-out tasks",
}
"""The files of a pretraining run that a report is made of, relative to it, in words."""
UNITS = ("horizon", "episode", "context")
"""What outcomes are counted along: pulls of a bandit, episodes, transitions of a given data set."""
INTERVAL = 1.96
"""Standard errors on either side of a mean in a 95 % interval."""


class Setting(NamedTuple):
    """Where and how arms were compared; what stands in one table or panel."""

    env: str
    """Domain."""
    mode: str
    """`online` or `offline`."""
    protocol: str
    """When the context grew; empty where there is only one way."""
    metric: str
    """`regret`, `return` or `suboptimality`."""
    unit: str
    """One of `UNITS`."""


class Outcome(NamedTuple):
    """How an arm did at one point: a mean over held-out tasks."""

    arm: str
    """Who acted."""
    point: int | str
    """Number of pulls, episodes or given transitions, or `all` for the mean over episodes."""
    mean: float
    """Mean; NaN where the file has null."""
    error: float
    """Standard error of the mean."""
    num_tasks: int
    """Held-out tasks."""

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval's length."""
        return INTERVAL * self.error


class Series(NamedTuple):
    """Whose curve it is, and where."""

    env: str
    """Domain."""
    mode: str
    """`online` or `offline`."""
    protocol: str
    """When the context grew."""
    arm: str
    """Who acted."""


def read_outcomes(path: Path) -> dict[Setting, list[Outcome]]:
    """Returns the outcomes of every setting of an evaluation file, in its order; none if there is no such file.

    Raises:
        ValueError: if the file is damaged or of another schema.
    """
    found: dict[Setting, list[Outcome]] = {}
    if not path.is_file():
        return found
    content = json.loads(path.read_text(encoding="utf-8"))
    read_rows(path, content)  # refuses what is no evaluation
    for row in content["rows"]:
        try:
            setting, outcome = _outcome(row)
        except (KeyError, TypeError, StopIteration) as error:
            raise ValueError(
                f"{path} has a row of no examination ({error!r}); delete the file and run again"
            ) from error
        found.setdefault(setting, []).append(outcome)
    return found


def _outcome(row: dict[str, Any]) -> tuple[Setting, Outcome]:
    setting = row["setting"]
    unit = next(name for name in UNITS if name in setting)
    where = Setting(str(row["env"]), setting["mode"], setting.get("protocol", ""), row["metric"], unit)
    mean, error = (np.nan if row[name] is None else float(row[name]) for name in ("mean", "error"))
    return where, Outcome(str(row["arm"]), setting[unit], mean, error, int(row["num_tasks"]))


def read_curves(path: Path, env: str) -> dict[Series, Curve]:
    """Returns the curves in a file of arrays `[domain/]mode/protocol/arm/mean|error`; none if there is no such file.

    Args:
        path: npz file.
        env: the domain of arrays that name none.

    Raises:
        ValueError: if an array has another name, or a mean lacks its error.
    """
    if not path.is_file():
        return {}
    parts: dict[Series, dict[str, Float[np.ndarray, " n"]]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            match = re.fullmatch(r"(?:(.+)/)?(online|offline)/([^/]+)/([^/]+)/(mean|error)", name)
            if match is None or arrays[name].ndim != 1:
                raise ValueError(f"{path} has an array {name!r} of shape {arrays[name].shape}; examine the run again")
            series = Series(match[1] or env, *match.groups()[1:4])
            parts.setdefault(series, {})[match[5]] = np.asarray(arrays[name], np.float64)
    if lonely := [series for series, part in parts.items() if len(part) < 2]:
        raise ValueError(f"{path} has a mean without an error, or the reverse, for {lonely[0]}; examine the run again")
    return {series: Curve(part["mean"], part["error"]) for series, part in parts.items()}


class Results(NamedTuple):
    """What an examination in held-out tasks found."""

    outcomes: dict[Setting, list[Outcome]]
    """Results by where they were measured; empty if nothing was examined."""
    curves: dict[Series, Curve]
    """Curves over pulls and episodes; empty if they were not saved."""

    @property
    def envs(self) -> list[str]:
        """The domains acted in, which need not be those of training."""
        return list(dict.fromkeys(setting.env for setting in self.outcomes))


def read_results(evaluation: Path, curves: Path) -> Results:
    """Returns what an evaluation file (JSON) and its curves (npz) hold; either may be absent.

    Raises:
        ValueError: if one of them is damaged.
    """
    outcomes = read_outcomes(evaluation)
    # Curves name no domain where there is one; it need not be that of training, and the rows always name it.
    return Results(outcomes, read_curves(curves, next((setting.env for setting in outcomes), "")))


class Examined(NamedTuple):
    """A pretraining run and what its examination found."""

    run: Run
    """What every run holds."""
    results: Results
    """Results in held-out tasks; empty if not examined."""
    absent: tuple[str, ...]
    """Paths among PIECES that do not exist."""

    @property
    def updates_per_step(self) -> int:
        """Updates of the parameters that one line of the metrics stands for."""
        return int(self.run.config.get("updates_per_step") or 1)


def load_examined(directory: Path) -> Examined:
    """Returns what a pretraining run holds; pieces that are not there are empty and named in `absent`.

    Raises:
        ValueError: if the path is not a run directory, or a file in it is damaged.
    """
    return Examined(
        load_run(directory),
        read_results(directory / "evaluation.json", directory / "export/curves.npz"),
        tuple(piece for piece in PIECES if not (directory / piece).is_file()),
    )


def trained_envs(config: Mapping[str, Any]) -> list[str]:
    """Returns the domains that a configuration trains on; none if it is empty."""
    envs = config.get("env") or []
    return [envs] if isinstance(envs, str) else [str(env) for env in envs]
