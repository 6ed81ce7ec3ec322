"""Split: one input cut into pieces along one axis (Unpack too)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Operand,
    Reading,
    Site,
    TensorType,
    Types,
)
from .concat import MOST, parts
from .registry import from_onnx, from_tflite
from .rows import same_rows

if TYPE_CHECKING:
    from .writing import Writing


@dataclass(frozen=True)
class Split(Op):
    """Pieces of ``sizes`` along ``axis``; ``squeeze`` drops the axis from pieces of size 1."""

    axis: int
    sizes: tuple[int, ...]
    squeeze: bool = False
    movement = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if not 0 <= self.axis < x.rank or min(self.sizes, default=0) < 1:
            raise InvalidModel(f"pieces of {self.sizes} along axis {self.axis} of {x.shape}")
        if sum(self.sizes) != x.shape[self.axis] or (self.squeeze and max(self.sizes) > 1):
            raise InvalidModel(f"pieces of {self.sizes} along axis {self.axis} of {x.shape}")
        return tuple(
            TensorType(
                (
                    *x.shape[: self.axis],
                    *(() if self.squeeze else (size,)),
                    *x.shape[self.axis + 1 :],
                ),
                x.dtype,
            )
            for size in self.sizes
        )

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        pieces = np.split(x, np.cumsum(self.sizes)[:-1], axis=self.axis)
        return tuple(
            np.ascontiguousarray(piece).reshape(kind.shape)
            for piece, kind in zip(pieces, types.outputs, strict=True)
        )

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return None if self.squeeze else Split(order[self.axis], self.sizes)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        x = at.types.input(0)
        parts = []
        for g, size in zip(gs, self.sizes, strict=True):
            shape = (*x.shape[: self.axis], size, *x.shape[self.axis + 1 :])
            parts.append(write.zeros(shape) if g is None else write.reshaped(g, *shape))
        return (write.joined(parts, self.axis),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        if len(outputs) > MOST:
            raise UnsupportedOp(f"{len(outputs)} pieces, at most {MOST}")
        x = types.input(0)
        pieces = [
            x.with_shape((*x.shape[: self.axis], size, *x.shape[self.axis + 1 :]))
            for size in self.sizes
        ]
        fill: list[Operand] = [None] * (MOST - len(outputs))
        operands = (Flat(inputs[0]), *(Flat(name) for name in outputs), *fill)
        return KernelCall("split", "b8", parts(x, self.axis, pieces), operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.INT8, DType.FLOAT32):
            x = TensorType((2, 6, 5), dtype)
            for op in (cls(1, (1, 2, 3)), cls(2, (5,)), cls(0, (1, 1), True)):
                yield Example(op, Types((x,), op.infer((x,))))
            x = TensorType((1, 3, 4, 5), dtype)
            for op in (cls(3, (2, 3)), cls(2, (1, 1, 2)), cls(1, (1, 2))):
                yield Example(op, Types((x,), op.infer((x,))))


def _tflite_axis(node: Any, position: int, rank: int) -> int:
    axis = int(node.constant(position).ravel()[0])
    return axis + rank if axis < 0 else axis


@from_tflite("SPLIT")
def _split(node: Any) -> None:
    x = node.type(1)
    axis = _tflite_axis(node, 0, x.rank)
    count = len(node.output_indices)
    if not 0 <= axis < x.rank or count < 1 or x.shape[axis] % count:
        raise node.invalid(f"{count} pieces along axis {axis} of {x.shape}")
    node.add(Split(axis, (x.shape[axis] // count,) * count), node.inputs[1:2])


@from_tflite("SPLIT_V")
def _split_v(node: Any) -> None:
    x = node.type(0)
    axis = _tflite_axis(node, 2, x.rank)
    sizes = [int(n) for n in node.constant(1).ravel()]
    if sizes.count(-1) == 1 and 0 <= axis < x.rank:
        sizes[sizes.index(-1)] = x.shape[axis] - sum(sizes) - 1
    node.add(Split(axis, tuple(sizes)), node.inputs[:1])


@from_tflite("UNPACK")
def _unpack(node: Any) -> None:
    x = node.type(0)
    axis = node.options("UnpackOptions").Axis()
    axis = axis + x.rank if axis < 0 else axis
    node.add(Split(axis, (1,) * len(node.output_indices), True), node.inputs[:1])


@from_onnx("Split")
def _from_onnx(node: Any) -> None:
    x = node.type(0)
    axis = node.attribute("axis", 0)
    axis = axis + x.rank if axis < 0 else axis
    if not 0 <= axis < x.rank:
        raise node.invalid(f"axis {axis} of {x.shape}")
    sizes = node.attribute("split", None)
    if sizes is None and node.has(1):
        sizes = node.constant(1).ravel().tolist()
    if sizes is None:
        count = len(node.outputs)
        step = -(-x.shape[axis] // count)
        sizes = [min(step, x.shape[axis] - i * step) for i in range(count)]
    node.add(Split(axis, tuple(int(n) for n in sizes)), [node.input(0)])
