"""From sections to buffers: which bytes live when, and which may overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..ir import POINT, Graph, Node, Reading
from .cost import SEGMENT, cost_of, feeding_cost
from .plan import Buffer, Guest, Overlay, Step
from .streaming import Stream
from .tiles import Tiled

ALIGN = 4


@dataclass(frozen=True)
class Section:
    """Consecutive steps: one layer whole (``stream`` None), or several that take turns.

    ``arriving`` names an input of the model that comes row by row while this section runs,
    ``guests`` are values whose rows are held in another's ring.
    """

    steps: tuple[Step, ...]
    stream: Stream | Tiled | None = None
    arriving: str | None = None
    guests: Mapping[str, Guest] = field(default_factory=dict)

    @property
    def scratch_bytes(self) -> int:
        return max(step.scratch_bytes for step in self.steps)

    @property
    def scratch(self) -> str | None:
        """The name of the scratch buffer; None where none is needed."""
        if self.scratch_bytes == 0:
            return None
        node = self.steps[0].node
        return f"scratch of {node.name or node.outputs[0]}"

    @property
    def layers(self) -> int:
        """The number of nodes."""
        return 1 if self.stream is None else len(self.stream.members)

    @property
    def cost(self) -> int:
        """Instructions, about."""
        if self.stream is None:
            return cost_of(self.steps[0], [self.steps[0].height])
        fed = self.stream.fed if isinstance(self.stream, Stream) else {}
        return (
            SEGMENT
            + sum(
                cost_of(step, self.stream.calls(index % self.layers))
                for index, step in enumerate(self.steps)
            )
            + sum(feeding_cost(self.steps[index], len(beats)) for index, beats in fed.items())
        )

    def held(self, graph: Graph, value: str) -> tuple[int, int] | None:
        """Rows held of a value in this section, and their bytes; None where it is held whole."""
        if self.stream is None or not value:
            return None
        kind = graph.type(value)
        if value == self.arriving and isinstance(self.stream, Stream):
            rows = self.stream.input_ring(value, kind.shape[1])
        elif value in self.stream.rings:
            rows = self.stream.rings[value]
        else:
            return None
        if isinstance(self.stream, Tiled):
            return rows, rows * self.stream.widest(value) * kind.shape[3] * kind.dtype.size
        return (rows, rows * row_bytes(graph, value)) if rows < kind.shape[1] else None


def buffers_of(
    graph: Graph, sections: Sequence[Section], *, keep_inputs: bool
) -> tuple[Buffer, ...]:
    """A buffer for each value that the arena must hold, aliases sharing one, and for scratch."""
    root = graph.alias_roots
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    members: dict[str, list[str]] = {}

    def use(value: str, section: int) -> None:
        if not value or graph.is_constant(value) or value in graph.variable_views:
            return
        buffer = root.get(value, value)
        first[buffer] = min(section, first.get(buffer, section))
        last[buffer] = max(section, last.get(buffer, section))
        members.setdefault(buffer, [])
        if value not in members[buffer]:
            members[buffer].append(value)

    end = len(sections)
    for port in graph.inputs:
        use(port.value, -1)
        if keep_inputs:
            use(port.value, end)
    for node in graph.nodes:
        # an alias is no step; its values take part through the steps that read them
        for output in node.outputs:
            if output in root and output not in graph.variable_views:
                members.setdefault(root[output], []).append(output)
    for index, section in enumerate(sections):
        for step in section.steps:
            for value in (*step.node.inputs, *step.node.outputs):
                use(value, index)
    for port in graph.outputs:
        use(port.value, end)

    for index, section in enumerate(sections):
        if section.stream is None and section.steps[0].in_place:
            _replace(section.steps[0], index, root, first, last, members)

        for value, guest in section.guests.items():
            members[guest.host] += members.pop(value)

    rings = {
        value: held
        for section in sections
        for step in section.steps[: section.layers]
        for value in (*step.node.inputs, *step.node.outputs)
        # a guest has the place of its host, which may be held whole
        if value not in section.guests and (held := section.held(graph, value)) is not None
    }
    found = []
    for name, values in members.items():
        if name not in first:
            continue
        kinds = [graph.type(value) for value in values]
        align = max(ALIGN, *(kind.dtype.size for kind in kinds))
        size = max(kind.bytes for kind in kinds)
        rows, size = next((rings[v] for v in values if v in rings), (None, size))
        found.append(Buffer(name, tuple(values), size, first[name], last[name], align, rows))
    for index, section in enumerate(sections):
        if section.scratch is not None:
            found.append(Buffer(section.scratch, (), section.scratch_bytes, index, index, ALIGN))
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
    graph: Graph, sections: Sequence[Section], buffers: Sequence[Buffer]
) -> tuple[Overlay, ...]:
    """Pairs of a dying input and an output that may overlap, by the ops' windows."""
    holder = {value: buffer for buffer in buffers for value in buffer.values}
    found: dict[tuple[str, str], int] = {}
    for index, section in enumerate(sections):
        dying = {
            value: holder[value]
            for step in section.steps
            for value in step.node.inputs
            if value in holder and holder[value].last == index and holder[value].first < index
        }
        born = {
            value: holder[value]
            for step in section.steps
            for value in step.node.outputs
            if value in holder and holder[value].first == index and holder[value].rows is None
        }
        for source_value, source in dying.items():
            # rows that come while the section runs lie where they would be written over
            if source.rows is not None or source_value == section.arriving:
                continue
            # read under one of its names only
            names = [v for v in dying if dying[v] is source]
            if len(names) != 1:
                continue
            for output_value, output in born.items():
                lag = section_lag(graph, section, source_value, output_value)
                if lag is not None and lag < source.size + output.size:
                    found[source.name, output.name] = lag
    return tuple(Overlay(source, output, lag) for (source, output), lag in found.items())


