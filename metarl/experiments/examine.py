"""The examination that ends a discovery run: who does better on held-out tasks, and what the rule does over a life."""

from collections.abc import Callable
from typing import Any

import jax

from metarl.experiments.build import build_family
from metarl.experiments.config import AgentConfig, DiscoverConfig
from metarl.experiments.discover import Discovery
from metarl.experiments.evaluate import evaluate_arms
from metarl.experiments.lives import Arm, Lives, held_out
from metarl.experiments.probe import probe_rule
from metarl.objectives.registry import make_objective
from populations.mesh import make_mesh


def examine(
    config: DiscoverConfig, discovery: Discovery, meta_params: Any, *, report: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns `(evaluation rows, arrays of recorded lives and of the fixed-batch probe)`.

    The arms are `initial`, `discovered` and the configured baselines, all with the same agent, tasks and randomness.
    Uses all devices of this process.
    """
    family, setup = build_family(config.family), config.evaluation
    action_space = family.env.action_space(family.env.default_params)
    num_recorded = min(setup.num_recorded, setup.num_tasks)
    rules = [
        Arm("initial", discovery.objective, discovery.initial),
        Arm("discovered", discovery.objective, meta_params),
    ]
    baselines = [Arm(name, make_objective(name, action_space), ()) for name in setup.baselines]
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
    report("probing the rule with a fixed batch")
    examinees = held_out(family, config.seed, num_recorded)
    arrays |= probe_rule(rules[1], family, config.agent, probed[0], examinees, lifetimes=setup.horizons)
    return rows, arrays


def default_agent(env: str, recorded: AgentConfig | None) -> AgentConfig:
    """Returns how agents are built: as in the rule's own run on tabular grid-worlds, else as in EmptyJackson/groove.

    Those are Adam at 5e-4 and 64 workers for networks; the table learning rates of grid-worlds would destroy a network.
    """
    if env.startswith("gridworld/") and not env.startswith("gridworld/rand"):
        return recorded or AgentConfig()
    return AgentConfig(num_envs=64, optimiser="adam", policy_learning_rate=5e-4, value_learning_rate=5e-4)
