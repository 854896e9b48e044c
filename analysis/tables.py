"""Tables of a report: results, comparisons, trends over a life, the probe."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from analysis.figure import ARM_COLOURS, QUANTITIES, arm_label, arm_order
from analysis.load import Row
from analysis.page import Html, grouped_table, join, table, tag
from analysis.probe import Probe, probe_quantities, probe_summary
from analysis.rules import Dynamicity
from metarl.statistics import paired_probability_of_improvement, probability_of_improvement_interval

LOWER_IS_BETTER = ("regret",)
"""Metrics in which the smallest number wins; in all others the largest does."""
MISSING = "–"


def number(value: float, digits: int = 3, *, scale: float | None = None) -> str:
    """Returns a number with so many decimals if it is below 10, else fewer; a dash if not finite.

    `scale` is the size that decides, the number's own unless it belongs to larger ones. What would lose all its digits,
    or has more than five before the point, is in powers of ten.
    """
    if not np.isfinite(value):
        return MISSING
    size = abs(value) if scale is None else scale
    if size and not 10.0**-digits <= size < 1e5:
        return f"{value:.2g}"
    return f"{value:.{max(0, digits - sum(size >= power for power in (10.0, 100.0, 1000.0)))}f}"


def interval(middle: float, low: float, high: float, *, digits: int = 3, best: bool = False, mark: str = "") -> Html:
    """Returns `middle [low, high]` as a table cell, the middle bold if it is the best, followed by a mark."""
    scale = max((abs(value) for value in (middle, low, high) if np.isfinite(value)), default=0.0)
    shown, *ends = (number(value, digits, scale=scale) for value in (middle, low, high))
    return join(
        [tag("strong", shown) if best else shown, mark, " ", tag("span", f"[{', '.join(ends)}]", class_="interval")]
    )


def arm_heading(arm: str) -> Html:
    """Returns the arm's name behind a square of its colour."""
    colour = ARM_COLOURS.get(arm)
    swatch = tag("span", class_="swatch", style=f"background:{colour}") if colour else ""
    return join([swatch, arm_label(arm)])


def _setting_label(row: Row) -> str:
    others = [f"{name} = {value}" for name, value in row.setting.items() if name != "horizon"]
    return ", ".join(([f"N = {row.horizon}"] if row.horizon is not None else []) + others) or "all"


