"""Graph -> Plan: which kernel computes what, in which order, in which bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal

from ..errors import InvalidInput, UnsupportedOp
from ..ir import Graph
from .lifetimes import ALIGN, Section, buffers_of, heat_of, overlays_of
from .order import ordered as ordered_nodes
from .placement import check, place, place_in_two
from .plan import Buffer, Plan, Segment, Turn
from .segments import (
    NEVER,
    WHOLE,
    Candidate,
    Candidates,
    Choice,
    fastest,
    least_need,
    on_a_path,
    ordered,
    too_large_before,
)
from .steps import Optimize, Workshop
from .streaming import Stream, member_of

Goal = Literal["min-time", "balanced", "min-ram", "patched"]
"""What the planner strives for."""
FRONT_SCRATCH = "scratch of the front end"
FRONT_ALIGN = 4
TRIES = 24
"""Plans placed for one budget before it is given up."""
MOST_COST = 1.08
"""Times the instructions of layers computed whole that a plan of least arena with rows that are fed
may take."""
FEED_STACK = 512
"""Bytes of stack that it takes, about, to call a kernel inside of another's call."""
MOST_MACS = 1.1
"""Times the multiply-accumulates of layers computed whole that a patched plan may take."""
FRONT_STEP = 0.95
"""The next plan of the front is to need at most this part of the last one's arena."""


def plan(
    graph: Graph,
    features: Iterable[str] = (),
    *,
    keep_inputs: bool = False,
    optimize: Optimize = "time",
    goal: Goal = "min-time",
    stream_input: bool = False,
) -> Plan:
    """Plans ``graph`` for a core with ``features``: ``Planner(...).plan(goal)``."""
    planner = Planner(
        graph, features, keep_inputs=keep_inputs, optimize=optimize, stream_input=stream_input
    )
    return planner.plan(goal)


def balanced(front: Sequence[Plan]) -> Plan:
    """The plan with the least product of arena and instructions."""
    return min(front, key=lambda plan: plan.arena_bytes * plan.cost)


