"""Quantize, Dequantize, Requantize, Recode: between reals and integers, and among integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    POINT,
    DType,
    Example,
    FixedPoint,
    Flat,
    Gradient,
    KernelCall,
    Op,
    Param,
    Quant,
    Site,
    Table,
    Tape,
    TensorType,
    Types,
    Window,
)
from .arithmetic import dequantize, fixed_point, quantize, saturate, scale_fixed
from .registry import from_onnx, from_tflite
from .reshape import Reshape

LEAST_LOOKED_UP = 64
"""Bytes from which on a table of 256 replaces the arithmetic."""


@dataclass(frozen=True)
class Quantize(Op):
    """float32 -> integers of ``dtype``: saturate(rint(x / scale) + zero_point).

    Half to even with ``rounding`` "even" (ONNX), away from zero with "away" (TFLite). The
    output's type holds scale and zero point.
    """

    dtype: DType = DType.INT8
    rounding: str = "even"

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if not self.dtype.is_integer:
            raise InvalidModel(f"quantisation of {x} to {self.dtype.name.lower()}")
        return (TensorType(x.shape, self.dtype),)

    def windows(self, types: Types) -> tuple[Window | None, ...]:
        return (POINT,)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, kind = inputs[0], types.output
        assert x is not None and kind.quant is not None
        if self.rounding == "even":
            return (quantize(x, kind),)
        scale, zero = kind.quant.along(x.ndim)
        ratio = np.clip(np.nan_to_num(x / scale), -(2.0**22), 2.0**22).astype(np.float32)
        # exact: |ratio| + 0.5 needs 24 bits at most below 2**22
        rounded = np.sign(ratio) * np.floor(np.abs(ratio).astype(np.float64) + 0.5)
        return (saturate(rounded.astype(np.int64) + zero, kind),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        if x.dtype is not DType.FLOAT32 or y.quant is None or not y.quant.per_tensor:
            raise UnsupportedOp(f"quantisation of {x} to {y}")
        low, high = y.dtype.limits
        params: dict[str, Param] = {
            "count": x.count, "scale": y.scale, "zero": y.zero_point, "lo": low, "hi": high,
            "away": int(self.rounding == "away"),
        }  # fmt: skip
        operands = (Flat(inputs[0]), Flat(outputs[0]))
        return KernelCall("quantize", y.dtype.value, params, operands)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return self if types.output.quant is not None and types.output.quant.per_tensor else None

    @classmethod
    def examples(cls) -> Iterator[Example]:
        x = TensorType((1, 3, 1, 7), DType.FLOAT32)
        for rounding in ("even", "away"):
            for dtype in (DType.INT8, DType.UINT8, DType.INT16):
                y = TensorType((1, 3, 1, 7), dtype, Quant((0.25,), (3,)))
                yield Example(cls(dtype, rounding), Types((x,), (y,)), ranges=(-40.0, 40.0))


@dataclass(frozen=True)
class Dequantize(Op):
    """Integers -> float32: (q - zero_point) * scale."""

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if not x.dtype.is_integer:
            raise InvalidModel(f"dequantisation of {x}")
        return (TensorType(x.shape, DType.FLOAT32),)

    def windows(self, types: Types) -> tuple[Window | None, ...]:
        return (POINT,)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, quant = inputs[0], types.input(0).quant
        assert x is not None and quant is not None
        return (dequantize(x, quant),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x = types.input(0)
        if x.quant is None or not x.quant.per_tensor:
            raise UnsupportedOp(f"dequantisation of {x}")
        params: dict[str, Param] = {"count": x.count, "scale": x.scale, "zero": x.zero_point}
        operands = (Flat(inputs[0]), Flat(outputs[0]))
        return KernelCall("dequantize", x.dtype.value, params, operands)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        quant = types.input(0).quant
        return self if quant is not None and quant.per_tensor else None

    @classmethod
    def examples(cls) -> Iterator[Example]:
        y = TensorType((1, 3, 1, 7), DType.FLOAT32)
        for dtype in (DType.INT8, DType.UINT8, DType.INT16, DType.INT32):
            x = TensorType((1, 3, 1, 7), dtype, Quant((0.0625,), (-3 if dtype.limits[0] else 3,)))
            yield Example(cls(), Types((x,), (y,)))


@dataclass(frozen=True)
class Requantize(Op):
    """Integers of one quantisation to another in TFLite's fixed point.

    y = saturate((x - zx) * s_x / s_y + zy).
    """

    dtype: DType
    rescale: FixedPoint

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if not self.dtype.is_integer:
            raise InvalidModel(f"quantisation of {x} to {self.dtype.name.lower()}")
        return (TensorType(x.shape, self.dtype),)

    def windows(self, types: Types) -> tuple[Window | None, ...]:
        return (POINT,)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        centred = x.astype(np.int64) - types.input(0).zero_point
        y = scale_fixed(centred, self.rescale.multiplier[0], self.rescale.shift[0])
        return (saturate(y + types.output.zero_point, types.output),)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        factor = at.types.input(0).scale / at.types.output.scale
        return (tape.gate(at, g, np.array([factor]), (-128, 127)),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        low, high = y.dtype.limits
        params: dict[str, Param] = {
            "count": x.count, "in_zero": x.zero_point, "out_zero": y.zero_point,
            "multiplier": self.rescale.multiplier[0], "shift": self.rescale.shift[0],
            "lo": low, "hi": high,
        }  # fmt: skip
        operands = (Flat(inputs[0]), Flat(outputs[0]))
        if x.dtype is y.dtype is DType.INT8 and x.count >= LEAST_LOOKED_UP:
            kinds = (TensorType((256,), x.dtype, x.quant), TensorType((256,), y.dtype, y.quant))
            all_bytes = np.arange(-128, 128).astype(np.int8)
            (table,) = self.reference((all_bytes,), Types(kinds[:1], kinds[1:]))
            params = {"count": x.count, "table": Table("table", table)}
            return KernelCall("lookup", "s8", params, operands)
        return KernelCall("requantize", f"{x.dtype.value}_{y.dtype.value}", params, operands)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return self

    @classmethod
    def examples(cls) -> Iterator[Example]:
        pairs = [
            (DType.INT8, DType.INT8), (DType.INT16, DType.INT8), (DType.INT8, DType.INT16),
            (DType.INT16, DType.INT32), (DType.INT8, DType.INT32),
        ]  # fmt: skip
        quants = Quant((0.05,), (4,)), Quant((0.0613,), (-5,))
        x, y = (TensorType((1, 9, 1, 11), DType.INT8, quant) for quant in quants)
        yield Example(cls(DType.INT8, fixed_point([0.05 / 0.0613])), Types((x,), (y,)))
        for source, target in pairs:
            x = TensorType((1, 3, 1, 7), source, Quant((0.05,), (4,)))
            y = TensorType((1, 3, 1, 7), target, Quant((0.02,), (-5,)))
            yield Example(cls(target, fixed_point([0.05 / 0.02])), Types((x,), (y,)))


@dataclass(frozen=True)
class Recode(Op):
    """uint8 to int8 or back with the zero point moved by 128: the top bit flipped."""

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        return (TensorType(x.shape, DType.INT8 if x.dtype is DType.UINT8 else DType.UINT8),)

    def windows(self, types: Types) -> tuple[Window | None, ...]:
        return (POINT,)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        return ((x.view(np.uint8) ^ np.uint8(0x80)).view(types.output.dtype.numpy),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        return KernelCall(
            "recode", "b8", {"count": types.output.count}, (Flat(inputs[0]), Flat(outputs[0]))
        )

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return self

    @classmethod
    def examples(cls) -> Iterator[Example]:
        quants = (Quant((0.5,), (128,)), Quant((0.5,), (0,)))
        unsigned = TensorType((1, 5, 3, 1), DType.UINT8, quants[0])
        signed = TensorType((1, 5, 3, 1), DType.INT8, quants[1])
        yield Example(cls(), Types((unsigned,), (signed,)))
        yield Example(cls(), Types((signed,), (unsigned,)))


@from_tflite("QUANTIZE")
def _quantize(node: Any) -> None:
    x, y = node.type(0), node.output_type(0)
    if x.dtype is DType.FLOAT32:
        node.add(Quantize(y.dtype, "away"), node.inputs[:1])
        return
    if x.quant is None or y.quant is None or not (x.quant.per_tensor and y.quant.per_tensor):
        raise node.unsupported(f"{x} to {y}")
    node.add(Requantize(y.dtype, fixed_point([float(x.scale) / float(y.scale)])), node.inputs[:1])


@from_tflite("DEQUANTIZE")
def _dequantize(node: Any) -> None:
    if node.type(0).quant is None:
        raise node.unsupported(f"{node.type(0)}")
    node.add(Dequantize(), node.inputs[:1])


def _parameters(
    node: Any, scale_at: int, zero_at: int, rank: int, axis: int
) -> tuple[Quant, DType]:
    """Quantisation from two inputs of an ONNX node, and the integers' type by the zero point."""
    scale = node.constant(scale_at).ravel().astype(np.float32)
    if node.has(zero_at):
        zeros = node.constant(zero_at)
        dtype = DType.of(zeros.dtype)
        if not dtype.is_integer or dtype is DType.INT64:
            raise InvalidModel(f"a zero point of type {zeros.dtype}", at=node.name)
        zero_point = tuple(int(z) for z in zeros.ravel())
    else:
        dtype, zero_point = DType.UINT8, (0,) * int(scale.size)
    if not np.all(np.isfinite(scale) & (scale > 0)):
        raise InvalidModel("a quantisation scale is not a positive number", at=node.name)
    if len(zero_point) != scale.size:
        raise InvalidModel(f"{scale.size} scales, {len(zero_point)} zero points", at=node.name)
    scales = tuple(float(s) for s in scale)
    if scale.size == 1:
        return Quant(scales, zero_point), dtype
    axis = axis + rank if axis < 0 else axis
    if not 0 <= axis < rank:
        raise InvalidModel(f"{scale.size} scales along axis {axis} of {rank}", at=node.name)
    return Quant(scales, zero_point, axis), dtype


