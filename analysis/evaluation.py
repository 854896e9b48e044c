"""The page of an evaluation file: tables, learning curves and schedules of the arms in each environment.

Evaluations of optimisers and of agents that learn in context have pages of their own, see `analysis.bo_evaluation` and
`analysis.incontext_evaluation`.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from analysis.bo_evaluation import is_metabo_evaluation, write_metabo_evaluation_report
from analysis.curves import horizon_curve, life_curve
from analysis.figure import Picture, save_picture
from analysis.incontext_evaluation import is_acting_evaluation, write_acting_evaluation_report
from analysis.load import Lives, Row, read_rows
from analysis.page import Html, details, join, picture_block, section, tag
from analysis.provenance import how_evaluated, save_page
from analysis.rules import schedule_grid
from analysis.tables import headline_rows, improvement_table, result_table, verdict


def write_evaluation_report(file: Path) -> Path:
    """Returns the path of the page of an evaluation, written beside its file, as are the figures and their numbers.

    Args:
        file: evaluation file (JSON). Curves are read from the npz file of the same name, if there is one, with arrays
            `env/arm/horizon/quantity`, each `[lives, horizon]`.

    Raises:
        ValueError: if a file is not what it should be.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    if is_metabo_evaluation(content):
        return write_metabo_evaluation_report(file)
    if is_acting_evaluation(content):
        return write_acting_evaluation_report(file)
    rows = read_rows(file, content)
    lives = read_curves(file.with_suffix(".npz"))
    figures = file.with_suffix(".figures")
    sections = [_results(rows, figures)]
    for env in dict.fromkeys(row.env for row in rows):
        mine = [row for row in headline_rows(rows) if row.env == env]
        sections.append(_environment(env, mine, lives.get(env, {}), figures))
    heading = tag("h1", file.stem)
    return save_page(file.with_suffix(".html"), file.stem, heading, *sections, how_evaluated(content))


def read_curves(path: Path) -> dict[str, Lives]:
    """Returns the lives of every environment from arrays `env/arm/horizon/quantity`; empty if there is no such file.

    Raises:
        ValueError: if an array has another name or its second axis is not its horizon.
    """
    found: dict[str, Lives] = {}
    if not path.is_file():
        return found
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            match = re.fullmatch(r"(.+)/([^/]+)/(\d+)/([^/]+)", name)
            values = np.asarray(arrays[name], np.float64)
            if match is None or values.ndim != 2 or values.shape[1] != int(match[3]):
                raise ValueError(f"{path} has an array {name!r} of shape {values.shape}; evaluate again")
            env, arm, horizon, quantity = match.groups()
            found.setdefault(env, {}).setdefault(arm, {}).setdefault(int(horizon), {})[quantity] = values
    return found


def _results(rows: tuple[Row, ...], figures: Path) -> Html:
    shown = headline_rows(rows)
    return section("Results", picture_block(_saved(horizon_curve(shown), figures)))


def _environment(env: str, rows: list[Row], lives: Lives, figures: Path) -> Html:
    blocks: list[Any] = [tag("p", verdict(rows) or ""), result_table(rows)]
    improvement = improvement_table(rows)
    blocks.append(improvement if improvement is not None else "")
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", env)
    if lives:
        curve = life_curve(lives)
        blocks.append(picture_block(_saved(curve._replace(name=f"{prefix}_{curve.name}"), figures)))
        schedules = schedule_grid(lives)
        if schedules is not None:
            block = picture_block(_saved(schedules._replace(name=f"{prefix}_{schedules.name}"), figures))
            blocks.append(details("Schedules of the agents", block))
    return section(env, join(blocks))


def _saved(picture: Picture, directory: Path) -> Picture:
    save_picture(picture, directory)
    return picture
