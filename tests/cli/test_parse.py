"""Words as a dataclass: what a configuration refuses comes through as it was said, and the rest is left to tyro."""

from dataclasses import dataclass, field

import pytest

from metarl.cli.parse import parse
from metarl.experiments.config import AgentConfig, ConfigError, FamilyConfig


@dataclass(frozen=True)
class Arguments:
    """Example."""

    agent: AgentConfig = field(default_factory=AgentConfig)
    """A nested one."""
    family: FamilyConfig = field(default_factory=FamilyConfig)
    """Another."""
    count: int = 3
    """A number."""


@dataclass(frozen=True)
class Checked:
    """Example whose own check fails."""

    count: int = 3
    """A number."""

    def __post_init__(self):
        if self.count < 0:
            raise ConfigError("count is below 0; raise it")


def test_words_override_the_default_and_the_default_the_class():
    default = Arguments(count=5)
    assert parse(Arguments, [], prog="x") == Arguments()
    assert parse(Arguments, ["--agent.num-envs", "4"], prog="x", default=default) == Arguments(
        agent=AgentConfig(num_envs=4), count=5
    )


@pytest.mark.parametrize(
    ("kind", "words", "sentence"),
    [
        (Arguments, ["--agent.num-envs", "0"], "agent.num_envs is 0; it must be from 1 to 2147483647"),
        (Arguments, ["--family.lifetime", "3", "2"], "family.lifetime is 3 2; it must satisfy"),
        (Checked, ["--count", "-1"], "count is below 0; raise it"),
    ],
)
def test_a_refusal_is_raised_as_it_was_said(capsys, kind, words, sentence):
    with pytest.raises(ConfigError) as refusal:
        parse(kind, words, prog="x")
    assert str(refusal.value).startswith(sentence)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "mention"), [(["--cuont", "4"], "--cuont"), (["--count", "four"], "--count"), (["--count"], "--count")]
)
def test_words_that_cannot_be_read_are_explained_with_code_2(capsys, words, mention):
    with pytest.raises(SystemExit) as stop:
        parse(Arguments, words, prog="x")
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == "" and mention in err


def test_help_goes_to_standard_output(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Arguments, ["--help"], prog="x")
    out, err = capsys.readouterr()
    assert not stop.value.code and "--count" in out and err == ""


def test_an_earlier_error_that_was_dealt_with_is_not_taken_for_the_cause(capsys):
    try:
        raise ConfigError("earlier")
    except ConfigError:
        pass
    with pytest.raises(SystemExit):
        parse(Arguments, ["--cuont", "4"], prog="x")
