"""What can be configured: frozen dataclasses, checked when made. Light to import, because `--help` reads them."""

import math
from dataclasses import dataclass, field
from typing import Literal

MAX_COUNT = 2**31 - 1
"""Largest number of anything that is counted on a device, where counts are int32."""


class ConfigError(ValueError):
    """A configuration that cannot be, in one sentence: the field, what was given, what is allowed."""


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ConfigError(sentence)


def _require_counts(room: str, **counts: int) -> None:
    for name, count in counts.items():
        _require(1 <= count <= MAX_COUNT, f"{room}{name} is {count}; it must be from 1 to {MAX_COUNT}")


def _require_positive(room: str, **numbers: float) -> None:
    for name, number in numbers.items():
        _require(number > 0 and math.isfinite(number), f"{room}{name} is {number}; it must be positive and finite")


@dataclass(frozen=True)
class FamilyConfig:
    """Which worlds agents live in, and for how long."""

    env: str = "gridworld/small"
    """Task family by its registry name: gridworld/<mode>, probe/<name>, or the id of any gymnax environment."""
    lifetime: tuple[int, int] | None = (5, 50)
    """Shortest and longest life in agent updates, drawn log-uniformly. None: the family's own law."""

    def __post_init__(self):
        if self.lifetime is not None:
            low, high = self.lifetime
            _require(
                1 <= low <= high <= MAX_COUNT,
                f"family.lifetime is {low} {high}; it must satisfy 1 <= shortest <= longest <= {MAX_COUNT}",
            )


@dataclass(frozen=True)
class LPGConfig:
    """The learned policy gradient that is discovered."""

    temporal: bool = True
    """Whether the rule sees how far through its life the agent is."""
    encoding: Literal["paper", "centred", "raw", "remaining", "fraction"] = "paper"
    """How it sees it. paper: n/N and ln N; centred: the same, shifted and scaled; raw: n and N; remaining: N - n;
    fraction: n/N. Ignored by rules without time."""
    lifetime_law: tuple[int, int] = (10, 250)
    """Bounds, in updates, of the log-uniform law by which centred standardises ln N. One that is wider than the trained
    lifetimes extrapolates better."""
    hidden_size: int = 32
    """Units of the GRU."""
    num_predictions: int = 8
    """Size of the agent's categorical prediction."""
    prediction_coefficient: float = 0.5
    """Weight of the prediction's loss beside the policy's."""

    def __post_init__(self):
        low, high = self.lifetime_law
        _require(1 <= low <= high, f"objective.lifetime_law is {low} {high}; it must satisfy 1 <= low <= high")
        _require_counts("objective.", hidden_size=self.hidden_size)
        _require(
            2 <= self.num_predictions <= MAX_COUNT,
            f"objective.num_predictions is {self.num_predictions}; it must be from 2 to {MAX_COUNT}",
        )
        _require(
            self.prediction_coefficient >= 0 and math.isfinite(self.prediction_coefficient),
            f"objective.prediction_coefficient is {self.prediction_coefficient}; it must be at least 0 and finite",
        )


@dataclass(frozen=True)
class AgentConfig:
    """How every agent is built and how it learns; the same for all rules that are compared."""

    network: Literal["auto", "tabular", "mlp", "conv"] = "auto"
    """Kind of network. auto: tabular for state indices, conv for images, mlp for other arrays."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the dense layers of mlp and conv networks."""
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
    num_epochs: int = 1
    """Passes over each rollout. Only ppo has a use for more than one."""
    num_minibatches: int = 1
    """Gradient steps per pass."""

    def __post_init__(self):
        for name in ("num_envs", "unroll_length", "num_epochs", "num_minibatches"):
            _require_counts("agent.", **{name: getattr(self, name)})
        for name in ("policy_learning_rate", "value_learning_rate", "max_grad_norm"):
            _require_positive("agent.", **{name: getattr(self, name)})
        _require(
            all(1 <= width <= MAX_COUNT for width in self.hidden),
            f"agent.hidden is {self.hidden}; every width must be from 1 to {MAX_COUNT}",
        )
        size = self.num_envs * self.unroll_length
        _require(
            size <= MAX_COUNT,
            f"agent.num_envs is {self.num_envs} and agent.unroll_length {self.unroll_length}; "
            f"their product must be at most {MAX_COUNT}",
        )
        _require(
            size % self.num_minibatches == 0,
            f"agent.num_minibatches is {self.num_minibatches}; it must divide num_envs x unroll_length = {size}",
        )