def quantize_onnx(node: Any, value: str, scale_at: int, zero_at: int) -> None:
    """Ends the import of ``node`` by quantising ``value`` with the parameters in its inputs."""
    kind = node.type_of(value)
    axis = node.attribute("axis", 1) if node.kind == "QuantizeLinear" else 1
    quant, dtype = _parameters(node, scale_at, zero_at, kind.rank, axis)
    node.add(Quantize(dtype), [value], quants=[quant])


def dequantize_onnx(node: Any, position: int, scale_at: int, zero_at: int, axis: int = 1) -> str:
    """Input ``position`` of ``node`` dequantised with the parameters in its inputs."""
    value = node.input(position)
    kind = node.type_of(value)
    quant, _ = _parameters(node, scale_at, zero_at, kind.rank, axis)
    if quant.axis is not None and (
        not quant.axis < kind.rank or kind.shape[quant.axis] != len(quant.scale)
    ):
        raise node.invalid(f"{len(quant.scale)} scales along axis {quant.axis} of {kind.shape}")
    return node.emit(Dequantize(), [_with_quant(node, value, quant)])


def _with_quant(node: Any, value: str, quant: Quant) -> str:
    """``value`` as one that has this quantisation: itself where it has none or the same."""
    kind = node.type_of(value)
    if kind.quant is None:
        node.builder.types[value] = TensorType(kind.shape, kind.dtype, quant)
        return value
    if kind.quant == quant:
        return value
    return node.emit(Reshape(kind.shape), [value], quant)


@from_onnx("QuantizeLinear")
def _quantize_linear(node: Any) -> None:
    if node.attribute("block_size", 0):
        raise node.unsupported("blocked quantisation")
    if not node.has(2) and node.attribute("output_dtype", 0) not in (0, 2):
        raise node.unsupported("output_dtype without a zero point")
    quantize_onnx(node, node.input(0), 1, 2)


@from_onnx("DequantizeLinear")
def _dequantize_linear(node: Any) -> None:
    if node.attribute("block_size", 0):
        raise node.unsupported("blocked quantisation")
    node.define(dequantize_onnx(node, 0, 1, 2, node.attribute("axis", 1)))
