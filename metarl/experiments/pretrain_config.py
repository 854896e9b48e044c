"""What can be configured in pretraining: frozen dataclasses, checked when made. Light to import."""

import math
from dataclasses import dataclass, field
from typing import Literal

from metarl.experiments.config_checks import require, require_counts, require_positive
from metarl.experiments.pretrain_learners import ADConfig, DPTConfig, RL2Config


@dataclass(frozen=True)
class ModelConfig:
    """The transformer."""

    width: int = 32
    """Size of a token."""
    num_layers: int = 4
    """Layers that a query goes through."""
    num_heads: int = 4
    """Attention heads; they share the width."""
    attention: Literal["causal", "set", "independent"] = "independent"
    """How transitions of a context see each other. causal: those before them; set: all, exactly permutation invariant,
    but every new transition means that all are encoded again, a whole context's work a step; independent: only
    themselves, exactly permutation invariant and cacheable."""
    positions: Literal["none", "rope"] = "none"
    """Whether the order of transitions is shown. rope: by rotation; for contexts whose order carries information."""
    activation: Literal["gelu", "relu"] = "gelu"
    """Of the perceptrons; relu is three times cheaper on CPU."""
    normalises_queries: bool = False
    """Whether queries and keys are normalised (QK-norm)."""
    reads_positions: bool = False
    """Whether the transitions themselves answer, each for the context up to it, instead of separate query tokens; needs
    causal attention and a constant observation."""
    head: Literal["categorical", "binned", "mixture"] = "categorical"
    """Distribution over actions. Continuous actions need binned or mixture."""
    num_parts: int = 32
    """Bins of each dimension of a continuous action, or components of a mixture."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of activations; parameters, losses and softmaxes are always float32."""
    image_features: int = 8
    """Numbers that are left of an image, in domains that show one: 8 as in the paper, which has four rooms."""

    def __post_init__(self):
        require_counts(
            "model.",
            width=self.width,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_parts=self.num_parts,
            image_features=self.image_features,
        )
        require(
            self.width % self.num_heads == 0,
            f"model.num_heads is {self.num_heads}; it must divide model.width = {self.width}",
        )
        require(
            self.positions == "none" or (self.width // self.num_heads) % 2 == 0,
            f"model.width / model.num_heads is {self.width // self.num_heads}; rotary positions need an even number",
        )


@dataclass(frozen=True)
class TrainingConfig:
    """The optimiser: AdamW with a warm-up and a cosine."""

    batch_size: int = 64
    """Contexts in an update, spread over the devices."""
    learning_rate: float = 2e-3
    """Highest step size."""
    warmup: float = 0.05
    """Share of the updates during which the step size rises from 0."""
    final: float = 0.05
    """What the cosine ends at, as a share of the highest step size."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this global norm."""
    shards_parameters: bool = False
    """Whether parameters and the optimiser's moments are spread over the devices too, and not copied to each."""

    def __post_init__(self):
        require_counts("training.", batch_size=self.batch_size)
        require_positive("training.", learning_rate=self.learning_rate, max_grad_norm=self.max_grad_norm)
        for name, share in (("warmup", self.warmup), ("final", self.final)):
            require(0.0 <= share <= 1.0, f"training.{name} is {share}; it must lie in [0, 1]")
        require(
            self.weight_decay >= 0.0 and math.isfinite(self.weight_decay),
            f"training.weight_decay is {self.weight_decay}; it must be at least 0 and finite",
        )


@dataclass(frozen=True)
class ActingConfig:
    """The examination at the end: the model and its rivals act in held-out tasks."""

    modes: tuple[Literal["online", "offline"], ...] = ("online", "offline")
    """online: acting and learning from it; offline: one decision, or one episode, after a given data set."""
    env: tuple[str, ...] = ()
    """Domains to act in, where they differ from those trained on: in noise, horizon, arms, or the prior of the exact
    references. Empty: those trained on."""
    num_tasks: int = 4096
    """Held-out tasks."""
    horizon: int | None = None
    """Steps of an episode; of a bandit, pulls. None: the domain's own."""
    num_episodes: int = 40
    """Episodes in a row; bandits have one."""
    protocols: tuple[Literal["official", "frozen", "stepwise"], ...] = ("official", "frozen", "stepwise")
    """When the context grows, online. official: it is the previous episode; frozen: all episodes before this one;
    stepwise: everything until now. Bandits are always stepwise."""
    skips_seen: bool = True
    """Whether transitions that a deterministic world has shown before are left out of the context (where it is one)."""
    capacity: int | None = None
    """Transitions that models have room for; then the oldest are overwritten. None: all that there can be."""
    batch_size: int | None = None
    """Tasks acted in at once; memory is linear in it. None: 16 on CPU, because what is remembered of more tasks leaves
    its caches and takes twice the time, and 256 elsewhere."""

    def __post_init__(self):
        require_counts("acting.", num_tasks=self.num_tasks, num_episodes=self.num_episodes)
        require(len(self.modes) > 0, "acting.modes is empty; give online, offline or both")
        require(len(self.protocols) > 0, "acting.protocols is empty; give at least one, such as stepwise")
        for name in ("horizon", "capacity", "batch_size"):
            if getattr(self, name) is not None:
                require_counts("acting.", **{name: getattr(self, name)})


@dataclass(frozen=True)
class PretrainConfig:
    """Pretraining of a model that acts in context."""

    updates: int = 2000
    """Updates of the parameters, a multiple of updates_per_step."""
    updates_per_step: int = 25
    """Updates in one step of the host loop, whose metrics are means over them."""
    checkpoint_every: int = 10
    """Steps that a killed run loses at most."""
    seed: int = 0
    """Root of all randomness."""
    env: tuple[str, ...] = ("bandit",)
    """Domains, as name or name@option=value,option=value: bandit, linear-bandit, darkroom, darkroom-permuted,
    key-to-door, tabular-mdp, visual-room, navigation, velocity. With several, one model is trained on all, in equal
    shares."""
    context_length: int | None = None
    """Transitions in a context. None: the domain's own; for algorithm distillation, what the kept episodes make."""
    corpus: str | None = None
    """Directory with contexts and answers from elsewhere, as `metarl.incontext.corpus.write_corpus` leaves them, to
    learn from instead of fresh ones; for decision pretraining in one domain. It must fit into the device's memory."""
    learner: DPTConfig | ADConfig | RL2Config = field(default_factory=DPTConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    acting: ActingConfig = field(default_factory=ActingConfig)

    def __post_init__(self):
        for name in ("updates", "updates_per_step", "checkpoint_every"):
            require_counts("", **{name: getattr(self, name)})
        require(
            self.updates % self.updates_per_step == 0,
            f"updates is {self.updates}; it must be a multiple of updates_per_step = {self.updates_per_step}",
        )
        require(0 <= self.seed < 2**32, f"seed is {self.seed}; it must lie in [0, 2^32)")
        require(
            len(self.env) > 0 and len(set(self.env)) == len(self.env),
            f"env is {self.env}; give at least one domain, and none of them twice",
        )
        if self.context_length is not None:
            require_counts("", context_length=self.context_length)
        if not isinstance(self.learner, DPTConfig):
            require(len(self.env) == 1, f"env is {self.env}; only decision pretraining learns several domains at once")
        if self.corpus is not None:
            self._check_corpus()

    def _check_corpus(self):
        """Refuses what a corpus leaves nothing to do for."""
        require(
            isinstance(self.learner, DPTConfig) and len(self.env) == 1,
            f"corpus is {self.corpus!r}; only decision pretraining in one domain learns from stored contexts",
        )
        for name in ("behaviours", "on_policy", "label_noise", "reward_temperature"):
            given, needed = getattr(self.learner, name), getattr(DPTConfig(), name)
            require(
                given == needed,
                f"learner.{name} is {given}, but contexts and answers are those of corpus = {self.corpus!r}; set it to "
                f"{needed}",
            )


PRETRAIN_CONFIG_TYPES = (
    ModelConfig,
    DPTConfig,
    ADConfig,
    RL2Config,
    TrainingConfig,
    ActingConfig,
    PretrainConfig,
)
"""Every dataclass that a config file of a pretraining run may name."""
