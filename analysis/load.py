"""What a run directory holds, read once and in one shape; whatever is missing is named instead of failing."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

PIECES = {
    "config.json": "configuration",
    "provenance.json": "provenance",
    "metrics.jsonl": "metrics of meta-training",
    "STATUS": "status",
    "evaluation.json": "evaluation on held-out tasks",
    "export/rule.json": "exported rule",
    "export/lives.npz": "agent lives under the rule",
}
"""The files of a run directory that a report is made of, relative to it, in words."""
EVALUATION_SCHEMA = 1


class Row(NamedTuple):
    """One line of an evaluation: an arm on an environment in a setting."""

    arm: str
    """What was evaluated: `discovered`, `initial`, `a2c` or another name."""
    env: str
    """Task family, for example `gridworld/small`."""
    setting: Mapping[str, Any]
    """What was varied, for example `{"horizon": 50}`."""
    metric: str
    """What the numbers are, for example `normalised_return`."""
    iqm: float
    """Interquartile mean of the values; NaN where the file has null, or has only their mean."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end of its interval."""
    confidence: float
    """Nominal coverage of the interval."""
    values: Float[np.ndarray, " n"]
    """One number for each seed or task; may be empty."""
    num_excluded: int = 0
    """Tasks left out because nothing can be earned there, so that there is nothing to normalise by."""
    num_nonfinite: int = 0
    """Lives that ended with a non-finite return, which count as the lowest finite one."""
    mean: float = float("nan")
    """Mean of the values; NaN where the file has none. Rows of differences have it in place of the interquartile mean.
    """
    median: float = float("nan")
    """Median of all that was measured, of which `values` are medians of their own; NaN where the file has none."""
    first: int = 0
    """Evaluations before an optimiser's first choice that settings count like others."""

    @property
    def horizon(self) -> int | None:
        """The agent's lifetime in updates, or None if the setting does not say."""
        horizon = self.setting.get("horizon")
        return int(horizon) if isinstance(horizon, int | float) else None


Lives = dict[str, dict[int, dict[str, np.ndarray]]]
"""Per-update numbers of agent lives: arm, horizon, quantity -> [num_tasks, horizon]."""


class Run(NamedTuple):
    """Everything a run directory holds."""

    directory: Path
    """Where it was read."""
    config: dict[str, Any]
    """The configuration, nested as in the file; empty if absent."""
    sessions: tuple[dict[str, Any], ...]
    """Provenance (commit, command, versions, devices) of each session that worked on the run; empty if absent."""
    metrics: dict[str, np.ndarray]
    """Numeric columns of the metrics, [num_lines] float64, NaN where a line has null or nothing; empty if absent."""
    status: str | None
    """`running`, `done`, `failed: reason`, or None if absent."""
    evaluation: dict[str, Any]
    """Evaluation file without its rows (command, device, commit); empty if absent."""
    rows: tuple[Row, ...]
    """Evaluation rows in file order; empty if absent."""
    rule: dict[str, Any]
    """Description of the exported rule; empty if absent."""
    lives: Lives
    """Agent lives; empty if absent."""
    probe: dict[str, np.ndarray]
    """Fixed-batch probe: `lifetimes` [L], `fractions` [F] and quantities [L, F]; empty if absent."""
    absent: tuple[str, ...]
    """Paths among PIECES that do not exist."""

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.directory.resolve().name


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); restore it or remove it to report without it") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} instead of an object; restore it or remove it")
    return content


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Returns the numeric columns; the last line may be half written, for a run can be read or killed at any moment."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    records = []
    for index, line in enumerate(lines):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            if index + 1 == len(lines):
                break
            raise ValueError(f"{path} line {index + 1} is not valid JSON ({error}); restore the file") from error
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: np.array([_number(record.get(name)) for record in records]) for name in names}
    return {name: column for name, column in columns.items() if not np.all(np.isnan(column))}


