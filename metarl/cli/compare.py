"""`metarl compare`: several seeds of one kind of run against several of another, or against an arm of their own."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from metarl.cli.parse import parse


@dataclass(frozen=True)
class CompareArguments:
    """Compare the discovered rules of several runs with those of others, or with another arm of the same runs.

    Runs are paired in the order given, so that their seeds should agree; their tasks must. Intervals are 95 % bootstrap
    intervals of the difference of interquartile means, with seeds and tasks resampled, and with tasks alone.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories or evaluation files, one for each seed."""
    against: tuple[Path, ...] = ()
    """Runs or files to compare with. None: the same ones."""
    arm: str = "discovered"
    """Arm of --against to compare with, such as initial or ppo."""
    metric: str = "normalised_return"
    """Metric to compare."""


def compare(words: list[str]) -> None:
    """Runs the command; see `CompareArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    arguments = parse(CompareArguments, words, prog="metarl compare")
    if not arguments.runs:
        raise ValueError("no run was given; name one or more run directories or evaluation files")
    others = arguments.against or arguments.runs
    if not arguments.against and arguments.arm == "discovered":
        raise ValueError("the runs would be compared with themselves; give --against RUN ... or --arm NAME")
    if len(others) != len(arguments.runs):
        raise ValueError(
            f"{len(arguments.runs)} runs cannot be paired with {len(others)} after --against; give as many"
        )
    ours = [_read(path, "discovered", arguments.metric) for path in arguments.runs]
    theirs = [_read(path, arguments.arm, arguments.metric) for path in others]
    shared = set.intersection(*(set(each) for each in ours + theirs))
    if not shared:
        raise ValueError("the runs have no environment and horizon in common; evaluate them alike")
    _show(ours, theirs, [key for key in ours[0] if key in shared])


def _read(path: Path, arm: str, metric: str) -> dict[tuple[str, int], np.ndarray]:
    """Returns the values of an arm by (environment, horizon)."""
    file = path / "evaluation.json" if path.is_dir() else path
    try:
        rows = json.loads(file.read_text())["rows"]
        found = {
            (row["env"], row["setting"]["horizon"]): np.asarray(row["values"], np.float64)
            for row in rows
            if (row["arm"], row["metric"]) == (arm, metric)
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not an evaluation file ({error}); give a finished run or its file") from error
    if not found:
        arms = ", ".join(dict.fromkeys(row["arm"] for row in rows))
        raise ValueError(f"{file} has no {metric} of an arm {arm!r}; it has {arms}")
    return found


def _show(ours: list[dict], theirs: list[dict], keys: list[tuple[str, int]]) -> None:
    lines = []
    for env in dict.fromkeys(env for env, _ in keys):
        lines += [
            "",
            env,
            f"{'horizon':>7}  {'difference':>10}  {'seeds and tasks':>18}  {'tasks alone':>18}   wins  per seed",
        ]
        lines += [_line(key, ours, theirs) for key in keys if key[0] == env]
    print("\n".join(lines))


def _line(key: tuple[str, int], ours: list[dict], theirs: list[dict]) -> str:
    from metarl.comparison import compare

    found = compare([each[key] for each in ours], [each[key] for each in theirs])
    seeds, tasks = (
        f"[{low:+.3f}, {high:+.3f}]" for low, high in ((found.low, found.high), (found.low_fixed, found.high_fixed))
    )
    each = ", ".join(f"{difference:+.3f}" for difference in found.per_seed)
    return f"{key[1]:7d}  {found.difference:+10.3f}  {seeds:>18}  {tasks:>18}  {found.win_rate:5.3f}  {each}"
