"""What `metarl discover` refuses: one sentence, exit code 2, and nothing on disk made, changed or lost."""

import errno
import os
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from metarl.cli import discover as command
from metarl.experiments.presets import PRESETS
from metarl.run import checkpoint
from metarl.run.metrics import read_metrics


def words(runs, *options):
    return ("discover", "--preset", "smoke", "--runs", runs, "--name", "smoke", *options)


@pytest.fixture
def copy(smoke, tmp_path):
    """A copy of the finished run, below `tmp_path`, that the command still has something to do for."""
    path = shutil.copytree(smoke.path, tmp_path / "smoke")
    (path / "report.html").unlink()
    return path


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
        (("--teacher", "alp"), ["no teacher called 'alp'", "did you mean alp-gmm"]),
        (("--teacher", "plr", "--family.env", "probe/constant_reward"), ["one task only", "nothing to teach"]),
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


def test_a_generation_with_nothing_finite_ends_the_run_in_one_sentence(refused, monkeypatch, tmp_path):
    def make_lifetime(*arguments, **options):
        return lambda meta_params, task, key, bound: SimpleNamespace(fitness=jnp.float32(jnp.nan))

    monkeypatch.setattr("metarl.experiments.discover.make_lifetime", make_lifetime)
    for _ in range(2):  # the same command replays it
        refused(*words(tmp_path, "--quiet"), mentions=["step 1 ", "4 candidates and none was finite", "another config"])
        assert (tmp_path / "smoke/STATUS").read_text().startswith("failed: step 1 ")
        assert [row["fitness"] for row in read_metrics(tmp_path / "smoke/metrics.jsonl")] == [None]
    assert not list((tmp_path / "smoke/export").iterdir())


def test_a_full_disk_after_evolution_is_told_in_one_sentence(copy, refused, monkeypatch, tree, tmp_path):
    def fill_up(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/evaluation.json")

    monkeypatch.setattr(command, "_examine", fill_up)
    before = tree(copy)
    refused(*words(tmp_path, "--quiet"), mentions=["/full/evaluation.json", "No space left on device"])
    assert tree(copy) == before
