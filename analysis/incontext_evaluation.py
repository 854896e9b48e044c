"""The pages of an evaluation of agents that learn in context, and of an exported model beside which its own lies."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.figure import Picture, save_picture
from analysis.incontext import acting_pictures, lead_words, results_section
from analysis.incontext_load import Examined, read_curves, read_outcomes
from analysis.incontext_training import loss_curve
from analysis.load import Run, flatten
from analysis.page import Html, details, pairs, picture_block, section, tag
from analysis.provenance import how_evaluated, save_page
from metarl.incontext.export import load_model

NO_CURVES = "Curves are not kept with the evaluation, so that tables are all there is of what was done online."

KEPT = "Loss on fresh training tasks; of the run's curve the model keeps means over equal blocks of steps."


def is_acting_evaluation(content: Mapping[str, Any]) -> bool:
    """Returns whether the content of an evaluation file is about agents that learn in context."""
    rows = [row for row in content.get("rows", ()) if isinstance(row, Mapping)]
    return any("mode" in (row.get("setting") or {}) for row in rows)


def write_acting_evaluation_report(file: Path) -> Path:
    """Returns the path of the page of an evaluation file, written beside it, as are its figures and their numbers.

    Args:
        file: evaluation file (JSON); curves are read from the npz file of the same name, if there is one.

    Raises:
        ValueError: if a file is not what it should be.
    """
    examined = _examined(file, file.with_suffix(".npz"), {})
    acting = _acting(examined, file.with_suffix(".figures"))
    content = json.loads(file.read_text(encoding="utf-8"))
    head = [tag("h1", file.stem), tag("p", lead_words({}, ()), class_="lead"), _note(examined)]
    body = [results_section(examined, acting), how_evaluated(content)]
    return save_page(file.with_suffix(".html"), file.stem, *head, *body)


def write_model_report(directory: Path, out: Path) -> Path:
    """Returns the path of `report.html` of an exported model, written into `out` with `figures/` beside it.

    Results are those of the evaluation file beside the model, if there is one. An older page in `out` is replaced.

    Args:
        directory: holds `model.npz` and `model.json`.
        out: made if missing.

    Raises:
        ValueError: if the model or the evaluation is damaged.
    """
    model, file = load_model(directory), directory / "evaluation.json"
    config, name = model.record.get("config") or {}, directory.resolve().name
    examined = _examined(file, directory / "curves.npz", config)
    acting = _acting(examined, out / "figures")
    curve = {key: np.asarray(values, np.float64) for key, values in (model.record.get("curve") or {}).items()}
    training = loss_curve(curve, examined.updates_per_step)
    if training is not None:
        training = training._replace(caption=KEPT)
        save_picture(training, out / "figures")
    settings = flatten({"settings": model.settings, "record": model.record})
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    body = [
        tag("h1", name),
        tag("p", lead_words(config, examined.trained_envs), class_="lead"),
        _note(examined),
        details(f"What is recorded of the model ({len(settings)} settings)", pairs(settings.items())),
        results_section(examined, acting),
        section("Training", picture_block(training)) if training is not None else "",
        how_evaluated(content),
    ]
    return save_page(out / "report.html", name, *body)


def _examined(file: Path, curves: Path, config: Mapping[str, Any]) -> Examined:
    """Returns what an evaluation holds in the form of a run, which has nothing else but a configuration."""
    nothing: dict[str, Any] = {"sessions": (), "metrics": {}, "status": None, "evaluation": {}, "rows": ()}
    run = Run(directory=file.parent, config=dict(config), rule={}, lives={}, probe={}, absent=(), **nothing)
    outcomes = read_outcomes(file)
    env = next((setting.env for setting in outcomes), "")
    return Examined(run, outcomes, read_curves(curves, env), absent=())


def _acting(examined: Examined, figures: Path) -> dict[str, dict[str, Picture]]:
    """Returns the pictures of every domain by mode, which are saved."""
    acting = {env: acting_pictures(examined, env) for env in examined.envs}
    for picture in (picture for found in acting.values() for picture in found.values()):
        save_picture(picture, figures)
    return acting


def _note(examined: Examined) -> Html | str:
    return tag("p", NO_CURVES, class_="note") if examined.outcomes and not examined.curves else ""
