"""ONNX's QLinear ops: DequantizeLinear, the float op, QuantizeLinear.

So files in the QOperator form take the same path as those in the QDQ form.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from ..ir import DType, Quant
from .quantization import Dequantize, dequantize_onnx, quantize_onnx
from .registry import ONNX, from_onnx


def _float_op(node: Any, kind: str, values: list[str]) -> str:
    """Imports ``node`` as the op ``kind`` on these values, and gives the value it makes."""
    if kind not in ONNX:
        raise node.unsupported(f"the float op {kind} is not supported")
    inner = copy(node)
    inner.kind = kind
    inner.inputs = [_label(node, value) for value in values]
    inner.outputs = [node.builder.fresh(f"{node.name} real")]
    ONNX[kind](inner)
    return node.reader.values[inner.outputs[0]]


def _label(node: Any, value: str) -> str:
    """A name by which importers find a value of the graph as if it were one of the file."""
    if not value:
        return ""
    label = f"value {value}"
    node.reader.values[label] = value
    return label


def _int32_bias(node: Any, position: int, scale: np.ndarray) -> str:
    """An int32 bias in units of the products' scale, dequantised; "" where it is left out."""
    if not node.has(position):
        return ""
    array = node.constant(position)
    if array.dtype != np.int32 or array.ndim > 1:
        raise node.invalid(f"bias of type {array.dtype}, shape {array.shape}")
    array = array.reshape(-1)
    scales = scale.ravel().astype(np.float32)
    if scales.size not in (1, array.size) or not np.all(np.isfinite(scales) & (scales > 0)):
        raise node.invalid(f"{scales.size} scales for {array.size} bias values")
    axis = None if scales.size == 1 else 0
    quant = Quant(tuple(float(s) for s in scales), (0,) * scales.size, axis)
    name = node.builder.constant(array, stem=f"{node.name} bias", quant=quant)
    return node.emit(Dequantize(), [name])


@from_onnx("QLinearConv")
def _conv(node: Any) -> None:
    x = dequantize_onnx(node, 0, 1, 2)
    weights = dequantize_onnx(node, 3, 4, 5, 0)
    bias = _int32_bias(node, 8, node.constant(1).ravel() * node.constant(4).ravel())
    quantize_onnx(node, _float_op(node, "Conv", [x, weights, bias]), 6, 7)


@from_onnx("QLinearMatMul")
def _matmul(node: Any) -> None:
    if node.constant(1).size != 1:
        raise node.unsupported("a scale for each row")
    a = dequantize_onnx(node, 0, 1, 2)
    b = dequantize_onnx(node, 3, 4, 5, -1)
    quantize_onnx(node, _float_op(node, "MatMul", [a, b]), 6, 7)


@from_onnx("QGemm")
def _gemm(node: Any) -> None:
    a = dequantize_onnx(node, 0, 1, 2)
    b = dequantize_onnx(node, 3, 4, 5, 0 if node.attribute("transB", 0) else 1)
    scale = node.constant(1).ravel() * node.constant(4).ravel()
    bias = _int32_bias(node, 6, scale * np.float32(node.attribute("alpha", 1.0)))
    y = _float_op(node, "Gemm", [a, b, bias])
    if node.has(7):
        quantize_onnx(node, y, 7, 8)
    else:
        node.define(y)


@from_onnx("QLinearAdd", "QLinearMul")
def _binary(node: Any) -> None:
    a, b = dequantize_onnx(node, 0, 1, 2), dequantize_onnx(node, 3, 4, 5)
    kind = node.kind.removeprefix("QLinear")
    quantize_onnx(node, _float_op(node, kind, [a, b]), 6, 7)


@from_onnx(
    "QLinearSigmoid", "QLinearLeakyRelu", "QLinearAveragePool", "QLinearGlobalAveragePool",
    "QLinearSoftmax",
)  # fmt: skip
def _unary(node: Any) -> None:
    if node.attribute("channels_last", 0):
        raise node.unsupported("channels_last")
    if node.kind == "QLinearSoftmax":
        node = copy(node)
        node.opset = node.attribute("opset", node.opset)
    x = dequantize_onnx(node, 0, 1, 2)
    kind = node.kind.removeprefix("QLinear")
    quantize_onnx(node, _float_op(node, kind, [x]), 3, 4)


@from_onnx("QLinearConcat")
def _concat(node: Any) -> None:
    count = (len(node.inputs) - 2) // 3
    if count < 1 or len(node.inputs) != 2 + 3 * count:
        raise node.invalid(f"{len(node.inputs)} inputs")
    values = [dequantize_onnx(node, i, i + 1, i + 2) for i in range(2, 2 + 3 * count, 3)]
    quantize_onnx(node, _float_op(node, "Concat", values), 0, 1)


@from_onnx("QLinearReduceMean")
def _reduce_mean(node: Any) -> None:
    x = dequantize_onnx(node, 0, 1, 2)
    quantize_onnx(node, _float_op(node, "ReduceMean", [x]), 3, 4)


@from_onnx("QLinearWhere")
def _where(node: Any) -> None:
    a, b = dequantize_onnx(node, 1, 2, 3), dequantize_onnx(node, 4, 5, 6)
    if node.type(0).dtype is not DType.BOOL:
        raise node.invalid(f"a condition of type {node.type(0)}")
    quantize_onnx(node, _float_op(node, "Where", [node.input(0), a, b]), 7, 8)
