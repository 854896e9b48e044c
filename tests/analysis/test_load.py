"""Reading run directories."""

import json

import numpy as np
import pytest

from analysis.load import PIECES, flatten, load_run


def test_a_whole_run_loads_with_nothing_absent(run_directory, synthetic):
    run = load_run(run_directory)
    assert run.absent == () and run.status == "done" and run.name == "ta-lpg-small"
    assert run.config["objective"]["encoding"] == "centred"
    assert [session["first_step"] for session in run.sessions] == [0, 200]
    assert sorted(run.lives) == ["a2c", "discovered", "initial"]
    assert tuple(run.lives["discovered"]) == synthetic.HORIZONS
    assert run.rule["objective"] == "lpg" and run.evaluation["schema"] == 1


def test_metrics_are_columns_with_nan_for_null(tmp_path, synthetic):
    written = synthetic.write_metrics(tmp_path, 40)
    metrics = load_run(tmp_path).metrics
    for name, column in written.items():
        np.testing.assert_array_equal(metrics[name], column)
    assert np.sum(np.isnan(metrics["fitness"])) == 1 and "nonfinite" not in metrics


def test_a_metric_that_appears_late_is_nan_before(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "late": 0.5}\n')
    np.testing.assert_array_equal(load_run(tmp_path).metrics["late"], [np.nan, 0.5])


def test_a_half_written_last_line_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "fitness": 0.5}\n{"step": 2, "fit')
    np.testing.assert_array_equal(load_run(tmp_path).metrics["fitness"], [0.5])


def test_rows_and_arrays_equal_what_was_written(tmp_path, synthetic):
    synthetic.write_config(tmp_path)
    rows, arrays = synthetic.write_evaluation(tmp_path), synthetic.write_export(tmp_path)
    run = load_run(tmp_path)
    assert [(r.arm, r.env, r.horizon, r.iqm, r.low, r.high) for r in run.rows] == [
        (r["arm"], r["env"], r["setting"]["horizon"], r["iqm"], r["low"], r["high"]) for r in rows
    ]
    np.testing.assert_array_equal(run.rows[3].values, rows[3]["values"])
    assert [row.num_excluded for row in run.rows[:2]] == [2, 0] and run.rows[0].num_nonfinite == 0
    for name, array in arrays.items():
        first, *rest = name.split("/")
        loaded = run.probe[rest[0]] if first == "probe" else run.lives[first][int(rest[0])][rest[1]]
        np.testing.assert_array_equal(loaded, array)


def test_missing_pieces_are_named_and_empty(tmp_path, synthetic):
    synthetic.write_config(tmp_path)
    run = load_run(tmp_path)
    assert set(run.absent) == set(PIECES) - {"config.json", "provenance.json"}
    assert run.metrics == {} and run.rows == () and run.lives == {} and run.probe == {} and run.rule == {}
    assert run.status is None and run.evaluation == {}


def test_a_row_without_a_horizon_has_none(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    row = {"arm": "a2c", "env": "e", "setting": {"seed": 1}, "metric": "m", "iqm": None, "low": 0, "high": 1}
    (tmp_path / "evaluation.json").write_text(json.dumps({"schema": 1, "rows": [row | {"confidence": 0.9}]}))
    (loaded,) = load_run(tmp_path).rows
    assert loaded.horizon is None and np.isnan(loaded.iqm) and loaded.values.shape == (0,)


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_a_path_that_is_no_run_is_refused_in_one_sentence(tmp_path, path):
    with pytest.raises(ValueError, match="is not a run, for it has neither config.json nor metrics.jsonl") as caught:
        load_run(tmp_path / path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "not valid JSON"),
        ("config.json", "[]", "holds a list"),
        ("metrics.jsonl", "{\n{}\n", "line 1 is not valid JSON"),
        ("evaluation.json", '{"schema": 2, "rows": []}', "has schema 2, not 1"),
        ("evaluation.json", '{"schema": 1, "rows": [{"arm": "a2c"}]}', "rows without 'env'"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, message):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_run(tmp_path)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("discovered/x/return", (2, 3), "discovered/x/return"),
        ("discovered/5/return", (2, 3), r"shape \(2, 3\)"),
        ("probe/pi_hat_mean", (2, 3), r"make it \(4, 3\)"),
    ],
)
def test_a_misnamed_or_misshapen_array_is_named(tmp_path, name, shape, message):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "export").mkdir()
    axes = {"probe/lifetimes": np.arange(4), "probe/fractions": np.arange(3)}
    np.savez(tmp_path / "export/lives.npz", **{name: np.zeros(shape)}, **axes)
    with pytest.raises(ValueError, match=message):
        load_run(tmp_path)


def test_flatten_joins_names_and_unwraps_infinite_numbers():
    nested = {"a": {"b": 1, "c": {"type": "float", "value": "inf"}}, "d": [1, 2]}
    assert flatten(nested) == {"a.b": 1, "a.c": "inf", "d": [1, 2]}
