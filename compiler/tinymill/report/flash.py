"""Where each byte of flash goes: weights by layer, code by function."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..emit import ModelFacts
from ..errors import one_line
from .layers import Constant, Layer

GROUPS = ("weights", "code", "parameters", "library", "other")
"""What a piece of flash is: constants of layers, functions of kernels and of the model, their
parameter structures and tables of turns, functions of the C library, what no symbol covers."""


class Symbol(Protocol):
    """A function or a constant (``is_code`` False) of the linked program, harness and weights left
    out."""

    @property
    def name(self) -> str: ...

    @property
    def is_code(self) -> bool: ...

    @property
    def bytes(self) -> int: ...


@dataclass(frozen=True)
class Piece:
    """Bytes of flash. ``layers`` use it, () where that is not known; ``owner`` is the layer's
    short name or the function."""

    group: str
    owner: str
    name: str
    bytes: int
    layers: tuple[int, ...]


def pieces_of(
    facts: ModelFacts,
    layers: Sequence[Layer],
    constants: Sequence[Constant],
    code: int | None,
    symbols: Sequence[Symbol],
) -> tuple[Piece, ...]:
    """All of a model's flash: ``code`` bytes with constants outside of the weights (None where no
    compiler is there to tell), of which ``symbols`` name what they cover. Weights are those of the
    emitted C, exactly."""
    found = []
    for constant in constants:
        owner = "shared by layers"
        if len(constant.layers) == 1:
            owner = f"{constant.layers[0]} {layers[constant.layers[0]].short}"
        elif not constant.layers:
            owner = "the model"
        found.append(Piece("weights", owner, constant.role, constant.bytes, constant.layers))
    if code is None:
        return tuple(found)
    users: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        users.setdefault(layer.symbol, []).append(index)
    own = re.compile(rf"{re.escape(facts.name)}_|tm_")
    covered = 0
    tables = 0
    for symbol in symbols:
        covered += symbol.bytes
        base = symbol.name.split(".")[0]
        if not symbol.is_code:
            tables += symbol.bytes
            continue
        group = "code" if own.match(base) else "library"
        found.append(Piece(group, one_line(base, 80), "", symbol.bytes, tuple(users.get(base, ()))))
    if tables:
        found.append(Piece("parameters", "of the layers' calls", "", tables, ()))
    if code > covered:
        name = "alignment, unnamed constants" if symbols else "code, parameters, library"
        found.append(Piece("other" if symbols else "code", name, "", code - covered, ()))
    return tuple(found)
