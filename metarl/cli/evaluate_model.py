"""`metarl evaluate MODEL`: a pretrained model against its rivals in held-out tasks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metarl.cli.finished import tell, write_arrays, write_evaluation
from metarl.cli.machine import prepare_jax
from metarl.cli.models import find_model
from metarl.cli.parse import parse
from metarl.cli.tables import print_acting_tables
from metarl.experiments.pretrain_config import ActingConfig
from metarl.run.directory import check_output


@dataclass(frozen=True)
class EvaluateModelArguments:
    """Let a pretrained model and its rivals act in held-out tasks, and write every number."""

    model: Annotated[Path, tyro.conf.Positional]
    """Pretraining run, directory of an exported model (model.npz and model.json), or the name of a model in the zoo."""
    env: str | None = None
    """Domain to act in, as name or name@option=value. It may have fewer actions, other noise or another horizon than
    the model was trained with. None: the (first) one that it was trained in."""
    mode: tuple[Literal["online", "offline"], ...] = ("online", "offline")
    """online: acting and learning from it; offline: one decision, or one episode, after a given data set."""
    tasks: int = 4096
    """Held-out tasks, the same for all."""
    horizon: int | None = None
    """Steps of an episode; of a bandit, pulls. None: the domain's own."""
    episodes: int = 40
    """Episodes in a row; bandits have one."""
    protocol: tuple[Literal["official", "frozen", "stepwise"], ...] = ("official", "frozen", "stepwise")
    """When the context grows, online. official: it is the previous episode; frozen: all episodes before this one;
    stepwise: everything until now. Bandits are always stepwise."""
    greedy: bool = False
    """Whether models also act online by their most probable action, as the arms <model>-greedy. In bandits and offline
    they always do; in rooms it never explores."""
    contexts: tuple[Literal["behaviour", "expert"], ...] = ("behaviour",)
    """Who gathered the data sets that are given offline. behaviour: the policy that gathered for training; expert: the
    optimal policy."""
    repeats: bool = False
    """Whether contexts keep transitions that a deterministic world has shown before."""
    rival: tuple[Path, ...] = ()
    """Other models to examine beside it, each a run, an exported model or a name in the zoo."""
    baseline: tuple[str, ...] | None = None
    """Classical algorithms and exact references. None: all that fit the domain."""
    capacity: int | None = None
    """Transitions that models have room for; then the oldest are overwritten. None: all that there can be."""
    batch_size: int | None = None
    """Tasks acted in at once; memory is linear in it. None: 16 on CPU, 256 elsewhere."""
    seed: int = 0
    """Root of all randomness."""
    out: Path | None = None
    """Evaluation file to write (JSON); curves (npz) and a report page (html) get the same name. None:
    evaluations/<model>.json."""


def evaluate_model(words: list[str]) -> None:
    """Runs the command; see `EvaluateModelArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    arguments = parse(EvaluateModelArguments, words, prog="metarl evaluate")
    out = arguments.out or Path("evaluations") / f"{arguments.model.resolve().name}.json"
    check_output(out, (".npz", ".html"))
    if not 0 <= arguments.seed < 2**32:
        raise ValueError(f"--seed is {arguments.seed}; it must lie in [0, 2^32)")
    config = _config(arguments)
    prepare_jax()
    from analysis.evaluation import write_evaluation_report
    from envs.domains import make_domain
    from metarl.experiments.examine_model import contestant, examine_models

    model = find_model(arguments.model)
    rivals = [contestant(find_model(path), name=path.resolve().name) for path in arguments.rival]
    findings = examine_models(
        [contestant(model), *rivals],
        make_domain(arguments.env or model.env[0]),
        config,
        seed=arguments.seed,
        baselines=arguments.baseline,
        acts_greedily=arguments.greedy,
        contexts=arguments.contexts,
        report=tell,
    )
    write_arrays(out.with_suffix(".npz"), findings.arrays())
    write_evaluation(out, findings.rows, "evaluate", words)
    write_evaluation_report(out)
    print_acting_tables(findings.rows)
    print(f"\nnumbers: {out}\ncurves:  {out.with_suffix('.npz')}\nreport:  {out.with_suffix('.html')}")


def _config(arguments: EvaluateModelArguments) -> ActingConfig:
    return ActingConfig(
        modes=arguments.mode,
        num_tasks=arguments.tasks,
        horizon=arguments.horizon,
        num_episodes=arguments.episodes,
        protocols=arguments.protocol,
        skips_seen=not arguments.repeats,
        capacity=arguments.capacity,
        batch_size=arguments.batch_size,
    )
