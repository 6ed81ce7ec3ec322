"""Graph -> the order of its nodes that needs the least memory, layer by layer.

The state of a run is the set of nodes executed so far: it says which values live. A best-first
search over these sets finds the order whose worst step is the least (Liberis and Lane, "Neural
networks on microcontrollers: saving memory at inference via operator reordering", 2019, have the
recursion over sets; Ahn et al., "Ordering Chaos: Memory-Aware Scheduling of Irregularly Wired
Neural Networks for Edge Devices", 2020, the division of the graph and the bounded search). Before:

- the graph is cut at the nodes before or behind which every other node stands in any order;
- runs of nodes, each the only reader of the one before, are joined where a pause between them
  can't pay: J. W. H. Liu's hills and valleys ("An application of generalized tree pebbling to
  sparse matrix factorization", 1987);
- a node is executed at once where that only frees memory and makes no peak of its own.

Where a part has too many sets, a beam search takes its place.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush

from ..ir import POINT, Graph, Node

EXACT_TRIALS = 200_000
"""Steps that the exact searches of all parts may try together."""

BEAM_TRIALS = 200_000
"""Steps that the beam searches of all parts may try together."""

MOST_STATES = 64
"""Sets of executed nodes that a beam search carries on."""

MOST_READY = 64
"""Nodes that a beam search considers next."""


@dataclass(frozen=True)
class Order:
    """``nodes`` in an order of execution that needs ``peak`` bytes, layer by layer; ``exact``
    where no order needs less."""

    nodes: tuple[Node, ...]
    peak: int
    exact: bool


def ordered(graph: Graph, *, keep_inputs: bool = False) -> Order:
    """The nodes of ``graph`` in an order of least peak memory.

    Parts of the graph that get no better are left as they are given.

    The peak is the most bytes of values that live at one step: those it reads and writes, and
    those that a later one reads. Values that share bytes (``Graph.alias_roots``) count once,
    constants and variables not at all. Inputs live from the start (with ``keep_inputs`` to the
    end), outputs to the end. An output may take the bytes of an input that is read element by
    element (``POINT``), is as large and lives no longer. What reads or changes a variable keeps
    its place among those that do.
    """
    values = _Values(graph, keep_inputs)
    sequence: list[int] = []
    parts = [_Part(values, part) for part in _parts(values.needs)]
    exact_trials, beam_trials = EXACT_TRIALS, BEAM_TRIALS
    # the worst first: they are what must get better
    hard = sorted((part for part in parts if part.given > part.bound), key=lambda part: -part.given)
    for index, part in enumerate(hard):
        left = len(hard) - index
        exact_trials -= part.search(exact_trials // left)
        if not part.exact:
            beam_trials -= part.beam(beam_trials // left)
    for part in parts:
        sequence += part.sequence
    peak = max([values.at_start, *(part.peak for part in parts)])
    bound = max([values.at_start, *(part.proven for part in parts)])
    return Order(values.with_aliases(sequence), peak, peak == bound)


class _Values:
    """What the search needs to know of a graph: sizes, lifetimes, who needs whom.

    ``nodes`` are those that compute something, known by their place in the given order.
    """

    def __init__(self, graph: Graph, keep_inputs: bool) -> None:
        self.graph = graph
        root, views = graph.alias_roots, graph.variable_views
        self.nodes: list[Node] = []
        self.aliases: list[Node] = []
        for node in graph.nodes:
            alias = any(value in root and value not in views for value in node.outputs)
            (self.aliases if alias else self.nodes).append(node)
        self.size: dict[str, int] = {}
        for value in graph.types:
            buffer = self._buffer(value)
            if buffer is not None:
                self.size[buffer] = max(self.size.get(buffer, 0), graph.type(value).bytes)
        self.needs = self._needs()
        self.reads = [self._buffers(node.inputs) for node in self.nodes]
        self.writes = [self._buffers(node.outputs) for node in self.nodes]
        self.readers: dict[str, list[int]] = {}
        for index, buffers in enumerate(self.reads):
            for buffer in buffers:
                self.readers.setdefault(buffer, []).append(index)
        inputs = self._buffers(port.value for port in graph.inputs)
        self.held = set(self._buffers(port.value for port in graph.outputs))
        self.held |= set(inputs) if keep_inputs else set()
        self.at_start = sum(self.size[buffer] for buffer in inputs)
        born = dict.fromkeys(inputs, -1)
        born |= {buffer: i for i, buffers in enumerate(self.writes) for buffer in buffers}
        self.born: Mapping[str, int] = born
        self.over = [self._overwritable(index) for index in range(len(self.nodes))]
        self.before, self.during = self._simulate()

    def _buffer(self, value: str) -> str | None:
        """The value that owns the bytes of ``value``; None where they are not in the arena."""
        graph = self.graph
        owner = graph.alias_roots.get(value, value)
        free = not value or value in graph.variable_views or graph.is_constant(owner)
        return None if free else owner

    def _buffers(self, values: Iterable[str]) -> tuple[str, ...]:
        """Each once."""
        found = (self._buffer(value) for value in values)
        return tuple(dict.fromkeys(buffer for buffer in found if buffer is not None))

    def _needs(self) -> list[set[int]]:
        """For each node those that must be executed before it."""
        graph, place = self.graph, {id(node): i for i, node in enumerate(self.nodes)}
        makers: dict[str, set[int]] = {}
        writer: dict[str, int] = {}
        since: dict[str, set[int]] = {}
        needs: list[set[int]] = []
        for node in graph.nodes:
            before = {i for value in node.inputs for i in makers.get(value, ())}
            index = place.get(id(node))
            makers |= dict.fromkeys(node.outputs, before if index is None else {index})
            if index is None:
                continue
            changes = {self._owner(node.inputs[i]) for i in node.op.mutates}
            for value in node.inputs:
                owner = self._owner(value)
                if owner not in graph.variables:
                    continue
                if owner in writer:
                    before.add(writer[owner])
                if owner not in changes:
                    since.setdefault(owner, set()).add(index)
            for owner in changes:
                before |= since.pop(owner, set())
                writer[owner] = index
            needs.append(before - {index})
        return needs

    def _owner(self, value: str) -> str:
        return self.graph.alias_roots.get(value, value)

    def _overwritable(self, index: int) -> tuple[str, ...]:
        """Inputs whose bytes the output may take if they live no longer."""
        node, graph = self.nodes[index], self.graph
        if len(node.outputs) != 1 or len(self.writes[index]) != 1:
            return ()
        windows = node.op.windows(graph.node_types(node))
        buffers = [self._buffer(value) for value in node.inputs]
        size = self.size[self.writes[index][0]]
        return tuple(
            buffer
            for buffer, window in zip(buffers, windows, strict=True)
            if window is POINT
            and buffer is not None
            and buffers.count(buffer) == 1
            and buffer not in self.held
            and self.size[buffer] == size
        )

    def last(self, buffer: str) -> int:
        """The last reader in the given order; where nothing reads a value, who makes it."""
        readers = self.readers.get(buffer)
        return readers[-1] if readers else self.born[buffer]

    def _simulate(self) -> tuple[list[int], list[int]]:
        """Bytes that live before and during each node of the given order."""
        inputs = (buffer for buffer, born in self.born.items() if born < 0)
        live = sum(self.size[b] for b in inputs if b in self.held or self.last(b) >= 0)
        before, during = [], []
        for index, (reads, writes) in enumerate(zip(self.reads, self.writes, strict=True)):
            before.append(live)
            out = sum(self.size[buffer] for buffer in writes)
            taken = any(self.last(buffer) == index for buffer in self.over[index])
            during.append(live if taken else live + out)
            live += out
            for buffer in dict.fromkeys((*reads, *writes)):
                if buffer not in self.held and self.last(buffer) <= index:
                    live -= self.size[buffer]
        return before, during

    def with_aliases(self, sequence: Sequence[int]) -> tuple[Node, ...]:
        """All nodes, those that compute in this order, each alias as soon as it can be."""
        if list(sequence) == sorted(sequence):
            return self.graph.nodes
        producers = self.graph.producers
        missing = {
            id(node): {value for value in node.inputs if value in producers}
            for node in self.aliases
        }
        waiting: dict[str, list[Node]] = {}
        for node in self.aliases:
            for value in missing[id(node)]:
                waiting.setdefault(value, []).append(node)
        found: list[Node] = []
        first = [node for node in self.aliases if not missing[id(node)]]
        for start in (*first, *(self.nodes[index] for index in sequence)):
            queue = [start]
            for node in queue:
                found.append(node)
                for value in node.outputs:
                    for alias in waiting.get(value, ()):
                        missing[id(alias)].discard(value)
                        if not missing[id(alias)]:
                            queue.append(alias)
        return tuple(found)


def _parts(needs: Sequence[set[int]]) -> list[range]:
    """Ranges of the given order, which any order executes one after the other.

    A node is a part of its own where all others are needed for it or need it.
    """
    count = len(needs)
    next_reader, last_need = [count] * count, [max(before, default=-1) for before in needs]
    for index, before in enumerate(needs):
        for earlier in before:
            next_reader[earlier] = min(next_reader[earlier], index)
    # the earlier ones all lead here if each is needed by one no later than here; and so on
    least = [count] * (count + 1)
    for index in range(count - 1, -1, -1):
        least[index] = min(least[index + 1], last_need[index])
    parts, start, most = [], 0, -1
    for index in range(count):
        if most <= index and least[index + 1] >= index:
            parts += [range(start, index)] if start < index else []
            parts.append(range(index, index + 1))
            start = index + 1
        most = max(most, next_reader[index])
    return parts + ([range(start, count)] if start < count else [])


@dataclass
class _Block:
    """Nodes executed in a row. Bytes are counted from those that live before it.

    Of the first node: what it writes (``out``), of that what nothing reads (``lost``), sizes and
    readers of the inputs that can end (``ends``), readers of those whose bytes it may take
    (``over``). What the others add is always the same: ``hill`` at most, ``net`` in the end,
    both from what lives after the first.
    """

    nodes: list[int]
    out: int
    lost: int
    ends: list[tuple[int, frozenset[int]]]
    over: list[frozenset[int]]
    hill: int | None = None
    net: int = 0
    before: int = 0
    readers: list[int] = field(default_factory=list)
    masks: list[tuple[int, int]] = field(default_factory=list)
    over_masks: list[int] = field(default_factory=list)

    @cached_property
    def alone(self) -> bool:
        """Whether nothing else reads the inputs that can end: its bytes are always the same."""
        return all(len(readers) == 1 for _, readers in self.ends)

    @property
    def first_net(self) -> tuple[int, int]:
        """What lives more after the first node, at least and at most."""
        kept = self.out - self.lost
        private = sum(size for size, readers in self.ends if len(readers) == 1)
        return kept - sum(size for size, _ in self.ends), kept - private

    @property
    def whole(self) -> tuple[int, int]:
        """Most bytes and those left, where they are always the same."""
        high, (net, _) = 0 if self.over else self.out, self.first_net
        return max(high, net + self.hill) if self.hill is not None else high, net + self.net

    def joins(self, other: _Block) -> bool:
        """Whether a pause before ``other``, which is ``alone`` and reads this one, can't pay."""
        hill, net = other.whole
        later = self.hill is not None and self.net + hill <= self.hill
        lower = self.first_net[1] + self.net + hill <= (0 if self.over else self.out)
        if net <= 0 and (later or lower):
            return True  # the other frees, and needs no more than is needed here: at once
        if not self.alone:
            return False
        mine, left = self.whole
        return left >= 0 and mine <= left + hill  # this one frees nothing: as late as can be

    def join(self, other: _Block) -> None:
        hill, net = other.whole
        self.nodes += other.nodes
        self.hill = self.net + hill if self.hill is None else max(self.hill, self.net + hill)
        self.net += net


