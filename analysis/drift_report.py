"""The part of a report that shows a rule's drift, and the page of an exported rule that has nothing else."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from analysis.animation import Animation, save_animation
from analysis.drift import RuleDrift, make_surfaces, reference_drifts, rule_drift, shown_lifetimes
from analysis.drift_animation import FRAME_POINTS, NUM_FRAMES, drift_animation
from analysis.drift_pictures import drift_slope, drift_surface
from analysis.figure import Picture, save_picture
from analysis.load import flatten
from analysis.page import Html, grouped_table, image_block, join, pairs, picture_block, section, tag
from analysis.provenance import save_page
from analysis.push import ADVANTAGES, CLIP, implied_clip, push_beyond_clip
from analysis.push_pictures import drift_clip
from analysis.tables import arm_heading, number
from metarl.objectives.export import LoadedRule, load_rule

LIFE_FRACTIONS = tuple(np.linspace(0.0, 1.0, 81).tolist())
"""Where the implied clip is drawn."""
TABLE_FRACTIONS = (0.0, 0.5, 1.0)


class Rollback(NamedTuple):
    """What happens to actions that have gone beyond PPO's clip."""

    fractions: Float[np.ndarray, " F"]
    """n/N; one alone if the rule does not see time."""
    lifetimes: Float[np.ndarray, " L"]
    """N; one alone unless the rule sees it."""
    push: Float[np.ndarray, "L F G"]
    """`push_beyond_clip` of the rule at ADVANTAGES."""
    references: Mapping[str, Float[np.ndarray, " G"]]
    """The same of rules that are blind to time, by arm."""


class DriftPart(NamedTuple):
    """Everything that a report shows of a drift."""

    sees_time: bool
    """Whether the drift changes over a life."""
    pictures: tuple[Picture, ...]
    """Surface, slope and implied clip."""
    animation: Animation | None
    """The slope over a life; None for a rule that does not see time."""
    rollback: Rollback
    """Numbers of the table."""


def drift_part(rule: LoadedRule, trained: tuple[float, float] | None = None) -> DriftPart:
    """Returns what there is to see of the rule's drift.

    `trained` is the (shortest, longest) lifetime of meta-training, in updates; only a drift that sees N looks at it.

    Raises:
        ValueError: if the rule has no drift.
    """
    drift, references = rule_drift(rule), reference_drifts()
    lifetimes = shown_lifetimes(drift, trained)
    surfaces = {arm: make_surfaces(other) for arm, other in references.items()}
    rule_surfaces = make_surfaces(drift, lifetimes=lifetimes)
    pictures = (drift_surface(rule_surfaces, surfaces), drift_slope(rule_surfaces, surfaces))
    frames = np.linspace(0.0, 1.0, NUM_FRAMES).tolist()
    moving = make_surfaces(drift, frames, lifetimes[-1:], num_points=FRAME_POINTS)
    still = make_surfaces(references["ppo"], num_points=FRAME_POINTS)
    return DriftPart(
        sees_time=drift.sees_time,
        pictures=(*pictures, _clip_picture(drift, references, lifetimes)),
        animation=drift_animation(moving, still, sees_horizon=drift.sees_horizon),
        rollback=_rollback(drift, references, lifetimes),
    )


def _clip_picture(drift: RuleDrift, references: Mapping[str, RuleDrift], lifetimes: tuple[float, ...]) -> Picture:
    life = make_surfaces(drift, LIFE_FRACTIONS, lifetimes, advantages=ADVANTAGES)
    others = {arm: implied_clip(other)[0, 0] for arm, other in references.items()}
    return drift_clip(life, implied_clip(drift, LIFE_FRACTIONS, lifetimes), others)


def _rollback(drift: RuleDrift, references: Mapping[str, RuleDrift], lifetimes: tuple[float, ...]) -> Rollback:
    others = {arm: push_beyond_clip(other)[0, 0] for arm, other in references.items()}
    push = push_beyond_clip(drift, TABLE_FRACTIONS, lifetimes)
    return Rollback(np.array(TABLE_FRACTIONS[: push.shape[1]]), np.array(lifetimes), push, others)


