"""`metarl teach`: teachers and their students in one run."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from metarl.cli.finished import EVALUATION, REPORT, is_finished, read_rows, tell, write_arrays, write_evaluation
from metarl.cli.machine import prepare_jax
from metarl.cli.parse import parse, preset_in
from metarl.cli.run_arguments import RunArguments
from metarl.cli.tables import print_teaching_table
from metarl.cli.training import record_of
from metarl.experiments.teach_config import TEACH_CONFIG_TYPES, SACStudentConfig, TeachConfig
from metarl.experiments.teach_presets import TEACH_PRESETS
from metarl.exported import save_arrays
from metarl.run.directory import RunDirectory, open_run

DEFAULT_PRESET = "alp-gmm-cubes-cpu"
CURRICULUM, FILM = "export/curriculum.npz", "export/film.npz"
"""What was recorded after every step, for each teacher, and a walker's episode; readable with numpy alone."""
POLICY = "policy"
"""Stem of the files of the first teacher's best student, where that is a soft actor-critic; see `envs.trained_policy`.
"""


@dataclass(frozen=True, kw_only=True)
class TeachArguments(RunArguments):
    """Teach students by several teachers, examine them on test tasks and write a report.

    The same command continues a run that was stopped; a finished run only prints its results again.
    """

    config: Annotated[TeachConfig, tyro.conf.arg(name="")]


def teach(words: list[str]) -> None:
    """Runs the command; see `TeachArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    preset = preset_in(words, TEACH_PRESETS, DEFAULT_PRESET)
    default = TeachArguments(config=TEACH_PRESETS[preset].config, preset=preset)
    arguments = parse(TeachArguments, words, prog="metarl teach", default=default)
    prepare_jax()
    name = arguments.name or preset
    is_complete = is_finished(arguments.runs / name, (CURRICULUM, EVALUATION, REPORT))
    # What cannot be built must fail before a run is made: its config would keep the name from the corrected command.
    built = None if is_complete else _build(arguments.config)
    with open_run(arguments.runs, name, arguments.config, TEACH_CONFIG_TYPES, is_lead=True) as directory:
        if built is not None:
            _teach(arguments, directory, built, words)
        _show(directory)


def _build(config: TeachConfig) -> Any:
    from metarl.experiments.teach import make_teaching

    return make_teaching(config)


def _teach(arguments: TeachArguments, directory: RunDirectory, teaching: Any, words: list[str]) -> None:
    """Teaches, writes what was recorded and the results, then the report."""
    import numpy as np

    from analysis.curricula_report import write_teach_report
    from metarl.experiments.teach import best_layers, film
    from metarl.experiments.teach_results import teach_rows
    from metarl.run.loop import run

    config = arguments.config
    if not arguments.quiet:
        tell(f"{config.num_students} students for each of {', '.join(config.teachers)}")
    state = run(
        teaching.experiment,
        directory,
        num_steps=config.num_steps,
        seed=config.seed,
        steps_per_dispatch=1,
        checkpoint_every=config.checkpoint_every,
        label=f"{config.updates_per_step} updates",
        show_progress=not arguments.quiet,
    )
    arrays = {name: np.asarray(array) for name, array in teaching.experiment.export(state).items()}
    write_arrays(directory.path / CURRICULUM, arrays)
    watched = film(teaching, state)
    if watched:
        write_arrays(directory.path / FILM, {name: np.asarray(array) for name, array in watched.items()})
    if isinstance(config.student, SACStudentConfig):
        description = {"env": config.student.env, "record": record_of(directory, config)}
        layers = best_layers(teaching, state, arrays[f"{config.teachers[0]}/final_grades"])
        save_arrays(directory.export, POLICY, description, layers)
    write_evaluation(directory.path / EVALUATION, teach_rows(config, arrays), "teach", words)
    write_teach_report(directory.path)


def _show(directory: RunDirectory) -> None:
    """Prints the table of a finished run and where everything is."""
    file = directory.path / EVALUATION
    print_teaching_table(read_rows(file))
    print(f"\nnumbers: {file}\nrecord:  {directory.path / CURRICULUM}")
    policy = directory.export / f"{POLICY}.npz"
    if policy.is_file():
        print(f"policy:  {policy}")
    print(f"report:  {directory.path / REPORT}")
