"""What optimisers are compared on: held-out tables, functions and programs, as pools of one size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.blackbox import live_suites
from envs.blackbox.analytic import FUNCTIONS
from envs.blackbox.built import BuiltTable
from envs.blackbox.live_suites import LIVE, built_pools
from envs.blackbox.protocol import protocol_pools
from envs.blackbox.splits import TEST, TRAIN, VALID
from envs.blackbox.suites import SUITES, XGB_TEST, XGB_VALID, make_suite, narrow
from envs.blackbox.tables import load_table
from envs.blackbox.task import CATEGORICAL, NUM_INIT, NUMERIC, UNUSED


def check(suite, num_tasks, num_seeds, horizon):
    """What every suite keeps."""
    count = num_tasks * num_seeds
    assert len(suite.tasks) == count and len(set(suite.tasks)) == num_tasks
    assert suite.params.y.shape == suite.params.is_valid.shape and suite.params.y.shape[0] == count
    assert suite.initial.shape == (count, NUM_INIT) and suite.initial.dtype == jnp.int32
    assert (np.asarray(suite.params.horizon) == horizon).all()
    assert np.isfinite(suite.params.y).all() and np.isfinite(suite.params.x).all()
    is_valid, first = np.asarray(suite.params.is_valid), np.asarray(suite.initial)
    assert np.take_along_axis(is_valid, first, axis=1).all()
    assert all(len(set(row)) == NUM_INIT for row in first.tolist())


def test_tables_of_xgboost_are_whole_and_never_trained_on():
    suite = make_suite("xgb", horizon=4, num_seeds=2)
    check(suite, 13, 2, 4)
    assert set(suite.tasks) == set(XGB_TEST) < set(TEST) and "xgb/47" not in suite.tasks
    assert suite.tasks[:4] == ("xgb/34", "xgb/34", "xgb/35", "xgb/35")
    for place, name in ((0, "xgb/34"), (25, "xgb/46")):
        np.testing.assert_array_equal(suite.params.y[place], load_table(name).y)
    assert set(make_suite("xgb-valid", horizon=4, num_seeds=1).tasks) == set(XGB_VALID) < set(VALID)
    pools = protocol_pools([("xgb/35", 1)], horizon=4)
    np.testing.assert_array_equal(suite.initial[3], pools.initial[0])


def test_big_tables_are_a_thousand_rows_and_half_of_them_are_of_the_test_split():
    suite = make_suite("hpo-tables", horizon=6, num_seeds=1)
    check(suite, 6, 1, 6)
    assert suite.params.y.shape == (6, 1000)
    assert len(set(suite.tasks) & set(TEST)) == len(set(suite.tasks) & set(VALID)) == 3
    assert set(suite.tasks).isdisjoint(TRAIN)


@pytest.mark.slow
def test_functions_have_a_start_for_each_seed():
    suite = make_suite("bbob", horizon=3, num_seeds=2)
    check(suite, 24 * 3, 2, 3)
    assert (np.asarray(suite.params.y)[0] == np.asarray(suite.params.y)[1]).all()
    assert (np.asarray(suite.initial)[0] != np.asarray(suite.initial)[1]).any()


def test_analytic_functions_are_moved_and_scaled_anew_for_each_seed():
    suite = make_suite("analytic", horizon=3, num_seeds=2)
    check(suite, len(FUNCTIONS), 2, 3)
    y, x, kind = (np.asarray(leaf) for leaf in (suite.params.y, suite.params.x, suite.params.kind))
    assert (y[0] != y[1]).all() and (x[0, :, :2] != x[1, :, :2]).all()
    assert {int((row != UNUSED).sum()) for row in kind} == {2, 3, 5, 6, 10}
    again = make_suite("analytic", horizon=3, num_seeds=2)
    np.testing.assert_array_equal(again.params.y, suite.params.y)


def table(size, seed):
    law = np.random.default_rng(seed)
    x = np.stack([law.random(size), law.integers(0, 3, size)], axis=1).astype(np.float32)
    y = (law.standard_normal(size) - 50.0).astype(np.float32)
    kind = np.array([NUMERIC, CATEGORICAL], np.int32)
    return BuiltTable(x, kind, np.array([0, 3], np.int32), y, ("a", "b"))


def test_built_tables_become_pools_of_the_size_of_the_largest():
    built = [("live/small", table(8, 0)), ("live/large", table(11, 1))]
    tasks, params, initial = built_pools(built, horizon=4, num_seeds=3)
    assert tasks == ("live/small",) * 3 + ("live/large",) * 3
    np.testing.assert_array_equal(params.is_valid.sum(axis=1), [8] * 3 + [11] * 3)
    np.testing.assert_array_equal(params.y[0, :8], built[0][1].y)
    np.testing.assert_array_equal(params.x[3, :, :2], built[1][1].x)
    assert params.y_best[0] == built[0][1].y.max() and params.y_worst[0] == built[0][1].y.min()
    assert (np.asarray(initial)[:3] < 8).all() and len({tuple(row) for row in np.asarray(initial).tolist()}) == 6
    again = built_pools(built, horizon=4, num_seeds=3)
    jax.tree.map(np.testing.assert_array_equal, (params, initial), again[1:])


@pytest.mark.parametrize("name", LIVE)
def test_a_live_suite_is_what_its_programs_built(name, monkeypatch):
    asked = []

    def build(num_configs, track):
        asked.append((num_configs, track))
        return [(f"{name}/{seed}", table(9, seed)) for seed in range(2)]

    monkeypatch.setitem(LIVE, name, build)
    suite = make_suite(name, horizon=2, num_seeds=2, track=reversed)
    check(suite, 2, 2, 2)
    assert suite.name == name and asked == [(live_suites.NUM_CONFIGS, reversed)]


def test_programs_are_told_apart_by_name(monkeypatch):
    """Each builder is asked once for each of its problems, and its table keeps the problem's name."""
    from envs.blackbox import live_sklearn, logic_synthesis, mip

    asked = {}

    def build(problem, **options):
        assert problem not in asked
        asked[problem] = options
        return table(9, len(asked))

    monkeypatch.setattr(logic_synthesis, "generate_circuit", lambda kind, size: f"{kind}{size}")
    monkeypatch.setattr(mip, "set_cover", lambda seed: seed)
    for module in (live_sklearn, logic_synthesis, mip):
        monkeypatch.setattr(module, "build", build)
    names = [name for make in LIVE.values() for name, _ in make(7, reversed)]
    circuits = ["adder16", "multiplier8", "sorter16"]
    assert len(live_sklearn.NAMES) == 16 and list(asked) == [*live_sklearn.NAMES, *circuits, *live_suites.INSTANCES]
    assert names == [
        *(f"sklearn/{name}" for name in live_sklearn.NAMES),
        *(f"logic/{name}" for name in circuits),
        *(f"scip/{seed}" for seed in live_suites.INSTANCES),
    ]
    assert all(7 in (o.get("num_configs"), o.get("num_flows")) and o["track"] is reversed for o in asked.values())


def test_dimensions_that_no_pool_uses_can_be_left_out():
    params = make_suite("xgb", num_seeds=1).params
    narrowed = narrow(params)
    assert narrowed.x.shape[-1] == narrowed.kind.shape[-1] == 6
    np.testing.assert_array_equal(narrowed.x, params.x[..., :6])
    assert not np.asarray(params.kind)[:, 6:].any()
    np.testing.assert_array_equal(narrowed.y, params.y)


def test_an_unknown_suite_is_refused():
    with pytest.raises(ValueError, match="there is no suite called 'xbg'; did you mean xgb"):
        make_suite("xbg")
    assert list(SUITES) == ["xgb", "xgb-valid", "hpo-tables", "bbob", "analytic"] and list(LIVE) == [
        "sklearn",
        "abc",
        "scip",
    ]
