"""Gradients that are added, and that pooling hands back to the places it read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    POINT,
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Param,
    Reading,
    Rows,
    RowTable,
    Table,
    TensorType,
    Types,
    Window,
)
from .conv import out_size
from .mantissas import REACH, check_gradient, check_rounding, fits_int32, round_shift

MOST_FACTOR = 1 << 14


@dataclass(frozen=True)
class GradientAdd(Op):
    """round_shift(a * factors[0] + b * factors[1], shift) limited to +-limit, int16 of one shape.

    The factors bring both to one exponent; each is at most 2**14, so the sum fits an int32.
    """

    factors: tuple[int, int]
    shift: int
    limit: int = REACH

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        a, b = check_gradient(inputs[0]), check_gradient(inputs[1])
        check_rounding(self.shift, self.limit)
        if a.shape != b.shape or not all(0 <= n <= MOST_FACTOR for n in self.factors):
            raise InvalidModel(f"the sum of {a} and {b} by factors {self.factors}")
        return (TensorType(a.shape, DType.INT16),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return (POINT, POINT)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        a, b = inputs[0], inputs[1]
        assert a is not None and b is not None
        total = a.astype(np.int64) * self.factors[0] + b.astype(np.int64) * self.factors[1]
        return (round_shift(total, self.shift, self.limit),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        params: dict[str, Param] = {
            "count": types.output.count, "first_factor": self.factors[0],
            "second_factor": self.factors[1], "shift": self.shift, "limit": self.limit,
        }  # fmt: skip
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(outputs[0]))
        return KernelCall("gradient_add", "s16", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for shape in ((1, 5, 3, 7), (2, 9)):
            kind = TensorType(shape, DType.INT16)
            for op in (
                cls((MOST_FACTOR, MOST_FACTOR), 14),
                cls((1, 1), 0, 20000),
                cls((9000, 123), 13, 3000),
            ):
                yield Example(op, Types((kind, kind), op.infer((kind, kind))))


def pooled_size(
    height: int, width: int, window: Sequence[int], stride: Sequence[int], pad: Sequence[int]
) -> tuple[int, int]:
    """Rows and columns of a pooling's output."""
    return (
        out_size(height, window[0], stride[0], 1, pad[0::2]),
        out_size(width, window[1], stride[1], 1, pad[1::2]),
    )


