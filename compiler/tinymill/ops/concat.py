"""Concat: inputs joined along one axis (Pack too)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    Flat,
    Gradient,
    KernelCall,
    Op,
    Operand,
    Param,
    Reading,
    Site,
    Tape,
    TensorType,
    Types,
    Window,
)
from .lookup import as_table
from .registry import from_onnx, from_tflite
from .reshape import Reshape
from .rows import same_places, same_rows
from .slice import Slice

if TYPE_CHECKING:
    from .writing import Writing

MOST = 16
"""Inputs that one kernel call joins."""


@dataclass(frozen=True)
class Concat(Op):
    """The inputs, equal but for the size of ``axis``, one after the other along it."""

    axis: int
    movement = True
    alike = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        kinds = [kind for kind in inputs if kind is not None]
        if not kinds or not 0 <= self.axis < kinds[0].rank:
            raise InvalidModel(f"{len(kinds)} inputs joined along axis {self.axis}")
        first = kinds[0]
        for kind in kinds:
            ours = [n for a, n in enumerate(kind.shape) if a != self.axis]
            if ours != [n for a, n in enumerate(first.shape) if a != self.axis]:
                raise InvalidModel(f"{first} and {kind} do not join along axis {self.axis}")
            if kind.dtype is not first.dtype:
                raise InvalidModel(f"types {first} and {kind} differ")
        shape = list(first.shape)
        shape[self.axis] = sum(kind.shape[self.axis] for kind in kinds)
        return (TensorType(tuple(shape), first.dtype),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        return (np.concatenate([x for x in inputs if x is not None], axis=self.axis),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types, len(types.inputs))

    def along(self, types: Types, axis: int) -> tuple[Window | None, ...]:
        count = len(types.inputs)
        return (None,) * count if axis == self.axis else same_places(types, axis, count)

    def column_windows(self, types: Types) -> tuple[Reading | None, ...] | None:
        return self.windows(types) if self.axis == types.output.rank - 1 else None

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return Concat(order[self.axis])

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        found: list[str | None] = []
        first = 0
        for kind, wanted in zip(at.types.inputs, at.wanted, strict=True):
            assert kind is not None
            begin = tuple(first if axis == self.axis else 0 for axis in range(kind.rank))
            found.append(write.cut(gs[0], begin, kind.shape) if wanted else None)
            first += kind.shape[self.axis]
        return tuple(found)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        found, first = [], 0
        for kind, wanted in zip(at.types.inputs, at.wanted, strict=True):
            assert kind is not None
            begin = tuple(first if axis == self.axis else 0 for axis in range(kind.rank))
            part = Slice(begin, kind.shape, (1,) * kind.rank)
            found.append(tape.moved(at, g, part) if wanted else None)
            first += kind.shape[self.axis]
        return tuple(found)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        if len(inputs) > MOST:
            raise UnsupportedOp(f"{len(inputs)} inputs joined at once, at most {MOST}")
        params = parts(types.output, self.axis, [kind for kind in types.inputs if kind])
        fill: list[Operand] = [None] * (MOST - len(inputs))
        operands = (*(Flat(name) for name in inputs), *fill, Flat(outputs[0]))
        return KernelCall("concat", "b8", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.INT8, DType.FLOAT32, DType.INT16):
            for axis, sizes in ((0, (1, 2)), (1, (3, 1, 4)), (2, (5,)), (2, (1,) * MOST)):
                kinds = []
                for size in sizes:
                    shape = [2, 3, 4]
                    shape[axis] = size
                    kinds.append(TensorType(tuple(shape), dtype))
                op = cls(axis)
                yield Example(op, Types(tuple(kinds), op.infer(kinds)))
            for axis, shapes in (
                (3, ((1, 3, 4, 2), (1, 3, 4, 5))),
                (2, ((1, 3, 4, 2), (1, 3, 1, 2))),
            ):
                kinds = [TensorType(shape, dtype) for shape in shapes]
                yield Example(cls(axis), Types(tuple(kinds), cls(axis).infer(kinds)))


def parts(whole: TensorType, axis: int, pieces: Sequence[TensorType]) -> dict[str, Param]:
    """How often the pieces follow each other in ``whole``, and their bytes each time."""
    inner = prod(whole.shape[axis + 1 :]) * whole.dtype.size
    run = [piece.shape[axis] * inner for piece in pieces]
    return {
        "outer": prod(whole.shape[:axis]),
        "pieces": len(pieces),
        "bytes": (*run, *([0] * (MOST - len(run)))),
    }


def add_concat(
    axis: int,
    values: Sequence[str],
    emit: Callable[[Op, list[str]], str],
    add: Callable[[Op, list[str]], Any],
) -> None:
    """Joins any number of values, by several nodes where they are too many for one."""
    rest = list(values)
    while len(rest) > MOST:
        groups = [rest[i : i + MOST] for i in range(0, len(rest), MOST)]
        rest = [group[0] if len(group) == 1 else emit(Concat(axis), group) for group in groups]
    add(Concat(axis), rest)


@from_tflite("CONCATENATION")
def _from_tflite(node: Any) -> None:
    y = node.output_type(0)
    options = node.options("ConcatenationOptions")
    if options.FusedActivationFunction() != 0:
        raise node.unsupported("a fused activation")
    axis = options.Axis() + y.rank if options.Axis() < 0 else options.Axis()
    values = []
    for position, name in enumerate(node.inputs):
        x, value = node.type(position), name
        if node.was_uint8(0) and x.quant != y.quant:
            # legacy uint8 rescales in float32 (ConcatenationWithScaling); int8 is copied as it is
            scale = np.float32(x.scale) * (np.float32(1) / np.float32(y.scale))
            offset = np.float32(-(x.zero_point + 128)) * scale
            raw = np.arange(256, dtype=np.float32) * scale + offset
            rounded = np.sign(raw) * np.floor(np.abs(raw).astype(np.float64) + 0.5)
            value = node.emit(as_table(rounded + y.zero_point), [name], y.quant)
        values.append(value)
    add_concat(axis, values, lambda op, names: node.emit(op, names, y.quant), node.add)


@from_tflite("PACK")
def _pack(node: Any) -> None:
    y = node.output_type(0)
    axis = node.options("PackOptions").Axis()
    axis = axis + y.rank if axis < 0 else axis
    shape = tuple(1 if a == axis else n for a, n in enumerate(y.shape))
    values = [node.emit(Reshape(shape), [value], y.quant) for value in node.inputs]
    add_concat(axis, values, lambda op, names: node.emit(op, names, y.quant), node.add)


@from_onnx("Concat")
def _from_onnx(node: Any) -> None:
    axis = node.attribute("axis", 0)
    axis = axis + node.type(0).rank if axis < 0 else axis
    values = [node.input(i) for i in range(len(node.inputs))]
    add_concat(axis, values, node.emit, node.add)
