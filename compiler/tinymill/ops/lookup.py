"""Table: any function of one int8 value, as 256 integers made at compile time.

The makers below are the arithmetic of TFLite's reference kernels for int8, in numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import frexp
from typing import Any

import numpy as np

from ..errors import InvalidModel
from ..ir import (
    POINT,
    DType,
    Example,
    Flat,
    Gradient,
    KernelCall,
    Op,
    Param,
    Quant,
    Site,
    Tape,
    TensorType,
    Types,
    Window,
)
from ..ir import Table as Constant
from .arithmetic import divide_by_pot, doubling_high_mul, fixed_multiplier, scale_fixed
from .registry import from_tflite
from .softmax import exp_on_negative, one_over_one_plus_x
from .unary import Unary

QUANTS = np.arange(-128, 128, dtype=np.int64)
INPUT_BITS = 4  # integer bits of the argument of gemmlowp's logistic and tanh


@dataclass(frozen=True)
class Table(Op):
    """y = table[x + 128], int8 to int8."""

    table: tuple[int, ...]

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if x.dtype is not DType.INT8 or len(self.table) != 256:
            raise InvalidModel(f"a table of {len(self.table)} entries for {x}")
        return (TensorType(x.shape, DType.INT8),)

    def windows(self, types: Types) -> tuple[Window | None, ...]:
        return (POINT,)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        return (np.array(self.table, np.int8)[x.astype(np.int64) + 128],)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        # steps of a table are uneven: slopes over four of them
        table = np.pad(np.array(self.table, np.float64), 2, mode="edge")
        reach = np.minimum(QUANTS + 2, 127) - np.maximum(QUANTS - 2, -128)
        return (tape.slope(at, g, (table[4:] - table[:-4]) / reach),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        params: dict[str, Param] = {
            "count": types.output.count,
            "table": Constant("table", np.array(self.table, np.int8)),
        }
        return KernelCall("lookup", "s8", params, (Flat(inputs[0]), Flat(outputs[0])))

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return self

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(3)
        x = TensorType((1, 3, 10, 10), DType.INT8, Quant((0.05,), (3,)))
        table = tuple(rng.integers(-128, 128, 256).tolist())
        yield Example(cls(table), Types((x,), (x,)))


def as_table(y: np.ndarray) -> Table:
    """The op for outputs ``y`` of the inputs -128 .. 127, saturated."""
    return Table(tuple(np.clip(y, -128, 127).astype(int).tolist()))


def argument_in_q27(x: TensorType) -> tuple[np.ndarray, int]:
    """The reals of all inputs in Q4.27, and the radius from which on the function saturates.

    TFLite's Prepare of LOGISTIC and TANH (multiplier of 2**27 * scale, CalculateInputRadius).
    """
    fraction, shift = frexp(float(x.scale) * (1 << (31 - INPUT_BITS)))
    multiplier = int(np.floor(fraction * (1 << 31) + 0.5))
    span = ((1 << INPUT_BITS) - 1) * float(1 << (31 - INPUT_BITS))
    radius = int(np.floor(np.ldexp(span, -shift)))
    centred = QUANTS - x.zero_point
    inside = np.clip(centred, -radius, radius)
    return scale_fixed(inside, multiplier, shift), radius


def logistic_table(x: TensorType, y: TensorType) -> Table:
    """gemmlowp's logistic of Q4.27, rounded to 1/256 (TFLite LOGISTIC int8)."""
    argument, radius = argument_in_q27(x)
    half = one_over_one_plus_x(exp_on_negative(-np.abs(argument), INPUT_BITS))
    # 1 - logistic(-a) in Q0.31, where one is the largest integer
    unit = np.where(argument < 0, (1 << 31) - 1 - half, half)
    unit = np.where(argument == 0, 1 << 30, unit)
    q = divide_by_pot(unit, 31 - 8) - 128
    return as_table(_saturated(q, x, radius))


def tanh_table(x: TensorType, y: TensorType) -> Table:
    """gemmlowp's tanh of Q4.27, rounded to 1/128 (TFLite TANH int8)."""
    argument, radius = argument_in_q27(x)
    # (1 - e) / (1 + e) = 2 / (1 + e) - 1 with e = exp(-2|a|): one integer bit more
    exponential = exp_on_negative(-np.abs(argument), INPUT_BITS + 1)
    part = one_minus_x_over_one_plus_x(exponential)
    unit = np.where(argument < 0, -part, part)
    unit = np.where(argument == 0, 0, unit)
    return as_table(_saturated(divide_by_pot(unit, 31 - 7), x, radius))


