"""Placement of buffers in the arena: the least peak, or how far from proven it is.

Buffers alive at the same step must be apart. Of a pair, either i lies below j, then
offset(j) >= offset(i) + apart(i, j), or the other way round. apart(i, j) is the size of i,
but for an output i that may overlay a dying input j it is the overlay's lag, which is less.

That is disjunctive scheduling with offsets for times: a good placement is found by settling
buffers one after the other at their lowest place, in many orders; then a peak below it is
refuted, or found, by propagation (which order of a pair can still be?) and branching.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import permutations, product
from math import factorial, prod

from .plan import Buffer, Overlay, Placement

ALIGN = 4
TRIES = 400
SPLITS = 60
"""Varied ways to share buffers between two memories."""
WAYS = 1000
"""Ways to lay sources over outputs that are looked at one by one."""
CHECKS = 1_500_000
"""Pairs looked at before an exact search gives up and the gap is reported instead."""


class _Problem:
    """The conflicts between buffers, by index."""

    def __init__(self, buffers: Sequence[Buffer], overlays: Sequence[Overlay]) -> None:
        self.buffers = buffers
        self.index = {buffer.name: i for i, buffer in enumerate(buffers)}
        self.lag = {
            (self.index[pair.output], self.index[pair.source]): pair.lag for pair in overlays
        }
        count = len(buffers)
        # rivals[i]: (j, bytes j must start above i, bytes i must start above j)
        self.rivals: list[list[tuple[int, int, int]]] = [[] for _ in range(count)]
        for i in range(count):
            for j in range(i + 1, count):
                if buffers[i].first <= buffers[j].last and buffers[j].first <= buffers[i].last:
                    above, below = self.apart(i, j), self.apart(j, i)
                    self.rivals[i].append((j, above, below))
                    self.rivals[j].append((i, below, above))

    def apart(self, low: int, high: int) -> int:
        size = self.buffers[low].size
        return min(size, self.lag.get((low, high), size))

    def lowest(self, i: int, offsets: dict[int, int]) -> int:
        """The lowest offset at which buffer i is apart from all that are placed."""
        blocked = []
        for j, above, below in self.rivals[i]:
            if j in offsets:
                # i strictly between these offsets would touch j
                blocked.append((offsets[j] - above, offsets[j] + below))
        blocked.sort()
        align = self.buffers[i].align
        place = 0
        # sorted by start: an interval that ends below stays below when the place rises
        for start, end in blocked:
            if start < place < end:
                place = -(-end // align) * align
        return place

    def place(self, order: Sequence[int]) -> tuple[dict[int, int], int]:
        offsets: dict[int, int] = {}
        peak = 0
        for i in order:
            offsets[i] = self.lowest(i, offsets)
            peak = max(peak, offsets[i] + self.buffers[i].size)
        return offsets, peak


def lower_bound(buffers: Sequence[Buffer], overlays: Sequence[Overlay]) -> int:
    """Bytes that no placement can do without: the largest need of any one step.

    At each step all live buffers are apart, but for what overlays let them share there.
    """
    by_name = {buffer.name: buffer for buffer in buffers}
    bound = 0
    for step in sorted({buffer.first for buffer in buffers}):
        live = [b for b in buffers if b.first <= step <= b.last]
        total = sum(b.size for b in live)
        names = {b.name for b in live}
        pairs = [p for p in overlays if p.source in names and p.output in names]
        sizes = {name: by_name[name].size for pair in pairs for name in (pair.source, pair.output)}
        lags = {(pair.source, pair.output): pair.lag for pair in pairs}
        total -= shared_bytes(sizes, lags)
        bound = max(bound, total)
    return bound


def shared_bytes(sizes: Mapping[str, int], lags: Mapping[tuple[str, str], int]) -> int:
    """Bytes at most that dying sources and outputs born at that step have in common.

    ``lags`` are by source and output. An output that overlaps a source holds the source's first
    byte, as it starts ``lag`` bytes or more below it; so no second one does. Of the sources over
    one output, each starts where the one below it ends, or higher.
    """
    sources: dict[str, list[str]] = {}
    for source, output in lags:
        sources.setdefault(source, []).append(output)

    def over(output: str, order: Sequence[str]) -> int:
        found = end = 0
        for source in order:
            start = max(end, lags[source, output])
            found += max(0, min(sizes[source], sizes[output] - start))
            end = start + sizes[source]
        return found

    most = 0
    if prod(map(len, sources.values())) * factorial(len(sources)) > WAYS:
        return sum(max(over(o, [s]) for o in outputs) for s, outputs in sources.items())
    for chosen in product(*sources.values()):
        total = 0
        for output in set(chosen):
            above = [s for s, o in zip(sources, chosen, strict=True) if o == output]
            total += max(over(output, order) for order in permutations(above))
        most = max(most, total)
    return most


def place(buffers: Sequence[Buffer], overlays: Sequence[Overlay]) -> Placement:
    """Offsets of the least peak found, and a lower bound that is proven.

    First settling orders by size and by lifetime, then changed ones by a fixed random
    sequence, then exact search below the best, until it is refuted or too long.
    """
    if not buffers:
        return Placement({}, 0, 0)
    problem = _Problem(buffers, overlays)
    bound = lower_bound(buffers, overlays)
    best, peak = _settle(problem, bound)
    search = _Search(problem)
    while peak > bound:
        found = search.below(peak)
        if found is None:
            break
        best = found
        peak = max(best[i] + buffer.size for i, buffer in enumerate(buffers))
    bound = peak if search.complete else max(bound, search.refuted(bound, peak))
    offsets = {buffers[i].name: offset for i, offset in best.items()}
    return Placement(offsets, peak, min(bound, peak))


def place_in_two(
    buffers: Sequence[Buffer], overlays: Sequence[Overlay], fast: int, slow: int | None,
    heat: Mapping[str, float],
) -> tuple[Placement, int]:  # fmt: skip
    """Offsets in two memories, the fast one of ``fast`` bytes first, and where the second begins.

    ``heat`` is how often a byte of each buffer is read or written. The hottest buffers that fit
    take the fast memory, the others the slow one, whose offsets continue those of the fast. Where
    these need more than ``slow`` bytes, larger buffers are favoured over hotter ones, then ranks
    are varied by a fixed random sequence.
    """
    best: tuple[Placement, int] | None = None
    chance = random.Random(0)
    for weight in (0.0, 0.5, 1.0, 2.0, *[1.0] * SPLITS):
        vary = best is not None and weight == 1.0
        rank = {
            b.name: heat.get(b.name, 0.0) * b.size**weight * (chance.random() if vary else 1.0)
            for b in buffers
        }
        found = _split(buffers, overlays, fast, rank)
        if best is None or found[0].peak - found[1] < best[0].peak - best[1]:
            best = found
        if slow is None or best[0].peak - best[1] <= slow:
            break
    assert best is not None
    return best


def _split(
    buffers: Sequence[Buffer], overlays: Sequence[Overlay], fast: int, rank: Mapping[str, float]
) -> tuple[Placement, int]:
    """``place_in_two`` for one ranking of the buffers."""
    chosen: list[Buffer] = []
    best: dict[int, int] = {}
    for buffer in sorted(buffers, key=lambda b: (-rank[b.name], b.name)):
        trial = [*chosen, buffer]
        if buffer.size <= fast:
            problem = _Problem(trial, _among(trial, overlays))
            for order in _orders(trial):
                found, peak = problem.place(order)
                if peak <= fast:
                    chosen, best = trial, found
                    break
    names = {buffer.name for buffer in chosen}
    rest = [buffer for buffer in buffers if buffer.name not in names]
    top = max((best[i] + buffer.size for i, buffer in enumerate(chosen)), default=0)
    align = max((buffer.align for buffer in rest), default=ALIGN)
    start = -(-top // align) * align
    slow = place(rest, _among(rest, overlays))
    offsets = {buffer.name: best[i] for i, buffer in enumerate(chosen)}
    offsets |= {name: start + offset for name, offset in slow.offsets.items()}
    return Placement(offsets, start + slow.peak, lower_bound(buffers, overlays)), start


def _among(buffers: Sequence[Buffer], overlays: Sequence[Overlay]) -> list[Overlay]:
    names = {buffer.name for buffer in buffers}
    return [pair for pair in overlays if pair.source in names and pair.output in names]


def _settle(problem: _Problem, bound: int) -> tuple[dict[int, int], int]:
    """The best of many orders in which buffers settle at their lowest place."""
    buffers = problem.buffers
    orders = _orders(buffers)
    best_order = orders[0]
    best, peak = problem.place(best_order)
    for order in orders[1:]:
        found, height = problem.place(order)
        if height < peak:
            best, peak, best_order = found, height, order
    chance = random.Random(0)
    for _ in range(max(20, min(TRIES, 60_000 // len(buffers)))):
        if peak <= bound:
            break
        order = list(best_order)
        for _ in range(chance.randint(1, 3)):
            moved = order.pop(chance.randrange(len(order)))
            order.insert(chance.randrange(len(order) + 1), moved)
        found, height = problem.place(order)
        if height <= peak:
            best, peak, best_order = found, height, order
    return best, peak


def _orders(buffers: Sequence[Buffer]) -> list[list[int]]:
    """Orders in which it is good to settle: by size, by lifetime, by how crowded it is."""
    indices = list(range(len(buffers)))
    return [
        sorted(indices, key=lambda i: (-buffers[i].size, buffers[i].first)),
        sorted(indices, key=lambda i: (buffers[i].first, -buffers[i].size)),
        sorted(indices, key=lambda i: (-buffers[i].last, -buffers[i].size)),
        sorted(indices, key=lambda i: (-_pressure(buffers, i), -buffers[i].size)),
    ]


def _pressure(buffers: Sequence[Buffer], i: int) -> int:
    """Bytes alive at once at the busiest step of buffer i."""
    mine = buffers[i]
    steps = {b.first for b in buffers if mine.first <= b.first <= mine.last} | {mine.first}
    return max(sum(b.size for b in buffers if b.first <= s <= b.last) for s in steps)


class _Search:
    """Exact search for a placement below a given peak."""

    def __init__(self, problem: _Problem) -> None:
        self.problem = problem
        self.sizes = [buffer.size for buffer in problem.buffers]
        self.aligns = [buffer.align for buffer in problem.buffers]
        # (i, j, bytes j starts above i if i is below, bytes i starts above j if j is below)
        self.pairs = [
            (i, j, above, below)
            for i, rivals in enumerate(problem.rivals)
            for j, above, below in rivals
            if i < j
        ]
        self.left = CHECKS
        self.complete = False

    def below(self, peak: int) -> dict[int, int] | None:
        """Offsets with a smaller peak; None if there are none (``complete``) or it is too long."""
        self.complete = False
        found = self._descend(peak - 1, {})
        self.complete = found is None and self.left > 0
        return found

    def refuted(self, low: int, high: int) -> int:
        """A lower bound in [low, high] by propagation alone."""
        self.left = CHECKS // 4
        while high - low > 1 and self.left > 0:
            middle = (low + high) // 2
            if self._propagate(middle - 1, {}) is None and self.left > 0:
                low = middle
            else:
                high = middle
        return low

    def _descend(self, limit: int, decided: dict[int, bool]) -> dict[int, int] | None:
        """Depth first over the orders of undecided pairs, the tightest pair first."""
        stack = [decided]
        while stack and self.left > 0:
            state = self._propagate(limit, stack.pop())
            if state is None:
                continue
            lowest, decisions = state
            open_pair = self._tightest(lowest, decisions)
            if open_pair is None:
                return dict(enumerate(lowest))
            first = lowest[self.pairs[open_pair][0]] <= lowest[self.pairs[open_pair][1]]
            stack.append({**decisions, open_pair: not first})
            stack.append({**decisions, open_pair: first})
        return None

    def _tightest(self, lowest: list[int], decided: dict[int, bool]) -> int | None:
        """The undecided pair that overlaps most where every buffer is at its lowest."""
        worst, found = 0, None
        for index, (i, j, above, below) in enumerate(self.pairs):
            if index in decided:
                continue
            touch = min(lowest[i] + above - lowest[j], lowest[j] + below - lowest[i])
            if touch > worst:
                worst, found = touch, index
        return found

    def _propagate(
        self, limit: int, decided: dict[int, bool]
    ) -> tuple[list[int], dict[int, bool]] | None:
        """Lowest offsets and all pairs decided so far under the peak; None if there is none.

        ``decided`` maps a pair to whether its first lies below. A pair whose one order leaves
        no room has the other.
        """
        decided = dict(decided)
        lowest = [0] * len(self.sizes)
        highest = [limit - size for size in self.sizes]
        if min(highest) < 0:
            return None
        changed = True
        while changed:
            changed = False
            self.left -= len(self.pairs)
            if self.left <= 0:
                return None
            for index, (i, j, above, below) in enumerate(self.pairs):
                order = decided.get(index)
                if order is None:
                    first = lowest[i] + above <= highest[j]
                    second = lowest[j] + below <= highest[i]
                    if first and second:
                        continue
                    if not first and not second:
                        return None
                    order = decided[index] = first
                low, high, gap = (i, j, above) if order else (j, i, below)
                align = self.aligns[high]
                place = -(-(lowest[low] + gap) // align) * align
                if place > lowest[high]:
                    lowest[high] = place
                    changed = True
                if highest[high] - gap < highest[low]:
                    highest[low] = highest[high] - gap
                    changed = True
                if lowest[high] > highest[high] or lowest[low] > highest[low]:
                    return None
        return lowest, decided


def check(buffers: Sequence[Buffer], overlays: Sequence[Overlay], placement: Placement) -> None:
    """Raises ``AssertionError`` where two live buffers overlap without leave."""
    problem = _Problem(buffers, overlays)
    offsets = placement.offsets
    for i, buffer in enumerate(buffers):
        mine = offsets[buffer.name]
        assert mine >= 0 and mine % buffer.align == 0, f"{buffer.name} at {mine}"
        assert mine + buffer.size <= placement.peak, f"{buffer.name} ends above the peak"
        for j, above, below in problem.rivals[i]:
            other = offsets[buffers[j].name]
            assert other >= mine + above or mine >= other + below, (
                f"{buffer.name} and {buffers[j].name} overlap"
            )
