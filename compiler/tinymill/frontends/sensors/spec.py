"""A front end by its name, or by a TOML file with its parameters."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from ...errors import InvalidInput
from .image import Picture
from .mel import LogMel, Mfcc
from .micro import Micro
from .motion import Motion
from .source import FrontEnd

KINDS: Mapping[str, type[FrontEnd]] = {
    found.kind: found for found in (Micro, Mfcc, LogMel, Picture, Motion)
}
LARGEST = 1 << 16
"""Bytes of a file that is read."""


def load(spec: str | Path | Mapping[str, Any]) -> FrontEnd:
    """The front end that ``spec`` describes: a kind's name (its defaults), a .toml file with
    ``kind`` and parameters, or the same as a mapping.

    Raises ``InvalidInput`` for a file that can't be read and for parameters that are unknown, of
    the wrong type or out of range.
    """
    if isinstance(spec, Mapping):
        return _made(spec, "front end")
    if str(spec) in KINDS:
        return _made({"kind": str(spec)}, str(spec))
    path = Path(spec)
    if path.suffix != ".toml":
        raise InvalidInput(f"front end is {str(spec)!r}, not one of {', '.join(KINDS)} or a .toml")
    try:
        if not path.is_file():
            raise InvalidInput("not a file", at=str(path))
        if path.stat().st_size > LARGEST:
            raise InvalidInput("is too large for a front end", at=str(path))
        return _made(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise InvalidInput(error.strerror or "can't be read", at=str(path)) from None
    except RecursionError:
        raise InvalidInput("is nested too deeply", at=str(path)) from None
    except ValueError as error:
        raise InvalidInput(f"is no TOML ({error})", at=str(path)) from None


def _made(table: Mapping[str, Any], at: str) -> FrontEnd:
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InvalidInput(f"kind is {kind!r}, not one of {', '.join(KINDS)}", at=at)
    found = KINDS[kind]
    hints = get_type_hints(found)
    known = [f.name for f in fields(found)]
    values = {}
    for name, value in table.items():
        if name == "kind":
            continue
        if name not in known:
            raise InvalidInput(
                f"{kind} has no parameter {name!r}", at=at, hint=f"it has {', '.join(known)}"
            )
        values[name] = _typed(value, hints[name], name, at)
    front = found(**values)
    front.check(at)
    return front


def _typed(value: Any, wanted: Any, name: str, at: str) -> Any:
    """``value`` as its parameter's type, where that loses nothing."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    whole = plain and isinstance(value, int) and abs(value) < 1 << 31
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is int and whole:
        return value
    if wanted is float and plain:
        return float(value)
    if wanted is str and isinstance(value, str):
        return value
    if wanted == tuple[float, ...]:
        numbers = value if isinstance(value, list | tuple) else [value]
        if all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers):
            return tuple(float(x) for x in numbers)
    if isinstance(value, list | tuple) and wanted in (tuple[int, ...], str | tuple[int, ...]):
        if all(isinstance(x, int) and not isinstance(x, bool) and abs(x) < 1 << 31 for x in value):
            return tuple(value)
    elif wanted == str | tuple[int, ...] and isinstance(value, str):
        return value
    raise InvalidInput(f"{name} is {value!r}, of another type than it wants", at=at)
