"""What can be configured in meta-Bayesian optimisation: frozen dataclasses, checked when made. Light to import."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from metarl.experiments.config_checks import require, require_counts, require_positive

INITIAL_POINTS = 5
"""Evaluations before the first choice: `NUM_INIT` of `envs.blackbox.task`, which is not light to import."""

PAPER_CHOICES = {"activation": "gelu", "residual": False, "stop_gradient": False}
"""What the architecture of the public code leaves no choice about."""


@dataclass(frozen=True)
class NAPConfig:
    """The neural process."""

    architecture: Literal["default", "paper"] = "default"
    """Ours, or that of the public code of Maraval et al. 2023, whose activation is gelu, whose acquisition has no
    residual and whose parts are all moved by rewards; it needs tasks.oracle_normalised."""
    width: int = 64
    """Size of a token."""
    num_layers: int = 3
    """Layers that a candidate goes through."""
    num_heads: int = 4
    """Attention heads; they share the width."""
    mlp_ratio: int = 2
    """Hidden units of the perceptrons as a multiple of the width."""
    num_bars: int = 128
    """Bars of the predictive distribution."""
    activation: Literal["gelu", "relu"] = "relu"
    """Of the transformer's perceptrons; relu is cheaper on CPU."""
    residual: bool = True
    """Whether the acquisition starts as the log of the expected improvement, to which the head adds."""
    stop_gradient: bool = True
    """Whether reinforcement learning leaves the transformer and the bars alone. It is also several times faster."""

    def __post_init__(self):
        counts = ("width", "num_layers", "num_heads", "mlp_ratio", "num_bars")
        require_counts("model.", **{name: getattr(self, name) for name in counts})
        require(
            self.width % self.num_heads == 0,
            f"model.num_heads is {self.num_heads}; it must divide model.width = {self.width}",
        )
        require(self.num_bars >= 4, f"model.num_bars is {self.num_bars}; it must be at least 4")
        if self.architecture == "paper":
            for name, needed in PAPER_CHOICES.items():
                given = getattr(self, name)
                require(
                    given == needed,
                    f"model.{name} is {given}; with model.architecture = paper it must be {needed}, as in that code",
                )

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `metarl.metabo.nap.make_nap`."""
        settings = asdict(self)
        left_out = PAPER_CHOICES if self.architecture == "paper" else ("architecture",)
        return {name: value for name, value in settings.items() if name not in left_out}


@dataclass(frozen=True)
class TasksConfig:
    """What is trained on."""

    sources: tuple[str, ...] = ("xgb-bank", "gp-prior")
    """Families of pools, each name or name@option=value,…: xgb-bank (functions that the measured tables of XGBoost may
    have had), tables (other measured tables), gp-prior (functions of Gaussian processes)."""
    shares: tuple[float, ...] = (0.7, 0.3)
    """Share of the tasks of each source."""
    num_candidates: int = 110
    """Candidates in a pool."""
    permuted: float = 0.0
    """Share of the tasks whose dimensions are in random order and whose categories have random labels: a model that is
    to serve spaces it has never seen needs them, one for a single space does not."""
    oracle_normalised: bool = False
    """Whether the model sees values as shares of the range of their whole pool, in training and in every examination,
    instead of standardised by what has been evaluated. The range tells how far the best is, which no optimiser can
    know: results are labelled oracle-normalised, and users cannot ask such a model. As in the public code."""

    def __post_init__(self):
        require_counts("tasks.", num_candidates=self.num_candidates)
        require(
            len(self.sources) == len(self.shares) > 0,
            f"tasks.sources has {len(self.sources)} entries and tasks.shares {len(self.shares)}; give as many of both",
        )
        for share in self.shares:
            require_positive("tasks.", shares=share)
        require(0.0 <= self.permuted <= 1.0, f"tasks.permuted is {self.permuted}; it must lie in [0, 1]")


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
    with_replacement: bool = False
    """Whether a context is drawn with replacement, from 1 evaluation upwards, and the whole pool is predicted, context
    included, in both phases; otherwise it has 2 or more, all different, and what is left is predicted."""

    def __post_init__(self):
        counts = ("updates_per_step", "batch_size", "max_context")
        require_counts("likelihood.", **{name: getattr(self, name) for name in counts})
        require_positive("likelihood.", learning_rate=self.learning_rate, max_grad_norm=self.max_grad_norm)
        require(
            self.updates >= 0 and self.updates % self.updates_per_step == 0,
            f"likelihood.updates is {self.updates}; it must be a multiple of likelihood.updates_per_step = "
            f"{self.updates_per_step}, or 0",
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


@dataclass(frozen=True)
class ValidationConfig:
    """How the model that is kept is chosen: by the regret of its best choices on tables it was not trained on."""

    every: int = 20
    """Steps between validations; the first and the last step of the second phase have one too."""
    tables: tuple[str, ...] = tuple(f"xgb/{i}" for i in range(20, 34))
    """Tables, of the split for validation."""
    horizon: int = 45
    """Evaluations after the initial ones."""
    seeds: int = 1
    """Starts in each table."""

    def __post_init__(self):
        require_counts("validation.", every=self.every, horizon=self.horizon, seeds=self.seeds)
        require(len(self.tables) > 0, "validation.tables is empty; give at least one, such as xgb/20")


@dataclass(frozen=True)
class ScoringConfig:
    """The examination at the end: the model and its rivals optimise tables of the split for testing."""

    suites: tuple[Literal["xgb", "hpo-tables", "bbob", "sklearn", "abc", "scip", "optuna"], ...] = ("xgb",)
    """What is optimised. xgb: tables of XGBoost, new data sets in a known space; hpo-tables: other measured tables, of
    which some are of known spaces; bbob: test functions, which are new; sklearn, abc, scip: real tools; optuna: studies
    of 20 whole tables by the model as a sampler for Optuna, beside its own samplers."""
    horizon: int = 45
    """Evaluations after the initial ones; for optuna, trials of a study, the five start-up ones included."""
    seeds: int = 5
    """Starts in each table."""
    batch_size: int = 32
    """Trajectories at once; memory is linear in it."""
    num_prior_tasks: int = 512
    """Functions of a source gp-prior on which predictions are held against exact inference; 0 for none."""

    def __post_init__(self):
        require(self.num_prior_tasks >= 0, f"scoring.num_prior_tasks is {self.num_prior_tasks}; it must be at least 0")
        require_counts("scoring.", horizon=self.horizon, seeds=self.seeds, batch_size=self.batch_size)
        require(len(self.suites) > 0, "scoring.suites is empty; give at least one, such as xgb")
        require(
            "optuna" not in self.suites or self.horizon > INITIAL_POINTS,
            f"scoring.horizon is {self.horizon}; the suite optuna counts its {INITIAL_POINTS} start-up trials, so it "
            "needs more",
        )


@dataclass(frozen=True)
class MetaboConfig:
    """Meta-Bayesian optimisation: a neural process that predicts, then learns what to try next."""

    seed: int = 0
    """Root of all randomness."""
    checkpoint_every: int = 5
    """Steps that a killed run loses at most."""
    model: NAPConfig = field(default_factory=NAPConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    likelihood: LikelihoodConfig = field(default_factory=LikelihoodConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)

    def __post_init__(self):
        require_counts("", checkpoint_every=self.checkpoint_every)
        require(0 <= self.seed < 2**32, f"seed is {self.seed}; it must lie in [0, 2^32)")
        require(
            self.likelihood.updates + self.policy.iterations > 0,
            "likelihood.updates and policy.iterations are both 0; give one of them something to do",
        )
        require(
            self.tasks.num_candidates > self.likelihood.max_context,
            f"tasks.num_candidates is {self.tasks.num_candidates}; it must exceed likelihood.max_context = "
            f"{self.likelihood.max_context}, so that there is something to predict",
        )
        room, top_k = self.tasks.num_candidates, self.policy.top_k
        require(
            self.policy.horizon + self.policy.num_init <= room,
            f"policy.horizon is {self.policy.horizon}; with {self.policy.num_init} initial points it must not exceed "
            f"the tasks.num_candidates = {room}",
        )
        require(
            top_k is None or top_k <= room, f"policy.top_k is {top_k}; it must not exceed tasks.num_candidates = {room}"
        )
        require(
            self.model.architecture == "default" or self.tasks.oracle_normalised,
            "tasks.oracle_normalised is False; with model.architecture = paper it must be True, because the bars of "
            "that network reach from -0.1 to 1.1",
        )

    @property
    def num_likelihood_steps(self) -> int:
        """Steps of the host loop in the first phase."""
        return self.likelihood.updates // self.likelihood.updates_per_step

    @property
    def has_both_phases(self) -> bool:
        """Whether the model after the first phase is another than at the end, and trained."""
        return self.likelihood.updates > 0 and self.policy.iterations > 0

    @property
    def num_steps(self) -> int:
        """Steps of the host loop in all; one of the second phase is an iteration."""
        return self.num_likelihood_steps + self.policy.iterations


METABO_CONFIG_TYPES = (
    NAPConfig,
    TasksConfig,
    LikelihoodConfig,
    PolicyConfig,
    ValidationConfig,
    ScoringConfig,
    MetaboConfig,
)
"""Every dataclass that a config file of such a run may name."""
