"""The two phases of meta-Bayesian optimisation: likelihood, then reinforcement learning. Light to import."""

from dataclasses import dataclass
from typing import Any, Literal

from metarl.experiments.config_checks import require, require_counts, require_positive

INITIAL_POINTS = 5
"""Evaluations before the first choice: `NUM_INIT` of `envs.blackbox.task`, which is not light to import."""


@dataclass(frozen=True)
class LikelihoodConfig:
    """The first phase: predicting values."""

    updates: int = 3000
    """Updates, a multiple of updates_per_step; 0 for reinforcement learning from scratch."""
    updates_per_step: int = 50
    """Updates in one step of the host loop."""
    batch_size: int = 48
    """Tasks in an update, spread over the devices."""
    learning_rate: float = 2e-3
    """Highest step size of Adam; it rises over the first twentieth and falls to a twentieth along a cosine."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    max_context: int = 50
    """Most evaluations of a context."""
    counts: Literal["uniform", "log-uniform"] = "uniform"
    """Law of the number of evaluations in a context; log-uniform ones are as often 2 or 3 as 4 to 7."""
    gathered: float = 0.0
    """Share of contexts that lie around the best of their first points, as an optimiser leaves them. The others are
    random."""
    with_replacement: bool = False
    """Whether a context is drawn with replacement, from 1 evaluation upwards, and the whole pool is predicted, context
    included, in both phases; otherwise it has 2 or more, all different, and what is left is predicted."""

    @property
    def context(self) -> dict[str, Any]:
        """Arguments of `metarl.metabo.likelihood.context_loss` that say what a context is."""
        return {name: getattr(self, name) for name in ("max_context", "counts", "with_replacement", "gathered")}

    def __post_init__(self):
        counts = ("updates_per_step", "batch_size", "max_context")
        require_counts("likelihood.", **{name: getattr(self, name) for name in counts})
        require_positive("likelihood.", learning_rate=self.learning_rate, max_grad_norm=self.max_grad_norm)
        require(
            self.updates >= 0 and self.updates % self.updates_per_step == 0,
            f"likelihood.updates is {self.updates}; it must be a multiple of likelihood.updates_per_step = "
            f"{self.updates_per_step}, or 0",
        )
        require(0.0 <= self.gathered <= 1.0, f"likelihood.gathered is {self.gathered}; it must lie in [0, 1]")
        require(
            self.gathered == 0.0 or not self.with_replacement,
            f"likelihood.gathered is {self.gathered}; with likelihood.with_replacement it must be 0",
        )
        require(
            self.max_context >= 2, f"likelihood.max_context is {self.max_context}; it must be at least 2, for a spread"
        )


@dataclass(frozen=True)
class PolicyConfig:
    """The second phase: proximal policy optimisation of what is evaluated next."""

    iterations: int = 200
    """Batches of episodes; 0 for none."""
    num_tasks: int = 12
    """Tasks in a batch."""
    group_size: int = 8
    """Episodes of each task, from the same start."""
    horizon: int = 30
    """Choices in an episode."""
    num_init: int = INITIAL_POINTS
    """Evaluations before the first choice, in training; every examination has 5."""
    reward: Literal["improvement", "neg_regret", "neg_log10", "neg_log10_paper", "log_improvement"] = "neg_regret"
    """What a choice is paid with. neg_log10 ends at a regret of 1e-3; neg_log10_paper pays 20 for every step at the
    optimum."""
    baseline: Literal["group", "critic"] = "group"
    """What returns are compared with: the mean of the group's, or what a critic expects."""
    discount: float = 0.98
    """Discount of rewards."""
    lambda_: float = 0.98
    """Parameter of the critic's advantages."""
    clip: float = 0.2
    """Bound of PPO's ratio."""
    num_epochs: int = 4
    """Passes over a batch."""
    num_minibatches: int = 4
    """Parts of a batch, in whole tasks."""
    learning_rate: float = 3e-4
    """Step size of the acquisition."""
    critic_learning_rate: float = 1e-3
    """Step size of the critic."""
    backbone_learning_rate: float = 1e-4
    """Step size of transformer and bars."""
    max_grad_norm: float = 0.5
    """The gradients of acquisition, critic and the rest are each clipped to this norm."""
    joint_clip: bool = False
    """Whether they are clipped together, so that the longest decides what is left of the others."""
    schedule: Literal["constant", "linear"] = "constant"
    """Whether step sizes stay what they are, or fall linearly to 0 at the last iteration."""
    warmup: int = 0
    """Iterations over which step sizes rise linearly from 0, with the linear schedule."""
    entropy: float = 1e-3
    """Weight of the entropy bonus."""
    likelihood: float = 1.0
    """Weight of the likelihood; 0 for reinforcement learning alone."""
    likelihood_batch: int = 12
    """Tasks whose likelihood is part of an update."""
    temperature: float = 1.0
    """What logits are divided by; 0.1 in the public code, whose logits are no log expected improvement."""
    top_k: int | None = None
    """Choices are drawn among this many best candidates; 5 in the public code. None: among all."""

    def __post_init__(self):
        counts = ("num_tasks", "group_size", "horizon", "num_epochs", "num_minibatches", "likelihood_batch")
        require_counts("policy.", **{name: getattr(self, name) for name in counts})
        rates = ("learning_rate", "critic_learning_rate", "backbone_learning_rate", "max_grad_norm", "temperature")
        require_positive("policy.", **{name: getattr(self, name) for name in (*rates, "clip")})
        require(self.iterations >= 0, f"policy.iterations is {self.iterations}; it must be at least 0")
        require(
            self.num_tasks % self.num_minibatches == 0,
            f"policy.num_minibatches is {self.num_minibatches}; it must divide policy.num_tasks = {self.num_tasks}",
        )
        require(
            self.baseline == "critic" or self.group_size > 1,
            "policy.group_size is 1; a group's mean needs at least 2 episodes, or choose policy.baseline = critic",
        )
        require(
            0 <= self.num_init <= INITIAL_POINTS,
            f"policy.num_init is {self.num_init}; it must be from 0 to {INITIAL_POINTS}",
        )
        require(
            self.warmup == 0 or (self.schedule == "linear" and 0 < self.warmup < self.iterations),
            f"policy.warmup is {self.warmup}; it must be 0, or with policy.schedule = linear from 1 to less than "
            f"policy.iterations = {self.iterations}",
        )
        for name in ("discount", "lambda_"):
            share = getattr(self, name)
            require(0.0 <= share <= 1.0, f"policy.{name} is {share}; it must lie in [0, 1]")
        for name in ("entropy", "likelihood"):
            require(getattr(self, name) >= 0.0, f"policy.{name} is {getattr(self, name)}; it must be at least 0")
        require(self.top_k is None or self.top_k >= 1, f"policy.top_k is {self.top_k}; it must be at least 1")