def _row_table(
    window: int, stride: int, pad: int, outputs: int, inputs: int
) -> RowTable:  # fmt: skip
    """For each input row of a window the output rows that read it."""
    ends = [y + pad for y in range(inputs)]
    first = tuple(min(max(-(-(end - window + 1) // stride), 0), outputs) for end in ends)
    last = tuple(min(end // stride + 1, outputs) for end in ends)
    return RowTable(first, last)


def _overlap(window: Sequence[int], stride: Sequence[int], places: Sequence[int]) -> int:
    """The most windows that share a place; there are ``places`` of them down and across."""
    return prod(min(-(-w // s), n) for w, s, n in zip(window, stride, places, strict=True))


@dataclass(frozen=True)
class GradientSpread(Op):
    """The gradient of average pooling: each place gets, from all windows that hold it,
    round_shift(sum of g * multiplier[n - 1], shift) limited to +-limit.

    n is the number of values that the window summed inside the map (all of them with
    ``count_padding``). g is int16 [N, OH, OW, C], |g| <= reach, the output [N, height, width, C].
    """

    height: int
    width: int
    window: tuple[int, int]
    multiplier: tuple[int, ...]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    count_padding: bool = False
    shift: int = 0
    limit: int = REACH
    reach: int = REACH

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        g = check_gradient(inputs[0])
        check_rounding(self.shift, self.limit)
        size = pooled_size(self.height, self.width, self.window, self.stride, self.pad)
        if g.rank != 4 or g.shape[1:3] != size:
            raise InvalidModel(f"{g} is no pooling of {self.height}x{self.width}")
        most = self.window[0] * self.window[1]
        if len(self.multiplier) != most or not all(0 <= n <= REACH for n in self.multiplier):
            raise InvalidModel(f"{len(self.multiplier)} factors of windows of {most}")
        return (TensorType((g.shape[0], self.height, self.width, g.shape[3]), DType.INT16),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        g = types.input(0)
        if g.shape[0] != 1:
            return (None,)
        return (_row_table(self.window[0], self.stride[0], self.pad[0], g.shape[1], self.height),)

    def _inside(self, size: int, axis: int, outputs: int) -> np.ndarray:
        """Values inside the map along one axis, for each window."""
        first = np.arange(outputs) * self.stride[axis] - self.pad[axis]
        return np.minimum(first + self.window[axis], size) - np.maximum(first, 0)

    def spread(self, g: np.ndarray, factors: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """The gradient by a map of ``shape``, with a factor for each number of values."""
        high, wide = g.shape[1:3]
        counts = np.outer(self._inside(shape[1], 0, high), self._inside(shape[2], 1, wide))
        if self.count_padding:
            counts = np.full_like(counts, self.window[0] * self.window[1])
        scaled = g * factors[counts - 1][None, :, :, None]
        acc = _room(shape, self.pad, scaled.dtype)
        for ky in range(self.window[0]):
            for kx in range(self.window[1]):
                acc[_places(self, high, wide, ky, kx)] += scaled
        return _cropped(acc, shape, self.pad)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        g = inputs[0]
        assert g is not None
        factors = np.array(self.multiplier, np.int64)
        acc = self.spread(g.astype(np.int64), factors, types.output.shape)
        return (round_shift(acc, self.shift, self.limit),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        places = pooled_size(self.height, self.width, self.window, self.stride, self.pad)
        overlap = _overlap(self.window, self.stride, places)
        fits_int32(overlap, max(self.multiplier), self.reach)
        params = _pool_params(self, types.output, types.input(0)) | {
            "count_padding": int(self.count_padding),
            "multiplier": Table("multiplier", np.array(self.multiplier, np.int16)),
        }  # fmt: skip
        operands = (Rows(inputs[0]), Rows(outputs[0]))
        return KernelCall("gradient_spread", "s16", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for height, width, window, stride, pad, count_padding in (
            (4, 4, (4, 4), (1, 1), (0, 0, 0, 0), False),
            (7, 6, (2, 2), (2, 2), (0, 0, 0, 0), False),
            (7, 6, (3, 3), (2, 2), (1, 1, 1, 1), False),
            (7, 6, (3, 3), (2, 2), (1, 1, 1, 1), True),
            (6, 5, (3, 2), (1, 1), (1, 0, 1, 1), False),
        ):
            most = window[0] * window[1]
            places = pooled_size(height, width, window, stride, pad)
            share = REACH // _overlap(window, stride, places)
            multiplier = tuple(share // n for n in range(1, most + 1))
            size = pooled_size(height, width, window, stride, pad)
            g = TensorType((1, *size, 5), DType.INT16)
            for shift, limit in ((12, REACH), (15, 700)):
                op = cls(
                    height, width, window, multiplier, stride, pad, count_padding, shift, limit
                )
                yield Example(op, Types((g,), op.infer((g,))))


@dataclass(frozen=True)
class MaxPoolGradient(Op):
    """The gradient of max pooling: that of each window goes to its first value, by rows, that
    equals its output; to none where a clamp left none. Sums are limited to +-limit.

    Inputs: x int8 [N, height, width, C], y int8 and g int16 [N, OH, OW, C]; or all float32.
    """

    window: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    limit: int = REACH

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, y, g = inputs[0], inputs[1], inputs[2]
        assert x is not None and y is not None and g is not None
        check_rounding(0, self.limit)
        dtypes = (x.dtype, y.dtype, g.dtype)
        real = dtypes == (DType.FLOAT32,) * 3
        if x.rank != 4 or not (real or dtypes == (DType.INT8, DType.INT8, DType.INT16)):
            raise InvalidModel(f"the gradient of max pooling {x} to {y}")
        size = pooled_size(x.shape[1], x.shape[2], self.window, self.stride, self.pad)
        if y.shape != (x.shape[0], *size, x.shape[3]) or g.shape != y.shape:
            raise InvalidModel(f"{y} with gradient {g} is no pooling of {x}")
        return (TensorType(x.shape, g.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        x, y = types.input(0), types.input(1)
        if x.shape[0] != 1:
            return (None, None, None)
        table = _row_table(self.window[0], self.stride[0], self.pad[0], y.shape[1], x.shape[1])
        # a row needs all rows of the windows that hold it
        whole = Window(self.window[0], self.stride[0], 1, self.pad[0])
        first, last = whole.spans(y.shape[1], x.shape[1])
        begins, ends = [], []
        for row, (a, b) in enumerate(zip(table.first, table.last, strict=True)):
            begins.append(int(first[a]) if a < b else row)
            ends.append(int(last[b - 1]) if a < b else row)
        return (RowTable(tuple(begins), tuple(ends)), table, table)

    def routed(self, x: np.ndarray, y: np.ndarray, g: np.ndarray) -> np.ndarray:
        """The sums, in the type of g; padding is no value's equal."""
        high, wide = y.shape[1:3]
        top, left, bottom, right = self.pad
        around = ((0, 0), (top, bottom), (left, right), (0, 0))
        padded = np.pad(x.astype(np.float64), around, constant_values=np.inf)
        acc = _room(x.shape, self.pad, g.dtype)
        free = np.ones(y.shape, bool)
        for ky in range(self.window[0]):
            for kx in range(self.window[1]):
                places = _places(self, high, wide, ky, kx)
                taken = free & (padded[places] == y)
                acc[places] += np.where(taken, g, 0)
                free &= ~taken
        return _cropped(acc, x.shape, self.pad)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, y, g = inputs[0], inputs[1], inputs[2]
        assert x is not None and y is not None and g is not None
        if g.dtype == np.float32:
            return (self.routed(x, y, g.astype(np.float64)).astype(np.float32),)
        return (round_shift(self.routed(x, y, g.astype(np.int64)), 0, self.limit),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        if types.output.dtype is DType.FLOAT32:
            raise UnsupportedOp("the gradient of float max pooling on a device")
        params = _pool_params(self, types.output, types.input(1))
        operands = (Rows(inputs[0]), Rows(inputs[1]), Rows(inputs[2]), Rows(outputs[0]))
        return KernelCall("maxpool_gradient", "s16", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for window, stride, pad in (
            ((2, 2), (2, 2), (0, 0, 0, 0)),
            ((3, 3), (2, 2), (1, 1, 1, 1)),
            ((3, 2), (1, 1), (1, 0, 1, 1)),
            ((7, 6), (1, 1), (0, 0, 0, 0)),
        ):
            x = TensorType((1, 7, 6, 5), DType.INT8)
            y = TensorType((1, *pooled_size(7, 6, window, stride, pad), 5), DType.INT8)
            g = TensorType(y.shape, DType.INT16)
            for limit in (REACH, 9000):
                op = cls(window, stride, pad, limit)
                yield Example(op, Types((x, y, g), op.infer((x, y, g))))


Pooled = GradientSpread | MaxPoolGradient


def _pool_params(op: Pooled, x: TensorType, y: TensorType) -> dict[str, Param]:
    if not (x.rank == y.rank == 4):
        raise UnsupportedOp(f"the gradient of pooling {x}")
    return {
        "in_h": x.shape[1], "in_w": x.shape[2], "channels": x.shape[3],
        "out_h": y.shape[1], "out_w": y.shape[2],
        "window_h": op.window[0], "window_w": op.window[1],
        "stride_h": op.stride[0], "stride_w": op.stride[1],
        "pad_top": op.pad[0], "pad_left": op.pad[1],
        "shift": op.shift if isinstance(op, GradientSpread) else 0, "limit": op.limit,
    }  # fmt: skip


def _room(shape: Sequence[int], pad: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Zeros for a map with its padding."""
    top, left, bottom, right = pad
    return np.zeros((shape[0], shape[1] + top + bottom, shape[2] + left + right, shape[3]), dtype)


def _cropped(acc: np.ndarray, shape: Sequence[int], pad: Sequence[int]) -> np.ndarray:
    return acc[:, pad[0] : pad[0] + shape[1], pad[1] : pad[1] + shape[2]]


def _places(op: Pooled, high: int, wide: int, ky: int, kx: int) -> tuple[slice, ...]:
    """Where tap (ky, kx) of all windows lies in the padded map."""
    return (
        slice(None),
        slice(ky, ky + (high - 1) * op.stride[0] + 1, op.stride[0]),
        slice(kx, kx + (wide - 1) * op.stride[1] + 1, op.stride[1]),
    )
