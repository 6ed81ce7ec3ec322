"""A float graph of the IR as ONNX, so that TFLite files can be quantised, too.

Maps are NHWC in the IR and NCHW in ONNX's operators over maps. Each value is written in the form
in which it is made, and in the other one only where that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import UnsupportedOp
from ..ir import DType, Graph, Node
from ..ops.binary import Binary
from ..ops.concat import Concat
from ..ops.conv import Conv2D
from ..ops.dense import FullyConnected
from ..ops.pad import Pad
from ..ops.pool import AveragePool, MaxPool
from ..ops.reduce import Reduce
from ..ops.reshape import Reshape
from ..ops.softmax import Softmax
from ..ops.transpose import Transpose
from ..ops.unary import Unary

OPSET = 17
IR_VERSION = 8
TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "min": "Min",
    "max": "Max",
}  # fmt: skip
_UNARY = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish", "exp": "Exp",
    "log": "Log", "sqrt": "Sqrt", "abs": "Abs", "neg": "Neg", "softplus": "Softplus",
    "softsign": "Softsign", "reciprocal": "Reciprocal", "erf": "Erf",
}  # fmt: skip
_WITH_ALPHA = {"leakyrelu": "LeakyRelu", "elu": "Elu"}
_REDUCE = {"mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin"}


def export(graph: Graph) -> onnx.ModelProto:
    """The graph as ONNX, with the source's input and output names and shapes. Raises
    ``UnsupportedOp`` for ops without a float form here, and for state."""
    if graph.variables:
        raise UnsupportedOp("state between runs can't be quantised here")
    for name, kind in graph.types.items():
        if kind.quant is not None:
            raise UnsupportedOp("the model is quantised already", at=name)
    return _Writer(graph).write()


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[TensorProto] = []
        # for each value the name of its form as the IR has it, and of the one with channels first
        self.plain: dict[str, str] = {}
        self.first: dict[str, str] = {}
        self.used: set[str] = {port.name for port in graph.outputs}
        self.layer = ""

    def write(self) -> onnx.ModelProto:
        ends: list[list[onnx.ValueInfoProto]] = [[], []]
        for port in self.graph.inputs:
            name = self.fresh(port.name)
            kind = self.graph.type(port.value)
            if kind.dtype is not DType.FLOAT32:
                raise UnsupportedOp("only float32 inputs can be quantised", at=port.name)
            ends[0].append(helper.make_tensor_value_info(name, TensorProto.FLOAT, port.shape))
            turned = self.turn(name, port.order)
            ours = tuple(port.shape[axis] for axis in port.order)
            self.plain[port.value] = self.reshape(turned, ours, kind.shape)
        for node in self.graph.nodes:
            self.layer = node.name
            self.node(node)
        for port in self.graph.outputs:
            self.layer = port.name
            kind = self.graph.type(port.value)
            ours = tuple(port.shape[axis] for axis in port.order)
            value = self.reshape(self.as_plain(port.value), kind.shape, ours)
            back = tuple(int(axis) for axis in np.argsort(port.order))
            self.emit("Identity", [self.turn(value, back)], name=port.name)
            element = TensorProto.FLOAT if kind.dtype is DType.FLOAT32 else TensorProto.UNDEFINED
            ends[1].append(helper.make_tensor_value_info(port.name, element, port.shape))
        graph = helper.make_graph(self.nodes, self.graph.name, ends[0], ends[1], self.held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        return model

    # -- values ---------------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        name, number = stem or "value", 0
        while name in self.used:
            number += 1
            name = f"{stem}_{number}"
        self.used.add(name)
        return name

    def emit(
        self, kind: str, inputs: Sequence[str], *, name: str | None = None, **attributes: Any
    ) -> str:
        """A node; the name of its only output. Without ``name`` the layer gives it one."""
        moves = kind in ("Transpose", "Reshape")
        output = name or self.fresh(f"{self.layer}/{kind.lower()}" if moves else self.layer)
        # the node's name is the source layer's, and unique as its output's is
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, array: np.ndarray, stem: str) -> str:
        name = self.fresh(stem)
        self.held.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def turn(self, name: str, order: Sequence[int]) -> str:
        if list(order) == sorted(order):
            return name
        return self.emit("Transpose", [name], perm=list(order))

    def reshape(self, name: str, shape: Sequence[int], to: Sequence[int]) -> str:
        if tuple(shape) == tuple(to):
            return name
        return self.emit("Reshape", [name, self.constant(np.array(to, np.int64), "shape")])

    def as_plain(self, value: str) -> str:
        """The value as the IR has it."""
        if value not in self.plain:
            if value in self.first:
                self.plain[value] = self.turn(self.first[value], TO_NHWC)
            else:
                self.plain[value] = self.constant(self.numbers(value), value)
        return self.plain[value]

    def as_first(self, value: str) -> str:
        """The value of rank 4 with its channels first."""
        if value not in self.first:
            if self.graph.is_constant(value):
                self.first[value] = self.constant(self.numbers(value).transpose(TO_NCHW), value)
            else:
                self.first[value] = self.turn(self.as_plain(value), TO_NCHW)
        return self.first[value]

    def numbers(self, value: str) -> np.ndarray:
        if value not in self.graph.constants:
            raise UnsupportedOp("a constant without numbers", at=value)
        return self.graph.constants[value]

    def prefer_first(self, node: Node) -> bool:
        """Whether an op that takes both forms has an input with channels first, and all of them
        can have them so."""
        values = [value for value in node.inputs if value]
        ranks = {self.graph.type(value).rank for value in (*values, *node.outputs)}
        return ranks == {4} and any(value in self.first for value in values)

    def clamped(self, name: str, clamp: tuple[float, float] | None) -> str:
        """The value behind an activation that the IR keeps in the layer."""
        if clamp is None or clamp == (-inf, inf):
            return name
        least, most = clamp
        if (least, most) == (0, inf):
            return self.emit("Relu", [name])
        bounds = [
            "" if abs(bound) == inf else self.constant(np.array(bound, np.float32), "bound")
            for bound in clamp
        ]
        return self.emit("Clip", [name, *bounds])

    # -- ops ------------------------------------------------------------------------------

    def node(self, node: Node) -> None:
        for kind, write in _WRITERS.items():
            if isinstance(node.op, kind):
                write(self, node, node.op)
                return
        raise self.unsupported(node)

    def unsupported(self, node: Node) -> UnsupportedOp:
        return UnsupportedOp(
            f"{node.op.name} of a TFLite model can't be quantised here",
            at=node.name,
            hint="export the float model as ONNX instead",
        )

    def conv(self, node: Node, op: Conv2D) -> None:
        weights = self.numbers(node.inputs[1]).transpose(TO_NCHW)
        inputs = [self.as_first(node.inputs[0]), self.constant(weights, node.inputs[1])]
        inputs += [self.as_plain(value) for value in node.inputs[2:3] if value]
        y = self.emit(
            "Conv", inputs, strides=list(op.stride), dilations=list(op.dilation),
            pads=list(op.pad), group=op.groups, kernel_shape=list(weights.shape[2:]),
        )  # fmt: skip
        self.first[node.outputs[0]] = self.clamped(y, op.clamp)

    def dense(self, node: Node, op: FullyConnected) -> None:
        kind, to = self.graph.type(node.inputs[0]), self.graph.type(node.outputs[0])
        weights = self.numbers(node.inputs[1])
        rows = (kind.count // weights.shape[1], weights.shape[1])
        x = self.reshape(self.as_plain(node.inputs[0]), kind.shape, rows)
        inputs = [x, self.constant(weights, node.inputs[1])]
        inputs += [self.as_plain(value) for value in node.inputs[2:3] if value]
        y = self.clamped(self.emit("Gemm", inputs, transB=1), op.clamp)
        self.plain[node.outputs[0]] = self.reshape(y, (rows[0], weights.shape[0]), to.shape)

    def pool(self, node: Node, op: AveragePool | MaxPool) -> None:
        attributes: dict[str, Any] = {
            "kernel_shape": list(op.window), "strides": list(op.stride), "pads": list(op.pad),
        }  # fmt: skip
        kind = "MaxPool"
        if isinstance(op, AveragePool):
            kind = "AveragePool"
            attributes["count_include_pad"] = int(op.count_padding)
        y = self.emit(kind, [self.as_first(node.inputs[0])], **attributes)
        self.first[node.outputs[0]] = self.clamped(y, op.clamp)

    def binary(self, node: Node, op: Binary) -> None:
        if op.function not in _BINARY:
            raise self.unsupported(node)
        first = self.prefer_first(node)
        form = self.as_first if first else self.as_plain
        y = self.emit(_BINARY[op.function], [form(value) for value in node.inputs])
        (self.first if first else self.plain)[node.outputs[0]] = self.clamped(y, op.clamp)

    def unary(self, node: Node, op: Unary) -> None:
        first = self.prefer_first(node)
        x = (self.as_first if first else self.as_plain)(node.inputs[0])
        if op.function in _UNARY:
            y = self.emit(_UNARY[op.function], [x])
        elif op.function in _WITH_ALPHA:
            y = self.emit(_WITH_ALPHA[op.function], [x], alpha=float(op.alpha))
        elif op.function == "clip":
            y = self.clamped(x, (op.alpha, op.beta))
        elif op.function == "hardsigmoid":
            y = self.emit("HardSigmoid", [x], alpha=float(op.alpha), beta=float(op.beta))
        else:
            raise self.unsupported(node)
        (self.first if first else self.plain)[node.outputs[0]] = y

    def softmax(self, node: Node, op: Softmax) -> None:
        x = self.as_plain(node.inputs[0])
        if op.beta != 1.0:
            x = self.emit("Mul", [x, self.constant(np.array(op.beta, np.float32), "beta")])
        self.plain[node.outputs[0]] = self.emit("Softmax", [x], axis=-1)

    def shape(self, node: Node, op: Reshape) -> None:
        kinds = [self.graph.type(value).shape for value in (node.inputs[0], node.outputs[0])]
        self.plain[node.outputs[0]] = self.reshape(self.as_plain(node.inputs[0]), *kinds)

    def reduce(self, node: Node, op: Reduce) -> None:
        if op.function not in _REDUCE:
            raise self.unsupported(node)
        value, output = node.inputs[0], node.outputs[0]
        kind = self.graph.type(value)
        if op.function == "mean" and kind.rank == 4 and sorted(op.axes) == [1, 2]:
            y = self.emit("GlobalAveragePool", [self.as_first(value)])
            if op.keepdims:
                self.first[output] = y
            else:
                self.plain[output] = self.emit("Flatten", [y])
            return
        self.plain[output] = self.emit(
            _REDUCE[op.function], [self.as_plain(value)], axes=list(op.axes),
            keepdims=int(op.keepdims),
        )  # fmt: skip

    def pad(self, node: Node, op: Pad) -> None:
        first = self.prefer_first(node)
        order = TO_NCHW if first else range(len(op.before))
        pads = [side[axis] for side in (op.before, op.after) for axis in order]
        inputs = [
            (self.as_first if first else self.as_plain)(node.inputs[0]),
            self.constant(np.array(pads, np.int64), "pads"),
            self.constant(np.array(op.value, np.float32), "value"),
        ]
        y = self.emit("Pad", inputs[: 3 if op.mode == "constant" else 2], mode=op.mode)
        (self.first if first else self.plain)[node.outputs[0]] = y

    def concat(self, node: Node, op: Concat) -> None:
        first = self.prefer_first(node)
        form = self.as_first if first else self.as_plain
        axis = TO_NCHW.index(op.axis) if first else op.axis
        y = self.emit("Concat", [form(value) for value in node.inputs], axis=axis)
        (self.first if first else self.plain)[node.outputs[0]] = y

    def transpose(self, node: Node, op: Transpose) -> None:
        self.plain[node.outputs[0]] = self.turn(self.as_plain(node.inputs[0]), op.order)


_WRITERS: dict[type, Callable[..., None]] = {
    Conv2D: _Writer.conv,
    FullyConnected: _Writer.dense,
    AveragePool: _Writer.pool,
    MaxPool: _Writer.pool,
    Binary: _Writer.binary,
    Unary: _Writer.unary,
    Softmax: _Writer.softmax,
    Reshape: _Writer.shape,
    Reduce: _Writer.reduce,
    Pad: _Writer.pad,
    Concat: _Writer.concat,
    Transpose: _Writer.transpose,
}
