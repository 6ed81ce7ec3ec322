"""Types of values: element type, shape, quantisation."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from math import prod

import numpy as np


class DType(enum.Enum):
    """Element type; the value is the suffix that kernels of this type carry."""

    INT8 = "s8"
    UINT8 = "u8"
    INT16 = "s16"
    INT32 = "s32"
    INT64 = "s64"
    FLOAT32 = "f32"
    BOOL = "b8"

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(_NUMPY[self])

    @property
    def c(self) -> str:
        """The C type of one element."""
        return _C[self]

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

    @property
    def is_integer(self) -> bool:
        return self not in (DType.FLOAT32, DType.BOOL)

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest value of an integer type."""
        bounds = np.iinfo(self.numpy)
        return int(bounds.min), int(bounds.max)

    @classmethod
    def of(cls, dtype: np.dtype | type) -> DType:
        """The element type of a numpy type; ``KeyError`` if there is none."""
        return _FROM_NUMPY[np.dtype(dtype)]


_NUMPY = {
    DType.INT8: "int8",
    DType.UINT8: "uint8",
    DType.INT16: "int16",
    DType.INT32: "int32",
    DType.INT64: "int64",
    DType.FLOAT32: "float32",
    DType.BOOL: "bool",
}
_C = {
    DType.INT8: "int8_t",
    DType.UINT8: "uint8_t",
    DType.INT16: "int16_t",
    DType.INT32: "int32_t",
    DType.INT64: "int64_t",
    DType.FLOAT32: "float",
    DType.BOOL: "uint8_t",
}
_FROM_NUMPY = {np.dtype(text): dtype for dtype, text in _NUMPY.items()}


@dataclass(frozen=True)
class Quant:
    """Affine quantisation: real = scale * (q - zero_point).

    One scale and zero point for the tensor (``axis`` None), or one pair for each index along
    ``axis``. Scales are float32 values held as Python floats.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    @property
    def per_tensor(self) -> bool:
        return len(self.scale) == 1

    def along(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Scale (float32) and zero point (int64), shaped to broadcast against ``rank`` axes."""
        shape = [1] * rank
        if not self.per_tensor:
            assert self.axis is not None
            shape[self.axis] = len(self.scale)
        scale = np.array(self.scale, np.float32).reshape(shape)
        return scale, np.array(self.zero_point, np.int64).reshape(shape)


@dataclass(frozen=True)
class TensorType:
    """What is known of a value at compile time. Activations are NHWC."""

    shape: tuple[int, ...]
    dtype: DType
    quant: Quant | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def count(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.count * self.dtype.size

    @property
    def scale(self) -> float:
        """The scale of a per-tensor quantised value."""
        assert self.quant is not None and self.quant.per_tensor
        return self.quant.scale[0]

    @property
    def zero_point(self) -> int:
        """The zero point of a per-tensor quantised value."""
        assert self.quant is not None and self.quant.per_tensor
        return self.quant.zero_point[0]

    @property
    def quantized(self) -> bool:
        return self.quant is not None

    def with_shape(self, shape: tuple[int, ...]) -> TensorType:
        return replace(self, shape=tuple(int(n) for n in shape))

    def __str__(self) -> str:
        text = f"{self.dtype.name.lower()}[{'x'.join(map(str, self.shape))}]"
        if self.quant is None:
            return text
        if self.quant.per_tensor:
            return f"{text}(s={self.quant.scale[0]:.8g}, z={self.quant.zero_point[0]})"
        return f"{text}(per axis {self.quant.axis})"
