"""Segments computed tile by tile: strips of columns, and cuts across the rows.

As in MCUNetV2 (Lin et al., 2021) the borders that neighbouring tiles share are computed anew by
each (the halo). Within a tile rows take turns as in any segment, so a cut between two strips makes
every ring narrower; one across the rows saves nothing but may be asked for. Tiles may differ in
size, and what a tile needs is followed back through branches and residuals: a value's part is
the hull of what its readers need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from .plan import Turn
from .steps import Reader, Workshop
from .streaming import Eager, Member, Stream

Span = tuple[int, int]


@dataclass(frozen=True)
class Strip:
    """Columns [first, behind) of each value that a strip of the output's columns needs."""

    columns: Mapping[str, Span]


class Tiled:
    """The turns of ``members`` for tiles of the one value that is ``kept``, the last one's output.

    ``rows`` and ``lazy`` are as for ``Stream``; ``across`` and ``along`` are the rows and the
    columns at which the output is cut. The steps are those of the first strip, then of the next.
    """

    def __init__(
        self, members: Sequence[Member], kept: Sequence[str], rows: int, lazy: int,
        across: Sequence[int], strips: Sequence[Strip],
    ) -> None:  # fmt: skip
        self.members = tuple(members)
        self.kept = frozenset(kept)
        self.strips = tuple(strips)
        height = members[-1].height
        self.streams: list[Stream] = []
        for tile in pairwise((0, *across, height)):
            eager = Eager(rows)
            for member, span in zip(members, row_spans(members, tile), strict=True):
                eager.add(member, span)
            self.streams.append(Stream(eager, kept, lazy=lazy))
        self.readings = self.streams[0].readings
        self.maker = self.streams[0].maker

    @cached_property
    def most_rows(self) -> list[int]:
        """The most rows that a turn of each node computes."""
        return [max(rows) for rows in zip(*(s.most_rows for s in self.streams), strict=True)]

    @cached_property
    def rings(self) -> Mapping[str, int]:
        """Rows held of each value that is not needed outside."""
        return {v: max(stream.rings[v] for stream in self.streams) for v in self.streams[0].rings}

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        """All turns in order: strip by strip, in each from top to bottom."""
        count = len(self.members)
        return tuple(
            Turn(strip * count + turn.step, turn.row0, turn.row1)
            for strip in range(len(self.strips))
            for stream in self.streams
            for turn in stream.turns
        )

    def calls(self, index: int) -> list[int]:
        """The rows of each turn of a node in one strip."""
        return [rows for stream in self.streams for rows in stream.calls(index)]

    def widest(self, value: str) -> int:
        """The most columns held of a value."""
        return max(b - a for a, b in (strip.columns[value] for strip in self.strips))


def row_spans(members: Sequence[Member], tile: Span) -> list[Span]:
    """The rows of each member that rows ``tile`` of the last one need."""
    found: list[Span] = [(0, 0)] * len(members)
    needed: dict[str, list[Span]] = {}
    for index in range(len(members) - 1, -1, -1):
        member = members[index]
        spans = [span for value in member.node.outputs for span in needed.get(value, ())]
        if index == len(members) - 1:
            spans = [tile]
        found[index] = min(a for a, _ in spans), max(b for _, b in spans)
        for reader in member.readers:
            needed.setdefault(reader.value, []).append(_read(reader, found[index]))
    return found


def _read(reader: Reader, span: Span) -> Span:
    first, behind = span
    low = int(reader.unread[first])
    return low, max(low, int(reader.taken[behind]))


def strips_of(
    workshop: Workshop, members: Sequence[Member], cuts: Sequence[int]
) -> list[Strip] | None:
    """The strips between ``cuts`` of the last member's output; None where a node has none."""
    width = workshop.graph.type(members[-1].node.outputs[0]).shape[2]
    readers: list[tuple[Reader, ...]] = []
    for member in members:
        found = workshop.column_readers(member.node)
        if found is None:
            return None
        readers.append(found)
    strips = []
    for cut in pairwise((0, *cuts, width)):
        columns: dict[str, Span] = dict.fromkeys(members[-1].node.outputs, cut)
        for member, reading in zip(reversed(members), reversed(readers), strict=True):
            spans = [columns[value] for value in member.node.outputs if value in columns]
            span = min(a for a, _ in spans), max(b for _, b in spans)
            for value in member.node.outputs:
                columns[value] = span
            for reader in reading:
                low, high = _read(reader, span)
                known = columns.get(reader.value, (low, high))
                columns[reader.value] = min(low, known[0]), max(high, known[1])
        if any(a >= b for a, b in columns.values()):
            return None
        strips.append(Strip(columns))
    return strips