def rollback_table(rollback: Rollback) -> Html:
    """Returns the mean push beyond PPO's clip by advantage: a row for each n/N, a group for each N, then references."""
    groups: dict[str, list[list[object]]] = {}
    for lifetime, rows in zip(rollback.lifetimes, rollback.push, strict=True):
        name = f"N = {lifetime:g}" if len(rollback.lifetimes) > 1 else ""
        heads = [f"n/N = {fraction:g}" for fraction in rollback.fractions] if len(rows) > 1 else [""]
        groups[name] = [
            [join([arm_heading("discovered"), " ", head]), *map(_share, row)]
            for head, row in zip(heads, rows, strict=True)
        ]
    groups.setdefault("for comparison" if len(groups) > 1 else "", []).extend(
        [arm_heading(arm), *map(_share, row)] for arm, row in rollback.references.items()
    )
    caption = (
        f"Mean slope of r A - f beyond PPO's clip, as a share of A: from r = {1 + CLIP:g} to e where A > 0, from "
        f"{1 - CLIP:g} to 1/e where A < 0, every log r counting alike. 1: pushed on as if there were no drift; 0: let "
        "go, as by PPO; below 0: rolled back."
    )
    return grouped_table(["", *(f"A = {advantage:g}" for advantage in ADVANTAGES)], groups, caption=caption)


def _share(value: float) -> str:
    return number(round(value, 2) + 0.0, 2, scale=1.0)  # 0.0 turns -0.00 into 0.00


def drift_section(part: DriftPart) -> Html:
    """Returns the section 'The drift function'."""
    words = (
        "The actor raises r A - f, where r is the ratio of an action's new and old probability, A its normalised "
        "advantage, and f, the drift, is all that the rule decides. PPO and DPO are drifts written down by hand. "
    )
    varying = "n/N varies, and N from row to row" if len(part.rollback.lifetimes) > 1 else "n/N varies"
    words += (
        f"Here ratios and advantages are the same at every point in life and only {varying}, which is what a "
        "fixed-batch probe does for other rules: every difference between panels is an effect of time alone."
        if part.sees_time
        else "This rule does not see time: its drift is the same over the whole life."
    )
    surface, slope, clip = (picture_block(picture) for picture in part.pictures)
    moving = "" if part.animation is None else _animation_block(part.animation)
    table = [tag("h3", "Beyond the clip"), rollback_table(part.rollback)]
    return section("The drift function", tag("p", words), surface, slope, moving, clip, *table)


def _animation_block(animation: Animation) -> Html:
    source = "data:image/gif;base64," + base64.b64encode(animation.gif).decode()
    return image_block(source, name=animation.name, title=animation.title, caption=animation.caption)


def save_drift_part(part: DriftPart, directory: Path) -> dict[str, str]:
    """Writes pictures, animation and numbers into a directory; returns {file of numbers: what they are}."""
    for picture in part.pictures:
        save_picture(picture, directory)
    if part.animation is not None:
        save_animation(part.animation, directory)
    rollback = part.rollback
    numbers = {"fractions": rollback.fractions, "lifetimes": rollback.lifetimes, "push": rollback.push}
    numbers |= {"advantages": np.array(ADVANTAGES)} | dict(rollback.references)
    np.savez_compressed(directory / "drift_rollback.npz", **numbers)
    shown = [(shown.name, shown.title) for shown in (*part.pictures, part.animation) if shown is not None]
    titles = {name: f"numbers of the figure “{title}”" for name, title in shown}
    return {f"{name}.npz": words for name, words in titles.items()} | {
        "drift_rollback.npz": "numbers of the table “Beyond the clip”"
    }


def trained_lifetimes(*descriptions: Mapping[str, Any]) -> tuple[float, float] | None:
    """Returns the pair called `lifetime`, at any depth, of the first description that has one; None if none has."""
    for description in descriptions:
        for name, value in flatten(description).items():
            if name.rpartition(".")[2] == "lifetime" and isinstance(value, list) and len(value) == 2:
                return float(value[0]), float(value[1])
    return None


def write_rule_report(rule_directory: str | os.PathLike, out_directory: str | os.PathLike) -> Path:
    """Returns the path of `report.html`, the page of an exported rule with a drift, with `figures/` beside it.

    An older page there is replaced.

    Args:
        rule_directory: holds `rule.npz` and `rule.json`.
        out_directory: made if missing.

    Raises:
        ValueError: if there is no rule, it is damaged, or it has no drift.
    """
    rule, out = load_rule(rule_directory), Path(out_directory)
    part = drift_part(rule, trained_lifetimes(rule.record))
    files = save_drift_part(part, out / "figures")
    name = str(rule.record.get("run") or Path(rule_directory).resolve().name)
    head = [tag("p", f"objective {rule.objective}", class_="kicker"), tag("h1", name)]
    record = section("The rule", pairs(flatten({"settings": rule.settings, "record": rule.record}).items()))
    where = pairs((tag("code", f"figures/{file}"), words) for file, words in files.items())
    numbers = section("Where the numbers are", tag("p", "Paths are relative to this page."), where)
    return save_page(out / "report.html", name, *head, drift_section(part), record, numbers)
