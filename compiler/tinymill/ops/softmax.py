"""Softmax over the last axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnsupportedOp
from ..ir import (
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Param,
    Quant,
    Reading,
    Site,
    Table,
    TensorType,
    Types,
    Window,
)
from .arithmetic import divide_by_pot, doubling_high_mul, fixed_multiplier, saturate, wrap32
from .registry import from_tflite
from .rows import same_places, same_rows
from .table_softmax import table_softmax

if TYPE_CHECKING:
    from .writing import Writing

# gemmlowp's fixed-point softmax as TFLite uses it: differences of logits carry 5 integer bits,
# the sum of exponentials 12.
DIFFERENCE_BITS = 5
SUM_BITS = 12


@dataclass(frozen=True)
class Softmax(Op):
    """y = exp(beta * (x - max x)) / sum exp(beta * (x - max x)) along the last axis.

    Float, or int8 -> int8/int16 in TFLite's fixed point, where the exponentials of the 256
    possible differences are a table made at compile time.
    """

    beta: float = 1.0
    dtype: DType = DType.FLOAT32

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        return (TensorType(x.shape, self.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types)

    def along(self, types: Types, axis: int) -> tuple[Window | None, ...]:
        inner = axis < types.output.rank - 1
        return same_places(types, axis) if inner else (None,) * len(types.inputs)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, kind = inputs[0], types.output
        assert x is not None
        if kind.dtype is DType.FLOAT32:
            shifted = self.beta * (x.astype(np.float64) - x.max(axis=-1, keepdims=True))
            powers = np.exp(shifted)
            return ((powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32),)
        table = self.table(types.input(0).scale)
        difference = x.max(axis=-1, keepdims=True).astype(np.int64) - x
        exponential = table[difference]
        total = np.sum(divide_by_pot(exponential, SUM_BITS), axis=-1, keepdims=True)
        reciprocal, bits_over_unit = _reciprocal(wrap32(total))
        bits = kind.dtype.size * 8
        # entries of 0 stand for differences too large to count: they give the least value
        y = divide_by_pot(doubling_high_mul(exponential, reciprocal), bits_over_unit + 31 - bits)
        low, _ = kind.dtype.limits
        return (np.where(exponential == 0, low, saturate(y + low, kind)).astype(kind.dtype.numpy),)

    def quantized(self, types: Types) -> Op | None:
        """By a table of exponentials; TFLite's fixed point is another function."""
        return table_softmax(self.beta, types)

    def table(self, scale: float) -> np.ndarray:
        """exp(-beta * scale * d) in Q0.31 for d = 0 .. 255, gemmlowp's digits; int64."""
        real = min(self.beta * scale * (1 << (31 - DIFFERENCE_BITS)), float((1 << 31) - 1))
        multiplier, shift = fixed_multiplier(real)
        most = ((1 << DIFFERENCE_BITS) - 1) * (1 << (31 - DIFFERENCE_BITS))
        # TFLite's input radius: differences below it count as nothing
        radius = -(most >> max(shift, 0))
        difference = -np.arange(256, dtype=np.int64)
        scaled = doubling_high_mul(wrap32(difference << max(shift, 0)), multiplier)
        powers = exp_on_negative(scaled, DIFFERENCE_BITS)
        return np.where(difference >= radius, powers, 0)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        y = at.node.outputs[0]
        weighted = write.times(gs[0], y)
        total = write.total(weighted, (at.types.output.rank - 1,))
        found = write.minus(weighted, write.times(y, total))
        return (found if self.beta == 1.0 else write.times(found, self.beta),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        depth = x.shape[-1]
        params: dict[str, Param] = {"rows": x.count // depth, "depth": depth}
        operands = (Flat(inputs[0]), Flat(outputs[0]))
        if x.dtype is DType.FLOAT32:
            return KernelCall("softmax", "f32", params | {"beta": self.beta}, operands)
        if x.dtype is not DType.INT8 or y.dtype not in (DType.INT8, DType.INT16):
            raise UnsupportedOp(f"softmax of {x} to {y}")
        params["exponential"] = Table("exponential", self.table(x.scale).astype(np.int32))
        return KernelCall("softmax", f"s8_{y.dtype.value}", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for shape in ((3, 11), (1, 3, 2, 11)):
            x = TensorType(shape, DType.FLOAT32)
            yield Example(cls(), Types((x,), (x,)))
        for scale in (0.01, 0.07, 0.6, 3.0):
            for dtype, zero in ((DType.INT8, -128), (DType.INT16, -32768)):
                qx = TensorType((5, 12), DType.INT8, Quant((scale,), (4,)))
                qy = TensorType((5, 12), dtype, Quant((1 / (1 << 8 * dtype.size),), (zero,)))
                yield Example(cls(dtype=dtype), Types((qx,), (qy,)))
                qx, qy = (kind.with_shape((1, 3, 2, 12)) for kind in (qx, qy))
                yield Example(cls(dtype=dtype), Types((qx,), (qy,)))


def exp_on_negative(a: np.ndarray, integer_bits: int) -> np.ndarray:
    """gemmlowp exp_on_negative_values: a <= 0 with ``integer_bits`` -> exp(a) in Q0.31."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    a = np.asarray(a, np.int64)
    reduced = (a & (quarter - 1)) - quarter
    result = _exp_quarter(wrap32(reduced << integer_bits))
    remainder = reduced - a
    # multipliers exp(-2**exponent) in Q0.31
    factors = (
        (-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308),
        (2, 39332535), (3, 720401), (4, 242),
    )  # fmt: skip
    for exponent, factor in factors:
        if integer_bits > exponent:
            bit = 1 << (fraction_bits + exponent)
            result = np.where(remainder & bit, doubling_high_mul(result, factor), result)
    if integer_bits > 5:
        clamp = -(1 << (31 - integer_bits + 5))
        result = np.where(a < clamp, 0, result)
    return np.where(a == 0, (1 << 31) - 1, result)


def _exp_quarter(a: np.ndarray) -> np.ndarray:
    """exp on [-1/4, 0) in Q0.31: a Taylor polynomial around -1/8."""
    constant_term, third = 1895147668, 715827883
    x = a + (1 << 28)
    x2 = doubling_high_mul(x, x)
    x3 = doubling_high_mul(x2, x)
    x4 = doubling_high_mul(x2, x2)
    x4_over_4 = divide_by_pot(x4, 2)
    inner = divide_by_pot(doubling_high_mul(x4_over_4 + x3, third) + x2, 1)
    return wrap32(constant_term + doubling_high_mul(constant_term, x + inner))


def one_over_one_plus_x(a: np.ndarray) -> np.ndarray:
    """gemmlowp one_over_one_plus_x_for_x_in_0_1: Q0.31 to Q0.31, by Newton's method."""
    half_denominator = _rounding_half_sum(np.asarray(a, np.int64), (1 << 31) - 1)
    # 48/17 and -32/17 with two integer bits
    x = 1515870810 + doubling_high_mul(half_denominator, -1010580540)
    for _ in range(3):
        product = doubling_high_mul(half_denominator, x)
        x = x + _saturating_left(doubling_high_mul(x, (1 << 29) - product), 2)
    return _saturating_left(x, 1)


def _rounding_half_sum(a: np.ndarray, b: int) -> np.ndarray:
    total = a + b
    sign = np.where(total >= 0, 1, -1)
    return ((np.abs(total) + 1) // 2) * sign


def _saturating_left(x: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(x << bits, -(1 << 31), (1 << 31) - 1)


def _reciprocal(total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 / total for a sum with SUM_BITS integer bits: (Q0.31 factor, bits over the unit)."""
    headroom = np.array([32 - int(t).bit_length() for t in total.ravel()]).reshape(total.shape)
    bits_over_unit = SUM_BITS - headroom
    shifted = wrap32((total << headroom) - (1 << 31))
    return one_over_one_plus_x(shifted), bits_over_unit


@from_tflite("SOFTMAX")
def _from_tflite(node: Any) -> None:
    beta = float(node.options("SoftmaxOptions").Beta())
    node.add(Softmax(beta, node.output_type(0).dtype), node.inputs[:1])
