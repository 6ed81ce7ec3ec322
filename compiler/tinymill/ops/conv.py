"""Conv2D: standard, grouped and depthwise convolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    FixedPoint,
    Flat,
    FloatScale,
    KernelCall,
    Op,
    Operand,
    Param,
    Quant,
    Reading,
    Rescale,
    Rows,
    Table,
    TensorType,
    Types,
    Window,
)
from .arithmetic import fixed_point, float_scale, quantize_clamp, rescale
from .registry import from_onnx, from_tflite

MAX_WINDOW = 1 << 20


@dataclass(frozen=True)
class Conv2D(Op):
    """Convolution of an NHWC map with weights OHWI, I = C / groups; bias optional.

    Inputs: x [N, H, W, C], weights [O, KH, KW, C / groups], bias [O] (int32 or float32).
    Output: [N, OH, OW, O] with OH = (H + top + bottom - (KH - 1) * dilation - 1) / stride + 1.
    Integer form: acc = bias + sum (x - zx) * (w - zw); y = clamp(rescale(acc) + zy).
    ``pad`` is (top, left, bottom, right); ``clamp`` is in output integers, or in reals for
    float. ``folded``: the bias has the input's zero point folded in, as ``fold_offset`` does,
    acc = bias + sum x * (w - zw), x being zx outside the map; weights and bias may then be
    variables.
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
        acc = self._correlate(
            x.astype(np.float64) - zero, weights.astype(np.float64) - weights_zero, kind.shape
        ).astype(np.int64)
        acc = acc if bias is None else acc + bias.astype(np.int64)
        if self.folded:
            acc += zero * sums_of(weights, zero_of(types.input(1)))
        low, high = self.clamp or kind.dtype.limits
        y = np.clip(rescale(acc, self.rescale) + kind.zero_point, low, high)
        return (y.astype(kind.dtype.numpy),)

    def _correlate(self, x: np.ndarray, weights: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        top, left, bottom, right = self.pad
        batch, height, width, _ = shape
        _, kh, kw, group_in = weights.shape
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
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
        array = constants[1]
        if array is None and not self.folded:
            raise UnsupportedOp("convolution whose weights are computed at run time")
        bias = constants[2] if len(inputs) > 2 and inputs[2] else None
        if len(inputs) > 2 and inputs[2] and bias is None and not self.folded:
            raise UnsupportedOp("convolution whose bias is computed at run time")
        padded = any(self.pad)
        table: Operand = Flat(inputs[1])
        if array is not None:
            table = Table("weights", array, "OHWI")
        if self.rescale is None:
            low, high = self.clamp or (-np.inf, np.inf)
            params |= {"lo": float(low), "hi": float(high)}
            bias = np.zeros(outs, np.float32) if bias is None else bias.astype(np.float32)
            operands: tuple[Operand, ...] = (
                Rows(inputs[0], 0.0 if padded else None), table, Table("bias", bias),
                Rows(outputs[0]),
            )  # fmt: skip
            return KernelCall("conv2d", "f32", params, operands, facts)
        zeros = zero_of(weights)
        low, high = self.clamp or y.dtype.limits
        if self._dense(types):
            params = {"rows": x.shape[0], "depth": kh * kw * group_in, "outs": outs}
            if array is not None:
                table = Table("weights", array.reshape(outs, -1), "OI")
            facts = {}
        params |= rescale_params(self.rescale, outs)
        params |= {"out_zero": y.zero_point, "lo": int(low), "hi": int(high)}
        facts["weights_zero"] = int(any(zeros.zero_point))
        held = bias_operand(self.folded, inputs, constants, types)
        if facts["weights_zero"]:
            params["weights_zero"] = Table(
                "weights_zero", np.broadcast_to(np.array(zeros.zero_point, np.int8), outs)
            )
        if "rows" in params:
            flat = (Flat(inputs[0]), table, held, Flat(outputs[0]))
            return KernelCall("dense", "s8", params, flat, facts)
        operands = (
            Rows(inputs[0], x.zero_point if padded else None), table, held, Rows(outputs[0]),
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


def fold_offset(
    weights: np.ndarray, quant: Quant, zero: int, bias: np.ndarray | None
) -> np.ndarray:
    """bias - zx * sum(w - zw) for each output channel (axis 0), so kernels sum raw x."""
    base = 0 if bias is None else bias.astype(np.int64).ravel()
    return (base - zero * sums_of(weights, quant)).astype(np.int32)


def sums_of(weights: np.ndarray, quant: Quant) -> np.ndarray:
    """int64 sum(w - zw) for each output channel (axis 0)."""
    _, zeros = quant.along(weights.ndim)
    return (weights.astype(np.int64) - zeros).reshape(weights.shape[0], -1).sum(axis=1)


def bias_operand(
    folded: bool,
    inputs: Sequence[str],
    constants: Sequence[np.ndarray | None],
    types: Types,
) -> Operand:
    """The bias of int8 kernels with the input's zero point in it: a table or a variable."""
    weights = constants[1]
    bias = constants[2] if len(inputs) > 2 and inputs[2] else None
    if not folded:
        assert weights is not None
        quant = zero_of(types.input(1))
        return Table("bias", fold_offset(weights, quant, types.input(0).zero_point, bias))
    if len(inputs) < 3 or not inputs[2]:
        return Table("bias", np.zeros(types.input(1).shape[0], np.int32))
    return Flat(inputs[2]) if bias is None else Table("bias", bias.astype(np.int32).ravel())


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
