"""What commands leave when their work is done: an evaluation, arrays beside it, and whether all of it is there."""

import io
import json
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metarl.run.directory import write_atomic
from metarl.run.provenance import describe_session

EVALUATION, REPORT = "evaluation.json", "report.html"
"""Files of a run that its command makes after the last step, relative to its directory."""


def is_finished(run: Path, files: Iterable[str]) -> bool:
    """Returns whether the steps of a run are done and all these files of it are there."""
    status = run / "STATUS"
    is_done = status.is_file() and status.read_text().strip() == "done"
    return is_done and all((run / file).is_file() for file in files)


def write_evaluation(path: Path, rows: list[dict[str, Any]], command: str, words: list[str]) -> None:
    """Writes rows with the command line, the commit and the device that they come from."""
    from metarl.experiments.evaluate import evaluation_file

    git = describe_session()["git"]
    content = evaluation_file(rows, command=shlex.join(["metarl", command, *words]), commit=git and git["commit"])
    write_atomic(path, json.dumps(content, allow_nan=False) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of an evaluation file.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        return json.loads(path.read_text())["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not an evaluation file ({error!r}); delete it to have it made again") from error


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name as npz."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(array) for name, array in arrays.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def tell(message: str) -> None:
    """Tells a person what is done next."""
    print(message, file=sys.stderr)


def progress_bar(items: Sequence[Any]) -> Iterable[Any]:
    """Returns the items, and shows how many have been taken."""
    from tqdm import tqdm

    return tqdm(items, leave=False)
