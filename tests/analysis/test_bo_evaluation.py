"""The pages of evaluations of optimisers and of exported models: they say what was measured, and where."""

import json
import re
import shutil

import numpy as np
import pytest

from analysis import bo_evaluation
from analysis.bo_evaluation import write_nap_report
from analysis.evaluation import write_evaluation_report
from analysis.figure import Picture, make_figure
from tests.analysis.test_bo import figures_of, row, text_of, write_examination, write_json, write_model

START, HORIZON, TASKS = 0.25, 10, ("xgb/34", "xgb/34", "hpobench/kc1", "hpobench/kc1")
AREAS = {"random": 0.15, "tpe": 0.14, "tpe-5-startup": 0.13, "np-ei": 0.12}


def study_rows():
    """Returns an examination of samplers whose regrets begin at `START` after five trials."""
    rows = []
    for arm, area in AREAS.items():
        rows.append(row(arm, {"horizon": HORIZON}, "regret_auc", [area, area], first=5))
        rows.append(row(arm, {"evaluations": 5}, "regret", [START, START], first=5))
        rows.append(row(arm, {"evaluations": 10}, "regret", [area / 2, area / 2], first=5))
        rows.append(row(arm, {"horizon": HORIZON}, "num_improvements", [1.0, 1.5], first=5))
        rows.append(row(arm, {"after": 5}, "seconds_per_suggestion", [0.01, 0.03], median=area / 10))
    for minus in ("random", "tpe", "tpe-5-startup"):
        gain = AREAS["np-ei"] - AREAS[minus]
        rows.append(row("np-ei", {"minus": minus, "horizon": HORIZON}, "regret_auc_difference", [gain, gain]))
    return [one | {"env": "optuna"} for one in rows]


def write_study(file):
    write_json(file, {"schema": 1, "command": "metarl evaluate nap --suite optuna", "rows": study_rows()})
    arrays = {f"optuna/{arm}": np.linspace([START] * 4, [area / 2] * 4, 6, axis=1) for arm, area in AREAS.items()}
    np.savez(file.with_suffix(".npz"), **arrays, **{"optuna/tasks": np.array(TASKS)})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Returns the directory of the page of an evaluation in studies."""
    directory = tmp_path_factory.mktemp("study")
    write_study(directory / "nap.json")
    assert write_evaluation_report(directory / "nap.json") == directory / "nap.html"
    return directory


def test_an_evaluation_file_has_a_page_beside_it(tmp_path):
    write_examination(tmp_path / "nap.json", tmp_path / "nap.npz")
    assert write_evaluation_report(tmp_path / "nap.json") == tmp_path / "nap.html"
    page = text_of(tmp_path / "nap.html")
    assert "the interval excludes zero: NAP is better than GP-EI." in page and "metarl metabo" in page
    assert "by reinforcement learning to choose" in page
    assert figures_of(tmp_path / "nap.figures") == {"regret", "differences", "rank", "calibration"}


def test_the_page_of_studies_says_nothing_of_pools_and_expectations(study):
    page = text_of(study / "nap.html")
    assert "pool" not in page and "expectation" not in page and "left out" not in page
    assert "It proposes the trials of Optuna's studies of whole tables" in page and "reinforcement" not in page


def test_trials_are_counted_from_the_first_start_up_one_on(study):
    page = text_of(study / "nap.html")
    assert "after so many trials, the 5 start-up ones included; AUC is the mean over 5 to 10 of them" in page
    with np.load(study / "nap.figures/regret.npz") as numbers:
        np.testing.assert_array_equal(numbers["optuna/tpe/evaluations"], np.arange(5.0, 11.0))


def test_random_search_is_ranked_where_it_ran(study):
    with np.load(study / "nap.figures/rank.npz") as numbers:
        assert numbers["optuna/random/mean"][-1] == 4.0 and numbers["optuna/np-ei/mean"][-1] == 1.0


def test_the_model_is_compared_with_tpe_first(study):
    page = text_of(study / "nap.html")
    lead = page[page.index("Found.") : page.index("<h2>")]
    assert re.findall(r"minus that of (.*?) is", lead) == ["TPE", "TPE, 5 start-up trials"]
    assert "NP-EI is better than TPE." in lead


def test_the_table_has_no_bold_where_all_begin_and_tells_what_a_suggestion_takes(study):
    page = text_of(study / "nap.html")
    table = page[page.index("<table") : page.index("</table>")]
    assert re.findall(r"<strong>(.*?)</strong>", table) == ["0.0600", "0.1200"]
    shown = re.findall(r"</span>([A-Z][^<]*|random)</th>", table)
    assert shown == ["NP-EI", "TPE", "TPE, 5 start-up trials", "random"]
    assert re.findall(r">([\d.]+)</td><td[^>]*>([\d.]+)</td></tr>", table) == [
        ("1.25", "12.0"), ("1.25", "14.0"), ("1.25", "13.0"), ("1.25", "15.0"),
    ]  # fmt: skip


def small_picture(name):
    figure, axes = make_figure(height=1.0)
    axes[0, 0].plot([0.0, 1.0])
    return Picture(name, "A picture", "A caption.", figure, {"y": np.zeros(2)})


def test_a_model_has_a_page_of_the_evaluation_beside_it(tmp_path, monkeypatch):
    """Pictures for which the model is asked have tests of their own."""
    monkeypatch.setattr(bo_evaluation, "slice_pictures", lambda config, model: [small_picture("slices_1d")])
    write_model(tmp_path)
    directory = shutil.move(tmp_path / "export", tmp_path / "shipped")
    write_examination(directory / "evaluation.json", directory / "curves.npz")
    (directory / "curves.npz").unlink()
    before = {path.name for path in directory.iterdir()}
    assert write_nap_report(directory, tmp_path / "pages/one") == tmp_path / "pages/one/report.html"
    assert {path.name for path in directory.iterdir()} == before
    page = text_of(tmp_path / "pages/one/report.html")
    assert "<h1>shipped</h1>" in page and "NAP is better than GP-EI." in page and "Curves were not saved" in page
    assert "What the model thinks" in page and "The curve of training is not recorded." in page
    assert figures_of(tmp_path / "pages/one/figures") == {"differences", "calibration", "slices_1d"}


def test_a_model_that_was_not_examined_has_a_page_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(bo_evaluation, "slice_pictures", lambda config, model: [])
    write_model(tmp_path)
    record = json.loads((tmp_path / "export/nap.json").read_text())
    record["record"]["curve"] = {"step": [1, 2], "loss": [2.0, 1.0]}
    (tmp_path / "export/nap.json").write_text(json.dumps(record))
    page = text_of(write_nap_report(tmp_path / "export", tmp_path / "page"))
    assert "has not been examined" in page and "keeps means over equal blocks" in page
    with np.load(tmp_path / "page/figures/training.npz") as numbers:
        np.testing.assert_array_equal(numbers["loss"], [2.0, 1.0])
