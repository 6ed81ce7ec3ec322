"""The backward pass: from the gradient of the loss to every layer that learns.

The walk is the same for every tape (``ir.Tape``); what a rule asks for becomes numbers
(``numbers.py``) or nodes of a graph (``step.py``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection

from ..errors import UnsupportedOp
from ..ir import DType, Gradient, Graph, Node, Site, Tape


class AddingTape(Tape):
    """A tape that adds the gradients of a value that several nodes read."""

    @abstractmethod
    def add(self, at: Node, a: Gradient, b: Gradient) -> Gradient:
        """The sum of two gradients of the first output of ``at``."""


def live_values(graph: Graph, trained: Collection[str]) -> frozenset[str]:
    """The values that change with the layers whose nodes' first outputs are ``trained``."""
    live: set[str] = set()
    for node in graph.nodes:
        if node.outputs and (node.outputs[0] in trained or live & set(node.inputs)):
            live |= set(node.outputs)
    return frozenset(live)


def backward(
    graph: Graph, output: str, g: Gradient, trained: Collection[str], tape: AddingTape
) -> None:
    """Writes the backward pass from the gradient ``g`` of value ``output`` on ``tape``.

    Branches without a trained layer behind them are left out. Raises ``UnsupportedOp`` where an
    op on the way has no rule.
    """
    live = live_values(graph, trained)
    roots = graph.alias_roots
    last = roots.get(output, output)
    pending: dict[str, list[Gradient]] = {output: [g]}
    for node in reversed(graph.nodes):
        if any(pending.get(name) for name in node.outputs[1:]):
            raise UnsupportedOp(f"the gradient of {node.op.name}", at=node.name)
        name = node.outputs[0] if node.outputs else ""
        found = pending.pop(name, [])
        if not found or name not in live:
            continue
        total = found[0]
        for other in found[1:]:
            total = tape.add(node, total, other)
        if graph.type(name).dtype is not DType.INT8:
            raise UnsupportedOp(
                f"the gradient through {graph.type(name)}", at=node.name,
                hint="training needs int8 layers from the first trained one to the loss",
            )  # fmt: skip
        wanted = tuple(name in live for name in node.inputs)
        site = Site(node, graph.node_types(node), wanted, roots.get(name, name) == last)
        gradients = node.op.quantized_gradient(tape, site, total)
        for value, gradient in zip(node.inputs, gradients, strict=True):
            if gradient is not None and value:
                pending.setdefault(value, []).append(gradient)
