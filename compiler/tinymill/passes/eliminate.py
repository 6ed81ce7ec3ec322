"""Removes what does nothing: dead nodes, reshapes of reshapes, repeated nodes."""

from __future__ import annotations

from dataclasses import replace

from ..ir import Graph, GraphBuilder, Node
from ..ops.reshape import Reshape


def eliminate(graph: Graph) -> Graph:
    """The graph without nodes that no output or variable depends on, or that repeat another."""
    return _drop_dead(_merge(graph))


def _merge(graph: Graph) -> Graph:
    builder = GraphBuilder.of(graph)
    same: dict[str, str] = {}
    seen: dict[object, Node] = {}
    sources: dict[str, str] = {}
    ends = {port.value for port in graph.outputs}
    for node in graph.nodes:
        inputs = tuple(same.get(value, value) for value in node.inputs)
        if isinstance(node.op, Reshape):
            origin = sources.get(inputs[0], inputs[0])
            target = graph.type(node.outputs[0])
            if graph.type(origin) == target and node.outputs[0] not in ends:
                same[node.outputs[0]] = origin
                continue
            inputs = (origin,)
            sources[node.outputs[0]] = origin
        elif not node.op.mutates and not any(v in graph.variables for v in inputs):
            key = (node.op, inputs, tuple(graph.type(value) for value in node.outputs))
            twin = seen.setdefault(key, node)
            if twin is not node and not ends & set(node.outputs):
                same.update(zip(node.outputs, twin.outputs, strict=True))
                continue
        builder.nodes.append(Node(node.op, inputs, node.outputs, node.name))
    builder.outputs = [replace(p, value=same.get(p.value, p.value)) for p in graph.outputs]
    return builder.finish()


def _drop_dead(graph: Graph) -> Graph:
    needed = {port.value for port in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.op.mutates or needed & set(node.outputs):
            kept.append(node)
            needed |= set(node.inputs)
    builder = GraphBuilder.of(graph, nodes=reversed(kept))
    return builder.finish()
