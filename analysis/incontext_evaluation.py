"""The pages of an evaluation of agents that learn in context, and of an exported model beside which its own lies."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.figure import Picture, save_picture
from analysis.incontext_load import Results, read_results
from analysis.incontext_results import acting_pictures, results_section
from analysis.incontext_rooms import room_pictures, rooms_section
from analysis.incontext_training import lead_words, loss_curve
from analysis.load import flatten
from analysis.page import Html, details, pairs, picture_block, section, tag
from analysis.provenance import how_evaluated, save_page
from metarl.incontext.export import load_model

WORDS = (
    "Models, and rivals where there are any, act in the same held-out tasks{envs}. Weights are frozen: all that is "
    "learned there is learned in the context."
)
KEPT = "Loss on fresh training tasks; of the run's curve the model keeps means over equal blocks of steps."


def is_acting_evaluation(content: Mapping[str, Any]) -> bool:
    """Returns whether the content of an evaluation file is about agents that learn in context."""
    rows = [row for row in content.get("rows", ()) if isinstance(row, Mapping)]
    return any(isinstance(row.get("setting"), Mapping) and "mode" in row["setting"] for row in rows)


def write_acting_evaluation_report(file: Path) -> Path:
    """Returns the path of the page of an evaluation file, written beside it, as are its figures and their numbers.

    Args:
        file: evaluation file (JSON); curves are read from the npz file of the same name, if there is one.

    Raises:
        ValueError: if a file is not what it should be.
    """
    results = read_results(file, file.with_suffix(".npz"))
    envs = f" of {' and '.join(results.envs)}" if results.envs else ""
    head = [tag("h1", file.stem), tag("p", WORDS.format(envs=envs), class_="lead")]
    acting = _acting(results, file.with_suffix(".figures"))
    how = how_evaluated(json.loads(file.read_text(encoding="utf-8")))
    return save_page(file.with_suffix(".html"), file.stem, *head, acting, how)


def write_model_report(directory: Path, out: Path) -> Path:
    """Returns the path of `report.html` of an exported model, written into `out` with `figures/` beside it.

    Results are those of the evaluation file beside the model, if there is one. Where the model was trained on Dark
    Rooms, it acts in one for pictures of its policy. An older page in `out` is replaced.

    Args:
        directory: holds `model.npz` and `model.json`.
        out: made if missing.

    Raises:
        ValueError: if the model or the evaluation is damaged.
    """
    model, file, figures = load_model(directory), directory / "evaluation.json", out / "figures"
    config, name = {"env": model.env} | (model.record.get("config") or {}), directory.resolve().name
    acting = _acting(read_results(file, directory / "curves.npz"), figures)
    rooms = room_pictures(model)
    training = _training(model.record.get("curve") or {}, config)
    _save([*rooms, *training], figures)
    settings = flatten({"settings": model.settings, "record": model.record})
    body = [
        tag("h1", name),
        tag("p", lead_words(config), class_="lead"),
        details(f"What is recorded of the model ({len(settings)} settings)", pairs(settings.items())),
        acting,
        rooms_section(rooms),
        section("Training", *map(picture_block, training)) if training else "",
        how_evaluated(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}),
    ]
    return save_page(out / "report.html", name, *body)


def _acting(results: Results, figures: Path) -> Html:
    """Returns the section about acting, whose pictures are saved."""
    acting = acting_pictures(results)
    _save((picture for found in acting.values() for picture in found.values()), figures)
    return results_section(results, acting)


def _training(curve: Mapping[str, Any], config: Mapping[str, Any]) -> list[Picture]:
    """Returns the picture of the loss, as far as the record of a model has it."""
    metrics = {name: np.asarray(values, np.float64) for name, values in curve.items()}
    picture = loss_curve(metrics, int(config.get("updates_per_step") or 1))
    return [] if picture is None else [picture._replace(caption=KEPT)]


def _save(pictures: Iterable[Picture], directory: Path) -> None:
    for picture in pictures:
        save_picture(picture, directory)