def one_minus_x_over_one_plus_x(a: np.ndarray) -> np.ndarray:
    """gemmlowp one_minus_x_over_one_plus_x_for_x_in_0_1, Q0.31 to Q0.31."""
    total = np.asarray(a, np.int64) + ((1 << 31) - 1)
    half = (np.abs(total) + 1) // 2 * np.where(total >= 0, 1, -1)
    x = 1515870810 + doubling_high_mul(half, -1010580540)
    for _ in range(3):
        rest = (1 << 29) - doubling_high_mul(half, x)
        x = x + np.clip(doubling_high_mul(x, rest) << 2, -(1 << 31), (1 << 31) - 1)
    return np.clip((x - (1 << 29)) << 2, -(1 << 31), (1 << 31) - 1)


def _saturated(q: np.ndarray, x: TensorType, radius: int) -> np.ndarray:
    centred = QUANTS - x.zero_point
    return np.where(centred <= -radius, -128, np.where(centred >= radius, 127, q))


def clamp_table(x: TensorType, y: TensorType, low: float, high: float) -> Table:
    """Rescales and clamps: TFLite RELU and RELU_N1_TO_1 int8."""
    multiplier, shift = fixed_multiplier(float(x.scale) / float(y.scale))
    q = scale_fixed(QUANTS - x.zero_point, multiplier, shift) + y.zero_point
    least = max(-128, y.zero_point + _round(np.float32(low) / np.float32(y.scale)))
    most = 127
    if np.isfinite(high):
        most = min(127, y.zero_point + _round(np.float32(high) / np.float32(y.scale)))
    return as_table(np.clip(q, least, most))


def relu6_table(x: TensorType, y: TensorType) -> Table:
    """TFLite Micro's RELU6 int8: clamps the integers, input and output quantised alike."""
    six = x.zero_point + _round(np.float32(6.0) / np.float32(x.scale))
    return as_table(np.clip(QUANTS, x.zero_point, min(six, 127)))


def leaky_relu_table(x: TensorType, y: TensorType, alpha: float) -> Table:
    """TFLite LEAKY_RELU int8: one multiplier for each sign."""
    plain = fixed_multiplier(float(x.scale) / float(y.scale))
    slope = float(x.scale) * float(np.float32(alpha)) / float(y.scale)
    leak, shift = fixed_multiplier(abs(slope))
    centred = QUANTS - x.zero_point
    negative = scale_fixed(centred, -leak if slope < 0 else leak, shift)
    return as_table(np.where(centred >= 0, scale_fixed(centred, *plain), negative) + y.zero_point)


def hard_swish_table(x: TensorType, y: TensorType) -> Table:
    """TFLite HARD_SWISH int8: x * relu6(x + 3) / 6 in 16-bit fixed point."""
    hires_scale = np.float32(1.0 / 128.0) * np.float32(x.scale)
    out, out_shift = fixed_multiplier(float(hires_scale / np.float32(y.scale)))
    relu, relu_shift = fixed_multiplier(float(hires_scale / np.float32(3.0 / 32768.0)))
    hires = (QUANTS - x.zero_point) << 7
    preshift = _high_mul16(hires, _upper_half(out))
    gate = hires
    if relu_shift > 0:
        gate = _clip16(gate << (relu_shift - 1))
    gate = _high_mul16(gate, _upper_half(relu))
    gate = _clip16(gate << 1) if relu_shift > 0 else divide_by_pot(gate, -relu_shift)
    gate = (gate + (1 << 15)) >> 1
    product = gate * preshift
    # towards zero
    product = np.where(product >= 0, product >> 15, -(-product >> 15))
    return as_table(divide_by_pot(product, -out_shift) + y.zero_point)


def _upper_half(multiplier: int) -> int:
    """A 32-bit multiplier rounded to 16 bits (TFLite DownScaleInt32ToInt16Multiplier)."""
    return 32767 if multiplier >= (1 << 31) - (1 << 15) else (multiplier + (1 << 15)) >> 16


def _high_mul16(a: np.ndarray, b: int) -> np.ndarray:
    """gemmlowp SaturatingRoundingDoublingHighMul of 16-bit values (b is not negative)."""
    product = np.asarray(a, np.int64) * b
    nudge = np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    total = product + nudge
    return np.where(total >= 0, total >> 15, -(-total >> 15))