def read_rows(path: Path, content: dict[str, Any]) -> tuple[Row, ...]:
    """Returns the rows of an evaluation file's content, none if it is empty; `path` is named in errors.

    Raises:
        ValueError: if the content is of another schema or a row lacks a field.
    """
    if not content:
        return ()
    if content.get("schema") != EVALUATION_SCHEMA:
        raise ValueError(f"{path} has schema {content.get('schema')!r}, not {EVALUATION_SCHEMA}; evaluate again")
    try:
        return tuple(_row(row) for row in content["rows"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} has rows without {error}; evaluate again") from error


def _row(row: dict[str, Any]) -> Row:
    return Row(
        arm=str(row["arm"]),
        env=str(row["env"]),
        setting=dict(row["setting"]),
        metric=str(row["metric"]),
        iqm=_number(row["iqm"] if "mean" not in row else row.get("iqm")),
        low=_number(row["low"]),
        high=_number(row["high"]),
        confidence=_number(row["confidence"]),
        values=np.array([_number(value) for value in row.get("values", ())], np.float64),
        num_excluded=int(row.get("num_excluded", 0)),
        num_nonfinite=int(row.get("num_nonfinite", 0)),
        mean=_number(row.get("mean")),
        median=_number(row.get("median")),
        first=int(row.get("first", 0)),
    )


def _check_probe(path: Path, probe: dict[str, np.ndarray]) -> None:
    axes = probe.get("lifetimes"), probe.get("fractions")
    shape = tuple(len(axis) for axis in axes if axis is not None)
    for name, values in probe.items():
        if name not in ("lifetimes", "fractions") and values.shape != shape:
            raise ValueError(f"{path} has probe/{name} of shape {values.shape}; lifetimes x fractions make it {shape}")


def _read_lives(path: Path) -> tuple[Lives, dict[str, np.ndarray]]:
    lives: Lives = {}
    probe: dict[str, np.ndarray] = {}
    if not path.is_file():
        return lives, probe
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            values = np.asarray(arrays[name], np.float64)
            if name.startswith("probe/"):
                probe[name.removeprefix("probe/")] = values
                continue
            match = re.fullmatch(r"([^/]+)/(\d+)/([^/]+)", name)
            if match is None or values.ndim != 2 or values.shape[0] == 0 or values.shape[1] != int(match[2]):
                expected = "arm/horizon/quantity of shape [num_tasks, horizon], or probe/quantity"
                raise ValueError(f"{path} has an array {name!r} of shape {values.shape}; expected is {expected}")
            arm, horizon, quantity = match.groups()
            lives.setdefault(arm, {}).setdefault(int(horizon), {})[quantity] = values
    _check_probe(path, probe)
    return {arm: dict(sorted(horizons.items())) for arm, horizons in lives.items()}, probe


def _read_sessions(path: Path) -> tuple[dict[str, Any], ...]:
    content = _read_json(path)
    sessions = content.get("sessions", [content])
    return tuple(session for session in sessions if isinstance(session, dict) and session)


def load_run(directory: str | Path) -> Run:
    """Returns what a run directory holds; pieces that are not there are empty and named in `absent`.

    A last line of the metrics that is cut short is left out: the run may be going on.

    Raises:
        ValueError: if the path is not a run directory (neither config.json nor metrics.jsonl in it), or a file in it is
            damaged.
    """
    directory = Path(directory)
    if not (directory / "config.json").is_file() and not (directory / "metrics.jsonl").is_file():
        raise ValueError(
            f"{directory} is not a run, for it has neither config.json nor metrics.jsonl; give the directory of a run"
        )
    evaluation = _read_json(directory / "evaluation.json")
    lives, probe = _read_lives(directory / "export/lives.npz")
    status = directory / "STATUS"
    return Run(
        directory=directory,
        config=_read_json(directory / "config.json"),
        sessions=_read_sessions(directory / "provenance.json"),
        metrics=_read_metrics(directory / "metrics.jsonl"),
        status=status.read_text(encoding="utf-8").strip() if status.is_file() else None,
        evaluation={name: value for name, value in evaluation.items() if name != "rows"},
        rows=read_rows(directory / "evaluation.json", evaluation),
        rule=_read_json(directory / "export/rule.json"),
        lives=lives,
        probe=probe,
        absent=tuple(piece for piece in PIECES if not (directory / piece).is_file()),
    )


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns `{"a.b": leaf}` of a nested mapping; lists are leaves, and so is an infinite number, which JSON wraps."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping) and value.get("type") == "float":
            flat[f"{prefix}{name}"] = value.get("value")
        elif isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
