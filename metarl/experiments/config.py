"""What can be configured: frozen dataclasses, checked when made. Light to import, because `--help` reads them."""

import math
from dataclasses import dataclass, field
from typing import Literal

from metarl.experiments.agent_config import AgentConfig
from metarl.experiments.config_checks import MAX_COUNT, ConfigError, require, require_counts, require_positive


@dataclass(frozen=True)
class FamilyConfig:
    """Which worlds agents live in, and for how long."""

    env: tuple[str, ...] = ("gridworld/small",)
    """Task families by registry name: gridworld/<mode>, probe/<name>, brax/<name>, the id of any gymnax environment or
    package.module:Class. With several, every candidate lives in all of them."""
    lifetime: tuple[int, int] | None = (5, 50)
    """Shortest and longest life in agent updates, drawn log-uniformly. None: the family's own law."""

    def __post_init__(self):
        require(
            len(self.env) > 0 and len(set(self.env)) == len(self.env),
            f"family.env is {self.env}; give at least one name, and none of them twice",
        )
        if self.lifetime is not None:
            low, high = self.lifetime
            require(
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
        require(1 <= low <= high, f"objective.lifetime_law is {low} {high}; it must satisfy 1 <= low <= high")
        require_counts("objective.", hidden_size=self.hidden_size)
        require(
            2 <= self.num_predictions <= MAX_COUNT,
            f"objective.num_predictions is {self.num_predictions}; it must be from 2 to {MAX_COUNT}",
        )
        require(
            self.prediction_coefficient >= 0 and math.isfinite(self.prediction_coefficient),
            f"objective.prediction_coefficient is {self.prediction_coefficient}; it must be at least 0 and finite",
        )


@dataclass(frozen=True)
class LPOConfig:
    """The drift function that is discovered, in the place of PPO's clip."""

    temporal: bool = True
    """Whether n/N, how far through its life the agent is, multiplies the inputs of the drift."""
    log_horizon: bool = False
    """Whether ln N, how long that life is, multiplies them too; needs temporal."""
    ppo_init: bool = True
    """Whether the drift starts as PPO's, or as none."""
    hidden_size: int = 128
    """Units of the network."""

    def __post_init__(self):
        require_counts("objective.", hidden_size=self.hidden_size)
        require(
            self.temporal or not self.log_horizon,
            "objective.log_horizon is True for a rule that is blind to time; set objective.temporal or leave it out",
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
        require(
            2 <= self.size <= MAX_COUNT and self.size % 2 == 0,
            f"population.size is {self.size}; candidates come in pairs, so it must be even and from 2 to {MAX_COUNT}",
        )
        require_positive("population.", sigma=self.sigma, learning_rate=self.learning_rate)
        require(0 <= self.b1 < 1, f"population.b1 is {self.b1}; it must lie in [0, 1)")
        require_counts("population.", tasks_per_pair=self.tasks_per_pair)
        if self.microbatch is not None:
            require(
                self.microbatch >= 2 and self.microbatch % 2 == 0 and self.size % self.microbatch == 0,
                f"population.microbatch is {self.microbatch}; it must be even and divide population.size = {self.size}",
            )

    @property
    def num_lives(self) -> int:
        """Lives of a generation in one family."""
        return self.size * self.tasks_per_pair


@dataclass(frozen=True)
class EvaluationConfig:
    """The examination at the end: fresh agents on held-out tasks, under the rule, its initial state, and a baseline."""

    num_tasks: int = 256
    """Held-out tasks (lives per horizon and arm)."""
    horizons: tuple[int, ...] = (5, 10, 25, 50, 100, 200)
    """Lengths of the lives, in agent updates."""
    baselines: tuple[Literal["a2c", "ppo", "dpo"], ...] = ("a2c",)
    """Closed-form rules that train the same agents for comparison."""
    num_recorded: int = 32
    """Lives per horizon of which every update is recorded, for the figures; all of them if num_tasks is smaller."""
    recorded_horizons: tuple[int, ...] = (10, 50, 200)
    """Horizons of the recorded lives; those that are not examined are passed over."""

    def __post_init__(self):
        require_counts("evaluation.", num_tasks=self.num_tasks, num_recorded=self.num_recorded)
        require(
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
    teacher: str | None = None
    """Who chooses the worlds, as name or name@option=value,option=value: uniform, alp-gmm, covar-gmm, riac, adr,
    oracle, plr, sfl. It is told the regret where the best return is known, or else the return. None: the law of the
    family. Lifetimes are drawn by their own law in any case."""
    teacher_return_range: tuple[float, float] | None = None
    """What counts as rewards 0 and 1 to the teacher. None: the family's range, or that of its regrets."""
    family: FamilyConfig = field(default_factory=FamilyConfig)
    objective: LPGConfig | LPOConfig = field(default_factory=LPGConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    population: PopulationConfig = field(default_factory=PopulationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self):
        for name in ("generations", "generations_per_dispatch", "checkpoint_every"):
            require_counts("", **{name: getattr(self, name)})
        require(0 <= self.seed < 2**32, f"seed is {self.seed}; it must lie in [0, 2^32)")
        if self.teacher_return_range is not None:
            low, high = self.teacher_return_range
            require(low < high, f"teacher_return_range is {self.teacher_return_range}; it must ascend")


__all__ = ["MAX_COUNT", "AgentConfig", "ConfigError"]  # made elsewhere, and found here with the rest

CONFIG_TYPES = (FamilyConfig, LPGConfig, LPOConfig, AgentConfig, PopulationConfig, EvaluationConfig, DiscoverConfig)
"""Every dataclass that a config file may name."""
