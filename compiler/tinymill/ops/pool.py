"""AveragePool and MaxPool over NHWC maps; global pooling is a window of the whole map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    FixedPoint,
    FloatScale,
    Gradient,
    KernelCall,
    Op,
    Param,
    Quant,
    Reading,
    Rescale,
    Rows,
    Site,
    Sliding,
    Table,
    Tape,
    TensorType,
    Types,
    Window,
    clamp_of,
)
from .arithmetic import fixed_point, float_scale, quantize_clamp, scale_fixed, scale_float
from .conv import out_size, rescale_params
from .exact import Line, Steps, line, places
from .registry import from_onnx, from_tflite

if TYPE_CHECKING:
    from .writing import Writing


@dataclass(frozen=True)
class Pool(Op):
    """Common part of both: a window slides over each channel; padding never enters a window."""

    window: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    clamp: tuple[float, float] | None = None

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if x.rank != 4:
            raise InvalidModel(f"pooling of rank {x.rank}")
        if min(self.stride) < 1:
            raise InvalidModel(f"pooling with stride {self.stride}")
        height = out_size(x.shape[1], self.window[0], self.stride[0], 1, self.pad[0::2])
        width = out_size(x.shape[2], self.window[1], self.stride[1], 1, self.pad[1::2])
        if max(self.pad[0::2]) >= self.window[0] or max(self.pad[1::2]) >= self.window[1]:
            raise InvalidModel(f"padding {self.pad} is not smaller than the window {self.window}")
        return (TensorType((x.shape[0], height, width, x.shape[3]), x.dtype),)

    def windows(self, types: Types) -> tuple[Window | None, ...]:
        return (Window(self.window[0], self.stride[0], 1, self.pad[0]),)

    def column_windows(self, types: Types) -> tuple[Reading | None, ...] | None:
        return (Window(self.window[1], self.stride[1], 1, self.pad[1]),)

    def strip(self, left: int, right: int) -> Op:
        return replace(self, pad=(self.pad[0], left, self.pad[2], right))

    def cut(self, axis: int, size: int, before: int, after: int) -> Op:
        if axis == 2:
            return self.strip(before, after)
        return replace(self, pad=(before, self.pad[1], after, self.pad[3]))

    def macs(self, types: Types) -> int:
        return types.output.count * self.window[0] * self.window[1]

    def _taps(self, x: np.ndarray, types: Types, fill: float) -> Iterator[np.ndarray]:
        """One array of the output's shape for each tap of the window."""
        top, left, bottom, right = self.pad
        _, height, width, _ = types.output.shape
        padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
        for ky in range(self.window[0]):
            for kx in range(self.window[1]):
                yield padded[
                    :,
                    ky : ky + (height - 1) * self.stride[0] + 1 : self.stride[0],
                    kx : kx + (width - 1) * self.stride[1] + 1 : self.stride[1],
                ]

    def _params(self, types: Types) -> dict[str, Param]:
        x, y = types.input(0), types.output
        return {
            "in_w": x.shape[2], "channels": x.shape[3], "out_w": y.shape[2],
            "window_h": self.window[0], "window_w": self.window[1],
            "stride_h": self.stride[0], "stride_w": self.stride[1],
            "pad_top": self.pad[0], "pad_left": self.pad[1],
        }  # fmt: skip

    def _clamp(self, kind: TensorType) -> tuple[float, float]:
        if kind.dtype is DType.FLOAT32:
            return self.clamp or (-np.inf, np.inf)
        low, high = self.clamp or kind.dtype.limits
        return int(low), int(high)


