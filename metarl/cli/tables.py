"""Evaluation rows as plain text."""

from collections.abc import Iterable
from typing import Any

from metarl.statistics import paired_probability_of_improvement, probability_of_improvement_interval


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


def improvement_table(rows: Iterable[dict[str, Any]], metric: str) -> str | None:
    """Returns how often the discovered rule beats each other arm on the same task; None if there is none to compare."""
    rows = [row for row in rows if row["metric"] == metric]
    cells = {(row["setting"]["horizon"], row["arm"]): row["values"] for row in rows}
    others = [arm for arm in dict.fromkeys(row["arm"] for row in rows) if arm != "discovered"]
    horizons = [horizon for horizon, arm in cells if arm == "discovered"]
    if not others or not horizons:
        return None
    lines = ["horizon  " + "  ".join(f"{'against ' + arm:>24s}" for arm in others)]
    for horizon in horizons:
        mine = cells[horizon, "discovered"]
        lines.append(f"{horizon:7d}  " + "  ".join(f"{_wins(mine, cells.get((horizon, arm))):>24s}" for arm in others))
    return "\n".join(lines)


def _wins(mine: list[float], other: list[float] | None) -> str:
    if other is None or len(mine) != len(other):
        return "-"
    low, high = probability_of_improvement_interval(mine, other, paired=True)
    return f"{paired_probability_of_improvement(mine, other):.3f} [{low:.3f}, {high:.3f}]"


def print_tables(rows: list[dict[str, Any]]) -> None:
    """Prints per environment optimal-normalised returns where the optimum is known, else plain ones, and who wins."""
    for env in dict.fromkeys(row["env"] for row in rows):
        mine = [row for row in rows if row["env"] == env]
        metric = "normalised_return" if any(row["metric"] == "normalised_return" for row in mine) else "return"
        count = len(next(row for row in mine if row["metric"] == metric)["values"])
        print(f"\n{env}: {metric.replace('_', ' ')} after lives of so many updates, IQM and 95 % interval of {count}")
        print(horizon_table(mine, metric))
        if (improvement := improvement_table(mine, metric)) is not None:
            print("\nprobability that the discovered rule is better on the same task, ties counting half")
            print(improvement)


def print_acting_tables(rows: list[dict[str, Any]]) -> None:
    """Prints what agents that learn in context were measured to do: one table per domain, mode, protocol and metric."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        setting = row["setting"]
        groups.setdefault((row["env"], setting["mode"], setting.get("protocol", ""), row["metric"]), []).append(row)
    for (env, mode, protocol, metric), group in groups.items():
        unit = next(name for name in ("horizon", "episode", "context") if name in group[0]["setting"])
        how = f"{mode}, {protocol}" if protocol else mode
        print(f"\n{env}, {how}: {metric} by {unit}, mean and standard error over {group[0]['num_tasks']} tasks")
        arms = list(dict.fromkeys(row["arm"] for row in group))
        points = list(dict.fromkeys(row["setting"][unit] for row in group))
        cells = {
            (row["arm"], row["setting"][unit]): f"{row['mean']:.3f} ±{row['error']:.3f}"
            if abs(row["mean"]) < 10
            else f"{row['mean']:.1f} ±{row['error']:.1f}"
            for row in group
        }
        width = max(len(arm) for arm in arms)
        print(" " * width + "".join(f"{point:>15}" for point in points))
        for arm in arms:
            print(f"{arm:{width}s}" + "".join(f"{cells.get((arm, point), '-'):>15s}" for point in points))


def print_teaching_table(rows: list[dict[str, Any]]) -> None:
    """Prints what the students of every teacher master, and Welch's test against those of uniform tasks."""
    teachers, points = (
        list(dict.fromkeys(values))
        for values in ([row["arm"] for row in rows], [row["setting"]["updates"] for row in rows])
    )
    cells = {(row["setting"]["updates"], row["arm"]): row for row in rows}
    count, width = len(rows[0]["values"]), max(34, *map(len, teachers))
    print(f"\n{rows[0]['env']}: test tasks mastered in percent, IQM and 95 % interval of {count} students, Welch's p")
    print("updates  " + "  ".join(f"{teacher:>{width}s}" for teacher in teachers))
    for point in points:
        print(f"{point:7d}  " + "  ".join(f"{_mastered(cells[point, teacher]):>{width}s}" for teacher in teachers))


def _mastered(row: dict[str, Any]) -> str:
    p = row.get("welch_p")
    return f"{row['iqm']:.1f} [{row['low']:.1f}, {row['high']:.1f}]" + ("" if p is None else f" p {p:.1g}")


def print_regret_tables(rows: list[dict[str, Any]]) -> None:
    """Prints, for each suite, the regret of every optimiser by evaluations, and differences of areas under curves."""
    for env in dict.fromkeys(row["env"] for row in rows):
        regrets = [row for row in rows if row["env"] == env and row["metric"] == "regret"]
        areas = {row["arm"]: row for row in rows if row["env"] == env and row["metric"] == "regret_auc"}
        if not areas:
            continue
        arms, budgets = list(areas), list(dict.fromkeys(row["setting"]["evaluations"] for row in regrets))
        cells = {(row["arm"], row["setting"]["evaluations"]): f"{row['mean']:.4f}" for row in regrets}
        first = next(iter(areas.values()))
        begin = first.get("first", 0)
        counted = f"by trials, {begin} start-up ones included" if begin else "after the initial points"
        print(
            f"\n{env}: mean regret {counted}, {first['num_trajectories']} trajectories in {len(first['values'])} "
            f"tasks; AUC is the mean over {begin} to {first['setting']['horizon']} evaluations"
        )
        width = max(map(len, arms))
        print(" " * width + "".join(f"{budget:>9}" for budget in budgets) + "      AUC")
        for arm in sorted(arms, key=lambda arm: areas[arm]["mean"]):
            numbers = "".join(f"{cells[arm, budget]:>9s}" for budget in budgets)
            print(f"{arm:{width}s}{numbers}{areas[arm]['mean']:>9.4f}")
        _print_others([row for row in rows if row["env"] == env])
        for row in rows:
            if row["env"] == env and row["metric"] == "regret_auc_difference":
                interval = f"[{row['low']:+.4f}, {row['high']:+.4f}]"
                print(f"  {row['arm']} - {row['setting']['minus']}: {row['mean']:+.4f} {interval} (95 %, over tasks)")


def _print_others(rows: list[dict[str, Any]]) -> None:
    """Prints how often each optimiser improved on all before, and how long it took to decide, where it was measured."""
    counts = [row for row in rows if row["metric"] == "num_improvements"]
    times = [row for row in rows if row["metric"] == "seconds_per_suggestion"]
    if counts:
        shown = (f"{r['arm']} {r['mean']:.2f}{' expected' if 'initial' in r['setting'] else ''}" for r in counts)
        print(f"  improvements, mean: {', '.join(shown)}")
    if times:
        print("  seconds per suggestion, median: " + ", ".join(f"{r['arm']} {r['median']:.4f}" for r in times))
