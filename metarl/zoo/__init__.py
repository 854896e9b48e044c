"""What was trained and ships with the package: rules for someone else's loss, models that act in context.

`load("ta-lpo")` gives a pure function, `load_pretrained("dpt-bandit")` a model. Each is a directory with `rule.npz` and
`rule.json`, or `model.npz` and `model.json` (numbers, settings, configuration and curve of the run that made it), and
`evaluation.json` (what it was measured to do).
"""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from metarl.incontext.export import TrainedModel, load_model
from metarl.objectives.base import Objective, Rollout
from metarl.objectives.export import DESCRIPTION, LoadedRule, load_rule
from metarl.objectives.registry import make_objective
from metarl.progress import Progress

DIRECTORY = Path(__file__).parent
"""Where the rules are."""
EVALUATION = "evaluation.json"
"""The evaluation of a rule, in its directory."""

Count = int | Int[Array, ""]


@dataclass(frozen=True, eq=False)  # jit hashes what it compiles
class Rule:
    """A trained rule; every method is pure and may be used inside `jit`, `vmap` and `grad`."""

    name: str
    """What it is called."""
    loaded: LoadedRule
    """Its numbers, its settings, and the record of how it was made."""

    def objective(self, action_space: Any, **settings: Any) -> Objective:
        """Returns the whole objective for agents in this action space; `loaded.meta_params` are its parameters.

        Args:
            action_space: gymnax action space.
            settings: what is to differ from the settings that the rule was saved with, such as `entropy_coefficient`.

        Raises:
            ValueError: if the objective does not take the settings or cannot act in this space.
        """
        return make_objective(self.loaded.objective, action_space, **{**self.loaded.settings, **settings})


class DriftRule(Rule):
    """A learned drift (LPO, TA-LPO): call it where PPO would clip."""

    def __call__(
        self, ratio: Float[Array, "*batch"], advantage: Float[Array, "*batch"], *, step: Count, lifetime: Count
    ) -> Float[Array, "*batch"]:
        """Returns the drift f, elementwise, to be used as `loss = -mean(ratio * advantage - f)`.

        Args:
            ratio: new over old probability of the actions taken, positive.
            advantage: advantages, normalised over the batch as in PPO.
            step: n, updates (rollouts learned from) already applied in this life.
            lifetime: N, updates in the whole life, at least 1.
        """
        drift = self.objective(_AnySpace()).drift
        assert drift is not None, self.loaded.objective
        return drift(self.loaded.meta_params, ratio, jnp.log(ratio), advantage, _progress(step, lifetime))


class TargetRule(Rule):
    """A learned policy gradient (LPG, TA-LPG): call it on a rollout for its targets."""

    def __call__(self, rollout: Rollout, *, step: Count, lifetime: Count) -> Any:
        """Returns `LPGTargets(pi_hat, y_hat)` for a rollout `[T, B]`; step and lifetime as in `DriftRule`."""
        objective = self.objective(_AnySpace())
        return objective.targets(self.loaded.meta_params, rollout, _progress(step, lifetime))


class _AnySpace:
    """Stands for an action space where none matters: neither drifts nor targets depend on it."""

    n = 2


def names() -> list[str]:
    """Returns the names of all rules, sorted."""
    return sorted(path.parent.name for path in DIRECTORY.glob(f"*/{DESCRIPTION}"))


def model_names() -> list[str]:
    """Returns the names of all pretrained models, sorted."""
    return sorted(path.parent.name for path in DIRECTORY.glob("*/model.json"))


def nap_names() -> list[str]:
    """Returns the names of all models that choose what to evaluate next, sorted."""
    return sorted(path.parent.name for path in DIRECTORY.glob("*/nap.json"))


def directory_of(name: str) -> Path:
    """Returns the directory of the rule or model of this name.

    Raises:
        ValueError: if there is none.
    """
    known = [*names(), *model_names(), *nap_names()]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=2, cutoff=0.4)
        advice = f"did you mean {' or '.join(close)}" if close else f"there are {', '.join(known)}"
        raise ValueError(f"the zoo has nothing called {name!r}; {advice}")
    return DIRECTORY / name


def load(name: str) -> DriftRule | TargetRule:
    """Returns the rule of this name, which can be called; see `names`.

    Raises:
        ValueError: if there is no such rule.
    """
    if name in model_names():
        raise ValueError(f"{name} is a model and no rule; load_pretrained({name!r}) gives it")
    loaded = load_rule(directory_of(name))
    has_drift = make_objective(loaded.objective, _AnySpace(), **loaded.settings).drift is not None
    return (DriftRule if has_drift else TargetRule)(name, loaded)


def evaluation_of(name: str) -> dict[str, Any]:
    """Returns the content of the rule's evaluation file: `{"command", "device", "commit", "rows", ...}`.

    Raises:
        ValueError: if there is no such rule.
    """
    return json.loads((directory_of(name) / EVALUATION).read_text())


def load_pretrained(name: str) -> TrainedModel:
    """Returns the model of this name; its `agent()` acts in the domain that it was trained in.

    Raises:
        ValueError: if there is no such model.
    """
    if name not in model_names():
        raise ValueError(f"the zoo has no model called {name!r}; there are {', '.join(model_names())}")
    return load_model(directory_of(name))


def _progress(step: Count, lifetime: Count) -> Progress:
    return Progress(jnp.asarray(step, jnp.int32), jnp.asarray(lifetime, jnp.int32))
