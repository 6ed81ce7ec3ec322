"""The table of layers that a sparse engine runs: what runtime_c/editing/tm_edit_engine.h holds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..ir import Graph

POINT, WHOLE = -1, -2
ALIGN = 16
"""Floats: blocks begin at multiples of a cache line."""


@dataclass(eq=False)
class Value:
    """A map [images, height, width, channels], or one for all images (``shared``).

    ``parent`` is the value whose channels from ``offset`` on these are (a part of a concat, a
    piece of a split). ``kind``: "kept", "scratch" or "constant" (at ``place`` of the weights).
    """

    name: str
    height: int
    width: int
    channels: int
    shared: bool = False
    kind: str = "kept"
    place: int = 0
    parent: Value | None = None
    offset: int = 0
    mask: int = 0
    index: int = -1

    @property
    def root(self) -> Value:
        return self if self.parent is None else self.parent.root

    @property
    def first(self) -> int:
        """Channels of the root that lie before."""
        return 0 if self.parent is None else self.offset + self.parent.first

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class Axis:
    """The places that each place of an axis reads, -1 for none, and their weights."""

    places: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[float, ...], ...] | None = None

    @property
    def taps(self) -> int:
        return len(self.places[0])


@dataclass(frozen=True)
class Mask:
    """Active pixels of a size; ``pyramid``: in fast mode the input's, scaled."""

    height: int
    width: int
    pyramid: bool


@dataclass(frozen=True)
class Spread:
    """Active pixels of ``target`` by those of ``source``; axes, or POINT, or WHOLE."""

    target: int
    source: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Phase:
    """One of the convolutions that a transposed one is made of; the only one of an ordinary."""

    kernel: tuple[int, int]
    pad: tuple[int, int]
    dilation: tuple[int, int]
    size: tuple[int, int]
    at: tuple[int, int]
    weights: int


@dataclass
class Norm:
    """Scale and shift of channels, from the statistics of ``groups``; 0: constants."""

    name: str
    groups: int
    channels: int
    epsilon: float
    scale: int
    shift: int
    parts: list[tuple[Value, int]]


@dataclass
class Step:
    """One layer; see tm_edit_step. Values are None where there is none."""

    kind: str
    name: str
    output: Value | None
    inputs: tuple[Value, ...] = ()
    residual: Value | None = None
    norm: int = -1
    in_activation: str = "NONE"
    out_activation: str = "NONE"
    function: int = 0
    alpha: float = 0.0
    beta: float = 0.0
    phases: list[Phase] = field(default_factory=list)
    step: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    upsample: int = 1
    bias: int = -1
    bias_value: Value | None = None
    rows: int = -1
    columns: int = -1
    heads: int = 0
    block: int = 0
    macs: int = 0

    def reads(self) -> list[Value]:
        """Values that it reads."""
        found = [*self.inputs]
        found += [value for value in (self.residual, self.bias_value) if value is not None]
        return found


@dataclass
class Program:
    """All of it, with the part of the model that does not depend on what is edited."""

    name: str
    images: int
    graph: Graph
    host: Graph
    input: Value
    values: list[Value]
    masks: list[Mask]
    spreads: list[Spread]
    axes: list[Axis]
    norms: list[Norm]
    steps: list[Step]
    weights: list[np.ndarray]
    host_values: dict[str, Value]
    """Values of ``host`` that layers read."""
    outputs: dict[str, Value]
    """The map of each output's value."""
    pinned: set[int] = field(default_factory=set)
    """Roots (by id) that must be kept."""
