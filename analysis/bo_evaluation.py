"""The pages of an evaluation of optimisers, and of an exported neural process beside which its evaluation lies."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.bo import (
    findings,
    picture_section,
    prediction_pictures,
    predictions_section,
    present,
    result_pictures,
    results_section,
    slice_pictures,
)
from analysis.bo_load import MODEL_ARMS, read_suites
from analysis.bo_tables import key_figures
from analysis.bo_training import training_curves
from analysis.bo_words import lead_words
from analysis.figure import Picture, save_picture
from analysis.load import Row, flatten, read_rows
from analysis.page import Html, details, pairs, tag, tiles
from analysis.provenance import how_evaluated, save_page
from metarl.metabo.export import load_nap

LEARNED = tuple(arm for arm in MODEL_ARMS if arm.startswith("nap"))
"""Arms that choose by what reinforcement trained."""

KEPT = (
    "Minus the log-likelihood of values that were not shown, on fresh training tasks, over steps; of the run's curve "
    "the model keeps means over equal blocks."
)


def is_metabo_evaluation(content: Mapping[str, Any]) -> bool:
    """Returns whether the content of an evaluation file is about optimisers."""
    return any(row.get("metric") == "regret_auc" for row in content.get("rows", ()) if isinstance(row, Mapping))


def write_metabo_evaluation_report(file: Path) -> Path:
    """Returns the path of the page of an evaluation file, written beside it, as are its figures and their numbers.

    Args:
        file: evaluation file (JSON); curves are read from the npz file of the same name, if there is one.

    Raises:
        ValueError: if a file is not what it should be.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    rows = read_rows(file, content)
    results = result_pictures(rows, read_suites(file.with_suffix(".npz"), rows))
    predictions = prediction_pictures(rows, {}, None)
    _save([*results, *predictions], file.with_suffix(".figures"))
    head = _head(file.stem, rows, is_reinforced=any(row.arm in LEARNED for row in rows))
    sections = [results_section(rows, results), predictions_section(rows, predictions), how_evaluated(content)]
    return save_page(file.with_suffix(".html"), file.stem, *head, *sections)


def write_nap_report(directory: Path, out: Path) -> Path:
    """Returns the path of `report.html` of an exported neural process, written into `out` with `figures/` beside it.

    Results are those of the evaluation file beside the model, if there is one; curves of single trajectories are not
    kept there. The model is asked for pictures of its predictions. An older page in `out` is replaced.

    Args:
        directory: holds `nap.npz` and `nap.json`.
        out: made if missing.

    Raises:
        ValueError: if the model or the evaluation is damaged.
    """
    model, file = load_nap(directory), directory / "evaluation.json"
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    rows, record = read_rows(file, content), model.record
    config = record.get("config") or {}
    curve = {name: np.asarray(values, np.float64) for name, values in (record.get("curve") or {}).items()}
    pictures = {
        "results": result_pictures(rows, {}),
        "predictions": prediction_pictures(rows, config, model),
        "slices": slice_pictures(config, model),
        "training": [found._replace(caption=KEPT) for found in present(training_curves(curve, config))],
    }
    _save([picture for found in pictures.values() for picture in found], out / "figures")
    name, settings = directory.resolve().name, flatten({"settings": model.settings, "record": record})
    sections = [
        *_head(name, rows, is_reinforced=model.head == "acquisition"),
        details(f"What is recorded of the model ({len(settings)} settings)", pairs(settings.items())),
        results_section(rows, pictures["results"]),
        predictions_section(rows, pictures["predictions"]),
        picture_section("What the model thinks", pictures["slices"], ""),
        picture_section("Training", pictures["training"], "The curve of training is not recorded."),
        how_evaluated(content),
    ]
    return save_page(out / "report.html", name, *sections)


def _save(pictures: Sequence[Picture], directory: Path) -> None:
    for picture in pictures:
        save_picture(picture, directory)


def _head(name: str, rows: Sequence[Row], *, is_reinforced: bool) -> list[Html]:
    words = tag("p", lead_words(rows, is_reinforced=is_reinforced), class_="lead")
    return [tag("h1", name), words, *findings(rows), *([tiles(key_figures(rows))] if rows else [])]
