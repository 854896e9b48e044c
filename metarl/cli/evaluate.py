"""`metarl evaluate`: a rule against baselines on any environment."""

import json
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from metarl.cli.machine import prepare_jax
from metarl.cli.parse import parse
from metarl.cli.tables import print_tables
from metarl.experiments.config import MAX_COUNT, AgentConfig
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
    arguments = parse(EvaluateArguments, words, prog="metarl evaluate")
    _check(arguments)
    prepare_jax()
    from metarl.experiments.evaluate import evaluate_arms, evaluation_file
    from metarl.run.provenance import describe_session

    rule, recorded = _load(arguments.rule)
    # All environments are prepared first: what one of them cannot do is said before hours of work on the others.
    prepared = [_prepare(words, env, rule, recorded) for env in arguments.env]
    rows = [row for arms, family, options in prepared for row in evaluate_arms(arms, family, **options)]
    git = describe_session()["git"]
    command = shlex.join(["metarl", "evaluate", *words])
    content = evaluation_file(rows, command=command, commit=git and git["commit"])
    write_atomic(arguments.out, json.dumps(content, allow_nan=False) + "\n")
    print_tables(rows)
    print(f"\nnumbers: {arguments.out}")


def _check(arguments: EvaluateArguments) -> None:
    if not arguments.horizons or min(arguments.horizons) < 1 or max(arguments.horizons) > MAX_COUNT:
        raise ValueError(f"--horizons are {arguments.horizons}; give one or more, each from 1 to {MAX_COUNT}")
    if not 1 <= arguments.seeds <= MAX_COUNT:
        raise ValueError(f"--seeds is {arguments.seeds}; it must be from 1 to {MAX_COUNT}")
    if not 0 <= arguments.seed < 2**32:
        raise ValueError(f"--seed is {arguments.seed}; it must lie in [0, 2^32)")
    if not arguments.env:
        raise ValueError("no environment was given; name at least one after --env")
    if arguments.out.is_dir():
        raise ValueError(f"--out {arguments.out} is a directory; name a file in it")
    try:  # before the work, not after it
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=arguments.out.parent).close()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"--out {arguments.out} cannot be written ({reason}); name a file where you may") from error


def _load(path: Path) -> tuple[Any, AgentConfig | None]:
    """Returns the rule at a path and how agents were built where it was discovered, if that is recorded."""
    from metarl.objectives.export import load_rule

    is_run = (path / "config.json").is_file()
    if is_run and not (path / "export" / "rule.json").is_file():
        raise ValueError(f"the run {path} has not exported a rule yet; let 'metarl discover' finish it first")
    rule = load_rule(path / "export" if is_run else path)
    config = rule.record.get("config")
    # The agent alone is read, so that rules outlive changes of everything else that can be configured.
    agent = config.get("agent") if isinstance(config, dict) else None
    return rule, decode(agent, (AgentConfig,)) if agent else None


def _prepare(
    words: list[str], env: str, rule: Any, recorded: AgentConfig | None
) -> tuple[list[Any], Any, dict[str, Any]]:
    """Returns what `evaluate_arms` is given for an environment: the arms, the family, and the rest by name."""
    import jax

    from envs.registry import make_family
    from metarl.experiments.examine import default_agent
    from metarl.experiments.lives import Arm, agent_for
    from metarl.objectives.registry import make_objective
    from populations.mesh import make_mesh

    placeholder = EvaluateArguments(Path(), (), Path(), agent=default_agent(env, recorded))
    arguments = parse(EvaluateArguments, words, prog="metarl evaluate", default=placeholder)
    family = make_family(env)
    action_space = family.env.action_space(family.env.default_params)
    arms = [Arm("discovered", _objective(rule, action_space), rule.meta_params)]
    arms += [Arm(name, make_objective(name, action_space), ()) for name in arguments.baseline]
    for arm in arms:
        agent_for(arm.objective, family, arguments.agent)  # refuses a network that cannot see here
    options = {
        "config": arguments.agent,
        "horizons": arguments.horizons,
        "num_tasks": arguments.seeds,
        "seed": arguments.seed,
        "mesh": make_mesh() if jax.device_count() > 1 else None,
        "report": lambda message: print(message, file=sys.stderr),
    }
    return arms, family, options


def _objective(rule: Any, action_space: Any) -> Any:
    """Returns the objective that a loaded rule is for."""
    import jax

    from metarl.objectives.registry import make_objective

    objective = make_objective(rule.objective, action_space, **rule.settings)
    needed = jax.tree.map(lambda x: x.shape, jax.eval_shape(objective.init, jax.random.key(0)))
    found = jax.tree.map(lambda x: x.shape, rule.meta_params)
    if found != needed:
        raise ValueError(
            f"the rule's arrays have the shapes {found}, but {rule.objective} with its settings needs {needed}; "
            "export the rule again"
        )
    return objective
