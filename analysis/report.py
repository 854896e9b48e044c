"""One self-contained HTML page for a run: what was done, what came out, and how to do it again."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from analysis.curves import horizon_curve, learning_curve, life_curve, metric_curves
from analysis.drift import has_drift
from analysis.drift_report import DriftPart, drift_part, drift_section, save_drift_part, trained_lifetimes
from analysis.figure import Picture, save_picture
from analysis.load import PIECES, Row, Run, flatten, load_run
from analysis.page import Html, details, join, pairs, picture_block, section, tag, tiles
from analysis.probe import probe_lines, probe_maps
from analysis.provenance import preset, reproduction, write_page
from analysis.rules import (
    DRIFT_TIME_CAVEAT,
    TIME_CAVEAT,
    dynamicity,
    schedule_grid,
    table_quantities,
    target_grid,
)
from analysis.tables import (
    dynamicity_table,
    headline_rows,
    improvement_table,
    probe_table,
    result_table,
    verdict,
)
from analysis.throughput import throughput
from metarl.objectives.export import ARRAYS, load_rule

STATUS_WORDS = {
    "done": "The run is complete.",
    "running": "The run had not finished when this page was written; numbers are as of its last recorded generation.",
    "interrupted": "The run was interrupted after a checkpoint; the same command continues it.",
    None: "The run does not record whether it is complete.",
}


def trained_horizons(run: Run) -> tuple[float, float] | None:
    """Returns the (shortest, longest) lifetime of meta-training, or None if it is not recorded.

    It is the pair called `lifetime`, at any depth, of the configuration or else of the exported rule.
    """
    return trained_lifetimes(run.config, run.rule)


def describe(run: Run) -> str:
    """Returns in plain words what was searched, how, and on what, as far as the configuration says."""
    settings, horizons = flatten(run.config), trained_horizons(run)
    candidates = settings.get("population.size") or "many"
    envs = settings.get("family.env") or []
    envs = [envs] if isinstance(envs, str) else envs
    world = f" of {' or '.join(map(str, envs))}" if envs else ""
    length = f"{horizons[0]:g} to {horizons[1]:g} updates" if horizons else "which differs from task to task in length"
    words = (
        "Evolution searched for a reinforcement-learning rule instead of a policy. In every generation, "
        f"{candidates} candidate rules each trained a fresh agent on a newly drawn task{world} for its whole life, "
        f"{length}; then the rule moved towards the candidates whose agents ended up better."
    )
    told = " The rule is {}told how far through its life the agent is{}."
    temporal, encoding = settings.get("objective.temporal"), settings.get("objective.encoding")
    how = f" (time encoding {encoding})" if encoding else ""
    how = " and how long that life is" if settings.get("objective.log_horizon") else how
    sees_time = {True: told.format("", how), False: told.format("not ", "")}
    return words + sees_time.get(temporal, "")


def make_pictures(run: Run) -> dict[str, Picture]:
    """Returns every picture that the run has numbers for, by name."""
    pictures: list[Picture | None] = []
    if any(row.horizon is not None for row in run.rows):
        pictures.append(horizon_curve(headline_rows(run.rows), trained_horizons(run)))
    if "step" in run.metrics and "fitness" in run.metrics:
        pictures.append(learning_curve(run.metrics))
    pictures.append(metric_curves(run.metrics))
    if any("return" in life for horizons in run.lives.values() for life in horizons.values()):
        pictures.append(life_curve(run.lives))
    pictures += [schedule_grid(run.lives), target_grid(run.lives), probe_lines(run.probe), probe_maps(run.probe)]
    return {picture.name: picture for picture in pictures if picture is not None}


def _figure(pictures: Mapping[str, Picture], name: str) -> Html:
    return picture_block(pictures[name]) if name in pictures else Html("")


def _header(run: Run) -> Html:
    known = {"preset": preset(run), "status": run.status}
    failure = (run.status or "").removeprefix("failed: ") if (run.status or "").startswith("failed") else None
    status = f"The run failed: {failure}." if failure is not None else STATUS_WORDS.get(run.status, f"{run.status}.")
    settings = [(name, value) for name, value in flatten(run.config).items() if name.rpartition(".")[2] != "type"]
    return join(
        [
            tag("p", " · ".join(f"{name} {value}" for name, value in known.items() if value), class_="kicker"),
            tag("h1", run.name),
            tag("p", describe(run), class_="lead"),
            tag("p", status),
            tiles(throughput(run.metrics)) if run.metrics else "",
            details(f"Configuration ({len(settings)} settings)", pairs(settings)) if settings else "",
        ]
    )


def _groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Returns the rows of each environment and metric, an environment's normalised return first."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.metric != "normalised_return"):
        groups.setdefault((row.env, row.metric), []).append(row)
    envs = list(dict.fromkeys(env for env, _ in groups))
    return sorted(groups.values(), key=lambda group: envs.index(group[0].env))


def _results(run: Run, pictures: Mapping[str, Picture]) -> Html:
    if not run.rows:
        words = "This run has not been evaluated on held-out tasks yet, so nothing is known about how good the rule is."
        return section("Results", tag("p", words, class_="note"))
    headline = {(row.env, row.metric) for row in headline_rows(run.rows)}
    blocks: list[object] = []
    for rows in _groups(run.rows):
        words = f"{rows[0].env}: {rows[0].metric.replace('_', ' ')}"
        if (rows[0].env, rows[0].metric) not in headline:
            blocks.append(details(words, result_table(rows)))
            continue
        improvement = improvement_table(rows)
        blocks += [tag("h3", words), tag("p", verdict(rows) or ""), result_table(rows)]
        blocks.append(details("How often it wins, task by task", improvement) if improvement else "")
    return section("Results", *blocks, _figure(pictures, "horizon_curve"))


def _training(run: Run, pictures: Mapping[str, Picture]) -> Html:
    if not run.metrics:
        return section("Meta-training", tag("p", "No generation has been recorded yet.", class_="note"))
    nothing = tag("p", "No finite fitness has been recorded yet.", class_="note")
    curve = _figure(pictures, "learning_curve") if "learning_curve" in pictures else nothing
    others = details("Other metrics", _figure(pictures, "metrics")) if "metrics" in pictures else ""
    return section("Meta-training", curve, others)


def _drift(run: Run) -> DriftPart | None:
    """Returns what there is to see of the exported rule's drift, or None if there is no such rule or it has none."""
    if not has_drift(run.rule.get("objective", ""), run.rule.get("settings", {})):
        return None
    directory = run.directory / "export"
    return drift_part(load_rule(directory), trained_horizons(run)) if (directory / ARRAYS).is_file() else None


