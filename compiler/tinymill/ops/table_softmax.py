"""TableSoftmax: the int8 softmax of the ONNX definition, without a libm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import (
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Param,
    Quant,
    Reading,
    Table,
    TensorType,
    Types,
)
from .arithmetic import quantize
from .rows import same_rows


@dataclass(frozen=True)
class TableSoftmax(Op):
    """Softmax of int8 along the last axis by the ONNX definition, without a libm.

    e[d] = float32(exp(-d * s_x)) for the differences d = 0 .. 255 to the row's greatest value
    is a table; the sum runs in float32 from the first element to the last;
    y = saturate(rint(e / sum / s_y) + z_y), each step rounded to float32.
    """

    beta: float = 1.0

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        return (TensorType(x.shape, x.dtype),)

    def table(self, x: TensorType) -> np.ndarray:
        """exp(-beta * scale * d) in float32."""
        return np.exp(-np.arange(256, dtype=np.float64) * x.scale * self.beta).astype(np.float32)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        difference = x.max(axis=-1, keepdims=True).astype(np.int64) - x
        powers = self.table(types.input(0))[difference]
        total = np.zeros(powers.shape[:-1], np.float32)
        for i in range(powers.shape[-1]):
            total = total + powers[..., i]
        return (quantize(powers / total[..., None], types.output),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        depth = x.shape[-1]
        params: dict[str, Param] = {
            "rows": x.count // depth, "depth": depth, "out_scale": y.scale,
            "out_zero": y.zero_point,
            "exponential": Table("exponential", self.table(x)),
        }  # fmt: skip
        return KernelCall("table_softmax", "s8", params, (Flat(inputs[0]), Flat(outputs[0])))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for scale, out_scale, zero in ((0.1, 1 / 256, -128), (0.01, 0.004, 5), (0.7, 0.01, 0)):
            x = TensorType((3, 10), DType.INT8, Quant((scale,), (4,)))
            y = TensorType((3, 10), DType.INT8, Quant((float(np.float32(out_scale)),), (zero,)))
            yield Example(cls(), Types((x,), (y,)))
            x, y = (kind.with_shape((1, 3, 2, 10)) for kind in (x, y))
            yield Example(cls(), Types((x,), (y,)))


def table_softmax(beta: float, types: Types) -> Op | None:
    """The integer form of a float softmax on these quantised types, if they have one."""
    kinds = (types.input(0), types.output)
    if any(
        kind.dtype is not DType.INT8 or kind.quant is None or not kind.quant.per_tensor
        for kind in kinds
    ):
        return None
    return TableSoftmax(beta)
