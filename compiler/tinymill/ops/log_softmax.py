"""LogSoftmax, and ONNX's Softmax and LogSoftmax on any axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnsupportedOp
from ..ir import (
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Param,
    Reading,
    Site,
    TensorType,
    Types,
    Window,
)
from .registry import from_onnx, from_tflite
from .reshape import Reshape
from .rows import same_places, same_rows
from .softmax import Softmax
from .transpose import Transpose

if TYPE_CHECKING:
    from .writing import Writing


@dataclass(frozen=True)
class LogSoftmax(Op):
    """y = x - max x - ln(sum exp(x - max x)) along the last axis, in float32."""

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        return (TensorType(x.shape, x.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types)

    def along(self, types: Types, axis: int) -> tuple[Window | None, ...]:
        inner = axis < types.output.rank - 1
        return same_places(types, axis) if inner else (None,) * len(types.inputs)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return self if order[-1] == len(order) - 1 else None

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        shifted = x.astype(np.float64) - x.max(axis=-1, keepdims=True)
        total = np.exp(shifted).sum(axis=-1, keepdims=True)
        return ((shifted - np.log(total)).astype(np.float32),)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        total = write.total(gs[0], (at.types.output.rank - 1,))
        share = write.times(write.function("exp", at.node.outputs[0]), total)
        return (write.minus(gs[0], share),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x = types.input(0)
        if x.dtype is not DType.FLOAT32:
            raise UnsupportedOp(f"log-softmax of {x}")
        depth = x.shape[-1]
        params: dict[str, Param] = {"rows": x.count // depth, "depth": depth, "beta": 1.0}
        return KernelCall("log_softmax", "f32", params, (Flat(inputs[0]), Flat(outputs[0])))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for shape in ((3, 11), (2, 1, 4), (1,), (1, 3, 2, 11)):
            x = TensorType(shape, DType.FLOAT32)
            yield Example(cls(), Types((x,), (x,)), ranges=(-8.0, 8.0))


@from_onnx("Softmax", "LogSoftmax")
def _from_onnx(node: Any) -> None:
    op: Op = Softmax() if node.kind == "Softmax" else LogSoftmax()
    shape = node.type(0).shape
    rank = len(shape)
    if node.opset < 13:
        # all axes from `axis` on are one
        axis = node.axis(1) if rank > 1 or node.attribute("axis", 0) else 0
        rows = node.emit(Reshape((prod(shape[:axis]), prod(shape[axis:]))), [node.input(0)])
        node.add(Reshape(shape), [node.emit(op, [rows])])
        return
    axis = node.axis(-1)
    if axis == rank - 1:
        node.add(op, [node.input(0)])
        return
    # one exchange is its own inverse
    order = list(range(rank))
    order[axis], order[-1] = order[-1], order[axis]
    last = node.emit(Transpose(tuple(order)), [node.input(0)])
    node.add(Transpose(tuple(order)), [node.emit(op, [last])])


@from_tflite("LOG_SOFTMAX")
def _from_tflite(node: Any) -> None:
    if node.type(0).dtype is not DType.FLOAT32:
        raise node.unsupported(f"{node.type(0)}")
    node.add(LogSoftmax(), node.inputs[:1])
