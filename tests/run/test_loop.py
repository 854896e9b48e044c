import errno
import hashlib
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from metarl.run import checkpoint
from metarl.run.directory import load_run
from metarl.run.errors import UserError
from metarl.run.loop import run
from metarl.run.metrics import read_metrics
from metarl.run.provenance import read_sessions
from tests.run.recorded import OPTIONS, steps, without_clock


def contents(path):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else None for p in Path(path).rglob("*")}


def test_a_run_is_init_followed_by_steps(opened, tiny):
    experiment, directory = tiny.make_tiny(), opened()
    state = jax.jit(experiment.init)(jax.random.key(3))
    fitness = []
    for _ in range(8):
        state, metrics = jax.jit(experiment.step)(state)
        fitness.append(metrics["fitness"].item())
    assert tiny.digest(run(experiment, directory, num_steps=8, **OPTIONS)) == tiny.digest(state)
    rows = read_metrics(directory.metrics_file)
    assert [row["fitness"] for row in rows] == fitness
    assert [row["env_steps_total"] for row in rows] == [1000 * n for n in range(1, 9)]
    assert list(rows[0])[:4] == ["step", "wall_s", "cpu_s", "env_steps_total"]
    assert directory.status() == "done"


def test_twice_n_steps_equal_n_steps_a_checkpoint_and_n_more(opened, tiny):
    whole, halves = opened("whole"), opened("halves")
    expected = run(tiny.make_tiny(), whole, num_steps=46, **OPTIONS)
    run(tiny.make_tiny(), halves, num_steps=23, **OPTIONS)
    assert tiny.digest(run(tiny.make_tiny(), halves, num_steps=46, **OPTIONS)) == tiny.digest(expected)
    assert without_clock(halves) == without_clock(whole)
    assert steps(halves) == list(range(1, 47))
    assert [session["first_step"] for session in read_sessions(halves)] == [0, 23]


def test_options_of_the_loop_change_no_number(opened, tiny):
    digests = {
        tiny.digest(
            run(tiny.make_tiny(), opened(f"r{k}"), num_steps=20, seed=3, steps_per_dispatch=k, checkpoint_every=e)
        )
        for k, e in ((1, 20), (7, 4), (50, 50))
    }
    assert len(digests) == 1


def test_checkpoints_stand_at_multiples_and_at_the_end_and_dispatches_do_not_straddle_them(opened, tiny, monkeypatch):
    directory, saved = opened(), []
    real = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *a, **k: (saved.append(a[1]), real(*a, **k)))
    run(tiny.make_tiny(), directory, num_steps=40, **OPTIONS)
    assert saved == [12, 24, 36, 40]
    assert checkpoint.steps(directory.checkpoints) == [24, 36, 40]


def test_a_run_that_died_after_its_checkpoint_has_each_step_once(opened, tiny):
    whole, cut = opened("whole"), opened("cut")
    expected = run(tiny.make_tiny(), whole, num_steps=30, **OPTIONS)
    run(tiny.make_tiny(), cut, num_steps=30, **OPTIONS)
    shutil.rmtree(cut.checkpoints / "30")
    with open(cut.metrics_file, "a") as file:
        file.write('{"step": 31, "fit')
    cut.set_status("running")
    assert tiny.digest(run(tiny.make_tiny(), cut, num_steps=30, **OPTIONS)) == tiny.digest(expected)
    assert without_clock(cut) == without_clock(whole)


def test_a_run_that_died_before_its_first_checkpoint_starts_again(opened, tiny):
    directory = opened()
    directory.metrics_file.write_text('{"step": 1}\n{"step": 2}\n')
    directory.set_status("running")
    run(tiny.make_tiny(), directory, num_steps=3, **OPTIONS)
    assert steps(directory) == [1, 2, 3]
    assert "fitness" in read_metrics(directory.metrics_file)[0]


