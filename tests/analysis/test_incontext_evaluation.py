"""The pages of evaluations of agents that learn in context and of exported models: results are those of the file."""

import html

import numpy as np

from analysis.evaluation import write_evaluation_report
from analysis.incontext_evaluation import write_model_report
from tests.analysis.test_incontext import BANDIT, PULLS, figures_of, text_of, write_examination, write_model


def test_an_evaluation_file_has_a_page_of_tables_and_curves_beside_it(tmp_path):
    write_examination(tmp_path, BANDIT)
    (tmp_path / "evaluation.json").rename(tmp_path / "few.json")
    (tmp_path / "export/curves.npz").rename(tmp_path / "few.npz")
    assert write_evaluation_report(tmp_path / "few.json") == tmp_path / "few.html"
    page = html.unescape((tmp_path / "few.html").read_text(encoding="utf-8"))
    assert "After 20 pulls the best model's mean regret is that of DPT, greedy, 30.00 ± 0.20" in page
    assert "Curves are not kept" not in page and "metarl pretrain --preset smoke" in page
    assert {path.stem for path in (tmp_path / "few.figures").glob("*.png")} == {"regret", "offline"}
    with np.load(tmp_path / "few.figures/regret.npz") as numbers:
        np.testing.assert_array_equal(numbers["dpt/mean"], 2.0 * np.arange(1.0, PULLS + 1.0))


def test_a_model_has_a_page_of_the_evaluation_beside_it(tmp_path):
    write_model(tmp_path, BANDIT)
    write_examination(tmp_path, BANDIT)
    (tmp_path / "evaluation.json").rename(tmp_path / "export/evaluation.json")
    (tmp_path / "export/curves.npz").unlink()
    assert write_model_report(tmp_path / "export", tmp_path / "page") == tmp_path / "page/report.html"
    page = text_of(tmp_path / "page")
    assert "decision pretraining" in page and "After 20 pulls the best model" in page and "Curves are not kept" in page
    assert figures_of(tmp_path / "page") == {"offline"}


def test_a_model_that_was_not_examined_has_a_page_that_says_so(tmp_path):
    write_model(tmp_path, BANDIT)
    page = write_model_report(tmp_path / "export", tmp_path / "page").read_text()
    assert "has not been examined" in page and "<h2>Training</h2>" not in page and "How to reproduce" not in page
