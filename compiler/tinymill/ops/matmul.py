"""MatMul: products of matrices, batched and broadcast, both made at run time.

ONNX's MatMul and Gemm with constant weights become FullyConnected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    Flat,
    FloatScale,
    KernelCall,
    Op,
    Param,
    Quant,
    Reading,
    Site,
    TensorType,
    Types,
)
from .arithmetic import float_scale, saturate, scale_float
from .binary import Binary
from .compare import strides
from .dense import FullyConnected
from .quantization import Dequantize
from .registry import from_onnx
from .reshape import Reshape
from .rows import broadcast_rows
from .transpose import Transpose

if TYPE_CHECKING:
    from .writing import Writing

RANK = 6


@dataclass(frozen=True)
class MatMul(Op):
    """y[..., i, j] = sum over k of a[..., i, k] * b[..., k, j]; leading axes broadcast.

    Integer form: y = saturate(rint(float32(sum (a - za) * (b - zb)) * m) + zy).
    """

    rescale: FloatScale | None = None

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        a, b = inputs[0], inputs[1]
        assert a is not None and b is not None
        if a.rank < 2 or b.rank < 2 or a.shape[-1] != b.shape[-2] or a.dtype is not b.dtype:
            raise InvalidModel(f"product of {a} and {b}")
        try:
            lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError as error:
            raise InvalidModel(f"shapes {a.shape} and {b.shape} do not broadcast") from error
        return (TensorType((*lead, a.shape[-2], b.shape[-1]), a.dtype),)

    def macs(self, types: Types) -> int:
        return types.output.count * types.input(0).shape[-1]

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return tuple(broadcast_rows(kind, types.output) for kind in types.inputs)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        a, b = inputs[0], inputs[1]
        assert a is not None and b is not None
        if self.rescale is None:
            exact = np.float64 if a.dtype == np.float32 else np.int64
            return (np.matmul(a.astype(exact), b.astype(exact)).astype(a.dtype),)
        # float64 holds every integer sum of int8 products exactly
        first = a.astype(np.float64) - types.input(0).zero_point
        second = b.astype(np.float64) - types.input(1).zero_point
        acc = np.matmul(first, second).astype(np.int64)
        y = scale_float(acc, np.float32(self.rescale.m[0])) + types.output.zero_point
        return (saturate(y, types.output),)

    def quantized(self, types: Types) -> Op | None:
        """M = float32(float64(s_a) * s_b / s_y)."""
        a, b, y = types.input(0), types.input(1), types.output
        if any(
            kind.dtype is not DType.INT8 or kind.quant is None or not kind.quant.per_tensor
            for kind in (a, b, y)
        ):
            return None
        return MatMul(float_scale([np.float64(a.scale) * b.scale / np.float64(y.scale)]))

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        def flipped(value: str) -> str:
            axes = range(len(write.shape(value)))
            return write.turned(value, *axes[:-2], axes[-1], axes[-2])

        a, b = at.node.inputs
        first = write.product(gs[0], flipped(b)) if at.wanted[0] else None
        second = write.product(flipped(a), gs[0]) if at.wanted[1] else None
        return (
            first and write.summed_to(first, at.types.input(0).shape),
            second and write.summed_to(second, at.types.input(1).shape),
        )

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        a, b, y = types.input(0), types.input(1), types.output
        lead = y.shape[:-2]
        if len(lead) > RANK:
            raise UnsupportedOp(f"product of rank {y.rank}, at most {RANK + 2}")
        params: dict[str, Param] = {
            "batch": prod(lead), "rows": y.shape[-2], "depth": a.shape[-1],
            "columns": y.shape[-1], "shape": (*([1] * (RANK - len(lead))), *lead),
            "first_strides": strides(a.shape[:-2], lead, RANK, prod(a.shape[-2:])),
            "second_strides": strides(b.shape[:-2], lead, RANK, prod(b.shape[-2:])),
        }  # fmt: skip
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(outputs[0]))
        if y.dtype is DType.FLOAT32:
            return KernelCall("matmul", "f32", params, operands)
        if self.rescale is None:
            raise UnsupportedOp(f"product of {a} and {b}")
        params |= {
            "first_zero": a.zero_point, "second_zero": b.zero_point, "out_zero": y.zero_point,
            "scale": self.rescale.m[0],
        }  # fmt: skip
        return KernelCall("matmul", "s8", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        cases = [
            ((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 2)), ((3, 1, 2, 4), (5, 4, 1)), ((1, 7), (7, 1)),
            ((1, 3, 2, 4), (1, 3, 4, 5)), ((1, 3, 2, 4), (4, 5)), ((1, 1, 2, 4), (1, 3, 4, 5)),
        ]  # fmt: skip
        for first, second in cases:
            a, b = TensorType(first, DType.FLOAT32), TensorType(second, DType.FLOAT32)
            (y,) = cls().infer((a, b))
            yield Example(cls(), Types((a, b), (y,)))
            qa = TensorType(first, DType.INT8, Quant((0.05,), (3,)))
            qb = TensorType(second, DType.INT8, Quant((0.02,), (-7,)))
            qy = TensorType(y.shape, DType.INT8, Quant((0.25,), (11,)))
            op = cls().quantized(Types((qa, qb), (qy,)))
            assert op is not None
            yield Example(op, Types((qa, qb), (qy,)))


def has_constant_weights(node: Any, position: int) -> bool:
    """Whether an input is constant, also behind DequantizeLinear."""
    value = node.input(position)
    if value in node.builder.constants:
        return True
    for made in reversed(node.builder.nodes):
        if value in made.outputs:
            return isinstance(made.op, Dequantize) and made.inputs[0] in node.builder.constants
    return False


@from_onnx("MatMul")
def _from_onnx(node: Any) -> None:
    a, b = node.type(0), node.type(1)
    if a.rank < 1 or b.rank < 1:
        raise node.invalid("product of a scalar")
    if b.rank == 2 and a.dtype is DType.FLOAT32 and has_constant_weights(node, 1):
        if a.shape[-1] != b.shape[0]:
            raise node.invalid(f"product of {a} and {b}")
        node.add(FullyConnected(), [node.input(0), node.permuted(1, (1, 0)), ""])
        return
    first, second = node.input(0), node.input(1)
    if a.rank == 1:
        first = node.emit(Reshape((1, a.shape[0])), [first])
    if b.rank == 1:
        second = node.emit(Reshape((b.shape[0], 1)), [second])
    if a.rank > 1 and b.rank > 1:
        node.add(MatMul(), [first, second])
        return
    # as in numpy, an axis of size 1 added to a vector goes away again
    y = node.emit(MatMul(), [first, second])
    shape = list(node.type_of(y).shape)
    if a.rank == 1:
        del shape[-2]
    if b.rank == 1:
        del shape[-1]
    node.add(Reshape(tuple(shape)), [y])


@from_onnx("Gemm")
def _gemm(node: Any) -> None:
    if node.type(0).rank != 2 or node.type(1).rank != 2:
        raise node.invalid(f"ranks {node.type(0).rank} and {node.type(1).rank}")
    first = node.input(0)
    if node.attribute("transA", 0):
        first = node.emit(Transpose((1, 0)), [first])
    turned = bool(node.attribute("transB", 0))
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    if has_constant_weights(node, 1):
        weights = node.permuted(1, (0, 1) if turned else (1, 0))
        bias = _bias(node, node.type_of(weights).shape[0], beta)
        if alpha != 1.0 and weights in node.builder.constants:
            weights = node.emit_constant(node.builder.constants[weights] * np.float32(alpha))
            alpha = 1.0
        if alpha == 1.0 and bias is not None:
            node.add(FullyConnected(), [first, weights, bias])
            return
    second = node.emit(Transpose((1, 0)), [node.input(1)]) if turned else node.input(1)
    y = _scaled(node, node.emit(MatMul(), [first, second]), alpha)
    if node.has(2):
        node.add(Binary("add"), [y, _scaled(node, node.input(2), beta)])
    else:
        node.add(Reshape(node.type_of(y).shape), [y])


def _bias(node: Any, outs: int, beta: float) -> str | None:
    """Input 2 as a constant vector of ``outs`` values; "" where left out, None where it is none."""
    if not node.has(2):
        return ""
    kind = node.type(2)
    if kind.count not in (1, outs) or (kind.rank == 2 and kind.shape[0] != 1):
        return None
    if not node.is_constant(2):
        whole = beta == 1.0 and kind.shape == (outs,) and has_constant_weights(node, 2)
        return node.input(2) if whole else None
    array = node.constant(2).ravel() * np.float32(beta)
    return node.emit_constant(np.ascontiguousarray(np.broadcast_to(array, (outs,))))


def _scaled(node: Any, value: str, factor: float) -> str:
    if factor == 1.0:
        return value
    return node.emit(Binary("mul"), [value, node.emit_constant(np.array(factor, np.float32))])
