"""Ways of learning to act in context and their settings: frozen dataclasses, checked when made. Light to import."""

from dataclasses import dataclass
from typing import Literal

from metarl.experiments.config_checks import require, require_counts, require_positive


@dataclass(frozen=True)
class DPTConfig:
    """Decision pretraining: questions about a context, answered by the expert."""

    behaviours: tuple[Literal["default", "uniform", "tilted", "thompson", "walk", "expert", "stranger"], ...] = (
        "default",
    )
    """How contexts are gathered, in equal shares. default: as in the paper for the domain; uniform: independent random
    steps; tilted: pulls by a law that favours an arm; thompson: an adaptive bandit algorithm; walk: a random walk;
    expert: an expert who errs now and then; stranger: one of other tasks, whose actions tell nothing of this one."""
    num_queries: int = 16
    """Questions about each context."""
    prefixes: Literal["mixed", "uniform", "all"] = "mixed"
    """How many transitions of its context a question knows of. mixed: half uniform and half log-uniform; all: one
    question for every number."""
    on_policy: float = 0.0
    """Share of the batch whose contexts the model has made itself."""
    on_policy_tasks: int = 64
    """Tasks in which the model acts, once before every dispatch of updates, for these contexts."""
    on_policy_episodes: int = 1
    """Episodes it acts for."""
    label_noise: float = 0.0
    """Share of the expert's answers that are replaced by a random action."""
    reward_temperature: float | None = None
    """Answers weigh exp(reward / this). None: all the same."""

    def __post_init__(self):
        require_counts(
            "learner.",
            num_queries=self.num_queries,
            on_policy_tasks=self.on_policy_tasks,
            on_policy_episodes=self.on_policy_episodes,
        )
        require(len(self.behaviours) > 0, "learner.behaviours is empty; give at least one, such as default")
        for name, share in (("on_policy", self.on_policy), ("label_noise", self.label_noise)):
            require(0.0 <= share <= 1.0, f"learner.{name} is {share}; it must lie in [0, 1]")
        if self.reward_temperature is not None:
            require_positive("learner.", reward_temperature=self.reward_temperature)


@dataclass(frozen=True)
class ADConfig:
    """Algorithm distillation: what was done next in the learning history of a source algorithm."""

    source: Literal["noisy-expert", "q-learning"] = "q-learning"
    """Whose histories. noisy-expert: the expert, whose noise goes from all to almost none; q-learning: a tabular
    learner from scratch."""
    episodes: int = 100
    """Episodes of a history."""
    kept_episodes: int = 10
    """Episodes of a context, evenly spaced in the history, so that it spans the learning."""
    num_queries: int = 64
    """Steps of each context whose action is predicted."""

    def __post_init__(self):
        require_counts(
            "learner.", episodes=self.episodes, kept_episodes=self.kept_episodes, num_queries=self.num_queries
        )
        require(
            self.kept_episodes <= self.episodes,
            f"learner.kept_episodes is {self.kept_episodes}; a history has only learner.episodes = {self.episodes}",
        )


@dataclass(frozen=True)
class RL2Config:
    """RL²: a recurrent network that reinforcement learning trains to learn within its hidden state."""

    hidden_size: int = 64
    """Units of the GRU."""
    num_tasks: int = 64
    """Tasks acted in at once."""
    episodes_per_trial: int = 10
    """Episodes in a task; the hidden state is carried through them."""
    num_epochs: int = 2
    """Passes of PPO over a batch of trials."""
    num_minibatches: int = 4
    """Parts of a batch, in whole trials."""
    discount: float = 0.99
    """Discount within and across episodes."""
    lambda_: float = 0.95
    """Parameter of the generalised advantage estimate."""
    clip: float = 0.2
    """PPO's clip."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""

    def __post_init__(self):
        counts = ("hidden_size", "num_tasks", "episodes_per_trial", "num_epochs", "num_minibatches")
        require_counts("learner.", **{name: getattr(self, name) for name in counts})
        require(
            self.num_tasks % self.num_minibatches == 0,
            f"learner.num_minibatches is {self.num_minibatches}; it must divide learner.num_tasks = {self.num_tasks}",
        )
