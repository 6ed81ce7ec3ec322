"""Dequantize, float op, Quantize become the op's integer form."""

from __future__ import annotations

import numpy as np

from ..ir import DType, Graph, GraphBuilder, Node, Op, Types
from ..ops.quantization import Dequantize, Quantize

BIAS_TOLERANCE = 1e-3


def fuse_qdq(graph: Graph) -> Graph:
    """Replaces each op between Dequantize and Quantize that has an integer form."""
    builder = GraphBuilder.of(graph)
    fused: dict[int, Node] = {}
    dropped: set[int] = set()
    for node in graph.nodes:
        quantize = _only_quantize(graph, node)
        if quantize is None or node.op.movement:
            continue
        whole = _integer_node(graph, builder, node, quantize)
        if whole is not None:
            fused[id(node)] = whole
            dropped.add(id(quantize))
    for node in graph.nodes:
        if id(node) not in dropped:
            builder.nodes.append(fused.get(id(node), node))
    return builder.finish()


def _only_quantize(graph: Graph, node: Node) -> Node | None:
    """The Quantize that alone reads the node's one output."""
    if len(node.outputs) != 1 or isinstance(node.op, Quantize | Dequantize):
        return None
    reader = graph.only_reader(node.outputs[0])
    return reader if reader is not None and isinstance(reader.op, Quantize) else None


def _integer_node(graph: Graph, builder: GraphBuilder, node: Node, quantize: Node) -> Node | None:
    inputs: list[str] = []
    for index, value in enumerate(node.inputs):
        source = graph.producers.get(value)
        if source is not None and isinstance(source.op, Dequantize):
            inputs.append(source.inputs[0])
        elif value == "" or (index == node.op.bias_at and value in graph.constants):
            inputs.append(value)
        else:
            return None
    kinds = tuple(graph.type(value) if value else None for value in inputs)
    op = node.op.quantized(Types(kinds, (graph.type(quantize.outputs[0]),)))
    if op is None:
        return None
    at = node.op.bias_at
    if at is not None and at < len(inputs) and inputs[at]:
        bias = _bias(graph, node.inputs[at], inputs)
        if bias is None:
            return None
        inputs[at] = builder.constant(bias, stem=inputs[at])
    return Node(op, tuple(inputs), quantize.outputs, node.name)


def _bias(graph: Graph, real: str, inputs: list[str]) -> np.ndarray | None:
    """The bias as int32 in the accumulator's scale s_x * s_w.

    The file's integers where their scale is that; else the reals, rounded.
    """
    x, weights = graph.type(inputs[0]), graph.type(inputs[1])
    assert x.quant is not None and weights.quant is not None
    wanted = np.float64(x.quant.scale[0]) * np.array(weights.quant.scale, np.float64)
    source = graph.producers.get(real)
    if source is not None:
        name = source.inputs[0]
        if name not in graph.constants:
            return None
        kind = graph.type(name)
        assert kind.quant is not None
        scale = np.array(kind.quant.scale, np.float64)
        if (
            kind.dtype is DType.INT32
            and not any(kind.quant.zero_point)
            and np.allclose(scale, wanted, rtol=BIAS_TOLERANCE, atol=0)
        ):
            return _without_overflow(graph.constants[name].ravel(), graph, inputs[1])
        op: Op = source.op
        types = graph.node_types(source)
        (array,) = op.reference([graph.constants[name]], types)
    else:
        array = graph.constants[real]
    ratio = array.ravel().astype(np.float64) / wanted
    limit = float((1 << 31) - 1)
    whole = np.rint(np.clip(ratio, -limit, limit)).astype(np.int64)
    return _without_overflow(whole, graph, inputs[1])


def _without_overflow(bias: np.ndarray, graph: Graph, weights: str) -> np.ndarray:
    """The bias, moved by no more than keeps every sum and partial sum within int32.

    Files saturate the bias of (nearly) dead channels at the ends of int32: their weights'
    scale is tiny. What it is moved by is less than the sum can vary by, and far below one
    step of the output.
    """
    if weights not in graph.constants:
        return bias.astype(np.int32)
    array, kind = graph.constants[weights], graph.type(weights)
    assert kind.quant is not None
    _, zeros = kind.quant.along(array.ndim)
    spans = np.abs(array.astype(np.int64) - zeros).sum(axis=tuple(range(1, array.ndim)))
    room = np.maximum((1 << 31) - 1 - 256 * spans, 0)
    return np.clip(bias.astype(np.int64), -room, room).astype(np.int32)
