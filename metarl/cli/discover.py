"""`metarl discover`: evolve a rule, examine it on held-out tasks, write the report."""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from metarl.cli.machine import largest_share, prepare_jax
from metarl.cli.tables import print_tables
from metarl.experiments.config import CONFIG_TYPES, DiscoverConfig
from metarl.experiments.presets import PRESETS
from metarl.run.directory import RunDirectory, open_run, write_atomic
from metarl.run.provenance import describe_session


@dataclass(frozen=True)
class DiscoverArguments:
    """Evolve a learning rule, examine it on held-out tasks and write a report.

    The same command continues a run that was stopped; a finished run only prints its results again.
    """

    config: Annotated[DiscoverConfig, tyro.conf.arg(name="")]
    preset: str = "ta-lpg-cpu"
    """Configuration to start from; 'metarl presets' lists them. Every other option overrides one of its fields."""
    name: str | None = None
    """Name of the run, a directory below --runs. None: the preset's name."""
    runs: Path = Path("runs")
    """Directory of all runs."""
    devices: int | None = None
    """Devices to spread the population over; CPU cores count as devices. None: as many as divide it. Changes no result.
    """
    quiet: bool = False
    """Show no progress."""


def discover(words: list[str]) -> None:
    """Runs the command; see `DiscoverArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    preset = _preset_in(words)
    default = DiscoverArguments(PRESETS[preset].config, preset)
    arguments = tyro.cli(DiscoverArguments, args=words, default=default, prog="metarl discover")
    prepare_jax()
    from populations.mesh import initialise, is_lead

    initialise()
    types = CONFIG_TYPES
    with open_run(arguments.runs, arguments.name or preset, arguments.config, types, is_lead=is_lead()) as directory:
        discovered = _evolve(arguments, directory)
        if directory.is_lead:
            _examine(arguments, directory, discovered)
            _report(directory)


def _preset_in(words: list[str]) -> str:
    """Returns the preset that the words ask for; it must be known before parsing, because it sets all defaults."""
    given = [value for word, value in zip(words, [*words[1:], ""], strict=True) if word == "--preset"]
    given += [word.removeprefix("--preset=") for word in words if word.startswith("--preset=")]
    preset = given[-1] if given else DiscoverArguments.preset
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    return preset


def _evolve(arguments: DiscoverArguments, directory: RunDirectory) -> Any:
    """Returns the discovery and its final meta-parameters, after exporting the rule."""
    import jax

    from metarl.experiments.discover import make_discovery
    from metarl.objectives.export import save_rule
    from metarl.run.config_codec import encode
    from metarl.run.loop import run
    from metarl.run.provenance import read_sessions
    from populations.mesh import make_mesh, replicate, to_host

    config = arguments.config
    num_devices = arguments.devices or largest_share(
        jax.device_count(), config.population.size, config.population.microbatch
    )
    mesh = make_mesh(num_devices) if num_devices > 1 else None
    discovery = make_discovery(config, mesh=mesh)
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
    return discovery, meta_params


def _examine(arguments: DiscoverArguments, directory: RunDirectory, discovered: tuple[Any, Any]) -> None:
    """Evaluates the initial and the discovered rule and the baselines once, writes the numbers, prints the table."""
    file = directory.path / "evaluation.json"
    if not file.exists():
        from metarl.experiments.evaluate import evaluation_file
        from metarl.experiments.examine import examine

        discovery, meta_params = discovered
        tell = (lambda message: None) if arguments.quiet else _tell
        rows, lives = examine(arguments.config, discovery, meta_params, report=tell)
        git = describe_session()["git"]
        command = shlex.join(["metarl", "discover", *sys.argv[2:]])
        content = evaluation_file(rows, command=command, commit=git and git["commit"])
        _write_arrays(directory.export / "lives.npz", lives)
        write_atomic(file, json.dumps(content, allow_nan=False) + "\n")
    print_tables(json.loads(file.read_text())["rows"])


def _report(directory: RunDirectory) -> None:
    from analysis.report import write_report

    print(f"\nnumbers: {directory.path / 'evaluation.json'}\nrule:    {directory.export}")
    print(f"report:  {write_report(directory.path)}")


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def _tell(message: str) -> None:
    print(message, file=sys.stderr)
