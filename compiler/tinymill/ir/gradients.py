"""What the gradient rule of an op may ask for: the tape on which a backward pass is written.

An op says what its gradient is made of (``Op.quantized_gradient``); the tape says what that
becomes: numbers at once, or nodes of a graph. Gradients are by the integers of a value. What
stands for one is the tape's own business; rules only hand it on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from .graph import Node
from .op import Op, Types

Gradient = Any
"""A gradient on a tape."""


@dataclass(frozen=True)
class Site:
    """A node of the forward graph, where a rule is applied; ``wanted`` are the inputs by which
    gradients are asked for. ``last``: its output is what the loss is of."""

    node: Node
    types: Types
    wanted: tuple[bool, ...]
    last: bool

    def stops(self, clamp: tuple[int, int] | None) -> tuple[int, int] | None:
        """The clamp behind which there is no gradient. What the loss is of has one beyond the
        limits of its type too: else what once went there could not come back."""
        return None if self.last and clamp == (-128, 127) else clamp


@dataclass(frozen=True)
class Sliding:
    """The geometry of a convolution or pooling: see Conv2D and Pool."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1


class Tape(ABC):
    """The steps of which gradient rules are made."""

    @abstractmethod
    def gate(
        self, at: Site, g: Gradient, factor: np.ndarray, clamp: tuple[int, int] | None
    ) -> Gradient:
        """g times ``factor`` (one, or one for each channel), 0 where the node's output is not
        between the two integers of ``clamp``; None: nothing is clamped."""

    @abstractmethod
    def slope(self, at: Site, g: Gradient, slopes: np.ndarray) -> Gradient:
        """g times the slope at each integer of the node's first input, of 256."""

    @abstractmethod
    def convolution(self, at: Site, h: Gradient, form: Sliding) -> Gradient | None:
        """The gradient by the first input of a convolution from h, that by its accumulator; None
        if not wanted. What the node trains, learns. Inputs and weights may have rank 2."""

    @abstractmethod
    def spread(
        self, at: Site, g: Gradient, window: tuple[int, int], form: Sliding,
        factors: np.ndarray, count_padding: bool,
    ) -> Gradient:  # fmt: skip
        """The gradient of sums over windows; a window of n values inside the map has the factor
        factors[n - 1], of all values with ``count_padding``."""

    @abstractmethod
    def route(self, at: Site, g: Gradient, window: tuple[int, int], form: Sliding) -> Gradient:
        """The gradient of the largest of each window."""

    @abstractmethod
    def moved(self, at: Site, g: Gradient, op: Op) -> Gradient:
        """g after a moving op."""


def clamp_of(clamp: tuple[float, float] | None, limits: tuple[int, int]) -> tuple[int, int]:
    """The integers at which an output stops: of a clamp, or of its type."""
    low, high = limits if clamp is None else clamp
    return max(int(low), limits[0]), min(int(high), limits[1])
