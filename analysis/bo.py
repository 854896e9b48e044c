"""One self-contained HTML page for a run of meta-Bayesian optimisation: how it optimises, predicts and was trained."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.bo_calibration import calibration_curves, reliability
from analysis.bo_floors import prior_floors
from analysis.bo_load import PIECES, SuiteCurves, envs_of, measured, read_differences, read_suites
from analysis.bo_pictures import forest, rank_curves, regret_curves
from analysis.bo_slice_pictures import line_slices, plane_slices
from analysis.bo_slices import explore_lines, explore_plane
from analysis.bo_tables import calibration_words, key_figures, regret_table, verdict
from analysis.bo_training import training_curves
from analysis.bo_words import lead_words
from analysis.figure import Picture, save_picture
from analysis.load import Row, Run, flatten, load_run
from analysis.page import Html, details, join, pairs, picture_block, section, tag, tiles
from analysis.provenance import preset, reproduction, write_page
from analysis.report import STATUS_WORDS
from analysis.throughput import count, duration, elapsed
from envs.blackbox.suites import make_suite
from metarl.metabo.export import TrainedNAP, load_nap

FIRST_PHASE_ONLY = "This run has no second phase: only predictions were trained."
DEFAULT_HORIZON = 45
TABLE_SUITES = ("xgb", "xgb-valid", "hpo-tables")
"""Suites that a page may read again: the others need packages, or programs that take their time."""


def write_metabo_report(run_directory: str | os.PathLike) -> Path:
    """Returns the path of `report.html`, written into the run directory with `figures/<name>.png` and `.npz` beside it.

    The exported model is asked for pictures of its predictions. The page is self-contained and works for runs that
    lack pieces, which it names. An older report is replaced.

    Raises:
        ValueError: if the path is not a run directory, or a file in it is damaged.
    """
    run = load_run(Path(run_directory))
    directory = run.directory
    suites = read_suites(directory / "export/curves.npz", run.rows)
    has_model = all((directory / "export" / file).is_file() for file in ("nap.json", "nap.npz"))
    model = load_nap(directory / "export") if has_model else None
    pictures = {
        "results": result_pictures(run.rows, suites),
        "predictions": prediction_pictures(run.rows, run.config, model),
        "slices": slice_pictures(run.config, model),
        "training": present(training_curves(run.metrics, run.config)),
    }
    drawn = [picture for found in pictures.values() for picture in found]
    for picture in drawn:
        save_picture(picture, directory / "figures")
    sections = [
        results_section(run.rows, pictures["results"]),
        predictions_section(run.rows, pictures["predictions"]),
        picture_section("What the model thinks", pictures["slices"], "There is no exported model yet to ask."),
        picture_section("Training", pictures["training"], "No step has been recorded yet."),
    ]
    return write_page(run, _header(run), *sections, reproduction(run, "Examination"), _numbers(directory, drawn))


def present(*pictures: Picture | None) -> list[Picture]:
    """Returns those that there are."""
    return [picture for picture in pictures if picture is not None]


def result_pictures(rows: Sequence[Row], suites: Mapping[str, SuiteCurves]) -> list[Picture]:
    """Returns regrets and ranks along evaluations, and differences, as far as they are known."""
    differences = read_differences(rows)
    curves = present(regret_curves(suites), rank_curves(suites)) if suites else []
    return curves[:1] + ([forest(differences)] if differences else []) + curves[1:]


def prediction_pictures(rows: Sequence[Row], config: Mapping[str, Any], model: TrainedNAP | None) -> list[Picture]:
    """Returns calibration, likelihoods beside exact inference and, with a model, reliability on the first suite."""
    names = [name for name in (config.get("scoring") or {}).get("suites") or () if name in TABLE_SUITES]
    if model is None or not rows or not names:
        return present(calibration_curves(rows), prior_floors(rows))
    suite = make_suite(names[0], horizon=1, num_seeds=1)
    reliable = reliability(model, suite, seed=int(config.get("seed") or 0))
    return present(calibration_curves(rows), prior_floors(rows), reliable)


def slice_pictures(config: Mapping[str, Any], model: TrainedNAP | None) -> list[Picture]:
    """Returns what a model thinks of functions in one and two dimensions; nothing without a model."""
    if model is None:
        return []
    horizon = int((config.get("scoring") or {}).get("horizon") or DEFAULT_HORIZON)
    return [line_slices(explore_lines(model, horizon)), plane_slices(explore_plane(model, horizon))]


def _header(run: Run) -> Html:
    settings = [(name, value) for name, value in flatten(run.config).items() if name.rpartition(".")[2] != "type"]
    known = [f"{name} {value}" for name, value in (("preset", preset(run)), ("status", run.status)) if value]
    status = STATUS_WORDS.get(run.status, f"{run.status}.")
    if (run.status or "").startswith("failed"):
        status = f"The run failed: {(run.status or '').removeprefix('failed: ')}."
    has_second = (run.config.get("policy") or {}).get("iterations", 1) > 0
    return join(
        [
            tag("p", " · ".join(known), class_="kicker"),
            tag("h1", run.name),
            tag("p", lead_words(run.rows, is_reinforced=has_second), class_="lead"),
            *findings(run.rows),
            tag("p", status, "" if has_second else f" {FIRST_PHASE_ONLY}"),
            tiles([*key_figures(run.rows), *_cost(run)]) if run.rows or run.metrics else "",
            details(f"Configuration ({len(settings)} settings)", pairs(settings)) if settings else "",
        ]
    )


def findings(rows: Sequence[Row]) -> list[Html]:
    """Returns what was found, a paragraph for each suite."""
    return [tag("p", tag("strong", "Found. "), verdict(rows, env)) for env in measured(rows)]


def _cost(run: Run) -> list[tuple[str, str]]:
    clocks = {"wall time of training": "wall_s", "CPU time of training": "cpu_s"}
    entries = [(words, duration(elapsed(run.metrics[name]))) for words, name in clocks.items() if name in run.metrics]
    total = run.metrics.get("env_steps_total")
    return entries + ([("evaluations in training episodes", count(total[-1]))] if total is not None else [])


def results_section(rows: Sequence[Row], pictures: Sequence[Picture]) -> Html:
    """Returns a table for each suite, and the pictures; says so if nothing was measured, or curves are missing."""
    if not measured(rows):
        words = "The model has not been examined yet, so nothing is known about how it optimises."
        return section("Optimising", tag("p", words, class_="note"))
    tables = [part for env in measured(rows) for part in (tag("h3", env), regret_table(rows, env))]
    missing = "" if any(p.name == "regret" for p in pictures) else tag("p", "Curves were not saved.", class_="note")
    return section("Optimising", *tables, missing, *map(picture_block, pictures))


def predictions_section(rows: Sequence[Row], pictures: Sequence[Picture]) -> Html | str:
    """Returns what is known of the quality of predictions; nothing without pictures of it."""
    sentences = [words for env in envs_of(rows) if (words := calibration_words(rows, env))]
    return (
        section("Predicting", *(tag("p", words) for words in sentences), *map(picture_block, pictures))
        if pictures
        else ""
    )


def picture_section(title: str, pictures: Sequence[Picture], otherwise: str) -> Html:
    """Returns the pictures below a title, or a note if there are none."""
    return section(title, *(map(picture_block, pictures) if pictures else [tag("p", otherwise, class_="note")]))


def _numbers(directory: Path, pictures: Iterable[Picture]) -> Html:
    entries = {path: words if (directory / path).is_file() else f"{words}: not there" for path, words in PIECES.items()}
    entries |= {f"figures/{p.name}.npz": f"numbers of the figure “{p.title}”" for p in pictures}
    rows = pairs((tag("code", path), words) for path, words in entries.items())
    return section("Where the numbers are", tag("p", "Paths are relative to the run directory."), rows)
