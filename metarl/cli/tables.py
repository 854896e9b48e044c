"""Evaluation rows as plain text."""

from collections.abc import Iterable
from typing import Any


def horizon_table(rows: Iterable[dict[str, Any]], metric: str) -> str:
    """Returns one line per horizon and one column per arm: interquartile mean and its interval."""
    rows = [row for row in rows if row["metric"] == metric]
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    cells = {
        (row["setting"]["horizon"], row["arm"]): f"{row['iqm']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        for row in rows
    }
    horizons = list(dict.fromkeys(row["setting"]["horizon"] for row in rows))
    lines = ["horizon  " + "  ".join(f"{arm:>24s}" for arm in arms)]
    lines += [f"{horizon:7d}  " + "  ".join(f"{cells[horizon, arm]:>24s}" for arm in arms) for horizon in horizons]
    return "\n".join(lines)


def print_tables(rows: list[dict[str, Any]]) -> None:
    """Prints a table per environment: optimal-normalised returns where the optimum is known, else plain returns."""
    for env in dict.fromkeys(row["env"] for row in rows):
        mine = [row for row in rows if row["env"] == env]
        metric = "normalised_return" if any(row["metric"] == "normalised_return" for row in mine) else "return"
        count = len(next(row for row in mine if row["metric"] == metric)["values"])
        print(f"\n{env}: {metric.replace('_', ' ')} after lives of so many updates, IQM and 95 % interval of {count}")
        print(horizon_table(mine, metric))
