"""`metarl pretrain`: train a model that acts in context, examine it in held-out tasks, write the report."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from metarl.cli.finished import EVALUATION, REPORT, read_rows, tell, write_arrays, write_evaluation
from metarl.cli.parse import parse, preset_in
from metarl.cli.run_arguments import SpreadRunArguments
from metarl.cli.tables import print_acting_tables
from metarl.cli.training import Stages, carry_out, mesh_for, record_of
from metarl.experiments.pretrain_config import PRETRAIN_CONFIG_TYPES, PretrainConfig
from metarl.experiments.pretrain_presets import PRETRAIN_PRESETS
from metarl.run.directory import RunDirectory

CURVES = "export/curves.npz"
"""What was measured along pulls and episodes, relative to a run's directory."""
DEFAULT_PRESET = "dpt-bandit-cpu"


@dataclass(frozen=True, kw_only=True)
class PretrainArguments(SpreadRunArguments):
    """Train a model that acts in context, examine it in held-out tasks and write a report.

    The same command continues a run that was stopped; a finished run only prints its results again.
    """

    config: Annotated[PretrainConfig, tyro.conf.arg(name="")]


def pretrain(words: list[str]) -> None:
    """Runs the command; see `PretrainArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    preset = preset_in(words, PRETRAIN_PRESETS, DEFAULT_PRESET)
    default = PretrainArguments(config=PRETRAIN_PRESETS[preset].config, preset=preset)
    arguments = parse(PretrainArguments, words, prog="metarl pretrain", default=default)
    carry_out(STAGES, arguments, arguments.name or preset, words)


def _build(arguments: PretrainArguments) -> tuple[Any, Any]:
    """Returns the pretraining and the mesh it is spread over."""
    from metarl.experiments.pretrain import make_pretraining
    from metarl.experiments.pretrain_batches import spread_sizes

    mesh = mesh_for(arguments.devices, spread_sizes(arguments.config))
    return make_pretraining(arguments.config, mesh=mesh), mesh


def _train(arguments: PretrainArguments, directory: RunDirectory, built: tuple[Any, Any]) -> None:
    """Trains the model and exports it."""
    from metarl.incontext.export import save_model
    from metarl.run.loop import run
    from populations.mesh import replicate, spread, to_host

    config, (pretraining, mesh) = arguments.config, built
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
        save_model(directory.export, pretraining.settings, config.env, params, record_of(directory, config))


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


STAGES = Stages(
    PRETRAIN_CONFIG_TYPES, ("export/model.json", EVALUATION, CURVES, REPORT), _build, _train, _examine, _show
)
"""What the command does."""
