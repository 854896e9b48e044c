"""`metarl metabo`, and what can be done with the neural process that it leaves."""

import json
import os
import shutil
import signal

import numpy as np
import pytest

from metarl.cli import main
from metarl.experiments.metabo_config import METABO_CONFIG_TYPES
from metarl.experiments.metabo_presets import METABO_PRESETS
from metarl.experiments.regret_rows import NAPFindings, paired_rows, regret_rows
from metarl.metabo.export import load_nap
from metarl.run.directory import load_run
from metarl.run.metrics import read_metrics

SMOKE = METABO_PRESETS["smoke"].config
ARMS = {"random", "gp-ei", "np-ei", "nap", "np-ei-pretrained"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a smoke run, made in this process."""
    root = tmp_path_factory.mktemp("metabo")
    words = ("metabo", "--preset", "smoke", "--runs", root, "--name", "smoke", "--quiet")
    assert main([str(word) for word in words]) == 0
    return root / "smoke"


@pytest.mark.slow
def test_everything_is_left_that_a_run_leaves(finished):
    run = load_run(finished, METABO_CONFIG_TYPES)
    assert run.config == SMOKE and run.status() == "done"
    metrics = read_metrics(run.metrics_file)
    assert [row["step"] for row in metrics] == [1, 2, 3, 4]
    assert metrics[-1]["env_steps_total"] == 2 * 2 * 2 * 4  # two iterations of the second phase alone
    assert len({frozenset(row) for row in metrics}) == 1
    best, pretrained = load_nap(finished / "export"), load_nap(finished / "export/pretrained")
    assert (best.head, pretrained.head) == ("acquisition", "ei")
    assert best.record["run"] == "smoke" and best.record["config"]["type"] == "MetaboConfig"
    assert best.settings == pretrained.settings == SMOKE.model.settings
    assert (finished / "report.html").stat().st_size > 5_000


@pytest.mark.slow
def test_the_examination_compares_every_arm_on_every_table(finished):
    content = json.loads((finished / "evaluation.json").read_text())
    assert content["command"].startswith("metarl metabo") and content["schema"] == 1
    rows = content["rows"]
    areas = {row["arm"]: row for row in rows if row["metric"] == "regret_auc"}
    assert set(areas) == ARMS and all(len(row["values"]) == 13 for row in areas.values())
    pairs = [(row["arm"], row["setting"]["minus"]) for row in rows if row["metric"] == "regret_auc_difference"]
    assert len(pairs) == len(set(pairs)) == 10
    assert {row["metric"] for row in rows if row["arm"] == "np"} == {"nll", "coverage"}
    with np.load(finished / "export/curves.npz") as curves:
        assert {name.removeprefix("xgb/") for name in curves.files} == ARMS | {"tasks"}
        assert all(curves[f"xgb/{arm}"].shape == (13, 4) for arm in ARMS)
        starts = np.stack([curves[f"xgb/{arm}"][:, 0] for arm in ARMS])
        np.testing.assert_allclose(starts, np.broadcast_to(starts[:1], starts.shape), rtol=1e-5)


@pytest.mark.slow
def test_a_finished_run_only_shows_its_results_again(finished, cli, tree):
    before = tree(finished)
    answer = cli("metabo", "--preset", "smoke", "--runs", finished.parent, "--name", "smoke")
    assert answer.code == 0, answer.err
    assert "xgb: mean regret" in answer.out and "nap - gp-ei" in answer.out
    assert str(finished / "report.html") in answer.out
    assert tree(finished) == before


@pytest.mark.slow
def test_what_a_run_lacks_is_made_again(finished, cli, tmp_path):
    """A run whose examination was lost trains nothing; the same numbers come out."""
    run = shutil.copytree(finished, tmp_path / "smoke")
    (run / "evaluation.json").unlink()
    answer = cli("metabo", "--preset", "smoke", "--runs", tmp_path, "--name", "smoke", "--quiet")
    assert answer.code == 0, answer.err
    rows = [json.loads((path / "evaluation.json").read_text())["rows"] for path in (finished, run)]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_a_run_with_another_configuration_is_refused(finished, refused):
    words = ("metabo", "--preset", "smoke", "--runs", finished.parent, "--name", "smoke", "--model.width", 32)
    refused(*words, mentions=["model.width: 16 on disk, 32 given"])


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_weights(finished, metarl, wait, tmp_path):
    start, finish = metarl
    words = ("metabo", "--preset", "smoke", "--runs", tmp_path, "--name", "smoke", "--quiet")
    process = start(*words, "--checkpoint-every", 1, cwd=tmp_path)
    wait((tmp_path / "smoke/checkpoints/1").exists, process)
    os.kill(process.pid, signal.SIGTERM)
    finish(process)
    answer = finish(start(*words, "--checkpoint-every", 1, cwd=tmp_path))
    assert answer.code == 0, answer.err
    weights = [(path / "export/nap.npz").read_bytes() for path in (finished, tmp_path / "smoke")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_run_is_evaluated_on_a_suite(finished, cli, tmp_path):
    out = tmp_path / "more.json"
    answer = cli("evaluate", finished, "--suite", "xgb", "--horizon", 3, "--seeds", 1, "--out", out)
    assert answer.code == 0, answer.err
    rows = json.loads(out.read_text())["rows"]
    assert {row["arm"] for row in rows} == {*ARMS, "np"} and {row["env"] for row in rows} == {"xgb"}
    assert "xgb: mean regret" in answer.out and f"numbers: {out}" in answer.out
    assert "H_8 − H_5 = 0.43" in out.with_suffix(".html").read_text()
    # The same suite with the same seed as at the end of the run.
    before = json.loads((finished / "evaluation.json").read_text())["rows"]
    areas = [{row["arm"]: row["values"] for row in found if row["metric"] == "regret_auc"} for found in (before, rows)]
    assert areas[0] == areas[1]
    with np.load(out.with_suffix(".npz")) as curves:
        assert curves["xgb/nap"].shape == (13, 4)


def test_an_evaluation_has_curves_and_a_page_beside_it(cli, tmp_path, monkeypatch):
    curves, tasks = {"random": np.full((2, 4), 0.5), "np-ei": np.full((2, 4), 0.25)}, ("a", "b")
    rows = [row for arm, curve in curves.items() for row in regret_rows("xgb", tasks, arm, curve)]
    found = NAPFindings(
        rows + paired_rows("xgb", tasks, curves),
        {"xgb/tasks": np.array(tasks)} | {f"xgb/{arm}": curve for arm, curve in curves.items()},
    )
    monkeypatch.setattr("metarl.experiments.examine_nap.examine", lambda *words, **options: found)
    answer = cli("evaluate", "nap", "--out", tmp_path / "one.json")
    assert answer.code == 0 and f"report:  {tmp_path / 'one.html'}" in answer.out, answer.err
    assert {path.name for path in tmp_path.iterdir()} == {"one.json", "one.npz", "one.html", "one.figures"}
    assert "the lowest mean AUC is 0.2500 (NP-EI)" in (tmp_path / "one.html").read_text()


def test_rules_on_predictions_are_asked_for_by_name(cli, refused, monkeypatch, tmp_path):
    """The model of the zoo has no learned acquisition: without a word it is examined by expected improvement alone."""
    from metarl.experiments import examine_nap

    asked = []
    monkeypatch.setattr(examine_nap, "_suites", lambda name, config, track: [])
    monkeypatch.setattr(examine_nap, "arms_of", lambda model, pretrained, heads: asked.append(heads) or {})
    monkeypatch.setattr("analysis.evaluation.write_evaluation_report", lambda file: file)  # there is nothing to show
    words = ("evaluate", "nap", "--out", tmp_path / "nap.json")
    for more in ((), ("--heads", "ei", "ucb", "thompson"), ("--heads", "ucb")):
        answer = cli(*words, *more)
        assert answer.code == 0, answer.err
    assert asked == [("ei",), ("ei", "ucb", "thompson"), ("ucb",)]
    unknown = cli(*words, "--heads", "pi")
    assert unknown.code == 2 and "--heads" in unknown.err and "'thompson'" in unknown.err
    refused(*words, "--heads", mentions=["scoring.heads is empty; give at least one, such as ei"])


@pytest.mark.slow
def test_bad_input_is_refused(finished, refused, tmp_path):
    refused("metabo", "--preset", "napp", mentions=["no preset 'napp'", "nap-cpu"])
    runs = ("--preset", "smoke", "--runs", tmp_path)
    refused("metabo", *runs, "--tasks.sources", "xgb", mentions=["no source of pools called 'xgb'", "xgb-bank"])
    refused("metabo", *runs, "--validation.tables", "xgb/34", mentions=["not of the split for validation"])
    refused("metabo", *runs, "--likelihood.updates", 3, mentions=["multiple of likelihood.updates_per_step"])
    refused("metabo", *runs, "--policy.horizon", 30, mentions=["policy.horizon is 30", "tasks.num_candidates = 24"])
    refused("metabo", *runs, "--devices", 3, mentions=["does not divide likelihood.batch_size = 4"])
    refused("metabo", *runs, "--devices", 0, mentions=["--devices is 0"])
    assert list(tmp_path.iterdir()) == []
    refused("evaluate", finished, "--horizon", 0, mentions=["scoring.horizon is 0"])
    refused("evaluate", finished, "--seeds", 0, mentions=["scoring.seeds is 0"])
    refused("evaluate", finished, "--seed", -1, mentions=["--seed is -1"])
    refused("evaluate", finished, "--out", tmp_path, mentions=["is a directory"])


@pytest.mark.slow
def test_a_run_without_a_model_says_so(finished, refused, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(finished / "config.json", tmp_path / "run")
    refused("evaluate", tmp_path / "run", mentions=["has not exported a model yet", "metarl metabo"])


@pytest.mark.slow
def test_the_report_is_written_again(finished, cli):
    (finished / "report.html").unlink()
    answer = cli("plot", finished)
    assert answer.code == 0 and answer.out == f"report: {finished / 'report.html'}\n", answer.err


@pytest.mark.slow
def test_help_of_the_evaluation_explains_every_option(finished, cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    answer = cli("evaluate", finished, "--help")
    assert answer.code == 0 and answer.err == ""
    shown = " ".join(answer.out.split())
    for words in (
        "--suite",
        "--horizon",
        "Evaluations after the five initial ones",
        "Starts, or studies, in each task",
        "--seed",
    ):
        assert words in shown
