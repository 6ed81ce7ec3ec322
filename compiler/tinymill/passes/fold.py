"""Folds what is known at compile time: constants, padding, normalisation, flattening."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import Graph, GraphBuilder, Node
from ..ops.conv import Conv2D
from ..ops.dense import FullyConnected
from ..ops.pad import Pad
from ..ops.reshape import Reshape
from ..ops.transpose import Transpose


def fold_constants(graph: Graph) -> Graph:
    """Nodes whose inputs are all constants become constants."""
    builder = GraphBuilder.of(graph)
    for node in graph.nodes:
        known = all(not value or value in builder.constants for value in node.inputs)
        if not known or node.op.mutates or not node.inputs:
            builder.nodes.append(node)
            continue
        arrays = node.op.reference(
            [builder.constants[value] if value else None for value in node.inputs],
            graph.node_types(node),
        )
        for value, array in zip(node.outputs, arrays, strict=True):
            builder.constants[value] = np.asarray(array, order="C")
    return builder.finish()


def fold_padding(graph: Graph) -> Graph:
    """Padding of a map with its zero goes into the convolutions that read it."""
    builder = GraphBuilder.of(graph)
    pads: dict[str, Node] = {}
    for node in graph.nodes:
        if isinstance(node.op, Pad) and _folds(graph, node, node.op):
            pads[node.outputs[0]] = node
            continue
        before = pads.get(node.inputs[0]) if node.inputs else None
        if before is None:
            builder.nodes.append(node)
            continue
        assert isinstance(node.op, Conv2D) and isinstance(before.op, Pad)
        top, left, bottom, right = node.op.pad
        pad = (
            top + before.op.before[1], left + before.op.before[2],
            bottom + before.op.after[1], right + before.op.after[2],
        )  # fmt: skip
        op = replace(node.op, pad=pad)
        inputs = (before.inputs[0], *node.inputs[1:])
        builder.nodes.append(Node(op, inputs, node.outputs, node.name))
    return builder.finish()


def _folds(graph: Graph, node: Node, op: Pad) -> bool:
    kind = graph.type(node.inputs[0])
    zero = 0.0 if kind.quant is None else float(kind.zero_point)
    readers = graph.consumers.get(node.outputs[0], ())
    return (
        op.mode == "constant"
        and op.value == zero
        and kind.rank == 4
        and not any((op.before[0], op.after[0], op.before[3], op.after[3]))
        and bool(readers)
        and all(
            isinstance(reader.op, Conv2D) and reader.inputs[0] == node.outputs[0]
            for reader in readers
        )
        and all(port.value != node.outputs[0] for port in graph.outputs)
    )


def fold_flatten(graph: Graph) -> Graph:
    """Transpose, flatten, dense becomes flatten and dense with its weights' columns permuted."""
    builder = GraphBuilder.of(graph)
    for node in graph.nodes:
        flatten = graph.producers.get(node.inputs[0]) if node.inputs else None
        turn = graph.producers.get(flatten.inputs[0]) if flatten is not None else None
        if (
            not isinstance(node.op, FullyConnected)
            or flatten is None
            or turn is None
            or not isinstance(flatten.op, Reshape)
            or not isinstance(turn.op, Transpose)
            or turn.op.order[0] != 0
            or node.inputs[1] not in builder.constants
            or graph.type(flatten.outputs[0]).shape
            != (graph.type(turn.outputs[0]).shape[0], graph.type(node.inputs[1]).shape[1])
        ):
            builder.nodes.append(node)
            continue
        kind = graph.type(node.inputs[1])
        weights = builder.constants[node.inputs[1]]
        # columns are in the order of the transposed map; put them into the map's own
        shape = graph.type(turn.outputs[0]).shape[1:]
        order = [turn.op.order.index(axis) for axis in range(1, len(turn.op.order))]
        turned = weights.reshape(-1, *shape).transpose(0, *order).reshape(weights.shape)
        name = builder.constant(np.ascontiguousarray(turned), stem=node.inputs[1], quant=kind.quant)
        (flat,) = builder.add(
            Reshape(graph.type(flatten.outputs[0]).shape), [turn.inputs[0]], name=flatten.name,
            quants=[graph.type(turn.inputs[0]).quant],
        )  # fmt: skip
        builder.nodes.append(Node(node.op, (flat, name, *node.inputs[2:]), node.outputs, node.name))
    return builder.finish()
