"""The examination that ends a discovery run: who does better on held-out tasks, and what the rule does over a life."""

from collections.abc import Callable
from typing import Any

import jax

from envs.family import TaskFamily
from metarl.experiments.build import build_families, build_objective, build_rule
from metarl.experiments.config import DiscoverConfig, LPGConfig
from metarl.experiments.discover import Discovery
from metarl.experiments.evaluate import evaluate_arms
from metarl.experiments.lives import Arm, Lives, held_out
from metarl.experiments.probe import probe_rule
from populations.mesh import make_mesh


def examine(
    config: DiscoverConfig, discovery: Discovery, meta_params: Any, *, report: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns `(evaluation rows, arrays of recorded lives and of the fixed-batch probe)`.

    The arms are `initial`, `discovered` and the configured baselines, all with the same agent, tasks and randomness, in
    every environment of the run. Lives are recorded, and LPG is probed, in the first of them. Uses all devices of this
    process.
    """
    arrays: dict[str, Any] = {}
    rows = []
    for index, family in enumerate(build_families(config.family)):
        examined, recorded = _examine_family(config, family, discovery.initial, meta_params, report)
        rows += examined
        arrays |= recorded if index == 0 else {}
    return rows, arrays


def _examine_family(
    config: DiscoverConfig, family: TaskFamily, initial: Any, meta_params: Any, report: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    setup = config.evaluation
    action_space = family.env.action_space(family.env.default_params)
    num_recorded = min(setup.num_recorded, setup.num_tasks)
    objective = build_rule(config.objective, config.agent, action_space)
    rules = [Arm("initial", objective, initial), Arm("discovered", objective, meta_params)]
    baselines = [Arm(name, build_objective(name, config.agent, action_space), ()) for name in setup.baselines]
    arrays: dict[str, Any] = {}
    probed: list[Any] = []

    def keep(arm: Arm, horizon: int, lives: Lives) -> None:
        if horizon in setup.recorded_horizons:
            curves = {f"{arm.name}/{horizon}/{name}": x[:num_recorded, :horizon] for name, x in lives.curve.items()}
            arrays.update(jax.device_get(curves))
        if arm.name == "discovered" and horizon == min(setup.horizons):
            probed.append(jax.tree.map(lambda x: x[:num_recorded], lives.params))

    num_devices = jax.local_device_count()
    rows = evaluate_arms(
        rules + baselines,
        family,
        config.agent,
        horizons=setup.horizons,
        num_tasks=setup.num_tasks,
        seed=config.seed,
        mesh=make_mesh(num_devices) if num_devices > 1 else None,
        report=report,
        keep=keep,
    )
    if isinstance(config.objective, LPGConfig):
        report("probing the rule with a fixed batch")
        examinees = held_out(family, config.seed, num_recorded)
        arrays |= probe_rule(rules[1], family, config.agent, probed[0], examinees, lifetimes=setup.horizons)
    return rows, arrays
