import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metarl.run.directory import load_run, open_run, write_atomic
from metarl.run.errors import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 64
    name: str = "x"


TYPES = (Config,)


def contents(path):
    """Returns a hash of every file below the path, and the folders."""
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else None for p in Path(path).rglob("*")}


@pytest.fixture
def started(tmp_path):
    """Returns the root of a run `a` that has some metrics."""
    with open_run(tmp_path, "a", Config(), TYPES) as run:
        run.metrics_file.write_text('{"step": 1}\n')
        run.set_status("running")
    return tmp_path


def test_a_new_run_has_its_config_and_folders(tmp_path):
    with open_run(tmp_path / "runs", "try1", Config(32), TYPES) as run:
        assert run.path == tmp_path / "runs/try1" and run.name == "try1"
        assert json.loads(run.config_file.read_text()) == {"type": "Config", "size": 32, "name": "x"}
        assert run.checkpoints.is_dir() and run.export.is_dir()
        assert run.status() is None


def test_equal_config_continues_the_run_and_keeps_all_files(started):
    before = contents(started)
    with open_run(started, "a", Config(), TYPES) as run:
        assert run.status() == "running"
    after = contents(started)
    assert {p: h for p, h in after.items() if p.name != ".lock"} == {
        p: h for p, h in before.items() if p.name != ".lock"
    }


def test_a_run_from_before_a_field_existed_continues_with_its_default(started):
    file = started / "a/config.json"
    file.write_text(json.dumps({"type": "Config", "size": 64}))
    with pytest.raises(UserError, match="name: 'x' on disk, 'y' given"):
        open_run(started, "a", Config(name="y"), TYPES)
    with open_run(started, "a", Config(), TYPES) as run:
        assert run.config == Config()
    assert load_run(started / "a", TYPES).config == Config()


def test_other_config_is_refused_by_field_and_touches_nothing(started):
    before = contents(started)
    with pytest.raises(UserError, match="size: 64 on disk, 32 given; name: 'x' on disk, 'y' given.*--name, or delete"):
        open_run(started, "a", Config(32, "y"), TYPES)
    assert contents(started) == before


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/a", "a\\b", ".hidden", "-n", "a b", "a\n", "é", "a" * 101, "a\0"]
)
def test_what_is_not_a_plain_folder_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="cannot be named"):
        open_run(tmp_path, name, Config(), TYPES)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_a_run_is_refused_and_untouched(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_text("x")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="photos exists but is not a run"):
        open_run(tmp_path, "photos", Config(), TYPES)
    assert contents(tmp_path) == before


def test_a_file_in_place_of_a_run_is_refused(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(UserError, match="is not a directory"):
        open_run(tmp_path, "a", Config(), TYPES)
    assert (tmp_path / "a").read_text() == "x"


def test_a_root_that_is_a_file_is_a_user_error(tmp_path):
    (tmp_path / "runs").write_text("x")
    with pytest.raises(UserError, match="cannot write .*runs"):
        open_run(tmp_path / "runs", "a", Config(), TYPES)


def test_what_a_process_killed_at_the_beginning_leaves_is_taken_over(tmp_path):
    (tmp_path / "a/checkpoints").mkdir(parents=True)
    (tmp_path / "a/.lock").write_text("1\n")
    (tmp_path / "a/.config.json.1.tmp").write_text('{"ty')
    with open_run(tmp_path, "a", Config(), TYPES) as run:
        assert load_run(run.path, TYPES).config == Config()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_config_file_that_is_not_json_is_a_user_error(started, content):
    (started / "a/config.json").write_bytes(content)
    with pytest.raises(UserError, match="config.json is not JSON"):
        open_run(started, "a", Config(), TYPES)


def test_a_config_that_cannot_be_stored_leaves_no_directory(tmp_path):
    with pytest.raises(UserError, match="config.size"):
        open_run(tmp_path, "a", Config(size=[1]), TYPES)
    with pytest.raises(UserError, match="unknown type"):
        open_run(tmp_path, "a", Config(), ())
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_open_in_one_process_at_a_time(started):
    script = (
        "import sys, fcntl, os, time; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX);"
        "f.write(f'{os.getpid()}\\n'); f.flush(); print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, started / "a/.lock"], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(UserError, match=f"{started}/a is in use by process {other.pid}"):
            open_run(started, "a", Config(), TYPES)
        other.kill()
    open_run(started, "a", Config(), TYPES).close()  # the lock dies with its process


def test_a_run_can_be_read_while_it_is_open_and_reading_writes_nothing(started):
    with open_run(started, "a", Config(), TYPES):
        before = contents(started)
        run = load_run(started / "a", TYPES)
        run.set_status("done")
        assert (run.config, run.status(), run.is_lead) == (Config(), "running", False)
        assert contents(started) == before


def test_processes_that_do_not_lead_write_nothing(tmp_path):
    open_run(tmp_path, "a", Config(), TYPES, is_lead=False).set_status("done")
    assert list(tmp_path.iterdir()) == []


def test_file_systems_without_locks_still_work(tmp_path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with open_run(tmp_path, "a", Config(), TYPES) as run:
        assert run.config_file.exists()


def test_loading_what_is_not_a_run_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        load_run(tmp_path, TYPES)
    with pytest.raises(UserError, match="is not a run"):
        load_run(tmp_path / "missing", TYPES)


def test_status_is_one_line_of_a_known_kind(tmp_path):
    with open_run(tmp_path, "a", Config(), TYPES) as run:
        run.set_status("failed: no space\nleft")
        assert run.status() == "failed: no space left"
        with pytest.raises(ValueError, match="'finished' was given"):
            run.set_status("finished")


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_else(tmp_path, monkeypatch, broken):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_atomic(tmp_path / "file", "old")
    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "file", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]


def test_a_write_that_does_not_fit_keeps_the_old_content(tmp_path, limit_file_size):
    write_atomic(tmp_path / "file", "old")
    limit_file_size(1000)
    with pytest.raises(OSError, match="File too large"):
        write_atomic(tmp_path / "file", "new" * 1000)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]


def test_a_full_disk_at_the_beginning_can_be_cured_and_tried_again(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(UserError, match="cannot write .*a: No space left on device"):
            open_run(tmp_path, "a", Config(), TYPES)
    open_run(tmp_path, "a", Config(), TYPES).close()


def test_importing_the_light_modules_does_not_import_jax():
    names = "directory metrics config_codec errors provenance".split()
    script = f"import sys; [__import__('metarl.run.' + n) for n in {names}]; sys.exit('jax' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0
