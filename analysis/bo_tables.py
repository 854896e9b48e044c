"""Tables and sentences about optimisers of pools and tables: who reached what, and what the differences show."""

from collections.abc import Sequence

from analysis.bo_calibration import coverage_bands
from analysis.bo_load import MODEL_ARMS, Band, Difference, mean_band, measured, optimiser_order, read_differences
from analysis.figure import arm_label
from analysis.load import Row
from analysis.page import Html, table
from analysis.tables import MISSING, arm_heading, interval, number
from metarl.metabo.scores import harmonic

RIVALS = ("gp-ei", "tpe", "tpe-5-startup", "np-ei")
"""Whom the best model arm is compared with in the first lines of a page."""


def areas(rows: Sequence[Row], env: str) -> dict[str, Band]:
    """Returns the mean over tasks of the area under every arm's regret curve, with its 95 % bootstrap interval."""
    found = {row.arm: row for row in rows if row.metric == "regret_auc" and row.env == env}
    return {arm: mean_band(found[arm].values) for arm in optimiser_order(found)}


def regret_table(rows: Sequence[Row], env: str) -> Html:
    """Returns arms x evaluations with mean regrets, and the area under the curve with its interval; lowest in bold.

    How often each arm improved, and how long it took to decide, follow where they were measured.
    """
    mine = [row for row in rows if row.env == env]
    first, others = next(row for row in mine if row.metric == "regret_auc"), _other_columns(mine)
    cells = {(row.arm, int(row.setting["evaluations"])): row.mean for row in mine if row.metric == "regret"}
    area, budgets = areas(rows, env), sorted({budget for _, budget in cells})
    lowest = {budget: min(mean for (_, at), mean in cells.items() if at == budget) for budget in budgets}
    best = min(band.mean for band in area.values())
    body = [
        [
            arm_heading(arm),
            *(_cell(cells.get((arm, budget)), lowest[budget], is_shared=budget == first.first) for budget in budgets),
            interval(*band, digits=4, best=bool(band.mean == best)),
            *(column.get(arm, MISSING) for column in others.values()),
        ]
        for arm, band in area.items()
    ]
    counted = f"trials, the {first.first} start-up ones included" if first.first else "evaluations"
    caption = (
        f"Mean regret over {len(first.values)} tasks, each the mean of its seeds, after so many {counted}; AUC is the "
        f"mean over {first.first} to {first.horizon} of them [95 % bootstrap interval over tasks]. Bold: lowest."
        f"{_improvement_words(mine)}"
    )
    return table(["", *(f"@{budget}" for budget in budgets), "AUC", *others], body, caption=caption)


def _other_columns(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """Returns {heading: {arm: cell}} of what one suite's rows hold beside regrets."""
    columns = {
        "improvements": {r.arm: number(r.mean, 2, scale=1.0) for r in rows if r.metric == "num_improvements"},
        "ms per suggestion": {
            r.arm: number(1000.0 * r.median, 1, scale=1.0) for r in rows if r.metric == "seconds_per_suggestion"
        },
    }
    return {heading: cells for heading, cells in columns.items() if cells}


def _improvement_words(rows: Sequence[Row]) -> str:
    """Returns what counts as an improvement, and what random search is expected to make where it did not run."""
    found = [row for row in rows if row.metric == "num_improvements"]
    if not found:
        return ""
    words = " Improvements: mean number of later evaluations that found more than all before them"
    expected = next((row for row in found if "initial" in row.setting), None)
    if expected is None or expected.horizon is None:
        return f"{words}."
    before, last = int(expected.setting["initial"]), int(expected.setting["initial"]) + expected.horizon
    return (
        f"{words}; of random search the expectation if a pool's N values differ, H_{last} − H_{before} = "
        f"{harmonic(last) - harmonic(before):.2f} with H_n = 1 + 1/2 + … + 1/n, or H_N − H_{before} if N < {last}."
    )


def _cell(value: float | None, lowest: float, *, is_shared: bool) -> object:
    if value is None:
        return MISSING
    shown = number(value, 4, scale=1.0)
    return Html(f"<strong>{shown}</strong>") if value == lowest and not is_shared else shown


def signed(value: float) -> str:
    """Returns a number with its sign and four decimals."""
    return f"{value:+.4f}".replace("-", "−")


def difference_words(difference: Difference) -> str:
    """Returns what a paired difference of areas shows, in a sentence that says so if its interval includes zero."""
    arm, other = arm_label(difference.arm), arm_label(difference.minus)
    if difference.mean == difference.low == difference.high == 0.0:
        return f"{arm} and {other} did equally well in every task."
    what = (
        f"The AUC of {arm} minus that of {other} is {signed(difference.mean)} "
        f"[{signed(difference.low)}, {signed(difference.high)}]"
    )
    if difference.includes_zero:
        return f"{what}; the interval includes zero, so that it is open which of them is better."
    better, worse = (arm, other) if difference.mean < 0.0 else (other, arm)
    return f"{what}; the interval excludes zero: {better} is better than {worse}."


def lead_differences(rows: Sequence[Row], env: str) -> list[Difference]:
    """Returns the differences of the model's first arm from its rivals in one suite."""
    found = [difference for difference in read_differences(rows) if difference.env == env]
    lead = next((arm for arm in MODEL_ARMS if any(d.arm == arm for d in found)), None)
    return [d for rival in RIVALS for d in found if (d.arm, d.minus) == (lead, rival)]


def verdict(rows: Sequence[Row], env: str) -> str:
    """Returns in a few sentences what was found on a suite, from its numbers alone."""
    area = areas(rows, env)
    lowest = min(float(band.mean) for band in area.values())
    best = [arm_label(arm) for arm, band in area.items() if band.mean == lowest]
    count = max(len(row.values) for row in rows if row.env == env and row.metric == "regret_auc")
    first = f"On {env}, {count} tasks, the lowest mean AUC is {number(lowest, 4, scale=1.0)} ({' and '.join(best)})."
    return " ".join([first, *map(difference_words, lead_differences(rows, env))])


def calibration_words(rows: Sequence[Row], env: str) -> str | None:
    """Returns how many values the widest intervals hold after the largest context; None if that was not measured."""
    bands = coverage_bands(rows, env)
    if not bands:
        return None
    level = max(bands)
    count = max(bands[level])
    mean, low, high = (float(end) for end in bands[level][count])
    kind = "wider than they claim to be" if low > level else "narrower than they claim to be" if high < level else None
    words = f"they are {kind}" if kind else f"the interval includes {100 * level:g} %"
    return (
        f"On {env}, intervals of {100 * level:g} % from {count} evaluations hold {100 * mean:.1f} % "
        f"[{100 * low:.1f}, {100 * high:.1f}] of the values: {words}."
    )


def key_figures(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Returns (name, value) of the areas of all arms, and of how the model differs from its rivals."""
    envs, figures = measured(rows), []
    for env in envs:
        where = f", {env}" if len(envs) > 1 else ""
        area = areas(rows, env)
        figures += [
            (f"AUC, {arm_label(arm)}{where}", number(float(band.mean), 4, scale=1.0)) for arm, band in area.items()
        ]
        figures += [
            (
                f"{arm_label(d.arm)} − {arm_label(d.minus)}{where}",
                f"{signed(d.mean)} [{signed(d.low)}, {signed(d.high)}]",
            )
            for d in lead_differences(rows, env)
        ]
    return figures
