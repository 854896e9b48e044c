import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.run.config_codec import decode, differences, encode
from metarl.run.errors import UserError


@dataclasses.dataclass(frozen=True)
class Population:
    size: int = 64
    std: float = 0.1

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size is {self.size}; it must be at least 1")


@dataclasses.dataclass(frozen=True)
class Rule:
    kind: str
    hidden: tuple[int, ...] = (64, 64)


@dataclasses.dataclass(frozen=True)
class Config:
    population: Population = Population()
    rules: tuple[Rule, ...] = (Rule("lpg"), Rule("lpo", ()))
    limit: float | None = None
    is_temporal: bool = True
    derived: int = dataclasses.field(init=False, default=7)


TYPES = (Config, Population, Rule)

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=10)


@given(values, values)
def test_every_storable_config_loads_to_an_equal_object(kind, limit):
    config = Config(rules=(Rule(kind=kind), Rule("lpg", hidden=(limit,))), limit=limit)
    text = json.dumps(encode(config), allow_nan=False)
    loaded = decode(json.loads(text), TYPES)
    assert loaded == config
    assert repr(loaded) == repr(config)  # 1, 1.0 and True are equal, but not the same


def test_json_carries_the_type_names():
    encoded = encode(Config())
    assert encoded["type"] == "Config"
    assert encoded["population"] == {"type": "Population", "size": 64, "std": 0.1}
    assert encoded["rules"][1] == {"type": "Rule", "kind": "lpo", "hidden": []}
    assert "derived" not in encoded


def test_infinities_are_standard_json_and_survive():
    config = Config(limit=-math.inf)
    assert "Infinity" not in json.dumps(encode(config), allow_nan=False)
    assert decode(encode(config), TYPES).limit == -math.inf


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, math.nan, np.float64(1.0), np.int32(1), b"x", Rule, object()])
def test_what_would_not_load_equal_is_refused_by_name(value):
    with pytest.raises(UserError, match=r"config\.rules\[0\]\.hidden"):
        encode(Config(rules=(Rule("lpg", hidden=value),)))


def test_a_field_named_like_the_tag_is_refused():
    tagged = dataclasses.make_dataclass("Tagged", ["type"], frozen=True)
    with pytest.raises(UserError, match="field named 'type'"):
        encode(tagged("x"))


def changed(**changes):
    return {**encode(Config()), **changes}


@pytest.mark.parametrize(
    "data, message",
    [
        (changed(type="Other"), "unknown type 'Other'; known are Config, Population, Rule"),
        (changed(population={"type": "int"}), r"config\.population has the unknown type 'int'"),
        (changed(rules=[{"size": 1}]), r"config\.rules\[0\] has the unknown type None"),
        (changed(colour="red"), "unknown field 'colour'; Config has the fields is_temporal, limit, population, rules"),
        (changed(rules=[{"type": "Rule", "hidden": []}]), r"config\.rules\[0\] has missing field 'kind'"),
        (changed(derived=7), "unknown field 'derived'"),
        (changed(population={"type": "Population", "size": 0, "std": 0.1}), "not a valid Population: size is 0"),
        (changed(population={"type": "Population", "size": "a", "std": 0.1}), "not a valid Population"),
    ],
)
def test_what_is_wrong_with_stored_data_is_named(data, message):
    with pytest.raises(UserError, match=message):
        decode(data, TYPES)


def test_fields_newer_than_the_data_take_their_defaults():
    older = changed(population={"type": "Population", "size": 3})
    del older["limit"]
    assert decode(older, TYPES) == Config(Population(3))


def test_only_allowed_types_are_constructed():
    with pytest.raises(UserError, match="unknown type 'Rule'"):
        decode(encode(Config()), (Config, Population))


def test_equal_configs_have_no_differences():
    assert differences(Config(), Config()) == []
    assert differences(encode(Config()), Config()) == []


def test_each_difference_names_its_field_and_both_values():
    given_now = Config(Population(32), (Rule("lpg"), Rule("a2c", (8,))), limit=math.inf, is_temporal=False)
    assert differences(Config(), given_now) == [
        "population.size: 64 on disk, 32 given",
        "rules[1].kind: 'lpo' on disk, 'a2c' given",
        "rules[1].hidden: () on disk, (8,) given",
        "limit: None on disk, inf given",
        "is_temporal: True on disk, False given",
    ]


def test_differences_cover_types_fields_and_lengths():
    older = changed(population=encode(Rule("lpg")), colour="red", rules=encode(Config())["rules"][:1])
    del older["limit"]
    assert differences(older, Config(limit=0.5)) == [
        "population: Rule on disk, Population given",
        "rules: (Rule,) on disk, (Rule, Rule) given",
        "colour: 'red' on disk, absent given",
        "limit: absent on disk, 0.5 given",
    ]


def test_differences_are_empty_exactly_if_configs_are_equal():
    for config in (Config(), Config(limit=0.0), Config(limit=-0.0), Config(limit=False)):
        for other in (Config(), Config(limit=0.0)):
            assert (differences(config, other) == []) == (config == other)
