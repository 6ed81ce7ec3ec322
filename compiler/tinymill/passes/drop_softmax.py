"""--drop-softmax: a model's last softmax is left out; the classes keep their order."""

from __future__ import annotations

from dataclasses import replace

from ..errors import UnsupportedOp
from ..ir import DType, Graph, GraphBuilder, Node, Port
from ..ops.log_softmax import LogSoftmax
from ..ops.quantization import Dequantize, Quantize
from ..ops.reshape import Reshape
from ..ops.softmax import Softmax
from ..ops.transpose import Transpose
from .eliminate import eliminate

_BEHIND = (Dequantize, Quantize, Reshape, Transpose)


def drop_softmax(graph: Graph) -> Graph:
    """The graph whose outputs are what went into the Softmax or LogSoftmax that made them.

    Values are those of that input, with its quantisation; what moved the probabilities behind the
    softmax (Reshape, Transpose) moves them. A float output stays float, an integer one integer
    where what went in has integers. Outputs that end otherwise stay; ``UnsupportedOp`` where all
    do.
    """
    builder = GraphBuilder.of(graph, nodes=graph.nodes)
    builder.outputs = [_dropped(graph, builder, port) for port in graph.outputs]
    if builder.outputs == list(graph.outputs):
        ends = [_end_of(graph, port) for port in graph.outputs]
        raise UnsupportedOp(
            f"ends in {', '.join(ends) or 'nothing'}, not in a softmax",
            at=", ".join(f"output '{port.name}'" for port in graph.outputs),
            hint="leave out --drop-softmax",
        )
    return eliminate(builder.finish())


def _dropped(graph: Graph, builder: GraphBuilder, port: Port) -> Port:
    """The port on what went into its softmax; the port itself where there is none."""
    behind, node = _chain(graph, port)
    if node is None or not _keeps_order(node):
        return port
    value = node.inputs[0]
    if graph.is_constant(value) or any(each.value == value for each in graph.inputs):
        raise UnsupportedOp(
            "is a softmax of an input or a constant: without it nothing is left",
            at=f"output '{port.name}'", hint="leave out --drop-softmax",
        )  # fmt: skip
    real = builder.types[port.value].dtype is DType.FLOAT32
    before = graph.producers.get(value)
    if not real and before is not None and isinstance(before.op, Dequantize):
        value = before.inputs[0]
    elif real and builder.types[value].dtype is not DType.FLOAT32:
        (value,) = builder.add(Dequantize(), [value], name=node.name)
    for each in behind:
        if isinstance(each.op, Reshape | Transpose):
            quants = [builder.types[value].quant]
            (value,) = builder.add(each.op, [value], name=each.name, quants=quants)
    return replace(port, value=value)


def _chain(graph: Graph, port: Port) -> tuple[list[Node], Node | None]:
    """What only moves or recodes the values before a port, in order, and the node before that."""
    behind: list[Node] = []
    node = graph.producers.get(port.value)
    while node is not None and isinstance(node.op, _BEHIND):
        behind.insert(0, node)
        node = graph.producers.get(node.inputs[0])
    return behind, node


def _keeps_order(node: Node) -> bool:
    if isinstance(node.op, Softmax):
        return node.op.beta > 0
    return isinstance(node.op, LogSoftmax)


def _end_of(graph: Graph, port: Port) -> str:
    """The op that an output ends in, for people."""
    _, node = _chain(graph, port)
    return "an input" if node is None else f"{node.op.name} '{node.name}'"
