import errno
import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.run.errors import UserError
from metarl.run.metrics import MetricsWriter, encode_row, read_metrics

ROWS = [{"step": step, "fitness": step / 3} for step in range(1, 8)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def writer(path):
    writer = MetricsWriter(path)
    yield writer
    writer.close()


def test_rows_read_back_equal_and_in_order(writer, path):
    writer.append(ROWS[:3])
    writer.append(ROWS[3:])
    assert read_metrics(path) == ROWS


def test_each_row_is_one_line_of_standard_json(writer, path):
    writer.append([{"step": 1, "x": math.inf, "text": "two\nlines"}])
    (line,) = path.read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "step": 1, "x": None, "text": "two\nlines", "nonfinite": ["x"],
    }  # fmt: skip


def test_what_is_not_finite_is_null_and_named():
    row = json.loads(encode_row({"step": 3, "a": math.nan, "b": 1.0, "c": -math.inf}))
    assert row == {"step": 3, "a": None, "b": 1.0, "c": None, "nonfinite": ["a", "c"]}
    assert "nonfinite" not in json.loads(encode_row({"step": 3, "b": 1.0}))


def test_a_metric_cannot_take_the_name_of_that_list():
    with pytest.raises(ValueError, match="named 'nonfinite'"):
        encode_row({"step": 1, "nonfinite": 1.0})


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_floats_keep_every_bit(value):
    assert math.copysign(1.0, value) == math.copysign(1.0, json.loads(encode_row({"step": 0, "x": value}))["x"])
    assert json.loads(encode_row({"step": 0, "x": value}))["x"] == value


def test_truncation_keeps_rows_up_to_the_step_and_appending_goes_on(writer, path):
    writer.append(ROWS)
    writer.truncate_after(4)
    assert read_metrics(path) == ROWS[:4]
    writer.append(ROWS[4:])
    assert read_metrics(path) == ROWS


@pytest.mark.parametrize("torn", ['{"step": 8, "fit', '{"step": 8', "{", "\0\0\0", '{"step": 8, "x": "é'])
def test_a_last_line_torn_by_a_kill_is_dropped(writer, path, torn):
    writer.append(ROWS)
    with open(path, "a") as file:
        file.write(torn)
    assert read_metrics(path) == ROWS
    writer.truncate_after(100)
    writer.append([{"step": 8}])
    assert read_metrics(path) == [*ROWS, {"step": 8}]


def test_a_last_line_that_only_misses_its_end_is_kept(writer, path):
    path.write_text('{"step": 1}\n{"step": 2}')
    writer.truncate_after(2)
    writer.append([{"step": 3}])
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]


def test_truncation_with_nothing_to_drop_does_not_rewrite(writer, path):
    writer.append([*ROWS, {"step": 8, "x": math.nan, "text": "é"}])
    before = path.stat().st_ino
    writer.truncate_after(8)
    assert path.stat().st_ino == before


def test_failed_truncation_keeps_the_file(writer, path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer.append(ROWS)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="No space left on device"):
        writer.truncate_after(2)
    assert read_metrics(path) == ROWS


def test_rows_that_do_not_fit_on_the_disk_leave_no_part(path, limit_file_size):
    writer = MetricsWriter(path)
    writer.append(ROWS)
    limit_file_size(path.stat().st_size + 70)
    with pytest.raises(UserError, match=f"cannot write {path}: File too large"):
        writer.append(ROWS)
    assert read_metrics(path) == ROWS
    writer.append(ROWS[:1])
    assert read_metrics(path) == [*ROWS, ROWS[0]]
    writer.close()


@pytest.mark.parametrize("middle", ["garbage", "", "[1]", '{"fitness": 1.0}', '{"step": "1"}'])
def test_a_line_in_the_middle_that_is_not_a_row_is_named_and_nothing_is_lost(writer, path, middle):
    path.write_text(f'{{"step": 1}}\n{middle}\n{{"step": 2}}\n')
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"line 2 of {path}"):
        read_metrics(path)
    with pytest.raises(UserError, match=f"line 2 of {path}"):
        writer.truncate_after(1)
    assert path.read_bytes() == before


def test_a_missing_file_is_a_user_error_and_an_empty_one_has_no_rows(path):
    with pytest.raises(UserError, match="cannot read"):
        read_metrics(path)
    MetricsWriter(path).close()
    assert read_metrics(path) == []


def test_a_directory_in_place_of_the_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=f"cannot write {tmp_path}: Is a directory"):
        MetricsWriter(tmp_path)
