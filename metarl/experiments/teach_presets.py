"""Named configurations of teaching, as Python values."""

from dataclasses import replace
from typing import NamedTuple

from metarl.experiments.agent_config import AgentConfig
from metarl.experiments.teach_config import CubesConfig, PPOStudentConfig, SACConfig, SACStudentConfig, TeachConfig


class TeachPreset(NamedTuple):
    """A configuration and what it is for."""

    config: TeachConfig
    """The configuration."""
    purpose: str
    """One line for people."""


ALP_GMM_CUBES_CPU = TeachConfig(
    teachers=("alp-gmm@capacity=20000", "alp-gmm", "covar-gmm", "riac", "uniform"), num_students=4
)
PENDULUM_AGENT = AgentConfig(
    activation="tanh",
    num_envs=16,
    unroll_length=64,
    optimiser="adam",
    policy_learning_rate=1e-3,
    value_learning_rate=1e-3,
    num_epochs=4,
    num_minibatches=4,
    normalises_observation=True,
    normalises_reward=True,
)
SMOKE = TeachConfig(
    teachers=("alp-gmm@window=50,refit_every=50", "uniform"),
    num_students=2,
    updates=500,
    updates_per_step=50,
    checkpoint_every=5,
    student=CubesConfig(per_dimension=3),
)
WALKER_AGENT = AgentConfig(
    activation="tanh",
    num_envs=256,
    unroll_length=128,
    optimiser="adam",
    policy_learning_rate=3e-4,
    value_learning_rate=3e-4,
    anneals=True,
    num_epochs=8,
    num_minibatches=64,
    entropy_coefficient=0.0,
    normalises_observation=True,
    normalises_reward=True,
)
# 10 million steps of every student; the test tasks are those of training.
STUMPS_CPU = TeachConfig(
    teachers=("alp-gmm", "uniform"),
    num_students=3,
    updates=300,
    updates_per_step=20,
    checkpoint_every=1,
    students_at_once=1,
    student=PPOStudentConfig(env="stump-tracks", agent=WALKER_AGENT),
)
STUMPS_PAPER = replace(
    STUMPS_CPU,
    teachers=("alp-gmm", "covar-gmm", "riac", "oracle", "uniform"),
    num_students=8,
    students_at_once=None,
    updates=600,
    student=PPOStudentConfig(env="stump-tracks@body=quadru", agent=replace(WALKER_AGENT, hidden=(256, 256))),
)
HEXAGON_PAPER = replace(
    STUMPS_PAPER,
    teachers=("alp-gmm", "covar-gmm", "riac", "oracle", "plr", "sfl", "uniform"),
    updates=2400,
    student=replace(STUMPS_PAPER.student, env="hexagon-tracks"),
)
PENDULUM_CPU = TeachConfig(
    teachers=("alp-gmm", "uniform"),
    num_students=4,
    updates=200,
    updates_per_step=10,
    student=PPOStudentConfig(
        env="Pendulum-v1@g=2..20,l=0.5..2",
        agent=PENDULUM_AGENT,
        pool_size=64,
        max_finished=64,
        return_range=(-1600.0, 0.0),
        success_return=-400.0,
    ),
)
PENDULUM_SAC_CPU = replace(
    PENDULUM_CPU,
    student=SACStudentConfig(
        env="Pendulum-v1@g=2..20,l=0.5..2",
        agent=SACConfig(
            num_envs=4,
            unroll_length=50,
            hidden=(64, 64),
            entropy_coefficient=0.05,
            discount=0.98,
            batch_size=128,
            capacity=40_000,
            random_steps=1000,
        ),
        pool_size=64,
        max_finished=64,
        return_range=(-1600.0, 0.0),
        success_return=-400.0,
    ),
)
# The goal is told: who learns this can answer the questions of `metarl pretrain --preset dpt-velocity-cpu`.
VELOCITY_EXPERT = TeachConfig(
    teachers=("uniform",),
    num_students=1,
    updates=1000,
    updates_per_step=20,
    student=SACStudentConfig(
        env="velocity@told=true",
        agent=SACConfig(
            num_envs=16,
            unroll_length=50,
            num_gradients=400,
            hidden=(128, 128),
            entropy_coefficient=0.01,
            discount=0.97,
            batch_size=256,
            capacity=1_000_000,
            random_steps=6400,
        ),
        grid=20,
    ),
)
# 20 million steps of every student.
STUMPS_SAC_PAPER = replace(
    STUMPS_PAPER, updates=10_000, updates_per_step=250, student=SACStudentConfig(env="stump-tracks@body=quadru")
)

TEACH_PRESETS: dict[str, TeachPreset] = {
    "alp-gmm-cubes-cpu": TeachPreset(ALP_GMM_CUBES_CPU, "five teachers on the toy of Portelas et al. 2019; a minute"),
    "alp-gmm-pendulum-cpu": TeachPreset(PENDULUM_CPU, "gravity and length of a pendulum, PPO; minutes on CPU"),
    "pendulum-sac-cpu": TeachPreset(PENDULUM_SAC_CPU, "the same, students are soft actor-critics; minutes on CPU"),
    "alp-gmm-stumps-cpu": TeachPreset(STUMPS_CPU, "a walker on stump tracks, PPO, 10 M steps a student; CPU"),
    "stumps-paper": TeachPreset(STUMPS_PAPER, "the quadruped on stump tracks, 20 M steps; an accelerator"),
    "stumps-sac-paper": TeachPreset(STUMPS_SAC_PAPER, "the same with the students of the paper; an accelerator"),
    "hexagon-paper": TeachPreset(HEXAGON_PAPER, "the quadruped on hexagon tracks, 80 M steps; an accelerator"),
    "velocity-expert": TeachPreset(
        VELOCITY_EXPERT, "a cheetah that is told how fast to run, the expert of velocity; half an hour on CPU"
    ),
    "smoke": TeachPreset(SMOKE, "everything once, tiny; under a minute"),
}
"""Presets of `metarl teach` by name."""
