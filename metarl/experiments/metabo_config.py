"""What can be configured in meta-Bayesian optimisation: frozen dataclasses, checked when made. Light to import."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from metarl.experiments.config_checks import require, require_counts, require_positive
from metarl.experiments.metabo_phases import INITIAL_POINTS, LikelihoodConfig, PolicyConfig

SuiteName = Literal["xgb", "xgb-valid", "hpo-tables", "bbob", "analytic", "sklearn", "abc", "scip", "hpob", "optuna"]
"""What can be optimised in an examination."""
RivalName = Literal["gp-ei", "gp-ucb", "gp-turbo"]
"""Who optimises there beside the model."""
HeadName = Literal["ei", "ucb", "thompson"]
"""Rules on its predictions by which the model optimises there, beside the acquisition that it learned."""
PAPER_CHOICES = {
    "activation": "gelu",
    "bar_limit": 10.0,
    "distances": "none",
    "precision": "float32",
    "residual": False,
    "stop_gradient": False,
}
"""What the architecture of the public code leaves no choice about."""


@dataclass(frozen=True)
class NAPConfig:
    """The neural process."""

    architecture: Literal["default", "paper"] = "default"
    """Ours, or that of the public code of Maraval et al. 2023, whose activation is gelu, whose acquisition has no
    residual and whose parts are all moved by rewards; it needs model.values = range."""
    values: Literal["standardised", "raw", "range"] = "standardised"
    """How values are seen: standardised by what has been evaluated, for any objective; raw, as they are, where their
    units are those of training; or as shares of the range of their whole pool, in training and in every examination.
    The range tells how far the best is, which no optimiser can know: results are labelled oracle-normalised, as is the
    public code. Users can ask a model only if it standardises."""
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
    bar_limit: float = 10.0
    """Where the tails of that distribution begin, in the units in which values are seen."""
    activation: Literal["gelu", "relu"] = "relu"
    """Of the transformer's perceptrons; relu is cheaper on CPU."""
    distances: Literal["none", "ard"] = "none"
    """Whether attention is told how far points are apart: ard, along each dimension with a lengthscale that the
    evaluations suggest, or none, so that it has to learn differences of coordinates. An update takes 1.6 times as
    long; functions of Gaussian processes are predicted better, real tables are not."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of activations in the transformer; parameters, losses, softmaxes and bars are always float32."""
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
        require_positive("model.", bar_limit=self.bar_limit)
        if self.architecture == "paper":
            for name, needed in PAPER_CHOICES.items():
                given = getattr(self, name)
                require(
                    given == needed,
                    f"model.{name} is {given}; with model.architecture = paper it must be {needed}, as in that code",
                )
            require(
                self.values == "range",
                f"model.values is {self.values}; with model.architecture = paper it must be range, because the bars of "
                "that network reach from -0.1 to 1.1",
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
    have had), tables (other measured tables), gp-prior (functions of Gaussian processes), analytic
    (one test function, moved and scaled: analytic@function=branin)."""
    shares: tuple[float, ...] = (0.7, 0.3)
    """Share of the tasks of each source."""
    num_candidates: int = 110
    """Candidates in a pool."""
    permuted: float = 0.0
    """Share of the tasks whose dimensions are in random order and whose categories have random labels: a model that is
    to serve spaces it has never seen needs them, one for a single space does not."""

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

    suites: tuple[SuiteName, ...] = ("xgb",)
    """What is optimised. xgb: tables of XGBoost, new data sets in a known space; xgb-valid: the tables that validate;
    hpo-tables: other measured tables, of which some are of known spaces; bbob, analytic: test functions, which are new
    unless analytic is a source; sklearn, abc, scip: real tools; hpob: the test tasks of that benchmark, space by space;
    optuna: studies of 20 whole tables by the model as a sampler for Optuna, beside its own samplers."""
    rivals: tuple[RivalName, ...] = ("gp-ei",)
    """Gaussian processes that optimise beside the model: by expected improvement, by mean + 2 standard deviations, or
    by expected improvement within a region of trust."""
    heads: tuple[HeadName, ...] = ("ei",)
    """Rules that choose by the model's predictions, beside the acquisition if it was learned: expected improvement
    (np-ei), the quantile of 90 % (np-ucb), or a draw for each candidate (np-ts). Of pools; samplers for Optuna choose
    by what the model's record names."""
    horizon: int = 45
    """Evaluations after the initial ones; for optuna, trials of a study, the five start-up ones included."""
    seeds: int = 5
    """Starts in each table."""
    batch_size: int = 32
    """Trajectories at once; memory is linear in it."""
    hpob: str | None = None
    """Folder with the four files of HPO-B, which are not shipped; the suite hpob needs it."""
    num_prior_tasks: int = 512
    """Functions of a source gp-prior on which predictions are held against exact inference; 0 for none."""

    def __post_init__(self):
        require(self.num_prior_tasks >= 0, f"scoring.num_prior_tasks is {self.num_prior_tasks}; it must be at least 0")
        require_counts("scoring.", horizon=self.horizon, seeds=self.seeds, batch_size=self.batch_size)
        require(len(self.suites) > 0, "scoring.suites is empty; give at least one, such as xgb")
        require(len(self.heads) > 0, "scoring.heads is empty; give at least one, such as ei")
        require(
            "hpob" not in self.suites or self.hpob is not None,
            "the suite hpob needs the folder with the four files of HPO-B; name it as hpob",
        )
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
    start: str | None = None
    """Trained model that training begins with: a run, a directory, or a name of the zoo. It must have been made with
    the same model options. None: an untrained one."""
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

    @property
    def num_likelihood_steps(self) -> int:
        """Steps of the host loop in the first phase."""
        return self.likelihood.updates // self.likelihood.updates_per_step

    @property
    def has_pretrained(self) -> bool:
        """Whether the model before the second phase is another than at the end, and trained."""
        return (self.likelihood.updates > 0 or self.start is not None) and self.policy.iterations > 0

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
