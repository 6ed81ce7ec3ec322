"""Placement of buffers in the arena: the least peak, or how far from proven it is.

Buffers alive at the same step must be apart. Of a pair, either i lies below j, then
offset(j) >= offset(i) + apart(i, j), or the other way round. apart(i, j) is the size of i,
but for an output i that may overlay a dying input j it is the overlay's lag, which is less.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from .plan import Buffer, Overlay, Placement

TRIES = 400
NODES = 20_000


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
        return self.lag.get((low, high), self.buffers[low].size)

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

    At each step all live buffers are apart; where overlays are possible there, sources and
    outputs may share, so the others' bytes plus the larger of both sides are needed.
    """
    by_name = {buffer.name: buffer for buffer in buffers}
    bound = 0
    for step in sorted({buffer.first for buffer in buffers}):
        live = [b for b in buffers if b.first <= step <= b.last]
        total = sum(b.size for b in live)
        names = {b.name for b in live}
        pairs = [p for p in overlays if p.source in names and p.output in names]
        if len(pairs) == 1:
            source, output = by_name[pairs[0].source], by_name[pairs[0].output]
            joint = max(output.size, pairs[0].lag + source.size)
            total -= max(0, source.size + output.size - joint)
        elif pairs:
            sources = sum(by_name[name].size for name in {p.source for p in pairs})
            outputs = sum(by_name[name].size for name in {p.output for p in pairs})
            total -= min(sources, outputs)
        bound = max(bound, total)
    return bound


def place(buffers: Sequence[Buffer], overlays: Sequence[Overlay]) -> Placement:
    """Offsets of the least peak found; stops early where the lower bound is met.

    First orders by size and by lifetime, then changed ones by a fixed random sequence, then
    branch and bound over the order in which buffers settle at their lowest place.
    """
    if not buffers:
        return Placement({}, 0, 0)
    problem = _Problem(buffers, overlays)
    bound = lower_bound(buffers, overlays)
    indices = list(range(len(buffers)))
    orders = [
        sorted(indices, key=lambda i: (-buffers[i].size, buffers[i].first)),
        sorted(indices, key=lambda i: (buffers[i].first, -buffers[i].size)),
        sorted(indices, key=lambda i: (-buffers[i].last, -buffers[i].size)),
        sorted(indices, key=lambda i: (-_pressure(buffers, i), -buffers[i].size)),
    ]
    best_order = orders[0]
    best, peak = problem.place(best_order)
    for order in orders[1:]:
        found, height = problem.place(order)
        if height < peak:
            best, peak, best_order = found, height, order
    chance = random.Random(0)
    tries = max(20, min(TRIES, 60_000 // len(buffers)))
    for _ in range(tries):
        if peak <= bound:
            break
        order = list(best_order)
        for _ in range(chance.randint(1, 3)):
            moved = order.pop(chance.randrange(len(order)))
            order.insert(chance.randrange(len(order) + 1), moved)
        found, height = problem.place(order)
        if height <= peak:
            best, peak, best_order = found, height, order
    if peak > bound and len(buffers) <= 64:
        better = _branch(problem, bound, peak)
        if better is not None:
            best, peak = better
    offsets = {buffers[i].name: offset for i, offset in best.items()}
    return Placement(offsets, peak, min(bound, peak))


def _pressure(buffers: Sequence[Buffer], i: int) -> int:
    """Bytes alive at once at the busiest step of buffer i."""
    mine = buffers[i]
    steps = {b.first for b in buffers if mine.first <= b.first <= mine.last} | {mine.first}
    return max(sum(b.size for b in buffers if b.first <= s <= b.last) for s in steps)


def _branch(problem: _Problem, bound: int, peak: int) -> tuple[dict[int, int], int] | None:
    """Depth-first over settling orders, the largest buffers first, cut at the best peak."""
    found: tuple[dict[int, int], int] | None = None
    budget = NODES
    sizes = [buffer.size for buffer in problem.buffers]

    def descend(offsets: dict[int, int], left: list[int], height: int) -> None:
        nonlocal found, peak, budget
        if not left:
            found, peak = (dict(offsets), height), height
            return
        for i in left:
            if budget <= 0 or peak <= bound:
                return
            budget -= 1
            place_at = problem.lowest(i, offsets)
            top = max(height, place_at + sizes[i])
            if top < peak:
                offsets[i] = place_at
                descend(offsets, [j for j in left if j != i], top)
                del offsets[i]

    descend({}, sorted(range(len(sizes)), key=lambda i: -sizes[i]), 0)
    return found


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
