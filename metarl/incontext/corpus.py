"""Contexts on disk: written once, read back whole or in shuffled batches by a kept loader (extra `data`).

A corpus is a directory of ArrayRecord files, one context a record, with its answers where they are known, and
`corpus.json` with the layout. It is for data that cannot be made on device: histories of slow learners, or of a real
system.
"""

import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from metarl.incontext.agent import Transition
from metarl.incontext.context import Answered, Context, OrderedContext, UnorderedContext

SCHEMA = 1
"""Version of the layout."""
DESCRIPTION = "corpus.json"
MISSING = "reading and writing corpora needs the packages grain and array_record; install metarl[data]"


def write_corpus(directory: str | os.PathLike, contexts: Iterable[Context | Answered], *, per_file: int = 1024) -> Path:
    """Returns the directory, made if missing, with every context in it, `per_file` to a file.

    Contexts are unbatched, all of one type and of equal shapes; all have answers or none. `corpus.json` is written
    last, so that an interrupted writing leaves nothing that `read_corpus` takes for a corpus.

    Raises:
        ValueError: if there is none, they differ in type or shapes, the directory holds a corpus, or packages are
            missing.
    """
    try:
        from array_record.python.array_record_module import ArrayRecordWriter
    except ImportError as error:
        raise ValueError(MISSING) from error
    directory = Path(directory)
    if (directory / DESCRIPTION).exists():
        raise ValueError(f"{directory} already holds a corpus; name another directory")
    directory.mkdir(parents=True, exist_ok=True)
    layouts, count, writer = set(), 0, None
    for context in contexts:
        if count % per_file == 0:
            if writer is not None:
                writer.close()
            writer = ArrayRecordWriter(str(directory / f"{count // per_file:06d}.array_record"), "group_size:1")
        assert writer is not None
        writer.write(_pack(context))
        layouts.add(_layout(context))
        count += 1
    if writer is not None:
        writer.close()
    if len(layouts) != 1:
        raise ValueError(
            f"a corpus of {count} contexts has the layouts {sorted(layouts)}; write at least one, all of one type and "
            "of equal shapes"
        )
    ((kind, is_answered, _),) = layouts
    description = {"schema": SCHEMA, "type": kind, "answered": is_answered, "count": count}
    (directory / DESCRIPTION).write_text(json.dumps(description) + "\n")
    return directory


def read_corpus(
    directory: str | os.PathLike, *, batch_size: int, seed: int, num_epochs: int | None = None, skip: int = 0
) -> Iterator[Context | Answered]:
    """Returns batches of contexts, leading axis B, in a new random order in every epoch; a last part is left out.

    The order is decided by the seed, so that `skip` batches of a run that was stopped continue it exactly. Reading is
    ahead of use, in threads.

    Args:
        directory: as written by `write_corpus`.
        batch_size: B, at least 1 and no more than there are contexts.
        seed: of the order.
        num_epochs: times that everything is read; None: for ever.
        skip: batches at the beginning to leave out.

    Raises:
        ValueError: if there is no corpus, it is damaged, a number is out of range, or packages are missing.
    """
    records, description = _open(directory)
    if not 1 <= batch_size <= description["count"]:
        raise ValueError(
            f"batch_size is {batch_size}; the corpus holds {description['count']}, so choose 1 to that many"
        )
    import grain

    data = grain.MapDataset.source(records).shuffle(seed=seed).repeat(num_epochs).map(_unpack)
    data = data.batch(batch_size, drop_remainder=True)[skip:].to_iter_dataset()
    return (_contexts(batch, description) for batch in data)


def load_corpus(directory: str | os.PathLike) -> Context | Answered:
    """Returns everything, leading axis N, in the order in which it was written; it must fit into memory.

    Raises:
        ValueError: if there is no corpus, it is damaged, or packages are missing.
    """
    records, description = _open(directory)
    found = [_unpack(records[index]) for index in range(len(records))]
    return _contexts({name: np.stack([one[name] for one in found]) for name in found[0]}, description)


def _open(directory: str | os.PathLike) -> tuple[Any, dict[str, Any]]:
    """Returns the records and what is said about them."""
    try:
        import grain
    except ImportError as error:
        raise ValueError(MISSING) from error
    directory = Path(directory)
    description = _describe(directory)
    files = sorted(str(path) for path in directory.glob("*.array_record"))
    records = grain.sources.ArrayRecordDataSource(files) if files else []
    if len(records) != description["count"]:
        raise ValueError(f"{directory} holds {len(records)} contexts of {description['count']}; write the corpus again")
    return records, description


def _describe(directory: Path) -> dict[str, Any]:
    try:
        description = json.loads((directory / DESCRIPTION).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory} holds no corpus ({error}); write one with write_corpus") from error
    if description.get("schema") != SCHEMA:
        raise ValueError(f"{directory} has schema {description.get('schema')!r}; this version reads schema {SCHEMA}")
    return description


def _leaves(context: Context | Answered) -> list[Any]:
    if isinstance(context, Answered):
        return [*_leaves(context.context), context.observation, context.answer]
    return [*context.transitions, context.length]


def _layout(context: Context | Answered) -> tuple[str, bool, str]:
    """Returns what all contexts of a corpus have in common: type, whether there are answers, shapes and dtypes."""
    is_answered = isinstance(context, Answered)
    kind = type(context.context if is_answered else context).__name__
    return kind, is_answered, ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in map(np.asarray, _leaves(context)))


def _pack(context: Context | Answered) -> bytes:
    buffer = io.BytesIO()
    leaves = _leaves(context)
    if any(isinstance(leaf, dict | tuple | list) for leaf in leaves):
        raise ValueError("observations are nested; a corpus holds arrays, so store what Domain.encode makes of them")
    np.savez(buffer, **{str(index): np.asarray(leaf) for index, leaf in enumerate(leaves)})
    return buffer.getvalue()


def _unpack(record: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(record), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _contexts(batch: dict[str, np.ndarray], description: dict[str, Any]) -> Context | Answered:
    """Returns the contexts that these leaves are of."""
    kind = {"OrderedContext": OrderedContext, "UnorderedContext": UnorderedContext}[description["type"]]
    leaves = [jnp.asarray(batch[str(index)]) for index in range(len(batch))]
    num_answers = 2 if description.get("answered", False) else 0
    split = len(leaves) - num_answers
    context = kind(Transition(*leaves[: split - 1]), leaves[split - 1])
    return Answered(context, *leaves[split:]) if num_answers else context
