"""A bound front end -> facts: its state in the context, its tables, its place in the arena."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..frontends.sensors import AudioSource, Bound, BoundPicture, BoundRows, Store
from ..ir import DType
from ..schedule import FRONT_SCRATCH, Plan
from .facts import C_TYPES, ArrayFacts, ModelFacts, number, number_lines, place_of

FORMATS = {
    "gray": "TM_FRONT_GRAY", "rgb565": "TM_FRONT_RGB565", "rgb565-be": "TM_FRONT_RGB565_BE",
    "rgb888": "TM_FRONT_RGB888", "bgr888": "TM_FRONT_BGR888",
}  # fmt: skip
ELEMENTS = {
    DType.FLOAT32: ("TM_FRONT_FLOAT",), DType.INT16: ("TM_FRONT_WORDS",),
    DType.UINT8: ("TM_FRONT_UNSIGNED",), DType.INT8: (),
}  # fmt: skip


@dataclass(frozen=True)
class RowFacts:
    """Samples that become rows of features: ``axes`` numbers a sample, ``window`` samples and a
    ``hop`` for each row of ``row`` elements, the last ``rows`` of which the model sees."""

    function: str
    audio: bool
    noise: bool
    axes: int
    window: int
    hop: int
    row: int
    rows: int
    stride: int
    element: str
    element_bytes: int


@dataclass(frozen=True)
class PictureFacts:
    """Lines of a picture that become rows of the input."""

    width: int
    height: int
    format: str
    line_bytes: int
    rows: int
    row_bytes: int
    row: int
    element: str


@dataclass(frozen=True)
class FrontFacts:
    """All that model.h and model.c show of a front end.

    ``most`` is the number of samples or lines that a push takes, ``block`` that which the harness
    gives it, ``unit_bytes`` the size of one.
    """

    kind: str
    source: str
    defines: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, str], ...]
    params: tuple[tuple[str, str], ...]
    stores: tuple[str, ...]
    input: str
    input_bytes: int
    scratch: str
    most: int
    block: int
    unit_bytes: int
    rows: RowFacts | None
    picture: PictureFacts | None


def with_front(facts: ModelFacts, plan: Plan, front: Bound | None) -> ModelFacts:
    """The facts of a model with ``front`` before it; as they are where it is None."""
    if front is None:
        return facts
    arrival = facts.arrival
    if arrival is not None and isinstance(front, BoundPicture):
        assert arrival.rows == front.size[0], "a row of the input is a line of the picture"
    arrays: list[ArrayFacts] = []
    stores: tuple[Store, ...] = ()
    params = []
    for name, value in front.params().items():
        if name == "stores":
            stores = value
            params.append((name, f"{facts.name}_front_stores"))
        elif isinstance(value, np.ndarray):
            array = _array(f"{facts.name}_f{len(arrays)}", value)
            arrays.append(array)
            params.append((name, array.name))
        else:
            params.append((name, _constant(value)))
    scratch = "NULL"
    if front.scratch_bytes:
        scratch = f"context->{place_of(plan, FRONT_SCRATCH)}"
    found = FrontFacts(
        front.front.kind,
        front.source,
        tuple(_defines(front)),
        tuple((_field(*field[:3]), field[3]) for field in front.fields),
        tuple(params),
        tuple(_store(store) for store in stores),
        facts.inputs[0].address,
        facts.inputs[0].bytes,
        scratch,
        *_pushes(front),
        _rows(front) if isinstance(front, BoundRows) else None,
        _picture(front) if isinstance(front, BoundPicture) else None,
    )
    return replace(
        facts, front=found, arrays=(*facts.arrays, *arrays),
        weights_bytes=facts.weights_bytes + sum(array.bytes for array in arrays),
    )  # fmt: skip


def _array(name: str, value: np.ndarray) -> ArrayFacts:
    flat = np.ascontiguousarray(value).ravel()
    kind = "uint16_t" if flat.dtype == np.uint16 else C_TYPES[flat.dtype]
    return ArrayFacts(name, kind, flat.size, flat.nbytes, max(4, flat.itemsize), number_lines(flat))


def _constant(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int) and not -(1 << 31) < value < 1 << 31:
        return f"INT64_C({value})"
    return number(value)


def _store(store: Store) -> str:
    terms: Mapping[str, Any] = {
        "bias": store.bias, "multiplier": store.multiplier, "shift": store.shift,
        "low": store.low, "high": store.high, "factor": store.factor, "offset": store.offset,
    }  # fmt: skip
    return "{" + ", ".join(f".{name} = {_constant(value)}" for name, value in terms.items()) + "}"


def _field(kind: str, name: str, count: int) -> str:
    return f"{kind} {name}[{count}]" if count else f"{kind} {name}"


def _defines(front: Bound) -> list[tuple[str, str]]:
    found = [(macro, "1") for macro in ELEMENTS[front.input.dtype]]
    if isinstance(front, BoundPicture):
        found.append(("TM_FRONT_CHANNELS", str(front.channels)))
        found.append(("TM_FRONT_FORMAT", FORMATS[front.front.format]))
    return found


def _pushes(front: Bound) -> tuple[int, int, int]:
    """The most units of a push, those of the harness's, and a unit's bytes."""
    if isinstance(front, BoundPicture):
        return front.front.height, 1, front.line_bytes
    assert isinstance(front, BoundRows)
    facts = _rows(front)
    return facts.hop * facts.stride, facts.hop, 2 * facts.axes


def _rows(front: BoundRows) -> RowFacts:
    source = front.front
    audio = isinstance(source, AudioSource)
    window, hop = (source.length, source.hop) if isinstance(source, AudioSource) else (1, 1)
    return RowFacts(
        front.source, audio, any(name == "noise" for _, name, _, _ in front.fields),
        1 if audio else source.row, window, hop, source.row, front.rows, front.stride,
        front.input.dtype.c, front.input.dtype.size,
    )  # fmt: skip


def _picture(front: BoundPicture) -> PictureFacts:
    kind = front.input
    rows, width, channels = front.size
    row = width * channels
    return PictureFacts(
        front.front.width, front.front.height, front.front.format, front.line_bytes,
        rows, row * kind.dtype.size, row, kind.dtype.c,
    )  # fmt: skip
