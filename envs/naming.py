"""Things made from words: `name`, or `name@option=value,option=value`."""

import difflib
import inspect
from collections.abc import Callable, Collection
from typing import Any, Literal, get_args, get_origin


def check_name(name: str, known: Collection[str], kind: str) -> None:
    """Raises a ValueError that advises, if the name is not among those known; `kind` says what it should name."""
    if name not in known:
        close = difflib.get_close_matches(name, known, n=2, cutoff=0.4)
        advice = f"did you mean {' or '.join(close)}" if close else f"choose one of {', '.join(known)}"
        raise ValueError(f"there is no {kind} called {name!r}; {advice}")


def options_in(spec: str, factory: Callable[..., Any]) -> dict[str, Any]:
    """Returns the options that `name@option=value,...` gives, in the types of the defaults of the factory's parameters.

    Parameters without a default, or whose default is None, cannot be spelled.

    Raises:
        ValueError: if an option is unknown, or its value is of another type or none of its choices.
    """
    name, _, words = spec.partition("@")
    parameters = inspect.signature(factory).parameters
    known = {key: p for key, p in parameters.items() if p.default not in (None, inspect.Parameter.empty)}
    given = {}
    for word in filter(None, words.split(",")):
        key, has_value, value = word.partition("=")
        if key not in known or not has_value:
            raise ValueError(f"{spec!r} has the option {word!r}; {name} takes {', '.join(known)}, each as option=value")
        choices = get_args(known[key].annotation) if get_origin(known[key].annotation) is Literal else ()
        if choices and value not in choices:
            raise ValueError(f"{spec!r} has {key}={value!r}; choose one of {', '.join(choices)}")
        given[key] = _parse(spec, key, value, known[key].default)
    return given


def _parse(spec: str, key: str, value: str, default: Any) -> Any:
    kind = type(default)
    try:
        if kind is bool:
            return {"true": True, "false": False}[value.lower()]
        return kind(value)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{spec!r} has {key}={value!r}, which is no {kind.__name__}; its default is {default}"
        ) from error
