"""Steps that take turns: how far each has come at each beat, and what must be held meanwhile.

A beat gives every node of a segment, in order, one turn at most. ``done[t]`` are the rows of a
node's output that are there after beat t. A node has a pace: rows a beat, in proportion to the
first node's. Eager nodes compute what their inputs and their pace allow; lazy ones what their
readers need, those needed outside of the segment first of all, at a multiple of the pace at most:
so no ring must take in at once what a padding at the bottom sets free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..ir import Node
from .plan import Turn
from .steps import Reader, Workshop


@dataclass(frozen=True)
class Member:
    """A node of a segment: the rows of its output, what it reads row by row, and by which nodes
    of the segment each of its outputs is read (position, reading)."""

    node: Node
    height: int
    readers: tuple[Reader, ...]


class Stream:
    """Nodes that advance together, ``rows`` rows of the first one's output a beat.

    ``kept`` are the values that are needed outside and so held whole. ``lazy`` 0: nodes compute
    rows as early as they can; else as late, up to ``lazy`` times their pace at once.
    """

    def __init__(
        self, members: Sequence[Member], kept: Iterable[str], rows: int, *, lazy: int
    ) -> None:
        self.members = tuple(members)
        self.kept = frozenset(kept)
        self.rows = rows
        height = self.members[0].height
        self.pace = [max(1, -(-m.height * rows // height)) for m in self.members]
        self.maker = {
            value: index for index, m in enumerate(self.members) for value in m.node.outputs
        }
        self.readings: dict[str, list[tuple[int, Reader]]] = {}
        for index, member in enumerate(self.members):
            for reader in member.readers:
                self.readings.setdefault(reader.value, []).append((index, reader))
        done = self._eager()
        self.done = self._lazy(done, lazy) if lazy else done

    @property
    def beats(self) -> int:
        return len(self.done[0])

    def _eager(self) -> list[np.ndarray]:
        beats = -(-self.members[0].height // self.rows) + 8
        while True:
            done: list[np.ndarray] = []
            for member, pace in zip(self.members, self.pace, strict=True):
                found = np.full(beats, member.height)
                for reader in member.readers:
                    if reader.value in self.maker:
                        rows = done[self.maker[reader.value]]
                        found = np.minimum(found, np.searchsorted(reader.last, rows, "right"))
                # done[t] <= done[t - 1] + pace
                slope = np.arange(beats) * pace
                found = np.minimum(slope + np.minimum.accumulate(found - slope), slope + pace)
                done.append(found)
            late = max(
                int(np.searchsorted(rows, member.height))
                for rows, member in zip(done, self.members, strict=True)
            )
            if late < beats:
                return [rows[: late + 1] for rows in done]
            beats *= 2

    def _lazy(self, eager: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
        done = list(eager)
        beats = len(done[0])
        for index in range(len(done) - 1, -1, -1):
            outputs = self.members[index].node.outputs
            if self.kept.intersection(outputs):
                continue
            needed = np.zeros(beats, np.int64)
            for value in outputs:
                for reader_index, reader in self.readings.get(value, ()):
                    needed = np.maximum(needed, _reached(reader, done[reader_index]))
            # early enough that no turn is larger than `most` times the pace
            slope = np.arange(beats) * self.pace[index] * most
            done[index] = slope + np.maximum.accumulate((needed - slope)[::-1])[::-1]
            done[index] = np.clip(done[index], 0, eager[index])
        return done

    @cached_property
    def before(self) -> list[np.ndarray]:
        """Rows there at the start of each beat."""
        return [np.concatenate([[0], rows[:-1]]) for rows in self.done]

    @cached_property
    def most_rows(self) -> list[int]:
        """The most rows that a turn of each node computes."""
        return [
            max(1, int((done - before).max()))
            for done, before in zip(self.done, self.before, strict=True)
        ]

    @cached_property
    def calls(self) -> list[int]:
        """The number of turns of each node."""
        return [
            int(np.count_nonzero(done - before))
            for done, before in zip(self.done, self.before, strict=True)
        ]

    @cached_property
    def rings(self) -> Mapping[str, int]:
        """Rows held of each value that is not needed outside."""
        return {
            value: self._ring(value, self.done[index], self.members[index].height)
            for value, index in self.maker.items()
            if value not in self.kept
        }

    def _ring(self, value: str, there: np.ndarray, height: int) -> int:
        rows = int((there - self._unread(value, height)).max())
        chunk = int(np.diff(there, prepend=0).max())
        return min(max(rows, chunk, 1), height)

    def _unread(self, value: str, height: int, after: int | None = None) -> np.ndarray:
        """The first row of ``value`` that is still to be read at the start of each beat.

        With ``after``: when the nodes before that one have had their turn.
        """
        rows = np.full(self.beats, height)
        for index, reader in self.readings.get(value, ()):
            done = self.done[index] if after is not None and index < after else self.before[index]
            rows = np.minimum(rows, np.append(reader.first, height)[done])
        return rows

    def input_ring(self, value: str, height: int) -> int:
        """Rows held of an input that comes row by row."""
        return self._ring(value, self.arrived(value), height)

    def arrived(self, value: str) -> np.ndarray:
        """Rows of an input from outside that must be there at each beat."""
        found = np.zeros(self.beats, np.int64)
        for index, reader in self.readings.get(value, ()):
            found = np.maximum(found, _reached(reader, self.done[index]))
        return found

    def lag(self, source: tuple[str, int, int], output: tuple[str, int]) -> int:
        """Bytes by which ``output`` must start below ``source`` so that no unread row is lost.

        ``source`` is a value from outside, its height and bytes a row; ``output`` one of ours
        and its bytes a row. The largest of (rows written) * Ro - (first row unread) * Ri.
        """
        value, height, in_row = source
        made, out_row = output
        index = self.maker[made]
        done = self.done[index]
        unread = self._unread(value, height, after=index)
        spans = np.where(done > self.before[index], done * out_row - unread * in_row, 0)
        return max(0, int(spans.max()))

    def turns(self) -> tuple[Turn, ...]:
        """All turns in order."""
        found = []
        for beat in range(self.beats):
            for index, done in enumerate(self.done):
                row0, row1 = int(self.before[index][beat]), int(done[beat])
                if row1 > row0:
                    found.append(Turn(index, row0, row1))
        return tuple(found)

    def arrivals(self, value: str, height: int) -> tuple[int, ...]:
        """For each row of a streamed input the number of turns that can be made with it."""
        needs = []
        reached = 0
        readers = dict(self.readings.get(value, ()))
        for turn in self.turns():
            if turn.step in readers:
                reached = max(reached, int(readers[turn.step].last[turn.row1 - 1]))
            needs.append(reached)
        return tuple(int(n) for n in np.searchsorted(needs, np.arange(1, height + 1), "right"))


def _reached(reader: Reader, done: np.ndarray) -> np.ndarray:
    """Rows of the input that ``done`` rows of the output need."""
    return np.concatenate([[0], reader.last])[done]


def members_of(workshop: Workshop, nodes: Sequence[Node]) -> tuple[Member, ...] | None:
    """The nodes as members of one segment; None where they can't take turns."""
    found: list[Member] = []
    made: set[str] = set()
    for node in nodes:
        member = member_of(workshop, node, made)
        if member is None:
            return None
        found.append(member)
        made.update(node.outputs)
    return tuple(found)


def member_of(workshop: Workshop, node: Node, made: set[str]) -> Member | None:
    """``node`` as a member of a segment whose nodes so far make ``made``; None if it is none.

    What it reads of them, it must read row by row, under the name that they give it.
    """
    readers = workshop.readers(node)
    if readers is None:
        return None
    by_rows = {reader.value for reader in readers}
    roots = workshop.graph.alias_roots
    for name in node.inputs:
        if roots.get(name, name) in made and not (name in made and name in by_rows):
            return None
    return Member(node, workshop.graph.type(node.outputs[0]).shape[1], readers)
