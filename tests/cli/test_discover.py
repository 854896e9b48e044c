"""`metarl discover`: one command from nothing to a report, continued where it stopped, refused where it cannot be."""

import errno
import json
import os
import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
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
LONG = ("--generations", 200, "--checkpoint-every", 4, "--quiet")
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


# What a finished run holds


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
        assert row["env"] == SMOKE.family.env and row["low"] <= row["iqm"] <= row["high"]
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
    space = make_family(SMOKE.family.env).env.action_space()
    assert make_objective(rule.objective, space, **rule.settings).settings == make_discovery(SMOKE).objective.settings
    assert rule.record["run"] == "smoke" and rule.record["config"]["population"]["size"] == SMOKE.population.size


# Again, and after being stopped


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


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_stopped_by_a_signal_says_so_and_continues_as_if_nothing_had_happened(
    smoke, metarl, wait, cli, only_evolution, whole, tmp_path, signum, code
):
    start, finish = metarl
    process = start(*words(tmp_path, *LONG), cwd=tmp_path)
    wait(lambda: num_rows(tmp_path) >= 10, process)
    process.send_signal(signum)
    answer = finish(process)
    assert answer.code == code and "Traceback" not in answer.err
    assert answer.err.endswith("the same command continues it\n") and answer.out == ""
    assert (tmp_path / "smoke/STATUS").read_text() == "interrupted\n"
    assert 10 <= num_rows(tmp_path) < 200 and not (tmp_path / "smoke/export/rule.npz").exists()
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
    assert process.returncode == -signal.SIGKILL and num_rows(tmp_path) < 200
    assert cli(*words(tmp_path, *LONG)).code == 0
    assert ((tmp_path / "smoke/export/rule.npz").read_bytes(), rows(tmp_path)) == whole
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 201))
    assert (tmp_path / "smoke/STATUS").read_text() == "done\n"


# Bad input