def test_a_finished_run_returns_its_state_at_once_and_changes_nothing(opened, tiny):
    directory = opened()
    expected = run(tiny.make_tiny(), directory, num_steps=9, **OPTIONS)
    before = contents(directory.path)
    calls = []
    experiment = tiny.make_tiny()
    idle = experiment._replace(step=lambda state: calls.append(1))
    assert tiny.digest(run(idle, directory, num_steps=9, **OPTIONS)) == tiny.digest(expected)
    assert calls == [] and contents(directory.path) == before


def test_a_run_killed_between_its_last_checkpoint_and_its_status_is_done(opened, tiny):
    directory = opened()
    run(tiny.make_tiny(), directory, num_steps=9, **OPTIONS)
    directory.set_status("running")
    run(tiny.make_tiny(), directory, num_steps=9, **OPTIONS)
    assert directory.status() == "done"


def test_a_damaged_checkpoint_is_passed_over_aloud_and_the_numbers_stay(opened, tiny, capfd):
    whole, damaged = opened("whole"), opened("damaged")
    expected = run(tiny.make_tiny(), whole, num_steps=30, **OPTIONS)
    run(tiny.make_tiny(), damaged, num_steps=24, **OPTIONS)
    (damaged.checkpoints / "24/state/_METADATA").write_bytes(b"\0garbage")
    capfd.readouterr()
    state = run(tiny.make_tiny(), damaged, num_steps=30, show_progress=False, **OPTIONS)
    assert tiny.digest(state) == tiny.digest(expected)
    assert without_clock(damaged) == without_clock(whole)
    assert capfd.readouterr().err == (
        f"warning: passed over {damaged.checkpoints}/24.unusable, because its file state/_METADATA was changed; "
        "going on from step 12\n"
    )


def test_without_a_usable_checkpoint_nothing_is_touched(opened, tiny):
    directory = opened()
    run(tiny.make_tiny(), directory, num_steps=12, **OPTIONS)
    (directory.checkpoints / "12/manifest.json").unlink()
    before = contents(directory.path)
    with pytest.raises(UserError, match="no checkpoint in .* can be used"):
        run(tiny.make_tiny(), directory, num_steps=24, **OPTIONS)
    assert contents(directory.path) == before


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seed": 4}, "has the seed 3; give that one instead of 4"),
        ({"num_steps": 11}, "already has 12 steps; ask for no fewer, not 11"),
        ({"num_steps": 0}, "num_steps is 0; it must be from 1"),
        ({"steps_per_dispatch": 0}, "steps_per_dispatch is 0"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1"),
        ({"seed": -1}, "seed is -1; it must be from 0 to 4294967295"),
        ({"seed": 2**32}, "seed is 4294967296"),
    ],
)
def test_arguments_that_contradict_the_run_are_refused_and_touch_nothing(opened, tiny, changes, message):
    directory = opened()
    run(tiny.make_tiny(), directory, num_steps=12, **OPTIONS)
    before = contents(directory.path)
    with pytest.raises(UserError, match=message):
        run(tiny.make_tiny(), directory, **({"num_steps": 24} | OPTIONS | changes))
    assert contents(directory.path) == before


def test_the_largest_seed_is_its_own_key(opened, tiny):
    experiment = tiny.make_tiny()
    frozen = experiment._replace(step=lambda s: (s._replace(step=s.step + 1), {}))
    state = run(frozen, opened(), num_steps=1, seed=2**32 - 1)
    expected = jax.random.split(jax.random.key(np.uint32(2**32 - 1)))[0]
    assert jax.random.key_data(state.key).tolist() == jax.random.key_data(expected).tolist()


