"""`metarl metabo`: train a neural process that optimises, let it optimise held-out tables, write the report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from metarl.cli.finished import (
    EVALUATION,
    REPORT,
    is_finished,
    progress_bar,
    read_rows,
    tell,
    write_arrays,
    write_evaluation,
)
from metarl.cli.machine import prepare_jax
from metarl.cli.parse import parse, preset_in
from metarl.cli.tables import print_regret_tables
from metarl.experiments.metabo_config import METABO_CONFIG_TYPES, MetaboConfig
from metarl.experiments.metabo_presets import METABO_PRESETS
from metarl.run.directory import RunDirectory, open_run

CURVES = "export/curves.npz"
"""Regret along evaluations, relative to a run's directory."""
DEFAULT_PRESET = "nap-cpu"


@dataclass(frozen=True)
class MetaboArguments:
    """Train a neural process that predicts and chooses what to evaluate, let it optimise, and write a report.

    The same command continues a run that was stopped; a finished run only prints its results again.
    """

    config: Annotated[MetaboConfig, tyro.conf.arg(name="")]
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


def metabo(words: list[str]) -> None:
    """Runs the command; see `MetaboArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    preset = preset_in(words, METABO_PRESETS, DEFAULT_PRESET)
    default = MetaboArguments(METABO_PRESETS[preset].config, preset)
    arguments = parse(MetaboArguments, words, prog="metarl metabo", default=default)
    if arguments.devices is not None and arguments.devices < 1:
        raise ValueError(f"--devices is {arguments.devices}; it must be at least 1, or be left out")
    prepare_jax()
    from populations.mesh import initialise, is_lead

    initialise()
    name = arguments.name or preset
    is_complete = is_finished(arguments.runs / name, ("export/nap.json", EVALUATION, CURVES, REPORT))
    # What cannot be built must fail before a run is made: its config would keep the name from the corrected command.
    built = None if is_complete else _build(arguments)
    with open_run(arguments.runs, name, arguments.config, METABO_CONFIG_TYPES, is_lead=is_lead()) as directory:
        if built is not None:
            _train(arguments, directory, *built)
            if directory.is_lead:
                _examine(arguments, directory, words)
        if directory.is_lead:
            _show(directory)


def _build(arguments: MetaboArguments) -> tuple[Any, Any]:
    """Returns the experiment and the mesh it is spread over."""
    import jax

    from metarl.experiments.metabo import make_metabo
    from populations.mesh import make_mesh

    available = 1 if jax.default_backend() == "cpu" else jax.device_count()
    num_devices = arguments.devices or available
    config = arguments.config
    for name, size in (
        ("likelihood.batch_size", config.likelihood.batch_size),
        ("policy.num_tasks", config.policy.num_tasks),
    ):
        if size % num_devices:
            raise ValueError(f"--devices is {num_devices}, which does not divide {name} = {size}; change either")
    mesh = make_mesh(num_devices) if num_devices > 1 else None
    return make_metabo(config, mesh=mesh), mesh


def _train(arguments: MetaboArguments, directory: RunDirectory, built: Any, mesh: Any) -> None:
    """Trains the model and exports it, as it was at its best validation and after the first phase."""
    from metarl.metabo.export import save_nap
    from metarl.run.config_codec import encode
    from metarl.run.loop import run
    from metarl.run.provenance import read_sessions
    from populations.mesh import replicate, to_host

    config = arguments.config
    state = run(
        built.experiment,
        directory,
        num_steps=config.num_steps,
        seed=config.seed,
        steps_per_dispatch=1,
        checkpoint_every=config.checkpoint_every,
        label="steps",
        show_progress=not arguments.quiet,
        place=lambda tree: replicate(tree, mesh),
    )
    exported = to_host(built.experiment.export(state))
    if directory.is_lead:
        sessions = read_sessions(directory)
        record = {"run": directory.name, "config": encode(config), "git": sessions[-1]["git"] if sessions else None}
        head = "acquisition" if config.policy.iterations else "ei"
        if config.has_both_phases:  # else it is the model itself, or untrained
            save_nap(directory.export / "pretrained", built.settings, exported["pretrained"], {**record, "head": "ei"})
        save_nap(directory.export, built.settings, exported["best"], {**record, "head": head})


def _examine(arguments: MetaboArguments, directory: RunDirectory, words: list[str]) -> None:
    """Lets the model and its rivals optimise, unless that is done; then writes the report."""
    from analysis.bo import write_metabo_report
    from metarl.experiments.examine_nap import examine_run

    if not (directory.path / EVALUATION).exists():
        report = (lambda message: None) if arguments.quiet else tell
        findings = examine_run(
            directory.export, arguments.config, report=report, track=iter if arguments.quiet else progress_bar
        )
        write_arrays(directory.path / CURVES, findings.arrays())
        write_evaluation(directory.path / EVALUATION, findings.rows, "metabo", words)
    write_metabo_report(directory.path)


def _show(directory: RunDirectory) -> None:
    """Prints the tables of a finished run and where everything is."""
    file = directory.path / EVALUATION
    print_regret_tables(read_rows(file))
    print(f"\nnumbers: {file}\nmodel:   {directory.export}\nreport:  {directory.path / REPORT}")
