"""Named configurations of teaching, as Python values."""

from typing import NamedTuple

from metarl.experiments.agent_config import AgentConfig
from metarl.experiments.teach_config import CubesConfig, PPOStudentConfig, TeachConfig


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

TEACH_PRESETS: dict[str, TeachPreset] = {
    "alp-gmm-cubes-cpu": TeachPreset(ALP_GMM_CUBES_CPU, "five teachers on the toy of Portelas et al. 2019; a minute"),
    "alp-gmm-pendulum-cpu": TeachPreset(PENDULUM_CPU, "gravity and length of a pendulum, PPO; minutes on CPU"),
    "smoke": TeachPreset(SMOKE, "everything once, tiny; under a minute"),
}
"""Presets of `metarl teach` by name."""
