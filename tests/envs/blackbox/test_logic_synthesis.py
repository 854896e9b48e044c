import math
import subprocess

import numpy as np
import pytest

from envs.blackbox import logic_synthesis
from envs.blackbox.evaluation_cache import EvaluationFailed
from envs.blackbox.logic_synthesis import (
    FLOW_LENGTH,
    OPERATORS,
    PROGRAMS,
    REFERENCE,
    Circuit,
    Cost,
    build,
    circuit_hash,
    find_abc,
    generate_circuit,
    map_circuit,
    parse_statistics,
    read_circuit,
)
from envs.blackbox.task import CATEGORICAL

PRINTED = (
    "Hierarchy reader flattened 16 instances of logic boxes and left 0 black boxes.\n"
    "\x1b[1;37mADD16                         :\x1b[0m i/o =   32/   17  lat =    0  nd =    29  edge =    117"
    "  aig  =   218  lev = 7\n"
)
AND = Circuit("and", ".model and\n.inputs a b\n.outputs c\n.names a b c\n11 1\n.end\n")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def abc():
    try:
        return find_abc()
    except ValueError as error:
        pytest.skip(str(error))


def test_recorded_statistics_with_colours_are_parsed():
    assert parse_statistics(PRINTED) == Cost(nodes=29, levels=7)
    assert parse_statistics(PRINTED + PRINTED.replace("29", "31").replace("lev = 7", "lev =\x1b[1;32m 12\x1b[0m")) == (
        Cost(nodes=31, levels=12)
    )


def test_output_without_statistics_is_a_failure():
    with pytest.raises(EvaluationFailed, match="Empty network"):
        parse_statistics("Error: Empty network.\n")


def test_there_are_eleven_operators_and_twenty_places():
    assert len(set(OPERATORS)) == 11 and FLOW_LENGTH == 20
    assert set(REFERENCE) <= set(OPERATORS) and len(REFERENCE) == 10


def test_hash_ignores_comments_only():
    dated = Circuit("x", "# made on Monday\n" + AND.blif)
    assert circuit_hash(dated) == circuit_hash(AND)
    assert circuit_hash(AND) != circuit_hash(Circuit("and", AND.blif.replace("11 1", "1- 1")))


def test_circuits_are_found_below_a_folder(tmp_path):
    (tmp_path / "random_control").mkdir()
    (tmp_path / "random_control" / "and.blif").write_text(AND.blif)
    assert read_circuit(tmp_path, "and") == AND
    with pytest.raises(ValueError, match="holds 0 files or.blif"):
        read_circuit(tmp_path, "or")


def test_missing_program_is_named(monkeypatch):
    monkeypatch.setattr(logic_synthesis.shutil, "which", lambda program: None)
    with pytest.raises(ValueError, match="needs Berkeley ABC.*berkeley-abc"):
        build(AND, num_flows=2, seed=0)


def test_first_program_found_is_taken(monkeypatch):
    monkeypatch.setattr(logic_synthesis.shutil, "which", lambda program: f"bin/{program}" if program == "abc" else None)
    assert find_abc() == "bin/abc" and PROGRAMS[0] == "berkeley-abc"


def test_impossible_generated_circuits_are_refused():
    for kind, size in (("divider", 8), ("adder", 1)):
        with pytest.raises(ValueError, match="choose one of"):
            generate_circuit(kind, size)


def test_timeout_and_crash_are_failures(monkeypatch):
    def too_slow(*args, **kwargs):
        raise subprocess.TimeoutExpired("abc", kwargs["timeout"])

    monkeypatch.setattr(logic_synthesis.subprocess, "run", too_slow)
    with pytest.raises(EvaluationFailed, match="longer than 3 s"):
        map_circuit(AND, [], program="abc", timeout=3.0)
    crashed = subprocess.CompletedProcess("abc", -11, "", "segmentation fault")
    monkeypatch.setattr(logic_synthesis.subprocess, "run", lambda *args, **kwargs: crashed)
    with pytest.raises(EvaluationFailed, match="code -11"):
        map_circuit(AND, [], program="abc")


def test_one_gate_is_one_table_of_one_level(abc):
    assert map_circuit(AND, ["balance", OPERATORS[8]], program=abc) == Cost(nodes=1, levels=1)


def test_adder_table_is_real_deterministic_and_built_once(abc, monkeypatch):
    adder = generate_circuit("adder", 8)
    table = build(adder, num_flows=3, seed=0)
    assert table.x.shape == (3, FLOW_LENGTH) and table.num_failed == 0
    assert set(table.kind) == {CATEGORICAL} and set(table.num_categories) == {11}
    reference = map_circuit(adder, REFERENCE, program=abc)
    for row, y in zip(table.x, table.y, strict=True):
        cost = map_circuit(adder, [OPERATORS[int(entry)] for entry in row], program=abc)
        quality = cost.nodes / reference.nodes + cost.levels / reference.levels
        assert y == pytest.approx(-quality, rel=1e-6)
    assert len(set(table.y)) > 1

    def refuse(*args, **kwargs):
        raise AssertionError("evaluated again")

    monkeypatch.setattr(logic_synthesis, "map_circuit", refuse)
    np.testing.assert_array_equal(build(adder, num_flows=3, seed=0).y, table.y)


def test_operators_all_run_and_keep_the_function_small(abc):
    adder = generate_circuit("adder", 4)
    costs = [map_circuit(adder, [operator], program=abc) for operator in OPERATORS]
    assert all(math.isfinite(cost.nodes) and 1 <= cost.levels <= cost.nodes <= 100 for cost in costs)


def test_circuit_that_cannot_be_read_is_refused(abc):
    with pytest.raises(ValueError, match="ABC cannot map broken"):
        build(Circuit("broken", "nothing\n"), num_flows=1, seed=0)
