"""One self-contained HTML page for a pretraining run: how the model acts in held-out tasks, and how it was trained."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.figure import Picture, arm_label, save_picture
from analysis.incontext_attention import attention_maps, gaze
from analysis.incontext_load import PIECES, Examined, Outcome, Setting, load_examined
from analysis.incontext_pictures import offline_curves, regret_curves, return_curves, slug
from analysis.incontext_tables import outcome_table, verdict
from analysis.incontext_traces import follow, policy_maps, trace_agent, typical_task
from analysis.incontext_training import final_mean, gap_curves, loss_curve, probe_lengths
from analysis.load import flatten
from analysis.page import Html, details, join, pairs, picture_block, section, tag, tiles
from analysis.provenance import preset, reproduction, write_page
from analysis.report import STATUS_WORDS
from analysis.tables import number
from analysis.throughput import MISSING, count, duration, elapsed
from envs.domains import make_domain
from metarl.incontext.export import load_model

NUM_EPISODES = 10
"""Episodes that a model is watched for in a Dark Room."""
RUNNING = "The run had not finished when this page was written; numbers are as of its last recorded step."
LEARNERS = {
    "DPTConfig": (
        "A transformer was shown data sets from newly drawn tasks{envs} and asked, for one observation after another, "
        "which action the optimal policy takes (decision pretraining)."
    ),
    "ADConfig": (
        "A transformer was shown learning histories from newly drawn tasks{envs} and asked which action the learner "
        "took next (algorithm distillation)."
    ),
    "RL2Config": (
        "A recurrent network was trained by reinforcement learning over several episodes in each newly drawn task"
        "{envs}, its hidden state being all that lasts from one to the next (RL²)."
    ),
}
"""What training was, by the type of the learner's configuration."""
MODES = {"online": "Online: learning from what it does itself", "offline": "Offline: acting on given data"}
OTHER_PRIOR = (
    "The prior of exact inference holds the goals of training alone, and no held-out goal is one of them: it looks in "
    "the wrong cells, and the goal contradicts all that it thinks possible. With the option prior=all it knows all."
)
AFTERWARDS = " Here it acts in held-out tasks with frozen weights: all that it learns there, it learns in its context."


def acting_pictures(examined: Examined, env: str) -> dict[str, Picture]:
    """Returns `{mode: picture}` of acting in one domain; where there are several, names end with the domain's."""
    metrics = {(setting.mode, setting.metric) for setting in examined.outcomes if setting.env == env}
    has_curves = any((series.env, series.mode) == (env, "online") for series in examined.curves)
    pictures = {}
    if has_curves and ("online", "regret") in metrics:
        pictures["online"] = regret_curves(env, examined.curves)
    if has_curves and ("online", "return") in metrics:
        pictures["online"] = return_curves(env, examined.curves)
    if any(mode == "offline" for mode, _ in metrics):
        pictures["offline"] = offline_curves(env, examined.outcomes)
    return {mode: _named(picture, env, examined.envs) for mode, picture in pictures.items()}


def _named(picture: Picture, env: str, envs: Sequence[str]) -> Picture:
    if len(envs) < 2:
        return picture
    return picture._replace(name=f"{picture.name}_{slug(env)}", title=f"{picture.title}: {env}")


def policy_pictures(examined: Examined) -> list[Picture]:
    """Returns policy and attention of the exported model in a room of every Dark Room that the run trained on."""
    run = examined.run
    rooms = [env for env in examined.trained_envs if env.startswith("darkroom")]
    if not rooms or {"export/model.json", "export/model.npz"} & set(examined.absent):
        return []
    model, acting = load_model(run.directory / "export"), run.config.get("acting") or {}
    seed, label = int(run.config.get("seed") or 0), arm_label(model.kind)
    pictures = []
    for env in rooms:
        domain = make_domain(env)
        skips_seen = bool(acting.get("skips_seen")) and domain.pair_index is not None
        agent, params = model.agent(domain, skips_seen=skips_seen), typical_task(domain, seed)
        walk = follow(domain, agent, params, num_episodes=NUM_EPISODES, seed=seed)
        trace = trace_agent(domain, agent, params, walk, seed=seed)
        pictures.append(_named(policy_maps(trace, label), env, examined.trained_envs))
        looks = gaze(domain, agent, walk, trace, skips_seen=skips_seen)
        if looks is not None:
            pictures.append(_named(attention_maps(looks, trace, label), env, examined.trained_envs))
    return pictures


def lead_words(config: Mapping[str, Any], envs: Sequence[str]) -> str:
    """Returns the first paragraph of a page: how the model was trained, as far as a configuration tells."""
    learner = (config.get("learner") or {}).get("type")
    where = f" of {' and '.join(envs)}" if envs else ""
    words = LEARNERS.get(str(learner), "A model was pretrained on newly drawn tasks{envs}.").format(envs=where)
    return words + AFTERWARDS


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
            tag("p", lead_words(run.config, examined.trained_envs), class_="lead"),
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


def results_section(examined: Examined, pictures: Mapping[str, Mapping[str, Picture]]) -> Html:
    """Returns sentences, pictures and tables of every domain and mode; says so if nothing was measured."""
    if not examined.outcomes:
        words = "The model has not been examined in held-out tasks yet, so nothing is known about how it acts."
        return section("Acting in held-out tasks", tag("p", words, class_="note"))
    blocks: list[object] = []
    for env in examined.envs:
        for mode, words in MODES.items():
            found = {where: rows for where, rows in examined.outcomes.items() if (where.env, where.mode) == (env, mode)}
            if found:
                blocks.append(tag("h3", words + (f" in {env}" if len(examined.envs) > 1 else "")))
                blocks += _mode_blocks(found, pictures[env].get(mode))
        if env.partition("@")[0] == "darkroom" and "prior=all" not in env:
            blocks.append(tag("p", OTHER_PRIOR, class_="note"))
    if "export/curves.npz" in examined.absent:
        blocks.append(tag("p", "Curves were not saved (export/curves.npz is not there).", class_="note"))
    return section("Acting in held-out tasks", *blocks)


def _mode_blocks(found: Mapping[Setting, Sequence[Outcome]], picture: Picture | None) -> list[object]:
    """Returns sentences, the picture, and a table for each protocol."""
    blocks: list[object] = [tag("p", words) for where, rows in found.items() if (words := verdict(where, rows))]
    blocks += [picture_block(picture)] if picture is not None else []
    return blocks + [outcome_table(where, rows) for where, rows in found.items()]


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
    acting = {env: acting_pictures(examined, env) for env in examined.envs}
    makers = (loss_curve, gap_curves)
    training = [found for make in makers if (found := make(run.metrics, examined.updates_per_step)) is not None]
    policy = policy_pictures(examined)
    pictures = [*(picture for found in acting.values() for picture in found.values()), *policy, *training]
    for picture in pictures:
        save_picture(picture, run.directory / "figures")
    sections = [results_section(examined, acting)]
    sections += [section("What the policy does", *map(picture_block, policy))] if policy else []
    sections += [_training(examined, training), reproduction(run, "Examination"), _numbers(examined, pictures)]
    return write_page(run, _header(examined), *sections)
