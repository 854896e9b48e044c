"""What interrupts a run, and what it shows meanwhile."""

import io
import os
import re
import signal
import sys
import threading

import pytest

from metarl.run import checkpoint, loop
from metarl.run.errors import Interrupted
from metarl.run.loop import run
from tests.run.recorded import OPTIONS, steps, without_clock


@pytest.mark.parametrize("signum, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_dispatch_saves_and_interrupts(opened, tiny, monkeypatch, signum, code):
    whole, stopped = opened("whole"), opened("stopped")
    expected = run(tiny.make_tiny(), whole, num_steps=30, **OPTIONS)
    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    real = loop._Session._wait

    def wait(self, state, interrupts):
        if self.step == 12:
            os.kill(os.getpid(), signum)
        real(self, state, interrupts)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Session, "_wait", wait)
        with pytest.raises(Interrupted, match="interrupted after step 17; the same command continues it") as caught:
            run(tiny.make_tiny(), stopped, num_steps=30, **OPTIONS)
    assert caught.value.exit_code == code
    assert stopped.status() == "interrupted"
    assert checkpoint.steps(stopped.checkpoints) == [12, 17]
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert tiny.digest(run(tiny.make_tiny(), stopped, num_steps=30, **OPTIONS)) == tiny.digest(expected)
    assert without_clock(stopped) == without_clock(whole)


def test_a_signal_during_the_last_dispatch_does_not_spoil_a_finished_run(opened, tiny, monkeypatch):
    real = loop._Session._wait
    monkeypatch.setattr(loop._Session, "_wait", lambda self, *a: (os.kill(os.getpid(), signal.SIGTERM), real(self, *a)))
    directory = opened()
    run(tiny.make_tiny(), directory, num_steps=4, **OPTIONS)
    assert directory.status() == "done"


def test_outside_the_main_thread_a_run_works_without_handlers(opened, tiny):
    directory, states = opened(), []
    thread = threading.Thread(
        target=lambda: states.append(run(tiny.make_tiny(), directory, num_steps=6, show_progress=False, **OPTIONS))
    )
    thread.start()
    thread.join()
    assert int(states[0].step) == 6


def test_without_a_terminal_progress_is_plain_lines(opened, tiny, capfd):
    run(tiny.make_tiny(), opened(), num_steps=20, label="round", **OPTIONS)
    first, last = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"round 5/20, fitness -\d\S*, \d\S* env-steps/s, \? left", first)
    assert re.fullmatch(r"round 20/20, fitness -\d\S*, \d\S* env-steps/s, 00:00 left", last)


def test_on_a_terminal_progress_is_a_bar(opened, tiny, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    run(tiny.make_tiny(), opened(), num_steps=20, **OPTIONS)
    last = terminal.getvalue().split("\r")[-1]
    assert re.search(r"generation: 100%.* 20/20 \[.*, fitness -\S+, \S+ env-steps/s\]", last)


def test_an_experiment_without_reserved_metrics_shows_none(opened, tiny, capfd):
    experiment = tiny.make_tiny()
    bare = experiment._replace(step=lambda s: (s._replace(step=s.step + 1), {}))
    directory = opened()
    run(bare, directory, num_steps=3, **OPTIONS)
    assert capfd.readouterr().err == "generation 3/3, ? left\n"
    assert steps(directory) == [1, 2, 3]


def test_a_quiet_run_prints_nothing(opened, tiny, capfd):
    run(tiny.make_tiny(), opened(), num_steps=4, show_progress=False, **OPTIONS)
    assert capfd.readouterr() == ("", "")
