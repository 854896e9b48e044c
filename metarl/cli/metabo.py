"""`metarl metabo`: train a neural process that optimises, let it optimise held-out tables, write the report."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from metarl.cli.finished import (
    EVALUATION,
    REPORT,
    progress_bar,
    read_rows,
    tell,
    write_arrays,
    write_evaluation,
)
from metarl.cli.parse import parse, preset_in
from metarl.cli.run_arguments import SpreadRunArguments
from metarl.cli.tables import print_regret_tables
from metarl.cli.training import Stages, carry_out, mesh_for, record_of
from metarl.experiments.metabo_config import METABO_CONFIG_TYPES, MetaboConfig
from metarl.experiments.metabo_presets import METABO_PRESETS
from metarl.run.directory import RunDirectory

CURVES = "export/curves.npz"
"""Regret along evaluations, relative to a run's directory."""
DEFAULT_PRESET = "nap-cpu"


@dataclass(frozen=True, kw_only=True)
class MetaboArguments(SpreadRunArguments):
    """Train a neural process that predicts and chooses what to evaluate, let it optimise, and write a report.

    The same command continues a run that was stopped; a finished run only prints its results again.
    """

    config: Annotated[MetaboConfig, tyro.conf.arg(name="")]


def metabo(words: list[str]) -> None:
    """Runs the command; see `MetaboArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    preset = preset_in(words, METABO_PRESETS, DEFAULT_PRESET)
    default = MetaboArguments(config=METABO_PRESETS[preset].config, preset=preset)
    arguments = parse(MetaboArguments, words, prog="metarl metabo", default=default)
    carry_out(STAGES, arguments, arguments.name or preset, words)


def _build(arguments: MetaboArguments) -> tuple[Any, Any]:
    """Returns the experiment and the mesh it is spread over."""
    from metarl.experiments.metabo import make_metabo

    config = arguments.config
    sizes = {"likelihood.batch_size": config.likelihood.batch_size, "policy.num_tasks": config.policy.num_tasks}
    mesh = mesh_for(arguments.devices, sizes)
    return make_metabo(config, mesh=mesh), mesh


def _train(arguments: MetaboArguments, directory: RunDirectory, built: tuple[Any, Any]) -> None:
    """Trains the model and exports it, as it was at its best validation and after the first phase."""
    from metarl.metabo.export import save_nap
    from metarl.run.loop import run
    from populations.mesh import replicate, to_host

    config, (training, mesh) = arguments.config, built
    state = run(
        training.experiment,
        directory,
        num_steps=config.num_steps,
        seed=config.seed,
        steps_per_dispatch=1,
        checkpoint_every=config.checkpoint_every,
        label="steps",
        show_progress=not arguments.quiet,
        place=lambda tree: replicate(tree, mesh),
    )
    exported = to_host(training.experiment.export(state))
    if directory.is_lead:
        record = record_of(directory, config)
        head = "acquisition" if config.policy.iterations else "ei"
        if config.has_pretrained:  # else it is the model itself, or untrained
            save_nap(
                directory.export / "pretrained", training.settings, exported["pretrained"], {**record, "head": "ei"}
            )
        save_nap(directory.export, training.settings, exported["best"], {**record, "head": head})


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


STAGES = Stages(METABO_CONFIG_TYPES, ("export/nap.json", EVALUATION, CURVES, REPORT), _build, _train, _examine, _show)
"""What the command does."""
