"""`metarl evaluate`: a rule against baselines on any environment."""

import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from metarl.cli.machine import prepare_jax
from metarl.cli.tables import print_tables
from metarl.experiments.config import CONFIG_TYPES, AgentConfig
from metarl.run.config_codec import decode
from metarl.run.directory import write_atomic


@dataclass(frozen=True)
class EvaluateArguments:
    """Train fresh agents with a rule, and with baselines, on held-out tasks, and write every number."""

    rule: Annotated[Path, tyro.conf.Positional]
    """Run directory, or directory of an exported rule (rule.npz and rule.json)."""
    env: tuple[str, ...]
    """Task families: gridworld/<mode>, probe/<name>, or ids of gymnax environments."""
    out: Path
    """Evaluation file to write (JSON)."""
    horizons: tuple[int, ...] = (10, 25, 50, 100, 250)
    """Lengths of the lives, in agent updates."""
    seeds: int = 64
    """Lives per arm and horizon, each with its own held-out task where the family has more than one."""
    baseline: tuple[Literal["a2c", "ppo"], ...] = ("a2c",)
    """Closed-form rules that train the same agents."""
    seed: int = 0
    """Root of all randomness."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    """How agents are built. The default is the rule's own on tabular grid-worlds and Adam on networks elsewhere."""


def evaluate(words: list[str]) -> None:
    """Runs the command; see `EvaluateArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    arguments = tyro.cli(EvaluateArguments, args=words, prog="metarl evaluate")
    _check(arguments)
    prepare_jax()
    rule, recorded = _load(arguments.rule)
    from envs.registry import make_family

    for env in arguments.env:
        make_family(env)  # an unknown name is refused before hours of work on the known ones
    rows = []
    for env in arguments.env:
        rows += _evaluate_env(words, env, rule, recorded)
    from metarl.experiments.evaluate import evaluation_file
    from metarl.run.provenance import describe_session

    git = describe_session()["git"]
    command = shlex.join(["metarl", "evaluate", *words])
    content = evaluation_file(rows, command=command, commit=git and git["commit"])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(arguments.out, json.dumps(content, allow_nan=False) + "\n")
    print_tables(rows)
    print(f"\nnumbers: {arguments.out}")


def _check(arguments: EvaluateArguments) -> None:
    if arguments.seeds < 1 or not arguments.horizons or min(arguments.horizons) < 1:
        raise ValueError(
            f"seeds is {arguments.seeds} and horizons are {arguments.horizons}; give one or more of each, at least 1"
        )
    if not arguments.env:
        raise ValueError("no environment was given; name at least one after --env")
    if arguments.out.is_dir():
        raise ValueError(f"--out {arguments.out} is a directory; name a file in it")


def _load(path: Path) -> tuple[Any, AgentConfig | None]:
    """Returns the rule at a path and how agents were built where it was discovered, if that is recorded."""
    from metarl.objectives.export import load_rule

    is_run = (path / "config.json").is_file()
    if is_run and not (path / "export" / "rule.json").is_file():
        raise ValueError(f"the run {path} has not exported a rule yet; let 'metarl discover' finish it first")
    rule = load_rule(path / "export" if is_run else path)
    config = rule.record.get("config")
    return rule, decode(config, CONFIG_TYPES).agent if config else None


def _evaluate_env(words: list[str], env: str, rule: Any, recorded: AgentConfig | None) -> list[dict[str, Any]]:
    import jax

    from envs.registry import make_family
    from metarl.experiments.evaluate import evaluate_arms
    from metarl.experiments.examine import default_agent
    from metarl.experiments.lives import Arm
    from metarl.objectives.registry import make_objective
    from populations.mesh import make_mesh

    placeholder = EvaluateArguments(Path(), (), Path(), agent=default_agent(env, recorded))
    arguments = tyro.cli(EvaluateArguments, args=words, default=placeholder, prog="metarl evaluate")
    family = make_family(env)
    action_space = family.env.action_space(family.sample(jax.random.key(0)).params)
    arms = [Arm("discovered", make_objective(rule.objective, action_space, **rule.settings), rule.meta_params)]
    arms += [Arm(name, make_objective(name, action_space), ()) for name in arguments.baseline]
    return evaluate_arms(
        arms,
        family,
        arguments.agent,
        horizons=arguments.horizons,
        num_tasks=arguments.seeds,
        seed=arguments.seed,
        mesh=make_mesh() if jax.device_count() > 1 else None,
        report=lambda message: print(message, file=sys.stderr),
    )