def _clip16(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


def _round(x: np.floating | float) -> int:
    """Half away from zero."""
    return int(np.sign(x) * np.floor(np.abs(np.float64(x)) + 0.5))


def elu_table(x: TensorType, y: TensorType) -> Table:
    """TFLite Micro's ELU int8: float32 exponential, rounded half away from zero."""

    def elu(reals: np.ndarray) -> np.ndarray:
        powers = np.exp(np.minimum(reals, 0).astype(np.float64)).astype(np.float32)
        return np.where(reals < 0, powers - np.float32(1), reals)

    return real_table(x, y, elu)


def real_table(x: TensorType, y: TensorType, function: Callable[[np.ndarray], np.ndarray]) -> Table:
    """round(f(s_x * (q - z_x)) * (1 / s_y)) + z_y in float32 (TFLite PopulateLookupTable)."""
    reals = np.float32(x.scale) * (QUANTS - x.zero_point).astype(np.float32)
    inverse = np.float32(1) / np.float32(y.scale)
    scaled = np.asarray(function(reals), np.float32) * inverse
    rounded = np.sign(scaled) * np.floor(np.abs(scaled).astype(np.float64) + 0.5)
    return as_table(rounded + y.zero_point)


def abs_table(x: TensorType, y: TensorType) -> Table:
    """TFLite ABS int8: |q - z_x|, rescaled where the scales differ."""
    size = np.abs(QUANTS - x.zero_point)
    if x.scale != y.scale:
        size = scale_fixed(size, *fixed_multiplier(float(x.scale) / float(y.scale)))
    return as_table(size + y.zero_point)


ACTIVATIONS: dict[str, Callable[[TensorType, TensorType], Table]] = {
    "LOGISTIC": logistic_table,
    "TANH": tanh_table,
    "RELU": lambda x, y: clamp_table(x, y, 0.0, np.inf),
    "RELU6": relu6_table,
    "RELU_N1_TO_1": lambda x, y: clamp_table(x, y, -1.0, 1.0),
    "HARD_SWISH": hard_swish_table,
    "ELU": elu_table,
    "ABS": abs_table,
}
FLOATS = {
    "LOGISTIC": ("sigmoid", 0.0, 0.0), "TANH": ("tanh", 0.0, 0.0), "RELU": ("relu", 0.0, 0.0),
    "RELU6": ("clip", 0.0, 6.0), "RELU_N1_TO_1": ("clip", -1.0, 1.0),
    "RELU_0_TO_1": ("clip", 0.0, 1.0), "HARD_SWISH": ("hardswish", 0.0, 0.0),
    "ELU": ("elu", 1.0, 0.0), "ABS": ("abs", 0.0, 0.0), "EXP": ("exp", 0.0, 0.0),
    "SQRT": ("sqrt", 0.0, 0.0), "RSQRT": ("rsqrt", 0.0, 0.0), "NEG": ("neg", 0.0, 0.0),
    "LOG": ("log", 0.0, 0.0), "SIN": ("sin", 0.0, 0.0), "COS": ("cos", 0.0, 0.0),
    "SQUARE": ("square", 0.0, 0.0), "FLOOR": ("floor", 0.0, 0.0), "CEIL": ("ceil", 0.0, 0.0),
    "ROUND": ("round", 0.0, 0.0), "LOGICAL_NOT": ("not", 0.0, 0.0),
}  # fmt: skip
"""The same as ``Unary`` of (function, alpha, beta) for floats."""


@from_tflite(*FLOATS)
def _from_tflite(node: Any) -> None:
    x, y = node.type(0), node.output_type(0)
    if x.dtype is DType.FLOAT32 or x.quant is None:
        function, alpha, beta = FLOATS[node.kind]
        node.add(Unary(function, alpha, beta), node.inputs[:1])
        return
    if not _int8(x, y) or node.kind not in ACTIVATIONS:
        raise node.unsupported(f"{x} to {y}")
    if node.kind == "RELU6" and x.quant != y.quant:
        raise node.unsupported("input and output are quantised differently")
    node.add(ACTIVATIONS[node.kind](x, y), node.inputs[:1])


@from_tflite("LEAKY_RELU")
def _leaky_relu(node: Any) -> None:
    x, y = node.type(0), node.output_type(0)
    alpha = node.options("LeakyReluOptions").Alpha()
    if x.dtype is DType.FLOAT32:
        node.add(Unary("leakyrelu", alpha), node.inputs[:1])
        return
    if not _int8(x, y):
        raise node.unsupported(f"{x} to {y}")
    node.add(leaky_relu_table(x, y, alpha), node.inputs[:1])


def _int8(*kinds: TensorType) -> bool:
    return all(k.dtype is DType.INT8 and k.quant is not None and k.quant.per_tensor for k in kinds)
