"""From a model to the graph that a sparse engine is made of: float32, NHWC, ops as networks mean
them."""

from __future__ import annotations

from dataclasses import replace

from ..errors import InvalidModel, UnsupportedOp
from ..ir import DType, Graph, GraphBuilder, Port, verify
from ..ops.reshape import Reshape
from ..passes.eliminate import eliminate
from ..passes.fold import fold_constants, fold_padding
from ..passes.fold_batch_norm import fold_batch_norm
from ..passes.layout import layout
from . import recognise


def prepared(graph: Graph, edited: str | None) -> tuple[Graph, str]:
    """The graph and the value in it that is edited: input ``edited``, or a value inside, from
    which on the model then is taken. Without a name the first input that is a map."""
    graph = _cut(graph, edited) if edited is not None else graph
    for step in (
        eliminate,
        fold_constants,
        recognise.written_out_norms,
        recognise.group_norms,
        recognise.attention,
        layout,
        eliminate,
        recognise.silu,
        recognise.modulations,
        recognise.fold_affine,
        fold_batch_norm,
        recognise.fold_transposed,
        fold_padding,
        eliminate,
    ):
        graph = step(graph)
        verify(graph)
    ports = [port for port in graph.inputs if port.name == edited or edited is None]
    maps = [port for port in ports if graph.type(port.value).rank == 4]
    if not maps:
        raise UnsupportedOp(
            "no input is a map, so there is nothing to edit" if edited is None else "it is no map",
            at=edited or graph.name,
            hint="name a value inside the model to edit",
        )
    port = maps[0]
    if graph.type(port.value).dtype is not DType.FLOAT32:
        raise UnsupportedOp(
            f"what is edited is {graph.type(port.value)}, a float32 map is needed", at=port.name
        )
    graph = _channels_last(graph, port)
    return graph, next(p.value for p in graph.inputs if p.name == port.name)


def _channels_last(graph: Graph, port: Port) -> Graph:
    """An input of one channel, of which ``layout`` makes a reshape, as a map."""
    n, channels, height, width = graph.type(port.value).shape
    wanted = (n, height, width, channels)
    readers = graph.consumers.get(port.value, ())
    if channels != 1 or not all(
        isinstance(node.op, Reshape) and graph.type(node.outputs[0]).shape == wanted
        for node in readers
    ):
        return graph
    builder = GraphBuilder.of(graph)
    name = builder.fresh(port.value)
    builder.types[name] = graph.type(port.value).with_shape(wanted)
    order = tuple(port.order[a] for a in (0, 2, 3, 1))
    builder.inputs = [
        Port(name, port.name, port.shape, order) if each == port else each for each in graph.inputs
    ]
    same = {node.outputs[0]: name for node in readers}
    for node in graph.nodes:
        if node.outputs[0] not in same:
            inputs = tuple(same.get(value, value) for value in node.inputs)
            builder.nodes.append(replace(node, inputs=inputs))
    builder.outputs = [replace(p, value=same.get(p.value, p.value)) for p in graph.outputs]
    return builder.finish()


def _cut(graph: Graph, name: str) -> Graph:
    """The part of the graph behind a value, which becomes an input."""
    if any(port.name == name for port in graph.inputs):
        return graph
    if name not in graph.producers:
        raise InvalidModel(f"it has no value {name!r}", at=graph.name)
    builder = GraphBuilder.of(graph)
    kind = graph.type(name)
    needed = {port.value for port in graph.outputs}
    for node in reversed(graph.nodes):
        if needed & set(node.outputs) and name not in node.outputs:
            builder.nodes.insert(0, node)
            needed |= set(node.inputs)
    builder.inputs = [port for port in graph.inputs if port.value in needed]
    if name not in needed:
        raise InvalidModel("no output depends on it", at=name)
    builder.inputs.append(Port(name, name, kind.shape, tuple(range(kind.rank))))
    return builder.finish()
