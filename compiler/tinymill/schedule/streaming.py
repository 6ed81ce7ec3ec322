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

from ..ir import Node, Window
from .plan import Turn
from .steps import Reader, Workshop


@dataclass(frozen=True)
class Member:
    """A node of a segment: the rows of its output, and what it reads row by row."""

    node: Node
    height: int
    readers: tuple[Reader, ...]


def member_of(workshop: Workshop, node: Node, made: Iterable[str]) -> Member | None:
    """``node`` as a member of a segment whose nodes so far make ``made``; None if it can't be.

    What it reads of them, it must read row by row, under the name that they give it.
    """
    readers = workshop.readers(node)
    if readers is None:
        return None
    by_rows = {reader.value for reader in readers}
    roots = workshop.graph.alias_roots
    made = frozenset(made)
    for name in node.inputs:
        if roots.get(name, name) in made and not (name in made and name in by_rows):
            return None
    return Member(node, workshop.graph.type(node.outputs[0]).shape[1], readers)


class Eager:
    """Nodes that compute rows as early as they can, ``rows`` rows of the first one a beat.

    It grows by one node at a time; what is known of the nodes so far stays.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.members: list[Member] = []
        self.spans: list[tuple[int, int]] = []
        """The rows that each node computes: all of them, or those of a tile."""
        self.paces: list[int] = []
        self.done: list[np.ndarray] = []
        self.beats: list[int] = []
        """Beats until all nodes so far have done all."""
        self.maker: dict[str, int] = {}
        self.readings: dict[str, list[tuple[int, Reader]]] = {}

    def add(self, member: Member, span: tuple[int, int] | None = None) -> None:
        """One node more, of which rows ``span`` are computed (all of them)."""
        first = self.members[0] if self.members else member
        start, end = span or (0, member.height)
        pace = max(1, -(-member.height * self.rows // first.height))
        beats = self.beats[-1] if self.beats else max(1, -(-(end - start) // self.rows))
        while True:
            found = self._advance(member, start, end, pace, beats)
            if found[-1] == end:
                break
            beats += 8 + beats // 4
        index = len(self.members)
        beats = max(int(np.searchsorted(found, end)) + 1, self.beats[-1] if index else 1)
        self.spans.append((start, end))
        for value in member.node.outputs:
            self.maker[value] = index
        for reader in member.readers:
            self.readings.setdefault(reader.value, []).append((index, reader))
        self.members.append(member)
        self.paces.append(pace)
        self.beats.append(beats)
        self.done.append(found[:beats])

    def _advance(self, member: Member, start: int, end: int, pace: int, beats: int) -> np.ndarray:
        slope = np.arange(beats, dtype=np.int64) * pace
        limit = np.minimum(start + slope + pace, end)
        for reader in member.readers:
            if reader.value in self.maker:
                rows = self.over(self.maker[reader.value], beats)
                able = np.searchsorted(reader.taken[1:], rows, "right")
                # done[t] <= done[t - 1] + pace
                limit = np.minimum(limit, slope + np.minimum.accumulate(able - slope))
        return np.maximum(limit, start)

    def over(self, index: int, beats: int) -> np.ndarray:
        """Rows done by a node over that many beats."""
        done = self.done[index]
        if len(done) >= beats:
            return done[:beats]
        return np.concatenate([done, np.full(beats - len(done), done[-1])])


class Stream:
    """The nodes of ``eager`` as one segment.

    ``kept`` are the values that are needed outside and so held whole. ``lazy`` 0: nodes compute
    rows as early as they can; else as late, up to ``lazy`` times their pace at once. With a
    ``workshop`` rows are fed to depthwise convolutions where that saves a place.
    """

    def __init__(
        self, eager: Eager, kept: Iterable[str], *, lazy: int, workshop: Workshop | None = None
    ) -> None:
        self.members = tuple(eager.members)
        self.kept = frozenset(kept)
        self.rows = eager.rows
        self.starts = [start for start, _ in eager.spans]
        self.maker = dict(eager.maker)
        self.readings = {value: tuple(found) for value, found in eager.readings.items()}
        self.beats = eager.beats[-1]
        self.done = [eager.over(index, self.beats) for index in range(len(self.members))]
        if lazy:
            self.done = self._lazy(self.done, eager.paces, lazy)
        self.fed: dict[int, np.ndarray] = {}
        """For a node to which the one before feeds rows, the beats in which it does."""
        if workshop is not None:
            for index in range(1, len(self.members)):
                beats = self._fed_beats(workshop, index)
                if beats is not None:
                    self.fed[index] = beats

    def _fed_beats(self, workshop: Workshop, index: int) -> np.ndarray | None:
        """The beats in which the node before makes the last row of a window; None where it does
        not do so just before the node's own turn, or no place would be saved.

        Of a ring with a row less than the window, the last row of a window has the place of the
        first, which no later window has.
        """
        node, maker = self.members[index].node, self.members[index - 1].node
        types = workshop.graph.node_types(node)
        window = node.op.windows(types)[0]
        value = node.inputs[0]
        if not isinstance(window, Window) or list(maker.outputs) != [value]:
            return None
        readings = self.readings.get(value, ())
        height, made = self.members[index].height, self.members[index - 1]
        if (
            value in self.kept or len(readings) != 1 or window.dilation != 1
            or not 2 <= window.stride < window.kernel or window.pad > window.kernel - 2
            or self._plain_rings.get(value) != window.kernel or window.kernel > made.height
            or self.most_rows[index] != 1 or self.most_rows[index - 1] != 1
            or self.starts[index] or self.starts[index - 1]
            or any(reader.value not in self.maker for reader in made.readers)
            or not workshop.may_feed(maker, node)
        ):  # fmt: skip
            return None
        rows = np.arange(height)
        last = rows * window.stride - window.pad + window.kernel - 1
        rows, last = rows[last < made.height], last[last < made.height]
        beats = np.searchsorted(self.done[index - 1], last, "right")
        if not np.array_equal(beats, np.searchsorted(self.done[index], rows, "right")):
            return None
        there = self.done[index - 1].copy()
        there[beats] -= 1
        held = int((there - self._unread(value, made.height)).max())
        return beats if held < window.kernel else None

    def turn_of(self, index: int) -> int:
        """The node in whose turn a node may still read and write in a beat."""
        return index + (index + 1 in self.fed)

    @classmethod
    def of(cls, members: Iterable[Member], kept: Iterable[str], rows: int, *, lazy: int) -> Stream:
        """The stream of these nodes."""
        eager = Eager(rows)
        for member in members:
            eager.add(member)
        return cls(eager, kept, lazy=lazy)

    def _lazy(
        self, eager: Sequence[np.ndarray], paces: Sequence[int], most: int
    ) -> list[np.ndarray]:
        done = list(eager)
        slopes = np.arange(self.beats, dtype=np.int64)
        for index in range(len(done) - 1, -1, -1):
            outputs = self.members[index].node.outputs
            if self.kept.intersection(outputs):
                continue
            needed = np.full(self.beats, self.starts[index])
            for value in outputs:
                for reader_index, reader in self.readings.get(value, ()):
                    rows = done[reader_index]
                    taken = np.where(rows > self.starts[reader_index], reader.taken[rows], 0)
                    needed = np.maximum(needed, taken)
            # early enough that no turn is larger than `most` times the pace
            slope = slopes * (paces[index] * most)
            late = slope + np.maximum.accumulate((needed - slope)[::-1])[::-1]
            done[index] = np.minimum(late, eager[index])
        return done

    @cached_property
    def before(self) -> list[np.ndarray]:
        """Rows there at the start of each beat."""
        found = []
        for rows, start in zip(self.done, self.starts, strict=True):
            shifted = np.full_like(rows, start)
            shifted[1:] = rows[:-1]
            found.append(shifted)
        return found

    @cached_property
    def most_rows(self) -> list[int]:
        """The most rows that a turn of each node computes."""
        return [
            max(1, int((done - before).max()))
            for done, before in zip(self.done, self.before, strict=True)
        ]

    @cached_property
    def rings(self) -> Mapping[str, int]:
        """Rows held of each value that is not needed outside; a row that is fed needs no place."""
        return {
            value: rows - (self.maker[value] + 1 in self.fed)
            for value, rows in self._plain_rings.items()
        }

    @cached_property
    def _plain_rings(self) -> Mapping[str, int]:
        return {
            value: self._ring(
                value, self.done[index], self.members[index].height, self.most_rows[index]
            )
            for value, index in self.maker.items()
            if value not in self.kept
        }

    def _ring(self, value: str, there: np.ndarray, height: int, chunk: int) -> int:
        rows = int((there - self._unread(value, height)).max())
        return min(max(rows, chunk, 1), height)

    def _unread(self, value: str, height: int, after: int = 0) -> np.ndarray:
        """The first row of ``value`` that is still to be read at the start of each beat.

        With ``after``: when the nodes before that one have had their turn.
        """
        rows: np.ndarray | None = None
        for index, reader in self.readings.get(value, ()):
            unread = reader.unread[self.done[index] if index < after else self.before[index]]
            rows = unread if rows is None else np.minimum(rows, unread)
        return np.full(self.beats, height) if rows is None else rows

    def input_ring(self, value: str, height: int) -> int:
        """Rows held of an input that comes row by row."""
        arrived = self.arrived(value)
        return self._ring(value, arrived, height, int(np.diff(arrived, prepend=0).max()))

    def arrived(self, value: str) -> np.ndarray:
        """Rows of an input from outside that must be there at each beat."""
        found = np.zeros(self.beats, np.int64)
        for index, reader in self.readings.get(value, ()):
            found = np.maximum(found, reader.taken[self.done[index]])
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
        spans = (done * out_row - unread * in_row)[done > self.before[index]]
        return max(0, int(spans.max()))

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        """All turns in order."""
        found = []
        fed = {index: frozenset(beats.tolist()) for index, beats in self.fed.items()}
        for beat in range(self.beats):
            for index, done in enumerate(self.done):
                row0, row1 = int(self.before[index][beat]), int(done[beat])
                if row1 > row0 and beat not in fed.get(index + 1, ()):
                    found.append(Turn(index, row0, row1, beat in fed.get(index, ())))
        return tuple(found)

    def calls(self, index: int) -> list[int]:
        """The rows of each turn of a node, those that it feeds to another's included."""
        rows = self.done[index] - self.before[index]
        return [int(n) for n in rows[rows > 0]]

    def arrivals(self, value: str, height: int) -> tuple[int, ...]:
        """For each row of a streamed input the number of turns that can be made with it."""
        needs = []
        reached = 0
        readers = dict(self.readings.get(value, ()))
        for turn in self.turns:
            if turn.step in readers:
                reached = max(reached, int(readers[turn.step].taken[turn.row1]))
            needs.append(reached)
        return tuple(int(n) for n in np.searchsorted(needs, np.arange(1, height + 1), "right"))
