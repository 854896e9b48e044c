"""`metarl teach`."""

import json
from pathlib import Path

import numpy as np
import pytest

from metarl.cli import main

WORDS = ("teach", "--preset", "smoke", "--teachers", "covar-gmm@window=50", "uniform", "--quiet")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    assert main([*WORDS, "--runs", str(runs)]) == 0
    return runs / "smoke"


def test_everything_is_left_that_a_run_leaves(run):
    assert (run / "STATUS").read_text().strip() == "done"
    content = json.loads((run / "evaluation.json").read_text())
    assert content["schema"] == 1 and content["command"].startswith("metarl teach")
    assert {row["arm"] for row in content["rows"]} == {"covar-gmm@window=50", "uniform"}
    with np.load(run / "export/curriculum.npz", allow_pickle=False) as arrays:
        assert arrays["uniform/mastered"].shape == (10, 2)
    assert "covar-gmm@window=50" in (run / "report.html").read_text()


def test_a_finished_run_only_prints_its_results_again(run, capsys):
    before = (run / "evaluation.json").stat().st_mtime_ns
    assert main([*WORDS, "--runs", str(run.parent)]) == 0
    out = capsys.readouterr().out
    assert "test tasks mastered in percent" in out and f"report:  {run / 'report.html'}" in out
    assert (run / "evaluation.json").stat().st_mtime_ns == before


def test_its_page_can_be_written_again(run, capsys):
    (run / "report.html").unlink()
    assert main(["plot", str(run)]) == 0
    assert Path(capsys.readouterr().out.strip().removeprefix("report: ")).is_file()


def test_a_damaged_film_is_said_to_be_damaged(run, capsys):
    film = run / "export/film.npz"
    assert not film.exists()  # cells have nothing to show
    np.savez_compressed(film, lasts=np.ones(3, bool))
    assert main(["plot", str(run)]) == 2
    assert "film.npz is damaged" in capsys.readouterr().err
    film.unlink()


@pytest.mark.parametrize(
    ("words", "mentions"),
    [
        (["--preset", "smok"], "no preset 'smok'"),
        (["--preset", "smoke", "--teachers", "alp"], "no teacher called 'alp'; did you mean alp-gmm"),
        (["--preset", "smoke", "--updates", "7"], "multiple of updates_per_step"),
        (["--preset", "alp-gmm-pendulum-cpu", "--student.env", "Pendulum-v1"], "has one task only"),
    ],
)
def test_bad_input_is_refused_in_a_sentence_and_leaves_no_run(words, mentions, tmp_path, capsys):
    assert main(["teach", *words, "--runs", str(tmp_path)]) == 2
    assert mentions in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
