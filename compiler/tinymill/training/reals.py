"""The backward pass of a float32 graph, as a graph of ordinary ops."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..errors import UnsupportedOp
from ..ir import DType, Graph, GraphBuilder, Port, Site, verify
from ..ops.binary import Binary
from ..ops.writing import Writing


def gradient_graph(graph: Graph, output: str, by: Sequence[str]) -> Graph:
    """``graph`` and behind it its backward pass from ``output``.

    ``by`` are inputs, constants, variables or values of the graph; outputs are ``output`` and then
    the derivatives by each, named after it. A new input, the last, is the derivative of the loss
    by ``output``. Raises ``UnsupportedOp`` where an op on the way has no rule.
    """
    live = _reached(graph, by)
    builder = GraphBuilder.of(graph, nodes=graph.nodes)
    kind = graph.type(output)
    seed = builder.fresh("gradient")
    builder.types[seed] = kind
    builder.inputs.append(_port(seed, f"d {output}", kind.shape))
    pending: dict[str, list[str]] = {output: [seed]}
    for node in reversed(graph.nodes):
        gs = [_sum(builder, pending.get(name, ()), node.name) for name in node.outputs]
        wanted = tuple(bool(name) and name in live for name in node.inputs)
        if not any(gs) or not any(wanted):
            continue
        for name in node.outputs:
            if graph.type(name).dtype is not DType.FLOAT32:
                raise UnsupportedOp(f"the gradient through {graph.type(name)}", at=node.name)
        site = Site(node, graph.node_types(node), wanted, node.outputs[0] == output)
        found = node.op.gradient(Writing(builder, node.name), site, gs)
        for name, gradient, asked in zip(node.inputs, found, wanted, strict=True):
            if asked and gradient is not None:
                pending.setdefault(name, []).append(gradient)
    builder.outputs = [_port(output, output, kind.shape)]
    for name in by:
        value = _sum(builder, pending.get(name, ()), name)
        shape = graph.type(name).shape
        if value is None:
            value = Writing(builder, name).zeros(shape)
        builder.outputs.append(_port(value, f"d {name}", shape))
    made = builder.finish()
    verify(made)
    return made


def _reached(graph: Graph, by: Collection[str]) -> set[str]:
    """The values that depend on those of ``by``, which are among them."""
    live = set(by)
    for node in graph.nodes:
        if live & set(node.inputs):
            live |= set(node.outputs)
    return live


def _port(value: str, name: str, shape: tuple[int, ...]) -> Port:
    return Port(value, name, shape, tuple(range(len(shape))))


def _sum(builder: GraphBuilder, gradients: Collection[str], name: str) -> str | None:
    """The sum of the gradients of a value; None where there are none."""
    total = None
    for gradient in gradients:
        if total is None:
            total = gradient
        else:
            (total,) = builder.add(Binary("add"), [total, gradient], name=f"{name}.gradient")
    return total