@dataclass(frozen=True)
class PopulationConfig:
    """The evolution strategy."""

    strategy: Literal["openai_es", "open_es", "pgpe", "snes", "cma_es", "sep_cma_es"] = "openai_es"
    """openai_es is ours and holds no population x parameters array; the others are evosax's."""
    size: int = 64
    """Candidates per generation, in antithetic pairs: even."""
    sigma: float = 0.1
    """Standard deviation of the perturbations, in units of the rule's parameters."""
    sigma_decay: float = 1.0
    """Factor on sigma per generation (openai_es)."""
    sigma_floor: float = 0.01
    """Sigma never decays below this (openai_es)."""
    learning_rate: float = 0.01
    """Adam's step size on the mean; ignored by the CMA family."""
    learning_rate_decay: float = 0.999
    """Factor on the learning rate per generation (openai_es)."""
    learning_rate_floor: float = 1e-5
    """The learning rate never decays below this (openai_es)."""
    b1: float = 0.99
    """Adam's decay rate of the first moment (openai_es)."""
    shaping: Literal["pair_signs", "centred_ranks", "z_scores"] = "pair_signs"
    """How fitness becomes weights (openai_es). pair_signs: who wins within each pair."""
    tasks_per_pair: int = 1
    """Levels that both partners of a pair live on; fitness is the mean."""
    shares_keys: bool = True
    """Whether partners share all randomness, and not only the level."""
    microbatch: int | None = None
    """Candidates living at once on a device; memory is linear in it. None: all of the device's share."""

    def __post_init__(self):
        _require(
            2 <= self.size <= MAX_COUNT and self.size % 2 == 0,
            f"population.size is {self.size}; candidates come in pairs, so it must be even and from 2 to {MAX_COUNT}",
        )
        _require_positive("population.", sigma=self.sigma, learning_rate=self.learning_rate)
        _require(0 <= self.b1 < 1, f"population.b1 is {self.b1}; it must lie in [0, 1)")
        _require_counts("population.", tasks_per_pair=self.tasks_per_pair)
        if self.microbatch is not None:
            _require(
                self.microbatch >= 2 and self.microbatch % 2 == 0 and self.size % self.microbatch == 0,
                f"population.microbatch is {self.microbatch}; it must be even and divide population.size = {self.size}",
            )


@dataclass(frozen=True)
class EvaluationConfig:
    """The examination at the end: fresh agents on held-out tasks, under the rule, its initial state, and a baseline."""

    num_tasks: int = 256
    """Held-out tasks (lives per horizon and arm)."""
    horizons: tuple[int, ...] = (5, 10, 25, 50, 100, 200)
    """Lengths of the lives, in agent updates."""
    baselines: tuple[Literal["a2c", "ppo"], ...] = ("a2c",)
    """Closed-form rules that train the same agents for comparison."""
    num_recorded: int = 32
    """Lives per horizon of which every update is recorded, for the figures; all of them if num_tasks is smaller."""
    recorded_horizons: tuple[int, ...] = (10, 50, 200)
    """Horizons of the recorded lives; those that are not examined are passed over."""

    def __post_init__(self):
        _require_counts("evaluation.", num_tasks=self.num_tasks, num_recorded=self.num_recorded)
        _require(
            len(self.horizons) > 0 and min(self.horizons) >= 1 and max(self.horizons) <= MAX_COUNT,
            f"evaluation.horizons is {self.horizons}; give at least one length, each from 1 to {MAX_COUNT} updates",
        )


@dataclass(frozen=True)
class DiscoverConfig:
    """Evolution of a learning rule over whole agent lives."""

    generations: int = 1000
    """Steps of evolution."""
    seed: int = 0
    """Root of all randomness."""
    generations_per_dispatch: int = 10
    """Generations between two looks at metrics and signals."""
    checkpoint_every: int = 100
    """Generations that a killed run loses at most."""
    family: FamilyConfig = field(default_factory=FamilyConfig)
    objective: LPGConfig = field(default_factory=LPGConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    population: PopulationConfig = field(default_factory=PopulationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self):
        for name in ("generations", "generations_per_dispatch", "checkpoint_every"):
            _require_counts("", **{name: getattr(self, name)})
        _require(0 <= self.seed < 2**32, f"seed is {self.seed}; it must lie in [0, 2^32)")


CONFIG_TYPES = (FamilyConfig, LPGConfig, AgentConfig, PopulationConfig, EvaluationConfig, DiscoverConfig)
"""Every dataclass that a config file may name."""
