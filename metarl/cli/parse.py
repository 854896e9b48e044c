"""The words of a command line as a dataclass, or one sentence about what is wrong with them."""

import contextlib
import io
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import tyro

from metarl.experiments.config import ConfigError

Arguments = TypeVar("Arguments")


def parse(kind: type[Arguments], words: Sequence[str], *, prog: str, default: Any = None) -> Arguments:
    """Returns the words as an object of this dataclass; what they leave out is as in `default`.

    Raises:
        ConfigError: if the words make a configuration that cannot be; the message is that of its own check.
        SystemExit: after help was printed (code 0), and after tyro has explained why words cannot be read (code 2).
    """
    options = {} if default is None else {"default": default}
    drawn = io.StringIO()
    try:
        with contextlib.redirect_stderr(drawn):
            # Where a field may hold one of several dataclasses, the default says which, instead of a subcommand.
            return tyro.cli(kind, args=words, prog=prog, config=(tyro.conf.AvoidSubcommands,), **options)
    except SystemExit as stop:
        refusal = _cause(stop)
        if refusal is None:
            sys.stderr.write(drawn.getvalue())
            raise
    raise refusal


def preset_in(words: Sequence[str], presets: Iterable[str], default: str) -> str:
    """Returns the preset that the words ask for; it must be known before parsing, because it sets all defaults.

    Raises:
        ValueError: if there is no such preset.
    """
    given = [value for word, value in zip(words, [*words[1:], ""], strict=True) if word == "--preset"]
    given += [word.removeprefix("--preset=") for word in words if word.startswith("--preset=")]
    preset = given[-1] if given else default
    if preset not in presets:
        raise ValueError(f"there is no preset {preset!r}; choose one of {', '.join(presets)}")
    return preset


def _cause(error: BaseException | None) -> ConfigError | None:
    """Returns the refusal that an error was raised in answer to, if there is one: tyro would draw a box around it."""
    while error is not None and not isinstance(error, ConfigError):
        error = error.__context__
    return error
