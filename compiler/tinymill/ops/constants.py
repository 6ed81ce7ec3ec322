"""ONNX ops that are computed while the model is read: sizes, ranges, constants."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .registry import from_onnx

MAX_ELEMENTS = 1 << 24


@from_onnx("Constant")
def _constant(node: Any) -> None:
    for name, dtype in (
        ("value", None), ("value_float", np.float32), ("value_floats", np.float32),
        ("value_int", np.int64), ("value_ints", np.int64),
    ):  # fmt: skip
        found = node.attribute(name, None)
        if found is not None:
            node.define_constant(np.asarray(found, dtype))
            return
    raise node.unsupported("a constant of strings or without a value")


@from_onnx("ConstantOfShape")
def _constant_of_shape(node: Any) -> None:
    shape = _checked(node, [int(n) for n in node.constant(0).ravel()])
    fill = np.asarray(node.attribute("value", np.zeros(1, np.float32)))
    if fill.size != 1:
        raise node.invalid(f"a value of {fill.size} elements")
    node.define_constant(np.full(shape, fill.ravel()[0], fill.dtype))


@from_onnx("Shape")
def _shape(node: Any) -> None:
    shape = node.type(0).shape
    start, end = node.attribute("start", 0), node.attribute("end", len(shape))
    node.define_constant(np.array(shape[slice(start, end)], np.int64))


@from_onnx("Size")
def _size(node: Any) -> None:
    node.define_constant(np.array(node.type(0).count, np.int64))


@from_onnx("Mod")
def _mod(node: Any) -> None:
    # sizes are computed with it; elsewhere it is no op of a network
    a, b = node.constant(0), node.constant(1)
    if not np.all(b):
        raise node.invalid("division by 0")
    node.define_constant(np.asarray((np.fmod if node.attribute("fmod", 0) else np.mod)(a, b)))


@from_onnx("Range")
def _range(node: Any) -> None:
    start, limit, delta = (node.constant(i).ravel() for i in range(3))
    if not start.size == limit.size == delta.size == 1 or delta[0] == 0:
        raise node.invalid("a range needs one start, one limit, and a step that is not 0")
    count = np.ceil((float(limit[0]) - float(start[0])) / float(delta[0]))
    if not np.isfinite(count):
        raise node.invalid(f"a range of {count} numbers")
    _checked(node, [max(0, int(count))])
    steps = np.arange(max(0, int(count)))
    node.define_constant((start[0] + steps * delta[0]).astype(start.dtype))


@from_onnx("EyeLike")
def _eye_like(node: Any) -> None:
    kind = node.type(0)
    if kind.rank != 2:
        raise node.invalid(f"input of rank {kind.rank}")
    if node.attribute("dtype", 0) not in (0, 1):
        raise node.unsupported("a type of its own")
    dtype = np.dtype(np.float32) if node.attribute("dtype", 0) == 1 else kind.dtype.numpy
    rows, columns = _checked(node, kind.shape)
    diagonal = np.eye(rows, columns, k=int(node.attribute("k", 0)))
    node.define_constant(diagonal.astype(dtype))


def _checked(node: Any, shape: Any) -> tuple[int, ...]:
    if min(shape, default=0) < 0 or prod(shape) > MAX_ELEMENTS:
        raise node.invalid(f"a constant of shape {list(shape)}")
    return tuple(shape)
