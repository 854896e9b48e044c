"""How agents are built and how they learn, as a frozen dataclass. Light to import, because `--help` reads it."""

import math
from dataclasses import dataclass
from typing import Literal

from metarl.experiments.config_checks import MAX_COUNT, require, require_counts, require_positive


@dataclass(frozen=True)
class AgentConfig:
    """How every agent is built and how it learns; the same for all rules that are compared."""

    network: Literal["auto", "tabular", "mlp", "conv"] = "auto"
    """Kind of network. auto: tabular for state indices, conv for images, mlp for other arrays."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the dense layers of mlp and conv networks."""
    activation: Literal["relu", "tanh"] = "relu"
    """Between those layers."""
    num_envs: int = 8
    """Environments that an agent acts in at once; also the episodes of its examination."""
    unroll_length: int = 20
    """Environment steps of each of them between updates."""
    optimiser: Literal["sgd", "adam"] = "sgd"
    """How gradients become updates."""
    policy_learning_rate: float = 40.0
    """Step size of the policy."""
    value_learning_rate: float = 4.0
    """Step size of the prediction or value."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this global norm, the policy's and the others' apart."""
    joint_clip: bool = False
    """Whether that norm is taken over all gradients together instead."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Adam's decay rates of the first and the second moment."""
    anneals: bool = False
    """Whether step sizes shrink linearly to nothing over the life."""
    num_epochs: int = 1
    """Passes over each rollout. Only proximal objectives (ppo, dpo, lpo) have a use for more than one."""
    num_minibatches: int = 1
    """Gradient steps per pass."""
    discount: float = 0.99
    """Discount of all objectives but lpg."""
    lambda_: float = 0.95
    """Decay of the generalised advantages of all objectives but lpg."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus of all objectives but lpg."""
    value_coefficient: float = 0.5
    """Weight of the critic's loss of all objectives but lpg."""
    clips_value: bool = False
    """Whether proximal objectives clip the critic's loss."""
    normalises_observation: bool = False
    """Whether agents see observations in standard scores, by the running moments of all their environments."""
    normalises_reward: bool = False
    """Whether agents learn from rewards divided by the running deviation of their discounted returns."""

    def __post_init__(self):
        for name in ("num_envs", "unroll_length", "num_epochs", "num_minibatches"):
            require_counts("agent.", **{name: getattr(self, name)})
        for name in ("policy_learning_rate", "value_learning_rate", "max_grad_norm"):
            require_positive("agent.", **{name: getattr(self, name)})
        for name in ("discount", "lambda_"):
            number = getattr(self, name)
            require(0.0 <= number <= 1.0, f"agent.{name} is {number}; it must lie in [0, 1]")
        for name in ("entropy_coefficient", "value_coefficient"):
            number = getattr(self, name)
            require(number >= 0.0 and math.isfinite(number), f"agent.{name} is {number}; it must be at least 0")
        require(
            all(0.0 <= beta < 1.0 for beta in self.adam_betas),
            f"agent.adam_betas is {self.adam_betas}; both must lie in [0, 1)",
        )
        require(
            all(1 <= width <= MAX_COUNT for width in self.hidden),
            f"agent.hidden is {self.hidden}; every width must be from 1 to {MAX_COUNT}",
        )
        size = self.num_envs * self.unroll_length
        require(
            size <= MAX_COUNT,
            f"agent.num_envs is {self.num_envs} and agent.unroll_length {self.unroll_length}; "
            f"their product must be at most {MAX_COUNT}",
        )
        require(
            size % self.num_minibatches == 0,
            f"agent.num_minibatches is {self.num_minibatches}; it must divide num_envs x unroll_length = {size}",
        )
