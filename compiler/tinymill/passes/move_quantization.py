"""Brings Dequantize and Quantize together around the ops that compute.

Ops that only move values work on integers as well as on reals: Dequantize goes below them,
Quantize above.
"""

from __future__ import annotations

from ..ir import Graph, GraphBuilder, Node, Op, Quant, TensorType, Types
from ..ops.quantization import Dequantize, Quantize


def sink_dequantize(graph: Graph) -> Graph:
    """move(Dequantize(q)) becomes Dequantize(move(q))."""
    builder = GraphBuilder.of(graph)
    integers: dict[str, str] = {}  # real value -> the integers it is the Dequantize of
    names: dict[str, str] = {}
    made: set[str] = set()

    def materialised(value: str) -> str:
        if value in integers and value not in made:
            made.add(value)
            builder.add(Dequantize(), [integers[value]], name=names[value], outputs=[value])
        return value

    fleeting = graph.variable_views
    for node in graph.nodes:
        if isinstance(node.op, Dequantize) and node.inputs[0] not in fleeting:
            integers[node.outputs[0]] = node.inputs[0]
            names[node.outputs[0]] = node.name
            continue
        moved = _on_integers(graph, builder, node, integers)
        if moved is None:
            builder.nodes.append(
                Node(node.op, tuple(map(materialised, node.inputs)), node.outputs, node.name)
            )
            continue
        op, inputs, quant = moved
        values = builder.add(op, inputs, name=node.name, quants=[quant] * len(node.outputs))
        for value, real in zip(values, node.outputs, strict=True):
            integers[real] = value
            names[real] = f"{node.name} to real"
    for port in graph.outputs:
        materialised(port.value)
    return builder.finish()


def _on_integers(
    graph: Graph, builder: GraphBuilder, node: Node, integers: dict[str, str]
) -> tuple[Op, list[str], Quant] | None:
    """A moving op, its inputs and its quantisation in integers; None: it stays on reals."""
    if not node.op.movement:
        return None
    data = node.inputs if node.op.alike else node.inputs[:1]
    if any(value not in integers for value in data):
        return None
    kinds = {builder.types[integers[value]] for value in data}
    quant = next(iter(kinds)).quant
    if len({(kind.quant, kind.dtype) for kind in kinds}) > 1 or quant is None:
        return None
    if not quant.per_tensor:
        return None
    inputs = [integers[value] if value in data else value for value in node.inputs]
    op = node.op.quantized(_integer_types(graph, node, inputs, builder, quant))
    return None if op is None else (op, inputs, quant)


def _integer_types(
    graph: Graph, node: Node, inputs: list[str], builder: GraphBuilder, quant: Quant
) -> Types:
    dtype = builder.types[inputs[0]].dtype
    return Types(
        tuple(builder.types[value] if value else None for value in inputs),
        tuple(TensorType(graph.type(v).shape, dtype, quant) for v in node.outputs),
    )


def hoist_quantize(graph: Graph) -> Graph:
    """Quantize(move(x)) becomes move(Quantize(x)), where nothing else reads move(x)."""
    while True:
        found = next((node for node in graph.nodes if _can_hoist(graph, node)), None)
        if found is None:
            return graph
        graph = _hoisted(graph, found)


def _can_hoist(graph: Graph, node: Node) -> bool:
    if not isinstance(node.op, Quantize):
        return False
    quant = graph.type(node.outputs[0]).quant
    mover = graph.producers.get(node.inputs[0])
    return (
        quant is not None
        and quant.per_tensor
        and mover is not None
        and mover.op.movement
        and len(mover.outputs) == 1
        and graph.only_reader(node.inputs[0]) is not None
        and graph.type(mover.inputs[0]).quant is None
    )


def _hoisted(graph: Graph, quantize: Node) -> Graph:
    mover = graph.producers[quantize.inputs[0]]
    target = graph.type(quantize.outputs[0])
    data = set(mover.inputs if mover.op.alike else mover.inputs[:1])

    def kind_of(value: str) -> TensorType | None:
        if value in data:
            return TensorType(graph.type(value).shape, target.dtype, target.quant)
        return graph.type(value) if value else None

    op = mover.op.quantized(Types(tuple(map(kind_of, mover.inputs)), (target,)))
    assert op is not None
    builder = GraphBuilder.of(graph)
    for node in graph.nodes:
        if node is mover:
            integers = {
                value: builder.add(quantize.op, [value], name=quantize.name, quants=[target.quant])[
                    0
                ]
                for value in dict.fromkeys(v for v in mover.inputs if v in data)
            }
            inputs = [integers.get(value, value) for value in mover.inputs]
            builder.add(
                op, inputs, name=mover.name, outputs=quantize.outputs, quants=[target.quant]
            )
        elif node is not quantize:
            builder.nodes.append(node)
    return builder.finish()
