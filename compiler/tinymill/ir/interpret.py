"""Runs a graph by the ops' numpy references: the truth that the C is held against."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .graph import Graph


def interpret(
    graph: Graph, inputs: Mapping[str, np.ndarray], state: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """All values of one run, by name; ``inputs`` are in our layout.

    ``state`` holds the variables between runs and is updated; without it they start fresh.
    """
    values: dict[str, np.ndarray] = dict(graph.constants)
    values.update(graph.variables if state is None else {**graph.variables, **state})
    values.update(inputs)
    for node in graph.nodes:
        results = node.op.reference(
            [values[name] if name else None for name in node.inputs], graph.node_types(node)
        )
        targets = (*node.outputs, *(node.inputs[index] for index in node.op.mutates))
        for name, array in zip(targets, results, strict=True):
            kind = graph.types[name]
            assert tuple(array.shape) == kind.shape and array.dtype == kind.dtype.numpy, (
                f"{node.op.name} '{node.name}' gave {array.dtype}{array.shape} for {kind}"
            )
            values[name] = array
    if state is not None:
        state.update({name: values[name] for name in graph.variables})
    return values
