"""What pretraining experiments share: their state, and what surrounds them."""

from typing import Any, NamedTuple

from jaxtyping import Array, Int, Key

from envs.domain import Domain
from metarl.experiments.base import Experiment
from metarl.incontext.dpt import DPT
from metarl.incontext.rl2 import RL2


class PretrainState(NamedTuple):
    """Everything the next step depends on."""

    key: Key[Array, ""]
    """Root of all randomness; never changes."""
    step: Int[Array, ""]
    """Steps done, each of several updates."""
    params: Any
    """Parameters of the model."""
    optimiser: Any
    """State of the optimiser."""


class Pretraining(NamedTuple):
    """A pretraining experiment and what surrounds it."""

    experiment: Experiment
    """What the host loop runs."""
    model: DPT | RL2
    """The model that is trained."""
    domains: tuple[Domain, ...]
    """What it is trained on."""
    settings: dict[str, Any]
    """What rebuilds the model from its domains, as JSON values."""
