"""Gather: slices of an axis picked by indices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import DType, Example, Flat, KernelCall, Op, Param, Reading, TensorType, Types
from .registry import from_onnx, from_tflite
from .rows import same_rows


@dataclass(frozen=True)
class Gather(Op):
    """y = x taken along ``axis`` at the indices of the second input; negative from the end.

    An index outside the axis is the fault of who gives it: the kernel answers
    TM_BAD_ARGUMENT.
    """

    axis: int = 0
    movement = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, indices = inputs[0], inputs[1]
        assert x is not None and indices is not None
        if not 0 <= self.axis < x.rank or not indices.dtype.is_integer:
            raise InvalidModel(f"{x} gathered along axis {self.axis} by {indices}")
        shape = (*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :])
        return (TensorType(shape, x.dtype),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, indices = inputs[0], inputs[1]
        assert x is not None and indices is not None
        return (np.take(x, indices, axis=self.axis).reshape(types.output.shape),)

    def quantized(self, types: Types) -> Op | None:
        return self if types.input(0).quant == types.output.quant else None

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types) if self.axis != 1 else (None, None)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return Gather(order[self.axis]) if types.input(1).rank == 1 else None

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, indices = types.input(0), types.input(1)
        if indices.dtype not in (DType.INT32, DType.INT64):
            raise UnsupportedOp(f"indices of type {indices.dtype.name.lower()}")
        params: dict[str, Param] = {
            "outer": prod(x.shape[: self.axis]),
            "size": x.shape[self.axis],
            "bytes": prod(x.shape[self.axis + 1 :]) * x.dtype.size,
            "count": indices.count,
        }
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(outputs[0]))
        return KernelCall("gather", indices.dtype.value, params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(4)
        for dtype in (DType.INT8, DType.FLOAT32):
            for places in (DType.INT32, DType.INT64):
                for axis, shape in ((0, (3,)), (1, (2, 2)), (2, ())):
                    x = TensorType((3, 4, 5), dtype)
                    kind = TensorType(shape, places)
                    op = cls(axis)
                    values = rng.integers(-3, 3, shape).astype(places.numpy)
                    yield Example(
                        op, Types((x, kind), op.infer((x, kind))), {1: np.asarray(values)}
                    )
            x, kind = TensorType((1, 3, 4, 5), dtype), TensorType((3,), DType.INT32)
            for axis in (1, 2, 3):
                op, found = cls(axis), np.array((2, -3, 0), np.int32)
                yield Example(op, Types((x, kind), op.infer((x, kind))), {1: found})


@from_tflite("GATHER")
def _from_tflite(node: Any) -> None:
    options = node.options("GatherOptions")
    axis = options.Axis()
    axis = axis + node.type(0).rank if axis < 0 else axis
    if options.BatchDims():
        raise node.unsupported("batch dimensions")
    node.add(Gather(axis), node.inputs[:2])


@from_onnx("Gather")
def _from_onnx(node: Any) -> None:
    axis = node.attribute("axis", 0)
    axis = axis + node.type(0).rank if axis < 0 else axis
    node.add(Gather(axis), [node.input(0), node.input(1)])
