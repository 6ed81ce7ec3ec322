"""A network as a drawing: one row a layer in the order of execution, edges beside the rows.

An edge to the next row goes straight down; any other runs in a lane to the left of the boxes. Lanes
are shared by edges that don't meet, so that a drawing is as narrow as the network allows, and
nothing ever lies on anything else, whatever the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..schedule import Plan

ROW, BOX = 48, 36
"""Pixels from one row to the next, and the height of a box."""
LANE, EDGE = 12, 14
"""Pixels from one lane to the next, and from the last one to the boxes."""
WIDTH = 290
"""Pixels of a box."""
MARGIN = 6
CORNER = 5


@dataclass(frozen=True)
class Link:
    """An edge between rows; ``lane`` None goes straight down to the next row."""

    source: int
    target: int
    lane: int | None


@dataclass(frozen=True)
class Wire:
    """A link as an SVG path."""

    path: str
    source: int
    target: int


@dataclass(frozen=True)
class Drawing:
    """Pixels: the tops of the boxes, their left edge, and all edges."""

    width: int
    height: int
    left: int
    tops: tuple[int, ...]
    wires: tuple[Wire, ...]


@dataclass(frozen=True)
class Network:
    """Rows of a drawing: the inputs, the plan's layers, the outputs, by name; and their links."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: int
    links: tuple[Link, ...]

    @property
    def rows(self) -> int:
        return len(self.inputs) + self.layers + len(self.outputs)


def network_of(plan: Plan) -> Network:
    """The network that a plan computes. What shares another value's bytes is no layer: its readers
    are linked to who made them."""
    graph = plan.graph
    makers = {port.value: row for row, port in enumerate(graph.inputs)}
    first = len(graph.inputs)
    for index, step in enumerate(plan.layers):
        makers |= dict.fromkeys(step.node.outputs, first + index)
    roots = graph.alias_roots
    found: dict[tuple[int, int], None] = {}
    for index, step in enumerate(plan.layers):
        for value in step.node.inputs:
            source = makers.get(roots.get(value, value))
            if source is not None and source < first + index:
                found[source, first + index] = None
    for index, port in enumerate(graph.outputs):
        source = makers.get(roots.get(port.value, port.value))
        if source is not None:
            found[source, first + len(plan.layers) + index] = None
    return Network(
        tuple(port.name or port.value for port in graph.inputs),
        tuple(port.name or port.value for port in graph.outputs),
        len(plan.layers),
        _laned(list(found)),
    )


def _laned(edges: Sequence[tuple[int, int]]) -> tuple[Link, ...]:
    """Edges with their lanes: the shortest get the lanes nearest to the boxes."""
    ends: list[list[tuple[int, int]]] = []
    found = {}
    for source, target in sorted(edges, key=lambda edge: (edge[1] - edge[0], edge)):
        if target == source + 1:
            found[source, target] = Link(source, target, None)
            continue
        # two edges may meet at the box that both leave or both reach, but not pass each other
        lane = next(
            (
                index
                for index, taken in enumerate(ends)
                if all(target <= start or end <= source for start, end in taken)
            ),
            len(ends),
        )
        if lane == len(ends):
            ends.append([])
        ends[lane].append((source, target))
        found[source, target] = Link(source, target, lane)
    return tuple(found[edge] for edge in edges)


def drawing_of(network: Network) -> Drawing:
    """Where everything lies."""
    lanes = 1 + max((link.lane for link in network.links if link.lane is not None), default=-1)
    left = MARGIN + (lanes * LANE + EDGE if lanes else 0)
    tops = tuple(MARGIN + row * ROW for row in range(network.rows))
    wires = []
    for link in network.links:
        top, bottom = tops[link.source], tops[link.target]
        if link.lane is None:
            middle = left + WIDTH // 2
            path = f"M{middle} {top + BOX}V{bottom - 1}"
        else:
            # a lane's edges leave at the lower part of a box and arrive at the upper part
            x = left - EDGE - link.lane * LANE
            start, end = top + BOX - 8, bottom + 8
            path = (
                f"M{left} {start}H{x + CORNER}Q{x} {start} {x} {start + CORNER}"
                f"V{end - CORNER}Q{x} {end} {x + CORNER} {end}H{left - 1}"
            )
        wires.append(Wire(path, link.source, link.target))
    height = 2 * MARGIN + (network.rows - 1) * ROW + BOX if network.rows else 2 * MARGIN
    return Drawing(left + WIDTH + MARGIN, height, left, tops, tuple(wires))
