"""Moves transposes down through the graph until they meet their inverse or an end.

A value behind a transpose is kept as (base, order): value = transpose(base, order). Ops that
commute with a permutation of axes are applied to the base; the others get the transpose, made
once. Ports take up what reaches an end, so that no transpose is left where none is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..ir import Graph, GraphBuilder, Node, Op, Port
from ..ops.reshape import Reshape
from ..ops.transpose import Transpose

Order = tuple[int, ...]
MAPS_LAST = {3: (0, 2, 1), 4: (0, 3, 1, 2)}
"""The order that gives source maps (channels first) from ours, by rank."""


def layout(graph: Graph) -> Graph:
    """The graph with the fewest elements left to transpose, inputs in either layout."""
    best = _Mover(graph, frozenset()).move()
    chosen: frozenset[str] = frozenset()
    for port in graph.inputs:
        if _moved(best) == 0:
            break
        if graph.type(port.value).rank in MAPS_LAST:
            tried = _Mover(graph, chosen | {port.value}).move()
            if _moved(tried) < _moved(best):
                best, chosen = tried, chosen | {port.value}
    return best


def _moved(graph: Graph) -> int:
    """Elements that the remaining transposes move."""
    return sum(
        graph.type(node.outputs[0]).count for node in graph.nodes if isinstance(node.op, Transpose)
    )


@dataclass(frozen=True)
class _Behind:
    base: str
    order: Order


class _Mover:
    def __init__(self, graph: Graph, channels_last: frozenset[str]) -> None:
        self.graph = graph
        self.builder = GraphBuilder.of(graph)
        self.behind: dict[str, _Behind] = {}
        self.made: dict[str, str] = {}
        self.fleeting = graph.variable_views
        for index, port in enumerate(graph.inputs):
            if port.value in channels_last:
                self.builder.inputs[index] = self._turned_input(port)

    def _turned_input(self, port: Port) -> Port:
        kind = self.graph.type(port.value)
        order = MAPS_LAST[kind.rank]
        inverse = _inverse(order)
        base = self.builder.fresh(port.value)
        self.builder.types[base] = kind.with_shape(tuple(kind.shape[axis] for axis in inverse))
        self.behind[port.value] = _Behind(base, order)
        return Port(base, port.name, port.shape, tuple(port.order[axis] for axis in inverse))

    def move(self) -> Graph:
        for node in self.graph.nodes:
            if not self._through(node):
                self._as_is(node)
        outputs = []
        for port in self.graph.outputs:
            behind = self.behind.get(port.value)
            if behind is None or port.value in self.made:
                outputs.append(port)
                continue
            inverse = _inverse(behind.order)
            order = tuple(port.order[axis] for axis in inverse)
            outputs.append(Port(behind.base, port.name, port.shape, order))
        self.builder.outputs = outputs
        return self.builder.finish()

    def _through(self, node: Node) -> bool:
        """Applies ``node`` to what lies behind transposes; False where that can't be."""
        if isinstance(node.op, Transpose):
            return self._transpose(node, node.op)
        positions = [i for i, value in enumerate(node.inputs) if value in self.behind]
        if not positions:
            return False
        order = self.behind[node.inputs[positions[0]]].order
        if isinstance(node.op, Reshape):
            return self._reshape(node, self.behind[node.inputs[0]])
        if positions[0] != 0 and not node.op.alike:
            return False
        op = node.op.permuted(order, self.graph.node_types(node))
        if op is None:
            return False
        inputs = []
        for index, value in enumerate(node.inputs):
            turned = value if index and not node.op.alike else self._turned(value, order)
            if turned is None:
                return False
            inputs.append(turned)
        # an input that is not data stays as it is, but then must not lie behind a transpose
        inputs = [self._materialised(value) for value in inputs]
        self._emit(node, op, inputs, order)
        return True

    def _transpose(self, node: Node, op: Transpose) -> bool:
        if node.inputs[0] in self.fleeting:
            return False
        found = self.behind.get(node.inputs[0], None)
        base = node.inputs[0] if found is None else found.base
        order = op.order if found is None else tuple(found.order[axis] for axis in op.order)
        if list(order) == sorted(order):
            # the value is the base itself: no node, but the name must lead there
            self.behind[node.outputs[0]] = _Behind(base, order)
            return True
        self.behind[node.outputs[0]] = _Behind(base, order)
        return True

    def _reshape(self, node: Node, behind: _Behind) -> bool:
        shape = self.builder.types[behind.base].shape
        if not Transpose(behind.order).is_reshape(shape):
            return False
        quants = [self.graph.type(node.outputs[0]).quant]
        self.builder.add(node.op, [behind.base], name=node.name, outputs=node.outputs,
                         quants=quants)  # fmt: skip
        return True

    def _turned(self, value: str, order: Order) -> str | None:
        """The value whose transpose by ``order`` is ``value``, where it costs nothing."""
        if not value:
            return ""
        behind = self.behind.get(value)
        if behind is not None and behind.order == order:
            return behind.base
        kind = self.graph.type(value)
        if behind is not None and Transpose(behind.order).is_reshape(
            self.builder.types[behind.base].shape
        ):
            value, behind = self._materialised(value), None
        if behind is not None:
            return None
        if kind.count == 1 and kind.rank <= len(order):
            return value
        inverse = _inverse(order)
        if value in self.builder.constants and kind.rank <= len(order):
            array = self.builder.constants[value]
            if kind.quant is not None and not kind.quant.per_tensor:
                return None
            wide = array.reshape((1,) * (len(order) - array.ndim) + array.shape)
            turned = np.ascontiguousarray(wide.transpose(inverse))
            return self.builder.constant(turned, stem=value, quant=kind.quant)
        if kind.rank == len(order) and Transpose(inverse).is_reshape(kind.shape):
            shape = tuple(kind.shape[axis] for axis in inverse)
            (name,) = self.builder.add(Reshape(shape), [value], name=value, quants=[kind.quant])
            return name
        return None

    def _materialised(self, value: str) -> str:
        """``value`` itself, its transpose emitted if it lies behind one."""
        behind = self.behind.get(value)
        if behind is None:
            return value
        if value in self.made:
            return self.made[value]
        shape = self.builder.types[behind.base].shape
        quant = self.graph.type(value).quant
        op: Op
        if list(behind.order) == sorted(behind.order):
            self.made[value] = behind.base
            return behind.base
        if Transpose(behind.order).is_reshape(shape):
            op = Reshape(tuple(shape[axis] for axis in behind.order))
        else:
            op = Transpose(behind.order)
        name = value if value not in self._defined() else self.builder.fresh(value)
        self.builder.add(op, [behind.base], name=value, outputs=[name], quants=[quant])
        self.made[value] = name
        return name

    def _defined(self) -> set[str]:
        return {port.value for port in self.builder.inputs}

    def _as_is(self, node: Node) -> None:
        inputs = tuple(self._materialised(value) for value in node.inputs)
        self.builder.nodes.append(Node(node.op, inputs, node.outputs, node.name))

    def _emit(self, node: Node, op: Op, inputs: Sequence[str], order: Order) -> None:
        quants = [self.graph.type(value).quant for value in node.outputs]
        bases = self.builder.add(op, inputs, name=node.name, quants=quants)
        for value, base in zip(node.outputs, bases, strict=True):
            self.behind[value] = _Behind(base, order)


def _inverse(order: Sequence[int]) -> Order:
    return tuple(order.index(axis) for axis in range(len(order)))
