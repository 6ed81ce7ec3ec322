"""Transpose: axes in another order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel
from ..ir import (
    DType,
    Example,
    Flat,
    Gradient,
    KernelCall,
    Op,
    Reading,
    Site,
    Tape,
    TensorType,
    Types,
)
from .moving import walk
from .registry import from_onnx, from_tflite
from .rows import same_rows

if TYPE_CHECKING:
    from .writing import Writing


@dataclass(frozen=True)
class Transpose(Op):
    """y's axis i is x's axis order[i]. Only moves bytes, so one kernel serves all types."""

    order: tuple[int, ...]
    movement = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if sorted(self.order) != list(range(x.rank)):
            raise InvalidModel(f"order {self.order} for rank {x.rank}")
        return (TensorType(tuple(x.shape[axis] for axis in self.order), x.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types) if self.order[1:2] == (1,) else (None,)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        return (np.ascontiguousarray(x.transpose(self.order)),)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        return (write.turned(gs[0], *(int(n) for n in np.argsort(self.order))),)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        return (tape.moved(at, g, Transpose(tuple(int(n) for n in np.argsort(self.order)))),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        size = x.dtype.size
        strides = [size] * x.rank
        for axis in range(x.rank - 2, -1, -1):
            strides[axis] = strides[axis + 1] * x.shape[axis + 1]
        params = walk(y.shape, [strides[axis] for axis in self.order], size)
        return KernelCall("transpose", "b8", params, (Flat(inputs[0]), Flat(outputs[0])))

    def is_reshape(self, shape: Sequence[int]) -> bool:
        """Whether only axes of size 1 change place, so that the bytes stay as they are."""
        moved = [axis for axis in self.order if shape[axis] != 1]
        return moved == sorted(moved)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.FLOAT32, DType.INT8, DType.INT16):
            for shape, order in (
                ((2, 3, 4, 5), (0, 3, 1, 2)),
                ((3, 5), (1, 0)),
                ((2, 3, 4), (2, 0, 1)),
                ((1, 3, 4, 5), (0, 1, 3, 2)),
            ):
                x = TensorType(shape, dtype)
                op = cls(order)
                yield Example(op, Types((x,), op.infer((x,))))


@from_onnx("Transpose")
def _from_onnx(node: Any) -> None:
    rank = node.type(0).rank
    order = node.attribute("perm", list(range(rank))[::-1])
    node.add(Transpose(tuple(int(axis) for axis in order)), [node.input(0)])


@from_tflite("TRANSPOSE")
def _from_tflite(node: Any) -> None:
    order = tuple(int(axis) for axis in node.constant(1).ravel())
    node.add(Transpose(order), node.inputs[:1])
