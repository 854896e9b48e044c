"""How well a neural process optimises and predicts, beside its rivals, on tasks that it was not trained on."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs.blackbox.environment import BlackBox
from envs.blackbox.hpob_suite import hpob_suites
from envs.blackbox.live_suites import Track
from envs.blackbox.suites import Suite, make_suite, narrow
from envs.blackbox.task import by_range
from metarl.experiments.examine_predictions import predictions, prior_predictions
from metarl.experiments.examine_sampler import NAME as STUDIES
from metarl.experiments.examine_sampler import examine_samplers, require_optuna
from metarl.experiments.metabo_config import MetaboConfig, ScoringConfig
from metarl.experiments.regret_rows import (
    NAPFindings,
    expected_improvement_row,
    improvement_row,
    paired_rows,
    regret_rows,
)
from metarl.metabo.acquisitions import nap_optimiser
from metarl.metabo.export import TrainedNAP, load_nap
from metarl.metabo.gp import gp_ei, gp_ucb
from metarl.metabo.nap import ORACLE, named
from metarl.metabo.optimiser import Optimiser
from metarl.metabo.scores import random_regret_curve
from metarl.metabo.trajectory import run_many
from metarl.metabo.trust_region import gp_turbo

RIVALS: dict[str, Callable[[], Optimiser]] = {"gp-ei": gp_ei, "gp-ucb": gp_ucb, "gp-turbo": gp_turbo}
"""Optimisers that models can be compared with, beside random search, whose expectation is known."""
HEAD_ARMS = {"ei": "np-ei", "ucb": "np-ucb", "thompson": "np-ts"}
"""Names of the arms that choose by a rule on what a model predicts."""


def arms_of(
    model: TrainedNAP, pretrained: TrainedNAP | None = None, heads: Sequence[str] = ("ei",)
) -> dict[str, Optimiser]:
    """Returns a model's optimisers by the names of their arms.

    A model that sees values by the range of the whole pool has `ORACLE` behind its names.

    Args:
        model: the learned acquisition, `nap`, is there if it was trained.
        pretrained: the model before reinforcement learning, whose expected improvement is `np-ei-pretrained`.
        heads: rules on what the model predicts, of `HEAD_ARMS`.

    Raises:
        ValueError: if there is no such rule.
    """
    if unknown := [head for head in heads if head not in HEAD_ARMS]:
        raise ValueError(f"no rule chooses by what is predicted as {unknown[0]!r} says; give {', '.join(HEAD_ARMS)}")
    arms = {HEAD_ARMS[head]: nap_optimiser(model.nap, model.params, head) for head in heads}
    if model.record["head"] == "acquisition":
        arms["nap"] = nap_optimiser(model.nap, model.params, "acquisition")
    if pretrained is not None:
        arms["np-ei-pretrained"] = nap_optimiser(pretrained.nap, pretrained.params, "ei")
    return {named(model.nap, name): optimiser for name, optimiser in arms.items()}


def examine_optimisers(
    arms: dict[str, Optimiser],
    suite: Suite,
    *,
    seed: int,
    batch_size: int,
    report: Callable[[str], None] = lambda message: None,
) -> NAPFindings:
    """Returns how optimisers do on a suite, random search's expectation included.

    Args:
        arms: optimisers by name.
        suite: pools and starts, the same for all.
        seed: of what optimisers draw.
        batch_size: trajectories at once.
        report: told who is at work.
    """
    horizon = int(np.max(np.asarray(suite.params.horizon)))
    env = BlackBox(suite.params.is_valid.shape[1], max_horizon=horizon)
    y, is_valid = np.asarray(suite.params.y), np.asarray(suite.params.is_valid)
    curves = {
        "random": np.stack(
            [
                random_regret_curve(row[valid], first, horizon)
                for row, valid, first in zip(y, is_valid, np.asarray(suite.initial), strict=True)
            ]
        )
    }
    for name, optimiser in arms.items():
        report(f"{suite.name}: {name} in {len(suite.tasks)} trajectories")
        pools = narrow(suite.params) if name in RIVALS else suite.params
        pools = by_range(pools) if name.endswith(ORACLE) else pools
        found = run_many(optimiser, env, pools, suite.initial, jax.random.key(seed), batch_size=batch_size)
        curves[name] = np.asarray(found)
    rows = [row for name, curve in curves.items() for row in regret_rows(suite.name, suite.tasks, name, curve)]
    rows += _improvements(suite, curves, horizon) + paired_rows(suite.name, suite.tasks, curves)
    arrays = {f"{suite.name}/{name}": np.asarray(curve, np.float32) for name, curve in curves.items()}
    return NAPFindings(rows, {**arrays, f"{suite.name}/tasks": np.array(suite.tasks)})


def _improvements(suite: Suite, curves: dict[str, np.ndarray], horizon: int) -> list[dict[str, Any]]:
    """Returns how often each arm improved; of random search, whose curves are expectations, how often it would."""
    sizes, num_initial = np.sum(np.asarray(suite.params.is_valid), axis=1), suite.initial.shape[1]
    expected = expected_improvement_row(suite.name, suite.tasks, sizes, num_initial=num_initial, horizon=horizon)
    found = [improvement_row(suite.name, suite.tasks, arm, each) for arm, each in curves.items() if arm != "random"]
    return [expected, *found]


def examine(
    model: TrainedNAP,
    config: ScoringConfig,
    *,
    seed: int,
    pretrained: TrainedNAP | None = None,
    report: Callable[[str], None] = lambda message: None,
    track: Track = iter,
) -> NAPFindings:
    """Returns how a model and its rivals do on suites, and how good the model's predictions are there.

    Args:
        model: a trained model.
        config: which suites, how long, how often.
        seed: of what optimisers draw.
        pretrained: the same model before reinforcement learning.
        report: told who is at work.
        track: shows how far real programs and studies are.

    Raises:
        ValueError: if a suite needs a package that is missing.
    """
    if STUDIES in config.suites:
        require_optuna()
    arms = {name: RIVALS[name]() for name in config.rivals} | arms_of(model, pretrained, config.heads)
    rows, curves = [], {}
    for name in config.suites:
        if name == STUDIES:  # of whole spaces, and therefore without pools, pools' rivals and predictions
            found = examine_samplers(
                model, num_trials=config.horizon, num_seeds=config.seeds, seed=seed, report=report, track=track
            )
            rows, curves = rows + found.rows, curves | found.curves
            continue
        for suite in _suites(name, config, track):
            found = examine_optimisers(arms, suite, seed=seed, batch_size=config.batch_size, report=report)
            report(f"{suite.name}: predictions")
            rows += found.rows + predictions(model, suite, seed=seed, batch_size=config.batch_size)
            curves |= found.curves
    return NAPFindings(rows, curves)


def _suites(name: str, config: ScoringConfig, track: Track) -> Iterable[Suite]:
    """Returns the suites of a name: one, or one per search space."""
    if name == "hpob" and config.hpob is not None:
        return hpob_suites(config.hpob, horizon=config.horizon, num_seeds=config.seeds)
    return [make_suite(name, horizon=config.horizon, num_seeds=config.seeds, track=track)]


def examine_run(
    exported: Path,
    config: MetaboConfig,
    *,
    report: Callable[[str], None] = lambda message: None,
    track: Track = iter,
) -> NAPFindings:
    """Returns how the exported model of a run does, as the run is configured."""
    model = load_nap(exported)
    pretrained = load_nap(exported / "pretrained") if config.has_pretrained else None
    found = examine(model, config.scoring, seed=config.seed, pretrained=pretrained, report=report, track=track)
    for spec in config.tasks.sources if config.scoring.num_prior_tasks else ():
        if spec.startswith("gp-prior"):
            report(f"{spec}: predictions beside exact inference")
            found.rows.extend(
                prior_predictions(model, spec, num_tasks=config.scoring.num_prior_tasks, seed=config.seed)
            )
    return found
