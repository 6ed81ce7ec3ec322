"""Integer arithmetic of quantised networks in numpy: rescaling, rounding, saturation.

The fixed-point forms are those of gemmlowp and TensorFlow Lite; all take and give int64
arrays that hold int32 values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import InvalidModel
from ..ir import FixedPoint, FloatScale, Quant, Rescale, TensorType


def fixed_multiplier(real: float) -> tuple[int, int]:
    """``real`` >= 0 as (multiplier, shift): real ~ multiplier * 2**(shift - 31).

    TFLite's QuantizeMultiplier: multiplier in [2**30, 2**31), or (0, 0) below 2**-32.
    """
    if not 0.0 <= real < math.inf:
        raise InvalidModel(f"quantisation scales make a factor of {real}")
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    # half away from zero, as C's round(); floor(x + 0.5) is exact on these magnitudes
    multiplier = math.floor(fraction * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        return (1 << 31) - 1, 30
    return multiplier, shift


def fixed_point(reals: Sequence[float] | np.ndarray) -> FixedPoint:
    """Fixed-point form of one or several positive real factors."""
    pairs = [fixed_multiplier(float(real)) for real in reals]
    return FixedPoint(tuple(m for m, _ in pairs), tuple(s for _, s in pairs))


def doubling_high_mul(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    """Rounded high half of 2 * a * b (gemmlowp SaturatingRoundingDoublingHighMul)."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.minimum((product + (1 << 30)) >> 31, (1 << 31) - 1)


def divide_by_pot(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """x / 2**exponent, half away from zero (gemmlowp RoundingDivideByPOT)."""
    x = np.asarray(x, np.int64)
    mask = (np.int64(1) << np.asarray(exponent, np.int64)) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def wrap32(x: np.ndarray) -> np.ndarray:
    """int64 to the int32 that the same bits mean on a 32-bit machine."""
    return np.asarray(x, np.int64).astype(np.int32).astype(np.int64)


def scale_fixed(x: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int) -> np.ndarray:
    """x * multiplier * 2**(shift - 31) (TFLite MultiplyByQuantizedMultiplier)."""
    shift = np.asarray(shift, np.int64)
    left = np.maximum(shift, 0)
    right = np.maximum(-shift, 0)
    return divide_by_pot(
        doubling_high_mul(wrap32(np.asarray(x, np.int64) << left), multiplier), right
    )


def rescale(acc: np.ndarray, how: Rescale) -> np.ndarray:
    """Rescales an accumulator whose last axis is the output channel."""
    if isinstance(how, FixedPoint):
        return scale_fixed(acc, np.array(how.multiplier), np.array(how.shift))
    return scale_float(acc, np.array(how.m, np.float32))


def scale_float(acc: np.ndarray, m: np.ndarray | np.floating) -> np.ndarray:
    """rint(float32(acc) * m), half to even, clipped to +-2**22 (beyond any 16-bit output)."""
    product = np.asarray(acc).astype(np.float32) * np.asarray(m, np.float32)
    return round_even(product)


def round_even(x: np.ndarray) -> np.ndarray:
    """Nearest integer, half to even; clipped to +-2**22, NaN gives 0."""
    limit = np.float32(1 << 22)
    return np.rint(np.clip(np.where(np.isnan(x), 0, x), -limit, limit)).astype(np.int64)


def saturate(x: np.ndarray, kind: TensorType) -> np.ndarray:
    """Integers clamped to the range of ``kind`` and given its type."""
    low, high = kind.dtype.limits
    return np.clip(x, low, high).astype(kind.dtype.numpy)


def dequantize(q: np.ndarray, quant: Quant) -> np.ndarray:
    """float32 (q - zero_point) * scale (ONNX DequantizeLinear)."""
    scale, zero = quant.along(q.ndim)
    return (q.astype(np.int64) - zero).astype(np.float32) * scale


def quantize(x: np.ndarray, kind: TensorType) -> np.ndarray:
    """saturate(rint(x / scale) + zero_point), half to even (ONNX QuantizeLinear)."""
    assert kind.quant is not None
    scale, zero = kind.quant.along(x.ndim)
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = x.astype(np.float32) / scale
    return saturate(round_even(ratio) + zero, kind)


def float_scale(reals: Sequence[float] | np.ndarray) -> FloatScale:
    """Real factors rounded to float32."""
    return FloatScale(tuple(float(np.float32(real)) for real in reals))


def quantize_clamp(
    clamp: tuple[float, float] | None, kind: TensorType
) -> tuple[float, float] | None:
    """A clamp of reals as one of the integers of ``kind``.

    Quantisation is monotonic, so clamping after it gives what clamping before it gives.
    """
    if clamp is None:
        return None
    low, high = (int(quantize(np.array([x], np.float32), kind)[0]) for x in clamp)
    return low, high
