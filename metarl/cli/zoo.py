"""`metarl zoo list | show NAME | pack RUN`: the trained rules that ship with the package."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from metarl.cli.parse import parse
from metarl.cli.tables import print_tables
from metarl.run.directory import write_atomic

ACTIONS = ("list", "show", "pack")
USAGE = """usage: metarl zoo {list,show,pack} ...

list       the rules
show NAME  what is known of one of them
pack RUN   make an entry of a finished run

'metarl zoo show --help' and 'metarl zoo pack --help' say more."""


@dataclass(frozen=True)
class ShowArguments:
    """Print where a rule comes from, how its meta-training went and what it was measured to do."""

    name: Annotated[str, tyro.conf.Positional]
    """Name of the rule; 'metarl zoo list' lists them."""


@dataclass(frozen=True)
class PackArguments:
    """Make a zoo entry of a finished run: its rule, the curve of its meta-training and its evaluation."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of a finished run of 'metarl discover'."""
    out: Path
    """Directory of the entry, such as metarl/zoo/ta-lpo; an older entry is replaced."""


def zoo(words: list[str]) -> None:
    """Runs the command.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    action, *rest = words or ["list"]
    if action in ("-h", "--help"):
        print(USAGE)
    elif action == "list":
        _list(rest)
    elif action == "show":
        _show(parse(ShowArguments, rest, prog="metarl zoo show").name)
    elif action == "pack":
        arguments = parse(PackArguments, rest, prog="metarl zoo pack")
        pack(arguments.run, arguments.out)
        print(f"zoo entry: {arguments.out}")
    else:
        raise ValueError(f"'metarl zoo' was given {action!r}; choose one of {', '.join(ACTIONS)}")


def _list(rest: list[str]) -> None:
    from metarl import zoo

    if rest:
        raise ValueError(f"'metarl zoo list' takes no arguments, but {' '.join(rest)!r} was given")
    for name in zoo.names():
        record = zoo.load(name).loaded.record
        print(f"{name:10s} {record['run']}, seed {record['config']['seed']}: {describe(record['config'])}")


def describe(config: dict[str, Any]) -> str:
    """Returns in a few words what a run's configuration, as in its file, searched for and where."""
    objective = {"LPGConfig": "LPG", "LPOConfig": "LPO"}.get(config["objective"]["type"], config["objective"]["type"])
    name = f"TA-{objective}" if config["objective"]["temporal"] else objective
    lives = config["family"]["lifetime"]
    length = f", lives of {lives[0]} to {lives[1]} updates" if lives else ""
    return f"{name} on {', '.join(config['family']['env'])}{length}, {config['generations']} generations"


def _show(name: str) -> None:
    from metarl import zoo

    loaded, evaluation = zoo.load(name).loaded, zoo.evaluation_of(name)
    config, curve = loaded.record["config"], loaded.record["curve"]
    git = loaded.record["git"] or {}
    print(f"{name}: {describe(config)}, seed {config['seed']}, commit {git.get('commit', 'not recorded')}")
    print(f"settings: {json.dumps(loaded.settings)}")
    print("meta-training, mean fitness of the population: ", end="")
    print(", ".join(f"{value:.3f} at {step}" for step, value in zip(curve["step"], curve["fitness"], strict=True)))
    print_tables(evaluation["rows"])
    print(f"\nmeasured by: {evaluation['command']}\non: {evaluation['device']}, commit {evaluation['commit']}")
    print(f"files: {zoo.directory_of(name)}")


def pack(run: Path, out: Path) -> None:
    """Writes the zoo entry of a finished run.

    The curve is thinned to 40 means over equal blocks of generations. Of the evaluation, returns that also stand there
    normalised are left out, and values are rounded to 5 digits.

    Raises:
        ValueError: if the run is not finished.
    """
    from metarl.objectives.export import load_rule, save_rule
    from metarl.zoo import EVALUATION

    for file in ("export/rule.json", "evaluation.json", "metrics.jsonl"):
        if not (run / file).is_file():
            raise ValueError(f"{run} has no {file}; give a run that 'metarl discover' has finished")
    rule = load_rule(run / "export")
    save_rule(out, rule.objective, rule.settings, rule.meta_params, {**rule.record, "curve": _curve(run)})
    evaluation = json.loads((run / "evaluation.json").read_text())
    normalised = {row["env"] for row in evaluation["rows"] if row["metric"] == "normalised_return"}
    rows = [row for row in evaluation["rows"] if row["metric"] != "return" or row["env"] not in normalised]
    rows = [{**row, "values": [float(f"{value:.5g}") for value in row["values"]]} for row in rows]
    write_atomic(out / EVALUATION, json.dumps({**evaluation, "rows": rows}, allow_nan=False) + "\n")


def _curve(run: Path, num_points: int = 40) -> dict[str, list[float]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    size = -(-len(records) // num_points)
    blocks = [records[start : start + size] for start in range(0, len(records), size)]
    means = [sum(record["fitness"] or 0.0 for record in block) / len(block) for block in blocks]
    return {"step": [block[-1]["step"] for block in blocks], "fitness": [float(f"{mean:.5g}") for mean in means]}
