"""`metarl plot RUN`: the report page of a run, of an evaluation, of a rule or of a model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.cli.models import is_metabo, is_pretraining, is_teaching, model_directory, nap_directory
from metarl.cli.parse import parse


@dataclass(frozen=True)
class PlotArguments:
    """Write a report page, and its figures with their numbers.

    Of a run: results, meta-training and what the rule does. Of an evaluation file: tables and learning curves. Of an
    exported rule with a drift function (LPO), or one of the zoo: the drift over ratio, advantage and life. Of an
    exported model, or one of the zoo: what it was measured to do, as far as that is kept with it, and what it does in a
    Dark Room, if it was trained in one.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory, evaluation file (.json), directory of an exported rule or model, or its name in the zoo."""
    out: Path | None = None
    """Directory for the page of a rule or model. None: rules/<name> or models/<name>. Runs and evaluations have their
    pages beside them."""
    symbolic: bool = False
    """Also search for a formula of the rule's drift, and print it with its fit error (minutes; needs metarl[symbolic]).
    """


def plot(words: list[str]) -> None:
    """Writes the page and prints where it is; see `PlotArguments`.

    Raises:
        ValueError: for anything the user can mend, in one sentence.
    """
    arguments = parse(PlotArguments, words, prog="metarl plot")
    path = arguments.run
    directory = _exported(path)
    if directory is None:
        report = _writer_of_results(path)(path)
    else:
        write, folder = _writer_of_exported(directory)
        report = write(directory, arguments.out or Path(folder) / path.resolve().name)
    if arguments.symbolic:
        _print_formula(arguments.run)
    print(f"report: {report}")


def _exported(path: Path) -> Path | None:
    """Returns the directory of the exported rule or model that is meant, or None if it is not one alone, but a run."""
    from metarl import zoo
    from metarl.cli.rules import rule_directory

    if (path / "config.json").is_file():  # its page has more to show than that of its export
        return None
    if (path / "rule.json").is_file() or not path.exists() and str(path) in zoo.names():
        return rule_directory(path)
    return nap_directory(path) or model_directory(path)


def _writer_of_exported(directory: Path) -> tuple[Callable[[Path, Path], Path], str]:
    """Returns what writes the page of an export into a directory, and the folder where such pages are kept."""
    if (directory / "nap.json").is_file():
        from analysis.bo_evaluation import write_nap_report

        return write_nap_report, "models"
    if (directory / "model.json").is_file():
        from analysis.incontext_evaluation import write_model_report

        return write_model_report, "models"
    from analysis.drift_report import write_rule_report

    return write_rule_report, "rules"


def _writer_of_results(path: Path) -> Callable[[Path], Path]:
    """Returns what writes the page of a run into it, or that of an evaluation file beside it."""
    if is_pretraining(path):
        from analysis.incontext import write_pretrain_report as write
    elif is_metabo(path):
        from analysis.bo import write_metabo_report as write
    elif is_teaching(path):
        from analysis.curricula_report import write_teach_report as write
    elif path.suffix == ".json" and path.name != "rule.json" and path.is_file():
        from analysis.evaluation import write_evaluation_report as write
    else:
        from analysis.report import write_report as write
    return write


def _print_formula(path: Path) -> None:
    from analysis.drift import rule_drift
    from analysis.symbolic import distil
    from metarl.cli.rules import find_rule

    print(distil(rule_drift(find_rule(path)[0])))
