"""The one host loop: dispatches, metrics, checkpoints, exact resume, signals, and what a person sees meanwhile."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from metarl.experiments.base import Experiment
from metarl.run.directory import RunDirectory
from metarl.run.dispatch import check_state, make_dispatch, strong_types
from metarl.run.errors import Interrupted, UserError
from metarl.run.interrupts import Interrupts
from metarl.run.metrics import MetricsWriter
from metarl.run.provenance import record_session
from populations.mesh import is_lead, to_host

SECONDS_PER_LINE = 10.0
"""How often progress is told where there is no terminal to draw a bar on."""


def run(
    experiment: Experiment,
    directory: RunDirectory,
    *,
    num_steps: int,
    seed: int,
    steps_per_dispatch: int = 10,
    checkpoint_every: int = 50,
    label: str = "generation",
    show_progress: bool = True,
    place: Callable[[Any], Any] = lambda tree: tree,
) -> Any:
    """Returns the state after `num_steps` steps, continuing from the latest checkpoint of the run if there is one.

    Steps are done in dispatches of one compiled function. A checkpoint is written every `checkpoint_every` steps, at
    the end, and when SIGTERM or Ctrl-C asks to stop, which happens after the current dispatch (a second Ctrl-C stops at
    once). On continuing, metrics are cut back to the checkpoint, so no step appears twice, and the numbers are those of
    a run that was never stopped, bit for bit on the same devices. A finished run returns its final state at once.

    Args:
        experiment: what to run; its step must keep the structure, shapes and dtypes of the state.
        directory: from `open_run`, opened by this process.
        num_steps: how many steps the run has when it is done: at least 1, and no fewer than it already has.
        seed: 0 <= seed < 2**32; the key given to `init` is `jax.random.key(seed)`. A run keeps its seed.
        steps_per_dispatch: how many steps are done, at most, between two looks at metrics and signals.
        checkpoint_every: how many steps a killed run loses, at most.
        label: what a step is called on the screen.
        show_progress: whether progress is told on stderr; warnings always are.
        place: puts a pytree where it stays between steps and works inside jit; with a mesh, `replicate` onto it.

    Raises:
        UserError: if an argument is out of range or contradicts the run, no checkpoint can be used, a step had nothing
            finite, or the disk is full. Earlier checkpoints and metrics stay.
        ValueError: if the experiment breaks the contract of `Experiment`, or the directory was opened for reading only.
        Interrupted: after SIGTERM or Ctrl-C, once the checkpoint is written.
    """
    _check_arguments(num_steps, seed, steps_per_dispatch, checkpoint_every)
    if directory.is_lead != is_lead():
        raise ValueError(f"the run {directory.path} is open for another role; use open_run(..., is_lead=is_lead())")
    with _Display(label, num_steps, is_shown=show_progress and directory.is_lead, warns=directory.is_lead) as display:
        # The key is made inside jit, because `device_put` refuses typed keys when devices span several processes.
        start = jax.jit(lambda seed: place(strong_types(experiment.init(jax.random.key(seed)))))
        state = start(np.uint32(seed))
        check_state(state)
        session = _Session(directory, display, num_steps, seed)
        state = session.restore(state)
        with _final_status(directory):
            if session.step < num_steps:
                dispatch = make_dispatch(experiment, steps_per_dispatch, place=place)
                state = session.advance(dispatch, state, steps_per_dispatch, checkpoint_every)
    return state


class _Session:
    """The work of one process on a run. All processes of the run do the same; only the lead writes metrics."""

    def __init__(self, directory: RunDirectory, display: "_Display", num_steps: int, seed: int):
        self.directory, self.display, self.num_steps = directory, display, num_steps
        self.step, self.notes = 0, {"seed": seed, "env_steps_total": 0}

    def restore(self, fresh: Any) -> Any:
        """Returns the state of the latest checkpoint, or the fresh one, and sets the step from which to continue."""
        from metarl.run import checkpoint  # imports orbax

        template = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), fresh)
        restored = checkpoint.restore(self.directory.checkpoints, template)
        if restored is None:
            restored = checkpoint.Restored(fresh, 0, self.notes, {})
        path, seed = self.directory.path, self.notes["seed"]
        if restored.notes["seed"] != seed:
            raise UserError(f"the run {path} has the seed {restored.notes['seed']}; give that one instead of {seed}")
        if restored.step > self.num_steps:
            raise UserError(f"the run {path} already has {restored.step} steps; ask for no fewer, not {self.num_steps}")
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("every process has read the checkpoint")
        if self.directory.is_lead:
            moved = checkpoint.tidy(self.directory.checkpoints, restored.unusable)
            for target, reason in zip(moved, restored.unusable.values(), strict=True):
                self.display.say(f"warning: passed over {target}, because {reason}; going on from step {restored.step}")
        self.step, self.notes = restored.step, dict(restored.notes)
        return restored.state

    def advance(self, dispatch: Callable, state: Any, steps_per_dispatch: int, checkpoint_every: int) -> Any:
        """Returns the state after the last step, having recorded everything on the way."""
        self.directory.set_status("running")
        record_session(self.directory, step=self.step)
        self.display.start(self.step)
        self.started, self.started_cpu = time.monotonic(), time.process_time()
        with self._metrics() as metrics, Interrupts(lambda: _try_status(self.directory, "interrupted")) as interrupts:
            while self.step < self.num_steps:
                until_checkpoint = checkpoint_every - self.step % checkpoint_every
                count = min(steps_per_dispatch, until_checkpoint, self.num_steps - self.step)
                started = time.monotonic()
                state, values = dispatch(state, np.int32(count))
                self._wait(state, interrupts)
                self._record(metrics, to_host(values), count, time.monotonic() - started)
                signum = interrupts.agreed()
                if signum or self.step % checkpoint_every == 0 or self.step == self.num_steps:
                    self._save(metrics, state)
                if signum and self.step < self.num_steps:
                    raise Interrupted(signum, f"the run {self.directory.path} was interrupted after step {self.step}; "
                                      "the same command continues it")  # fmt: skip
        return state

    @contextlib.contextmanager
    def _metrics(self) -> Iterator[MetricsWriter | None]:
        if not self.directory.is_lead:
            yield None
            return
        with contextlib.closing(MetricsWriter(self.directory.metrics_file)) as metrics:
            metrics.truncate_after(self.step)
            yield metrics

    def _wait(self, state: Any, interrupts: Interrupts) -> None:
        """Waits for the dispatch in Python, where a signal is noticed as it comes in."""
        pause, is_told = 1e-4, False
        while not state.step.is_ready():
            if interrupts.received and not is_told:
                self.display.say("interrupted: finishing this dispatch, then saving; Ctrl-C again stops at once")
                is_told = True
            time.sleep(pause)
            pause = min(2.0 * pause, 0.02)

    def _record(self, metrics: MetricsWriter | None, values: dict, count: int, seconds: float) -> None:
        """Writes a row for each step up to the first in which nothing was finite; such a step ends the run."""
        rows, is_lost = [], False
        spent = {
            "wall_s": round(time.monotonic() - self.started, 3),
            "cpu_s": round(time.process_time() - self.started_cpu, 3),
        }
        while len(rows) < count and not is_lost:
            row = {name: value[len(rows)].item() for name, value in values.items()}
            self.step += 1
            self.notes["env_steps_total"] += row.get("env_steps", 0)
            rows.append({"step": self.step, **spent, "env_steps_total": self.notes["env_steps_total"], **row})
            is_lost = row.get("num_evaluated", 0) > 0 and row.get("num_nonfinite") == row["num_evaluated"]
        if metrics is not None:
            metrics.append(rows)
        if is_lost:
            raise UserError(
                f"step {self.step} of the run {self.directory.name} (seed {self.notes['seed']}) evaluated "
                f"{rows[-1]['num_evaluated']} candidates and none was finite; the same command replays it from the "
                "latest checkpoint, and another config is needed to get past it"
            )
        env_steps = sum(row["env_steps"] for row in rows) if "env_steps" in rows[-1] else None
        self.display.update(self.step, rows[-1], None if env_steps is None else env_steps / seconds)

    def _save(self, metrics: MetricsWriter | None, state: Any) -> None:
        from metarl.run import checkpoint

        if int(state.step) != self.step:
            raise ValueError(
                f"an experiment's step must add 1 to state.step, but {self.step} made it {int(state.step)}"
            )
        if metrics is not None:
            metrics.sync()
        checkpoint.save(self.directory.checkpoints, self.step, state, self.notes, is_lead=self.directory.is_lead)


class _Display:
    """What a person sees on stderr: a bar on a terminal, otherwise a line now and then, or only warnings."""

    def __init__(self, label: str, total: int, *, is_shown: bool, warns: bool):
        self.label, self.total, self.is_shown, self.warns = label, total, is_shown, warns
        self.bar, self.last_line, self.reference = None, -SECONDS_PER_LINE, None

    def __enter__(self) -> "_Display":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def start(self, step: int) -> None:
        if self.is_shown and sys.stderr.isatty():
            self.bar = tqdm(
                total=self.total, initial=step, desc=self.label, unit=" steps", file=sys.stderr, dynamic_ncols=True
            )

    def say(self, message: str) -> None:
        if self.warns:
            tqdm.write(message, file=sys.stderr)

    def update(self, step: int, row: dict[str, Any], rate: float | None) -> None:
        now = time.monotonic()
        numbers = [f"{name} {row[name]:.4g}" for name in ("fitness", "loss") if name in row]
        numbers += [] if rate is None else [f"{tqdm.format_sizeof(rate)} env-steps/s"]
        self.reference = self.reference or (now, step)  # after the first dispatch, which includes compilation
        if self.bar is not None:
            self.bar.set_postfix_str(", ".join(numbers), refresh=False)
            self.bar.update(step - self.bar.n)
        elif self.is_shown and (now - self.last_line >= SECONDS_PER_LINE or step == self.total):
            self.last_line = now
            self.say(", ".join([f"{self.label} {step}/{self.total}", *numbers, f"{self._eta(now, step)} left"]))

    def _eta(self, now: float, step: int) -> str:
        started, first = self.reference or (now, step)
        return tqdm.format_interval((self.total - step) * (now - started) / (step - first)) if step > first else "?"


@contextlib.contextmanager
def _final_status(directory: RunDirectory) -> Iterator[None]:
    try:
        yield
        if directory.status() != "done":
            directory.set_status("done")
    except (Interrupted, KeyboardInterrupt):
        _try_status(directory, "interrupted")
        raise
    except Exception as error:
        _try_status(directory, f"failed: {error}" if isinstance(error, UserError) else f"failed: {error!r}")
        raise


def _try_status(directory: RunDirectory, status: str) -> None:
    with contextlib.suppress(UserError):  # a full disk must not hide why the run ended
        directory.set_status(status)


def _check_arguments(num_steps: int, seed: int, steps_per_dispatch: int, checkpoint_every: int) -> None:
    counts = {"num_steps": num_steps, "steps_per_dispatch": steps_per_dispatch, "checkpoint_every": checkpoint_every}
    for name, value in counts.items():
        if not 1 <= value < 2**31:
            raise UserError(f"{name} is {value}; it must be from 1 to {2**31 - 1}")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}; it must be from 0 to {2**32 - 1}")
