"""The search for segments: which consecutive nodes take turns, and how many rows at a time.

Every range of nodes that can take turns is a candidate with a need of bytes and a cost; a plan
is a path of candidates from the first node to the last. The least need is a path whose dearest
candidate is cheapest; under a budget of bytes the fastest plan is a shortest path among the
candidates that fit. So all plans of the RAM / time front come from one list of candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from ..ir import Node
from .cost import SEGMENT, cost_of, feeding_cost
from .guests import guests_of
from .lifetimes import Section, row_bytes, section_lag
from .placement import shared_bytes
from .plan import Choice
from .steps import Workshop
from .streaming import Eager, Member, Stream, member_of
from .tiles import Tiled, strips_of

BATCHES = (1, 2, 4)
"""Rows of the first node a beat that are tried."""
LONGEST = 64
"""Nodes of a segment at most."""
LAZY = (0, 1, 2)
TILES = (2, 3, 4)
"""Parts into which a map is cut each way that are tried."""
WORK = 20_000
"""Segments looked at before only single layers are candidates any more."""


WHOLE = Choice(1)


@dataclass(frozen=True)
class Candidate:
    """A choice for the nodes from ``start`` to ``end``: bytes that it needs at least, and
    instructions that it costs."""

    start: int
    end: int
    choice: Choice
    need: int
    cost: int


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
        plain = choice.rows > 0 and not choice.tiled
        if not self._may_end(start, start + choice.count) or not (plain or self._all_in(start)):
            return None
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
        kept = self.live.kept(nodes, start)
        if choice.tiled:
            return self._tiled(members, kept, choice)
        eager = Eager(choice.rows)
        for member in members:
            eager.add(member)
        stream = self._stream(eager, kept, choice)
        steps = [
            step
            for node, rows in zip(nodes, stream.most_rows, strict=True)
            if (step := self.workshop.step(node, rows)) is not None
        ]
        for index in stream.fed:
            own = steps[index].scratch_bytes
            both = own + steps[index - 1].scratch_bytes
            steps[index] = replace(steps[index], scratch_bytes=both, fed_scratch=own)
        arriving = self.streamed if start == 0 else None
        return Section(tuple(steps), stream, arriving, guests_of(self.workshop, stream))

    def _stream(self, eager: Eager, kept: Iterable[str], choice: Choice) -> Stream:
        workshop = self.workshop if choice.fed else None
        return Stream(eager, kept, lazy=choice.lazy, workshop=workshop)

    def _tiled(
        self, members: Sequence[Member], kept: Sequence[str], choice: Choice
    ) -> Section | None:
        tiled = self._tiles(members, kept, choice)
        if tiled is None:
            return None
        steps = []
        for strip in tiled.strips:
            for member, rows in zip(members, tiled.most_rows, strict=True):
                step = self.workshop.strip_step(member.node, strip.columns, tiled.rings, rows)
                if step is None:
                    return None
                steps.append(step)
        return Section(tuple(steps), tiled)

    def _tiles(
        self, members: Sequence[Member], kept: Sequence[str], choice: Choice
    ) -> Tiled | None:
        """The tiles of a choice; None where these nodes or cuts don't allow them."""
        last = members[-1].node.outputs
        if tuple(kept) != tuple(last) or len(last) != 1:
            return None
        _, height, width, _ = self.graph.type(last[0]).shape
        for cuts, size in ((choice.across, height), (choice.along, width)):
            if any(b <= a for a, b in pairwise((0, *cuts, size))):
                return None
        strips = strips_of(self.workshop, members, choice.along)
        if strips is None:
            return None
        return Tiled(members, kept, choice.rows, choice.lazy, choice.across, strips)

    def tilings(self, plain: Candidate, limit: int, *, across: bool) -> Iterator[Candidate]:
        """The same nodes in equal strips, with as many cuts ``across``, as far as they need at
        most ``limit`` bytes."""
        nodes = self.workshop.nodes[plain.start : plain.end]
        kept = self.live.kept(nodes, plain.start)
        ends = self.live.live[plain.start] + sum(self.live.bytes[value] for value in kept)
        if ends > limit or tuple(kept) != tuple(nodes[-1].outputs):
            return
        section = self.section(plain.start, plain.choice)
        assert section is not None and isinstance(section.stream, Stream)
        members = section.stream.members
        _, height, width, _ = self.graph.type(kept[0]).shape
        for count in TILES:
            along = tuple(width * i // count for i in range(1, count))
            cuts = tuple(height * i // count for i in range(1, count)) if across else ()
            choice = Choice(plain.choice.count, 1, 0, cuts, along)
            tiled = self._tiles(members, kept, choice)
            found = None if tiled is None else self._tiled_candidate(plain, tiled, choice)
            if found is not None and found.need <= limit:
                yield found

    def _tiled_candidate(self, plain: Candidate, tiled: Tiled, choice: Choice) -> Candidate | None:
        """None where no kernel takes a strip."""
        need = self.live.live[plain.start] + sum(self.live.bytes[value] for value in tiled.kept)
        for value, rows in tiled.rings.items():
            kind = self.graph.type(value)
            need += rows * tiled.widest(value) * kind.shape[3] * kind.dtype.size
        cost = 0.0
        scratch = 0
        for index, member in enumerate(tiled.members):
            step = self.workshop.step(member.node)
            assert step is not None
            value = member.node.outputs[0]
            width = self.graph.type(value).shape[2]
            part = sum(b - a for a, b in (strip.columns[value] for strip in tiled.strips)) / width
            calls = tiled.calls(index)
            cost += cost_of(step, calls) * part
            for strip in tiled.strips:
                found = self.workshop.strip_scratch(
                    member.node, strip.columns, tiled.rings, tiled.most_rows[index]
                )
                if found is None:
                    return None
                scratch = max(scratch, found)
        return Candidate(plain.start, plain.end, choice, need + scratch, round(cost))

    def whole(self, start: int) -> Candidate:
        """The node at ``start`` in one call."""
        node = self.workshop.nodes[start]
        step = self.workshop.step(node)
        assert step is not None
        section = Section((step,))
        made = sum(self.live.bytes[value] for value in node.outputs)
        saving = self._shared(section, start, [node])
        if step.in_place and node.inputs[0] in self.live.dying([node], start):
            ends = (node.inputs[0], node.outputs[0])
            saving = max(saving, min(self.live.bytes[self._root(value)] for value in ends))
        need = self.live.live[start] + made + step.scratch_bytes - saving
        return Candidate(start, start + 1, WHOLE, need, cost_of(step, [step.height]))

    def _root(self, value: str) -> str:
        return self.graph.alias_roots.get(value, value)

    def _shared(self, section: Section, start: int, nodes: Sequence[Node]) -> int:
        """Bytes at most that dying inputs and outputs of a section can share."""
        kept = [v for node in nodes for v in node.outputs]
        if section.stream is not None:
            kept = list(section.stream.kept)
        sizes: dict[str, int] = {}
        lags: dict[tuple[str, str], int] = {}
        for source in self.live.dying(nodes, start):
            if source == section.arriving:
                continue
            for output in kept:
                lag = section_lag(self.graph, section, source, output)
                if lag is not None:
                    lags[source, output] = lag
                    sizes |= {v: self.live.bytes[self._root(v)] for v in (source, output)}
        return shared_bytes(sizes, lags)

    def streamed_from(self, start: int, limit: int) -> Iterator[Candidate]:
        """Segments that begin at ``start`` and need at most ``limit`` bytes, in their plainest
        form: a row of the first node at a time, as early as can be."""
        nodes = self.workshop.nodes
        eager = Eager(1)
        for end in range(start + 1, min(len(nodes), start + LONGEST) + 1):
            member = member_of(self.workshop, nodes[end - 1], eager.maker)
            if member is None or self.work > WORK:
                return
            self.work += 1
            eager.add(member)
            kept = self.live.kept(nodes[start:end], start)
            stream = Stream(eager, kept, lazy=0)
            rings = self._rings(stream)
            found = self._candidate(start, stream, Choice(end - start, 1), rings)
            if found.need <= limit and self._may_end(start, end):
                yield found
            # what a longer segment needs, too
            if self._outside(start, stream) + rings > limit:
                return

    def variants(self, plain: Candidate) -> Iterator[Candidate]:
        """The same nodes in other forms that need less, or not much more for fewer turns."""
        start, end = plain.start, plain.end
        nodes = self.workshop.nodes[start:end]
        section = self.section(start, plain.choice)
        assert section is not None and isinstance(section.stream, Stream)
        members = section.stream.members
        kept = self.live.kept(nodes, start)
        for rows in BATCHES:
            if rows > 1 and rows >= 2 * members[0].height:
                return
            eager = Eager(rows)
            for member in members:
                eager.add(member)
            for lazy in LAZY:
                choice = Choice(plain.choice.count, rows, lazy)
                if choice != plain.choice:
                    yield self._candidate(start, self._stream(eager, kept, choice), choice)
                choice = replace(choice, fed=True)
                if rows == 1 and (stream := self._stream(eager, kept, choice)).fed:
                    yield self._candidate(start, stream, choice)

    def _all_in(self, start: int) -> bool:
        """Whether all of the input is there when the node at ``start`` begins."""
        return self.streamed is None or start > 0

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

    def _rings(self, stream: Stream) -> int:
        """Bytes of the rows that are held of values between the nodes."""
        guests = guests_of(self.workshop, stream)
        return sum(
            rows * row_bytes(self.graph, value)
            for value, rows in stream.rings.items()
            if value not in guests
        )

    def _candidate(
        self, start: int, stream: Stream, choice: Choice, rings: int | None = None
    ) -> Candidate:
        nodes = [member.node for member in stream.members]
        scratch = max(
            self.workshop.scratch_bytes(node, rows)
            + (self.workshop.scratch_bytes(nodes[index - 1], 1) if index in stream.fed else 0)
            for index, (node, rows) in enumerate(zip(nodes, stream.most_rows, strict=True))
        )
        rings = self._rings(stream) if rings is None else rings
        held = sum(self.live.bytes[value] for value in stream.kept)
        step = self.workshop.step(nodes[0])
        assert step is not None
        section = Section((step,), stream, self.streamed if start == 0 else None)
        saving = self._shared(section, start, nodes)
        need = self._outside(start, stream) + rings + held + scratch - saving
        cost = SEGMENT
        for index, node in enumerate(nodes):
            step = self.workshop.step(node)
            assert step is not None
            cost += cost_of(step, stream.calls(index))
            if index in stream.fed:
                cost += feeding_cost(step, len(stream.fed[index]))
        return Candidate(start, start + choice.count, choice, need, cost)


NEVER = 1 << 62


def ordered(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates by the place where they begin."""
    return sorted(candidates, key=lambda c: (c.start, c.end))


def least_need(candidates: Iterable[Candidate], count: int) -> int:
    """The least bytes with which a path through ``count`` nodes exists; ``NEVER``: none does."""
    return _reach(candidates, count)[0][count]


def on_a_path(candidates: Sequence[Candidate], count: int, limit: int) -> list[Candidate]:
    """Those candidates that are part of a path on which each needs at most ``limit`` bytes."""
    ahead, back = _reach(candidates, count)
    return [c for c in candidates if max(ahead[c.start], c.need, back[c.end]) <= limit]


def too_large_before(candidates: Iterable[Candidate], count: int, limit: int) -> list[int]:
    """For each place how many layers before it need more than ``limit`` bytes whole, or can't be
    computed so."""
    fits = [0] * count
    for candidate in candidates:
        if candidate.choice == WHOLE and candidate.need <= limit:
            fits[candidate.start] = 1
    return [0, *accumulate(1 - each for each in fits)]


def _reach(candidates: Iterable[Candidate], count: int) -> tuple[list[int], list[int]]:
    """For each place the least bytes that take one there from the first, and to the last."""
    ahead = [0, *[NEVER] * count]
    back = [*[NEVER] * count, 0]
    in_order = ordered(candidates)
    for candidate in in_order:
        need = max(ahead[candidate.start], candidate.need)
        ahead[candidate.end] = min(ahead[candidate.end], need)
    for candidate in reversed(in_order):
        need = max(back[candidate.end], candidate.need)
        back[candidate.start] = min(back[candidate.start], need)
    return ahead, back


def fastest(candidates: Iterable[Candidate], count: int, budget: int) -> list[Candidate] | None:
    """The path of least cost whose candidates need at most ``budget`` bytes; of equally costly
    ones that of least need. None if there is none. ``candidates`` are in order (``ordered``)."""
    best: list[tuple[int, int] | None] = [(0, 0), *[None] * count]
    via: list[Candidate | None] = [None] * (count + 1)
    for candidate in candidates:
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
        step = via[place]
        assert step is not None
        path.append(step)
        place = step.start
    return path[::-1]
