import ast
from itertools import combinations
from pathlib import Path

import pytest

import envs.blackbox
from envs.blackbox.live_suites import LIVE
from envs.blackbox.sources import SOURCES
from envs.blackbox.splits import SPLITS, TEST, TRAIN, VALID, ZERO_SHOT, training_table
from envs.blackbox.suites import SUITES
from envs.blackbox.tables import TABLES

ROOM = Path(envs.blackbox.__file__).parent


@pytest.mark.parametrize(("one", "other"), list(combinations(SPLITS, 2)))
def test_no_task_is_in_two_splits(one, other):
    assert set(SPLITS[one]).isdisjoint(SPLITS[other])


def test_every_table_that_ships_has_its_split():
    assert sorted([*TRAIN, *VALID, *TEST]) == sorted(TABLES)
    assert len({*TRAIN, *VALID, *TEST}) == len(TABLES)


@pytest.mark.parametrize("name", [*VALID, *TEST, "xgb/48"])
def test_training_cannot_have_what_is_kept(name):
    with pytest.raises(ValueError, match="no table to train on"):
        training_table(name)


def test_suites_of_new_spaces_are_no_source_of_training_pools():
    assert set(ZERO_SHOT) < {*SUITES, *LIVE} and set(ZERO_SHOT).isdisjoint(SOURCES)
    with_tables = {"xgb", "xgb-valid", "hpo-tables"}
    assert {*SUITES, *LIVE} == {*ZERO_SHOT, *with_tables, *SOURCES.keys() & SUITES.keys()}


def test_training_has_its_own_tables():
    assert [training_table(name).name for name in TRAIN] == list(TRAIN)


@pytest.mark.parametrize("module", ["bank", "posterior"])
def test_banks_get_tables_only_through_the_split(module):
    names = {
        alias.name
        for node in ast.walk(ast.parse((ROOM / f"{module}.py").read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert "training_table" in names
    assert names.isdisjoint({"load_table", "protocol_pools", "protocol_rows"})
