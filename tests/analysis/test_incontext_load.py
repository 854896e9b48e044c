"""What is read of a pretraining run's examination, and what is refused."""

import json

import numpy as np
import pytest

from analysis.incontext_load import Series, Setting, load_examined, read_curves, read_outcomes, trained_envs

INTERVAL = {"iqm": 1.0, "low": 0.5, "high": 1.5, "confidence": 0.95}


def row(setting, metric="return", **fields):
    known = {"arm": "dpt", "env": "darkroom", "mean": 1.25, "error": 0.5, "num_tasks": 40, "values": []}
    return known | {"setting": setting, "metric": metric} | INTERVAL | fields


def write_rows(directory, *rows, schema=1):
    (directory / "evaluation.json").write_text(json.dumps({"schema": schema, "command": "c", "rows": list(rows)}))


def test_rows_are_grouped_by_where_they_were_measured(tmp_path):
    online, offline = {"mode": "online", "protocol": "frozen"}, {"mode": "offline", "context": 10}
    write_rows(
        tmp_path,
        row(online | {"episode": 1}),
        row(online | {"episode": "all"}, mean=None),
        row(offline, "suboptimality", env="bandit"),
    )
    found = read_outcomes(tmp_path / "evaluation.json")
    assert list(found) == [
        Setting("darkroom", "online", "frozen", "return", "episode"),
        Setting("bandit", "offline", "", "suboptimality", "context"),
    ]
    first, mean_over_episodes = next(iter(found.values()))
    assert (first.arm, first.point, first.mean, first.num_tasks) == ("dpt", 1, 1.25, 40)
    assert first.half_width == pytest.approx(0.98)  # 1.96 standard errors of 0.5
    assert mean_over_episodes.point == "all" and np.isnan(mean_over_episodes.mean)


def test_a_run_that_was_not_examined_has_no_outcomes_and_no_curves(tmp_path):
    assert read_outcomes(tmp_path / "evaluation.json") == {} and read_curves(tmp_path / "curves.npz", "bandit") == {}


@pytest.mark.parametrize("setting", [{"horizon": 10}, {"mode": "online"}])
def test_rows_of_another_kind_of_evaluation_are_refused(tmp_path, setting):
    write_rows(tmp_path, row(setting))
    with pytest.raises(ValueError, match="row of no examination"):
        read_outcomes(tmp_path / "evaluation.json")


def test_another_schema_is_refused(tmp_path):
    write_rows(tmp_path, schema=7)
    with pytest.raises(ValueError, match="schema 7"):
        read_outcomes(tmp_path / "evaluation.json")


def test_curves_belong_to_the_domain_that_is_named_or_to_the_only_one(tmp_path):
    names = ("online/stepwise/ucb0.6", "bandit@horizon=20,arms=3/online/stepwise/dpt")
    arrays = {f"{name}/{part}": np.full(3, i, np.float32) for i, name in enumerate(names) for part in ("mean", "error")}
    np.savez(tmp_path / "curves.npz", **arrays)
    found = read_curves(tmp_path / "curves.npz", "darkroom")
    assert list(found) == [
        Series("darkroom", "online", "stepwise", "ucb0.6"),
        Series("bandit@horizon=20,arms=3", "online", "stepwise", "dpt"),
    ]
    np.testing.assert_array_equal([curve.mean for curve in found.values()], [[0.0] * 3, [1.0] * 3])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"sideways/stepwise/dpt/mean": np.zeros(3)}, "sideways"),
        ({"online/stepwise/dpt/mean": np.zeros((3, 2))}, r"\(3, 2\)"),
        ({"online/stepwise/dpt/mean": np.zeros(3)}, "without an error"),
    ],
)
def test_damaged_curves_are_refused(tmp_path, arrays, words):
    np.savez(tmp_path / "curves.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        read_curves(tmp_path / "curves.npz", "bandit")


def test_what_a_run_lacks_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"env": ["bandit"], "updates_per_step": 5}')
    examined = load_examined(tmp_path)
    assert trained_envs(examined.run.config) == ["bandit"] and examined.updates_per_step == 5
    assert examined.results.envs == [] and examined.results.curves == {}
    assert "export/model.npz" in examined.absent and "config.json" not in examined.absent
