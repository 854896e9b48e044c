"""The pages of evaluations of agents that learn in context and of exported models: results are those of the file."""

import html
import re

import numpy as np
import pytest

from analysis.evaluation import write_evaluation_report
from analysis.incontext_evaluation import is_acting_evaluation, write_model_report
from tests.analysis.test_incontext import BANDIT, PULLS, ROOM, figures_of, text_of, write_examination, write_model


def test_an_evaluation_file_has_a_page_of_tables_and_curves_beside_it(tmp_path):
    write_examination(tmp_path, BANDIT)
    (tmp_path / "evaluation.json").rename(tmp_path / "few.json")
    (tmp_path / "export/curves.npz").rename(tmp_path / "few.npz")
    assert write_evaluation_report(tmp_path / "few.json") == tmp_path / "few.html"
    page = html.unescape((tmp_path / "few.html").read_text(encoding="utf-8"))
    assert "After 20 pulls the best model's mean regret is that of DPT, greedy, 30.00 ± 0.20" in page
    assert f"same held-out tasks of {BANDIT}." in page and "metarl pretrain --preset smoke" in page
    assert "Curves were not saved" not in page
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
    assert "decision pretraining" in page and f"newly drawn tasks of {BANDIT} and" in page
    assert "After 20 pulls the best model" in page and "Curves were not saved" in page
    assert figures_of(tmp_path / "page") == {"offline"}


def test_a_model_of_a_room_shows_its_policy_and_what_it_looks_at(tmp_path):
    write_model(tmp_path, ROOM, curve={"step": [1, 2, 3], "loss": [1.5, 1.0, 0.5]})
    before = sorted(path.name for path in (tmp_path / "export").iterdir())
    write_model_report(tmp_path / "export", tmp_path / "page")
    assert re.findall(r"<h2>(.*?)</h2>", text_of(tmp_path / "page"))[1:] == ["What the policy does", "Training"]
    assert figures_of(tmp_path / "page") == {"policy", "attention", "training"}
    with np.load(tmp_path / "page/figures/training.npz") as numbers:
        np.testing.assert_array_equal(numbers["updates"], [5.0, 10.0, 15.0])
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == before


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model"):
        write_model_report(tmp_path / "nothing", tmp_path / "page")


def test_other_evaluations_are_told_apart():
    rows = [{"setting": 5}, {"setting": {"horizon": 5}}, {"setting": {"horizon": 5, "mode": "online"}}]
    assert [is_acting_evaluation({"rows": [row]}) for row in rows] == [False, False, True]
    assert not is_acting_evaluation({}) and not is_acting_evaluation({"rows": [3]})


def test_a_model_that_was_not_examined_has_a_page_that_says_so(tmp_path):
    write_model(tmp_path, BANDIT)
    page = write_model_report(tmp_path / "export", tmp_path / "page").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Acting in held-out tasks"] and "has not been examined" in page
