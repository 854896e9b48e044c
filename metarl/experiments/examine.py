"""The examination that ends a discovery run: who does better on held-out tasks, and what the rule does over a life."""

from collections.abc import Callable
from typing import Any

import jax

from metarl.experiments.build import build_family
from metarl.experiments.config import AgentConfig, DiscoverConfig
from metarl.experiments.discover import Discovery
from metarl.experiments.evaluate import evaluate_arms, evaluation_file
from metarl.experiments.lives import Arm, record_lives
from metarl.experiments.probe import probe_rule
from metarl.objectives.registry import make_objective
from populations.mesh import make_mesh


def examine(
    config: DiscoverConfig,
    discovery: Discovery,
    meta_params: Any,
    *,
    command: str,
    commit: str | None = None,
    report: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns `(evaluation file, arrays of recorded lives and of the fixed-batch probe)`.

    The arms are `initial`, `discovered` and the configured baselines, all with the same agent, tasks and randomness. Uses all
    devices of this process.
    """
    family = build_family(config.family)
    action_space = family.env.action_space(jax.eval_shape(family.sample, jax.random.key(0)).params)
    rules = [Arm("initial", discovery.objective, discovery.initial), Arm("discovered", discovery.objective, meta_params)]
    baselines = [Arm(name, make_objective(name, action_space), ()) for name in config.evaluation.baselines]
    setup = config.evaluation
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
    )
    report("recording lives")
    lives = record_lives(
        rules[1:] + baselines,
        family,
        config.agent,
        seed=config.seed,
        num_lives=setup.num_recorded,
        horizons=setup.recorded_horizons,
    )
    probe = probe_rule(
        rules[1], family, config.agent, seed=config.seed, num_lives=setup.num_recorded, lifetimes=setup.horizons
    )
    return evaluation_file(rows, command=command, commit=commit), lives | probe


def default_agent(env: str, recorded: AgentConfig | None) -> AgentConfig:
    """Returns how agents are built in an environment: as the rule's own run did for grid-worlds, else by EmptyJackson/groove's settings.

    Those are Adam at 5e-4 and 64 workers for networks; the table learning rates of grid-worlds would destroy a network.
    """
    if env.startswith("gridworld/") and not env.startswith("gridworld/rand"):
        return recorded or AgentConfig()
    return AgentConfig(num_envs=64, optimiser="adam", policy_learning_rate=5e-4, value_learning_rate=5e-4)
