"""What a sparse run must give: the whole graph by the ops' references, with what a cache holds.

Normalisations keep the statistics of the original; attention is computed anew for the queries
that an edit reaches, on all keys and values, and stays for the others.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir import Graph, Node
from ..ops.normalize import GroupNorm
from .operations import Attend

Values = dict[str, np.ndarray]


def original_run(graph: Graph, inputs: Mapping[str, np.ndarray]) -> Values:
    """All values of ``graph``, which is that of ``passes.prepared``, in our layout."""
    return _run(graph, {**graph.constants, **inputs})


def edited_run(
    graph: Graph, original: Values, edited: str, x: np.ndarray, mask: np.ndarray
) -> tuple[Values, Values]:
    """All values of the edited run, and where an edit reaches them ([images, height, width]).

    ``original`` are the values of ``original_run``, ``x`` the value ``edited`` as it becomes
    where ``mask`` [images, height, width] is true. All in our layout.
    """
    reached = reach(graph, original, edited, mask)
    new = np.where(mask[..., None], x, original[edited])
    values = _run(graph, {**original, edited: new}, original, reached)
    return values, reached


def reach(graph: Graph, original: Values, edited: str, mask: np.ndarray) -> Values:
    """Where values differ from the original's if every edited pixel became not a number."""
    spoiled: np.ndarray = np.where(mask[..., None], np.float32(np.nan), original[edited])
    values: Values = {edited: spoiled}
    for node in graph.nodes:
        if not any(name in values for name in node.inputs):
            continue
        if isinstance(node.op, GroupNorm):
            source = values[node.inputs[0]]
            values[node.outputs[0]] = np.where(np.isnan(source), source, original[node.outputs[0]])
            continue
        if isinstance(node.op, Attend):
            shape = original[node.outputs[0]].shape
            queries = values.get(node.inputs[0], original[node.inputs[0]])
            hit = np.asarray(np.isnan(queries).any(axis=-1)).reshape(shape[:-1])
            values[node.outputs[0]] = np.where(
                hit[..., None], np.float32(np.nan), original[node.outputs[0]]
            )
            continue
        with np.errstate(all="ignore"):
            results = _reference(graph, node, {**original, **values})
        values.update(zip(node.outputs, results, strict=True))
    return {name: np.asarray(np.isnan(array).any(axis=-1)) for name, array in values.items()}


def _run(
    graph: Graph, values: Mapping[str, np.ndarray], original: Values | None = None,
    reached: Values | None = None,
) -> Values:  # fmt: skip
    found = dict(values)
    for node in graph.nodes:
        if original is not None and isinstance(node.op, GroupNorm):
            results: tuple[np.ndarray, ...] = (
                _frozen(node.op, node, found, original[node.inputs[0]]),
            )
        else:
            results = _reference(graph, node, found)
        if original is not None and isinstance(node.op, Attend):
            assert reached is not None
            name = node.outputs[0]
            active = reached.get(name)
            if active is not None:
                results = (np.where(active[..., None], results[0], original[name]),)
        found.update(zip(node.outputs, results, strict=True))
    return found


def _reference(
    graph: Graph, node: Node, values: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, ...]:
    arrays = [values[name] if name else None for name in node.inputs]
    return node.op.reference(arrays, graph.node_types(node))


def _frozen(op: GroupNorm, node: Node, values: Values, original: np.ndarray) -> np.ndarray:
    """``GroupNorm`` with the mean and variance of ``original``."""
    x, scale, shift = (values[name] for name in node.inputs)
    images, channels = x.shape[0], x.shape[-1]

    def grouped(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float64).reshape(images, -1, op.groups, channels // op.groups)

    old = grouped(original)
    mean, variance = old.mean(axis=(1, 3), keepdims=True), old.var(axis=(1, 3), keepdims=True)
    y = ((grouped(x) - mean) / np.sqrt(variance + op.epsilon)).reshape(x.shape)
    return (y * scale + shift).astype(np.float32)
