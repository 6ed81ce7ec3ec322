"""How an integer accumulator becomes an output integer: an attribute of a node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FixedPoint:
    """TFLite's rescaling: acc * multiplier * 2**(shift - 31), rounded as gemmlowp does.

    One pair for the tensor or one for each output channel. ``multiplier`` is in [2**30, 2**31)
    or 0, ``shift`` is positive to the left.
    """

    multiplier: tuple[int, ...]
    shift: tuple[int, ...]


@dataclass(frozen=True)
class FloatScale:
    """ONNX's rescaling: rint(float32(acc) * m), half to even; ``m`` are float32 values."""

    m: tuple[float, ...]


Rescale = FixedPoint | FloatScale
