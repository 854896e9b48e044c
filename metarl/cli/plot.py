"""`metarl plot RUN`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from metarl.cli.parse import parse


@dataclass(frozen=True)
class PlotArguments:
    """Write the report page of a run, and its figures with their numbers."""

    run: Annotated[Path, tyro.conf.Positional]
    """Directory of the run."""


def plot(words: list[str]) -> None:
    """Writes the report of a run and prints where it is."""
    arguments = parse(PlotArguments, words, prog="metarl plot")
    from analysis.report import write_report

    print(f"report: {write_report(arguments.run)}")
