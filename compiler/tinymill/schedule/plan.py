"""The results of planning: frozen objects that say what runs when and where bytes lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..ir import Graph, KernelCall, Node, Table, Types
from .kernels import Kernel


@dataclass(frozen=True)
class Buffer:
    """Bytes of the arena, live from segment ``first`` to segment ``last``, both included.

    Segment -1 is before the run (inputs are written there), the number of segments is after it
    (outputs are read there). ``values`` share these bytes; a scratch buffer has none. ``rows``
    is the number of rows that a ring keeps, None where values are held whole.
    """

    name: str
    values: tuple[str, ...]
    size: int
    first: int
    last: int
    align: int
    rows: int | None = None


@dataclass(frozen=True)
class Overlay:
    """``output`` may overlap the dying ``source`` if it starts ``lag`` bytes or more below it."""

    source: str
    output: str
    lag: int


@dataclass(frozen=True)
class Guest:
    """A value of which one row at a time is held in the ring of ``host``, of ``rows`` rows: row y
    begins where the host's place (y * stride + shift) modulo ``rows`` does."""

    host: str
    stride: int
    shift: int
    rows: int

    def places(self, rows: np.ndarray) -> np.ndarray:
        """The host's places at which these rows begin."""
        return (rows * self.stride + self.shift) % self.rows


@dataclass(frozen=True)
class Placement:
    """Offsets of buffers in the arena. ``bound`` is a proven lower bound of ``peak``."""

    offsets: Mapping[str, int]
    peak: int
    bound: int


@dataclass(frozen=True)
class Step:
    """One node and the kernel that computes it, whole or a range of rows at a time.

    ``call`` is the op's own, ``packed`` the one that the kernel reads. ``height`` is the number
    of rows of the output, ``channels`` are half-open. Where ``row_by_row``, the call computes a
    single row from plain pointers. A call needs ``scratch_bytes`` of scratch. ``rows_at_once``
    rows may be written before the input rows of the first are let go; where ``in_place``, the
    output may be at the very place of the first input.
    ``strip`` is None where all columns are computed; else, for each map, the byte of its row at
    which the strip begins and the distance between rows.
    Where ``by_channel``, a call of one row has read all that it needs of a channel of the first
    input before it writes that channel. Where turns are fed, the step before has its scratch at
    byte ``fed_scratch`` of this one's.
    ``defines`` are the macros with which the kernel is compiled for this call, ``pushed_bytes``
    stack that its assembly takes and no compiler sees.
    """

    node: Node
    types: Types
    call: KernelCall
    packed: KernelCall
    kernel: Kernel
    height: int
    channels: tuple[int, int]
    scratch_bytes: int = 0
    rows_at_once: int = 1
    defines: Mapping[str, int] = field(default_factory=dict)
    in_place: bool = False
    pushed_bytes: int = 0
    row_by_row: bool = False
    strip: Mapping[str, tuple[int, int]] | None = None
    by_channel: bool = False
    fed_scratch: int | None = None

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of all rows."""
        return int(self.node.op.macs(self.types))

    @property
    def symbol(self) -> str:
        """The C function: the kernel's name, with the values of its macros if it has any."""
        values = (str(value).replace("-", "m") for value in self.defines.values())
        return "_".join((self.kernel.name, *values))


@dataclass(frozen=True)
class Turn:
    """Rows [row0, row1) of the output of the ``step``-th step of a segment.

    Where ``fed``, the step before makes the last row that this one reads on the way, some
    channels at a time, and has no turn of its own for it.
    """

    step: int
    row0: int
    row1: int
    fed: bool = False


@dataclass(frozen=True)
class Segment:
    """Steps that take turns, so that of values between them only some rows are held.

    A segment of one step and one turn is a layer computed whole. Where columns are computed in
    strips, each of the ``layers`` nodes has a step for each strip: all of the first strip, then
    all of the next. ``scratch`` names the buffer
    that the steps share. ``arrivals[r]`` is the number of turns that can be made when r + 1 rows
    of a streamed input have come, () where no input is streamed.
    """

    steps: tuple[Step, ...]
    turns: tuple[Turn, ...]
    scratch: str | None = None
    arrivals: tuple[int, ...] = ()
    layers: int = 1

    @property
    def whole(self) -> bool:
        """Whether this is one layer, computed by one call that waits for no rows to arrive."""
        return len(self.turns) == 1 and not self.steps[0].row_by_row and not self.arrivals


