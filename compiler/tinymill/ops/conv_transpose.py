"""ConvTranspose: the transpose of a convolution, as upsampling layers use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    KernelCall,
    Op,
    Param,
    Quant,
    Reading,
    Rescale,
    Rows,
    RowTable,
    Site,
    Table,
    TensorType,
    Types,
)
from .arithmetic import fixed_point, float_scale, quantize_clamp, rescale
from .conv import is_int8_conv, rescale_params, zero_of
from .registry import from_onnx, from_tflite
from .reshape import Reshape
from .transpose import Transpose

if TYPE_CHECKING:
    from .writing import Writing


@dataclass(frozen=True)
class ConvTranspose(Op):
    """y[oy, ox, o] = bias[o] + sum of x[iy, ix, i] * w[o, ky, kx, i] over all taps with
    oy = iy * stride - pad + ky * dilation, likewise ox; i runs over the group of o.

    Inputs: x [N, H, W, C], weights [O, KH, KW, C / groups], bias [O] or none. Output
    [N, *size, O]. Integer form: (x - zx) * w summed, rescaled, the zero point added, clamped;
    weights have zero point 0.
    """

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    clamp: tuple[float, float] | None = None
    rescale: Rescale | None = None
    bias_at = 2

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, weights = inputs[0], inputs[1]
        assert x is not None and weights is not None
        if x.rank != 4 or weights.rank != 4:
            raise InvalidModel(f"transposed convolution of {x} with weights {weights}")
        outs, _, _, depth = weights.shape
        if self.groups < 1 or depth * self.groups != x.shape[3] or outs % self.groups:
            raise InvalidModel(
                f"weights {weights.shape} in {self.groups} groups do not fit input {x.shape}"
            )
        bias = inputs[2] if len(inputs) > 2 else None
        if bias is not None and bias.count != outs:
            raise InvalidModel(f"{bias.count} bias values for {outs} output channels")
        if min(*self.stride, *self.dilation, *self.size) < 1 or min(self.pad) < 0:
            raise InvalidModel(
                f"stride {self.stride}, dilation {self.dilation}, padding {self.pad}, "
                f"size {self.size}"
            )
        return (TensorType((x.shape[0], *self.size, outs), x.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        rest = (None,) * (len(types.inputs) - 1)
        x, taps = types.input(0), types.input(1).shape[1]
        if x.shape[0] != 1:
            return (None, *rest)
        # row y is reached from the rows at (y + pad - k * dilation) / stride; from none, where
        # the taps leave gaps
        ends = [y + self.pad[0] for y in range(self.size[0])]
        starts = [end - (taps - 1) * self.dilation[0] for end in ends]
        first = tuple(min(max(-(-n // self.stride[0]), 0), x.shape[1]) for n in starts)
        last = tuple(min(n // self.stride[0] + 1, x.shape[1]) for n in ends)
        return (RowTable(first, last), *rest)

    def macs(self, types: Types) -> int:
        x, (outs, kh, kw, _) = types.input(0), types.input(1).shape
        return x.count * kh * kw * outs // self.groups

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, weights = inputs[0], inputs[1]
        assert x is not None and weights is not None
        bias = inputs[2] if len(inputs) > 2 else None
        kind = types.output
        # float64 holds every integer sum of int8 products exactly
        wide, filters = x.astype(np.float64), weights.astype(np.float64)
        if self.rescale is not None:
            wide = wide - types.input(0).zero_point
        acc = self._scatter(wide, filters, kind.shape)
        if self.rescale is None:
            y = (acc if bias is None else acc + bias).astype(np.float32)
            return (y if self.clamp is None else np.clip(y, *self.clamp).astype(np.float32),)
        total = acc.astype(np.int64)
        total = total if bias is None else total + bias.astype(np.int64)
        low, high = self.clamp or kind.dtype.limits
        y = np.clip(rescale(total, self.rescale) + kind.zero_point, low, high)
        return (y.astype(kind.dtype.numpy),)

    def _scatter(self, x: np.ndarray, weights: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        batch, height, width, _ = x.shape
        outs, kh, kw, depth = weights.shape
        spread = [
            (n - 1) * self.stride[i] + (k - 1) * self.dilation[i] + 1
            for i, (n, k) in enumerate(((height, kh), (width, kw)))
        ]
        room = [max(n, self.pad[i] + self.size[i]) for i, n in enumerate(spread)]
        acc = np.zeros((batch, *room, outs))
        grouped = x.reshape(batch, height, width, self.groups, depth)
        for ky in range(kh):
            for kx in range(kw):
                taps = weights[:, ky, kx].reshape(self.groups, -1, depth)
                part = np.einsum("nhwgi,goi->nhwgo", grouped, taps)
                y0, x0 = ky * self.dilation[0], kx * self.dilation[1]
                acc[
                    :,
                    y0 : y0 + (height - 1) * self.stride[0] + 1 : self.stride[0],
                    x0 : x0 + (width - 1) * self.stride[1] + 1 : self.stride[1],
                ] += part.reshape(batch, height, width, outs)
        top, left = self.pad
        return acc[:, top : top + self.size[0], left : left + self.size[1]]

    def quantized(self, types: Types) -> Op | None:
        """M = float32(float64(s_x) * s_w / s_y), one for each output channel."""
        x, weights = types.input(0), types.input(1)
        if not is_int8_conv(x, weights, types.output, 0):
            return None
        assert weights.quant is not None
        if any(weights.quant.zero_point):
            return None
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
        sides = (self.stride, self.dilation, self.pad, self.groups)
        found: list[str | None] = [None] * len(at.wanted)
        if at.wanted[0]:
            size = at.types.input(0).shape[1:3]
            found[0] = write.correlated(h, write.swapped(weights, self.groups), size, *sides)
        if at.wanted[1]:
            # its weights are those of the convolution from its output to its input
            taps = at.types.input(1).shape[1:3]
            found[1] = write.swapped(write.learnt(h, x, taps, *sides), self.groups)
        if len(found) > 2 and at.wanted[2]:
            found[2] = write.total(h, (0, 1, 2), keepdims=False)
        return tuple(found)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        outs, kh, kw, depth = types.input(1).shape
        weights = constants[1]
        bias = constants[2] if len(inputs) > 2 and inputs[2] else None
        if weights is None or (len(inputs) > 2 and inputs[2] and bias is None):
            raise UnsupportedOp("transposed convolution with weights computed at run time")
        params: dict[str, Param] = {
            "in_w": x.shape[2], "in_c": x.shape[3], "out_w": y.shape[2], "out_c": outs,
            "kernel_h": kh, "kernel_w": kw, "stride_h": self.stride[0],
            "stride_w": self.stride[1], "dilation_h": self.dilation[0],
            "dilation_w": self.dilation[1], "pad_top": self.pad[0], "pad_left": self.pad[1],
            "group_in": depth, "group_out": outs // self.groups,
        }  # fmt: skip
        table = Table("weights", weights, "OHWI")
        if self.rescale is None:
            low, high = self.clamp or (-np.inf, np.inf)
            params |= {"lo": float(low), "hi": float(high)}
            bias = np.zeros(outs, np.float32) if bias is None else bias.astype(np.float32)
            dtype = "f32"
        else:
            low, high = self.clamp or y.dtype.limits
            params |= rescale_params(self.rescale, outs)
            params |= {
                "in_zero": x.zero_point, "out_zero": y.zero_point, "lo": int(low), "hi": int(high)
            }  # fmt: skip
            bias = np.zeros(outs, np.int32) if bias is None else bias.astype(np.int32)
            dtype = "s8"
        operands = (Rows(inputs[0]), table, Table("bias", bias.ravel()), Rows(outputs[0]))
        return KernelCall("conv_transpose", dtype, params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(7)
        cases = [
            # shape, outs, kernel, size, stride, pad, dilation, groups
            ((1, 3, 4, 5), 6, (2, 2), (6, 8), (2, 2), (0, 0), (1, 1), 1),
            ((2, 4, 3, 4), 6, (3, 3), (8, 6), (2, 2), (1, 1), (1, 1), 2),
            ((1, 3, 3, 2), 3, (3, 2), (9, 5), (3, 1), (0, 1), (1, 2), 1),
            ((1, 4, 4, 3), 3, (4, 4), (8, 8), (2, 2), (1, 1), (1, 1), 3),
        ]
        for shape, outs, kernel, size, stride, pad, dilation, groups in cases:
            x = TensorType(shape, DType.FLOAT32)
            kind = TensorType((outs, *kernel, shape[3] // groups), DType.FLOAT32)
            bias = TensorType((outs,), DType.FLOAT32)
            op = cls(size, stride, pad, dilation, groups, (-2.0, 3.0))
            values = {
                1: rng.standard_normal(kind.shape).astype(np.float32),
                2: rng.standard_normal(outs).astype(np.float32),
            }
            yield Example(op, Types((x, kind, bias), op.infer((x, kind, bias))), values)
            qx = TensorType(shape, DType.INT8, Quant((0.05,), (-7,)))
            qw = TensorType(kind.shape, DType.INT8, Quant((0.01,) * outs, (0,) * outs, 0))
            qb = TensorType((outs,), DType.INT32)
            qy = TensorType((shape[0], *size, outs), DType.INT8, Quant((0.1,), (5,)))
            reals = rng.uniform(0.001, 0.02, outs)
            for how in (fixed_point(reals.tolist()), float_scale(reals)):
                op = cls(size, stride, pad, dilation, groups, (-100, 120), how)
                values = {
                    1: rng.integers(-127, 128, kind.shape).astype(np.int8),
                    2: rng.integers(-2000, 2000, outs).astype(np.int32),
                }
                yield Example(op, Types((qx, qw, qb), (qy,)), values)


@from_tflite("TRANSPOSE_CONV")
def _from_tflite(node: Any) -> None:
    # inputs: the output's shape, weights [O, KH, KW, I], x, bias
    weights, x, y = node.type(1), node.type(2), node.output_type(0)
    options = node.options("TransposeConvOptions")
    if x.rank != 4 or y.rank != 4 or weights.rank != 4:
        raise node.invalid(f"{x}, {weights} -> {y}")
    stride = (options.StrideH(), options.StrideW())
    # the padding is that of the convolution from y to x
    pad = node.padding(options.Padding(), y.shape[1:3], weights.shape[1:3], stride)[:2]
    clamp = node.activation(options.FusedActivationFunction(), y)
    filters = node.inputs[1]
    how: Rescale | None = None
    if x.dtype is DType.FLOAT32:
        filters = node.float_weights(filters)
    else:
        how = node.rescale_by_channel(x, weights, y, weights.shape[0])
        if any(zero_of(weights).zero_point):
            raise node.unsupported("weights with a zero point")
    op = ConvTranspose(y.shape[1:3], stride, pad, clamp=clamp, rescale=how)
    node.add(op, [node.inputs[2], filters, node.optional(3)])


@from_onnx("ConvTranspose")
def _from_onnx(node: Any) -> None:
    x, weights = node.type(0), node.type(1)
    spatial = x.rank - 2
    if spatial not in (1, 2) or weights.rank != x.rank:
        raise node.unsupported(f"transposed convolution over {spatial} spatial axes")
    groups = node.attribute("group", 1)
    kernel = weights.shape[2:]
    stride = node.spatial("strides", spatial, 1)
    dilation = node.spatial("dilations", spatial, 1)
    extra = node.attribute("output_padding", [0] * spatial)
    wanted = node.attribute("output_shape", None)
    mode = node.attribute("auto_pad", b"NOTSET").decode()
    pads = node.attribute("pads", [0] * 2 * spatial)
    if len(extra) != spatial or len(pads) != 2 * spatial or min(*pads, *extra) < 0:
        raise node.invalid(f"pads {pads}, output_padding {extra}")
    if groups < 1 or weights.shape[0] % groups:
        raise node.invalid(f"{weights.shape[0]} input channels in {groups} groups")
    size, before = [], []
    for i in range(spatial):
        span = (x.shape[2 + i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 + extra[i]
        if wanted is not None:
            size.append(int(wanted[-spatial + i]))
        elif mode in ("SAME_UPPER", "SAME_LOWER"):
            size.append(x.shape[2 + i] * stride[i])
        else:
            size.append(span - pads[i] - pads[spatial + i])
        total = max(span - size[i], 0)
        if wanted is None and mode not in ("SAME_UPPER", "SAME_LOWER"):
            before.append(pads[i])
        else:
            before.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
    if spatial == 1:
        size, before = [1, *size], [0, *before]
        stride, dilation = (1, *stride), (1, *dilation)
    op = ConvTranspose(
        (size[0], size[1]), (stride[0], stride[1]), (before[0], before[1]),
        (dilation[0], dilation[1]), groups,
    )  # fmt: skip
    node.add_nhwc(op, [node.nhwc(0), _weights(node, groups), node.optional(2)])


def _weights(node: Any, groups: int) -> str:
    """ONNX weights [C, O / groups, H, W] as [O, H, W, C / groups]."""
    shape = node.type(1).shape
    if groups == 1:
        value = node.permuted(1, (1, *range(2, len(shape)), 0))
        if len(shape) == 4:
            return value
        outs, length, depth = node.type_of(value).shape
        return node.emit(Reshape((outs, 1, length, depth)), [value])
    depth, outs = shape[0] // groups, shape[1] * groups
    taps = shape[2:] if len(shape) == 4 else (1, *shape[2:])
    value = node.emit(Reshape((groups, depth, shape[1], prod(taps))), [node.input(1)])
    value = node.emit(Transpose((0, 2, 3, 1)), [value])
    return node.emit(Reshape((outs, *taps, depth)), [value])
