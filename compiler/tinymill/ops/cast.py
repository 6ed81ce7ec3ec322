"""Cast: numbers of one type as numbers of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir import POINT, DType, Example, Flat, KernelCall, Op, Param, TensorType, Types, Window
from .registry import from_onnx, from_tflite
from .reshape import Reshape


@dataclass(frozen=True)
class Cast(Op):
    """y = x as ``dtype``.

    Reals lose their fraction and are clamped to the integers' range, NaN gives 0; integers
    that do not fit lose their upper bits; as a boolean, all but 0 is true.
    """

    dtype: DType

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        return (TensorType(x.shape, self.dtype),)

    def windows(self, types: Types) -> tuple[Window | None, ...]:
        return (POINT,)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return self

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        if x.dtype != np.float32 or not self.dtype.is_integer:
            return (x.astype(self.dtype.numpy),)
        low, high = self.dtype.limits
        real = np.where(np.isnan(x), 0, x)
        # the greatest int32 and int64 are no float32: compare, then cut what is inside
        inside = (real > low) & (real < high)
        cut = np.where(inside, real, 0).astype(np.int64)
        cut = np.where(inside, cut, np.where(real > 0, high, low))
        return (cut.astype(self.dtype.numpy),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        params: dict[str, Param] = {"count": y.count}
        operands = (Flat(inputs[0]), Flat(outputs[0]))
        if DType.FLOAT32 in (x.dtype, y.dtype):
            return KernelCall("cast", f"{x.dtype.value}_{y.dtype.value}", params, operands)
        params |= {
            "from": x.dtype.size, "to": y.dtype.size, "to_bool": int(y.dtype is DType.BOOL),
            "is_signed": int(x.dtype not in (DType.UINT8, DType.BOOL)),
        }  # fmt: skip
        return KernelCall("cast", "b8", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for source in DType:
            for target in DType:
                if source is not target:
                    x = TensorType((1, 5, 6, 5), source)
                    y = TensorType((1, 5, 6, 5), target)
                    yield Example(cls(target), Types((x,), (y,)), ranges=(-300.0, 300.0))


# the numbers of ONNX's TensorProto.DataType
_ONNX = {
    1: DType.FLOAT32, 2: DType.UINT8, 3: DType.INT8, 5: DType.INT16, 6: DType.INT32,
    7: DType.INT64, 9: DType.BOOL,
}  # fmt: skip


@from_onnx("Cast", "CastLike")
def _from_onnx(node: Any) -> None:
    if node.kind == "CastLike":
        dtype = node.type(1).dtype
    else:
        number = node.attribute("to", 0)
        if number not in _ONNX:
            raise node.unsupported(f"to type {number}")
        dtype = _ONNX[number]
    kind = node.type(0)
    op: Op = Reshape(kind.shape) if kind.dtype is dtype else Cast(dtype)
    node.add(op, [node.input(0)])


@from_tflite("CAST")
def _from_tflite(node: Any) -> None:
    kind, dtype = node.type(0), node.output_type(0).dtype
    op: Op = Reshape(kind.shape) if kind.dtype is dtype else Cast(dtype)
    node.add(op, node.inputs[:1])
