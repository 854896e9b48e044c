"""`metarl zoo list | show NAME | pack RUN`: the trained rules and models that ship with the package."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from metarl.cli.parse import parse
from metarl.cli.tables import print_acting_tables, print_regret_tables, print_tables
from metarl.run.directory import write_atomic

ACTIONS = ("list", "show", "pack")
EVALUATION = "evaluation.json"
USAGE = """usage: metarl zoo {list,show,pack} ...

list       the rules and models
show NAME  what is known of one of them
pack RUN   make an entry of a finished run

'metarl zoo show --help' and 'metarl zoo pack --help' say more."""


@dataclass(frozen=True)
class ShowArguments:
    """Print where a rule or model comes from, how its training went and what it was measured to do."""

    name: Annotated[str, tyro.conf.Positional]
    """Name in the zoo; 'metarl zoo list' lists them."""


@dataclass(frozen=True)
class PackArguments:
    """Make a zoo entry of a finished run: its rule or model, the curve of its training and its evaluation."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of a finished run of 'metarl discover', 'metarl pretrain' or 'metarl metabo'."""
    out: Path
    """Directory of the entry, such as metarl/zoo/ta-lpo; an older entry is replaced."""
    evaluation: Path | None = None
    """Evaluation file of 'metarl evaluate' to ship with a model. None: the run's own."""


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
        pack(arguments.run, arguments.out, arguments.evaluation)
        print(f"zoo entry: {arguments.out}")
    else:
        raise ValueError(f"'metarl zoo' was given {action!r}; choose one of {', '.join(ACTIONS)}")


def _list(rest: list[str]) -> None:
    from metarl import zoo
    from metarl.metabo.export import load_nap

    if rest:
        raise ValueError(f"'metarl zoo list' takes no arguments, but {' '.join(rest)!r} was given")
    for name in zoo.names():
        record = zoo.load(name).loaded.record
        print(f"{name:14s} {record['run']}, seed {record['config']['seed']}: {describe(record['config'])}")
    for name in zoo.model_names():
        record = zoo.load_pretrained(name).record
        print(f"{name:14s} {record['run']}, seed {record['config']['seed']}: {describe_model(record['config'])}")
    for name in zoo.nap_names():
        record = load_nap(zoo.directory_of(name)).record
        print(f"{name:14s} {record['run']}, seed {record['config']['seed']}: {describe_nap(record['config'])}")


def describe(config: dict[str, Any]) -> str:
    """Returns in a few words what a run's configuration, as in its file, searched for and where."""
    objective = {"LPGConfig": "LPG", "LPOConfig": "LPO"}.get(config["objective"]["type"], config["objective"]["type"])
    name = f"TA-{objective}" if config["objective"]["temporal"] else objective
    lives = config["family"]["lifetime"]
    length = f", lives of {lives[0]} to {lives[1]} updates" if lives else ""
    return f"{name} on {', '.join(config['family']['env'])}{length}, {config['generations']} generations"


def describe_model(config: dict[str, Any]) -> str:
    """Returns in a few words what a pretraining run's configuration, as in its file, trained and where."""
    kind = {"DPTConfig": "decision-pretrained", "ADConfig": "distilled", "RL2Config": "RL²"}[config["learner"]["type"]]
    model = config["model"]
    size = f"width {model['width']}, {model['num_layers']} layers, {model['attention']} attention"
    return f"{kind} on {', '.join(config['env'])}, {size}, {config['updates']} updates"


def describe_nap(config: dict[str, Any]) -> str:
    """Returns in a few words what a run's configuration, as in its file, trained and on what."""
    model, phases = config["model"], f"{config['likelihood']['updates']} updates of the likelihood"
    if config["policy"]["iterations"]:
        phases += f", {config['policy']['iterations']} iterations of PPO"
    sources = ", ".join(config["tasks"]["sources"])
    return f"neural process on {sources}, width {model['width']}, {model['num_layers']} layers, {phases}"


