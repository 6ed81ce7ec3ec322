"""Integer arithmetic that the front ends share; each has a C twin in runtime_c/frontend."""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, log2

import numpy as np

from ...errors import InvalidInput
from ...ir import DType, TensorType

LOG_TABLE = np.array(
    [round((log2(1 + i / 128) - i / 128) * 65536) for i in range(129)] + [0], np.uint16
)
"""log2(1 + f) - f at f = i / 128, 16 bits of fraction; one more 0 behind the end."""


def msb(x: int) -> int:
    """The number of bits of ``x``, 0 for 0."""
    return x.bit_length()


def bits_of(x: np.ndarray) -> np.ndarray:
    """The number of bits of each int64 number from 0 to 2^62."""
    high = x >> 31
    return np.where(high > 0, np.frexp(high)[1] + 31, np.frexp(x & 0x7FFFFFFF)[1]).astype(np.int64)


_LOG1P = (0x3F2AAAAB, 0x3ECCCCCD, 0x3E924925, 0x3E638E29, 0x3E3A3325, 0x3E1CD04F, 0x3E178897)
_LN2 = (0x3F317180, 0x3717F7D1)


def log1p32(x: np.float32) -> np.float32:
    """log(1 + x) for 2^-20 < x < 2^24 as fdlibm computes it in float32 (s_log1pf.c), the library
    of newlib and of glibc up to 2.40: the last bit decides some weights of the filterbank.

    1 + x = 2^k (1 + f), sqrt(1/2) < 1 + f < sqrt(2); s = f / (2 + f);
    log(1 + f) = f - f^2 / 2 + s (f^2 / 2 + R(s^2)), R the polynomial of ``_LOG1P``.
    """
    f32 = np.float32
    one, half = f32(1), f32(0.5)
    low = high = correction = f32(0)
    f = x
    if x >= _float(0x3ED413D7):  # sqrt(2) - 1
        u = one + x
        k = (int(u.view(np.int32)) >> 23) - 127
        # what the sum 1 + x lost
        correction = ((one - (u - x)) if k > 0 else (x - (u - one))) / u
        mantissa = int(u.view(np.int32)) & 0x7FFFFF
        if mantissa < 0x3504F7:
            f = _float(mantissa | 0x3F800000) - one
        else:
            k += 1
            f = _float(mantissa | 0x3F000000) - one
        high, low = f32(k) * _float(_LN2[0]), f32(k) * _float(_LN2[1])
    square = half * f * f
    s = f / (f32(2) + f)
    z = s * s
    r = f32(0)
    for word in reversed(_LOG1P):
        r = z * (_float(word) + r)
    return f32(high - ((square - (s * (square + r) + (low + correction))) - f))


def _float(bits: int) -> np.float32:
    return np.uint32(bits).view(np.float32)


@dataclass(frozen=True)
class Store:
    """How integers ``v`` of real value ``unit`` * v become elements of the model's input.

    Integers: clamp((v * multiplier + bias) >> shift, low, high); the bias holds half a step and
    the zero point. float32: float(v) * factor + offset, rounded after each.
    """

    dtype: DType
    multiplier: int = 0
    bias: int = 0
    shift: int = 1
    low: int = 0
    high: int = 0
    factor: float = 0.0
    offset: float = 0.0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        if self.dtype is DType.FLOAT32:
            scaled = values.astype(np.float32) * np.float32(self.factor)
            return scaled + np.float32(self.offset)
        found = (values.astype(np.int64) * self.multiplier + self.bias) >> self.shift
        return np.clip(found, self.low, self.high).astype(self.dtype.numpy)


def store_of(unit: float, offset: float, input: TensorType, *, at: str) -> Store:
    """The store of values v, |v| < 2^28, whose reals are ``unit`` * v + ``offset``.

    Raises ``InvalidInput`` where the input's type is none that front ends write, has no scale,
    or is too far from the values' for a factor of 30 bits and a shift of up to 60.
    """
    dtype = input.dtype
    if dtype is DType.FLOAT32:
        return Store(dtype, factor=float(np.float32(unit)), offset=float(np.float32(offset)))
    check_input(input, at)
    factor = unit / input.scale
    shift = 30 - frexp(factor)[1]
    if 1 <= shift <= 60:
        multiplier = round(factor * 2.0**shift)
        bias = round((offset / input.scale + input.zero_point + 0.5) * 2.0**shift)
        if multiplier and abs(bias) < 1 << 61:
            return Store(dtype, multiplier, bias, shift, *dtype.limits)
    raise InvalidInput(f"steps of {unit:g} for an input of scale {input.scale:g}", at=at)


def check_input(input: TensorType, at: str) -> None:
    """Raises ``InvalidInput`` for an input that no front end writes."""
    if input.dtype is DType.FLOAT32:
        return
    if input.dtype not in (DType.INT8, DType.UINT8, DType.INT16):
        raise InvalidInput(f"an input of type {input.dtype.numpy}, front ends give none", at=at)
    if input.quant is None or not input.quant.per_tensor:
        raise InvalidInput("an input without a scale", at=at)
