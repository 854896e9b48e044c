"""What commands share that train a model over devices, examine it and report: the way from words to a finished run."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from metarl.cli.finished import is_finished
from metarl.cli.machine import prepare_jax
from metarl.run.directory import RunDirectory, open_run


class Stages(NamedTuple):
    """What differs between such commands. `arguments` are the command's own."""

    types: tuple[type, ...]
    """Dataclasses of the configuration."""
    files: tuple[str, ...]
    """Files without which a run whose steps are done is not finished, relative to its directory."""
    build: Callable[[Any], Any]
    """`build(arguments) -> built`: what is trained; refuses what cannot be."""
    train: Callable[[Any, RunDirectory, Any], None]
    """`train(arguments, directory, built)`: trains and exports; in every process."""
    examine: Callable[[Any, RunDirectory, list[str]], None]
    """`examine(arguments, directory, words)`: writes an evaluation and the report; in the first process."""
    show: Callable[[RunDirectory], None]
    """`show(directory)`: prints results of a finished run; in the first process."""


def carry_out(stages: Stages, arguments: Any, name: str, words: list[str]) -> None:
    """Begins or continues the run of this name; of a finished one only the results are shown again.

    Args:
        stages: what the command does.
        arguments: with the fields `config`, `runs` and `devices`.
        name: of the run.
        words: the command line, for the record.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    if arguments.devices is not None and arguments.devices < 1:
        raise ValueError(f"--devices is {arguments.devices}; it must be at least 1, or be left out")
    prepare_jax()
    from populations.mesh import initialise, is_lead

    initialise()
    is_complete = is_finished(arguments.runs / name, stages.files)
    # What cannot be built must fail before a run is made: its config would keep the name from the corrected command.
    built = None if is_complete else stages.build(arguments)
    with open_run(arguments.runs, name, arguments.config, stages.types, is_lead=is_lead()) as directory:
        if built is not None:
            stages.train(arguments, directory, built)
            if directory.is_lead:
                stages.examine(arguments, directory, words)
        if directory.is_lead:
            stages.show(directory)


def mesh_for(devices: int | None, sizes: Mapping[str, int]) -> Any:
    """Returns the devices to spread batches over; None for a single one.

    Args:
        devices: how many; None: all accelerators, and of CPU cores one.
        sizes: of what is spread, by the names of its fields.

    Raises:
        ValueError: unless the number of devices divides all of them.
    """
    import jax

    from populations.mesh import make_mesh

    num_devices = devices or (1 if jax.default_backend() == "cpu" else jax.device_count())
    for name, size in sizes.items():
        if size % num_devices:
            raise ValueError(f"--devices is {num_devices}, which does not divide {name} = {size}; change either")
    return make_mesh(num_devices) if num_devices > 1 else None


def record_of(directory: RunDirectory, config: Any) -> dict[str, Any]:
    """Returns what an exported model says of where it comes from."""
    from metarl.run.config_codec import encode
    from metarl.run.provenance import read_sessions

    sessions = read_sessions(directory)
    return {"run": directory.name, "config": encode(config), "git": sessions[-1]["git"] if sessions else None}
