"""`metarl evaluate`: a rule against baselines on any environment."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from metarl.cli.evaluate_model import evaluate_model
from metarl.cli.evaluate_nap import evaluate_nap
from metarl.cli.finished import tell, write_arrays, write_evaluation
from metarl.cli.machine import prepare_jax
from metarl.cli.models import is_metabo, is_pretraining
from metarl.cli.parse import parse
from metarl.cli.rules import find_rule, objective_of
from metarl.cli.tables import print_tables
from metarl.experiments.config import MAX_COUNT, AgentConfig
from metarl.experiments.horizons import parse_horizon
from metarl.run.directory import check_output, write_atomic


@dataclass(frozen=True)
class EvaluateArguments:
    """Train fresh agents with a rule, and with baselines, on held-out tasks, and write every number.

    The same command continues an evaluation that was stopped, at the arm, environment and horizon where it was. A
    pretrained model or a neural process is named first and has options of its own: 'metarl evaluate MODEL --help'
    explains them.
    """

    rule: Annotated[Path, tyro.conf.Positional]
    """Run directory, directory of an exported rule (rule.npz and rule.json), or the name of a rule in the zoo."""
    env: tuple[str, ...]
    """Task families: gridworld/<mode>, probe/<name>, brax tasks such as ant, ids of gymnax environments, or
    package.module:Class for any other environment with gymnax's interface."""
    out: Path | None = None
    """Evaluation file to write (JSON); curves (npz) and a report page (html) get the same name. None:
    evaluations/<rule>.json."""
    horizons: tuple[str, ...] = ("10", "25", "50", "100", "250")
    """Lengths of the lives: 250 is agent updates, 1e6 (with an exponent) is environment steps."""
    seeds: int = 64
    """Lives per arm and horizon, each with its own held-out task where the family has more than one."""
    baseline: tuple[Literal["a2c", "ppo", "dpo"], ...] = ("a2c",)
    """Closed-form rules that train the same agents. The default is a2c for LPG; ppo and dpo for LPO."""
    seed: int = 0
    """Root of all randomness."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    """How agents are built. The default is the rule's own on tabular grid-worlds and, elsewhere, the published settings
    of the rule's kind for the environment."""


def evaluate(words: list[str]) -> None:
    """Runs the command; see `EvaluateArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    if any(is_pretraining(Path(word)) for word in words[:1]):
        evaluate_model(words)
        return
    if any(is_metabo(Path(word)) for word in words[:1]):
        evaluate_nap(words)
        return
    arguments = parse(EvaluateArguments, words, prog="metarl evaluate")
    out = arguments.out or Path("evaluations") / f"{arguments.rule.resolve().name}.json"
    _check(arguments, out)
    prepare_jax()
    from analysis.evaluation import write_evaluation_report
    from metarl.experiments.evaluate import evaluate_arms
    from metarl.experiments.lives_store import open_store
    from metarl.run.provenance import describe_session

    rule, recorded = find_rule(arguments.rule)
    # All environments are prepared first: what one of them cannot do is said before hours of work on the others.
    prepared = [_prepare(words, env, rule, recorded) for env in arguments.env]
    git = describe_session()["git"]
    store = open_store(out.with_suffix(".parts"), [words, _fingerprint(rule), git], write_atomic)
    rows, curves = [], {}
    for arms, family, options in prepared:

        def keep(arm: Any, horizon: int, lives: Any, env: str = family.name) -> None:
            store.keep(lives, env, arm.name, horizon)
            curves.update({f"{env}/{arm.name}/{horizon}/{name}": x[:, :horizon] for name, x in lives.curve.items()})

        def recall(arm: Any, horizon: int, env: str = family.name) -> Any:
            return store.recall(env, arm.name, horizon)

        rows += evaluate_arms(arms, family, keep=keep, recall=recall, **options)
    write_arrays(out.with_suffix(".npz"), curves)
    write_evaluation(out, rows, "evaluate", words)
    write_evaluation_report(out)
    store.discard()
    print_tables(rows)
    print(f"\nnumbers: {out}\ncurves:  {out.with_suffix('.npz')}\nreport:  {out.with_suffix('.html')}")


def _check(arguments: EvaluateArguments, out: Path) -> None:
    if not arguments.horizons:
        raise ValueError("--horizons is empty; give one or more lengths, such as 250 (updates) or 1e6 (steps)")
    if not 1 <= arguments.seeds <= MAX_COUNT:
        raise ValueError(f"--seeds is {arguments.seeds}; it must be from 1 to {MAX_COUNT}")
    if not 0 <= arguments.seed < 2**32:
        raise ValueError(f"--seed is {arguments.seed}; it must lie in [0, 2^32)")
    if not arguments.env:
        raise ValueError("no environment was given; name at least one after --env")
    check_output(out, (".npz", ".html", ".parts"))


def _prepare(
    words: list[str], env: str, rule: Any, recorded: AgentConfig | None
) -> tuple[list[Any], Any, dict[str, Any]]:
    """Returns what `evaluate_arms` is given for an environment: the arms, the family, and the rest by name."""
    import jax

    from envs.registry import make_family
    from metarl.experiments.agents import default_agent
    from metarl.experiments.build import build_objective
    from metarl.experiments.lives import Arm, agent_for
    from populations.mesh import make_mesh

    placeholder = EvaluateArguments(
        Path(),
        (),
        agent=default_agent(env, rule.objective, recorded),
        baseline=("a2c",) if rule.objective == "lpg" else ("ppo", "dpo"),
    )
    arguments = parse(EvaluateArguments, words, prog="metarl evaluate", default=placeholder)
    family, agent = make_family(env), arguments.agent
    action_space = family.env.action_space(family.env.default_params)
    arms = [Arm("discovered", objective_of(rule, agent, action_space), rule.meta_params)]
    arms += [Arm(name, build_objective(name, agent, action_space), ()) for name in arguments.baseline]
    for arm in arms:
        agent_for(arm.objective, family, agent)  # refuses a network that cannot see here
    steps_per_update = agent.num_envs * agent.unroll_length
    options = {
        "config": agent,
        "horizons": tuple(parse_horizon(word, steps_per_update) for word in arguments.horizons),
        "num_tasks": arguments.seeds,
        "seed": arguments.seed,
        "mesh": make_mesh() if jax.device_count() > 1 else None,
        "report": tell,
    }
    return arms, family, options


def _fingerprint(rule: Any) -> str:
    """Returns a digest of everything that a rule is."""
    import jax

    digest = hashlib.sha256(json.dumps([rule.objective, rule.settings], sort_keys=True).encode())
    for leaf in jax.tree.leaves(rule.meta_params):
        digest.update(leaf.tobytes())
    return digest.hexdigest()
