"""`metarl pretrain`, and what can be done with the model that it leaves."""

import json
import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

from metarl import zoo
from metarl.cli import main
from metarl.cli.zoo import pack
from metarl.experiments.findings import Findings
from metarl.experiments.pretrain_config import PRETRAIN_CONFIG_TYPES
from metarl.experiments.pretrain_presets import PRETRAIN_PRESETS
from metarl.incontext.export import load_model
from metarl.run.directory import load_run
from metarl.run.metrics import read_metrics

SMOKE = PRETRAIN_PRESETS["smoke"].config
FEW = ("--acting.num-tasks", 16)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The directory of a smoke run, made in this process."""
    root = tmp_path_factory.mktemp("pretrained")
    words = ("pretrain", "--preset", "smoke", "--runs", root, "--name", "smoke", "--quiet", *FEW)
    assert main([str(word) for word in words]) == 0
    return root / "smoke"


def test_everything_is_left_that_a_run_leaves(finished):
    run = load_run(finished, PRETRAIN_CONFIG_TYPES)
    assert run.config == replace(SMOKE, acting=replace(SMOKE.acting, num_tasks=16)) and run.status() == "done"
    metrics = read_metrics(run.metrics_file)
    assert [row["step"] for row in metrics] == [1, 2, 3, 4, 5]
    assert metrics[-1]["env_steps_total"] == 50 * 16 * 20
    content = json.loads((finished / "evaluation.json").read_text())
    assert {"dpt", "dpt-greedy", "emp", "posterior"} <= {row["arm"] for row in content["rows"]}
    assert content["command"].startswith("metarl pretrain") and content["schema"] == 1
    assert (finished / "report.html").stat().st_size > 10_000
    with np.load(finished / "export/curves.npz") as curves:
        assert curves["online/stepwise/dpt/mean"].shape == (20,)
    record = load_model(finished / "export").record
    assert record["run"] == "smoke" and record["config"]["type"] == "PretrainConfig"


def test_a_finished_run_only_shows_its_results_again(finished, cli, tree):
    before = tree(finished)
    answer = cli("pretrain", "--preset", "smoke", "--runs", finished.parent, "--name", "smoke", *FEW)
    assert answer.code == 0 and "regret by horizon" in answer.out and str(finished / "report.html") in answer.out
    assert tree(finished) == before


def test_a_run_with_another_configuration_is_refused(finished, refused):
    words = ("pretrain", "--preset", "smoke", "--runs", finished.parent, "--name", "smoke", "--model.width", 32, *FEW)
    refused(*words, mentions=["model.width: 16 on disk, 32 given"])


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_weights(finished, metarl, wait, tmp_path):
    start, finish = metarl
    words = ("pretrain", "--preset", "smoke", "--runs", tmp_path, "--name", "smoke", "--quiet", *FEW)
    process = start(*words, cwd=tmp_path)
    wait((tmp_path / "smoke/checkpoints/2").exists, process)
    os.kill(process.pid, signal.SIGTERM)
    finish(process)
    answer = finish(start(*words, cwd=tmp_path))
    assert answer.code == 0, answer.err
    weights = [(path / "export/model.npz").read_bytes() for path in (finished, tmp_path / "smoke")]
    assert weights[0] == weights[1]


def test_a_model_is_evaluated_where_arms_are_fewer_and_noise_is_other(finished, cli, tmp_path):
    out = tmp_path / "few.json"
    words = ("--env", "bandit@num_arms=3,noise=0.5,horizon=12,quadrature=51", "--mode", "online", "--tasks", 8)
    answer = cli("evaluate", finished, *words, "--baseline", "emp", "--rival", finished, "--out", out)
    assert answer.code == 0, answer.err
    rows = json.loads(out.read_text())["rows"]
    assert {row["arm"] for row in rows} == {"dpt", "dpt-greedy", "smoke", "smoke-greedy", "emp"}
    assert {row["setting"]["horizon"] for row in rows} == {10, 12} and {row["metric"] for row in rows} == {"regret"}
    same = [[row["mean"] for row in rows if row["arm"] == arm] for arm in ("dpt", "smoke")]
    assert same[0] == same[1]
    assert out.with_suffix(".npz").is_file() and f"report:  {out.with_suffix('.html')}" in answer.out
    page = out.with_suffix(".html").read_text()
    assert "after 12 pulls" in page and "Cumulative regret" in page and "Curves were not saved" not in page


def test_how_models_are_examined_is_said_on_the_command_line(finished, cli, tmp_path, monkeypatch):
    told = []

    def examine(contestants, domain, config, **options):
        told.append((options["acts_greedily"], options["contexts"]))
        return Findings([], {})

    monkeypatch.setattr("metarl.experiments.examine_model.examine_models", examine)
    monkeypatch.setattr("analysis.evaluation.write_evaluation_report", lambda file: file)
    for words in ((), ("--greedy", "--contexts", "behaviour", "expert")):
        assert cli("evaluate", finished, *words, "--out", tmp_path / "found.json").code == 0
    assert told == [(False, ("behaviour",)), (True, ("behaviour", "expert"))]


def test_bad_input_is_refused(finished, refused, tmp_path):
    refused("evaluate", finished, "--env", "darkroom", mentions=["was trained on bandit", "darkroom"])
    refused("evaluate", finished, "--env", "bandid", mentions=["no in-context domain", "did you mean bandit"])
    refused("evaluate", finished, "--baseline", "luck", mentions=["no baseline 'luck'"])
    refused("evaluate", finished, "--tasks", 0, mentions=["acting.num_tasks is 0"])
    refused("evaluate", finished, "--contexts", "--mode", "offline", mentions=["contexts is empty"])
    refused("evaluate", finished, "--out", tmp_path, mentions=["is a directory"])
    refused("pretrain", "--preset", "dpt", mentions=["no preset 'dpt'", "dpt-bandit-cpu"])
    refused("pretrain", "--env", "bandit@arms=3", "--runs", tmp_path, mentions=["arms=3", "num_arms"])
    refused("pretrain", "--updates", 7, mentions=["multiple of updates_per_step"])
    refused("pretrain", "--model.reads-positions", "--runs", tmp_path, mentions=["causal attention"])
    refused("pretrain", "--devices", 3, "--runs", tmp_path, mentions=["does not divide training.batch_size"])
    assert not list(tmp_path.glob("dpt*"))


def test_the_report_is_written_again(finished, cli):
    (finished / "report.html").unlink()
    answer = cli("plot", finished)
    assert answer.code == 0 and answer.out == f"report: {finished / 'report.html'}\n", answer.err


def test_a_run_without_a_model_says_so(finished, refused, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(finished / "config.json", tmp_path / "run")
    refused("evaluate", tmp_path / "run", mentions=["has not exported a model yet"])


def test_a_finished_run_becomes_an_entry_of_the_zoo(finished, cli, tmp_path, monkeypatch):
    pack(finished, tmp_path / "tiny")
    monkeypatch.setattr(zoo, "DIRECTORY", tmp_path)
    assert zoo.model_names() == ["tiny"]
    assert "tiny" in cli("zoo", "list").out
    shown = cli("zoo", "show", "tiny").out
    assert "decision-pretrained on bandit@horizon=20" in shown and "regret by horizon" in shown
    model = zoo.load_pretrained("tiny")
    assert model.kind == "dpt" and len(model.record["curve"]["loss"]) == 5
