"""A graph as text: for ``--dump-passes`` and for tests of passes."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from .graph import Graph, Node
from .op import Op
from .rescale import FixedPoint, FloatScale


def print_graph(graph: Graph) -> str:
    """One line a port, variable and node; constants by type only."""
    lines = [f"graph {graph.name}"]
    lines += [f"  in  {p.value}: {graph.type(p.value)}{_layout(p.order)}" for p in graph.inputs]
    lines += [f"  var {name}: {graph.type(name)}" for name in graph.variables]
    lines += [f"  {_node(graph, node)}" for node in graph.nodes]
    lines += [f"  out {p.value}: {graph.type(p.value)}{_layout(p.order)}" for p in graph.outputs]
    return "\n".join(lines) + "\n"


def _layout(order: tuple[int, ...]) -> str:
    return "" if list(order) == sorted(order) else f" source order {list(order)}"


def _node(graph: Graph, node: Node) -> str:
    operands = [
        f"<{graph.type(value)}>" if value and graph.is_constant(value) else value or "-"
        for value in node.inputs
    ]
    results = ", ".join(f"{value}: {graph.type(value)}" for value in node.outputs)
    return f"{results or '()'} = {attributes(node.op)}({', '.join(operands)})"


def attributes(op: Op) -> str:
    """The op's name with the attributes that differ from their defaults."""
    assert is_dataclass(op)
    shown = []
    for item in fields(op):
        value = getattr(op, item.name)
        if value == item.default:
            continue
        if isinstance(value, FixedPoint):
            value = f"fixed x{len(value.multiplier)}"
        elif isinstance(value, FloatScale):
            value = f"float x{len(value.m)}"
        shown.append(f"{item.name}={value}")
    return f"{op.name}[{', '.join(shown)}]" if shown else op.name
