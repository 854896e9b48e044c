"""How models that act in context did in held-out tasks: pictures, and a section for whatever page it stands on."""

import re
from collections.abc import Mapping, Sequence

from analysis.figure import Picture
from analysis.incontext_load import Outcome, Results, Setting
from analysis.incontext_pictures import offline_curves, regret_curves, return_curves
from analysis.incontext_tables import outcome_table, verdict
from analysis.page import Html, picture_block, section, tag

MODES = {"online": "Online: learning from what it does itself", "offline": "Offline: acting on given data"}
OTHER_PRIOR = (
    "The prior of exact inference holds the goals of training alone, and no held-out goal is one of them: it looks in "
    "the wrong cells, and the goal contradicts all that it thinks possible. With the option prior=all it knows all."
)


def acting_pictures(results: Results) -> dict[str, dict[str, Picture]]:
    """Returns `{domain: {mode: picture}}` of acting; where there are several domains, names end with the domain's."""
    return {
        env: {mode: named(picture, env, results.envs) for mode, picture in _pictures(results, env).items()}
        for env in results.envs
    }


def _pictures(results: Results, env: str) -> dict[str, Picture]:
    metrics = {(setting.mode, setting.metric) for setting in results.outcomes if setting.env == env}
    has_curves = any((series.env, series.mode) == (env, "online") for series in results.curves)
    pictures = {}
    if has_curves and ("online", "regret") in metrics:
        pictures["online"] = regret_curves(env, results.curves)
    if has_curves and ("online", "return") in metrics:
        pictures["online"] = return_curves(env, results.curves)
    if any(mode == "offline" for mode, _ in metrics):
        pictures["offline"] = offline_curves(env, results.outcomes)
    return pictures


def slug(env: str) -> str:
    """Returns a domain's name fit for a file."""
    return re.sub(r"[^A-Za-z0-9]+", "-", env).strip("-")


def named(picture: Picture, env: str, envs: Sequence[str]) -> Picture:
    """Returns the picture, named and titled after its domain too if it is one of several."""
    if len(envs) < 2:
        return picture
    return picture._replace(name=f"{picture.name}_{slug(env)}", title=f"{picture.title}: {env}")


def results_section(results: Results, pictures: Mapping[str, Mapping[str, Picture]]) -> Html:
    """Returns the section about acting: sentences, pictures as of `acting_pictures`, and tables, domain by domain."""
    if not results.outcomes:
        words = "The model has not been examined in held-out tasks yet, so nothing is known about how it acts."
        return section("Acting in held-out tasks", tag("p", words, class_="note"))
    blocks: list[object] = []
    for env in results.envs:
        for mode, words in MODES.items():
            found = {where: rows for where, rows in results.outcomes.items() if (where.env, where.mode) == (env, mode)}
            if found:
                blocks.append(tag("h3", words + (f" in {env}" if len(results.envs) > 1 else "")))
                blocks += _mode_blocks(found, pictures[env].get(mode))
        if env.partition("@")[0] == "darkroom" and "prior=all" not in env:
            blocks.append(tag("p", OTHER_PRIOR, class_="note"))
    if not results.curves:
        blocks.append(tag("p", "Curves were not saved, so that there is no picture of acting online.", class_="note"))
    return section("Acting in held-out tasks", *blocks)


def _mode_blocks(found: Mapping[Setting, Sequence[Outcome]], picture: Picture | None) -> list[object]:
    """Returns sentences, the picture, and a table for each protocol."""
    blocks: list[object] = [tag("p", words) for where, rows in found.items() if (words := verdict(where, rows))]
    blocks += [picture_block(picture)] if picture is not None else []
    return blocks + [outcome_table(where, rows) for where, rows in found.items()]