@dataclass(frozen=True)
class MaxPool(Pool):
    """y = clamp(max over the window)."""

    movement = True

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        least = -np.inf if types.output.dtype is DType.FLOAT32 else types.output.dtype.limits[0]
        y = np.max(np.stack(list(self._taps(x, types, least))), axis=0)
        return (np.clip(y, *self._clamp(types.output)).astype(x.dtype),)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        g = write.inside(gs[0], at.node.outputs[0], self.clamp)
        x, y = at.node.inputs[0], at.node.outputs[0]
        return (write.routed(x, y, g, self.window, self.stride, self.pad),)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        return (tape.route(at, g, self.window, Sliding(self.stride, (1, 1), self.pad)),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        low, high = self._clamp(types.output)
        params = self._params(types) | {"lo": low, "hi": high}
        if types.output.dtype not in (DType.INT8, DType.FLOAT32):
            raise UnsupportedOp(f"max pooling of {types.output.dtype.name.lower()}")
        operands = (Rows(inputs[0]), Rows(outputs[0]))
        return KernelCall("maxpool", types.output.dtype.value, params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for op in (
            cls((2, 2), (2, 2)),
            cls((3, 3), (1, 1), (1, 1, 1, 1)),
            cls((3, 2), (2, 1), (1, 0, 1, 1)),
        ):
            for dtype in (DType.FLOAT32, DType.INT8):
                quant = None if dtype is DType.FLOAT32 else Quant((0.1,), (-3,))
                x = TensorType((1, 7, 6, 5), dtype, quant)
                y = replace(op.infer((x,))[0], quant=quant)
                yield Example(op, Types((x,), (y,)))


@dataclass(frozen=True)
class AveragePool(Pool):
    """y = clamp(mean over the window), with the zero point of the input.

    ``count_padding`` divides by the whole window, else by the part inside the map. Integer
    forms: without ``rescale`` input and output are quantised alike and the sum is divided
    with ``rounding`` "away" from zero (TFLite int8) or "half_up" (TFLite uint8); with it
    y = rescale(sum (x - zx)) + zy by the factor for n summed values, the n-th of ``rescale``
    (ONNX: rint(float32(sum) * m[n - 1])).
    """

    count_padding: bool = False
    rounding: str = "away"
    rescale: Rescale | None = None

    def _counts(self, types: Types) -> np.ndarray:
        if self.count_padding:
            return np.full((1, *types.output.shape[1:3], 1), self.window[0] * self.window[1])
        ones = np.ones((1, *types.input(0).shape[1:3], 1))
        return sum(self._taps(ones, types, 0)).astype(np.int64)  # type: ignore[union-attr]

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, kind = inputs[0], types.output
        assert x is not None
        counts = self._counts(types)
        if kind.dtype is DType.FLOAT32:
            total = sum(self._taps(x.astype(np.float64), types, 0.0))
            y = (total / counts).astype(np.float32)
            return (np.clip(y, *self._clamp(kind)).astype(np.float32),)
        zero = self._zero(types)
        total = sum(self._taps(x.astype(np.int64) - zero, types, 0))
        y = self._mean(np.asarray(total), counts, kind)
        return (y.astype(kind.dtype.numpy),)

    def _zero(self, types: Types) -> int:
        """What is taken off each value before it is summed."""
        return 0 if self.rescale is None else types.input(0).zero_point

    def _mean(self, total: np.ndarray, counts: np.ndarray, kind: TensorType) -> np.ndarray:
        """Clamped integer outputs from sums of ``counts`` values."""
        half = counts // 2
        if self.rescale is not None:
            y = _rescale_by_count(total, counts, self.rescale) + kind.zero_point
        elif self.rounding == "away":
            y = np.where(total > 0, (total + half) // counts, -((half - total) // counts))
        else:
            y = (total + half) // counts
        return np.clip(y, *self._clamp(kind))

    def quantized(self, types: Types) -> Op | None:
        """M = float32(float64(s_x) / (n * s_y)) for each number n of summed values."""
        x, y = types.input(0), types.output
        if x.dtype is not DType.INT8 or y.dtype is not DType.INT8:
            return None
        if x.quant is None or y.quant is None or not (x.quant.per_tensor and y.quant.per_tensor):
            return None
        most = self.window[0] * self.window[1]
        m = [np.float64(x.scale) / (n * np.float64(y.scale)) for n in range(1, most + 1)]
        return replace(self, clamp=quantize_clamp(self.clamp, y), rescale=float_scale(m))

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        g = write.inside(gs[0], at.node.outputs[0], self.clamp)
        x = at.types.input(0)
        channels = x.shape[3]
        g = write.times(g, write.constant(1 / self._counts(at.types)))
        ones = write.constant(np.ones((channels, *self.window, 1)))
        sides = (self.stride, (1, 1), self.pad[:2], channels)
        return (write.spread(g, ones, x.shape[1:3], *sides),)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        x, y = at.types.input(0), at.types.output
        counts = np.arange(1, self.window[0] * self.window[1] + 1)
        if self.clamp is not None or x.quant != y.quant:
            # the mean of integers reaches their limits only where they do
            g = tape.gate(at, g, np.ones(1), clamp_of(self.clamp, (-128, 127)))
        factors = x.scale / (y.scale * counts)
        form = Sliding(self.stride, (1, 1), self.pad)
        return (tape.spread(at, g, self.window, form, factors, self.count_padding),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        low, high = self._clamp(types.output)
        params = self._params(types) | {"lo": low, "hi": high}
        params["count_padding"] = int(self.count_padding)
        dtype = types.output.dtype
        operands = (Rows(inputs[0]), Rows(outputs[0]))
        if dtype is DType.FLOAT32:
            return KernelCall("avgpool", "f32", params, operands)
        if dtype is not DType.INT8:
            raise UnsupportedOp(f"average pooling of {dtype.name.lower()}")
        zero = self._zero(types)
        counts = tuple(int(n) for n in np.unique(self._counts(types)))
        lines = lines_of(self, counts, zero, types.output)
        if lines is not None:
            multipliers, offsets = np.zeros((2, counts[-1] + 1 - counts[0]), np.int32)
            for n, found in lines.items():
                multipliers[n - counts[0]], offsets[n - counts[0]] = found.multiplier, found.offset
            params |= {
                "in_zero": zero, "least": counts[0],
                "up": lines[counts[0]].up, "down": lines[counts[0]].down,
                "multiplier": Table("multiplier", multipliers), "offset": Table("offset", offsets),
            }  # fmt: skip
            return KernelCall("avgpool_line", "s8", params, operands)
        if self.rescale is None:
            params["half_up"] = int(self.rounding == "half_up")
            return KernelCall("avgpool", "s8", params, operands)
        params |= {
            "in_zero": types.input(0).zero_point, "out_zero": types.output.zero_point,
            **rescale_params(self.rescale, self.window[0] * self.window[1]),
        }  # fmt: skip
        return KernelCall("avgpool_scaled", "s8", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        ops = (
            cls((2, 2), (2, 2)),
            cls((3, 3), (2, 2), (1, 1, 1, 1)),
            cls((3, 3), (2, 2), (1, 1, 1, 1), count_padding=True),
            cls((7, 6), clamp=(-50, 40)),
            cls((7, 6), rounding="half_up"),
            cls((3, 2), (1, 1), (1, 0, 1, 1), rescale=float_scale([0.9 / n for n in range(1, 7)])),
            cls((3, 2), (1, 1), (1, 0, 1, 1), rescale=fixed_point([0.9 / n for n in range(1, 7)])),
        )
        for op in ops:
            for dtype in (DType.FLOAT32, DType.INT8):
                if dtype is DType.FLOAT32 and op.rescale is not None:
                    continue
                quant = None if dtype is DType.FLOAT32 else Quant((0.1,), (-3,))
                x = TensorType((1, 7, 6, 5), dtype, quant)
                y = replace(op.infer((x,))[0], quant=quant)
                yield Example(op, Types((x,), (y,)))


@lru_cache(maxsize=1024)
def lines_of(
    op: AveragePool, counts: tuple[int, ...], zero: int, kind: TensorType
) -> dict[int, Line] | None:
    """Lines that give the output from the sum of n values less ``zero``, for each n of ``counts``.

    All have the same ``up`` and ``down``. None if one of them is not found.
    """
    factors = {n: _factor(op.rescale, n) for n in counts}
    if not all(factors.values()):
        return None
    domains = {n: (n * (-128 - zero), n * (127 - zero)) for n in counts}
    reach = {n: max(abs(end) for end in domain) for n, domain in domains.items()}
    largest = max(reach[n] * factors[n] for n in counts)
    up, down = places(max(reach.values()), max(factors.values()), largest)
    lines = {}
    for n in counts:
        if isinstance(op.rescale, FixedPoint) and reach[n] << max(0, op.rescale.shift[n - 1]) >> 31:
            return None
        low, high = op._clamp(kind)
        definition = partial(_mean_of, op, n, kind)
        steps = Steps.of(definition, domains[n], (int(low), int(high)))
        found = line(steps, factors[n], up, down)
        if found is None:
            return None
        lines[n] = found
    return lines


def _mean_of(op: AveragePool, n: int, kind: TensorType, total: np.ndarray) -> np.ndarray:
    return op._mean(total, np.full_like(total, n), kind)


def _factor(how: Rescale | None, n: int) -> float:
    if how is None:
        return 1 / n
    if isinstance(how, FloatScale):
        return how.m[n - 1]
    return how.multiplier[n - 1] * 2.0 ** (how.shift[n - 1] - 31)


def _rescale_by_count(total: np.ndarray, counts: np.ndarray, how: Rescale) -> np.ndarray:
    if isinstance(how, FloatScale):
        return scale_float(total, np.array(how.m, np.float32)[counts - 1])
    multiplier, shift = np.array(how.multiplier), np.array(how.shift)
    return scale_fixed(total, multiplier[counts - 1], shift[counts - 1])


@from_onnx("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
def _from_onnx(node: Any) -> None:
    x = node.type(0)
    spatial = x.rank - 2
    if spatial not in (1, 2):
        raise node.unsupported(f"pooling over {spatial} spatial axes")
    if node.kind.startswith("Global"):
        window, stride, pad = x.shape[2:], (1,) * spatial, (0, 0, 0, 0)
    else:
        window = node.spatial("kernel_shape", spatial, None)
        stride = node.spatial("strides", spatial, 1)
        dilation = node.spatial("dilations", spatial, 1)
        if any(d != 1 for d in dilation):
            raise node.unsupported("dilated pooling")
        pad = node.padding(x.shape[2:], window, stride, dilation)
    if spatial == 1:
        window, stride = (1, *window), (1, *stride)
        pad = (0, pad[0], 0, pad[1]) if not node.kind.startswith("Global") else pad
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.unsupported("the indices output")
    if node.kind in ("MaxPool", "GlobalMaxPool"):
        op: Op = MaxPool(window, stride, pad)
    else:
        op = AveragePool(
            window,
            stride,
            pad,
            # what ceil_mode adds to the padding is not counted
            count_padding=bool(node.attribute("count_include_pad", 0))
            and not node.attribute("ceil_mode", 0),
        )
    node.add_nhwc(op, [node.nhwc(0)])


@from_tflite("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _from_tflite(node: Any) -> None:
    x, y = node.type(0), node.output_type(0)
    options = node.options("Pool2DOptions")
    window = (options.FilterHeight(), options.FilterWidth())
    stride = (options.StrideH(), options.StrideW())
    pad = node.padding(options.Padding(), x.shape[1:3], window, stride)
    clamp = node.activation(options.FusedActivationFunction(), y)
    if node.kind == "MAX_POOL_2D":
        op: Op = MaxPool(window, stride, pad, clamp)
    else:
        rounding = "half_up" if node.was_uint8(0) else "away"
        op = AveragePool(window, stride, pad, clamp, rounding=rounding)
    node.add(op, node.inputs[:1])
