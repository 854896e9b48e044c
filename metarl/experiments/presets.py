"""Named configurations, as Python values."""

from dataclasses import replace
from typing import NamedTuple

from metarl.experiments.agents import default_agent
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
# Agents step far, always equally far: what there is of a schedule has to come from the rule. Evolution finds its way
# among the 272 parameters of 16 hidden units, and lost it among the 2176 of the paper's 128 (docs/results.md).
TA_LPO_CPU = DiscoverConfig(
    generations=1000,
    family=FamilyConfig(env=("gridworld/small",), lifetime=(5, 50)),
    objective=LPOConfig(temporal=True, hidden_size=16),
    agent=AgentConfig(
        num_envs=8,
        optimiser="adam",
        policy_learning_rate=0.3,
        value_learning_rate=0.3,
        num_epochs=4,
        num_minibatches=4,
    ),
    population=PopulationConfig(size=64, sigma=0.1, sigma_floor=0.1, learning_rate=0.01, microbatch=8),
    evaluation=EvaluationConfig(baselines=("ppo", "dpo")),
)
TA_LPO_MINATAR = DiscoverConfig(
    generations=800,
    generations_per_dispatch=1,
    checkpoint_every=5,
    # 1e7 environment steps, the one horizon of the paper.
    family=FamilyConfig(env=("SpaceInvaders-MinAtar",), lifetime=(1220, 1220)),
    objective=LPOConfig(temporal=True),
    agent=default_agent("SpaceInvaders-MinAtar", "lpo", None),
    population=PopulationConfig(
        size=64,
        sigma=0.03,
        sigma_decay=0.99,
        sigma_floor=0.01,
        learning_rate=0.03,
        learning_rate_decay=0.99,
        learning_rate_floor=0.001,
        microbatch=8,
    ),
    evaluation=EvaluationConfig(
        num_tasks=8, horizons=(122, 1220, 2441), baselines=("ppo", "dpo"), num_recorded=8, recorded_horizons=(122, 1220)
    ),
)
LPO_BRAX = DiscoverConfig(
    generations=1025,
    generations_per_dispatch=1,
    checkpoint_every=5,
    # 3e7 environment steps.
    family=FamilyConfig(env=("brax/ant",), lifetime=(1464, 1464)),
    objective=LPOConfig(temporal=False),
    agent=default_agent("brax/ant", "lpo", None),
    population=PopulationConfig(
        size=32,
        sigma=0.04,
        sigma_decay=0.999,
        sigma_floor=0.01,
        learning_rate=0.01,
        learning_rate_floor=0.001,
        shaping="z_scores",
        microbatch=2,
    ),
    evaluation=EvaluationConfig(
        num_tasks=8, horizons=(488, 1464, 2929), baselines=("ppo", "dpo"), num_recorded=8, recorded_horizons=(488, 1464)
    ),
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
    "ta-lpo-minatar": Preset(TA_LPO_MINATAR, "TA-LPO on SpaceInvaders, as in Jackson et al. 2024; an accelerator"),
    "lpo-brax": Preset(LPO_BRAX, "LPO on brax's ant, as in Lu et al. 2022; an accelerator"),
    "smoke": Preset(SMOKE, "everything once, tiny; seconds"),
}
"""Presets of `metarl discover` by name."""
