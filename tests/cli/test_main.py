"""The command line as a whole: what it says about itself, and what its exit codes mean."""

import ast
import errno
import re
import signal
from pathlib import Path

import pytest

import metarl.cli
from metarl.cli import COMMANDS, main
from metarl.run.errors import Interrupted

ROOT = Path(__file__).parents[2]
RUN, SPREAD_RUN = (f"metarl/cli/run_arguments.py#{name}" for name in ("RunArguments", "SpreadRunArguments"))
DISCOVER = (RUN, "metarl/cli/discover.py", "metarl/experiments/config.py", "metarl/experiments/agent_config.py")
PRETRAIN = (
    RUN,
    SPREAD_RUN,
    "metarl/cli/pretrain.py",
    "metarl/experiments/pretrain_config.py",
    "metarl/experiments/pretrain_learners.py",
)
TEACH = (RUN, "metarl/cli/teach.py", "metarl/experiments/teach_config.py", "metarl/experiments/agent_config.py")
METABO = (
    RUN,
    SPREAD_RUN,
    "metarl/cli/metabo.py",
    "metarl/experiments/metabo_config.py",
    "metarl/experiments/metabo_phases.py",
)
EVALUATE = ("metarl/cli/evaluate.py",)


def squeezed(text):
    """The text without what a box of some width adds to it."""
    return re.sub(r"[\s│╭╮╰╯─|+-]", "", text)


def documented(file):
    """Returns {field: documentation} of the dataclasses in a file, or of the one that is named after it."""
    fields, (path, _, name) = {}, file.partition("#")
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.ClassDef) and node.decorator_list and name in ("", node.name):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                    fields[field.target.id] = ast.literal_eval(after.value)
    return fields


def raising(error):
    def run(command, words):
        raise error

    return run


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_help_names_every_command_and_its_purpose(cli, words):
    answer = cli(*words)
    assert answer.code == 0 and answer.err == ""
    assert all(name in answer.out and purpose in answer.out for name, purpose in COMMANDS.items())


@pytest.mark.parametrize(
    ("command", "presets", "files"),
    [
        ("discover", [(), ("--preset", "ta-lpo-cpu")], DISCOVER),  # the fields of a rule are those of its kind
        (
            "pretrain",
            [(), ("--preset", "ad-darkroom"), ("--preset", "rl2-darkroom"), ("--learner.reward-temperature", "1.0")],
            PRETRAIN,
        ),
        ("teach", [(), ("--preset", "alp-gmm-pendulum-cpu"), ("--preset", "pendulum-sac-cpu")], TEACH),
        ("metabo", [()], METABO),
        ("evaluate", [()], EVALUATE),
        ("plot", [()], ()),
    ],
)
def test_help_of_a_command_explains_every_field(cli, command, presets, files, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    answers = [cli(command, *preset, "--help") for preset in presets]
    assert all(answer.code == 0 and answer.err == "" for answer in answers)
    shown = "".join(answer.out for answer in answers)
    fields = {name: words for file in files for name, words in documented(file).items()}
    assert len(fields) >= (30 if command == "discover" else 0)
    for name, words in fields.items():
        assert name.strip("_").replace("_", "-") in shown or name in ("rule", "run"), name
        assert squeezed(words) in squeezed(shown), name


def test_units_are_told(cli):
    text = " ".join(cli("discover", "--help").out.split())
    assert "agent updates" in text and "Environment steps" in text and "Generations" in text


def test_an_unknown_command_is_refused_naming_the_known(refused):
    refused("dicsover", mentions=["'dicsover'", *COMMANDS])


def test_a_process_ends_with_the_code_and_one_line(metarl, tmp_path):
    start, finish = metarl
    answer = finish(start("discover", "--preset", "unheard-of", cwd=tmp_path))
    assert answer.code == 2 and answer.out == ""
    assert answer.err.startswith("metarl: error: there is no preset 'unheard-of'") and answer.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Interrupted(signal.SIGTERM, "stopped; the same command continues it"), 143, "the same command continues it"),
        (Interrupted(signal.SIGINT, "stopped; the same command continues it"), 130, "the same command continues it"),
        (KeyboardInterrupt(), 130, "stopped"),
        (ValueError("sizes do not fit"), 2, "metarl: error: sizes do not fit"),
        (OSError(errno.ENOSPC, "No space left on device", "/full/x"), 2, "/full/x: No space left on device"),
        (SystemExit(2), 2, ""),
        (SystemExit(), 0, ""),
    ],
)
def test_whatever_ends_a_command_becomes_an_exit_code_and_a_line(cli, monkeypatch, error, code, words):
    monkeypatch.delenv("METARL_TRACEBACK", raising=False)
    monkeypatch.setattr(metarl.cli, "_run", raising(error))
    answer = cli("discover")
    assert (answer.code, answer.out) == (code, "")
    assert words in answer.err and answer.err.count("\n") == bool(words)


def test_a_fault_of_ours_is_not_dressed_up_as_bad_input(monkeypatch):
    monkeypatch.setattr(metarl.cli, "_run", raising(TypeError("a fault")))
    with pytest.raises(TypeError, match="a fault"):
        main(["discover"])


def test_a_traceback_can_be_asked_for(monkeypatch):
    monkeypatch.setattr(metarl.cli, "_run", raising(ValueError("sizes do not fit")))
    monkeypatch.setenv("METARL_TRACEBACK", "1")
    with pytest.raises(ValueError, match="sizes do not fit"):
        main(["discover"])
