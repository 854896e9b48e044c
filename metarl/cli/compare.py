"""`metarl compare`: several seeds of one kind of run against several of another, or against an arm of their own."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from metarl.cli.parse import parse

OWN_ARMS = ("discovered", "dpt", "ad", "rl2")
"""Arms of what a run made itself: a rule, or a model that acts in context."""
METRICS = ("normalised_return", "regret", "return")
"""What is compared unless told otherwise: the first of these that there is."""
LOWER = ("regret", "suboptimality")
"""Metrics of which less is better."""
UNITS = ("horizon", "episode", "context")
"""What results are counted along."""


@dataclass(frozen=True)
class CompareArguments:
    """Compare what several runs made, rules or models that act in context, with that of others or with another arm.

    Runs are paired in the order given, so that their seeds should agree; their tasks must. Intervals are 95 % bootstrap
    intervals of the difference of interquartile means, with seeds and tasks resampled, and with tasks alone.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories or evaluation files, one for each seed."""
    against: tuple[Path, ...] = ()
    """Runs or files to compare with. None: the same ones."""
    arm: str | None = None
    """Arm of --against to compare with, such as initial, ppo or posterior. None: what these runs made."""
    metric: str | None = None
    """Metric to compare. None: normalised returns; where there are none, regrets of a bandit or else returns."""


class Key(NamedTuple):
    """Where values were measured."""

    where: str
    """Environment, and how the arms acted there if there are several ways."""
    unit: str
    """One of `UNITS`."""
    point: int | str
    """How many of them."""


Values = dict[Key, np.ndarray]
"""Values of single tasks by where they were measured."""


def compare(words: list[str]) -> None:
    """Runs the command; see `CompareArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    arguments = parse(CompareArguments, words, prog="metarl compare")
    if not arguments.runs:
        raise ValueError("no run was given; name one or more run directories or evaluation files")
    others = arguments.against or arguments.runs
    if not arguments.against and arguments.arm in (None, "discovered"):
        raise ValueError("the runs would be compared with themselves; give --against RUN ... or --arm NAME")
    if len(others) != len(arguments.runs):
        raise ValueError(
            f"{len(arguments.runs)} runs cannot be paired with {len(others)} after --against; give as many"
        )
    metric = arguments.metric or _metric(arguments.runs[0])
    ours = [_values(path, None, metric) for path in arguments.runs]
    theirs = [_values(path, arguments.arm, metric) for path in others]
    shared = set.intersection(*(set(each) for each in ours + theirs))
    if not shared:
        raise ValueError(f"the runs have no {metric} in an environment and at a horizon in common; evaluate them alike")
    _show(ours, theirs, [key for key in ours[0] if key in shared], metric)


def _rows(path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Returns an evaluation file and its rows, each of which has an arm and a metric."""
    file = path / "evaluation.json" if path.is_dir() else path
    try:
        rows = json.loads(file.read_text())["rows"]
        return file, [row for row in rows if row["arm"] and row["metric"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not an evaluation file ({error}); give a finished run or its file") from error


def _own(rows: list[dict[str, Any]]) -> str:
    """Returns the arm of what a run made; rivals come after it."""
    return next((row["arm"] for row in rows if row["arm"] in OWN_ARMS), OWN_ARMS[0])


def _metric(path: Path) -> str:
    rows = _rows(path)[1]
    known = {row["metric"] for row in rows if row["arm"] == _own(rows)}
    return next((metric for metric in METRICS if metric in known), METRICS[0])


def _values(path: Path, arm: str | None, metric: str) -> Values:
    """Returns the values of an arm, or of what the run made, by where they were measured."""
    file, rows = _rows(path)
    arm = _own(rows) if arm is None else arm
    try:
        found = {_key(row): np.asarray(row["values"], np.float64) for row in rows if _is_of(row, arm, metric)}
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise ValueError(f"{file} has rows that cannot be compared ({error!r}); evaluate again") from error
    if not found:
        arms = ", ".join(dict.fromkeys(row["arm"] for row in rows))
        raise ValueError(f"{file} has no {metric} of an arm {arm!r}; it has {arms}")
    if any(not values.size for values in found.values()):
        raise ValueError(f"{file} keeps no values of single tasks to be paired; give a run or what it was packed from")
    return found


def _is_of(row: dict[str, Any], arm: str, metric: str) -> bool:
    return (row["arm"], row["metric"]) == (arm, metric)


def _key(row: dict[str, Any]) -> Key:
    setting = row["setting"]
    how = (setting[name] for name in ("mode", "protocol") if setting.get(name))
    unit = next(name for name in UNITS if name in setting)
    return Key(", ".join([row["env"], *how]), unit, setting[unit])


def _show(ours: list[Values], theirs: list[Values], keys: list[Key], metric: str) -> None:
    sign = -1.0 if metric in LOWER else 1.0
    lines = [f"{metric}, of which less is better: differences are how much less"] if sign < 0.0 else []
    for where, unit in dict.fromkeys((key.where, key.unit) for key in keys):
        lines += [
            "",
            where,
            f"{unit:>7}  {'difference':>10}  {'seeds and tasks':>18}  {'tasks alone':>18}   wins  per seed",
        ]
        lines += [_line(key, ours, theirs, sign) for key in keys if (key.where, key.unit) == (where, unit)]
    print("\n".join(lines))


def _line(key: Key, ours: list[Values], theirs: list[Values], sign: float) -> str:
    from metarl.comparison import compare

    found = compare([sign * each[key] for each in ours], [sign * each[key] for each in theirs])
    seeds, tasks = (
        f"[{low:+.3f}, {high:+.3f}]" for low, high in ((found.low, found.high), (found.low_fixed, found.high_fixed))
    )
    each = ", ".join(f"{difference:+.3f}" for difference in found.per_seed)
    return f"{key.point:>7}  {found.difference:+10.3f}  {seeds:>18}  {tasks:>18}  {found.win_rate:5.3f}  {each}"
