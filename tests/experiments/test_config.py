"""Configurations: what cannot be is refused in one sentence that names the field, the value and what is allowed."""

import dataclasses
import math

import pytest

from metarl.experiments import config
from metarl.experiments.config import (
    CONFIG_TYPES,
    AgentConfig,
    ConfigError,
    DiscoverConfig,
    EvaluationConfig,
    FamilyConfig,
    LPGConfig,
    PopulationConfig,
)
from metarl.run.config_codec import decode, encode

ROOMS = {FamilyConfig: "family.", LPGConfig: "objective.", AgentConfig: "agent.", PopulationConfig: "population."}
ROOMS |= {EvaluationConfig: "evaluation.", DiscoverConfig: ""}
TOO_LARGE = 2**31
NOT_POSITIVE = (0.0, -1.0, math.nan, math.inf)
REFUSED = [
    (FamilyConfig, {"lifetime": (0, 5)}, "1 <= shortest <= longest"),
    (FamilyConfig, {"lifetime": (6, 5)}, "1 <= shortest <= longest"),
    (FamilyConfig, {"lifetime": (5, TOO_LARGE)}, "1 <= shortest <= longest"),
    (LPGConfig, {"hidden_size": 0}, "from 1"),
    (LPGConfig, {"num_predictions": 1}, "from 2"),
    (LPGConfig, {"lifetime_law": (20, 10)}, "1 <= low <= high"),
    (LPGConfig, {"prediction_coefficient": -0.1}, "at least 0"),
    (LPGConfig, {"prediction_coefficient": math.inf}, "finite"),
    (LPGConfig, {"prediction_coefficient": math.nan}, "finite"),
    *((AgentConfig, {name: 0}, "from 1") for name in ("num_envs", "unroll_length", "num_epochs", "num_minibatches")),
    (AgentConfig, {"num_envs": TOO_LARGE}, "from 1"),
    (AgentConfig, {"num_envs": 2**20, "unroll_length": 2**20}, "product must be at most"),
    (AgentConfig, {"hidden": (64, 0)}, "every width"),
    *(
        (AgentConfig, {"policy_learning_rate": value}, "positive and finite")
        for value in (0.0, -1.0, math.nan, math.inf)
    ),
    (AgentConfig, {"value_learning_rate": 0.0}, "positive and finite"),
    (AgentConfig, {"max_grad_norm": 0.0}, "positive and finite"),
    (AgentConfig, {"num_minibatches": 3}, "divide num_envs x unroll_length = 160"),
    *((PopulationConfig, {"size": value}, "even") for value in (0, -2, 1, 63, TOO_LARGE)),
    *((PopulationConfig, {"sigma": value}, "positive and finite") for value in NOT_POSITIVE),
    (PopulationConfig, {"learning_rate": -1.0}, "positive and finite"),
    *((PopulationConfig, {"b1": value}, "[0, 1)") for value in (-0.1, 1.0, math.nan)),
    (PopulationConfig, {"tasks_per_pair": 0}, "from 1"),
    *((PopulationConfig, {"microbatch": value}, "even and divide population.size = 64") for value in (0, 3, 6, 128)),
    (EvaluationConfig, {"num_tasks": 0}, "from 1"),
    (EvaluationConfig, {"num_recorded": 0}, "from 1"),
    *((EvaluationConfig, {"horizons": value}, "at least one length") for value in ((), (5, 0), (TOO_LARGE,))),
    *(
        (DiscoverConfig, {name: 0}, "from 1")
        for name in ("generations", "generations_per_dispatch", "checkpoint_every")
    ),
    *((DiscoverConfig, {"seed": value}, "[0, 2^32)") for value in (-1, 2**32)),
]


@pytest.mark.parametrize(("kind", "fields", "allowed"), REFUSED, ids=lambda x: str(x) if isinstance(x, dict) else None)
def test_what_cannot_be_is_refused_naming_field_value_and_what_is_allowed(kind, fields, allowed):
    with pytest.raises(ConfigError) as refusal:
        kind(**fields)
    sentence, (field, value) = str(refusal.value), next(iter(fields.items()))
    assert ROOMS[kind] + field in sentence and allowed in sentence and "\n" not in sentence
    shown = " ".join(map(str, value)) if field in ("lifetime", "lifetime_law") else str(value)
    assert f"is {shown}" in sentence


def test_edges_of_what_is_allowed_are_allowed():
    FamilyConfig(lifetime=(1, 1)), FamilyConfig(lifetime=None), LPGConfig(hidden_size=1, num_predictions=2)
    AgentConfig(num_envs=1, unroll_length=1, hidden=()), AgentConfig(num_minibatches=160)
    PopulationConfig(size=2, microbatch=2, b1=0.0), EvaluationConfig(num_tasks=1, horizons=(1,), baselines=())
    DiscoverConfig(generations=1, seed=2**32 - 1)


def test_every_configuration_can_be_named_in_a_file():
    kinds = {value for value in vars(config).values() if dataclasses.is_dataclass(value)}
    assert kinds == set(CONFIG_TYPES)


@pytest.mark.parametrize("kind", CONFIG_TYPES)
def test_defaults_survive_being_stored_and_cannot_be_changed(kind):
    default = kind()
    assert decode(encode(default), CONFIG_TYPES) == default and hash(default) == hash(kind())
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(default, dataclasses.fields(default)[0].name, None)
