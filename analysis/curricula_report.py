"""One self-contained HTML page for a run of teachers and students."""

import base64
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from analysis.animation import Animation, save_animation
from analysis.curricula import (
    Lessons,
    curriculum_animation,
    grade_maps,
    load_lessons,
    mastery_curves,
    proposal_maps,
)
from analysis.figure import Picture, save_picture
from analysis.load import Row, Run, flatten, load_run
from analysis.page import Html, details, image_block, join, pairs, picture_block, section, table, tag
from analysis.provenance import preset, reproduction, write_page
from analysis.report import STATUS_WORDS
from analysis.tables import MISSING, interval
from analysis.walk import walk_animation
from metarl.statistics import welch

CURRICULUM, FILM = "export/curriculum.npz", "export/film.npz"
T = TypeVar("T")
WORDS = (
    "Each teacher proposed tasks to students of its own and saw only what came back of them. Students of different "
    "teachers with the same number have the same randomness; all are examined in the same test tasks."
)


def write_teach_report(run_directory: str | os.PathLike) -> Path:
    """Returns the path of `report.html`, written into the run directory with `figures/` and their numbers beside it.

    The page works for runs that are not finished, and says so. An older report is replaced.

    Raises:
        ValueError: if the path is not a run directory, or a file in it is damaged.
    """
    run = load_run(Path(run_directory))
    held = _read(run.directory / CURRICULUM, lambda held: (load_lessons(held), held["test_vectors"]))
    lessons, tests = held or ({}, np.zeros((0, 0)))
    pictures = _pictures(lessons, tests) if lessons else []
    candidates = [_animation(lessons, tests), _read(run.directory / FILM, walk_animation)]
    animations = [animation for animation in candidates if animation is not None]
    for picture in pictures:
        save_picture(picture, run.directory / "figures")
    for animation in animations:
        save_animation(animation, run.directory / "figures")
    moving = [_moving(animation) for animation in animations]
    numbers = _numbers(pictures, animations)
    return write_page(run, _header(run), _results(run, pictures), *moving, reproduction(run), numbers)


def _read(path: Path, load: Callable[[dict[str, np.ndarray]], T]) -> T | None:
    """Returns what `load` makes of a file's arrays; None if there is no file."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return load(dict(arrays))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete the run's report and give its command again") from error


def _pictures(lessons: Mapping[str, Lessons], tests: np.ndarray) -> list[Picture]:
    found = [mastery_curves(lessons), proposal_maps(lessons), grade_maps(lessons, tests)]
    return [picture for picture in found if picture is not None]


def _animation(lessons: Mapping[str, Lessons], tests: np.ndarray) -> Animation | None:
    """Returns the curriculum of the first teacher with a portrait, or else of the first."""
    if not lessons:
        return None
    teacher = next((name for name, lesson in lessons.items() if lesson.portrait), next(iter(lessons)))
    return curriculum_animation(teacher, lessons[teacher], tests)


def _header(run: Run) -> Html:
    settings = [(name, value) for name, value in flatten(run.config).items() if name.rpartition(".")[2] != "type"]
    known = [f"{name} {value}" for name, value in (("preset", preset(run)), ("status", run.status)) if value]
    return join(
        [
            tag("p", " · ".join(known), class_="kicker"),
            tag("h1", run.name),
            tag("p", WORDS, class_="lead"),
            tag("p", STATUS_WORDS.get(run.status, f"{run.status}.")),
            details(f"Configuration ({len(settings)} settings)", pairs(settings)) if settings else "",
        ]
    )


def _results(run: Run, pictures: list[Picture]) -> Html:
    if not run.rows:
        words = "This run has not finished, so nothing is known about how good its teachers are."
        return section("Results", tag("p", words, class_="note"))
    return section("Results", result_table(run.rows), *map(picture_block, pictures))


def result_table(rows: tuple[Row, ...]) -> Html:
    """Returns updates x teachers: what students master, and Welch's test against the students of uniform tasks."""
    cells = {(row.setting["updates"], row.arm): row for row in rows}
    teachers, points = (list(dict.fromkeys(key[i] for key in cells)) for i in (1, 0))
    body = [
        [f"{point:,}", *(_cell(cells.get((point, name)), cells.get((point, "uniform"))) for name in teachers)]
        for point in points
    ]
    caption = (
        f"Test tasks mastered, in percent: interquartile mean [95 % interval] over {len(rows[0].values)} students. p: "
        "Welch's test, two-sided, against the students of uniform tasks; no correction for several comparisons."
    )
    return table(["updates", *teachers], body, caption=caption)


def _cell(row: Row | None, baseline: Row | None) -> Html | str:
    if row is None:
        return MISSING
    shown = interval(row.iqm, row.low, row.high, digits=1)
    p = None if baseline is None or baseline.arm == row.arm else welch(row.values, baseline.values)
    return shown if p is None else join([shown, f" p {p:.2g}"])


def _moving(animation: Animation) -> Html:
    source = "data:image/gif;base64," + base64.b64encode(animation.gif).decode()
    return section(
        animation.title,
        image_block(source, name=animation.name, title=animation.title, caption=animation.caption),
    )


def _numbers(pictures: list[Picture], animations: list[Animation]) -> Html:
    entries = {"evaluation.json": "what students master", CURRICULUM: "what was recorded after every step"}
    entries |= {f"figures/{p.name}.npz": f"numbers of the figure “{p.title}”" for p in pictures}
    entries |= {f"figures/{a.name}.npz": f"numbers of the animation “{a.title}”" for a in animations}
    rows = pairs((tag("code", path), words) for path, words in entries.items())
    return section("Where the numbers are", tag("p", "Paths are relative to the run directory."), rows)