def section_lag(graph: Graph, section: Section, source: str, output: str) -> int | None:
    """Bytes by which ``output`` must start below ``source``, which dies in this section, so that
    no unread byte is lost; None where they must be apart."""
    if isinstance(section.stream, Tiled):
        return None
    if section.stream is not None:
        return _stream_lag(graph, section.stream, source, output)
    step = section.steps[0]
    node = step.node
    if len(node.outputs) != 1 or not step.kernel.overlays or node.inputs.count(source) != 1:
        return None
    window = node.op.windows(graph.node_types(node))[node.inputs.index(source)]
    if window is None:
        return None
    return _lag(graph, node, source, window, step.rows_at_once)


def _stream_lag(graph: Graph, stream: Stream, source: str, output: str) -> int | None:
    readings = stream.readings.get(source, ())
    reads = sum(member.node.inputs.count(source) for member in stream.members)
    if len(readings) != reads or output not in stream.kept:
        return None  # someone reads all of it
    kind = graph.type(source)
    lag = stream.lag(
        (source, kind.shape[1], row_bytes(graph, source)), (output, row_bytes(graph, output))
    )
    return -(-lag // ALIGN) * ALIGN


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
    if source.shape[0] != 1:
        return source.bytes + output.bytes
    height = output.shape[1]
    first, _ = window.spans(height, source.shape[1])
    written = np.minimum(np.arange(height) + rows, height)
    spans = written * row_bytes(graph, node.outputs[0]) - first * row_bytes(graph, value)
    return -(-max(0, int(spans.max())) // ALIGN) * ALIGN


def heat_of(
    graph: Graph, sections: Sequence[Section], buffers: Sequence[Buffer]
) -> dict[str, float]:
    """How often a byte of each buffer is used in a run: written once, read for each tap of a
    window; scratch for each multiply-accumulate, as that is what it is for."""
    holder = {value: buffer for buffer in buffers for value in buffer.values}
    used: dict[str, float] = {}

    def use(buffer: Buffer | None, accesses: float) -> None:
        if buffer is not None and buffer.size:
            used[buffer.name] = used.get(buffer.name, 0.0) + accesses / buffer.size

    scratch = {buffer.name: buffer for buffer in buffers if not buffer.values}
    for section in sections:
        for step in section.steps:
            reads = sum(graph.type(v).count for v in step.node.inputs if v in holder)
            made = sum(kind.count for kind in step.types.outputs)
            taps = max(1.0, step.macs / max(1, made * step.channels[1]))
            for value in step.node.inputs:
                if value in holder:
                    use(holder[value], graph.type(value).bytes * min(taps, 64.0))
            for value in step.node.outputs:
                use(holder.get(value), graph.type(value).bytes)
            if step.scratch_bytes and section.scratch is not None:
                use(scratch.get(section.scratch), max(step.macs, reads))
    return used


def row_bytes(graph: Graph, value: str) -> int:
    """Bytes of a row of an NHWC map."""
    kind = graph.type(value)
    return kind.shape[2] * kind.shape[3] * kind.dtype.size
