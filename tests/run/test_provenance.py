import dataclasses
import datetime
import importlib.metadata
import json
import subprocess
import sys

import jax
import pytest

from metarl.run.directory import open_run
from metarl.run.errors import UserError
from metarl.run.provenance import describe_git, describe_session, read_sessions, record_session


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 1


@pytest.fixture
def run(tmp_path):
    with open_run(tmp_path, "a", Config(), (Config,)) as run:
        yield run


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    result = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, text=True, check=True)
    return result.stdout.strip()


@pytest.fixture
def tree(tmp_path):
    """Returns a folder whose file `code.py` is committed."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "code.py").write_text("x = 1\n")
    (folder / ".gitignore").write_text("ignored\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_a_session_says_what_ran_on_what():
    session = describe_session()
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(session["started"])
    assert datetime.timedelta(0) <= age + datetime.timedelta(seconds=1) < datetime.timedelta(minutes=1)
    assert session["argv"] == sys.argv
    assert session["packages"]["jax"] == importlib.metadata.version("jax")
    assert sum(session["devices"].values()) == jax.device_count()
    assert session["num_processes"] == 1
    assert json.loads(json.dumps(session)) == session


def test_every_session_appends_one_entry(run):
    assert read_sessions(run) == []
    record_session(run, step=0)
    record_session(run, step=50)
    sessions = read_sessions(run)
    assert [session["first_step"] for session in sessions] == [0, 50]
    assert json.loads(run.provenance_file.read_text()) == {"schema": 1, "sessions": sessions}


def test_a_clean_tree_has_its_commit(tree):
    assert describe_git(tree / "code.py") == {"commit": git(tree, "rev-parse", "HEAD"), "dirty": False}
    (tree / "ignored").write_text("x")
    assert not describe_git(tree / "code.py")["dirty"]


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_a_changed_or_new_file_makes_the_tree_dirty(tree, name):
    (tree / name).write_text("x = 2\n")
    assert describe_git(tree / "code.py")["dirty"]


def test_code_outside_a_tree_or_not_tracked_by_it_has_no_commit(tree, tmp_path):
    (tmp_path / "plain.py").write_text("x = 1\n")
    (tree / "ignored").mkdir()
    (tree / "ignored/installed.py").write_text("x = 1\n")
    assert describe_git(tmp_path / "plain.py") is None
    assert describe_git(tree / "ignored/installed.py") is None


def test_a_machine_without_git_has_no_commit(tree, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert describe_git(tree / "code.py") is None


@pytest.mark.parametrize("content", ["", "[]", '{"sessions": 1}'])
def test_a_file_that_is_something_else_is_kept_and_named(run, content):
    run.provenance_file.write_text(content)
    with pytest.raises(UserError, match="provenance.json is not a provenance file"):
        record_session(run, step=0)
    assert run.provenance_file.read_text() == content