def _show(name: str) -> None:
    from metarl import zoo
    from metarl.metabo.export import load_nap

    if name in zoo.nap_names():
        kind, loaded = NAP_KIND, load_nap(zoo.directory_of(name))
    elif name in zoo.model_names():
        kind, loaded = MODEL_KIND, zoo.load_pretrained(name)
    else:
        kind, loaded = RULE_KIND, zoo.load(name).loaded
    evaluation, config, curve = zoo.evaluation_of(name), loaded.record["config"], loaded.record["curve"]
    git = loaded.record["git"] or {}
    print(f"{name}: {kind.describe(config)}, seed {config['seed']}, commit {git.get('commit', 'not recorded')}")
    print(f"settings: {json.dumps(loaded.settings)}")
    values = zip(curve["step"], curve[kind.metric], strict=True)
    print(f"{kind.curve}: " + ", ".join(f"{value:.3f} at {step}" for step, value in values))
    kind.print_tables(evaluation["rows"])
    print(f"\nmeasured by: {evaluation['command']}\non: {evaluation['device']}, commit {evaluation['commit']}")
    print(f"files: {zoo.directory_of(name)}")


class Kind(NamedTuple):
    """What differs between the kinds of things in the zoo."""

    metric: str
    """Metric whose curve is kept."""
    curve: str
    """What that is, for people."""
    describe: Callable[[dict[str, Any]], str]
    """Configuration in a few words."""
    print_tables: Callable[[list[dict[str, Any]]], None]
    """Prints the rows of an evaluation."""


RULE_KIND = Kind("fitness", "meta-training, mean fitness of the population", describe, print_tables)
MODEL_KIND = Kind("loss", "training, mean loss", describe_model, print_acting_tables)
NAP_KIND = Kind("loss", "training, mean negative log-likelihood", describe_nap, print_regret_tables)


def pack(run: Path, out: Path, evaluation_file: Path | None = None) -> None:
    """Writes the zoo entry of a finished run.

    The curve is thinned to 40 means over equal blocks of steps. Of the evaluation, returns that also stand there
    normalised are left out, values are rounded to 5 digits, and of a model no values of single tasks are kept.

    Raises:
        ValueError: if the run is not finished.
    """
    source = run / EVALUATION if evaluation_file is None else evaluation_file
    stem = next((stem for stem in PACKERS if (run / f"export/{stem}.json").is_file()), "rule")
    for file in (run / f"export/{stem}.json", source, run / "metrics.jsonl"):
        if not file.is_file():
            raise ValueError(f"{run} lacks {file}; give a finished run of 'metarl discover', 'pretrain' or 'metabo'")
    evaluation = json.loads(source.read_text())
    PACKERS[stem](run, out)
    normalised = {row["env"] for row in evaluation["rows"] if row["metric"] == "normalised_return"}
    rows = [row for row in evaluation["rows"] if row["metric"] != "return" or row["env"] not in normalised]
    keeps = stem != "model"
    rows = [{**row, "values": [float(f"{x:.5g}") for x in row["values"]] if keeps else []} for row in rows]
    write_atomic(out / EVALUATION, json.dumps({**evaluation, "rows": rows}, allow_nan=False) + "\n")


def _pack_rule(run: Path, out: Path) -> None:
    from metarl.objectives.export import load_rule, save_rule

    rule = load_rule(run / "export")
    record = {**rule.record, "curve": _curve(run, "fitness")}
    save_rule(out, rule.objective, rule.settings, rule.meta_params, record)


def _pack_model(run: Path, out: Path) -> None:
    from metarl.incontext.export import load_model, save_model

    model = load_model(run / "export")
    save_model(out, model.settings, model.env, model.params, {**model.record, "curve": _curve(run, "loss")})


def _curve(run: Path, metric: str, num_points: int = 40) -> dict[str, list]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    size = -(-len(records) // num_points)
    blocks = [records[start : start + size] for start in range(0, len(records), size)]
    means = [sum(record[metric] or 0.0 for record in block) / len(block) for block in blocks]
    return {"step": [block[-1]["step"] for block in blocks], metric: [float(f"{mean:.5g}") for mean in means]}


def _pack_nap(run: Path, out: Path) -> None:
    from metarl.metabo.export import load_nap, save_nap

    model = load_nap(run / "export")
    save_nap(out, model.settings, model.params, {**model.record, "curve": _curve(run, "loss")})


PACKERS: dict[str, Callable[[Path, Path], None]] = {"rule": _pack_rule, "model": _pack_model, "nap": _pack_nap}
"""How what a run exported becomes an entry, by the stem of its files."""
