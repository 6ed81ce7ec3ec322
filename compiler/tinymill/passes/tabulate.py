"""A real function of one int8 value becomes a table of its 256 results."""

from __future__ import annotations

import numpy as np

from ..ir import POINT, DType, Graph, GraphBuilder, Node, TensorType, Types
from ..ops.lookup import Table
from ..ops.quantization import Dequantize, Quantize
from ..ops.reshape import Reshape


def tabulate(graph: Graph) -> Graph:
    """Dequantize, elementwise ops of one variable, Quantize become one Table.

    Also Dequantize right before Quantize: another scale, or none at all.
    """
    builder = GraphBuilder.of(graph)
    for node in graph.nodes:
        chain = _chain(graph, node)
        if chain is None:
            builder.nodes.append(node)
            continue
        source = chain[0].inputs[0]
        table = _table(graph, chain)
        if graph.type(source) == graph.type(node.outputs[0]) and _is_identity(table):
            # the same integers: an alias
            builder.nodes.append(
                Node(Reshape(graph.type(source).shape), (source,), node.outputs, node.name)
            )
            continue
        builder.add(
            Table(tuple(int(x) for x in table)),
            [source],
            name=chain[-2].name if len(chain) > 2 else node.name,
            outputs=node.outputs,
            quants=[graph.type(node.outputs[0]).quant],
        )
    return builder.finish()


def _is_identity(table: np.ndarray) -> bool:
    return bool((table == np.arange(-128, 128)).all())


def _chain(graph: Graph, quantize: Node) -> list[Node] | None:
    """Nodes from a Dequantize to ``quantize`` through which one int8 value passes alone."""
    if not isinstance(quantize.op, Quantize):
        return None
    chain = [quantize]
    while True:
        value = _variable(graph, chain[0])
        node = graph.producers.get(value) if value is not None else None
        if node is None or len(node.outputs) != 1:
            return None
        chain.insert(0, node)
        if isinstance(node.op, Dequantize):
            kinds = (graph.type(node.inputs[0]), graph.type(quantize.outputs[0]))
            plain = all(
                kind.dtype is DType.INT8 and kind.quant is not None and kind.quant.per_tensor
                for kind in kinds
            )
            return chain if plain and not graph.is_constant(node.inputs[0]) else None


def _variable(graph: Graph, node: Node) -> str | None:
    """The one input that is not a constant number, of an elementwise op."""
    if isinstance(node.op, Quantize):
        return node.inputs[0]
    windows = node.op.windows(graph.node_types(node))
    found = None
    for value, window in zip(node.inputs, windows, strict=True):
        if value in graph.constants and graph.type(value).count == 1:
            continue
        constant = graph.producers.get(value)
        if (
            constant is not None
            and isinstance(constant.op, Dequantize)
            and constant.inputs[0] in graph.constants
            and graph.type(value).count == 1
        ):
            continue
        if window is not POINT or found is not None or node.op.mutates:
            return None
        found = value
    return found


def _table(graph: Graph, chain: list[Node]) -> np.ndarray:
    """Results for the inputs -128 .. 127, by the ops' references."""
    values = {chain[0].inputs[0]: np.arange(-128, 128).astype(np.int8)}
    for node in chain:
        arrays, kinds = [], []
        for value in node.inputs:
            array = values.get(value)
            if array is None:
                array = _scalar(graph, value)
            arrays.append(array)
            kinds.append(graph.type(value).with_shape(array.shape))
        target = graph.type(node.outputs[0])
        types = Types(tuple(kinds), (TensorType((256,), target.dtype, target.quant),))
        (values[node.outputs[0]],) = node.op.reference(arrays, types)
    return values[chain[-1].outputs[0]]


def _scalar(graph: Graph, value: str) -> np.ndarray:
    if value in graph.constants:
        return graph.constants[value].reshape(1)
    node = graph.producers[value]
    (array,) = node.op.reference([graph.constants[node.inputs[0]]], graph.node_types(node))
    return array.reshape(1)
