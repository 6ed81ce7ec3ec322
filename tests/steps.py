"""Small graphs that are trained by ops for anything: no gradients, but all that a step does to a
project. Weights, bias and a counter are variables; the step adds to them what is given."""

from __future__ import annotations

import numpy as np

from tinymill.ir import DType, Graph, GraphBuilder, Port, Quant, TensorType, verify
from tinymill.ops.arithmetic import float_scale
from tinymill.ops.binary import Binary
from tinymill.ops.cast import Cast
from tinymill.ops.conv import Conv2D
from tinymill.ops.dense import FullyConnected
from tinymill.ops.reshape import Reshape
from tinymill.ops.variables import AssignVariable

CLASSES = 5
SHAPE = (1, 6, 7, 4)


def _forward(name: str) -> tuple[GraphBuilder, str]:
    """Two convolutions and a head; the second one's bias and the head's weights are variables."""
    rng = np.random.default_rng(3)
    builder = GraphBuilder(name)
    builder.types["x"] = TensorType(SHAPE, DType.INT8, Quant((0.05,), (-3,)))
    builder.inputs.append(Port("x", "picture", SHAPE, (0, 1, 2, 3)))

    def integers(value: str, shape: tuple[int, ...], *, constant: bool) -> str:
        kind = DType.INT8 if len(shape) > 1 else DType.INT32
        low, high = (-100, 100) if kind is DType.INT8 else (-3000, 3000)
        array = rng.integers(low, high, shape).astype(kind.numpy)
        quant = Quant((0.01,) * shape[0], (0,) * shape[0], 0) if kind is DType.INT8 else None
        if constant:
            return builder.constant(array, stem=value, quant=quant)
        builder.variables[value], builder.types[value] = array, TensorType(shape, kind, quant)
        return value

    first = Conv2D((1, 1), (1, 1), (1, 1, 1, 1), 1, (-20, 127), float_scale([0.004] * 8), True)
    y = Quant((0.1,), (5,))
    inputs = ["x", integers("w1", (8, 3, 3, 4), constant=True), integers("b1", (8,), constant=True)]
    (a,) = builder.add(first, inputs, name="first", quants=[y])
    second = Conv2D((2, 2), (1, 1), (0, 0, 0, 0), 8, None, float_scale([0.02] * 8), True)
    inputs = [a, integers("w2", (8, 3, 3, 1), constant=True), integers("b2", (8,), constant=False)]
    (b,) = builder.add(second, inputs, name="second", quants=[y])
    count = int(np.prod(builder.types[b].shape))
    (c,) = builder.add(Reshape((1, count)), [b], name="flat", quants=[y])
    head = FullyConnected(False, None, float_scale([0.003] * CLASSES), True)
    inputs = [
        c, integers("w3", (CLASSES, count), constant=False),
        integers("b3", (CLASSES,), constant=False),
    ]  # fmt: skip
    (d,) = builder.add(head, inputs, name="head", quants=[y])
    return builder, d


def run_graph() -> Graph:
    """The model."""
    builder, logits = _forward("little")
    builder.outputs.append(Port(logits, "scores", (1, CLASSES), (0, 1)))
    graph = builder.finish()
    verify(graph)
    return graph


def step_graph() -> Graph:
    """A step: the loss is the label times the rate plus the first score; biases and weights move
    by it, the counter by one."""
    builder, logits = _forward("little step")
    for name, dtype in (("label", DType.INT32), ("rate", DType.FLOAT32)):
        builder.types[name] = TensorType((1,), dtype)
        builder.inputs.append(Port(name, name, (1,), (0,)))

    def add(function: str, left: str, right: str) -> str:
        return builder.add(Binary(function), [left, right], name=function)[0]

    def cast(value: str, dtype: DType, quant: Quant | None = None) -> str:
        return builder.add(Cast(dtype), [value], name="cast", quants=[quant])[0]

    (scores,) = builder.add(Reshape((CLASSES, 1)), [logits], name="scores")
    product = add("mul", cast("label", DType.FLOAT32), "rate")
    one = builder.constant(np.ones((CLASSES, 1), np.float32), stem="one")
    many = add("add", add("mul", cast(scores, DType.FLOAT32), one), product)
    (row,) = builder.add(Reshape((CLASSES,)), [many], name="row")
    # the loss, of one element
    loss = add("mul", product, product)
    for name, by in (("b3", row), ("b2", loss), ("w3", many)):
        kind = builder.types[name]
        moved = add("add", cast(name, DType.FLOAT32), by)
        builder.add(AssignVariable(), [name, cast(moved, kind.dtype, kind.quant)], name=name)
    builder.variables["counter"] = np.zeros(1, np.int32)
    builder.types["counter"] = TensorType((1,), DType.INT32)
    unit = builder.constant(np.ones(1, np.float32), stem="unit")
    counted = cast(add("add", cast("counter", DType.FLOAT32), unit), DType.INT32)
    builder.add(AssignVariable(), ["counter", counted], name="count")
    builder.outputs.append(Port(loss, "loss", (1,), (0,)))
    graph = builder.finish()
    verify(graph)
    return graph