@dataclass(frozen=True)
class Choice:
    """How ``count`` consecutive nodes are computed.

    ``rows`` 0: each node whole (then ``count`` is 1); else they take turns, that many rows of
    the first node's output a beat; ``lazy`` as for ``Stream``. ``across`` and ``along`` are the
    rows and columns at which the last node's output is cut into tiles. With ``fed`` depthwise
    convolutions have the last row that they read made on the way, where that saves it a place.
    """

    count: int
    rows: int = 0
    lazy: int = 0
    across: tuple[int, ...] = ()
    along: tuple[int, ...] = ()
    fed: bool = False

    @property
    def tiled(self) -> bool:
        return bool(self.across or self.along)


def _table_bytes(call: KernelCall) -> int:
    items = (*call.operands, *call.params.values())
    return sum(item.array.nbytes for item in items if isinstance(item, Table))


@dataclass(frozen=True)
class Plan:
    """All that emission needs beside the graph."""

    graph: Graph
    segments: tuple[Segment, ...]
    buffers: tuple[Buffer, ...]
    overlays: tuple[Overlay, ...]
    placement: Placement
    state: Mapping[str, int]
    state_bytes: int
    arriving: str | None = None
    """The input that comes row by row while the first segment runs."""
    choices: tuple[Choice, ...] = ()
    """What the segments are made of, for the nodes that compute something, in order."""
    cost: int = 0
    """Instructions of a run, estimated."""
    fast_bytes: int | None = None
    """Where the arena is in two memories: what lies below this offset is in the fast one."""
    guests: Mapping[str, Guest] = field(default_factory=dict)
    """Values whose rows are held in another's ring; its buffer is theirs, too."""

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all segments, in the order in which they begin."""
        return tuple(step for segment in self.segments for step in segment.steps)

    @cached_property
    def layers(self) -> tuple[Step, ...]:
        """One step of each node that is computed, in the order in which they begin."""
        return tuple(step for segment in self.segments for step in segment.steps[: segment.layers])

    @property
    def widened_bytes(self) -> int:
        """Bytes of flash by which the kernels' layouts are larger than the ops' constants."""
        return sum(_table_bytes(step.packed) - _table_bytes(step.call) for step in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a run, those that tiles compute twice included."""
        total = 0.0
        for segment in self.segments:
            for turn in segment.turns:
                step = segment.steps[turn.step]
                total += step.macs * (turn.row1 - turn.row0) / step.height
                if turn.fed:
                    feeder = segment.steps[turn.step - 1]
                    total += feeder.macs / feeder.height
        return round(total)

    @property
    def pushed_bytes(self) -> int:
        """Stack below a kernel's frame that the compiler's figures leave out, at most."""
        return max((step.pushed_bytes for step in self.steps), default=0)

    @property
    def arena_bytes(self) -> int:
        return self.placement.peak

    @property
    def slow_bytes(self) -> int:
        """Bytes of the arena that are in the second, slow memory."""
        return 0 if self.fast_bytes is None else self.arena_bytes - self.fast_bytes

    @property
    def arena_align(self) -> int:
        return max((buffer.align for buffer in self.buffers), default=4)

    def buffer_of(self, value: str) -> Buffer | None:
        """The buffer that holds ``value``; None for constants and variables."""
        return self._holders.get(value)

    @cached_property
    def _holders(self) -> Mapping[str, Buffer]:
        return {value: buffer for buffer in self.buffers for value in buffer.values}

    def live_at(self, segment: int) -> tuple[Buffer, ...]:
        return tuple(b for b in self.buffers if b.first <= segment <= b.last)

    def top_at(self, segment: int) -> int:
        """The end of the highest buffer in use, in bytes from the start of the arena."""
        offsets = self.placement.offsets
        return max((offsets[b.name] + b.size for b in self.live_at(segment)), default=0)

    @property
    def peak_segment(self) -> int:
        """The first segment at which the bytes in use reach the peak."""
        times = range(-1, len(self.segments) + 1)
        tops = [self.top_at(index) for index in times]
        return times[tops.index(max(tops))]
