"""Named configurations of meta-Bayesian optimisation, as Python values."""

from dataclasses import replace
from typing import NamedTuple

from metarl.experiments.metabo_config import MetaboConfig, NAPConfig, ScoringConfig, TasksConfig, ValidationConfig
from metarl.experiments.metabo_phases import LikelihoodConfig, PolicyConfig


class MetaboPreset(NamedTuple):
    """A configuration and what it is for."""

    config: MetaboConfig
    """The configuration."""
    purpose: str
    """One line for people."""


GENERAL_TASKS = TasksConfig(
    sources=("gp-prior@max_dimensions=10", "xgb-bank", "tables"), shares=(0.6, 0.2, 0.2), permuted=0.8
)
NAP_CPU = MetaboConfig()
# What is lost on functions never seen is lost in the first evaluations: small contexts count more, and as few values
# say little about the others, the bars reach far out.
NAP_GENERAL_CPU = MetaboConfig(
    model=NAPConfig(num_bars=160, bar_limit=30.0),
    tasks=GENERAL_TASKS,
    likelihood=LikelihoodConfig(updates=16_000, counts="log-uniform"),
    scoring=ScoringConfig(suites=("xgb", "hpo-tables", "bbob")),
)
NAP = MetaboConfig(
    model=NAPConfig(width=256, num_layers=6, num_bars=200, bar_limit=30.0, activation="gelu", precision="bfloat16"),
    tasks=replace(GENERAL_TASKS, num_candidates=256),
    likelihood=LikelihoodConfig(updates=20_000, batch_size=1024, learning_rate=5e-4, counts="log-uniform"),
    policy=PolicyConfig(iterations=1000, num_tasks=128, horizon=50, likelihood_batch=128),
    scoring=ScoringConfig(suites=("xgb", "hpo-tables", "bbob"), batch_size=256),
)
SMOKE = MetaboConfig(
    model=NAPConfig(width=16, num_layers=1, num_heads=2, num_bars=32, distances="ard"),
    tasks=TasksConfig(sources=("gp-prior",), shares=(1.0,), num_candidates=24),
    likelihood=LikelihoodConfig(updates=4, updates_per_step=2, batch_size=4, max_context=12),
    policy=PolicyConfig(iterations=2, num_tasks=2, group_size=2, horizon=4, num_minibatches=2, likelihood_batch=2),
    validation=ValidationConfig(tables=("xgb/20",), horizon=3),
    scoring=ScoringConfig(horizon=3, seeds=1, num_prior_tasks=0),
)
PAPER = MetaboConfig(
    model=NAPConfig(
        architecture="paper",
        values="range",
        width=512,
        num_layers=6,
        num_bars=1000,
        activation="gelu",
        residual=False,
        stop_gradient=False,
    ),
    tasks=TasksConfig(sources=("xgb-bank",), shares=(1.0,), num_candidates=1000),
    likelihood=LikelihoodConfig(updates=0, max_context=23, with_replacement=True),
    policy=PolicyConfig(
        iterations=2000,
        num_tasks=60,
        group_size=1,
        horizon=24,
        num_init=0,
        reward="neg_log10_paper",
        baseline="critic",
        clip=0.15,
        num_epochs=1,
        num_minibatches=60,
        learning_rate=3e-5,
        critic_learning_rate=3e-5,
        backbone_learning_rate=3e-5,
        joint_clip=True,
        schedule="linear",
        warmup=20,
        entropy=0.0,
        likelihood_batch=24,
        temperature=0.1,
        top_k=5,
    ),
    validation=ValidationConfig(every=100),
)
PAPER_SMALL = replace(
    PAPER,
    model=replace(PAPER.model, width=64, num_layers=2, num_bars=100),
    tasks=replace(PAPER.tasks, sources=("gp-prior",), num_candidates=200),
    policy=replace(PAPER.policy, iterations=40, num_tasks=12, num_minibatches=6, likelihood_batch=12),
    validation=ValidationConfig(every=20, tables=("xgb/20",), horizon=10),
    scoring=ScoringConfig(horizon=10, seeds=1),
)
METABO_PRESETS: dict[str, MetaboPreset] = {
    "nap": MetaboPreset(NAP, "a neural process for any space; an accelerator"),
    "nap-cpu": MetaboPreset(NAP_CPU, "for tables of XGBoost; 30 minutes on CPU"),
    "nap-general-cpu": MetaboPreset(NAP_GENERAL_CPU, "for any space, small; an hour on CPU"),
    "np-cpu": MetaboPreset(
        replace(NAP_CPU, policy=replace(NAP_CPU.policy, iterations=0)), "prediction alone (NP-EI); 15 minutes on CPU"
    ),
    "nap-critic-cpu": MetaboPreset(
        replace(NAP_CPU, policy=replace(NAP_CPU.policy, baseline="critic")), "nap-cpu with a critic for a baseline"
    ),
    "nap-joint-cpu": MetaboPreset(
        replace(NAP_CPU, model=replace(NAP_CPU.model, stop_gradient=False)),
        "nap-cpu, reinforcement learning moving the transformer too",
    ),
    "nap-rl-cpu": MetaboPreset(
        replace(
            NAP_CPU,
            model=replace(NAP_CPU.model, stop_gradient=False, residual=False),
            likelihood=replace(NAP_CPU.likelihood, updates=0),
            policy=replace(NAP_CPU.policy, likelihood=0.0),
        ),
        "reinforcement learning alone, without any prediction",
    ),
    "nap-paper": MetaboPreset(
        PAPER, "settings of the public code of NAP, oracle normalisation of values included; an accelerator"
    ),
    "nap-paper-small": MetaboPreset(PAPER_SMALL, "nap-paper with a small network and small pools; minutes on CPU"),
    "smoke": MetaboPreset(SMOKE, "everything once, tiny; a minute"),
}
"""Presets of `metarl metabo` by name."""
