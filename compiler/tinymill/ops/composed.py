"""ONNX ops that are a few others in a row: sums of many, norms by reduction."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir import DType, Op
from .binary import Binary
from .compare import Where
from .reduce import Reduce
from .registry import from_onnx
from .reshape import Reshape
from .unary import Unary


@from_onnx("Sum", "Mean")
def _sum(node: Any) -> None:
    count = len(node.inputs)
    total = node.input(0)
    for position in range(1, count):
        total = node.emit(Binary("add"), [total, node.input(position)])
    if node.kind == "Mean" and count > 1:
        node.add(Binary("div"), [total, node.emit_constant(np.array(count, np.float32))])
    else:
        node.add(Reshape(node.type_of(total).shape), [total])


_REDUCTIONS: dict[str, tuple[str, str]] = {
    "ReduceL1": ("abs", ""),
    "ReduceL2": ("square", "sqrt"),
    "ReduceSumSquare": ("square", ""),
    "ReduceLogSum": ("", "log"),
}
"""What is done to each element before the sum, and to the sum."""


@from_onnx(*_REDUCTIONS)
def _reduction(node: Any) -> None:
    before, after = _REDUCTIONS[node.kind]
    value = _float_input(node)
    if before:
        value = node.emit(Unary(before), [value])
    # without axes (noop_with_empty_axes) the functions still apply
    axes = _axes(node)
    op: Op = Reduce("sum", axes, _keepdims(node)) if axes else Reshape(node.type(0).shape)
    if after:
        node.add(Unary(after), [node.emit(op, [value])])
    else:
        node.add(op, [value])


@from_onnx("Trilu")
def _trilu(node: Any) -> None:
    kind = node.type(0)
    if kind.rank < 2 or kind.quant is not None:
        raise node.unsupported(f"{kind}")
    k = int(node.constant(1).ravel()[0]) if node.has(1) else 0
    keep = np.triu if node.attribute("upper", 1) else np.tril
    mask = node.emit_constant(keep(np.ones(kind.shape[-2:], bool), k))
    zero = node.emit_constant(np.zeros((), kind.dtype.numpy))
    node.add(Where(), [mask, node.input(0), zero])


@from_onnx("MeanVarianceNormalization")
def _mean_variance(node: Any) -> None:
    rank = node.type(0).rank
    axes = tuple(node.attribute("axes", [0, 2, 3]))
    axes = tuple(sorted(axis + rank if axis < 0 else axis for axis in axes))
    mean = node.emit(Reduce("mean", axes, True), [_float_input(node)])
    centred = node.emit(Binary("sub"), [node.input(0), mean])
    square = node.emit(Unary("square"), [centred])
    deviation = node.emit(Unary("sqrt"), [node.emit(Reduce("mean", axes, True), [square])])
    epsilon = node.emit_constant(np.array(1e-9, np.float32))
    node.add(Binary("div"), [centred, node.emit(Binary("add"), [deviation, epsilon])])


@from_onnx("ReduceLogSumExp")
def _log_sum_exp(node: Any) -> None:
    value, axes = _float_input(node), _axes(node)
    if not axes:
        node.add(Reshape(node.type(0).shape), [value])
        return
    # less the greatest, so that no exponential overflows
    most = node.emit(Reduce("max", axes, True), [value])
    powers = node.emit(Unary("exp"), [node.emit(Binary("sub"), [value, most])])
    total = node.emit(Unary("log"), [node.emit(Reduce("sum", axes, True), [powers])])
    y = node.emit(Binary("add"), [total, most])
    shape = node.type_of(y).shape
    if not _keepdims(node):
        shape = tuple(n for axis, n in enumerate(shape) if axis not in axes)
    node.add(Reshape(shape), [y])


def _float_input(node: Any) -> str:
    if node.type(0).dtype is not DType.FLOAT32:
        raise node.unsupported(f"{node.type(0)}")
    return node.input(0)


def _axes(node: Any) -> tuple[int, ...]:
    """The axes that go; none where the node says that no axes means none."""
    found = node.axes(1, default=[])
    if found or node.attribute("noop_with_empty_axes", 0):
        return tuple(found)
    return tuple(range(node.type(0).rank))


def _keepdims(node: Any) -> bool:
    return bool(node.attribute("keepdims", 1))
