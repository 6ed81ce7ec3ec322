"""Integer arithmetic of gradients on the device: mantissas of 16 bits with exponents.

A gradient g is an int16 tensor; the derivative of the loss by the integer q of a value is
g * 2**(E + e). e is known at compile time, E comes with each step from its loss. Sums are
integers, so nothing depends on the order of summation.
"""

from __future__ import annotations

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import DType, TensorType

REACH = 32767
"""The largest absolute mantissa."""
ROUNDINGS = ("nearest", "stochastic")
GOLDEN = 0x9E3779B9


def check_gradient(kind: TensorType | None, what: str = "a gradient") -> TensorType:
    """``kind`` if it is that of a gradient; else raises ``InvalidModel``."""
    if kind is None or kind.dtype is not DType.INT16:
        raise InvalidModel(f"{what} of type {kind}")
    return kind


def check_rounding(shift: int, limit: int) -> None:
    """Raises ``InvalidModel`` where ``round_shift`` is not defined for these."""
    if not 0 <= shift <= 31 or not 1 <= limit <= REACH:
        raise InvalidModel(f"a gradient shifted by {shift}, limited to {limit}")


def check_update(rounding: str) -> None:
    """Raises ``InvalidModel`` for a rounding of updates that there is not."""
    if rounding not in ROUNDINGS:
        raise InvalidModel(f"rounding '{rounding}', not one of {', '.join(ROUNDINGS)}")


def fits_int32(terms: int, factor: int, reach: int) -> None:
    """Raises ``UnsupportedOp`` where ``terms`` products of that size may overflow an int32."""
    if terms * factor * reach >= 1 << 31:
        raise UnsupportedOp(
            f"a sum of {terms} products of a gradient up to {reach} by up to {factor}"
        )


def round_shift(v: np.ndarray, shift: int, limit: int) -> np.ndarray:
    """v / 2**shift, half up, saturated to +-limit, as int16; v is int64."""
    v = v if shift == 0 else (v + (np.int64(1) << (shift - 1))) >> shift
    return np.clip(v, -limit, limit).astype(np.int16)


def mix(x: np.ndarray | np.unsignedinteger) -> np.ndarray:
    """A hash of uint32 values (32-bit finaliser of two multiplications)."""
    bits: np.ndarray = np.asarray(x, np.uint32)
    with np.errstate(over="ignore"):
        bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D)
        bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B)
        return np.asarray(bits ^ (bits >> np.uint32(16)))


def noise(counter: int, layer: int, index: np.ndarray) -> np.ndarray:
    """float32 numbers in [0, 1), one for each index; ``counter`` is the number of the step."""
    base = np.uint32(((counter & 0xFFFFFFFF) * GOLDEN + layer) & 0xFFFFFFFF)
    with np.errstate(over="ignore"):
        bits = mix(mix(base) + index.astype(np.uint32))
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def step_factor(rate: np.ndarray, coefficient: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """float32 (rate * coefficient) * 2**E, E cut to [-126, 127]: two products."""
    power = np.float32(2.0) ** np.float32(np.clip(int(exponent[0]), -126, 127))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return (np.float32(rate[0]) * coefficient.astype(np.float32)) * power


def rounded(t: np.ndarray, rounding: str, counter: int, layer: int) -> np.ndarray:
    """float32 whole numbers: t to the nearest, half to even, or up with the probability of its
    fraction; the noise is that of the flat index."""
    if rounding == "nearest":
        return np.rint(t)
    places = np.arange(t.size, dtype=np.uint32).reshape(t.shape)
    with np.errstate(invalid="ignore"):
        return np.floor(t + noise(counter, layer, places))
