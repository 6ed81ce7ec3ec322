"""The results of planning: frozen objects that say what runs when and where bytes lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..ir import Graph, KernelCall, Node, Table
from .kernels import Kernel


@dataclass(frozen=True)
class Buffer:
    """Bytes of the arena, live from step ``first`` to step ``last``, both included.

    Step -1 is before the run (inputs are written there), the number of steps is after it
    (outputs are read there). ``values`` share these bytes; a scratch buffer has none.
    """

    name: str
    values: tuple[str, ...]
    size: int
    first: int
    last: int
    align: int


@dataclass(frozen=True)
class Overlay:
    """``output`` may overlap the dying ``source`` if it starts ``lag`` bytes or more below it."""

    source: str
    output: str
    lag: int


@dataclass(frozen=True)
class Placement:
    """Offsets of buffers in the arena. ``bound`` is a proven lower bound of ``peak``."""

    offsets: Mapping[str, int]
    peak: int
    bound: int


@dataclass(frozen=True)
class Step:
    """A range of rows and channels of one node's output, computed by one kernel call.

    ``call`` is the op's own, ``packed`` the one that the kernel reads. ``rows`` and ``channels``
    are half-open; ``scratch`` names the step's scratch buffer of ``scratch_bytes``.
    ``rows_at_once`` rows may be written before the input rows of the first are let go; where
    ``in_place``, the output may be at the very place of the first input.
    ``defines`` are the macros with which the kernel is compiled for this call, ``pushed_bytes``
    stack that its assembly takes and no compiler sees.
    """

    node: Node
    call: KernelCall
    packed: KernelCall
    kernel: Kernel
    rows: tuple[int, int]
    channels: tuple[int, int]
    scratch: str | None
    scratch_bytes: int = 0
    rows_at_once: int = 1
    defines: Mapping[str, int] = field(default_factory=dict)
    in_place: bool = False
    pushed_bytes: int = 0

    @property
    def symbol(self) -> str:
        """The C function: the kernel's name, with the values of its macros if it has any."""
        values = (str(value).replace("-", "m") for value in self.defines.values())
        return "_".join((self.kernel.name, *values))


def _table_bytes(call: KernelCall) -> int:
    items = (*call.operands, *call.params.values())
    return sum(item.array.nbytes for item in items if isinstance(item, Table))


@dataclass(frozen=True)
class Plan:
    """All that emission needs beside the graph."""

    graph: Graph
    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...]
    overlays: tuple[Overlay, ...]
    placement: Placement
    state: Mapping[str, int]
    state_bytes: int

    @property
    def widened_bytes(self) -> int:
        """Bytes of flash by which the kernels' layouts are larger than the ops' constants."""
        return sum(_table_bytes(step.packed) - _table_bytes(step.call) for step in self.steps)

    @property
    def pushed_bytes(self) -> int:
        """Stack below a kernel's frame that the compiler's figures leave out, at most."""
        return max((step.pushed_bytes for step in self.steps), default=0)

    @property
    def arena_bytes(self) -> int:
        return self.placement.peak

    @property
    def arena_align(self) -> int:
        return max((buffer.align for buffer in self.buffers), default=4)

    def buffer_of(self, value: str) -> Buffer | None:
        """The buffer that holds ``value``; None for constants and variables."""
        return self._holders.get(value)

    @cached_property
    def _holders(self) -> Mapping[str, Buffer]:
        return {value: buffer for buffer in self.buffers for value in buffer.values}

    def live_at(self, step: int) -> tuple[Buffer, ...]:
        return tuple(b for b in self.buffers if b.first <= step <= b.last)

    @property
    def peak_step(self) -> int:
        """The first step at which the bytes in use reach the peak."""
        ends = {b.name: self.placement.offsets[b.name] + b.size for b in self.buffers}
        top = [max((ends[b.name] for b in self.live_at(i)), default=0) for i in self._times()]
        return list(self._times())[top.index(max(top))]

    def _times(self) -> range:
        return range(-1, len(self.steps) + 1)
