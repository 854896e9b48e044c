"""`metarl pretrain`: train a model that acts in context, examine it in held-out tasks, write the report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from metarl.cli.finished import EVALUATION, REPORT, is_finished, read_rows, tell, write_arrays, write_evaluation
from metarl.cli.machine import prepare_jax
from metarl.cli.parse import parse, preset_in
from metarl.cli.tables import print_acting_tables
from metarl.experiments.pretrain_config import PRETRAIN_CONFIG_TYPES, PretrainConfig
from metarl.experiments.pretrain_presets import PRETRAIN_PRESETS
from metarl.run.directory import RunDirectory, open_run

CURVES = "export/curves.npz"
"""What was measured along pulls and episodes, relative to a run's directory."""
DEFAULT_PRESET = "dpt-bandit-cpu"


@dataclass(frozen=True)
class PretrainArguments:
    """Train a model that acts in context, examine it in held-out tasks and write a report.

    The same command continues a run that was stopped; a finished run only prints its results again.
    """

    config: Annotated[PretrainConfig, tyro.conf.arg(name="")]
    preset: str = DEFAULT_PRESET
    """Configuration to start from; 'metarl presets' lists them. Every other option overrides one of its fields."""
    name: str | None = None
    """Name of the run, a directory below --runs. None: the preset's name."""
    runs: Path = Path("runs")
    """Directory of all runs."""
    devices: int | None = None
    """Devices to spread batches over; CPU cores count as devices. None: all accelerators, and of CPU cores one."""
    quiet: bool = False
    """Show no progress."""


def pretrain(words: list[str]) -> None:
    """Runs the command; see `PretrainArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    preset = preset_in(words, PRETRAIN_PRESETS, DEFAULT_PRESET)
    default = PretrainArguments(PRETRAIN_PRESETS[preset].config, preset)
    arguments = parse(PretrainArguments, words, prog="metarl pretrain", default=default)
    if arguments.devices is not None and arguments.devices < 1:
        raise ValueError(f"--devices is {arguments.devices}; it must be at least 1, or be left out")
    prepare_jax()
    from populations.mesh import initialise, is_lead

    initialise()
    name = arguments.name or preset
    is_complete = is_finished(arguments.runs / name, ("export/model.json", EVALUATION, CURVES, REPORT))
    # What cannot be built must fail before a run is made: its config would keep the name from the corrected command.
    built = None if is_complete else _build(arguments)
    with open_run(arguments.runs, name, arguments.config, PRETRAIN_CONFIG_TYPES, is_lead=is_lead()) as directory:
        if built is not None:
            _train(arguments, directory, *built)
            if directory.is_lead:
                _examine(arguments, directory, words)
        if directory.is_lead:
            _show(directory)


def _build(arguments: PretrainArguments) -> tuple[Any, Any]:
    """Returns the pretraining and the mesh it is spread over."""
    import jax

    from metarl.experiments.pretrain import make_pretraining
    from populations.mesh import make_mesh

    available = 1 if jax.default_backend() == "cpu" else jax.device_count()
    num_devices = arguments.devices or available
    size = arguments.config.training.batch_size
    if size % num_devices:
        raise ValueError(
            f"--devices is {num_devices}, which does not divide training.batch_size = {size}; change either"
        )
    mesh = make_mesh(num_devices) if num_devices > 1 else None
    return make_pretraining(arguments.config, mesh=mesh), mesh


def _train(arguments: PretrainArguments, directory: RunDirectory, pretraining: Any, mesh: Any) -> None:
    """Trains the model and exports it."""
    from metarl.incontext.export import save_model
    from metarl.run.config_codec import encode
    from metarl.run.loop import run
    from metarl.run.provenance import read_sessions
    from populations.mesh import replicate, spread, to_host

    config = arguments.config
    place = spread if config.training.shards_parameters else replicate
    state = run(
        pretraining.experiment,
        directory,
        num_steps=config.updates // config.updates_per_step,
        seed=config.seed,
        steps_per_dispatch=1,
        checkpoint_every=config.checkpoint_every,
        label=f"{config.updates_per_step} updates",
        show_progress=not arguments.quiet,
        place=lambda tree: place(tree, mesh),
    )
    params = to_host(pretraining.experiment.export(state))
    if directory.is_lead:
        sessions = read_sessions(directory)
        record = {"run": directory.name, "config": encode(config), "git": sessions[-1]["git"] if sessions else None}
        save_model(directory.export, pretraining.settings, config.env, params, record)


def _examine(arguments: PretrainArguments, directory: RunDirectory, words: list[str]) -> None:
    """Examines the model beside its rivals, unless that is done; then writes the report."""
    from analysis.incontext import write_pretrain_report
    from metarl.experiments.examine_model import examine_run

    if not (directory.path / EVALUATION).exists():
        report = (lambda message: None) if arguments.quiet else tell
        findings = examine_run(directory.export, arguments.config, report=report)
        write_arrays(directory.path / CURVES, findings.arrays())
        write_evaluation(directory.path / EVALUATION, findings.rows, "pretrain", words)
    write_pretrain_report(directory.path)


def _show(directory: RunDirectory) -> None:
    """Prints the tables of a finished run and where everything is."""
    file = directory.path / EVALUATION
    print_acting_tables(read_rows(file))
    print(f"\nnumbers: {file}\nmodel:   {directory.export}\nreport:  {directory.path / REPORT}")
