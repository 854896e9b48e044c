"""A pretrained model as two files, `model.npz` and `model.json`, and back to something that acts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from envs.domain import Domain
from envs.domains import make_domain
from metarl.exported import load_arrays, save_arrays
from metarl.incontext.agent import InContextAgent
from metarl.incontext.build import make_model
from metarl.incontext.dpt import DPT
from metarl.incontext.rl2 import RL2, RL2State, rl2

STEM = "model"
DESCRIPTION = f"{STEM}.json"


@dataclass(frozen=True, eq=False)  # jit hashes what it compiles
class TrainedModel:
    """A model that was trained, and the record of it."""

    settings: dict[str, Any]
    """What the layers are: fields of the model's configuration."""
    env: tuple[str, ...]
    """Domains it was trained on."""
    params: Any
    """Its weights, float32 numpy arrays."""
    record: dict[str, Any]
    """Where it comes from, as its maker described it."""
    model: DPT | RL2
    """Its functions."""

    @property
    def kind(self) -> str:
        """`dpt`, `ad` or `rl2`: how it was trained, and what its arm in a table is called."""
        learner = self.record.get("config", {}).get("learner", {}).get("type", "DPTConfig")
        return str(learner).removesuffix("Config").lower()

    def agent(
        self, domain: Domain | str | None = None, *, greedy: bool = False, skips_seen: bool = False
    ) -> InContextAgent:
        """Returns the learner that acts by the model.

        Args:
            domain: where it is to act; None: the first that it was trained on.
            greedy: whether it takes the most probable action instead of drawing one.
            skips_seen: whether transitions that a deterministic world has shown before are left out of its context.

        Raises:
            ValueError: if the domain does not fit the model.
        """
        domain = make_domain(self.env[0] if domain is None else domain) if not isinstance(domain, Domain) else domain
        return self.model.agent(self.params, domain, greedy=greedy, skips_seen=skips_seen)


def save_model(
    directory: str | os.PathLike,
    settings: Mapping[str, Any],
    env: tuple[str, ...],
    params: Any,
    record: Mapping[str, Any],
) -> Path:
    """Returns the directory with the model in it, written as by `metarl.exported.save_arrays`.

    Raises:
        ValueError: if settings or record are not JSON values, or params no nested dict of numbers.
    """
    description = {"settings": dict(settings), "env": list(env), "record": dict(record)}
    return save_arrays(directory, STEM, description, params)


def load_model(path: str | os.PathLike) -> TrainedModel:
    """Returns the model in a directory, or beside either of its two files. Nothing in them is executed.

    Raises:
        ValueError: if a file is missing, damaged, of an unknown schema, or the two do not belong together.
    """
    description, params = load_arrays(path, STEM, {"settings": dict, "env": list, "record": dict})
    env = tuple(description["env"])
    model = _make(env, description["settings"])
    fresh = jax.eval_shape(model.init, jax.random.key(0))
    fresh = fresh.params if isinstance(fresh, RL2State) else fresh
    needed = jax.tree.map(lambda leaf: leaf.shape, fresh)
    found = jax.tree.map(lambda leaf: leaf.shape, params)
    if needed != found:
        raise ValueError(f"the arrays of the model in {path} do not fit its settings; export the model again")
    return TrainedModel(description["settings"], env, params, description["record"], model)


def _make(env: tuple[str, ...], settings: dict[str, Any]) -> DPT | RL2:
    """Returns the functions of a model; one of a hidden state has settings of its own."""
    domains = [make_domain(spec) for spec in env]
    return rl2(domains[0], **settings) if "hidden_size" in settings else make_model(domains, **settings)
