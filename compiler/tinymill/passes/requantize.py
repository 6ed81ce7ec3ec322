"""--requant fixed: float rescaling in fixed point, for cores without a floating-point unit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..ir import DType, FloatScale, Graph, GraphBuilder, Node, Types
from ..ops.arithmetic import fixed_point
from ..ops.binary import Binary, tflite_fixed


def fixed_requantization(graph: Graph) -> Graph:
    """Every float rescale that has a fixed-point form gets it; bytes may differ by one."""
    builder = GraphBuilder.of(graph)
    for node in graph.nodes:
        op: Any = node.op
        if isinstance(op, Binary):
            op = _fixed_binary(op, graph.node_types(node))
        elif isinstance(getattr(op, "rescale", None), FloatScale):
            op = replace(op, rescale=fixed_point(op.rescale.m))
        builder.nodes.append(Node(op, node.inputs, node.outputs, node.name))
    return builder.finish()


def _fixed_binary(op: Binary, types: Types) -> Binary:
    if op.fixed is not None or types.output.dtype is not DType.INT8:
        return op
    fixed = tflite_fixed(op.function, types.input(0), types.input(1), types.output)
    return op if fixed is None else replace(op, fixed=fixed)