def test_a_step_with_nothing_finite_stops_the_run_and_can_be_replayed(opened, tiny):
    directory = opened("lost")
    for _ in range(2):  # the second time from the checkpoint
        with pytest.raises(UserError, match=r"step 18 of the run lost \(seed 3\) evaluated 4 candidates .* replays it"):
            run(tiny.make_tiny(nonfinite_at=18), directory, num_steps=30, **OPTIONS)
        assert directory.status().startswith("failed: step 18 of the run lost")
        assert checkpoint.steps(directory.checkpoints) == [12]
        rows = read_metrics(directory.metrics_file)
        assert [row["step"] for row in rows] == list(range(1, 19))
        assert (rows[-1]["fitness"], rows[-1]["nonfinite"]) == (None, ["fitness"])
    assert [session["first_step"] for session in read_sessions(directory)] == [0, 12]


def test_some_candidates_that_are_not_finite_do_not_stop_a_run(opened, tiny):
    directory = opened()
    run(tiny.make_tiny(), directory, num_steps=3, **OPTIONS)
    assert {row["num_nonfinite"] for row in read_metrics(directory.metrics_file)} == {1}


def fail_with_full_disk(*arguments, **named):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_up_is_named_keeps_what_was_there_and_the_run_continues_later(opened, tiny, monkeypatch):
    whole, full = opened("whole"), opened("full")
    expected = run(tiny.make_tiny(), whole, num_steps=40, **OPTIONS)
    real = os.rename
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda a, b: fail_with_full_disk() if str(b).endswith("36") else real(a, b))
        with pytest.raises(UserError, match="cannot write .*/full/checkpoints/.*: No space left on device; cure that"):
            run(tiny.make_tiny(), full, num_steps=40, **OPTIONS)
    assert full.status().startswith("failed: cannot write")
    assert checkpoint.steps(full.checkpoints) == [12, 24]
    assert steps(full) == list(range(1, 37))
    assert tiny.digest(run(tiny.make_tiny(), full, num_steps=40, **OPTIONS)) == tiny.digest(expected)
    assert without_clock(full) == without_clock(whole)


def test_a_disk_too_full_even_for_the_status_still_tells_the_reason(opened, tiny, monkeypatch):
    directory = opened()
    run(tiny.make_tiny(), directory, num_steps=12, **OPTIONS)
    before = contents(directory.checkpoints)
    monkeypatch.setattr(os, "replace", fail_with_full_disk)
    with pytest.raises(UserError, match="cannot write .*STATUS: No space left on device"):
        run(tiny.make_tiny(), directory, num_steps=24, **OPTIONS)
    assert directory.status() == "done"
    assert contents(directory.checkpoints) == before


def test_metrics_that_do_not_fit_are_named_and_earlier_rows_stay(opened, tiny, limit_file_size):
    directory, options = opened(), OPTIONS | {"checkpoint_every": 200}
    run(tiny.make_tiny(), directory, num_steps=200, **options)
    before = directory.metrics_file.read_bytes()
    limit_file_size(len(before) + 100)  # far more than any other file here has
    with pytest.raises(UserError, match="cannot write .*metrics.jsonl: File too large"):
        run(tiny.make_tiny(), directory, num_steps=400, **options)
    assert directory.metrics_file.read_bytes() == before
    assert directory.status().startswith("failed: cannot write")


def test_another_error_is_kept_in_the_status_and_passes_through(opened, tiny):
    experiment = tiny.make_tiny()

    def broken(state):
        raise KeyError("w")

    directory = opened()
    with pytest.raises(KeyError):
        run(experiment._replace(step=broken), directory, num_steps=3, **OPTIONS)
    assert directory.status() == "failed: KeyError('w')"


def test_a_step_that_does_not_count_is_told(opened, tiny):
    experiment = tiny.make_tiny()
    with pytest.raises(ValueError, match="must add 1 to state.step, but 3 made it 0"):
        run(experiment._replace(step=lambda s: (s, {})), opened(), num_steps=3, **OPTIONS)


def test_a_directory_that_was_opened_for_reading_is_not_run(opened, tiny):
    directory = load_run(opened().path, (tiny.TinyConfig,))
    with pytest.raises(ValueError, match="open for another role"):
        run(tiny.make_tiny(), directory, num_steps=3, **OPTIONS)
    assert not directory.metrics_file.exists()
