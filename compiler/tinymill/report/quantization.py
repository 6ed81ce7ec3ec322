"""Quantisation errors layer by layer, as ``tinymill quantize --json`` prints them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, one_line

LARGEST = 1 << 24
"""Bytes of a file that is read."""
MOST = 1 << 16
"""Layers in it."""


@dataclass(frozen=True)
class ErrorOfLayer:
    """Decibels of signal to quantisation noise: with all errors before it, and of its own rounding
    alone; None where nothing differs."""

    name: str
    op: str
    sqnr_db: float | None
    own_db: float | None


@dataclass(frozen=True)
class Answers:
    """Shares of right answers among ``samples``."""

    samples: int
    real: float
    quantized: float
    by: str


@dataclass(frozen=True)
class Errors:
    """What quantising a model cost."""

    layers: tuple[ErrorOfLayer, ...]
    floats: tuple[str, ...]
    answers: Answers | None


def read_errors(path: str | Path) -> Errors:
    """The errors in a file that holds what ``tinymill quantize --json`` printed.

    Raises ``InvalidInput`` where it can't be read or is something else, and says what.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidInput("is too large", at=str(path))
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(error.strerror or str(error), at=str(path)) from None
    except (ValueError, RecursionError):
        raise InvalidInput(
            "is no JSON", at=str(path), hint="tinymill quantize --json > FILE writes it"
        ) from None
    return _errors(found, str(path))


def _errors(found: Any, at: str) -> Errors:
    if not isinstance(found, Mapping) or not isinstance(found.get("layers"), list):
        raise InvalidInput(
            "is not what tinymill quantize --json prints: it has no list of layers", at=at
        )
    if len(found["layers"]) > MOST:
        raise InvalidInput(f"has more than {MOST:,} layers", at=at)
    layers = []
    for index, entry in enumerate(found["layers"]):
        where = f"layer {index}"
        if not isinstance(entry, Mapping):
            raise InvalidInput(f"{where} is no object", at=at)
        layers.append(
            ErrorOfLayer(
                _text(entry, "name", where, at), _text(entry, "op", where, at),
                _decibels(entry, "sqnr_db", where, at), _decibels(entry, "own_db", where, at),
            )
        )  # fmt: skip
    floats = found.get("float_layers", [])
    if not isinstance(floats, list) or not all(isinstance(name, str) for name in floats):
        raise InvalidInput("float_layers is no list of names", at=at)
    return Errors(tuple(layers), tuple(one_line(name, 200) for name in floats), _answers(found, at))


def _answers(found: Mapping[str, Any], at: str) -> Answers | None:
    entry = found.get("accuracy")
    if entry is None:
        return None
    if not isinstance(entry, Mapping):
        raise InvalidInput("accuracy is no object", at=at)
    samples = entry.get("samples")
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise InvalidInput("accuracy has no number of samples", at=at)
    shares = []
    for key in ("float", "quantized"):
        share = entry.get(key)
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
            raise InvalidInput(f"accuracy: {key} is no share from 0 to 1", at=at)
        shares.append(float(share))
    return Answers(samples, shares[0], shares[1], _text(entry, "by", "accuracy", at))


def _text(entry: Mapping[str, Any], key: str, where: str, at: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise InvalidInput(f"{where} has no {key}", at=at)
    return one_line(value, 200)


def _decibels(entry: Mapping[str, Any], key: str, where: str, at: str) -> float | None:
    value = entry.get(key, "")
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise InvalidInput(f"{where}: {key} is no number of decibels", at=at)
    return float(value)
