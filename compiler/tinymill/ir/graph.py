"""The graph: frozen, in execution order, edges are names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from .op import Op, Types
from .types import TensorType


@dataclass(frozen=True)
class Node:
    """One op applied to values. ``name`` is the source layer's; an absent input is ``""``."""

    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Port:
    """One input or output of the model as its source file sees it.

    ``order`` permutes source axes into ours: ``ours = source.transpose(order)`` reshaped to
    the value's shape; ``name``, ``shape`` and ``dtype`` are the source's.
    """

    value: str
    name: str
    shape: tuple[int, ...]
    order: tuple[int, ...]

    def from_source(self, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A source-layout array as our value of ``shape``."""
        return np.asarray(array.reshape(self.shape).transpose(self.order), order="C").reshape(shape)

    def to_source(self, array: np.ndarray) -> np.ndarray:
        """Our value as an array in the source's layout."""
        ours = tuple(self.shape[axis] for axis in self.order)
        back = np.argsort(self.order)
        return np.asarray(array.reshape(ours).transpose(back), order="C")


@dataclass(frozen=True)
class Graph:
    """A model. Every name in nodes, ports, constants and variables has a type.

    A value that nothing produces and that is no input, constant or variable is a constant
    whose numbers are absent: plans and estimates work, emission doesn't.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, TensorType]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    variables: Mapping[str, np.ndarray] = field(default_factory=dict)

    def type(self, value: str) -> TensorType:
        return self.types[value]

    def node_types(self, node: Node) -> Types:
        return Types(
            tuple(self.types[name] if name else None for name in node.inputs),
            tuple(self.types[name] for name in node.outputs),
        )

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """Nodes that read each value, once for each time they read it."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                if name:
                    found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def only_reader(self, value: str) -> Node | None:
        """The node that alone reads ``value``; None if there are several or it is an output."""
        readers = self.consumers.get(value, ())
        if len(readers) != 1 or any(port.value == value for port in self.outputs):
            return None
        return readers[0]

    @cached_property
    def alias_roots(self) -> Mapping[str, str]:
        """For each value that shares another's bytes (reshape), the value that owns them."""
        root: dict[str, str] = {}
        for node in self.nodes:
            index = node.op.alias(self.node_types(node))
            if index is not None:
                source = node.inputs[index]
                root[node.outputs[0]] = root.get(source, source)
        return root

    @cached_property
    def alias_offsets(self) -> Mapping[str, int]:
        """For each value that shares another's bytes, where in them it begins."""
        offset: dict[str, int] = {}
        for node in self.nodes:
            types = self.node_types(node)
            index = node.op.alias(types)
            if index is not None:
                before = offset.get(node.inputs[index], 0)
                offset[node.outputs[0]] = before + node.op.alias_offset(types)
        return offset

    @cached_property
    def variable_views(self) -> frozenset[str]:
        """Variables and what shares their bytes: what reads them must stay where it is."""
        views = {value for value, root in self.alias_roots.items() if root in self.variables}
        return frozenset(views | set(self.variables))

    def is_constant(self, value: str) -> bool:
        """True for constants, their numbers present or absent."""
        return value in self.constants or not (
            value in self.producers
            or value in self.variables
            or any(port.value == value for port in self.inputs)
        )

    def constant(self, value: str) -> np.ndarray:
        """A constant's numbers; where absent, a read-only array of its shape without memory."""
        if value in self.constants:
            return self.constants[value]
        kind = self.types[value]
        return np.broadcast_to(np.zeros((), kind.dtype.numpy), kind.shape)

    def replace(self, **changes) -> Graph:
        return replace(self, **changes)