@pytest.mark.parametrize(
    ("options", "mentions"),
    [
        (("--family.env", "gridworld/unheard-of"), ["'gridworld/unheard-of'", "did you mean"]),
        (("--family.env", "Pendulum-v1"), ["discrete action space", "Box"]),
        (("--population.size", 5), ["population.size is 5", "even"]),
        (("--population.size", 8, "--population.microbatch", 6), ["population.microbatch is 6", "divide", "8"]),
        (("--population.size", 16, "--population.microbatch", 8, "--devices", 4), ["microbatch is 8", "4 devices"]),
        (("--population.size", 6, "--devices", 2), ["population size 6", "2 devices", "multiple of 4"]),
        (("--devices", 1000), ["1000", f"{jax.device_count()} devices exist"]),
        (("--devices", 0), ["--devices is 0", "at least 1"]),
        (("--devices", -1), ["--devices is -1", "at least 1"]),
        (("--agent.num-minibatches", 3), ["agent.num_minibatches is 3", "divide"]),
        (("--agent.network", "mlp"), ["mlp", "tabular"]),
        (("--population.sigma", "nan"), ["population.sigma is nan", "positive"]),
        (("--population.sigma", 0.05), ["sigma is 0.05", "floor 0.1"]),
        (("--generations", 0), ["generations is 0", "from 1"]),
        (("--seed", -1), ["seed is -1", "[0, 2^32)"]),
        (("--family.lifetime", 5, 2), ["family.lifetime is 5 2", "shortest <= longest"]),
        (("--evaluation.horizons",), ["evaluation.horizons is ()", "at least one"]),
        (("--name", "../elsewhere"), ["'../elsewhere'", "letters"]),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_run_is_refused_and_leaves_no_run_behind(options, mentions, refused, tmp_path):
    refused(*words(tmp_path, *options), mentions=mentions)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [("--preset", "unheard-of"), ("--preset=unheard-of",), ("--preset",)])
def test_an_unknown_preset_is_refused_naming_the_known(option, refused):
    refused("discover", *option, mentions=PRESETS)


@pytest.mark.parametrize(
    ("options", "mention"),
    [
        (("--population.siz", "4"), "--population.siz"),
        (("--objective.encoding", "lunar"), "--objective.encoding"),
        (("--generations", "many"), "--generations"),
        (("stray",), "stray"),
    ],
)
def test_options_that_cannot_be_read_are_named(options, mention, cli, tmp_path):
    answer = cli(*words(tmp_path, *options))
    assert answer.code == 2 and mention in answer.err and "Traceback" not in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_another_config_is_refused_naming_the_fields_and_left_alone(smoke, refused, tree):
    before = tree(smoke.path)
    options = ("--objective.hidden-size", 8, "--seed", 3)
    mentions = ["objective.hidden_size: 4 on disk, 8 given", "seed: 0 on disk, 3 given", "another --name"]
    refused(*words(smoke.path.parent, *options), mentions=mentions)
    assert tree(smoke.path) == before


def test_a_directory_that_is_no_run_is_refused_and_left_alone(refused, tree, tmp_path):
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke/thesis.tex").write_text("precious")
    before = tree(tmp_path)
    refused(*words(tmp_path), mentions=[tmp_path / "smoke", "not a run", "another name"])
    assert tree(tmp_path) == before


def test_a_file_in_the_place_of_the_runs_is_refused_and_left_alone(refused, tmp_path):
    (tmp_path / "runs").write_text("precious")
    refused(*words(tmp_path / "runs"), mentions=[tmp_path / "runs"])
    assert (tmp_path / "runs").read_text() == "precious"


def flip_a_bit(folder):
    file = max(
        (file for file in folder.rglob("*") if file.is_file() and file.name != "manifest.json"), key=os.path.getsize
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(copy, smoke, cli, only_evolution, tmp_path):
    flip_a_bit(copy / "checkpoints/4")
    rule = (copy / "export/rule.npz").read_bytes()
    answer = cli(*words(tmp_path, "--quiet"))
    assert answer.code == 0 and "was changed; going on from step 2" in answer.err
    assert (copy / "export/rule.npz").read_bytes() == rule
    assert rows(tmp_path) == rows(smoke.path.parent)


def test_a_run_with_damaged_checkpoints_only_is_refused_and_left_alone(copy, refused, tree, tmp_path):
    for step in (2, 4):
        flip_a_bit(copy / f"checkpoints/{step}")
    before = tree(copy)
    refused(*words(tmp_path), mentions=["no checkpoint in", "was changed", "restore its files or start another run"])
    assert tree(copy) == before


def test_the_checkpoint_of_something_else_is_refused_and_left_alone(copy, refused, tree, tmp_path):
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").mkdir()
    checkpoint.save(copy / "checkpoints", 4, {"key": jnp.zeros(3)}, {"seed": 0, "env_steps_total": 0})
    before = tree(copy)
    refused(*words(tmp_path), mentions=["no checkpoint in", "float32[3]", "is needed"])
    assert tree(copy) == before


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 1}'])
def test_a_damaged_evaluation_is_named(smoke, refused, tmp_path, content):
    path = shutil.copytree(smoke.path, tmp_path / "smoke")
    (path / "evaluation.json").write_text(content)
    refused(*words(tmp_path), mentions=[path / "evaluation.json", "delete it"])
    assert (path / "evaluation.json").read_text() == content


# What ends a run


def test_a_generation_with_nothing_finite_ends_the_run_in_one_sentence(refused, monkeypatch, tmp_path):
    def make_lifetime(*arguments, **options):
        return lambda meta_params, task, key, bound: SimpleNamespace(fitness=jnp.float32(jnp.nan))

    monkeypatch.setattr("metarl.experiments.discover.make_lifetime", make_lifetime)
    for _ in range(2):  # the same command replays it
        refused(*words(tmp_path, "--quiet"), mentions=["step 1 ", "4 candidates and none was finite", "another config"])
        assert (tmp_path / "smoke/STATUS").read_text().startswith("failed: step 1 ")
        assert [row["fitness"] for row in rows(tmp_path)] == [None]
    assert not list((tmp_path / "smoke/export").iterdir())


def test_a_full_disk_after_evolution_is_told_in_one_sentence(copy, refused, monkeypatch, tree, tmp_path):
    def fill_up(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/evaluation.json")

    monkeypatch.setattr(command, "_examine", fill_up)
    before = tree(copy)
    refused(*words(tmp_path, "--quiet"), mentions=["/full/evaluation.json", "No space left on device"])
    assert tree(copy) == before


# Choices


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
    arguments = command.DiscoverArguments(SMOKE, "smoke", devices=devices)
    _, mesh = command._build(arguments)
    assert (1 if mesh is None else mesh.size) == used