class Planner:
    """Plans one graph for a core with ``features``; what is found on the way serves every further
    plan.

    ``keep_inputs`` leaves the inputs' bytes untouched by a run. ``optimize`` says whether kernels
    may spend flash on time. With ``stream_input`` the input comes row by row and is never held
    whole. An arena of more than ``fast_ram`` bytes is split: what is used most lies in a first,
    fast memory of that size, the rest in a second one. A front end has ``front_scratch`` bytes
    of the arena while it writes the input. Raises ``UnsupportedOp`` naming the node
    that no kernel serves.
    """

    def __init__(
        self,
        graph: Graph,
        features: Iterable[str] = (),
        *,
        keep_inputs: bool = False,
        optimize: Optimize = "time",
        stream_input: bool = False,
        fast_ram: int | None = None,
        front_scratch: int = 0,
    ) -> None:
        for port in graph.outputs:
            if graph.is_constant(port.value):
                raise UnsupportedOp("an output that no input has a part in", at=port.name)
        order = ordered_nodes(graph, keep_inputs=keep_inputs)
        self.graph = graph = graph.replace(nodes=order.nodes)
        self.keep_inputs = keep_inputs
        self.fast_ram = fast_ram
        self.front_scratch = front_scratch
        self.slow_ram: int | None = None
        """Bytes of the second memory, where they are known."""
        self.may_stream = True
        """Whether the input could come row by row as far as what is before the model goes."""
        self.optimize: Optimize = optimize
        self.workshop = Workshop(graph, features, optimize)
        streamed = _streamed(graph, self.workshop) if stream_input else None
        self.streamed = streamed
        self.candidates = Candidates(self.workshop, keep_inputs=keep_inputs, streamed=streamed)
        self._variants: dict[Candidate, tuple[Candidate, ...]] = {}

    def plan(self, goal: Goal) -> Plan:
        """The plan for a goal.

        min-time computes layer by layer; min-ram takes the segments that need the least arena
        and compute nothing twice; balanced has the least product of arena and instructions;
        patched computes layer by layer or tile by tile, tiles with their borders computed anew,
        for the least arena with at most a tenth more multiply-accumulates.
        """
        if goal == "min-time":
            return self._layer_by_layer
        if goal == "min-ram":
            return self.least
        if goal == "patched":
            return self._patched()
        return balanced(self.front())

    def streaming(self) -> Planner:
        """The planner of the same graph whose input comes row by row."""
        return Planner(
            self.graph, self.workshop.features, optimize=self.optimize, stream_input=True,
            front_scratch=self.front_scratch,
        )  # fmt: skip

    def within(self, arena: int) -> Plan | None:
        """The fastest plan found whose arena is at most ``arena`` bytes; None if none is."""
        if self._layer_by_layer.arena_bytes <= arena:
            return self._layer_by_layer
        plan = self._fitting(self._candidates(arena), arena)
        if plan is not None:
            return plan
        if self.least.arena_bytes <= arena:
            return self.least
        return self._in_strips(arena)

    def _in_strips(self, arena: int) -> Plan | None:
        """The fastest plan found that computes borders of strips of columns twice to fit."""
        if self.streamed is not None:
            return None
        found = list(self._candidates(self.least.arena_bytes))
        for candidate in self._plain:
            if candidate.choice.rows:
                found += self.candidates.tilings(candidate, arena, across=False)
        return self._fitting(ordered(found), arena)

    def _fitting(self, found: Sequence[Candidate], arena: int) -> Plan | None:
        """The fastest plan of these candidates, in order, whose arena is at most ``arena``."""
        count = len(self.workshop.nodes)
        budget = arena
        for _ in range(TRIES):
            path = fastest(found, count, budget)
            if not path:  # none, or none to choose: nothing is computed
                break
            plan = self.realise([candidate.choice for candidate in path])
            if plan.arena_bytes <= arena:
                return plan
            # placement took more than the bound: with less to place there may be room
            budget = max(candidate.need for candidate in path) - 1
        return None

    def front(self) -> tuple[Plan, ...]:
        """Plans of which none is both smaller and faster than another, the fastest first."""
        found = [self._layer_by_layer]
        while True:
            above = found[-1].arena_bytes
            arena = int(above * FRONT_STEP)
            if self.least.arena_bytes < above:
                arena = max(arena, self.least.arena_bytes)
            smaller = self.within(arena)
            if smaller is None:
                break
            found.append(smaller)
        front: list[Plan] = []
        for plan in reversed(found):  # the smallest first
            if not front or plan.cost < front[-1].cost:
                front.append(plan)
        return tuple(reversed(front))

    @cached_property
    def _layer_by_layer(self) -> Plan:
        """Every layer whole; where the input comes row by row, only those that need not wait."""
        count = len(self.workshop.nodes)
        if self.streamed is None:
            return self.realise([WHOLE] * count)
        path = fastest(ordered(self._plain), count, NEVER)
        if path is None:
            raise UnsupportedOp(
                "an input that comes row by row, read by a layer that needs all of it or after "
                "one that does",
                at=self.streamed,
            )
        return self.realise([candidate.choice for candidate in path])

    @cached_property
    def _plain(self) -> list[Candidate]:
        """All layers whole, and the plain segments among which there may be a better plan."""
        count = len(self.workshop.nodes)
        whole = [self.candidates.whole(start) for start in range(count)]
        limit = max((candidate.need for candidate in whole), default=0)
        if self.streamed is not None:
            limit = NEVER
        found = whole[1:] if self.streamed is not None else whole
        for start in range(count):
            found = found + list(self.candidates.streamed_from(start, limit))
        return found

    def _candidates(self, limit: int) -> list[Candidate]:
        """All forms of the segments that plans of candidates up to ``limit`` bytes may hold."""
        count = len(self.workshop.nodes)
        found = [candidate for candidate in self._plain if candidate.need <= limit]
        # layers that no budget worth trying forbids to compute whole: turns only cost there
        enough = min(limit, least_need(self._plain, count)) * 3 // 4
        forbidden = too_large_before(self._plain, count, enough)
        for candidate in on_a_path(found, count, limit):
            if candidate.choice.rows and forbidden[candidate.start] < forbidden[candidate.end]:
                if candidate not in self._variants:
                    self._variants[candidate] = tuple(self.candidates.variants(candidate))
                found += (other for other in self._variants[candidate] if other.need <= limit)
        return ordered(found)

    @cached_property
    def least(self) -> Plan:
        """The plan of least arena: candidates promise a bound, placement has the last word."""
        count = len(self.workshop.nodes)
        least = least_need(self._plain, count)
        found = self._candidates(least + least // 8)
        best = self._smallest([c for c in found if not c.choice.fed], self._layer_by_layer)
        if any(c.choice.fed for c in found):
            # rows that are fed cost time: no more than a plan of least arena may take
            most = MOST_COST * sum(self.candidates.whole(start).cost for start in range(count))
            needs = sorted({c.need for c in found if c.need < best.arena_bytes})

            def dear(need: int) -> bool:
                path = fastest(found, count, need)
                return path is None or sum(c.cost for c in path) > most

            enough = bisect_left(needs, True, key=lambda need: not dear(need))
            if enough < len(needs):
                path = fastest(found, count, needs[enough])
                assert path is not None
                plan = self.realise([candidate.choice for candidate in path])
                if plan.arena_bytes + FEED_STACK < best.arena_bytes:
                    best = plan
        return best

    def _smallest(self, found: Sequence[Candidate], best: Plan) -> Plan:
        """The plan of least arena among those of these candidates and ``best``."""
        count = len(self.workshop.nodes)
        least = least_need(found, count)
        for budget in sorted({c.need for c in found if c.need >= least}):
            if budget >= best.arena_bytes:
                break
            path = fastest(found, count, budget)
            if path is None or max(c.need for c in path) < budget:
                continue
            plan = self.realise([candidate.choice for candidate in path])
            if plan.arena_bytes < best.arena_bytes:
                best = plan
        return best

    def _patched(self) -> Plan:
        """Layers whole or in tiles cut both ways."""
        if self.streamed is not None:
            raise InvalidInput("patched plans need the whole input", hint="use --plan min-ram")
        count = len(self.workshop.nodes)
        whole = self._layer_by_layer
        found = [candidate for candidate in self._plain if candidate.choice.rows == 0]
        tall = int(whole.arena_bytes * FRONT_STEP)
        for candidate in self._plain:
            if candidate.choice.rows:
                found += self.candidates.tilings(candidate, tall, across=True)
        found = ordered(found)
        best = whole
        for budget in sorted({c.need for c in found}):
            if budget >= best.arena_bytes:
                break
            path = fastest(found, count, budget)
            if path is None or max(c.need for c in path) < budget:
                continue
            plan = self.realise([candidate.choice for candidate in path])
            if plan.macs <= MOST_MACS * whole.macs and plan.arena_bytes < best.arena_bytes:
                best = plan
        return best

    def realise(self, choices: Sequence[Choice]) -> Plan:
        """The plan of these choices, its buffers placed. Raises ``InvalidInput`` where they can't
        be, with the reason."""
        sections: list[Section] = []
        start = 0
        for choice in choices:
            section = self.candidates.section(start, choice)
            if section is None:
                raise self._refusal(start, choice)
            sections.append(section)
            start += choice.count
        buffers = buffers_of(self.graph, sections, keep_inputs=self.keep_inputs)
        if self.front_scratch:
            # rows that come one by one are made while the first segment runs
            last = -1 if self.streamed is None else 0
            buffers += (Buffer(FRONT_SCRATCH, (), self.front_scratch, -1, last, FRONT_ALIGN),)
        overlays = overlays_of(self.graph, sections, buffers)
        placement = place(buffers, overlays)
        boundary = None
        if self.fast_ram is not None and placement.peak > self.fast_ram:
            heat = heat_of(self.graph, sections, buffers)
            placement, boundary = place_in_two(
                buffers, overlays, self.fast_ram, self.slow_ram, heat
            )
        check(buffers, overlays, placement)
        state, state_bytes = state_of(self.graph)
        cost = sum(section.cost for section in sections)
        segments = tuple(self._segment(section) for section in sections)
        return Plan(
            self.graph, segments, buffers, overlays, placement, state, state_bytes, self.streamed,
            tuple(choices), cost, boundary,
            {value: guest for section in sections for value, guest in section.guests.items()},
        )  # fmt: skip

    def _refusal(self, start: int, choice: Choice) -> InvalidInput:
        """Why the nodes from ``start`` on can't be computed as ``choice`` says."""
        made: set[str] = set()
        for node in self.workshop.nodes[start : start + choice.count]:
            at = f"{node.op.name} '{node.name}'"
            if self.workshop.readers(node) is None:
                return InvalidInput("a layer that can't be computed row by row takes turns", at=at)
            if member_of(self.workshop, node, made) is None:
                return InvalidInput("needs all of a map that the layers before give in rows", at=at)
            made.update(node.outputs)
        node = self.workshop.nodes[start]
        at = f"segment from {node.op.name} '{node.name}' on"
        if choice.tiled:
            return InvalidInput(
                "can't be cut so: cuts must increase inside the map, only the last layer's output "
                "may be read outside, and each layer must have columns of its own",
                at=at,
            )
        return InvalidInput("its first layers must read all of the input that comes in rows", at=at)

    def _segment(self, section: Section) -> Segment:
        if section.stream is None:
            step = section.steps[0]
            return Segment((step,), (Turn(0, 0, step.height),), section.scratch)
        arrivals: tuple[int, ...] = ()
        if section.arriving is not None and isinstance(section.stream, Stream):
            height = self.graph.type(section.arriving).shape[1]
            arrivals = section.stream.arrivals(section.arriving, height)
        return Segment(
            section.steps, section.stream.turns, section.scratch, arrivals, section.layers
        )


def _streamed(graph: Graph, workshop: Workshop) -> str:
    """The value that comes row by row: the model's only input, under the name that is read."""
    if len(graph.inputs) != 1:
        raise UnsupportedOp(f"{len(graph.inputs)} inputs, of which one would come row by row")
    port = graph.inputs[0]
    roots = graph.alias_roots
    names = {
        name for node in workshop.nodes for name in node.inputs
        if roots.get(name, name) == port.value
    }  # fmt: skip
    if len(names) != 1 or graph.type(name := names.pop()).rank != 4:
        raise UnsupportedOp("an input that is no map of rows, to come row by row", at=port.name)
    if any(roots.get(out.value, out.value) == port.value for out in graph.outputs):
        raise UnsupportedOp("an input that is an output, to come row by row", at=port.name)
    return name


def state_of(graph: Graph) -> tuple[dict[str, int], int]:
    """Offsets of variables and of their views in the context's state, and its size."""
    offsets: dict[str, int] = {}
    end = 0
    for name in graph.variables:
        kind = graph.type(name)
        align = max(ALIGN, kind.dtype.size)
        end = -(-end // align) * align
        offsets[name] = end
        end += kind.bytes
    views = {
        view: offsets[root] + graph.alias_offsets[view]
        for view, root in graph.alias_roots.items()
        if root in offsets
    }
    return {**offsets, **views}, end
