"""Normalisation by constants goes into the weights of the layer before it."""

from __future__ import annotations

import numpy as np

from ..ir import DType, Graph, GraphBuilder, Node
from ..ops.batch_norm import BatchNorm
from ..ops.conv import Conv2D
from ..ops.dense import FullyConnected


def fold_batch_norm(graph: Graph) -> Graph:
    """scale * layer(x) + shift becomes the layer with weights * scale, bias * scale + shift.

    For float layers with constant weights whose output only the normalisation reads.
    """
    builder = GraphBuilder.of(graph)
    made: dict[str, int] = {}
    for node in graph.nodes:
        index = made.get(node.inputs[0]) if isinstance(node.op, BatchNorm) else None
        if index is not None and all(value in graph.constants for value in node.inputs[1:3]):
            builder.nodes[index] = _folded(graph, builder, builder.nodes[index], node)
            continue
        if isinstance(node.op, Conv2D | FullyConnected) and _can_fold(graph, node):
            made[node.outputs[0]] = len(builder.nodes)
        builder.nodes.append(node)
    return builder.finish()


def _can_fold(graph: Graph, node: Node) -> bool:
    return (
        graph.type(node.inputs[0]).dtype is DType.FLOAT32
        and node.op.clamp is None  # type: ignore[attr-defined]
        and all(value in graph.constants for value in node.inputs[1:] if value)
        and graph.only_reader(node.outputs[0]) is not None
    )


def _folded(graph: Graph, builder: GraphBuilder, layer: Node, norm: Node) -> Node:
    scale, shift = (graph.constants[value].ravel().astype(np.float64) for value in norm.inputs[1:3])
    weights = graph.constants[layer.inputs[1]].astype(np.float64)
    old = layer.inputs[2] if len(layer.inputs) > 2 else ""
    bias = graph.constants[old].ravel().astype(np.float64) if old else np.zeros(len(weights))
    scaled = weights * scale.reshape(-1, *([1] * (weights.ndim - 1)))
    names = [
        builder.constant(array.astype(np.float32), stem=layer.inputs[1])
        for array in (scaled, bias * scale + shift)
    ]
    return Node(layer.op, (layer.inputs[0], *names), norm.outputs, layer.name)
