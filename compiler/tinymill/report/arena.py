"""Where each byte of the arena goes, step by step: what a plan's buffers take and leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..schedule import Plan
from .figures import Kind, kind_of, segments_of
from .layers import SHORT, first_parts
from .picture import short_name, telling

PARTS = ("input", "output", "activation", "ring", "scratch", "shared", "unused")
"""What a byte of the arena can be for at a step: a kind of buffer; ``shared`` by an input that dies
there and the output that takes its bytes; ``unused``."""


@dataclass(frozen=True)
class Block:
    """One buffer: bytes [offset, offset + size), in use from step ``first`` to step ``last``."""

    name: str
    short: str
    kind: Kind
    offset: int
    size: int
    rows: int | None
    first: int
    last: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class Moment:
    """The arena at one step: ``blocks`` in use (their places in ``Arena.blocks``), and for each of
    ``PARTS`` its bytes; they sum up to the arena. ``layers`` are places in ``Plan.layers``."""

    name: str
    detail: str
    layers: tuple[int, ...]
    blocks: tuple[int, ...]
    parts: tuple[int, ...]
    top: int

    @property
    def used(self) -> int:
        """Bytes that hold something."""
        return sum(self.parts) - self.parts[-1]


@dataclass(frozen=True)
class Arena:
    """A plan's arena over time. Moment 0 is before the run, the last one after it; those between
    are the segments. ``peak`` is the place of the first at which the whole arena is in use."""

    bytes: int
    fast_bytes: int | None
    blocks: tuple[Block, ...]
    moments: tuple[Moment, ...]
    peak: int


def arena_of(plan: Plan) -> Arena:
    """The arena of a plan over its steps."""
    buffers = [buffer for buffer in plan.buffers if buffer.size]
    values = [buffer.values[0] for buffer in buffers if buffer.values]
    short = iter(telling(first_parts(values)))
    offsets = plan.placement.offsets
    blocks = tuple(
        Block(
            buffer.values[0] if buffer.values else buffer.name,
            short_name(next(short), SHORT) if buffer.values else "scratch",
            kind_of(plan, buffer), offsets[buffer.name], buffer.size, buffer.rows, buffer.first,
            buffer.last, buffer.values,
        )
        for buffer in buffers
    )  # fmt: skip
    figures = segments_of(plan)
    count = len(plan.segments)
    moments = []
    layer = 0
    for time in range(-1, count + 1):
        layers: tuple[int, ...] = ()
        if time < 0:
            name, detail = "before", "the inputs are written"
        elif time == count:
            name, detail = "after", "the outputs are read"
        else:
            each = figures[time]
            layers = tuple(range(layer, layer + len(each.layers)))
            layer += len(each.layers)
            name = each.ops[0] if len(each.ops) == 1 else f"{len(each.ops)} layers"
            detail = "computed whole"
            if each.turns > 1:
                detail = f"{each.turns:,} turns, {each.rows} row{'s' * (each.rows > 1)} at a time"
            if each.tiles != (1, 1):
                detail += f", in {each.tiles[0]} x {each.tiles[1]} tiles"
        live = tuple(index for index, b in enumerate(blocks) if b.first <= time <= b.last)
        parts = _parts([blocks[index] for index in live], plan.arena_bytes)
        moments.append(Moment(name, detail, layers, live, parts, plan.top_at(time)))
    return Arena(plan.arena_bytes, plan.fast_bytes, blocks, tuple(moments), plan.peak_segment + 1)


def _parts(live: Sequence[Block], size: int) -> tuple[int, ...]:
    """The bytes of an arena of ``size`` bytes by ``PARTS``."""
    sums = dict.fromkeys(PARTS, 0)
    edges = sorted({0, size, *(b.offset for b in live), *(b.offset + b.size for b in live)})
    for low, high in pairwise(edges):
        here = [b.kind for b in live if b.offset <= low and high <= b.offset + b.size]
        part = "unused" if not here else here[0] if len(here) == 1 else "shared"
        sums[part] += high - low
    return tuple(sums[part] for part in PARTS)
