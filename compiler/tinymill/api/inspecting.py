"""``inspect``: what a model file holds, and what of it can't be compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UnsupportedOp
from ..frontends import read_model
from ..ir import Graph, Node, Port
from ..schedule import plan as plan_graph
from .lowering import lowered


@dataclass(frozen=True)
class Layer:
    """One node as ``inspect`` shows it. ``problem`` says why it can't be compiled."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    macs: int
    parameters: int
    problem: str | None


@dataclass(frozen=True)
class Inspection:
    """What a model holds. ``problems`` are those of its layers."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(layer.problem for layer in self.layers if layer.problem)


def inspect(model: str | Path, *, shapes: Mapping[str, Sequence[int]] | None = None) -> Inspection:
    """Layers, shapes, quantisation, MACs and parameters of a model, and what is unsupported.

    Raises ``InvalidModel`` and ``UnsupportedOp`` for a file that can't be read as a graph.
    """
    graph = lowered(read_model(Path(model), shapes=shapes), "quantized", "exact", None)
    layers = []
    for node in graph.nodes:
        types = graph.node_types(node)
        constants = [value for value in node.inputs if value and graph.is_constant(value)]
        layers.append(
            Layer(
                node.name,
                node.op.name,
                tuple(str(graph.type(value)) for value in node.inputs if value),
                tuple(str(graph.type(value)) for value in node.outputs),
                node.op.macs(types),
                sum(graph.type(value).count for value in constants),
                _problem(graph, node),
            )
        )
    return Inspection(
        graph.name,
        tuple(_port_text(graph, port) for port in graph.inputs),
        tuple(_port_text(graph, port) for port in graph.outputs),
        tuple(layers),
    )


def _port_text(graph: Graph, port: Port) -> str:
    """The port's name and type in the source's layout, as arrays for it have it."""
    return f"{port.name}: {graph.type(port.value).with_shape(port.shape)}"


def _problem(graph: Graph, node: Node) -> str | None:
    try:
        plan_graph(graph.replace(nodes=(node,), inputs=_ports_of(graph, node), outputs=()))
    except UnsupportedOp as error:
        return str(error)
    return None


def _ports_of(graph: Graph, node: Node) -> tuple[Port, ...]:
    """The node's data inputs as ports, so that it can be planned alone."""
    found = []
    for value in dict.fromkeys(node.inputs):
        if value and not graph.is_constant(value) and value not in graph.variables:
            shape = graph.type(value).shape
            found.append(Port(value, value, shape, tuple(range(len(shape)))))
    return tuple(found)
