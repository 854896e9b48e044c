"""`metarl plot`: the report of any run, finished or not."""

import shutil
import sys
from pathlib import Path

import pytest

from metarl import zoo


def test_the_report_of_a_run_is_written_and_named(smoke, cli, tmp_path):
    """A run that was stopped before its evaluation, which is the quickest to draw."""
    path = tmp_path / "run"
    path.mkdir()
    for name in ("config.json", "metrics.jsonl", "provenance.json", "STATUS"):
        shutil.copy(smoke.path / name, path)
    answer = cli("plot", path)
    assert answer.code == 0 and answer.out == f"report: {path / 'report.html'}\n"
    assert "gridworld/debug" in (path / "report.html").read_text()


def test_what_is_no_run_is_refused_and_left_alone(refused, tree, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    before = tree(tmp_path)
    refused("plot", tmp_path, mentions=[tmp_path, "not a run"])
    refused("plot", tmp_path / "nothing", mentions=[tmp_path / "nothing", "not a run"])
    assert tree(tmp_path) == before


def test_a_damaged_run_is_refused_naming_the_file(smoke, refused, tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.json").write_text("{")
    refused("plot", path, mentions=[path / "config.json", "JSON"])
    assert not (path / "report.html").exists()


def test_a_run_must_be_given(cli):
    answer = cli("plot")
    assert answer.code == 2 and "PATH" in answer.err


@pytest.mark.slow
def test_a_rule_of_the_zoo_has_a_page_of_its_drift(cli, tmp_path):
    answer = cli("plot", "ta-lpo", "--out", tmp_path)
    assert answer.code == 0 and answer.out == f"report: {tmp_path / 'report.html'}\n", answer.err
    assert "The drift function" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "figures" / "drift_life.gif").stat().st_size < 2_000_000


def test_a_pretrained_model_of_the_zoo_has_a_page_of_what_it_was_measured_to_do(cli, tmp_path):
    answer = cli("plot", "dpt-bandit", "--out", tmp_path)
    assert answer.code == 0 and answer.out == f"report: {tmp_path / 'report.html'}\n", answer.err
    page = (tmp_path / "report.html").read_text()
    assert "<h1>dpt-bandit</h1>" in page and "after 500 pulls" in page and "Curves were not saved" in page


@pytest.mark.slow
def test_a_neural_process_of_the_zoo_has_a_page_of_what_it_was_measured_to_do(cli, tmp_path):
    answer = cli("plot", "nap", "--out", tmp_path)
    assert answer.code == 0 and answer.out == f"report: {tmp_path / 'report.html'}\n", answer.err
    page = (tmp_path / "report.html").read_text()
    assert "<h1>nap</h1>" in page and "On xgb, 13 tasks, the lowest mean AUC is" in page and "Calibration" in page


@pytest.mark.parametrize("path", ["nap", zoo.directory_of("nap")], ids=["name", "directory"])
def test_pages_of_models_are_not_written_into_the_package(cli, monkeypatch, path):
    asked = {}
    monkeypatch.setattr("analysis.bo_evaluation.write_nap_report", lambda *words: asked.setdefault("page", words))
    assert cli("plot", path).code == 0
    assert asked["page"] == (zoo.directory_of("nap"), Path("models/nap"))


def test_a_rule_without_a_drift_is_refused(refused, tmp_path):
    refused("plot", "ta-lpg", "--out", tmp_path, mentions=["lpg", "no drift"])


def test_a_formula_that_cannot_be_searched_for_is_refused_in_one_sentence(smoke, refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyoperon.sklearn", None)
    refused("plot", "lpo", "--out", tmp_path, "--symbolic", mentions=["pyoperon", "pip install 'metarl[symbolic]'"])
