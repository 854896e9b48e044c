"""Configs, which are nested frozen dataclasses, as JSON values that load to an equal object."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from metarl.run.errors import UserError

TAG = "type"
"""The key that holds a dataclass's name, and therefore not a name for a field."""
INFINITE = "float"
"""The tag of an infinite number, which JSON cannot spell."""
ABSENT = object()
"""Stands for a field that one of two configs does not have."""


def encode(config: Any) -> Any:
    """Returns the config as JSON values: `{"type": name, field: ...}` for a dataclass, a list for a tuple.

    Args:
        config: a dataclass instance whose fields hold None, bool, int, float, str, tuples of these, or such
            dataclasses.

    Raises:
        UserError: naming the first field that holds anything else (lists, dicts, NaN, NumPy numbers, ...), because it
            would not load to an equal object.
    """
    return _encode(config, "config")


def decode(data: Any, types: Iterable[type]) -> Any:
    """Returns the object that `encode` was given.

    A field that the data does not have, because they are older than it, takes its default.

    Args:
        data: JSON values from `encode`.
        types: the dataclasses that may appear; nothing else is ever constructed.

    Raises:
        UserError: naming an unknown type, an unknown field, a missing field without a default, or what a dataclass said
            to its values.
    """
    return _decode(data, {t.__name__: t for t in types}, "config")


def differences(on_disk: Any, given: Any) -> list[str]:
    """Returns one line per differing field, such as `population.size: 64 on disk, 32 given`; empty for equal configs.

    Each argument is a config or what `encode` made of one.
    """
    return list(_differences(_as_encoded(on_disk), _as_encoded(given), ""))


def _as_encoded(config):
    return encode(config) if dataclasses.is_dataclass(config) else config


def _encode(value, where):
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _encode(getattr(value, f.name), f"{where}.{f.name}") for f in _stored_fields(type(value))}
        if TAG in fields:
            raise UserError(f"{where} has a field named {TAG!r}, which marks the type in JSON; rename the field")
        return {TAG: type(value).__name__, **fields}
    if type(value) is tuple:
        return [_encode(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if type(value) is float and math.isinf(value):
        return {TAG: INFINITE, "value": str(value)}
    if value is None or type(value) in (bool, int, str) or (type(value) is float and not math.isnan(value)):
        return value
    raise UserError(
        f"{where} is {value!r}, of type {type(value).__name__}; a config holds None, bool, int, float but not NaN, "
        "str, tuples of these and dataclasses of these"
    )


def _stored_fields(cls):
    return [f for f in dataclasses.fields(cls) if f.init]


def _has_default(field):
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _decode(data, types, where):
    if isinstance(data, list):
        return tuple(_decode(item, types, f"{where}[{index}]") for index, item in enumerate(data))
    if not isinstance(data, dict):
        return data
    name = data.get(TAG)
    if name == INFINITE and data.get("value") in ("inf", "-inf"):
        return float(data["value"])
    if name not in types:
        raise UserError(f"{where} has the unknown type {name!r}; known are {', '.join(sorted(types))}")
    _check_fields(data, types[name], where)
    values = {key: _decode(value, types, f"{where}.{key}") for key, value in data.items() if key != TAG}
    try:
        return types[name](**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where} is not a valid {name}: {error}") from error


def _check_fields(data, cls, where):
    fields = _stored_fields(cls)
    known, required = {f.name for f in fields}, {f.name for f in fields if not _has_default(f)}
    unknown, missing = sorted(set(data) - known - {TAG}), sorted(required - set(data))
    if unknown or missing:
        faults = [f"unknown field {name!r}" for name in unknown] + [f"missing field {name!r}" for name in missing]
        raise UserError(f"{where} has {', '.join(faults)}; {cls.__name__} has the fields {', '.join(sorted(known))}")


def _differences(on_disk, given, where):
    if isinstance(on_disk, dict) and isinstance(given, dict) and on_disk.get(TAG) == given.get(TAG) != INFINITE:
        for name in {**on_disk, **given}:
            inner = f"{where}.{name}" if where else name
            yield from _differences(on_disk.get(name, ABSENT), given.get(name, ABSENT), inner)
    elif isinstance(on_disk, list) and isinstance(given, list) and len(on_disk) == len(given):
        for index, (left, right) in enumerate(zip(on_disk, given, strict=True)):
            yield from _differences(left, right, f"{where}[{index}]")
    elif on_disk != given:
        yield f"{where or 'config'}: {_shown(on_disk)} on disk, {_shown(given)} given"


def _shown(value):
    if value is ABSENT:
        return "absent"
    if isinstance(value, list):
        return "(" + ", ".join(map(_shown, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, dict):
        return value["value"] if value.get(TAG) == INFINITE else str(value.get(TAG))
    return repr(value)
