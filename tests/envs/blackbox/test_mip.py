import itertools
import sys

import numpy as np
import pytest

from envs.blackbox import mip
from envs.blackbox.configuration import decode, draw
from envs.blackbox.mip import NODE_LIMIT, SPACE, UNSOLVED_FACTOR, SetCover, build, instance_hash, set_cover, solve

SMALL = dict(num_variables=60, num_constraints=40, density=0.1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_instances_depend_on_the_seed_and_can_be_covered():
    instance = set_cover(0)
    assert instance.cost.shape == (400,) and instance.is_member.shape == (200, 400)
    assert instance.cost.min() >= 1 and instance.cost.max() <= 99
    assert instance.is_member.sum(1).min() >= 2
    num_entries = 200 * 400
    assert instance.is_member.mean() == pytest.approx(0.03, abs=4 * np.sqrt(0.03 * 0.97 / num_entries))
    assert instance_hash(instance) == instance_hash(set_cover(0)) != instance_hash(set_cover(1))


def test_sparse_instances_are_filled_up():
    assert (set_cover(0, num_variables=5, num_constraints=9, density=1e-9).is_member.sum(1) == 2).all()


@pytest.mark.parametrize("bad", [{"num_variables": 1}, {"num_constraints": 0}, {"density": 0.0}, {"density": 1.5}])
def test_impossible_instances_are_refused(bad):
    with pytest.raises(ValueError, match="set cover was given"):
        set_cover(0, **bad)


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyscipopt", None)
    with pytest.raises(ValueError, match="metabo-real"):
        build(set_cover(0, **SMALL), num_configs=1, seed=0)


def test_scip_finds_the_cheapest_cover_that_enumeration_finds():
    pytest.importorskip("pyscipopt")
    instance = set_cover(3, num_variables=10, num_constraints=8, density=0.3)
    chosen = np.array(list(itertools.product([False, True], repeat=10)))
    covers = (chosen.astype(int) @ instance.is_member.T.astype(int) >= 1).all(1)
    cheapest = (chosen.astype(int) @ instance.cost)[covers].min()
    _, _, is_solved, bound = solve(instance, decode(SPACE, draw(SPACE, 1, 0)[0]))
    assert is_solved and bound == pytest.approx(cheapest)


def test_every_value_of_every_parameter_is_accepted():
    scip = pytest.importorskip("pyscipopt")
    model = scip.Model()
    for parameter in SPACE:
        for value in parameter.values or (parameter.low, parameter.high):
            model.setParam(parameter.name, value)
            assert model.getParam(parameter.name) == value


def test_work_is_the_same_in_every_run_and_differs_between_configurations(monkeypatch):
    pytest.importorskip("pyscipopt")
    instance = set_cover(13)
    table = build(instance, num_configs=3, seed=13)
    assert table.x.shape == (3, 8) and table.names[0] == "branching/scorefac" and table.num_failed == 0
    for row, y in zip(table.x, table.y, strict=True):
        iterations, nodes, is_solved, _ = solve(instance, decode(SPACE, row))
        assert is_solved and 1 <= nodes <= NODE_LIMIT
        assert y == pytest.approx(-np.log(iterations), rel=1e-6)
    assert len(set(table.y)) > 1

    def refuse(*args, **kwargs):
        raise AssertionError("solved again")

    monkeypatch.setattr(mip, "solve", refuse)
    np.testing.assert_array_equal(build(instance, num_configs=3, seed=13).y, table.y)


def test_giving_up_multiplies_the_work(monkeypatch):
    pytest.importorskip("pyscipopt")
    monkeypatch.setattr(mip, "solve", lambda *args, **kwargs: (50, 7, kwargs["node_limit"] > 1, 3.0))
    instance = SetCover(np.array([1, 2]), np.array([[True, True]]))
    solved = build(instance, num_configs=1, seed=0).y
    given_up = build(instance, num_configs=1, seed=0, node_limit=1).y
    np.testing.assert_allclose(np.exp(-given_up), UNSOLVED_FACTOR * np.exp(-solved), rtol=1e-5)
    np.testing.assert_allclose(np.exp(-solved), 50.0, rtol=1e-5)
