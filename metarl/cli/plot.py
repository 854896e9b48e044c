"""`metarl plot RUN`: the report page of a run, of an evaluation, or of a rule."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.cli.models import is_metabo, is_pretraining, is_teaching
from metarl.cli.parse import parse


@dataclass(frozen=True)
class PlotArguments:
    """Write a report page, and its figures with their numbers.

    Of a run: results, meta-training and what the rule does. Of an evaluation file: tables and learning curves. Of an
    exported rule with a drift function (LPO), or one of the zoo: the drift over ratio, advantage and life.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory, evaluation file (.json), directory of an exported rule, or the name of a rule in the zoo."""
    out: Path | None = None
    """Directory for the page of a rule. None: rules/<name>. Runs and evaluations have their pages beside them."""
    symbolic: bool = False
    """Also search for a formula of the rule's drift, and print it with its fit error (minutes; needs metarl[symbolic]).
    """


def plot(words: list[str]) -> None:
    """Writes the page and prints where it is; see `PlotArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    arguments = parse(PlotArguments, words, prog="metarl plot")
    if is_pretraining(arguments.run):
        from analysis.incontext import write_pretrain_report as write

        report = write(arguments.run)
    elif is_metabo(arguments.run):
        from analysis.bo import write_metabo_report as write

        report = write(arguments.run)
    elif is_teaching(arguments.run):
        from analysis.curricula_report import write_teach_report as write

        report = write(arguments.run)
    elif arguments.run.suffix == ".json" and arguments.run.name != "rule.json" and arguments.run.is_file():
        from analysis.evaluation import write_evaluation_report as write

        report = write(arguments.run)
    elif _is_rule(arguments.run):
        from analysis.drift_report import write_rule_report
        from metarl.cli.rules import rule_directory

        report = write_rule_report(
            rule_directory(arguments.run), arguments.out or Path("rules") / arguments.run.resolve().name
        )
    else:
        from analysis.report import write_report

        report = write_report(arguments.run)
    if arguments.symbolic:
        _print_formula(arguments.run)
    print(f"report: {report}")


def _is_rule(path: Path) -> bool:
    """Returns whether the path is an exported rule, and no run, or a name in the zoo."""
    from metarl import zoo

    is_run = (path / "config.json").is_file()
    return (path / "rule.json").is_file() and not is_run or not path.exists() and str(path) in zoo.names()


def _print_formula(path: Path) -> None:
    from analysis.drift import rule_drift
    from analysis.symbolic import distil
    from metarl.cli.rules import find_rule

    print(distil(rule_drift(find_rule(path)[0])))
