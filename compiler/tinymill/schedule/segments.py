"""The search for segments: which consecutive nodes take turns, and how many rows at a time.

Every range of nodes that can take turns is a candidate with a need of bytes and a cost; a plan
is a path of candidates from the first node to the last. The least need is a path whose dearest
candidate is cheapest; under a budget of bytes the fastest plan is a shortest path among the
candidates that fit. So all plans of the RAM / time front come from one list of candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..ir import Node
from .cost import cost_of
from .lifetimes import Section, row_bytes, section_lag
from .steps import Workshop
from .streaming import Member, Stream, member_of

BATCHES = (1, 2, 4)
"""Rows of the first node a beat that are tried."""
LONGEST = 64
"""Nodes of a segment at most."""
WORK = 80_000
"""Nodes looked at, over all candidates, before only single layers are candidates any more."""


@dataclass(frozen=True)
class Choice:
    """How ``count`` consecutive nodes are computed.

    ``rows`` 0: each node whole (then ``count`` is 1); else they take turns, that many rows of
    the first node's output a beat; ``lazy`` as for ``Stream``.
    """

    count: int
    rows: int = 0
    lazy: int = 0


WHOLE = Choice(1)


@dataclass(frozen=True)
class Candidate:
    """A choice for the nodes from ``start`` on: bytes that it needs at least, and instructions
    that it costs."""

    start: int
    choice: Choice
    need: int
    cost: int

    @property
    def end(self) -> int:
        return self.start + self.choice.count


class Liveness:
    """When each value that the arena holds is made and last read, by position of nodes."""

    def __init__(self, workshop: Workshop, *, keep_inputs: bool) -> None:
        graph = self.graph = workshop.graph
        self.roots = graph.alias_roots
        self.made: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        end = len(workshop.nodes)
        for port in graph.inputs:
            self._use(port.value, -1)
            if keep_inputs:
                self._use(port.value, end)
        for index, node in enumerate(workshop.nodes):
            for value in (*node.inputs, *node.outputs):
                self._use(value, index)
        for port in graph.outputs:
            self._use(port.value, end)
        # live[i]: bytes made before node i and read by it or later
        change = [0] * (end + 2)
        for root, size in self.bytes.items():
            change[self.made[root] + 1] += size
            change[self.last[root] + 1] -= size
        self.live = _running(change)

    def _use(self, value: str, position: int) -> None:
        graph = self.graph
        if not value or graph.is_constant(value) or value in graph.variable_views:
            return
        root = self.roots.get(value, value)
        self.made[root] = min(position, self.made.get(root, position))
        self.last[root] = max(position, self.last.get(root, position))
        self.bytes[root] = max(graph.type(value).bytes, self.bytes.get(root, 0))

    def dying(self, nodes: Sequence[Node], start: int) -> list[str]:
        """Values from outside that no node after these reads."""
        end = start + len(nodes)
        return [
            value
            for value in dict.fromkeys(name for node in nodes for name in node.inputs)
            if (root := self.roots.get(value, value)) in self.made
            and self.made[root] < start
            and self.last[root] < end
        ]

    def kept(self, nodes: Sequence[Node], start: int) -> list[str]:
        """What these nodes make and others read."""
        end = start + len(nodes)
        return [v for node in nodes for v in node.outputs if self.last[v] >= end]


def _running(change: Sequence[int]) -> list[int]:
    found, total = [], 0
    for step in change:
        total += step
        found.append(total)
    return found


class Candidates:
    """The candidates of a graph; ``streamed`` names an input that comes row by row."""

    def __init__(
        self, workshop: Workshop, *, keep_inputs: bool = False, streamed: str | None = None
    ) -> None:
        self.workshop = workshop
        self.graph = workshop.graph
        self.live = Liveness(workshop, keep_inputs=keep_inputs)
        self.streamed = streamed
        self.work = 0

    def section(self, start: int, choice: Choice) -> Section | None:
        """The nodes from ``start`` on as ``choice`` says; None where they can't be so."""
        nodes = self.workshop.nodes[start : start + choice.count]
        if choice.rows == 0:
            step = self.workshop.step(nodes[0])
            assert step is not None
            return Section((step,))
        members: list[Member] = []
        made: set[str] = set()
        for node in nodes:
            member = member_of(self.workshop, node, made)
            if member is None:
                return None
            members.append(member)
            made.update(node.outputs)
        stream = Stream(members, self.live.kept(nodes, start), choice.rows, lazy=choice.lazy)
        steps = tuple(
            step
            for node, rows in zip(nodes, stream.most_rows, strict=True)
            if (step := self.workshop.step(node, rows)) is not None
        )
        return Section(steps, stream, self.streamed if start == 0 else None)

    def whole(self, start: int) -> Candidate:
        """The node at ``start`` in one call."""
        node = self.workshop.nodes[start]
        section = self.section(start, WHOLE)
        assert section is not None
        step = section.steps[0]
        made = sum(self.live.bytes[value] for value in node.outputs)
        saving = max(self._savings(section, start, [node]), default=0)
        if step.in_place and node.inputs[0] in self.live.dying([node], start):
            source, output = (
                self.live.bytes[self._root(v)] for v in (node.inputs[0], node.outputs[0])
            )
            saving = min(source, output)
        need = self.live.live[start] + made + step.scratch_bytes - saving
        return Candidate(start, WHOLE, need, cost_of(step, 1))

    def _root(self, value: str) -> str:
        return self.graph.alias_roots.get(value, value)

    def _savings(self, section: Section, start: int, nodes: Sequence[Node]) -> Iterator[int]:
        """Bytes that each pair of a dying input and an output can share."""
        kept = [v for node in nodes for v in node.outputs]
        if section.stream is not None:
            kept = list(section.stream.kept)
        for source in self.live.dying(nodes, start):
            if source == section.arriving:
                continue
            for output in kept:
                lag = section_lag(self.graph, section, source, output)
                if lag is not None:
                    size, other = (self.live.bytes[self._root(v)] for v in (source, output))
                    yield max(0, size + other - max(other, lag + size))

    def streamed_from(self, start: int, limit: int) -> Iterator[Candidate]:
        """Segments that begin at ``start`` and need at most ``limit`` bytes."""
        nodes = self.workshop.nodes
        members: list[Member] = []
        made: set[str] = set()
        for end in range(start + 1, min(len(nodes), start + LONGEST) + 1):
            member = member_of(self.workshop, nodes[end - 1], made)
            if member is None:
                return
            members.append(member)
            made.update(nodes[end - 1].outputs)
            self.work += len(members)
            if self.work > WORK:
                return
            if not self._may_end(start, end):
                continue
            kept = self.live.kept(nodes[start:end], start)
            least = None
            for rows in BATCHES:
                if rows > 1 and rows >= 2 * members[0].height:
                    break
                for lazy in (0, 1, 2):
                    found = self._candidate(start, members, kept, Choice(end - start, rows, lazy))
                    least = found.need if least is None else min(least, found.need)
                    if found.need <= limit:
                        yield found
                if least is not None and least > limit:
                    break
            inner = self._inner(start, members, kept)
            if inner > limit:
                return

    def _may_end(self, start: int, end: int) -> bool:
        """Whether a streamed input, if there is one, is read by these nodes only."""
        if self.streamed is None or start > 0:
            return True
        return self.live.last[self._root(self.streamed)] < end

    def _outside(self, start: int, stream: Stream) -> int:
        """Bytes of values from outside while a segment runs."""
        held = self.live.live[start]
        if self.streamed is not None and start == 0:
            kind = self.graph.type(self.streamed)
            rows = stream.input_ring(self.streamed, kind.shape[1])
            held += rows * row_bytes(self.graph, self.streamed) - kind.bytes
        return held

    def _inner(self, start: int, members: Sequence[Member], kept: Sequence[str]) -> int:
        """Bytes that any longer segment needs too: what is held of inner values."""
        stream = Stream(members, kept, 1, lazy=0)
        rings = sum(rows * row_bytes(self.graph, v) for v, rows in stream.rings.items())
        return self._outside(start, stream) + rings

    def _candidate(
        self, start: int, members: Sequence[Member], kept: Sequence[str], choice: Choice
    ) -> Candidate:
        stream = Stream(members, kept, choice.rows, lazy=choice.lazy)
        nodes = [member.node for member in members]
        scratch = max(
            self.workshop.scratch_bytes(node, rows)
            for node, rows in zip(nodes, stream.most_rows, strict=True)
        )
        rings = sum(rows * row_bytes(self.graph, v) for v, rows in stream.rings.items())
        held = sum(self.live.bytes[value] for value in kept)
        step = self.workshop.step(nodes[0])
        assert step is not None
        section = Section((step,), stream, self.streamed if start == 0 else None)
        saving = max(self._savings(section, start, nodes), default=0)
        need = self._outside(start, stream) + rings + held + scratch - saving
        cost = 0
        for node, calls in zip(nodes, stream.calls, strict=True):
            step = self.workshop.step(node)
            assert step is not None
            cost += cost_of(step, calls)
        return Candidate(start, choice, need, cost)


