"""Conv2D: standard, grouped and depthwise convolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    FixedPoint,
    Flat,
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
from .arithmetic import fixed_point, float_scale, quantize_clamp, rescale
from .registry import from_onnx, from_tflite

if TYPE_CHECKING:
    from .writing import Writing

MAX_WINDOW = 1 << 20


@dataclass(frozen=True)
class Conv2D(Op):
    """Convolution of an NHWC map with weights OHWI, I = C / groups; bias optional.

    Inputs: x [N, H, W, C], weights [O, KH, KW, C / groups], bias [O] (int32 or float32).
    Output: [N, OH, OW, O] with OH = (H + top + bottom - (KH - 1) * dilation - 1) / stride + 1.
    Integer form: acc = bias + sum (x - zx) * (w - zw); y = clamp(rescale(acc) + zy).
    ``pad`` is (top, left, bottom, right); ``clamp`` is in output integers, or in reals for
    float. With ``folded`` the bias has the input's zero point folded in, acc = bias + sum x *
    (w - zw), x outside the map being zx, and one beyond +-``BIAS_LIMIT`` counts as that; then
    weights and bias may be variables.
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    clamp: tuple[float, float] | None = None
    rescale: Rescale | None = None
    folded: bool = False
    bias_at = 2

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, weights = inputs[0], inputs[1]
        assert x is not None and weights is not None
        if x.rank != 4 or weights.rank != 4:
            raise InvalidModel(f"convolution of rank {x.rank} with weights of rank {weights.rank}")
        outs, kh, kw, group_in = weights.shape
        if self.groups < 1 or group_in * self.groups != x.shape[3] or outs % self.groups:
            raise InvalidModel(
                f"weights {weights.shape} in {self.groups} groups do not fit input {x.shape}"
            )
        bias = inputs[2] if len(inputs) > 2 else None
        if bias is not None and bias.count != outs:
            raise InvalidModel(f"{bias.count} bias values for {outs} output channels")
        check_folded(self.folded, self.rescale, weights, bias)
        check_alike(x, weights, bias)
        if min(self.stride) < 1 or min(self.dilation) < 1:
            raise InvalidModel(f"stride {self.stride}, dilation {self.dilation}")
        height = out_size(x.shape[1], kh, self.stride[0], self.dilation[0], self.pad[0::2])
        width = out_size(x.shape[2], kw, self.stride[1], self.dilation[1], self.pad[1::2])
        return (TensorType((x.shape[0], height, width, outs), x.dtype),)

    def macs(self, types: Types) -> int:
        return types.output.count * prod(types.input(1).shape[1:])

    def windows(self, types: Types) -> tuple[Window | None, ...]:
        window = Window(types.input(1).shape[1], self.stride[0], self.dilation[0], self.pad[0])
        return (None if self._dense(types) else window, *([None] * (len(types.inputs) - 1)))

    def column_windows(self, types: Types) -> tuple[Reading | None, ...] | None:
        window = Window(types.input(1).shape[2], self.stride[1], self.dilation[1], self.pad[1])
        return (window, *([None] * (len(types.inputs) - 1)))

    def strip(self, left: int, right: int) -> Op:
        return replace(self, pad=(self.pad[0], left, self.pad[2], right))

    def cut(self, axis: int, size: int, before: int, after: int) -> Op:
        if axis == 2:
            return self.strip(before, after)
        return replace(self, pad=(before, self.pad[1], after, self.pad[3]))

    def _dense(self, types: Types) -> bool:
        """Whether each output sees the whole map: a fully connected layer, with fast kernels."""
        x, y, weights = types.input(0), types.output, types.input(1)
        whole = y.shape[1:3] == (1, 1) and weights.shape[1:3] == x.shape[1:3] and self.groups == 1
        return whole and self.rescale is not None and not any(self.pad)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, weights = inputs[0], inputs[1]
        assert x is not None and weights is not None
        bias = inputs[2] if len(inputs) > 2 else None
        kind = types.output
        if self.rescale is None:
            y = self._correlate(x.astype(np.float64), weights.astype(np.float64), kind.shape)
            y = (y if bias is None else y + bias).astype(np.float32)
            return (y if self.clamp is None else np.clip(y, *self.clamp).astype(np.float32),)
        zero = types.input(0).zero_point
        _, weights_zero = zero_of(types.input(1)).along(4)
        # float64 holds every integer sum of int8 products exactly
        values, weights = x.astype(np.float64), weights.astype(np.float64) - weights_zero
        if self.folded:
            assert bias is not None
            acc = self._correlate(values, weights, kind.shape, zero).astype(np.int64)
            acc += limited(bias, types.input(1), self.rescale)
        else:
            acc = self._correlate(values - zero, weights, kind.shape).astype(np.int64)
            acc = acc if bias is None else acc + bias.astype(np.int64)
        low, high = self.clamp or kind.dtype.limits
        y = np.clip(rescale(acc, self.rescale) + kind.zero_point, low, high)
        return (y.astype(kind.dtype.numpy),)

    def _correlate(
        self, x: np.ndarray, weights: np.ndarray, shape: tuple[int, ...], outside: float = 0
    ) -> np.ndarray:
        top, left, bottom, right = self.pad
        batch, height, width, _ = shape
        _, kh, kw, group_in = weights.shape
        around = ((0, 0), (top, bottom), (left, right), (0, 0))
        x = np.pad(x, around, constant_values=outside)
        acc = np.zeros(shape)
        for ky in range(kh):
            for kx in range(kw):
                y0, x0 = ky * self.dilation[0], kx * self.dilation[1]
                tap = x[
                    :,
                    y0 : y0 + (height - 1) * self.stride[0] + 1 : self.stride[0],
                    x0 : x0 + (width - 1) * self.stride[1] + 1 : self.stride[1],
                ]
                if self.groups == 1:
                    acc += tap @ weights[:, ky, kx].T
                else:
                    tap = tap.reshape(batch, height, width, self.groups, group_in)
                    taps = weights[:, ky, kx].reshape(self.groups, -1, group_in)
                    acc += np.einsum("nhwgi,goi->nhwgo", tap, taps).reshape(shape)
        return acc

    def quantized(self, types: Types) -> Op | None:
        """M = float32(float64(s_x) * s_w / s_y), one for each output channel."""
        x, weights = types.input(0), types.input(1)
        if not is_int8_conv(x, weights, types.output, 0):
            return None
        assert weights.quant is not None
        scales = np.array(weights.quant.scale, np.float64)
        m = np.float64(x.scale) * np.broadcast_to(scales, weights.shape[0])
        return replace(
            self,
            clamp=quantize_clamp(self.clamp, types.output),
            rescale=float_scale(m / np.float64(types.output.scale)),
        )

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        x, weights = at.node.inputs[:2]
        h = write.inside(gs[0], at.node.outputs[0], self.clamp)
        sides = (self.stride, self.dilation, self.pad[:2], self.groups)
        found: list[str | None] = [None] * len(at.wanted)
        if at.wanted[0]:
            found[0] = write.spread(h, weights, at.types.input(0).shape[1:3], *sides)
        if at.wanted[1]:
            found[1] = write.learnt(x, h, at.types.input(1).shape[1:3], *sides)
        if len(found) > 2 and at.wanted[2]:
            found[2] = write.total(h, (0, 1, 2), keepdims=False)
        return tuple(found)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        form = Sliding(self.stride, self.dilation, self.pad, self.groups)
        h = tape.gate(at, g, accumulator_scale(at), clamp_of(self.clamp, (-128, 127)))
        return (tape.convolution(at, h, form), *([None] * (len(at.wanted) - 1)))

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, weights, y = types.input(0), types.input(1), types.output
        outs, kh, kw, group_in = weights.shape
        params: dict[str, Param] = {
            "in_w": x.shape[2], "in_c": x.shape[3], "out_w": y.shape[2], "out_c": outs,
            "kernel_h": kh, "kernel_w": kw, "stride_h": self.stride[0],
            "stride_w": self.stride[1], "dilation_h": self.dilation[0],
            "dilation_w": self.dilation[1], "pad_top": self.pad[0], "pad_left": self.pad[1],
            "group_in": group_in, "group_out": outs // self.groups,
        }  # fmt: skip
        # a patch is `runs` runs of `run` values that lie side by side in the input
        side = kw if self.dilation[1] == 1 and self.groups == 1 else 1
        facts = {
            "groups": self.groups, "in_h": x.shape[1], "out_h": y.shape[1],
            "runs": kh * kw // side, "run": side * group_in,
        }  # fmt: skip
        padded = any(self.pad)
        if self.rescale is None:
            low, high = self.clamp or (-np.inf, np.inf)
            params |= {"lo": float(low), "hi": float(high)}
            operands = (
                Rows(inputs[0], 0.0 if padded else None),
                weights_operand(inputs, constants, "OHWI"),
                float_bias(inputs, constants, outs), Rows(outputs[0]),
            )  # fmt: skip
            return KernelCall("conv2d", "f32", params, operands, facts)
        zeros = zero_of(weights)
        low, high = self.clamp or y.dtype.limits
        axes = "OHWI"
        if self._dense(types):
            params = {"rows": x.shape[0], "depth": kh * kw * group_in, "outs": outs}
            axes, facts = "OI", {}
        params |= rescale_params(self.rescale, outs)
        params |= {"out_zero": y.zero_point, "lo": int(low), "hi": int(high)}
        facts["weights_zero"] = int(any(zeros.zero_point))
        if facts["weights_zero"]:
            params["weights_zero"] = Table(
                "weights_zero", np.broadcast_to(np.array(zeros.zero_point, np.int8), outs)
            )
        numbers = weights_operand(inputs, constants, axes)
        bias, limits = int8_bias(inputs, constants, types, self.rescale, folded=self.folded)
        params |= limits
        if axes == "OI":
            flat = (Flat(inputs[0]), numbers, bias, Flat(outputs[0]))
            return KernelCall("dense", "s8", params, flat, facts)
        operands = (
            Rows(inputs[0], x.zero_point if padded else None), numbers, bias, Rows(outputs[0])
        )  # fmt: skip
        return KernelCall("conv2d", "s8", params, operands, facts)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        cases = [
            # shape, outs, kernel, stride, dilation, pad, groups
            ((1, 5, 6, 3), 4, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
            ((1, 8, 7, 4), 6, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
            ((1, 9, 9, 8), 8, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1), 8),
            ((1, 9, 8, 4), 8, (5, 3), (1, 2), (1, 1), (2, 1, 2, 1), 4),
            ((2, 7, 7, 6), 9, (3, 3), (1, 1), (2, 2), (2, 2, 2, 2), 3),
            ((1, 12, 1, 5), 7, (4, 1), (3, 1), (1, 1), (0, 0, 2, 0), 1),
            ((2, 3, 2, 7), 5, (3, 2), (1, 1), (1, 1), (0, 0, 0, 0), 1),
        ]
        rng = np.random.default_rng(1)
        for shape, outs, kernel, stride, dilation, pad, groups in cases:
            weights_shape = (outs, *kernel, shape[3] // groups)
            op = cls(stride, dilation, pad, groups)
            x = TensorType(shape, DType.FLOAT32)
            kind = TensorType(weights_shape, DType.FLOAT32)
            bias = TensorType((outs,), DType.FLOAT32)
            constants = {
                1: rng.standard_normal(weights_shape).astype(np.float32),
                2: rng.standard_normal(outs).astype(np.float32),
            }
            yield Example(
                cls(stride, dilation, pad, groups, (-1.5, 2.5)),
                Types((x, kind, bias), op.infer((x, kind, bias))),
                constants,
            )
            for how in ("fixed", "float", "weights_zero"):
                reals = rng.uniform(0.001, 0.02, outs)
                zero = (3,) if how == "weights_zero" else (0,) * outs
                quant = Quant((0.01,) * len(zero), zero, None if len(zero) == 1 else 0)
                qx = TensorType(shape, DType.INT8, Quant((0.05,), (-7,)))
                qw = TensorType(weights_shape, DType.INT8, quant)
                qb = TensorType((outs,), DType.INT32)
                scaled = cls(
                    stride, dilation, pad, groups, (-100, 120),
                    float_scale(reals) if how == "float" else fixed_point(reals),
                )  # fmt: skip
                qy = TensorType(op.infer((x, kind))[0].shape, DType.INT8, Quant((0.1,), (5,)))
                yield Example(
                    scaled,
                    Types((qx, qw, qb), (qy,)),
                    {
                        1: rng.integers(-127, 128, weights_shape).astype(np.int8),
                        2: rng.integers(-2000, 2000, outs).astype(np.int32),
                    },
                )


def out_size(size: int, kernel: int, stride: int, dilation: int, pad: Sequence[int]) -> int:
    """Rows (or columns) of the output of a sliding window."""
    before, after = pad
    if not all(0 < n < MAX_WINDOW for n in (kernel, stride, dilation, before + 1, after + 1)):
        raise InvalidModel(
            f"window of {kernel}, stride {stride}, dilation {dilation}, padding {before}, {after}"
        )
    span = (kernel - 1) * dilation + 1
    if size + before + after < span:
        raise InvalidModel(f"window of {span} on {size} rows or columns, padding {before}+{after}")
    return (size + before + after - span) // stride + 1


def same_pad(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's SAME padding (ONNX SAME_UPPER): output size ceil(size / stride)."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def check_alike(x: TensorType, weights: TensorType, bias: TensorType | None) -> None:
    """Raises ``InvalidModel`` where floats and integers are mixed."""
    kinds = [kind for kind in (x, weights, bias) if kind is not None]
    if len({kind.dtype.is_integer for kind in kinds}) > 1:
        raise InvalidModel(f"types {', '.join(map(str, kinds))}")


def zero_of(weights: TensorType) -> Quant:
    """The quantisation of weights; legacy files may leave it out, then the zero point is 0."""
    return weights.quant or Quant((1.0,), (0,))


def is_int8_conv(x: TensorType, weights: TensorType, y: TensorType, axis: int) -> bool:
    """Whether these quantised types fit the int8 kernels (weights per tensor or per output)."""
    quants = (x.quant, weights.quant, y.quant)
    return (
        all(kind.dtype is DType.INT8 for kind in (x, weights, y))
        and all(quant is not None for quant in quants)
        and x.quant is not None
        and x.quant.per_tensor
        and y.quant is not None
        and y.quant.per_tensor
        and weights.quant is not None
        and (weights.quant.per_tensor or weights.quant.axis == axis)
    )


def accumulator_scale(at: Site) -> np.ndarray:
    """What an output integer changes by with the accumulator: s_x * s_w / s_y for each channel.

    Raises ``UnsupportedOp`` for a convolution that is not int8, or whose weights have a zero point
    where the gradient by its input is wanted.
    """
    x, weights, y = at.types.input(0), at.types.input(1), at.types.output
    if not is_int8_conv(x, weights, y, 0):
        raise UnsupportedOp(f"the gradient of a convolution of {x}", at=at.node.name)
    assert weights.quant is not None
    if at.wanted[0] and any(weights.quant.zero_point):
        raise UnsupportedOp("the gradient through weights with a zero point", at=at.node.name)
    scales = np.array(weights.quant.scale, np.float64)
    return np.asarray(x.scale * np.broadcast_to(scales, weights.shape[0]) / y.scale)


def fold_offset(
    weights: np.ndarray, quant: Quant, zero: int, bias: np.ndarray | None
) -> np.ndarray:
    """bias - zx * sum(w - zw) for each output channel (axis 0), so kernels sum raw x."""
    _, zeros = quant.along(weights.ndim)
    sums = (weights.astype(np.int64) - zeros).reshape(weights.shape[0], -1).sum(axis=1)
    base = 0 if bias is None else bias.astype(np.int64).ravel()
    return (base - zero * sums).astype(np.int32)


BIAS_LIMIT = 1 << 30
"""The most that a folded bias counts for, so that no sum leaves 32 bits."""
MOST_FOLDED_TAPS = BIAS_LIMIT // (128 * 256) - 1
SPREAD = 512
"""Outputs that an accumulator moves past: more than the integers of the output."""


def bias_limits(weights: TensorType, how: Rescale) -> np.ndarray:
    """[O] int64: a folded bias counts for that much at most.

    Beyond it every sum is clamped at the same end of the output: it is what a window can sum to,
    with any weights, and ``SPREAD`` steps of the output. Channels of so small a factor that this
    is beyond ``BIAS_LIMIT`` have that.
    """
    outs = weights.shape[0]
    if isinstance(how, FixedPoint):
        shift = np.broadcast_to(np.array(how.shift, np.int64), outs)
        fraction = np.broadcast_to(np.array(how.multiplier, np.float64), outs)
        factor = np.ldexp(fraction, shift - 31)
    else:
        factor = np.broadcast_to(np.array(how.m, np.float64), outs)
    with np.errstate(divide="ignore", over="ignore"):
        steps = np.minimum(np.ceil(SPREAD / factor), BIAS_LIMIT)
    return np.minimum(most_sum(weights) + steps.astype(np.int64), BIAS_LIMIT)


def most_sum(weights: TensorType) -> int:
    """The most, and the least negated, that sum x * (w - zw) can be with any weights."""
    zeros = zero_of(weights).zero_point
    return prod(weights.shape[1:]) * 128 * max(128 + max(zeros), 127 - min(zeros))


def limited(bias: np.ndarray, weights: TensorType, how: Rescale) -> np.ndarray:
    """A folded bias as int64 within ``bias_limits``."""
    limits = bias_limits(weights, how)
    return np.clip(bias.astype(np.int64).ravel(), -limits, limits)


def check_folded(
    folded: bool, how: Rescale | None, weights: TensorType, bias: TensorType | None
) -> None:
    """Raises ``InvalidModel`` where there is no int32 bias to fold a zero point into, or sums may
    leave 32 bits."""
    if not folded:
        return
    if how is None or bias is None or bias.dtype is not DType.INT32:
        raise InvalidModel("a folded bias is int32, of an integer layer")
    if prod(weights.shape[1:]) > MOST_FOLDED_TAPS:
        raise InvalidModel(
            f"sums of {prod(weights.shape[1:]):,} products and a bias that varies",
            hint=f"{MOST_FOLDED_TAPS:,} fit 32 bits for certain",
        )
    if isinstance(how, FixedPoint):
        left = max(0, *how.shift) if how.shift else 0
        if (2 * most_sum(weights) + SPREAD) << left > 1 << 31:
            raise InvalidModel(
                "a bias that varies, and sums that a left shift takes beyond 32 bits"
            )


def weights_operand(
    inputs: Sequence[str], constants: Sequence[np.ndarray | None], axes: str
) -> Table | Flat:
    """The weights (input 1) as kernels take them; those of a map flattened where ``axes`` is
    "OI"."""
    array = constants[1]
    if array is None:
        return Flat(inputs[1], "weights")
    return Table("weights", array.reshape(len(array), -1) if axes == "OI" else array, axes)


def float_bias(
    inputs: Sequence[str], constants: Sequence[np.ndarray | None], outs: int
) -> Table | Flat:
    """The bias (input 2, may be absent) of a float layer."""
    if len(inputs) < 3 or not inputs[2]:
        return Table("bias", np.zeros(outs, np.float32))
    array = constants[2]
    if array is None:
        return Flat(inputs[2], "bias")
    return Table("bias", array.astype(np.float32))


def int8_bias(
    inputs: Sequence[str],
    constants: Sequence[np.ndarray | None],
    types: Types,
    how: Rescale,
    *,
    folded: bool,
) -> tuple[Table | Flat, dict[str, Param]]:
    """The bias (input 2, may be absent) of an integer layer, the input's zero point folded in, and
    the params that go with it: its limits where weights or bias are no constants.

    Raises ``UnsupportedOp`` where they are computed at run time and the zero point is not folded in
    beforehand.
    """
    weights = constants[1]
    absent = len(inputs) < 3 or not inputs[2]
    bias = None if absent else constants[2]
    if not folded:
        if weights is None or (bias is None and not absent):
            raise UnsupportedOp(
                "weights or bias computed at run time",
                hint="a layer with variable weights or bias has its input's zero point folded in",
            )
        zeros = zero_of(types.input(1))
        return Table("bias", fold_offset(weights, zeros, types.input(0).zero_point, bias)), {}
    params: dict[str, Param] = {}
    if weights is None or bias is None:
        limits = bias_limits(types.input(1), how)
        params["bias_limit"] = Table("bias_limit", limits.astype(np.int32))
    if bias is None:
        return Flat(inputs[2], "bias"), params
    return Table("bias", limited(bias, types.input(1), how).astype(np.int32)), params


def rescale_params(how: Rescale, outs: int) -> Mapping[str, Param]:
    """Fields ``multiplier``, ``shift``, ``scale`` of kernels that rescale by output channel."""
    if isinstance(how, FixedPoint):
        return {
            "multiplier": Table(
                "multiplier", np.broadcast_to(np.array(how.multiplier, np.int32), outs)
            ),
            "shift": Table("shift", np.broadcast_to(np.array(how.shift, np.int8), outs)),
        }
    assert isinstance(how, FloatScale)
    return {"scale": Table("scale", np.broadcast_to(np.array(how.m, np.float32), outs))}


@from_onnx("Conv")
def _from_onnx(node: Any) -> None:
    x, weights = node.type(0), node.type(1)
    if x.rank not in (3, 4):
        raise node.unsupported(f"convolution over {x.rank - 2} spatial axes")
    spatial = x.rank - 2
    kernel = weights.shape[2:]
    stride = node.spatial("strides", spatial, 1)
    dilation = node.spatial("dilations", spatial, 1)
    pad = node.padding(x.shape[2:], kernel, stride, dilation)
    if spatial == 1:
        stride, dilation = (1, *stride), (1, *dilation)
        pad = (0, pad[0], 0, pad[1])
    op = Conv2D(stride, dilation, pad, node.attribute("group", 1))
    node.add_nhwc(op, [node.nhwc(0), node.oihw_weights(1), node.optional(2)])


@from_tflite("CONV_2D", "DEPTHWISE_CONV_2D")
def _from_tflite(node: Any) -> None:
    x, weights, y = node.type(0), node.type(1), node.output_type(0)
    options = node.options("DepthwiseConv2DOptions" if node.depthwise else "Conv2DOptions")
    groups = 1
    filters = node.inputs[1]
    if node.depthwise:
        # TFLite keeps depthwise weights as [1, KH, KW, O]
        filters = node.permute_constant(1, (3, 1, 2, 0))
        groups = x.shape[3]
        weights = node.type_of(filters)
    elif weights.rank == 4 and weights.shape[3] and x.rank == 4:
        groups = x.shape[3] // weights.shape[3]
    if x.dtype is DType.FLOAT32:
        filters = node.float_weights(filters)
        weights = node.type_of(filters)
    stride = (options.StrideH(), options.StrideW())
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    pad = node.padding(options.Padding(), x.shape[1:3], weights.shape[1:3], stride, dilation)
    clamp = node.activation(options.FusedActivationFunction(), y)
    how = node.rescale_by_channel(x, weights, y, weights.shape[0])
    op = Conv2D(stride, dilation, pad, groups, clamp, how)
    node.add(op, [node.inputs[0], filters, node.optional(2)])
