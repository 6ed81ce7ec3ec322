"""From steps to buffers: which bytes live when, and which may overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..ir import POINT, Graph, Node, Reading
from .plan import Buffer, Overlay, Step

ALIGN = 4


def buffers_of(graph: Graph, steps: Sequence[Step], *, keep_inputs: bool) -> tuple[Buffer, ...]:
    """A buffer for each value that the arena must hold, aliases sharing one, and for scratch."""
    root = graph.alias_roots
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    members: dict[str, list[str]] = {}

    def use(value: str, step: int) -> None:
        if not value or graph.is_constant(value) or value in graph.variable_views:
            return
        buffer = root.get(value, value)
        first[buffer] = min(step, first.get(buffer, step))
        last[buffer] = max(step, last.get(buffer, step))
        members.setdefault(buffer, [])
        if value not in members[buffer]:
            members[buffer].append(value)

    end = len(steps)
    for port in graph.inputs:
        use(port.value, -1)
        if keep_inputs:
            use(port.value, end)
    for node in graph.nodes:
        # an alias is no step; its values take part through the steps that read them
        for output in node.outputs:
            if output in root and output not in graph.variable_views:
                members.setdefault(root[output], []).append(output)
    for index, step in enumerate(steps):
        for value in (*step.node.inputs, *step.node.outputs):
            use(value, index)
    for port in graph.outputs:
        use(port.value, end)

    for index, step in enumerate(steps):
        if step.in_place:
            _replace(step, index, root, first, last, members)

    found = []
    for name, values in members.items():
        if name not in first:
            continue
        kinds = [graph.type(value) for value in values]
        align = max(ALIGN, *(kind.dtype.size for kind in kinds))
        size = max(kind.bytes for kind in kinds)
        found.append(Buffer(name, tuple(values), size, first[name], last[name], align))
    for index, step in enumerate(steps):
        if step.scratch is not None:
            found.append(Buffer(step.scratch, (), step.scratch_bytes, index, index, ALIGN))
    return tuple(found)


def _replace(
    step: Step, index: int, root: Mapping[str, str], first: dict[str, int], last: dict[str, int],
    members: dict[str, list[str]],
) -> None:  # fmt: skip
    """Gives the output of a step the buffer of its first input, where that dies here."""
    holder = {value: name for name, values in members.items() for value in values}
    source = holder.get(step.node.inputs[0])
    readings = [holder.get(name) for name in step.node.inputs].count(source)
    output = root.get(step.node.outputs[0], step.node.outputs[0])
    if source is None or readings != 1 or output not in members or first[output] != index:
        return
    if last[source] == index:
        members[source] += members.pop(output)
        last[source] = last[output]


def overlays_of(
    graph: Graph, steps: Sequence[Step], buffers: Sequence[Buffer]
) -> tuple[Overlay, ...]:
    """Pairs of a dying input and an output that may overlap, by the op's window."""
    holder = {value: buffer for buffer in buffers for value in buffer.values}
    found: dict[tuple[str, str], int] = {}
    for index, step in enumerate(steps):
        node = step.node
        if len(node.outputs) != 1 or not step.kernel.overlays:
            continue
        output = holder[node.outputs[0]]
        windows = node.op.windows(graph.node_types(node))
        for position, value in enumerate(node.inputs):
            source = holder.get(value)
            window = windows[position]
            if source is None or source is output or window is None:
                continue
            # read once (under any of its names), and not after this step
            readings = [holder.get(name) for name in node.inputs].count(source)
            if source.last != index or readings != 1 or output.first != index:
                continue
            lag = _lag(graph, node, value, window, step.rows_at_once)
            if lag < source.size + output.size:
                found[source.name, output.name] = lag
    return tuple(Overlay(source, output, lag) for (source, output), lag in found.items())


def _lag(graph: Graph, node: Node, value: str, window: Reading, rows: int) -> int:
    """Bytes by which the output must start below the input so that no unread byte is lost.

    Row y of the output ends before the first input row that step y or a later one reads:
    out + (y + 1) * Ro <= in + r(y) * Ri, r(y) = max(0, y * stride - pad). A kernel that
    writes several ``rows`` at once needs the input rows of the first until the last is written.
    For POINT, an element is read before its place is written.
    """
    source, output = graph.type(value), graph.type(node.outputs[0])
    if window is POINT:
        grow = output.dtype.size - source.dtype.size
        return max(0, output.count * grow)
    in_row, out_row = (
        _row_bytes(source.shape, source.dtype.size),
        _row_bytes(output.shape, output.dtype.size),
    )
    if source.shape[0] != 1:
        return source.bytes + output.bytes
    height = output.shape[1]
    first, _ = window.spans(height, source.shape[1])
    written = np.minimum(np.arange(height) + rows, height)
    lag = max(0, int((written * out_row - first * in_row).max()))
    return -(-lag // ALIGN) * ALIGN


def _row_bytes(shape: tuple[int, ...], size: int) -> int:
    return shape[2] * shape[3] * size
