"""`metarl evaluate NAP`: a neural process and its rivals optimise what it was not trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.cli.finished import progress_bar, tell, write_arrays, write_evaluation
from metarl.cli.machine import prepare_jax
from metarl.cli.models import nap_directory
from metarl.cli.parse import parse
from metarl.cli.tables import print_regret_tables
from metarl.experiments.metabo_config import HeadName, RivalName, ScoringConfig, SuiteName
from metarl.run.directory import check_output


@dataclass(frozen=True)
class EvaluateNAPArguments:
    """Let a neural process and its rivals optimise held-out pools, and write every number."""

    model: Annotated[Path, tyro.conf.Positional]
    """Run of 'metarl metabo', directory of an exported neural process (nap.npz and nap.json), or its name in the zoo.
    """
    suite: tuple[SuiteName, ...] = ("xgb",)
    """What is optimised. xgb: 13 tables of XGBoost; xgb-valid: the 14 that validate; hpo-tables: 6 other measured
    tables; bbob: 24 test functions in 2, 3 and 5 dimensions; analytic: Branin, Goldstein-Price, Hartmann and Ackley in
    2 to 10, moved and scaled; sklearn, abc, scip: classifiers, logic synthesis and integer programs, evaluated here and
    kept; hpob: the test tasks of HPO-B, space by space (--hpob); optuna: studies of 20 whole tables by samplers for
    Optuna, the model's beside TPE and random (extra optuna)."""
    rivals: tuple[RivalName, ...] = ("gp-ei",)
    """Gaussian processes that optimise pools beside it, with random search: by expected improvement (gp-ei), by mean +
    2 standard deviations (gp-ucb), or within a region of trust that success widens (gp-turbo)."""
    heads: tuple[HeadName, ...] = ("ei",)
    """Rules that choose by its predictions, beside its acquisition if that was learned: expected improvement (ei, as
    np-ei), the quantile of 90 % (ucb, as np-ucb), or a draw for each candidate (thompson, as np-ts). Of pools; samplers
    for Optuna choose as its record says."""
    horizon: int = 45
    """Evaluations after the five initial ones; for optuna, trials in all, the five start-up ones included."""
    seeds: int = 5
    """Starts, or studies, in each task."""
    hpob: Path | None = None
    """Folder with the four files of HPO-B, which are not shipped. Its protocol has 100 evaluations and 5 starts."""
    batch_size: int = 32
    """Trajectories at once; memory is linear in it."""
    seed: int = 0
    """Root of what optimisers draw."""
    out: Path | None = None
    """Evaluation file to write (JSON); curves (npz) and a report page (html) get the same name. None:
    evaluations/<model>.json."""


def evaluate_nap(words: list[str]) -> None:
    """Runs the command; see `EvaluateNAPArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    arguments = parse(EvaluateNAPArguments, words, prog="metarl evaluate")
    out = arguments.out or Path("evaluations") / f"{arguments.model.resolve().name}.json"
    check_output(out, (".npz", ".html"))
    if not 0 <= arguments.seed < 2**32:
        raise ValueError(f"--seed is {arguments.seed}; it must lie in [0, 2^32)")
    config = ScoringConfig(
        suites=arguments.suite,
        rivals=arguments.rivals,
        heads=arguments.heads,
        horizon=arguments.horizon,
        seeds=arguments.seeds,
        batch_size=arguments.batch_size,
        hpob=None if arguments.hpob is None else str(arguments.hpob),
    )
    prepare_jax()
    from analysis.evaluation import write_evaluation_report
    from metarl.experiments.examine_nap import examine
    from metarl.metabo.export import load_nap

    directory = nap_directory(arguments.model)
    if directory is None:
        raise ValueError(f"the run {arguments.model} has not exported a model yet; let 'metarl metabo' finish it first")
    pretrained = directory / "pretrained"
    findings = examine(
        load_nap(directory),
        config,
        seed=arguments.seed,
        pretrained=load_nap(pretrained) if (pretrained / "nap.json").is_file() else None,
        report=tell,
        track=progress_bar,
    )
    write_arrays(out.with_suffix(".npz"), findings.arrays())
    write_evaluation(out, findings.rows, "evaluate", words)
    write_evaluation_report(out)
    print_regret_tables(findings.rows)
    print(f"\nnumbers: {out}\ncurves:  {out.with_suffix('.npz')}\nreport:  {out.with_suffix('.html')}")
