"""--io quantized: takes Quantize and Dequantize off the ends, so integers go in and out."""

from __future__ import annotations

from dataclasses import replace

from ..ir import DType, Graph, GraphBuilder, Node, Port
from ..ops.quantization import Dequantize, Quantize


def strip_ends(graph: Graph) -> Graph:
    """The graph whose float ends are integers where Quantize or Dequantize stood there.

    A float input whose only readers are equal Quantize nodes becomes their output; a float
    output that a Dequantize makes becomes its input.
    """
    builder = GraphBuilder.of(graph)
    renamed: dict[str, str] = {}
    inputs = []
    for port in graph.inputs:
        quantized = _quantized_input(graph, port)
        if quantized is None:
            inputs.append(port)
            continue
        kept = quantized[0].outputs[0]
        renamed.update({node.outputs[0]: kept for node in quantized})
        inputs.append(replace(port, value=kept))
    for node in graph.nodes:
        if node.outputs and node.outputs[0] in renamed:
            continue
        names = tuple(renamed.get(value, value) for value in node.inputs)
        builder.nodes.append(Node(node.op, names, node.outputs, node.name))
    builder.inputs = inputs
    builder.outputs = [
        replace(port, value=renamed.get(value, value))
        for port in graph.outputs
        for value in [_integers_of(graph, port)]
    ]
    return builder.finish()


def _quantized_input(graph: Graph, port: Port) -> list[Node] | None:
    readers = graph.consumers.get(port.value, ())
    if not readers or any(output.value == port.value for output in graph.outputs):
        return None
    if graph.type(port.value).dtype is not DType.FLOAT32:
        return None
    if not all(isinstance(node.op, Quantize) for node in readers):
        return None
    if len({graph.type(node.outputs[0]) for node in readers}) != 1:
        return None
    return list(readers)


def _integers_of(graph: Graph, port: Port) -> str:
    node = graph.producers.get(port.value)
    if node is not None and isinstance(node.op, Dequantize):
        return node.inputs[0]
    return port.value
