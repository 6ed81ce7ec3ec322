"""The gradient before a rescaling: which outputs were clamped, and the factor of each channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..errors import InvalidModel
from ..ir import (
    POINT,
    SAME_ROW,
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Param,
    Reading,
    Table,
    TensorType,
    Types,
)
from .mantissas import REACH, check_gradient, check_rounding, round_shift
from .rows import is_map


def bits_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the bits of a map, 8 values of a row to a byte: [N, H, 1, bytes], or
    [N, bytes] of what is no map."""
    if len(shape) == 4:
        return (shape[0], shape[1], 1, -(-shape[2] * shape[3] // 8))
    return (shape[0], -(-prod(shape[1:]) // 8))


@dataclass(frozen=True)
class ClampMask(Op):
    """Bits that are set where lo < y < hi: bit k % 8 of byte k // 8 of a row for its value k.

    y is int8 [N, H, W, C], a row W * C values, the bits [N, H, 1, ceil(W * C / 8)]; or of
    another rank, a row the values of an n, the bits [N, ceil(values / 8)]. Bits beyond a row
    are 0.
    """

    lo: int
    hi: int

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        y = inputs[0]
        if y is None or y.dtype is not DType.INT8 or y.rank < 2:
            raise InvalidModel(f"a mask of {y}")
        return (TensorType(bits_shape(y.shape), DType.UINT8),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return (SAME_ROW if is_map(types.input(0)) else None,)

    def column_windows(self, types: Types) -> tuple[Reading | None, ...] | None:
        return None

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        y = inputs[0]
        assert y is not None
        shape = types.output.shape
        inside = ((y > self.lo) & (y < self.hi)).reshape(prod(shape[:-1]), -1)
        return (np.packbits(inside, axis=1, bitorder="little").reshape(shape),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        rows = prod(types.output.shape[:-1])
        params = {
            "rows": rows, "row": types.input(0).count // rows, "lo": self.lo, "hi": self.hi
        }  # fmt: skip
        return KernelCall("clamp_mask", "s8", params, (Flat(inputs[0]), Flat(outputs[0])))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for shape in ((1, 5, 3, 7), (1, 4, 4, 8), (2, 3, 1, 5), (1, 13), (3, 16)):
            for lo, hi in ((-128, 127), (-20, 128)):
                x = TensorType(shape, DType.INT8)
                yield Example(cls(lo, hi), Types((x,), cls(lo, hi).infer((x,))))


@dataclass(frozen=True)
class GradientGate(Op):
    """h = round_shift(g * multiplier[c], shift) limited to +-limit; 0 where the bit is clear.

    Inputs: g int16 [..., C], bits as ``ClampMask`` makes them or none, multiplier int16 [C] or
    [1], constant. With multipliers for M_c = s_x * s_w[c] / s_y it makes the gradient by the
    accumulator from that by the output, with one for s_a / s_y that by an input of an addition.
    """

    shift: int
    limit: int = REACH

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        g, bits, multiplier = check_gradient(inputs[0]), inputs[1], inputs[2]
        check_rounding(self.shift, self.limit)
        if multiplier is None or multiplier.dtype is not DType.INT16 or g.rank < 2:
            raise InvalidModel(f"{g} times {multiplier}")
        if multiplier.shape not in ((1,), (g.shape[-1],)):
            raise InvalidModel(f"{multiplier} for {g.shape[-1]} channels")
        if bits is not None and (bits.dtype, bits.shape) != (DType.UINT8, bits_shape(g.shape)):
            raise InvalidModel(f"bits {bits} for {g}")
        return (TensorType(g.shape, DType.INT16),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        if types.inputs[1] is None:
            return (POINT, None, None)
        # without rows of its own the mask is read by places that are no rows
        return (POINT, SAME_ROW, None) if is_map(types.output) else (None, None, None)

    def column_windows(self, types: Types) -> tuple[Reading | None, ...] | None:
        return None

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        g, bits, multiplier = inputs[0], inputs[1], inputs[2]
        assert g is not None and multiplier is not None
        h = round_shift(g.astype(np.int64) * multiplier, self.shift, self.limit)
        if bits is not None:
            rows = prod(bits.shape[:-1])
            inside = np.unpackbits(
                bits.reshape(rows, -1), axis=1, count=g.size // rows, bitorder="little"
            )
            h = np.where(inside.reshape(g.shape) != 0, h, np.int16(0))
        return (h,)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        g, bits = types.input(0), types.inputs[1]
        rows = prod(bits_shape(g.shape)[:-1])
        params = {
            "rows": rows, "row": g.count // rows, "channels": g.shape[-1],
            "per_channel": int(types.input(2).count > 1),
            "shift": self.shift, "limit": self.limit,
        }  # fmt: skip
        mask = None if bits is None else Flat(inputs[1])
        operands = (Flat(inputs[0]), mask, Flat(inputs[2]), Flat(outputs[0]))
        return KernelCall("gradient_gate", "s16", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(31)
        for shape in ((1, 5, 3, 7), (1, 4, 4, 8), (2, 3, 1, 5), (1, 13), (3, 16)):
            for turn, (count, shift, limit) in enumerate(
                ((shape[-1], 15, REACH), (1, 12, 900), (1, 0, REACH))
            ):
                for gated in (True, False)[: 1 if turn else 2]:
                    g = TensorType(shape, DType.INT16)
                    bits = TensorType(bits_shape(shape), DType.UINT8) if gated else None
                    kind = TensorType((count,), DType.INT16)
                    multiplier = rng.integers(-REACH if count == 1 else 0, REACH + 1, count)
                    if shift == 0:
                        multiplier = np.ones(1, np.int64)
                    op = cls(shift, limit)
                    types = Types((g, bits, kind), op.infer((g, bits, kind)))
                    yield Example(op, types, {2: multiplier.astype(np.int16)})


@dataclass(frozen=True)
class GradientLookup(Op):
    """g' = round_shift(g * table[q + 128], shift) limited to +-limit.

    Inputs: g int16 and q int8 of one shape. The gradient of a function of one int8: ``table``
    holds its slopes at all 256 values of q.
    """

    table: tuple[int, ...]
    shift: int
    limit: int = REACH

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        g, q = check_gradient(inputs[0]), inputs[1]
        check_rounding(self.shift, self.limit)
        if q is None or q.dtype is not DType.INT8 or q.shape != g.shape:
            raise InvalidModel(f"slopes at {q} for {g}")
        if len(self.table) != 256 or not all(-REACH <= n <= REACH for n in self.table):
            raise InvalidModel(f"a table of {len(self.table)} slopes")
        return (TensorType(g.shape, DType.INT16),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return (POINT, POINT)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        g, q = inputs[0], inputs[1]
        assert g is not None and q is not None
        slopes = np.array(self.table, np.int64)[q.astype(np.int64) + 128]
        return (round_shift(g.astype(np.int64) * slopes, self.shift, self.limit),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        params: dict[str, Param] = {
            "count": types.output.count, "shift": self.shift, "limit": self.limit,
            "table": Table("slopes", np.array(self.table, np.int16)),
        }  # fmt: skip
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(outputs[0]))
        return KernelCall("gradient_lookup", "s16", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(32)
        table = tuple(int(n) for n in rng.integers(-REACH, REACH + 1, 256))
        for shape in ((1, 5, 3, 7), (2, 9)):
            g, q = TensorType(shape, DType.INT16), TensorType(shape, DType.INT8)
            for op in (cls(table, 15), cls(table, 11, 3000)):
                yield Example(op, Types((g, q), op.infer((g, q))))