def least_need(candidates: Iterable[Candidate], count: int) -> int:
    """The least bytes with which a path through ``count`` nodes exists."""
    best = [0, *[1 << 62] * count]
    for candidate in sorted(candidates, key=lambda c: c.start):
        need = max(best[candidate.start], candidate.need)
        best[candidate.end] = min(best[candidate.end], need)
    return best[count]


def fastest(candidates: Iterable[Candidate], count: int, budget: int) -> list[Candidate] | None:
    """The path of least cost whose candidates need at most ``budget`` bytes; of equally costly
    ones that of least need. None if there is none."""
    best: list[tuple[int, int] | None] = [(0, 0), *[None] * count]
    via: list[Candidate | None] = [None] * (count + 1)
    for candidate in sorted(candidates, key=lambda c: (c.start, c.end)):
        before = best[candidate.start]
        if before is None or candidate.need > budget:
            continue
        value = before[0] + candidate.cost, max(before[1], candidate.need)
        current = best[candidate.end]
        if current is None or value < current:
            best[candidate.end], via[candidate.end] = value, candidate
    if best[count] is None:
        return None
    path: list[Candidate] = []
    place = count
    while place:
        candidate = via[place]
        assert candidate is not None
        path.append(candidate)
        place = candidate.start
    return path[::-1]
