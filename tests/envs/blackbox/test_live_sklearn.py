import sys

import numpy as np
import pytest

from envs.blackbox import live_sklearn
from envs.blackbox.configuration import decode, draw
from envs.blackbox.evaluation_cache import EvaluationFailed
from envs.blackbox.live_sklearn import NAMES, SPACES, build, cross_validate, load_dataset


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_there_are_sixteen_tasks():
    assert len(set(NAMES)) == 16 and "svm/digits" in NAMES


@pytest.mark.parametrize(("learner", "num_configs"), [("svm", 8), ("tree", 8), ("lr", 4), ("mlp", 2)])
def test_configurations_give_the_same_numbers_twice(learner, num_configs, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    tables = []
    for place in ("one", "two"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))  # so that the second is evaluated too
        tables.append(build(f"{learner}/iris", num_configs=num_configs, seed=1))
    np.testing.assert_array_equal(tables[0].x, tables[1].x)
    np.testing.assert_array_equal(tables[0].y, tables[1].y)
    assert tables[0].names == tuple(parameter.name for parameter in SPACES[learner])
    assert len(set(tables[0].y)) > 1 and (tables[0].y >= 0).all() and (tables[0].y <= 1).all()


def test_what_was_built_is_not_evaluated_again(monkeypatch):
    pytest.importorskip("sklearn")
    calls = []
    real = live_sklearn.cross_validate
    monkeypatch.setattr(live_sklearn, "cross_validate", lambda *args: calls.append(args) or real(*args))
    first = build("tree/wine", num_configs=4, seed=0)
    assert len(calls) == 4
    np.testing.assert_array_equal(build("tree/wine", num_configs=4, seed=0).y, first.y)
    assert len(calls) == 4
    build("tree/iris", num_configs=4, seed=0)
    assert len(calls) == 8


def test_a_stump_separates_one_of_three_irises_and_a_good_svm_nearly_all():
    pytest.importorskip("sklearn")
    iris = load_dataset("iris")
    tree = decode(SPACES["tree"], draw(SPACES["tree"], 1, 0)[0])
    stump = {**tree, "max_depth": 1, "max_features": 1.0, "ccp_alpha": 1e-5, "splitter": "best"}
    np.testing.assert_allclose(cross_validate("tree", stump, iris), 2 / 3, atol=0.01)  # folds hold 16 or 17 of each
    svm = {"C": 1.0, "gamma": 0.1, "kernel": "rbf", "degree": 3, "coef0": 0.0, "scaler": "standard"}
    assert np.mean(cross_validate("svm", svm, iris)) > 0.93


def test_refusal_of_a_configuration_is_a_failure():
    pytest.importorskip("sklearn")
    svm = {"C": -1.0, "gamma": 0.1, "kernel": "rbf", "degree": 3, "coef0": 0.0, "scaler": "none"}
    with pytest.raises(EvaluationFailed, match="C"):
        cross_validate("svm", svm, load_dataset("iris"))


def test_one_thread_is_used_while_learners_are_fitted(monkeypatch):
    pytest.importorskip("sklearn")
    from threadpoolctl import threadpool_info

    seen = []

    def look(*args):
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return 0.5

    monkeypatch.setattr(live_sklearn, "_accuracy", look)
    cross_validate("lr", decode(SPACES["lr"], draw(SPACES["lr"], 1, 0)[0]), load_dataset("iris"))
    assert seen and set(seen) == {1}


def test_unknown_task_is_refused():
    with pytest.raises(ValueError, match="no live task 'forest/iris'"):
        build("forest/iris", num_configs=1, seed=0)


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ValueError, match="metabo-real"):
        build("svm/iris", num_configs=1, seed=0)