def _rule(run: Run, pictures: Mapping[str, Picture], *, has_drift: bool) -> Html:
    if not run.lives:
        blocks: list[object] = [tag("p", "No agent lives under the rule have been recorded yet.", class_="note")]
    else:
        blocks = [_figure(pictures, name) for name in ("life_return", "schedules", "targets")]
        trends = dynamicity(run.lives, table_quantities(run.lives))
        blocks += [tag("h3", "Trends over a life"), dynamicity_table(trends) if trends else ""]
        blocks.append(tag("p", DRIFT_TIME_CAVEAT if has_drift else TIME_CAVEAT, class_="note"))
    if run.probe or not has_drift:
        blocks += _probe(run, pictures)
    blocks.append(details("Exported rule", pairs(flatten(run.rule).items())) if run.rule else "")
    return section("What the rule does", *blocks)


def _probe(run: Run, pictures: Mapping[str, Picture]) -> list[object]:
    heading = tag("h3", "The effect of time alone")
    if not run.probe:
        words = "The fixed-batch probe has not been run, so the effect of time alone is not known."
        return [heading, tag("p", words)]
    return [heading, _figure(pictures, "probe_lines"), _figure(pictures, "probe_maps"), probe_table(run.probe)]


def _numbers(run: Run, pictures: Mapping[str, Picture], others: Mapping[str, str]) -> Html:
    entries = {path: f"{words}: not there" if path in run.absent else words for path, words in PIECES.items()}
    entries |= {f"figures/{name}.npz": f"numbers of the figure “{p.title}”" for name, p in pictures.items()}
    entries |= {f"figures/{file}": words for file, words in others.items()}
    rows = pairs((tag("code", path), words) for path, words in entries.items())
    return section("Where the numbers are", tag("p", "Paths are relative to the run directory."), rows)


def write_report(run_directory: str | os.PathLike) -> Path:
    """Returns the path of `report.html`, written into the run directory with `figures/<name>.png` and `.npz` beside it.

    A run whose exported rule has a drift gets a section about it, and `figures/drift_life.gif` if the drift sees time.
    The page is self-contained and works for runs that lack pieces, which it names. An older report is replaced.

    Raises:
        ValueError: if the path is not a run directory, or a file in it is damaged.
    """
    run = load_run(Path(run_directory))
    pictures = make_pictures(run)
    for picture in pictures.values():
        save_picture(picture, run.directory / "figures")
    drift = _drift(run)
    files = {} if drift is None else save_drift_part(drift, run.directory / "figures")
    sections = [_results(run, pictures), _training(run, pictures), _rule(run, pictures, has_drift=drift is not None)]
    sections += [] if drift is None else [drift_section(drift)]
    body = [_header(run), *sections, reproduction(run), _numbers(run, pictures, files)]
    return write_page(run, *body)
