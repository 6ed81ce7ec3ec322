"""The verifier: run after every pass, it names what is wrong with a graph."""

from __future__ import annotations

from ..errors import TinymillError
from .graph import Graph


def verify(graph: Graph) -> None:
    """Raises ``AssertionError`` where a graph breaks the rules of the IR.

    Frontends check the user's files themselves and raise ``InvalidModel``; what is wrong
    here is the fault of the pass that ran last.
    """
    known = {port.value for port in graph.inputs} | set(graph.variables)
    produced: set[str] = set()
    for node in graph.nodes:
        produced |= set(node.outputs)
    for name, array in (*graph.constants.items(), *graph.variables.items()):
        kind = graph.types[name]
        assert tuple(array.shape) == kind.shape, f"{name}: shape {array.shape}, type {kind}"
        assert array.dtype == kind.dtype.numpy, f"{name}: dtype {array.dtype}, type {kind}"
    for node in graph.nodes:
        at = f"{node.op.name} '{node.name}'"
        for value in node.inputs:
            if not value:
                continue
            assert value in graph.types, f"{at}: '{value}' has no type"
            assert value in known or value not in produced, f"{at}: '{value}' is used before made"
        for index in node.op.mutates:
            assert node.inputs[index] in graph.variables, f"{at}: input {index} is no variable"
        for index in node.op.of_variables:
            value = node.inputs[index]
            assert value in graph.variable_views, f"{at}: input {index} is no variable"
        types = graph.node_types(node)
        try:
            kinds = node.op.infer(types.inputs)
        except TinymillError as error:
            raise AssertionError(f"{at}: {error}") from error
        assert len(kinds) == len(node.outputs), f"{at}: {len(node.outputs)} outputs"
        for value, kind in zip(node.outputs, kinds, strict=True):
            assert value not in known, f"{at}: '{value}' is made twice"
            known.add(value)
            stated = graph.types[value]
            assert (stated.shape, stated.dtype) == (kind.shape, kind.dtype), (
                f"{at}: '{value}' is {stated}, inferred {kind}"
            )
    for port in (*graph.inputs, *graph.outputs):
        assert port.value in graph.types, f"port '{port.name}': no type"
        ours = 1
        for n in port.shape:
            ours *= n
        assert ours == graph.types[port.value].count, f"port '{port.name}': shape {port.shape}"
        assert sorted(port.order) == list(range(len(port.shape))), f"port '{port.name}': order"
