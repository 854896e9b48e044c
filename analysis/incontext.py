"""One self-contained HTML page for a pretraining run: how the model acts in held-out tasks, and how it was trained."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from analysis.figure import Picture, save_picture
from analysis.incontext_load import PIECES, Examined, load_examined
from analysis.incontext_results import acting_pictures, results_section
from analysis.incontext_rooms import room_pictures, rooms_section
from analysis.incontext_training import final_mean, gap_curves, lead_words, loss_curve, probe_lengths
from analysis.load import flatten
from analysis.page import Html, details, join, pairs, picture_block, section, tag, tiles
from analysis.provenance import preset, reproduction, write_page
from analysis.report import STATUS_WORDS
from analysis.tables import number
from analysis.throughput import MISSING, count, duration, elapsed
from metarl.incontext.export import load_model

RUNNING = "The run had not finished when this page was written; numbers are as of its last recorded step."


def _header(examined: Examined) -> Html:
    run = examined.run
    known = {"preset": preset(run), "status": run.status}
    status = (STATUS_WORDS | {"running": RUNNING}).get(run.status, f"{run.status}.")
    if (run.status or "").startswith("failed"):
        status = f"The run failed: {(run.status or '').removeprefix('failed: ')}."
    settings = [(name, value) for name, value in flatten(run.config).items() if name.rpartition(".")[2] != "type"]
    return join(
        [
            tag("p", " · ".join(f"{name} {value}" for name, value in known.items() if value), class_="kicker"),
            tag("h1", run.name),
            tag("p", lead_words(run.config), class_="lead"),
            tag("p", status),
            tiles(key_figures(examined)) if run.metrics else "",
            details(f"Configuration ({len(settings)} settings)", pairs(settings)) if settings else "",
        ]
    )


def key_figures(examined: Examined) -> list[tuple[str, str]]:
    """Returns (name, value) of what training cost and came to."""
    metrics = examined.run.metrics
    unknown = np.array([np.nan])
    updates = metrics.get("step", unknown)[-1] * examined.updates_per_step
    wall, cpu = (elapsed(metrics.get(clock, unknown)) for clock in ("wall_s", "cpu_s"))
    entries = [
        ("updates", count(updates)),
        ("environment steps", count(metrics.get("env_steps_total", unknown)[-1])),
        ("wall time", duration(wall)),
        ("CPU time", duration(cpu)),
        ("updates / s", number(updates / wall, 2) if wall > 0.0 else MISSING),
        ("final loss", number(final_mean(metrics.get("loss", unknown)))),
    ]
    if lengths := probe_lengths(metrics):
        entries.append((f"Bayes gap, n = {lengths[-1]}", number(final_mean(metrics[f"bayes_gap/{lengths[-1]}"]))))
    return entries


def _training(examined: Examined, pictures: Iterable[Picture]) -> Html:
    if not examined.run.metrics:
        return section("Training", tag("p", "No step has been recorded yet.", class_="note"))
    blocks: list[object] = [*map(picture_block, pictures)]
    if not probe_lengths(examined.run.metrics):
        words = "No exact posterior was compared with: there is none for this domain, or not for this learner."
        blocks.append(tag("p", words, class_="note"))
    return section("Training", *blocks)


def _numbers(examined: Examined, pictures: Iterable[Picture]) -> Html:
    absent = examined.absent
    entries = {path: f"{words}: not there" if path in absent else words for path, words in PIECES.items()}
    entries |= {f"figures/{p.name}.npz": f"numbers of the figure “{p.title}”" for p in pictures}
    rows = pairs((tag("code", path), words) for path, words in entries.items())
    return section("Where the numbers are", tag("p", "Paths are relative to the run directory."), rows)


def write_pretrain_report(run_directory: str | os.PathLike) -> Path:
    """Returns the path of `report.html`, written into the run directory with `figures/<name>.png` and `.npz` beside it.

    Where the run trained on Dark Rooms, its model acts in one for pictures of its policy. The page is self-contained
    and works for runs that lack pieces, which it names. An older report is replaced.

    Raises:
        ValueError: if the path is not a run directory, or a file in it is damaged.
    """
    examined = load_examined(Path(run_directory))
    run = examined.run
    acting = acting_pictures(examined.results)
    makers = (loss_curve, gap_curves)
    training = [found for make in makers if (found := make(run.metrics, examined.updates_per_step)) is not None]
    has_model = not {"export/model.json", "export/model.npz"} & set(examined.absent)
    rooms = room_pictures(load_model(run.directory / "export")) if has_model else []
    pictures = [*(picture for found in acting.values() for picture in found.values()), *rooms, *training]
    for picture in pictures:
        save_picture(picture, run.directory / "figures")
    sections = [results_section(examined.results, acting), rooms_section(rooms), _training(examined, training)]
    return write_page(run, _header(examined), *sections, reproduction(run, "Examination"), _numbers(examined, pictures))
