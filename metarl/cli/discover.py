"""`metarl discover`: evolve a rule, examine it on held-out tasks, write the report."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from metarl.cli.finished import EVALUATION, REPORT, is_finished, read_rows, tell, write_arrays, write_evaluation
from metarl.cli.machine import largest_share, prepare_jax
from metarl.cli.parse import parse, preset_in
from metarl.cli.run_arguments import RunArguments
from metarl.cli.tables import print_tables
from metarl.experiments.config import CONFIG_TYPES, DiscoverConfig
from metarl.experiments.presets import PRESETS
from metarl.run.directory import RunDirectory, open_run

DEFAULT_PRESET = "ta-lpg-cpu"


@dataclass(frozen=True, kw_only=True)
class DiscoverArguments(RunArguments):
    """Evolve a learning rule, examine it on held-out tasks and write a report.

    The same command continues a run that was stopped; a finished run only prints its results again.
    """

    config: Annotated[DiscoverConfig, tyro.conf.arg(name="")]
    devices: int | None = None
    """Devices to spread the population over; CPU cores count as devices. None: as many as divide it. Changes no result.
    """


def discover(words: list[str]) -> None:
    """Runs the command; see `DiscoverArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    preset = preset_in(words, PRESETS, DEFAULT_PRESET)
    default = DiscoverArguments(config=PRESETS[preset].config, preset=preset)
    arguments = parse(DiscoverArguments, words, prog="metarl discover", default=default)
    if arguments.devices is not None and arguments.devices < 1:
        raise ValueError(f"--devices is {arguments.devices}; it must be at least 1, or be left out")
    prepare_jax()
    from populations.mesh import initialise, is_lead

    initialise()
    name = arguments.name or preset
    is_complete = is_finished(arguments.runs / name, ("export/rule.json", EVALUATION, REPORT))
    # What cannot be built must fail before a run is made: its config would keep the name from the corrected command.
    built = None if is_complete else _build(arguments)
    with open_run(arguments.runs, name, arguments.config, CONFIG_TYPES, is_lead=is_lead()) as directory:
        if built is not None:
            meta_params = _evolve(arguments, directory, *built)
            if directory.is_lead:
                _examine(arguments, directory, built[0], meta_params, words)
        if directory.is_lead:
            _show(directory)


def _build(arguments: DiscoverArguments) -> tuple[Any, Any]:
    """Returns the discovery and the mesh it is spread over."""
    import jax

    from metarl.experiments.discover import make_discovery
    from populations.mesh import make_mesh

    population = arguments.config.population
    num_devices = arguments.devices or largest_share(jax.device_count(), population.size, population.microbatch)
    mesh = make_mesh(num_devices) if num_devices > 1 else None
    return make_discovery(arguments.config, mesh=mesh), mesh


def _evolve(arguments: DiscoverArguments, directory: RunDirectory, discovery: Any, mesh: Any) -> Any:
    """Returns the final meta-parameters, after exporting the rule."""
    from metarl.objectives.export import save_rule
    from metarl.run.config_codec import encode
    from metarl.run.loop import run
    from metarl.run.provenance import read_sessions
    from populations.mesh import replicate, to_host

    config = arguments.config
    state = run(
        discovery.experiment,
        directory,
        num_steps=config.generations,
        seed=config.seed,
        steps_per_dispatch=config.generations_per_dispatch,
        checkpoint_every=config.checkpoint_every,
        show_progress=not arguments.quiet,
        place=lambda tree: replicate(tree, mesh),
    )
    meta_params = to_host(discovery.experiment.export(state))
    if directory.is_lead:
        sessions = read_sessions(directory)
        record = {"run": directory.name, "config": encode(config), "git": sessions[-1]["git"] if sessions else None}
        save_rule(directory.export, discovery.objective.name, discovery.objective.settings, meta_params, record)
    return meta_params


def _examine(
    arguments: DiscoverArguments, directory: RunDirectory, discovery: Any, meta_params: Any, words: list[str]
) -> None:
    """Evaluates the initial and the discovered rule and the baselines, unless that is done; then writes the report."""
    from analysis.report import write_report
    from metarl.experiments.examine import examine

    if not (directory.path / EVALUATION).exists():
        report = (lambda message: None) if arguments.quiet else tell
        rows, lives = examine(arguments.config, discovery, meta_params, report=report)
        write_arrays(directory.export / "lives.npz", lives)
        write_evaluation(directory.path / EVALUATION, rows, "discover", words)
    write_report(directory.path)


def _show(directory: RunDirectory) -> None:
    """Prints the table of a finished run and where everything is."""
    file = directory.path / EVALUATION
    print_tables(read_rows(file))
    print(f"\nnumbers: {file}\nrule:    {directory.export}\nreport:  {directory.path / REPORT}")
