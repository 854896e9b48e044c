"""`metarl discover`: one command from nothing to a report, and again from wherever it stopped."""

import json
import shutil
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest

from analysis.load import load_run as load_for_report
from envs.registry import make_family
from metarl.cli import discover as command
from metarl.experiments.config import CONFIG_TYPES
from metarl.experiments.discover import make_discovery
from metarl.experiments.presets import PRESETS
from metarl.objectives.export import load_rule
from metarl.objectives.registry import make_objective
from metarl.run import checkpoint
from metarl.run.directory import load_run
from metarl.run.metrics import read_metrics

SMOKE = PRESETS["smoke"].config
LONG = ("--generations", 100, "--checkpoint-every", 10, "--quiet")
"""Options that make of the smoke preset a run long enough to be stopped in the middle, by the same compiled program."""


def words(runs, *options, name="smoke"):
    return ("discover", "--preset", "smoke", "--runs", runs, "--name", name, *options)


@pytest.fixture
def copy(smoke, tmp_path):
    """A copy of the finished run, below `tmp_path`, that the command still has something to do for."""
    path = shutil.copytree(smoke.path, tmp_path / "smoke")
    (path / "report.html").unlink()
    return path


@pytest.fixture
def only_evolution(monkeypatch):
    """Leaves out what follows evolution."""
    monkeypatch.setattr(command, "_examine", lambda *arguments: None)
    monkeypatch.setattr(command, "_show", lambda directory: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The rule and the metrics of the long run, left alone."""
    from metarl.cli import main

    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "_examine", lambda *arguments: None)
        patch.setattr(command, "_show", lambda directory: None)
        assert main([str(word) for word in words(root, *LONG)]) == 0
    return (root / "smoke/export/rule.npz").read_bytes(), rows(root)


def rows(runs):
    clocks = ("wall_s", "cpu_s")
    return [{k: v for k, v in row.items() if k not in clocks} for row in read_metrics(runs / "smoke/metrics.jsonl")]


def num_rows(runs):
    file = runs / "smoke/metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_one_command_goes_from_nothing_to_a_table_and_a_report(smoke):
    run = load_for_report(smoke.path)
    assert run.absent == () and run.status == "done"
    assert load_run(smoke.path, CONFIG_TYPES).config == SMOKE
    for arm in ("initial", "discovered", "a2c"):
        assert arm in smoke.out
    for path in (smoke.path / "evaluation.json", smoke.path / "export", smoke.path / "report.html"):
        assert path.exists() and str(path) in smoke.out
    assert "generation 4/4" in smoke.err and "Traceback" not in smoke.err


def test_metrics_have_each_generation_once_and_the_promised_names(smoke):
    metrics = rows(smoke.path.parent)
    assert [row["step"] for row in metrics] == [1, 2, 3, 4]
    names = {"fitness", "fitness_std", "fitness_best", "tied_pairs", "mean_norm", "move_norm", "env_steps"}
    assert all(names | {"num_nonfinite", "num_evaluated", "env_steps_total"} <= set(row) for row in metrics)
    assert metrics[-1]["env_steps_total"] == sum(row["env_steps"] for row in metrics)


def test_the_evaluation_has_every_arm_at_every_horizon_and_says_where_it_comes_from(smoke):
    content = json.loads((smoke.path / "evaluation.json").read_text())
    assert content["schema"] == 1 and content["command"] == "metarl discover --preset smoke"
    assert isinstance(content["device"], str) and "commit" in content
    found = {(row["arm"], row["setting"]["horizon"], row["metric"]) for row in content["rows"]}
    expected = {(arm, horizon) for arm in ("initial", "discovered", "a2c") for horizon in SMOKE.evaluation.horizons}
    assert {key[:2] for key in found} == expected and {key[2] for key in found} <= {"return", "normalised_return"}
    for row in content["rows"]:
        assert row["env"] == SMOKE.family.env[0] and row["low"] <= row["iqm"] <= row["high"]
        assert (
            len(row["values"]) + row.get("num_excluded", 0) * (row["metric"] != "return") == SMOKE.evaluation.num_tasks
        )


def test_the_recorded_lives_are_read_by_the_report(smoke):
    run = load_for_report(smoke.path)
    assert set(run.lives) == {"initial", "discovered", "a2c"}
    assert {tuple(horizons) for horizons in run.lives.values()} == {SMOKE.evaluation.recorded_horizons}
    np.testing.assert_array_equal(run.probe["lifetimes"], SMOKE.evaluation.horizons)


def test_the_exported_rule_is_the_final_mean_and_not_the_initial_one(smoke):
    experiment = make_discovery(SMOKE).experiment
    template = jax.eval_shape(experiment.init, jax.random.key(0))
    restored = checkpoint.restore(smoke.path / "checkpoints", template)
    mean, rule = experiment.export(restored.state), load_rule(smoke.path / "export")
    assert restored.step == SMOKE.generations
    jax.tree.map(np.testing.assert_array_equal, rule.meta_params, jax.device_get(mean))
    assert any(np.any(leaf != 0.0) for leaf in jax.tree.leaves(rule.meta_params))  # evolution starts from zeros


def test_the_exported_rule_rebuilds_the_objective_and_says_how_it_came_to_be(smoke):
    rule = load_rule(smoke.path / "export")
    space = make_family(SMOKE.family.env[0]).env.action_space()
    assert make_objective(rule.objective, space, **rule.settings).settings == make_discovery(SMOKE).objective.settings
    assert rule.record["run"] == "smoke" and rule.record["config"]["population"]["size"] == SMOKE.population.size


def test_the_same_command_again_prints_the_same_and_changes_nothing(smoke, cli, tree, monkeypatch):
    monkeypatch.setattr(command, "_build", lambda arguments: pytest.fail("a finished run was built again"))
    before = tree(smoke.path)
    answer = cli(*words(smoke.path.parent))
    assert answer.code == 0 and answer.err == ""
    tables = smoke.out.split("numbers:")[0]
    assert "horizon" in tables and answer.out.startswith(tables)
    assert tree(smoke.path) == before


def test_a_missing_report_is_made_again_from_the_numbers_that_are_there(copy, cli, tree, monkeypatch, tmp_path):
    monkeypatch.setattr("analysis.report.write_report", lambda path: (path / "report.html").write_text("again"))
    before = tree(copy)
    assert cli(*words(tmp_path)).code == 0
    assert tree(copy).items() ^ before.items() == {("report.html", tree(copy)["report.html"])}


def test_a_run_stopped_by_ctrl_c_says_so_and_continues_as_if_nothing_had_happened(
    smoke, metarl, wait, cli, only_evolution, whole, tmp_path
):
    start, finish = metarl
    process = start(*words(tmp_path, *LONG), cwd=tmp_path)
    wait(lambda: num_rows(tmp_path) >= 10, process)
    process.send_signal(signal.SIGINT)
    answer = finish(process)
    assert answer.code == 130 and "Traceback" not in answer.err
    assert answer.err.endswith("the same command continues it\n") and answer.out == ""
    assert (tmp_path / "smoke/STATUS").read_text() == "interrupted\n"
    assert 10 <= num_rows(tmp_path) < 100 and not (tmp_path / "smoke/export/rule.npz").exists()
    assert cli(*words(tmp_path, *LONG)).code == 0
    assert ((tmp_path / "smoke/export/rule.npz").read_bytes(), rows(tmp_path)) == whole


def test_a_run_killed_in_the_middle_continues_as_if_nothing_had_happened(
    smoke, metarl, wait, cli, only_evolution, whole, tmp_path
):
    start, _ = metarl
    process = start(*words(tmp_path, *LONG), cwd=tmp_path)
    wait(lambda: num_rows(tmp_path) >= 30, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and num_rows(tmp_path) < 100
    assert cli(*words(tmp_path, *LONG)).code == 0
    assert ((tmp_path / "smoke/export/rule.npz").read_bytes(), rows(tmp_path)) == whole
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 101))
    assert (tmp_path / "smoke/STATUS").read_text() == "done\n"


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(copy, smoke, cli, only_evolution, tmp_path):
    (copy / "checkpoints/4/manifest.json").write_text("{")
    rule = (copy / "export/rule.npz").read_bytes()
    answer = cli(*words(tmp_path, "--quiet"))
    assert answer.code == 0 and "going on from step 2" in answer.err
    assert (copy / "export/rule.npz").read_bytes() == rule
    assert rows(tmp_path) == rows(smoke.path.parent)


def test_the_last_preset_named_sets_the_defaults_and_options_override_it(monkeypatch, cli, tmp_path):
    seen = []

    def build(arguments):
        seen.append(arguments)
        raise ValueError("enough")

    monkeypatch.setattr(command, "_build", build)
    cli("discover", "--preset", "smoke", "--seed", 7, "--agent.hidden", 3, 2, "--runs", tmp_path)
    cli("discover", "--preset", "smoke", "--preset=lpg-cpu", "--objective.no-temporal", "--runs", tmp_path)
    cli("discover", "--runs", tmp_path)
    assert seen[0].config == replace(SMOKE, seed=7, agent=replace(SMOKE.agent, hidden=(3, 2)))
    assert [each.config for each in seen[1:]] == [PRESETS["lpg-cpu"].config, PRESETS["ta-lpg-cpu"].config]


@pytest.mark.parametrize(("devices", "used"), [(None, 2), (1, 1), (2, 2)])
def test_as_many_devices_are_used_as_asked_for_or_as_divide_the_population(devices, used):
    arguments = command.DiscoverArguments(config=SMOKE, preset="smoke", devices=devices)
    _, mesh = command._build(arguments)
    assert (1 if mesh is None else mesh.size) == used