def _by_setting(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """Returns setting -> arm -> row, by horizon and then in file order."""
    ordered = sorted(rows, key=lambda row: row.horizon if row.horizon is not None else np.inf)
    settings: dict[str, dict[str, Row]] = {}
    for row in ordered:
        settings.setdefault(_setting_label(row), {})[row.arm] = row
    return settings


def best_arm(rows: Mapping[str, Row]) -> tuple[str | None, bool]:
    """Returns the arm with the best interquartile mean in one setting, and whether its interval overlaps no other.

    Where several share the best there is none.
    """
    finite = {arm: row for arm, row in rows.items() if np.isfinite(row.iqm)}
    sign = -1.0 if any(row.metric in LOWER_IS_BETTER for row in finite.values()) else 1.0
    top = max((sign * row.iqm for row in finite.values()), default=None)
    winners = [arm for arm, row in finite.items() if sign * row.iqm == top]
    if len(winners) != 1:
        return None, False
    (best,) = winners
    others = [row for arm, row in finite.items() if arm != best]
    apart = all(finite[best].low > row.high or finite[best].high < row.low for row in others)
    return best, bool(others) and apart


def _discovered_first(rows: Iterable[Row]) -> list[str]:
    return list(reversed(arm_order([row.arm for row in rows])))


def headline_rows(rows: Iterable[Row]) -> list[Row]:
    """Returns the rows that count: the normalised return in environments that have it, everything elsewhere."""
    rows = list(rows)
    normalised = {row.env for row in rows if row.metric == "normalised_return"}
    return [row for row in rows if row.env not in normalised or row.metric == "normalised_return"]


def _reservations(rows: Sequence[Row]) -> str:
    """Returns what was left out of the values or replaced in them, as sentences after a space; empty if nothing."""
    excluded, nonfinite = max(row.num_excluded for row in rows), sum(row.num_nonfinite for row in rows)
    left_out = f" {excluded} tasks are left out because nothing can be earned there." if excluded else ""
    return left_out + (f" {nonfinite} non-finite returns count as the lowest finite one." if nonfinite else "")


def result_table(rows: Sequence[Row]) -> Html:
    """Returns settings x arms of one environment and metric: the best in bold, starred if its interval stands alone."""
    arms, body = _discovered_first(rows), []
    for label, cells in _by_setting(rows).items():
        best, apart = best_arm(cells)
        shown = [
            interval(row.iqm, row.low, row.high, best=arm == best, mark="*" if arm == best and apart else "")
            if (row := cells.get(arm))
            else MISSING
            for arm in arms
        ]
        body.append([label, *shown])
    direction = "lowest" if rows[0].metric in LOWER_IS_BETTER else "highest"
    sizes = sorted({len(row.values) for row in rows})
    count = " to ".join(f"{size}" for size in dict.fromkeys((sizes[0], sizes[-1])))
    confidence = "" if not np.isfinite(rows[0].confidence) else f"{100 * rows[0].confidence:g} % "
    caption = (
        f"Interquartile mean [{confidence}interval] over {count} values. Bold: {direction}. *: its interval overlaps "
        f"with no other arm's.{_reservations(rows)}"
    )
    return table(["agent lifetime", *map(arm_heading, arms)], body, caption=caption)


def _comparison(row: Row, other: Row) -> Html | str:
    sign = -1.0 if row.metric in LOWER_IS_BETTER else 1.0
    x, y = sign * row.values, sign * other.values
    if len(x) != len(y) or len(x) == 0 or not np.all(np.isfinite([x, y])):
        return MISSING
    low, high = probability_of_improvement_interval(x, y, paired=True)
    return interval(paired_probability_of_improvement(x, y), low, high, digits=2)


def improvement_table(rows: Sequence[Row]) -> Html | None:
    """Returns how often the discovered rule beats each other arm on the same task; None if nothing compares.

    Values are paired by position, and compared only where both rows have equally many, all finite.
    """
    arms = [arm for arm in _discovered_first(rows) if arm != "discovered"]
    settings = {label: cells for label, cells in _by_setting(rows).items() if "discovered" in cells}
    if not arms or not settings:
        return None
    body = [
        [label, *(_comparison(cells["discovered"], cells[arm]) if arm in cells else MISSING for arm in arms)]
        for label, cells in settings.items()
    ]
    words = rows[0].metric.replace("_", " ")
    caption = (
        f"Probability that the discovered rule has the better {words} on the same held-out task, ties counting half "
        "[95 % bootstrap interval over tasks]. 0.5 is a draw."
    )
    return table(["agent lifetime", *(join(["against ", arm_heading(arm)]) for arm in arms)], body, caption=caption)


def verdict(rows: Sequence[Row]) -> str | None:
    """Returns at how many settings the discovered rule is clearly better or worse than each arm; None without any."""
    sign = -1.0 if rows[0].metric in LOWER_IS_BETTER else 1.0
    tallies = []
    for other in (arm for arm in _discovered_first(rows) if arm != "discovered"):
        pairs = [(c["discovered"], c[other]) for c in _by_setting(rows).values() if "discovered" in c and other in c]
        apart = [sign * np.sign(a.iqm - b.iqm) for a, b in pairs if a.low > b.high or a.high < b.low]
        counts = f"better at {apart.count(1.0)} of {len(pairs)} lifetimes and worse at {apart.count(-1.0)}"
        tallies += [f"against {arm_label(other, definite=True)} the discovered rule is {counts}"] if pairs else []
    return f"Counting only intervals that do not overlap: {'; '.join(tallies)}." if tallies else None


def dynamicity_table(entries: Sequence[Dynamicity]) -> Html:
    """Returns rank correlations with n/N, a group of arms for each quantity and a column for each horizon.

    `flat` stands where a quantity never moves.
    """
    horizons = sorted({entry.horizon for entry in entries})
    lookup = {(entry.quantity, entry.arm, entry.horizon): entry for entry in entries}
    groups: dict[str, list[list[object]]] = {}
    for quantity, arm in dict.fromkeys((entry.quantity, entry.arm) for entry in entries):
        cells = [_correlation(lookup.get((quantity, arm, horizon))) for horizon in horizons]
        groups.setdefault(QUANTITIES.get(quantity, quantity), []).append([arm_heading(arm), *cells])
    caption = "Spearman correlation with n/N within each life, mean over tasks [95 % bootstrap interval over tasks]."
    header = ["", *(f"N = {horizon}" for horizon in horizons)]
    return tag("div", grouped_table(header, groups, caption=caption), class_="stacked")


def _correlation(entry: Dynamicity | None) -> Html | str:
    if entry is None:
        return MISSING
    flat = np.isnan(entry.correlation)
    return "flat" if flat else interval(entry.correlation, entry.low, entry.high, digits=2)


def probe_table(probe: Probe) -> Html:
    """Returns what time alone does to the rule's outputs, by lifetime: both ends of a life, largest changes."""
    names = probe_quantities(probe)
    body = []
    for entry in probe_summary(probe):
        cells = [
            number(entry[f"{name}/largest"])
            if name.endswith("_change")
            else f"{number(entry[f'{name}/first'])} → {number(entry[f'{name}/last'])}"
            for name in names
        ]
        body.append([f"N = {entry['lifetime']:g}", *cells])
    first, last = probe["fractions"][[0, -1]]
    caption = (
        f"Fixed-batch probe, from n/N = {first:g} to {last:g} with agent and batch unchanged; of changes the largest."
    )
    return table(["lifetime", *(QUANTITIES.get(name, name) for name in names)], body, caption=caption)
