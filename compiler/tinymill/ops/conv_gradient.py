"""What a convolution learns by: the gradient of its input, updates of its weights and bias.

All take h, the gradient by the accumulator. A fully connected layer is a convolution of one tap
on maps of one place; its weights may have rank 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Operand,
    Param,
    Quant,
    Reading,
    Rows,
    RowTable,
    Table,
    TensorType,
    Types,
)
from .conv import out_size
from .mantissas import (
    REACH,
    ROUNDINGS,
    check_gradient,
    check_rounding,
    check_update,
    fits_int32,
    round_shift,
    rounded,
    step_factor,
)

INT32 = (1 << 31) - 1
MOST_STEP = 1 << 30
"""The most that a bias changes in one step."""


def ohwi(kind: TensorType) -> tuple[int, int, int, int]:
    """The shape of weights as [O, KH, KW, I]."""
    if kind.rank == 2:
        return (kind.shape[0], 1, 1, kind.shape[1])
    if kind.rank != 4:
        raise InvalidModel(f"weights of rank {kind.rank}")
    return (kind.shape[0], kind.shape[1], kind.shape[2], kind.shape[3])


def _geometry(
    x: Sequence[int], y: Sequence[int], weights: Sequence[int], op: ConvInputGradient
    | ConvWeightUpdate,
) -> dict[str, Param]:  # fmt: skip
    """The fields of a convolution from maps of shape x to maps of shape y."""
    outs, kh, kw, group_in = weights
    return {
        "in_h": x[1], "in_w": x[2], "in_c": x[3], "out_h": y[1], "out_w": y[2], "out_c": outs,
        "kernel_h": kh, "kernel_w": kw, "stride_h": op.stride[0], "stride_w": op.stride[1],
        "dilation_h": op.dilation[0], "dilation_w": op.dilation[1],
        "pad_top": op.pad[0], "pad_left": op.pad[1],
        "group_in": group_in, "group_out": outs // op.groups,
    }  # fmt: skip


@dataclass(frozen=True)
class ConvInputGradient(Op):
    """g[y, x, i] = round_shift(sum of h[oy, ox, o] * w[o, ky, kx, i], shift) limited to +-limit,
    over all taps with y = oy * stride - pad + ky * dilation, likewise x, and o of i's group.

    Inputs: h int16 [N, OH, OW, O], |h| <= reach, weights int8 OHWI of zero point 0, constant or
    a variable. Output: int16 [N, height, width, I * groups]. ``pad`` is that of the convolution
    (top, left, bottom, right).
    """

    height: int
    width: int
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    shift: int = 0
    limit: int = REACH
    reach: int = REACH

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        h, weights = check_gradient(inputs[0]), inputs[1]
        assert weights is not None
        outs, kh, kw, group_in = ohwi(weights)
        check_rounding(self.shift, self.limit)
        if weights.dtype is not DType.INT8 or self.groups < 1 or outs % self.groups:
            raise InvalidModel(f"{weights} in {self.groups} groups")
        size = (
            out_size(self.height, kh, self.stride[0], self.dilation[0], self.pad[0::2]),
            out_size(self.width, kw, self.stride[1], self.dilation[1], self.pad[1::2]),
        )
        if h.rank != 4 or h.shape[1:] != (*size, outs):
            raise InvalidModel(f"{h} is no output of {weights} on {self.height}x{self.width}")
        return (
            TensorType((h.shape[0], self.height, self.width, group_in * self.groups), DType.INT16),
        )

    def macs(self, types: Types) -> int:
        return types.input(0).count * prod(ohwi(types.input(1))[1:])

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        h, taps = types.input(0), ohwi(types.input(1))[1]
        if h.shape[0] != 1:
            return (None, None)
        # row y is reached from the rows at (y + pad - k * dilation) / stride; from none, where
        # the taps leave gaps
        ends = [y + self.pad[0] for y in range(self.height)]
        starts = [end - (taps - 1) * self.dilation[0] for end in ends]
        first = tuple(min(max(-(-n // self.stride[0]), 0), h.shape[1]) for n in starts)
        last = tuple(min(n // self.stride[0] + 1, h.shape[1]) for n in ends)
        return (RowTable(first, last), None)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        h, weights = inputs[0], inputs[1]
        assert h is not None and weights is not None
        filters = weights.reshape(ohwi(types.input(1))).astype(np.float64)
        acc = input_sums(h.astype(np.float64), filters, types.output.shape, self)
        return (round_shift(acc.astype(np.int64), self.shift, self.limit),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        h, weights, g = types.input(0), types.input(1), types.output
        if weights.quant is not None and any(weights.quant.zero_point):
            raise UnsupportedOp("the gradient through weights with a zero point")
        shape = ohwi(weights)
        fits_int32(shape[0] // self.groups * shape[1] * shape[2], 128, self.reach)
        params = _geometry(g.shape, h.shape, shape, self)
        params |= {"shift": self.shift, "limit": self.limit}
        array = constants[1]
        filters: Operand = Flat(inputs[1])
        if array is not None:
            filters = Table("weights", array.reshape(shape), "OHWI")
        operands = (Rows(inputs[0]), filters, Rows(outputs[0]))
        facts = {"groups": self.groups, "variable": int(array is None), "reach": self.reach}
        return KernelCall("conv_input_gradient", "s16", params, operands, facts)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(33)
        for shape, outs, kernel, stride, dilation, pad, groups in _CASES:
            weights_shape: tuple[int, ...] = (outs, *kernel, shape[3] // groups)
            high, wide = (
                out_size(shape[1 + i], kernel[i], stride[i], dilation[i], pad[i::2]) for i in (0, 1)
            )
            h = TensorType((shape[0], high, wide, outs), DType.INT16)
            quant = Quant((0.01,) * outs, (0,) * outs, 0)
            for variable in (False, True):
                if kernel == (1, 1) and groups == 1 and variable and (high, wide) == (1, 1):
                    weights_shape = (outs, shape[3])
                weights = TensorType(weights_shape, DType.INT8, quant)
                shift, limit = (0, 2000) if variable else (9, REACH)
                op = cls(shape[1], shape[2], stride, dilation, pad, groups, shift, limit)
                array = rng.integers(-128, 128, weights_shape).astype(np.int8)
                yield Example(
                    op,
                    Types((h, weights), op.infer((h, weights))),
                    {} if variable else {1: array},
                )


_CASES = [
    # shape, outs, kernel, stride, dilation, pad, groups
    ((1, 5, 6, 3), 4, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    ((1, 8, 7, 4), 6, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    ((1, 4, 4, 12), 20, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    ((1, 9, 9, 8), 8, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1), 8),
    ((1, 8, 8, 5), 5, (7, 7), (2, 2), (1, 1), (3, 3, 3, 3), 5),
    ((1, 6, 6, 4), 4, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2), 4),
    ((1, 9, 8, 4), 8, (5, 3), (1, 2), (1, 1), (2, 1, 2, 1), 4),
    ((2, 7, 7, 6), 9, (3, 3), (1, 1), (2, 2), (2, 2, 2, 2), 3),
    ((1, 12, 1, 5), 7, (4, 1), (3, 1), (1, 1), (0, 0, 2, 0), 1),
    ((1, 1, 1, 16), 10, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
]


def _taps(
    size: Sequence[int], op: ConvInputGradient | ConvWeightUpdate, ky: int, kx: int
) -> tuple[slice, slice]:
    """Rows and columns of the padded input that tap (ky, kx) reads for an output of ``size``."""
    found = []
    for axis, k in enumerate((ky, kx)):
        first = k * op.dilation[axis]
        found.append(slice(first, first + (size[axis] - 1) * op.stride[axis] + 1, op.stride[axis]))
    return found[0], found[1]


def input_sums(
    h: np.ndarray, weights: np.ndarray, shape: Sequence[int], op: ConvInputGradient
) -> np.ndarray:
    """The gradient of a convolution's input, of ``shape``; float64, exact for integers."""
    batch, high, wide, outs = h.shape
    _, kh, kw, group_in = weights.shape
    top, left, bottom, right = op.pad
    acc = np.zeros((batch, shape[1] + top + bottom, shape[2] + left + right, shape[3]))
    grouped = h.reshape(batch, high, wide, op.groups, outs // op.groups)
    for ky in range(kh):
        for kx in range(kw):
            filters = weights[:, ky, kx].reshape(op.groups, -1, group_in)
            if op.groups == 1:
                part = h @ filters[0]
            elif filters.shape[1:] == (1, 1):
                part = h * filters[:, 0, 0]
            else:
                part = np.einsum("nhwgo,goi->nhwgi", grouped, filters)
            rows, columns = _taps((high, wide), op, ky, kx)
            acc[:, rows, columns] += part.reshape(batch, high, wide, shape[3])
    return acc[:, top : top + shape[1], left : left + shape[2]]


def weight_sums(
    x: np.ndarray, h: np.ndarray, shape: Sequence[int], op: ConvWeightUpdate
) -> np.ndarray:
    """The gradient of a convolution's weights, OHWI of ``shape``; x has zero point 0 and any
    channels [g * C + i] of each group; float64, exact for integers."""
    batch, high, wide, outs = h.shape
    top, left, bottom, right = op.pad
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    grouped = h.reshape(-1, op.groups, outs // op.groups)
    found = np.zeros(shape)
    for ky in range(shape[1]):
        for kx in range(shape[2]):
            rows, columns = _taps((high, wide), op, ky, kx)
            tap = x[:, rows, columns].reshape(batch * high * wide, op.groups, -1)
            if op.groups == 1:
                part = grouped[:, 0].T @ tap[:, 0]
            else:
                part = np.einsum("pgo,pgi->goi", grouped, tap)
            found[:, ky, kx] = part.reshape(outs, -1)
    return found


@dataclass(frozen=True)
class ConvWeightUpdate(Op):
    """One step of gradient descent on the int8 weights of a convolution.

    Inputs: weights int8 OHWI (variable), bias int32 [O] (variable, the input's zero point folded
    in), x int8 [N, H, W, C] of zero point zx, h int16 [N, OH, OW, O] with |h| <= reach, exponent
    int32 [1], rate float32 [1], counter int32 [1] (the step's number, its bits as uint32),
    coefficient float32 [O] (constant). No outputs.

    dW is the int32 sum over places of h * (x - zx), 0 outside the map; f[o] = (rate *
    coefficient[o]) * 2**E; t = float32(w) - float32(dW) * f[o], a product and a difference.
    w' is t rounded, saturated to int8, w where t is NaN. bias[o] -= zx * sum of (w' - w),
    saturated. Rounding "stochastic": floor(t + u), u = (bits >> 8) * 2**-24 with
    bits = mix(mix(counter * 0x9E3779B9 + layer) + flat OHWI index); "nearest": half to even.

    ``channels``: the input channels within each group that are trained, ascending; None: all.
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    channels: tuple[int, ...] | None = None
    layer: int = 0
    rounding: str = "stochastic"
    reach: int = REACH
    mutates = (0, 1)

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        weights, bias, x, h = inputs[0], inputs[1], inputs[2], check_gradient(inputs[3])
        assert weights is not None and bias is not None and x is not None
        outs, kh, kw, group_in = ohwi(weights)
        check_update(self.rounding)
        if weights.dtype is not DType.INT8 or x.dtype is not DType.INT8 or x.rank != 4:
            raise InvalidModel(f"an update of {weights} from {x}")
        if self.groups < 1 or group_in * self.groups != x.shape[3] or outs % self.groups:
            raise InvalidModel(f"{weights} in {self.groups} groups do not fit {x}")
        size = (
            out_size(x.shape[1], kh, self.stride[0], self.dilation[0], self.pad[0::2]),
            out_size(x.shape[2], kw, self.stride[1], self.dilation[1], self.pad[1::2]),
        )
        if h.shape != (x.shape[0], *size, outs):
            raise InvalidModel(f"{h} is no output of {weights} on {x}")
        chosen = self.channels
        if chosen is not None and not (
            chosen and chosen[0] >= 0 and chosen[-1] < group_in and _ascending(chosen)
        ):
            raise InvalidModel(f"channels {chosen} of {group_in}")
        check_steps(inputs[4:8], bias, outs)
        return ()

    def macs(self, types: Types) -> int:
        group_in = ohwi(types.input(0))[3]
        return (
            types.input(3).count
            * prod(ohwi(types.input(0))[1:3])
            * (group_in if self.channels is None else len(self.channels))
        )

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        weights, bias, x, h, exponent, rate, counter, coefficient = inputs
        assert weights is not None and bias is not None and x is not None and h is not None
        assert exponent is not None and rate is not None
        assert counter is not None and coefficient is not None
        shape = ohwi(types.input(0))
        zero = types.input(2).zero_point if types.input(2).quant else 0
        chosen = np.arange(shape[3]) if self.channels is None else np.array(self.channels)
        wide = x.astype(np.float64) - zero
        taken = wide.reshape(*x.shape[:3], self.groups, shape[3])[..., chosen]
        sums = weight_sums(
            taken.reshape(*x.shape[:3], -1), h.astype(np.float64), (*shape[:3], len(chosen)), self
        ).astype(np.int64)
        old = weights.reshape(shape)
        f = step_factor(rate, coefficient, exponent)[:, None, None, None]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            t = old.astype(np.float32)
            t[..., chosen] -= sums.astype(np.float32) * f
            new = rounded(t, self.rounding, int(counter[0]), self.layer)
            new = np.where(np.isnan(t), old, np.clip(new, -128, 127)).astype(np.int8)
        kept = old.copy()
        kept[..., chosen] = new[..., chosen]
        moved = (kept.astype(np.int64) - old).reshape(shape[0], -1).sum(axis=1)
        folded = np.clip(bias.astype(np.int64) - zero * moved, -INT32 - 1, INT32)
        return kept.reshape(weights.shape), folded.astype(np.int32)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, h = types.input(2), types.input(3)
        shape = ohwi(types.input(0))
        fits_int32(prod(h.shape[:3]), 255, self.reach)
        chosen = self.channels or tuple(range(shape[3]))
        run = len(chosen) == chosen[-1] + 1 - chosen[0]
        params = _geometry(x.shape, h.shape, shape, self) | {
            "batch": x.shape[0], "in_zero": x.zero_point if x.quant else 0,
            "channel0": chosen[0], "channel1": chosen[-1] + 1,
            "chosen": None if run else Table("channels", np.array(chosen, np.int16)),
            "chosen_count": len(chosen),
            "layer": _signed(self.layer), "stochastic": int(self.rounding == "stochastic"),
        }  # fmt: skip
        # x, h, exponent, rate, counter, coefficient, weights, bias
        operands = tuple(Flat(inputs[i]) for i in (2, 3, 4, 5, 6, 7, 0, 1))
        facts = {"groups": self.groups, "reach": self.reach, "run": int(run)}
        return KernelCall("conv_weight_update", "s8", params, operands, facts)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(34)
        for number, (shape, outs, kernel, stride, dilation, pad, groups) in enumerate(_CASES):
            group_in = shape[3] // groups
            high, wide = (
                out_size(shape[1 + i], kernel[i], stride[i], dilation[i], pad[i::2]) for i in (0, 1)
            )
            weights_shape: tuple[int, ...] = (outs, *kernel, group_in)
            if (high, wide) == (1, 1) and kernel == (1, 1):
                weights_shape = (outs, group_in)
            choices: list[tuple[int, ...] | None] = [None, tuple(range(group_in // 2 + 1))]
            if group_in > 3:
                choices.append((0, 2, 3))
            for turn, chosen in enumerate(choices):
                rounding = ROUNDINGS[(number + turn) % 2]
                op = cls(stride, dilation, pad, groups, chosen, 0xC0FFEE00 + number, rounding)
                kinds = (
                    TensorType(weights_shape, DType.INT8, Quant((0.01,) * outs, (0,) * outs, 0)),
                    TensorType((outs,), DType.INT32),
                    TensorType(shape, DType.INT8, Quant((0.05,), (-7,))),
                    TensorType((shape[0], high, wide, outs), DType.INT16),
                    *_STEP,
                    TensorType((outs,), DType.FLOAT32),
                )
                yield Example(
                    op,
                    Types(kinds, op.infer(kinds)),
                    {
                        **_constants(4, number),
                        7: (rng.uniform(0.1, 4, outs) * 2.0**-2).astype(np.float32),
                    },
                )


_STEP = (
    TensorType((1,), DType.INT32), TensorType((1,), DType.FLOAT32), TensorType((1,), DType.INT32),
)  # fmt: skip


def _constants(first: int, number: int) -> dict[int, np.ndarray]:
    """Exponent, rate and counter of an example; one that overflows is among them."""
    exponent, rate = ((-18, 0.5), (-16, 0.0375), (-20, -1.5), (200, 3e38), (-126, 1.0))[number % 5]
    return {
        first: np.array([exponent], np.int32),
        first + 1: np.array([rate], np.float32),
        first + 2: np.array([number * 0x10000001 - 5], np.int64).astype(np.int32),
    }


def _ascending(chosen: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(chosen))


def _signed(number: int) -> int:
    """The int32 of the same bits as a uint32."""
    return number - (1 << 32) if number >> 31 else number


def check_steps(kinds: Sequence[TensorType | None], bias: TensorType, outs: int) -> None:
    """Raises ``InvalidModel`` unless these are exponent, rate, counter and coefficient, and the
    bias, of a layer of ``outs`` channels."""
    wanted = (
        ((1,), DType.INT32), ((1,), DType.FLOAT32), ((1,), DType.INT32), ((outs,), DType.FLOAT32),
    )  # fmt: skip
    found = tuple((kind.shape, kind.dtype) for kind in kinds if kind is not None)
    if found != wanted:
        raise InvalidModel(f"an update of {outs} channels by {', '.join(map(str, kinds))}")
    if (bias.count, bias.dtype) != (outs, DType.INT32):
        raise InvalidModel(f"a bias {bias} of {outs} channels")


@dataclass(frozen=True)
class BiasUpdate(Op):
    """One step of gradient descent on an int32 bias.

    Inputs: bias int32 [O] (variable), h int16 [..., O] with |h| <= reach, exponent, rate,
    counter, coefficient as for ``ConvWeightUpdate``. No outputs.

    d = float32(int32 sum of h) * f[o]; bias' = bias - d, d cut to +-2**30 (0 where NaN) and
    rounded, the difference saturated. "stochastic": floor(d + u).
    """

    layer: int = 0
    rounding: str = "stochastic"
    reach: int = REACH
    mutates = (0,)

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        bias, h = inputs[0], check_gradient(inputs[1])
        assert bias is not None
        check_update(self.rounding)
        check_steps(inputs[2:6], bias, h.shape[-1])
        return ()

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        bias, h, exponent, rate, counter, coefficient = inputs
        assert bias is not None and h is not None and exponent is not None
        assert rate is not None and counter is not None and coefficient is not None
        sums = h.reshape(-1, h.shape[-1]).astype(np.int64).sum(axis=0)
        f = step_factor(rate, coefficient, exponent)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            d = sums.astype(np.float32) * f
            d = np.clip(np.where(np.isnan(d), np.float32(0), d), -MOST_STEP, MOST_STEP)
            step = rounded(d.astype(np.float32), self.rounding, int(counter[0]), self.layer)
        new = bias.reshape(-1).astype(np.int64) - step.astype(np.int64)
        return (np.clip(new, -INT32 - 1, INT32).astype(np.int32).reshape(bias.shape),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        h = types.input(1)
        pixels = h.count // h.shape[-1]
        fits_int32(pixels, 1, self.reach)
        params: dict[str, Param] = {
            "pixels": pixels, "channels": h.shape[-1],
            "layer": _signed(self.layer), "stochastic": int(self.rounding == "stochastic"),
        }  # fmt: skip
        # h, exponent, rate, counter, coefficient, bias
        operands = tuple(Flat(inputs[i]) for i in (1, 2, 3, 4, 5, 0))
        return KernelCall("bias_update", "s32", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(35)
        for number, shape in enumerate(
            ((1, 4, 4, 7), (2, 3, 5, 4), (1, 1, 1, 10), (1, 12), (1, 8, 8, 3))
        ):
            for rounding in ("stochastic", "nearest"):
                op = cls(0xBADC0DE5 + number, rounding)
                kinds = (
                    TensorType((shape[-1],), DType.INT32), TensorType(shape, DType.INT16), *_STEP,
                    TensorType((shape[-1],), DType.FLOAT32),
                )  # fmt: skip
                coefficient = (rng.uniform(0.1, 4, shape[-1]) * 2.0**4).astype(np.float32)
                constants = {**_constants(2, number), 5: coefficient}
                yield Example(op, Types(kinds, op.infer(kinds)), constants)


@dataclass(frozen=True)
class CountStep(Op):
    """counter += 1, wrapping: the number of the next step, int32 [1]. No outputs."""

    mutates = (0,)

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        counter = inputs[0]
        if counter is None or (counter.shape, counter.dtype) != ((1,), DType.INT32):
            raise InvalidModel(f"a counter of type {counter}")
        return ()

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        counter = inputs[0]
        assert counter is not None
        return ((counter.view(np.uint32) + np.uint32(1)).view(np.int32),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        return KernelCall("count_step", "s32", {"steps": 1}, (Flat(inputs[0]),))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield Example(cls(), Types((TensorType((1,), DType.INT32),), ()))
