"""Holds what compiled C computes against the oracle: the numpy references of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .ir import Graph, Port, interpret

TOLERANCE = 1e-5
"""Of floats, times the greater of 1 and the oracle's value; integers must be equal."""


@dataclass(frozen=True)
class Comparison:
    """One output, or one layer's output, over all frames.

    Floats differ where they are further apart than the tolerance allows; ``worst`` is the
    greatest absolute difference of any two elements, equal ones or not.
    """

    name: str
    op: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    differing_bytes: int
    elements: int
    differing_elements: int
    worst: float
    first_frame: int | None
    """The first frame that differs."""

    @property
    def agree(self) -> bool:
        return self.differing_elements == 0


@dataclass(frozen=True)
class Validation:
    """What ``validate`` found. ``layers`` is None where they weren't asked for; there every
    layer's output is kept until the end of a run, so the plan is another one than that of
    ``outputs``."""

    target: str
    frames: int
    tolerance: float
    outputs: tuple[Comparison, ...]
    layers: tuple[Comparison, ...] | None

    @property
    def agree(self) -> bool:
        return all(found.agree for found in (*self.outputs, *(self.layers or ())))

    @property
    def first_differing_layer(self) -> Comparison | None:
        """What comes behind it has its errors, too."""
        return next((found for found in self.layers or () if not found.agree), None)


def tapped(graph: Graph) -> Graph:
    """The graph with every layer's first output as a further output.

    Left out are those that share another value's bytes (reshape) or a variable's.
    """
    ports = list(graph.outputs)
    for node in graph.nodes:
        if not node.outputs or node.outputs[0] in graph.alias_roots:
            continue
        if node.outputs[0] in graph.variable_views:
            continue
        shape = graph.type(node.outputs[0]).shape
        ports.append(Port(node.outputs[0], node.name, shape, tuple(range(len(shape)))))
    return graph.replace(outputs=tuple(ports))


def oracle(graph: Graph, columns: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """Each output for ``count`` frames, [frames, *its shape]; the state runs from frame to frame.

    ``columns`` are as ``samples.columns_of`` gives them.
    """
    state: dict[str, np.ndarray] = {}
    rows: list[list[np.ndarray]] = [[] for _ in graph.outputs]
    for frame in range(count):
        inputs = {
            port.value: port.from_source(
                column[frame if len(column) > 1 else 0], graph.type(port.value).shape
            )
            for port, column in zip(graph.inputs, columns, strict=True)
        }
        values = interpret(graph, inputs, state)
        for row, port in zip(rows, graph.outputs, strict=True):
            row.append(port.to_source(values[port.value]))
    return [np.stack(row) for row in rows]


def compare(
    name: str, op: str, found: np.ndarray, truth: np.ndarray, *, tolerance: float
) -> Comparison:
    """Two arrays [frames, ...] of one type."""
    found, truth = np.ascontiguousarray(found), np.ascontiguousarray(truth)
    assert found.dtype == truth.dtype and found.shape == truth.shape, (found.dtype, truth.dtype)
    frames = len(truth)
    raw, true_raw = (array.reshape(-1).view(np.uint8) for array in (found, truth))
    if truth.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(found.astype(np.float64) - truth)
            allowed = tolerance * np.maximum(1.0, np.abs(truth.astype(np.float64)))
            near = np.isfinite(truth) & (apart <= allowed)
            near |= (found == truth) | (np.isnan(found) & np.isnan(truth))
        differs = ~near
    else:
        apart = np.abs(found.astype(np.float64) - truth.astype(np.float64))
        differs = found != truth
    apart = apart[np.isfinite(apart)]
    by_frame = differs.reshape(frames, -1).any(axis=1)
    return Comparison(
        name=name,
        op=op,
        dtype=truth.dtype.name,
        shape=truth.shape[1:],
        bytes=raw.size,
        differing_bytes=int((raw != true_raw).sum()),
        elements=truth.size,
        differing_elements=int(differs.sum()),
        worst=float(apart.max()) if apart.size else 0.0,
        first_frame=int(by_frame.argmax()) if by_frame.any() else None,
    )
