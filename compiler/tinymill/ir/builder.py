"""The one mutable form of a graph, for frontends and inside passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .graph import Graph, Node, Port
from .op import Op
from .types import DType, Quant, TensorType


class GraphBuilder:
    """Collects nodes in execution order; ``finish`` freezes them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.variables: dict[str, np.ndarray] = {}
        self._fresh = 0

    @classmethod
    def of(cls, graph: Graph, *, nodes: Iterable[Node] = ()) -> GraphBuilder:
        """A builder with all of ``graph`` but its nodes, which the pass adds as it goes."""
        builder = cls(graph.name)
        builder.inputs = list(graph.inputs)
        builder.outputs = list(graph.outputs)
        builder.nodes = list(nodes)
        builder.types = dict(graph.types)
        builder.constants = dict(graph.constants)
        builder.variables = dict(graph.variables)
        return builder

    def fresh(self, stem: str) -> str:
        """A name that no value has, made of ``stem``."""
        while True:
            self._fresh += 1
            name = f"{stem}.{self._fresh}"
            if name not in self.types:
                return name

    def constant(self, array: np.ndarray, *, stem: str, quant: Quant | None = None) -> str:
        """Adds a constant and returns its name."""
        name = self.fresh(stem)
        self.constants[name] = array
        self.types[name] = TensorType(tuple(array.shape), DType.of(array.dtype), quant)
        return name

    def add(
        self,
        op: Op,
        inputs: Sequence[str],
        *,
        name: str,
        outputs: Sequence[str] | None = None,
        quants: Sequence[Quant | None] | None = None,
    ) -> tuple[str, ...]:
        """Adds a node, its output types inferred, and returns its outputs' names."""
        kinds = op.infer([self.types[value] if value else None for value in inputs])
        if quants is None:
            quants = [None] * len(kinds)
        if outputs is None:
            outputs = [self.fresh(name or op.name) for _ in kinds]
        for value, kind, quant in zip(outputs, kinds, quants, strict=True):
            self.types[value] = TensorType(kind.shape, kind.dtype, quant)
        self.nodes.append(Node(op, tuple(inputs), tuple(outputs), name))
        return tuple(outputs)

    def finish(self) -> Graph:
        """The graph, without types, constants and variables that nothing names."""
        used = {value for node in self.nodes for value in (*node.inputs, *node.outputs) if value}
        used |= {port.value for port in (*self.inputs, *self.outputs)}
        return Graph(
            self.name,
            tuple(self.inputs),
            tuple(self.outputs),
            tuple(self.nodes),
            {name: kind for name, kind in self.types.items() if name in used},
            {name: array for name, array in self.constants.items() if name in used},
            {name: array for name, array in self.variables.items() if name in used},
        )
