"""Quantised uint8 becomes int8 with the zero point less 128: one set of kernels for both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import DType, Graph, GraphBuilder, Node, Quant, TensorType
from ..ops.pad import Pad
from ..ops.quantization import Dequantize, Quantize, Recode
from ..ops.reduce import ArgMax


def signed_bytes(graph: Graph) -> Graph:
    """Turns every quantised uint8 value that only quantisation and moving ops touch.

    Inputs and outputs keep their bytes: a Recode stands between them and the inside.
    """
    turned = _turnable(graph)
    if not turned:
        return graph
    builder = GraphBuilder.of(graph)
    names: dict[str, str] = {}
    ends = {port.value for port in (*graph.inputs, *graph.outputs)}
    for value in (name for name in graph.types if name in turned):
        kind = graph.type(value)
        inner = builder.fresh(value) if value in ends else value
        names[value] = inner
        builder.types[inner] = as_signed(kind)
        if value in graph.constants:
            builder.constants[inner] = (graph.constants[value] ^ np.uint8(0x80)).view(np.int8)
    for port in graph.inputs:
        if port.value in turned:
            builder.add(
                Recode(), [port.value], name=f"{port.name} to int8", outputs=[names[port.value]],
                quants=[builder.types[names[port.value]].quant],
            )  # fmt: skip
    for node in graph.nodes:
        inputs = tuple(names.get(value, value) for value in node.inputs)
        outputs = tuple(names.get(value, value) for value in node.outputs)
        op = node.op
        if isinstance(op, Quantize) and node.outputs[0] in turned:
            op = replace(op, dtype=DType.INT8)
        if isinstance(op, Pad) and node.inputs[0] in turned:
            op = replace(op, value=op.value - 128)
        builder.nodes.append(Node(op, inputs, outputs, node.name))
    made: set[str] = {port.value for port in graph.inputs}
    for port in graph.outputs:
        if port.value in turned and port.value not in made:
            made.add(port.value)
            builder.add(
                Recode(), [names[port.value]], name=f"{port.name} to uint8",
                outputs=[port.value], quants=[graph.type(port.value).quant],
            )  # fmt: skip
    return builder.finish()


def as_signed(kind: TensorType) -> TensorType:
    """The int8 type of the same reals."""
    assert kind.quant is not None
    zeros = tuple(z - 128 for z in kind.quant.zero_point)
    return TensorType(kind.shape, DType.INT8, Quant(kind.quant.scale, zeros, kind.quant.axis))


def _turnable(graph: Graph) -> set[str]:
    """Quantised uint8 values, less all that another op touches and what moves along with it."""
    turned = {
        value
        for value, kind in graph.types.items()
        if kind.dtype is DType.UINT8 and kind.quant is not None and value not in graph.variables
    }
    changed = True
    while changed:
        changed = False
        for node in graph.nodes:
            touched = {v for v in (*node.inputs, *node.outputs) if v in turned}
            if not touched or isinstance(node.op, Quantize | Dequantize | ArgMax):
                # where the largest is does not change with the offset
                continue
            whole = all(
                v in turned
                for v in (*node.outputs, *(node.inputs if node.op.alike else node.inputs[:1]))
            )
            if not (node.op.movement and whole):
                turned -= touched
                changed = True
    return turned
