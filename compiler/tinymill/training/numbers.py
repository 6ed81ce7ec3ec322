"""The backward pass in float64: what gradients are, before they become mantissas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..ir import Gradient, Graph, Node, Op, Site, Sliding, Types
from ..ops.conv_gradient import ConvInputGradient, ConvWeightUpdate, input_sums, ohwi, weight_sums
from ..ops.gradient_moves import GradientSpread, MaxPoolGradient
from .autodiff import AddingTape


@dataclass
class NumbersTape(AddingTape):
    """Computes gradients by the values of one run of the int8 graph.

    ``peaks`` gets the largest absolute value of what each step made, in the order of the steps,
    ``weights`` and ``biases`` the gradients by the integers of every layer on the way, by the
    name of its output.
    """

    graph: Graph
    values: Mapping[str, np.ndarray]
    peaks: list[float] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    biases: dict[str, np.ndarray] = field(default_factory=dict)

    def _made(self, g: np.ndarray) -> np.ndarray:
        self.peaks.append(float(np.max(np.abs(g), initial=0.0)))
        return g

    def gate(
        self, at: Site, g: Gradient, factor: np.ndarray, clamp: tuple[int, int] | None
    ) -> Gradient:
        h = g * factor
        clamp = at.stops(clamp)
        if clamp is not None:
            y = self.values[at.node.outputs[0]]
            h = np.where((y > clamp[0]) & (y < clamp[1]), h, 0.0)
        return self._made(h)

    def slope(self, at: Site, g: Gradient, slopes: np.ndarray) -> Gradient:
        return self._made(g * slopes[self.values[at.node.inputs[0]].astype(np.int64) + 128])

    def convolution(self, at: Site, h: Gradient, form: Sliding) -> Gradient | None:
        x_kind, weights_kind = at.types.input(0), at.types.input(1)
        shape = ohwi(weights_kind)
        x = self.values[at.node.inputs[0]].astype(np.float64) - x_kind.zero_point
        if weights_kind.rank == 2:
            x, h = x.reshape(-1, 1, 1, shape[3]), h.reshape(-1, 1, 1, shape[0])
        learning = ConvWeightUpdate(form.stride, form.dilation, form.pad, form.groups)
        self.weights[at.node.outputs[0]] = weight_sums(x, h, shape, learning)
        self.biases[at.node.outputs[0]] = h.reshape(-1, shape[0]).sum(axis=0)
        if not at.wanted[0]:
            return None
        weights = self.values[at.node.inputs[1]].reshape(shape).astype(np.float64)
        op = ConvInputGradient(
            x.shape[1], x.shape[2], form.stride, form.dilation, form.pad, form.groups
        )
        return self._made(input_sums(h, weights, x.shape, op).reshape(x_kind.shape))

    def spread(
        self, at: Site, g: Gradient, window: tuple[int, int], form: Sliding,
        factors: np.ndarray, count_padding: bool,
    ) -> Gradient:  # fmt: skip
        x = at.types.input(0)
        op = GradientSpread(
            x.shape[1], x.shape[2], window, (1,) * len(factors), form.stride, form.pad,
            count_padding,
        )  # fmt: skip
        return self._made(op.spread(g, factors, x.shape))

    def route(self, at: Site, g: Gradient, window: tuple[int, int], form: Sliding) -> Gradient:
        x, y = self.values[at.node.inputs[0]], self.values[at.node.outputs[0]]
        return self._made(MaxPoolGradient(window, form.stride, form.pad).routed(x, y, g))

    def moved(self, at: Site, g: Gradient, op: Op) -> Gradient:
        kind = at.types.output.with_shape(g.shape)
        return op.reference([g], Types((kind,), op.infer((kind,))))[0]

    def add(self, at: Node, a: Gradient, b: Gradient) -> Gradient:
        return self._made(a + b)


def rms(array: np.ndarray) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(array, np.float64))))) if array.size else 0.0


@dataclass
class ExpectationTape(AddingTape):
    """Guesses gradients without data: a gradient is the root of its mean square, its values
    and the weights taken for independent. ``peaks`` as for ``NumbersTape``."""

    graph: Graph
    peaks: list[float] = field(default_factory=list)
    tail: float = 6.0
    """How many times its root mean square the largest of a gradient is."""

    def _made(self, g: float) -> float:
        self.peaks.append(self.tail * g)
        return g

    def gate(
        self, at: Site, g: Gradient, factor: np.ndarray, clamp: tuple[int, int] | None
    ) -> Gradient:
        zero = at.types.output.zero_point
        clamp = at.stops(clamp)
        # a ReLU stops every other one
        passed = 1.0 if clamp is None or clamp[0] < zero < clamp[1] else 0.5
        return self._made(g * rms(factor) * passed**0.5)

    def slope(self, at: Site, g: Gradient, slopes: np.ndarray) -> Gradient:
        return self._made(g * rms(slopes))

    def convolution(self, at: Site, h: Gradient, form: Sliding) -> Gradient | None:
        if not at.wanted[0]:
            return None
        name = at.node.inputs[1]
        held = self.graph.variables.get(name)
        weights = self.graph.constant(name) if held is None else held
        outs, kh, kw, _ = ohwi(at.types.input(1))
        reached = outs // form.groups * kh * kw / (form.stride[0] * form.stride[1])
        return self._made(h * rms(weights) * max(1.0, reached) ** 0.5)

    def spread(
        self, at: Site, g: Gradient, window: tuple[int, int], form: Sliding,
        factors: np.ndarray, count_padding: bool,
    ) -> Gradient:  # fmt: skip
        windows = window[0] * window[1] / (form.stride[0] * form.stride[1])
        one = at.types.output.shape[1:3] == (1, 1)
        return self._made(g * float(factors[-1]) * (1.0 if one else max(1.0, windows) ** 0.5))

    def route(self, at: Site, g: Gradient, window: tuple[int, int], form: Sliding) -> Gradient:
        return self._made(g)

    def moved(self, at: Site, g: Gradient, op: Op) -> Gradient:
        return g

    def add(self, at: Node, a: Gradient, b: Gradient) -> Gradient:
        return self._made((a * a + b * b) ** 0.5)
