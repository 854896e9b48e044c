"""Named configurations, as Python values."""

from dataclasses import replace
from typing import NamedTuple

from metarl.experiments.config import (
    AgentConfig,
    DiscoverConfig,
    EvaluationConfig,
    FamilyConfig,
    LPGConfig,
    LPOConfig,
    PopulationConfig,
)


class Preset(NamedTuple):
    """A configuration and what it is for."""

    config: DiscoverConfig
    """The configuration."""
    purpose: str
    """One line for people."""


TA_LPG_CPU = DiscoverConfig(
    generations=1500,
    family=FamilyConfig(env=("gridworld/small",), lifetime=(5, 50)),
    # Of the time encodings, n/N alone did best at this size: ln N of lives beyond the trained ones misleads
    # (docs/results.md).
    objective=LPGConfig(temporal=True, encoding="fraction", hidden_size=32),
    agent=AgentConfig(num_envs=8),
    population=PopulationConfig(size=64, sigma=0.1, sigma_floor=0.1, learning_rate=0.01, microbatch=8),
)
LPG_CPU = replace(TA_LPG_CPU, objective=replace(TA_LPG_CPU.objective, temporal=False))
TA_LPG_PAPER = DiscoverConfig(
    generations=2500,
    generations_per_dispatch=1,
    checkpoint_every=10,
    family=FamilyConfig(env=("gridworld/all_vrandlife",), lifetime=None),
    objective=LPGConfig(temporal=True, encoding="paper", hidden_size=256),
    agent=AgentConfig(num_envs=64),
    population=PopulationConfig(size=1024, sigma=0.1, sigma_floor=0.1, learning_rate=0.01, microbatch=64),
    evaluation=EvaluationConfig(horizons=(10, 25, 50, 100, 250, 500, 1000), recorded_horizons=(25, 100, 250, 1000)),
)
TA_LPO_CPU = DiscoverConfig(
    generations=400,
    family=FamilyConfig(env=("gridworld/small",), lifetime=(5, 50)),
    objective=LPOConfig(temporal=True),
    agent=AgentConfig(
        num_envs=8,
        optimiser="adam",
        policy_learning_rate=0.1,
        value_learning_rate=0.1,
        num_epochs=4,
        num_minibatches=4,
    ),
    population=PopulationConfig(size=64, sigma=0.04, sigma_floor=0.04, learning_rate=0.02, microbatch=8),
    evaluation=EvaluationConfig(baselines=("ppo", "dpo")),
)
LPO_CPU = replace(TA_LPO_CPU, objective=replace(TA_LPO_CPU.objective, temporal=False))
SMOKE = DiscoverConfig(
    generations=4,
    generations_per_dispatch=2,
    checkpoint_every=2,
    family=FamilyConfig(env=("gridworld/debug",), lifetime=(2, 4)),
    objective=LPGConfig(hidden_size=4),
    agent=AgentConfig(num_envs=2, unroll_length=5),
    population=PopulationConfig(size=4, sigma_floor=0.1),
    evaluation=EvaluationConfig(num_tasks=4, horizons=(2, 4, 6), num_recorded=2, recorded_horizons=(4,)),
)

PRESETS: dict[str, Preset] = {
    "ta-lpg-cpu": Preset(TA_LPG_CPU, "TA-LPG on small grid-worlds; a real result in minutes on two CPU cores"),
    "lpg-cpu": Preset(LPG_CPU, "the same without time inputs"),
    "ta-lpg-paper": Preset(TA_LPG_PAPER, "the scale of Jackson et al. 2024; hours on an accelerator"),
    "ta-lpo-cpu": Preset(TA_LPO_CPU, "TA-LPO on small grid-worlds; a real result in minutes on two CPU cores"),
    "lpo-cpu": Preset(LPO_CPU, "the same without time inputs"),
    "smoke": Preset(SMOKE, "everything once, tiny; seconds"),
}
"""Presets of `metarl discover` by name."""
