"""The words in which gradient rules of float ops are written: each adds nodes to a graph.

A rule (``Op.gradient``) is given the values of its node by name and gives gradients by name; all
that it makes are ordinary ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UnsupportedOp
from ..ir import GraphBuilder, Op, TensorType
from .binary import Binary
from .compare import Compare, Logical, Where
from .concat import Concat
from .conv import Conv2D
from .conv_transpose import ConvTranspose
from .gradient_moves import MaxPoolGradient
from .matmul import MatMul
from .pad import Pad
from .reduce import Reduce
from .reshape import Reshape
from .slice import Slice
from .transpose import Transpose
from .unary import Unary


@dataclass
class Writing:
    """Adds the nodes of a backward pass to ``builder``; ``name`` is that of the layer."""

    builder: GraphBuilder
    name: str = ""

    def type(self, value: str) -> TensorType:
        return self.builder.types[value]

    def shape(self, value: str) -> tuple[int, ...]:
        return self.type(value).shape

    def add(self, op: Op, *values: str) -> str:
        return self.builder.add(op, values, name=f"{self.name}.gradient")[0]

    def constant(self, numbers: np.ndarray | float) -> str:
        array = np.asarray(numbers, np.float32)
        return self.builder.constant(array.reshape(array.shape or (1,)), stem="gradient")

    def refuse(self, what: str) -> UnsupportedOp:
        """The error of an op that has no rule here."""
        return UnsupportedOp(f"the gradient of {what}", at=self.name)

    # -- elementwise

    def _pair(self, function: str, a: str | float, b: str | float) -> str:
        first, second = (v if isinstance(v, str) else self.constant(v) for v in (a, b))
        return self.add(Binary(function), first, second)

    def plus(self, a: str | float, b: str | float) -> str:
        return self._pair("add", a, b)

    def minus(self, a: str | float, b: str | float) -> str:
        return self._pair("sub", a, b)

    def times(self, a: str | float, b: str | float) -> str:
        return self._pair("mul", a, b)

    def over(self, a: str | float, b: str | float) -> str:
        return self._pair("div", a, b)

    def function(self, name: str, x: str, alpha: float = 0.0, beta: float = 0.0) -> str:
        return self.add(Unary(name, alpha, beta), x)

    def less(self, a: str | float, b: str | float) -> str:
        first, second = (v if isinstance(v, str) else self.constant(v) for v in (a, b))
        return self.add(Compare("less"), first, second)

    def both(self, a: str, b: str) -> str:
        return self.add(Logical("and"), a, b)

    def choose(self, condition: str, a: str | float, b: str | float) -> str:
        first, second = (v if isinstance(v, str) else self.constant(v) for v in (a, b))
        return self.add(Where(), condition, first, second)

    def inside(self, g: str, y: str, clamp: tuple[float, float] | None) -> str:
        """g where y is between the ends of ``clamp``, else 0."""
        if clamp is None:
            return g
        low, high = clamp
        if np.isfinite(low):
            g = self.choose(self.less(float(low), y), g, 0.0)
        return self.choose(self.less(y, float(high)), g, 0.0) if np.isfinite(high) else g

    # -- shapes

    def reshaped(self, x: str, *shape: int) -> str:
        return x if self.shape(x) == shape else self.add(Reshape(shape), x)

    def turned(self, x: str, *order: int) -> str:
        return self.add(Transpose(order), x)

    def total(self, x: str, axes: Sequence[int], *, keepdims: bool = True) -> str:
        return self.add(Reduce("sum", tuple(axes), keepdims), x) if axes else x

    def summed_to(self, g: str, shape: tuple[int, ...]) -> str:
        """g summed over the axes along which ``shape`` was broadcast."""
        lead = len(self.shape(g)) - len(shape)
        axes = list(range(lead))
        axes += [
            lead + axis
            for axis, (n, m) in enumerate(zip(shape, self.shape(g)[lead:], strict=True))
            if n == 1 and m != 1
        ]
        return self.reshaped(self.total(g, axes), *shape)

    def cut(self, x: str, begin: Sequence[int], size: Sequence[int]) -> str:
        if tuple(size) == self.shape(x):
            return x
        return self.add(Slice(tuple(begin), tuple(size), (1,) * len(size)), x)

    def padded(self, x: str, before: Sequence[int], after: Sequence[int]) -> str:
        if not any((*before, *after)):
            return x
        return self.add(Pad(tuple(before), tuple(after)), x)

    def joined(self, parts: Sequence[str], axis: int) -> str:
        return self.add(Concat(axis), *parts)

    def zeros(self, shape: Sequence[int]) -> str:
        return self.constant(np.zeros(tuple(shape)))

    def product(self, a: str, b: str) -> str:
        return self.add(MatMul(), a, b)

    # -- convolutions: weights OHWI in groups, maps NHWC

    def swapped(self, weights: str, groups: int) -> str:
        """[O, KH, KW, I / groups] as [I, KH, KW, O / groups]."""
        outs, kh, kw, group_in = self.shape(weights)
        split = self.reshaped(weights, groups, outs // groups, kh, kw, group_in)
        turned = self.turned(split, 0, 4, 2, 3, 1)
        return self.reshaped(turned, groups * group_in, kh, kw, outs // groups)

    def fitted(self, x: str, ends: Sequence[int]) -> tuple[str, tuple[int, int]]:
        """x without the ``ends`` rows and columns too many, where these are negative; and the
        padding where they are not."""
        batch, height, width, channels = self.shape(x)
        kept = (height + min(ends[0], 0), width + min(ends[1], 0))
        x = self.cut(x, (0, 0, 0, 0), (batch, *kept, channels))
        return x, (max(ends[0], 0), max(ends[1], 0))

    def correlated(
        self, x: str, weights: str, size: Sequence[int], stride: tuple[int, int],
        dilation: tuple[int, int], pad: Sequence[int], groups: int,
    ) -> str:  # fmt: skip
        """The convolution whose output has ``size``; ``pad`` is (top, left)."""
        ends = [
            (n - 1) * s + (k - 1) * d + 1 - have - p
            for n, s, k, d, have, p in zip(
                size, stride, self.shape(weights)[1:3], dilation, self.shape(x)[1:3], pad,
                strict=True,
            )
        ]  # fmt: skip
        x, (bottom, right) = self.fitted(x, ends)
        op = Conv2D(stride, dilation, (pad[0], pad[1], bottom, right), groups)
        return self.add(op, x, weights)

    def spread(
        self, h: str, weights: str, size: Sequence[int], stride: tuple[int, int],
        dilation: tuple[int, int], pad: Sequence[int], groups: int,
    ) -> str:  # fmt: skip
        """The gradient by a convolution's input, of ``size``, from that by its output."""
        op = ConvTranspose(
            (size[0], size[1]), stride, (pad[0], pad[1]), dilation, groups
        )  # fmt: skip
        return self.add(op, h, self.swapped(weights, groups))

    def learnt(
        self, x: str, h: str, taps: Sequence[int], stride: tuple[int, int],
        dilation: tuple[int, int], pad: Sequence[int], groups: int,
    ) -> str:  # fmt: skip
        """The gradient by a convolution's weights: x, its channels as images, correlated with h."""
        batch, height, width, channels = self.shape(x)
        split = self.reshaped(x, batch, height, width, groups, channels // groups)
        images = self.reshaped(
            self.turned(split, 4, 1, 2, 3, 0), channels // groups, height, width, groups * batch
        )
        filters = self.turned(h, 3, 1, 2, 0)
        found = self.correlated(images, filters, taps, dilation, stride, pad, groups)
        return self.turned(found, 3, 1, 2, 0)

    # -- pooling

    def routed(
        self, x: str, y: str, g: str, window: tuple[int, int], stride: tuple[int, int],
        pad: tuple[int, int, int, int],
    ) -> str:  # fmt: skip
        """The gradient by what was pooled to its maximum."""
        return self.add(MaxPoolGradient(window, stride, pad), x, y, g)