_Link = tuple["_Link | None", int]
_State = tuple[int, int, int, list[int], "_Link | None"]
"""Peak so far, executed blocks as bits, bytes that live, blocks that can be next, the way here."""
_Step = tuple[int, int, int]
"""The block that is executed next, peak and living bytes after it."""


class _Part:
    """A range of the given order: what it needs now, and at the least."""

    def __init__(self, values: _Values, part: range) -> None:
        self.values, self.part = values, part
        self.sequence = list(part)
        self.start = values.before[part.start]
        self.given = self.peak = max(self.start, *(values.during[index] for index in part))
        self.bound = self._bound() if len(part) > 1 else self.given
        self.exact = self.given == self.bound

    @property
    def proven(self) -> int:
        """Bytes that every order needs."""
        return self.peak if self.exact else self.bound

    def _ends(self, buffer: str) -> bool:
        """Whether a value that this part reads does not outlive it."""
        values = self.values
        return buffer not in values.held and values.last(buffer) < self.part.stop

    def _bound(self) -> int:
        """Bytes that one step or another must find: its own values, and what outlives the part."""
        values = self.values
        stay = [
            buffer
            for buffer, born in values.born.items()
            if born < self.part.start
            and (buffer in values.held or values.last(buffer) >= self.part.stop)
        ]
        through = sum(values.size[buffer] for buffer in stay)
        found = self.start
        for index in self.part:
            mine = {*values.reads[index], *values.writes[index]}
            least = through + sum(values.size[buffer] for buffer in mine.difference(stay))
            if any(self._ends(buffer) for buffer in values.over[index]):
                least -= values.size[values.writes[index][0]]
            found = max(found, least)
        return found

    # -- blocks ---------------------------------------------------------------------------

    @cached_property
    def blocks(self) -> list[_Block]:
        """The part's nodes, joined where they follow each other in any case."""
        values, part = self.values, self.part
        needs = {i: {n for n in values.needs[i] if n in part} for i in part}
        readers: dict[int, list[int]] = {i: [] for i in part}
        for index, before in needs.items():
            for earlier in before:
                readers[earlier].append(index)
        runs: dict[int, list[_Block]] = {}
        for index in part:
            block = self._block(index)
            (one,) = needs[index] if len(needs[index]) == 1 else (None,)
            run: list[_Block] = []
            if one is not None and len(readers[one]) == 1 and block.alone:
                run = runs.pop(one)
            run.append(block)
            while len(run) > 1 and run[-2].joins(run[-1]):
                last = run.pop()
                run[-1].join(last)
            runs[index] = run
        found = sorted((block for run in runs.values() for block in run), key=lambda b: b.nodes[0])
        place = {node: i for i, block in enumerate(found) for node in block.nodes}

        def bits(nodes: Iterable[int]) -> int:
            return sum(1 << i for i in {place[node] for node in nodes})

        for i, block in enumerate(found):
            block.before = bits(needs[block.nodes[0]])
            for earlier in sorted({place[node] for node in needs[block.nodes[0]]}):
                found[earlier].readers.append(i)
            block.masks = [(size, bits(nodes)) for size, nodes in block.ends]
            block.over_masks = [bits(nodes) for nodes in block.over]
        return found

    def _block(self, index: int) -> _Block:
        values = self.values
        writes = values.writes[index]
        lost = [b for b in writes if b not in values.readers and b not in values.held]
        ends = {b: self._readers(b) for b in values.reads[index] if self._ends(b)}
        return _Block(
            [index],
            sum(values.size[b] for b in writes),
            sum(values.size[b] for b in lost),
            [(values.size[b], readers) for b, readers in ends.items()],
            [ends[b] for b in values.over[index] if b in ends],
        )

    def _readers(self, buffer: str) -> frozenset[int]:
        return frozenset(i for i in self.values.readers[buffer] if i in self.part)

    # -- search ---------------------------------------------------------------------------

    def _first(self) -> _State:
        ready = [i for i, block in enumerate(self.blocks) if not block.before]
        return self.start, 0, self.start, ready, None

    def _try(self, state: _State, index: int) -> tuple[int, int]:
        """Peak and living bytes after a block."""
        peak, done, live, _, _ = state
        block = self.blocks[index]
        left = ~(done | 1 << index)
        net = block.out - block.lost
        for size, readers in block.masks:
            if not readers & left:
                net -= size
        high = block.out
        for readers in block.over_masks:
            if not readers & left:
                high = 0
        if block.hill is not None and net + block.hill > high:
            high = net + block.hill
        return max(peak, live + high), live + net + block.net

    def _step(self, state: _State, step: _Step) -> _State:
        (index, peak, live), (_, done, _, ready, link) = step, state
        done |= 1 << index
        then = [i for i in ready if i != index]
        for reader in self.blocks[index].readers:
            if not self.blocks[reader].before & ~done:
                insort(then, reader)
        return peak, done, live, then, (link, index)

    def _settle(self, state: _State) -> tuple[_State, list[_Step], int]:
        """Executes what only frees. Then the steps that can be next, and how many were tried."""
        trials = 0
        while True:
            found: list[_Step] = []
            for index in state[3][:MOST_READY]:
                peak, live = self._try(state, index)
                trials += 1
                if live <= state[2] and peak <= max(state[0], self.bound):
                    state = self._step(state, (index, peak, live))
                    break
                found.append((index, peak, live))
            else:
                return state, found, trials

    def search(self, most: int) -> int:
        """Looks for the best order, best first; gives the number of steps tried, about ``most``.

        ``exact`` afterwards if it came to an end.
        """
        whole, trials, count = (1 << len(self.blocks)) - 1, 0, 0
        # a step is made when its turn comes
        heap: list[tuple[int, int, int, int, _State, _Step | None]] = [
            (self.bound, 0, 0, 0, self._first(), None)
        ]
        best: dict[int, int] = {0: self.start}
        while heap and trials < most:
            _, _, _, done, state, step = heappop(heap)
            if step is not None:
                if step[1] > best[done]:
                    continue
                state = self._step(state, step)
            state, found, tried = self._settle(state)
            trials += tried
            if state[1] == whole:
                # what is left in the heap needs as much, or more
                self._take(state)
                self.exact = True
                return trials
            if len(state[3]) > MOST_READY:
                return trials
            if state[1] != done and best.get(state[1], self.peak) <= state[0]:
                continue
            best[state[1]] = state[0]
            for step in found:
                index, high, _ = step
                done = state[1] | 1 << index
                if high < best.get(done, self.peak):
                    best[done] = high
                    count += 1
                    heappush(
                        heap, (max(high, self.bound), -done.bit_count(), count, done, state, step)
                    )
        self.exact = not heap
        return trials

    def beam(self, most: int) -> int:
        """Looks for a better order, a few at a time; gives the number of steps tried."""
        trials = self._beam(1)
        width = min(MOST_STATES, (most - trials) // max(trials, 1))
        return trials + self._beam(width) if width > 1 else trials

    def _beam(self, width: int) -> int:
        # by the number of executed blocks: the best way to each set of them
        levels: list[dict[int, tuple[_State, _Step]]] = [{} for _ in range(len(self.blocks) + 1)]
        trials, level, states = 0, 0, [self._first()]
        while True:
            for given in states:
                state, found, tried = self._settle(given)
                trials += tried
                if not found:
                    self._take(state)
                there = levels[min(state[1].bit_count() + 1, len(self.blocks))]
                for step in found:
                    done, peak = state[1] | 1 << step[0], step[1]
                    if peak < self.peak and (done not in there or peak < there[done][1][1]):
                        there[done] = state, step
            level += 1
            if level == len(levels):
                return trials
            best = sorted(
                (max(step[1], self.bound), step[2], done)
                for done, (_, step) in levels[level].items()
            )
            states = [self._step(*levels[level][done]) for _, _, done in best[:width]]
            levels[level].clear()

    def _take(self, state: _State) -> None:
        """The order that led to a state, if it is better."""
        if state[0] >= self.peak:
            return
        self.peak = state[0]
        link, blocks = state[4], []
        while link is not None:
            link, index = link
            blocks.append(index)
        self.sequence = [node for index in reversed(blocks) for node in self.blocks[index].nodes]
