"""Resize of NHWC maps: nearest neighbour, bilinear. Which pixels are read is known here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    KernelCall,
    Op,
    Param,
    Reading,
    Rows,
    RowTable,
    Site,
    Table,
    TensorType,
    Types,
)
from .registry import from_onnx, from_tflite

if TYPE_CHECKING:
    from .writing import Writing

FIXED_BITS = 10
"""Bits of the weights in TFLite's integer bilinear interpolation."""


@dataclass(frozen=True)
class ResizeNearest(Op):
    """y[n, i, j] = x[n, rows[i], columns[j]]."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    movement = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if x.rank != 4 or not self.rows or not self.columns:
            raise InvalidModel(f"resize of {x} to {len(self.rows)} x {len(self.columns)}")
        n, height, width, channels = x.shape
        if max(self.rows) >= height or max(self.columns) >= width:
            raise InvalidModel(f"resize reads beyond {x.shape}")
        return (TensorType((n, len(self.rows), len(self.columns), channels), x.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        if types.input(0).shape[0] != 1:
            return (None,)
        return (RowTable(self.rows, tuple(row + 1 for row in self.rows)),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        return (np.ascontiguousarray(x[:, list(self.rows)][:, :, list(self.columns)]),)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        x, (batch, height, width, channels) = at.types.input(0), at.types.output.shape
        rows = np.arange(x.shape[1])[:, None] == np.array(self.rows)
        columns = np.arange(x.shape[2])[:, None] == np.array(self.columns)
        g = write.reshaped(gs[0], batch, height, width * channels)
        g = write.product(write.constant(rows[None]), g)
        g = write.reshaped(g, batch * x.shape[1], width, channels)
        g = write.product(write.constant(columns[None]), g)
        return (write.reshaped(g, *x.shape),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x = types.input(0)
        params: dict[str, Param] = {
            "out_w": len(self.columns),
            "pixel": x.shape[3] * x.dtype.size,
            "rows": Table("rows", np.array(self.rows, np.int32)),
            "columns": Table("columns", np.array(self.columns, np.int32)),
        }
        return KernelCall("resize_nearest", "b8", params, (Rows(inputs[0]), Rows(outputs[0])))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.INT8, DType.FLOAT32):
            for op in (cls((0, 0, 1, 1, 2, 2), (0, 1, 1, 2)), cls((2,), (3, 0))):
                for batch in (1, 2):
                    x = TensorType((batch, 3, 4, 5), dtype)
                    yield Example(op, Types((x,), op.infer((x,))))


Tap = tuple[int, int, float]
"""Two places along an axis and the weight of the second."""


@dataclass(frozen=True)
class ResizeBilinear(Op):
    """Each output pixel mixes four: along each axis places (a, b) with weights (1 - w, w).

    int8: the weights are integers of 1 / 1024 and the sum is rounded half away from zero
    (TFLite ResizeBilinearInteger); input and output quantised alike.
    """

    rows: tuple[Tap, ...]
    columns: tuple[Tap, ...]

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if x.rank != 4 or not self.rows or not self.columns:
            raise InvalidModel(f"resize of {x} to {len(self.rows)} x {len(self.columns)}")
        n, height, width, channels = x.shape
        if max(max(a, b) for a, b, _ in self.rows) >= height:
            raise InvalidModel(f"resize reads beyond {x.shape}")
        if max(max(a, b) for a, b, _ in self.columns) >= width:
            raise InvalidModel(f"resize reads beyond {x.shape}")
        return (TensorType((n, len(self.rows), len(self.columns), channels), x.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        if types.input(0).shape[0] != 1:
            return (None,)
        first = tuple(min(a, b) for a, b, _ in self.rows)
        last = tuple(max(a, b) + 1 for a, b, _ in self.rows)
        return (RowTable(first, last),)

    def macs(self, types: Types) -> int:
        return 4 * types.output.count

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        integer = x.dtype == np.int8
        one: Any = 1 << FIXED_BITS if integer else np.float32(1)
        wide = x.astype(np.int64 if integer else np.float32)
        ya, yb, yw = self._taps(self.rows, (-1, 1, 1), integer)
        xa, xb, xw = self._taps(self.columns, (-1, 1), integer)
        top, bottom = wide[:, ya], wide[:, yb]
        total = (
            top[:, :, xa] * (one - yw) * (one - xw)
            + bottom[:, :, xa] * yw * (one - xw)
            + top[:, :, xb] * (one - yw) * xw
            + bottom[:, :, xb] * yw * xw
        )
        if not integer:
            return (total.astype(np.float32),)
        half = 1 << (2 * FIXED_BITS - 1)
        y = (np.abs(total) + half >> 2 * FIXED_BITS) * np.where(total > 0, 1, -1)
        return (y.astype(np.int8),)

    @staticmethod
    def _taps(
        taps: Sequence[Tap], shape: tuple[int, ...], integer: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        kind = np.int64 if integer else np.float32
        return (
            np.array([a for a, _, _ in taps]),
            np.array([b for _, b, _ in taps]),
            np.array([w for _, _, w in taps], kind).reshape(shape),
        )

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        if x.dtype not in (DType.INT8, DType.FLOAT32) or x.quant != y.quant:
            raise UnsupportedOp(f"bilinear resize of {x} to {y}")
        kind = np.int32 if x.dtype is DType.INT8 else np.float32
        params: dict[str, Param] = {"out_w": len(self.columns), "channels": x.shape[3]}
        for name, taps in (("row", self.rows), ("column", self.columns)):
            places = np.array([(a, b) for a, b, _ in taps], np.int32)
            params[f"{name}s"] = Table(f"{name}s", places)
            params[f"{name}_weights"] = Table(
                f"{name}_weights", np.array([w for _, _, w in taps], kind)
            )
        operands = (Rows(inputs[0]), Rows(outputs[0]))
        return KernelCall("resize_bilinear", x.dtype.value, params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for align, half in ((False, False), (True, False), (False, True)):
            for dtype in (DType.INT8, DType.FLOAT32):
                x = TensorType((1, 5, 4, 3), dtype)
                find = tflite_fixed_taps if dtype is DType.INT8 else tflite_float_taps
                op = cls(find(5, 9, align, half), find(4, 3, align, half))
                yield Example(op, Types((x,), op.infer((x,))))


def tflite_nearest(size: int, out: int, align_corners: bool, half_pixel: bool) -> tuple[int, ...]:
    """TFLite's GetNearestNeighbor for each output place, in float32."""
    scale = np.float32(size) / np.float32(out)
    if align_corners and out > 1:
        scale = np.float32(size - 1) / np.float32(out - 1)
    offset = np.float32(0.5 if half_pixel else 0.0)
    places = []
    for i in range(out):
        real = (np.float32(i) + offset) * scale
        place = floor(float(real) + 0.5) if align_corners else floor(real)
        places.append(max(0, min(place, size - 1)))
    return tuple(places)


def tflite_float_taps(
    size: int, out: int, align_corners: bool, half_pixel: bool
) -> tuple[Tap, ...]:
    """TFLite's ComputeInterpolationValues for each output place, in float32."""
    scale = np.float32(size) / np.float32(out)
    if align_corners and out > 1:
        scale = np.float32(size - 1) / np.float32(out - 1)
    taps = []
    for i in range(out):
        real = np.float32(i) * scale
        if half_pixel:
            real = (np.float32(i) + np.float32(0.5)) * scale - np.float32(0.5)
        low = max(floor(real), 0)
        high = min(ceil(real), size - 1)
        # before the first place both taps are that place, whatever the weight
        weight = np.float32(0) if low == high else real - np.float32(low)
        taps.append((low, max(high, 0), float(weight)))
    return tuple(taps)


def tflite_fixed_taps(
    size: int, out: int, align_corners: bool, half_pixel: bool
) -> tuple[Tap, ...]:
    """TFLite's ComputeInterpolationValuesInteger: places and weights in 1 / 1024."""
    one = 1 << FIXED_BITS
    scale = (one * size + out // 2) // out
    if align_corners and out > 1:
        scale = (one * (size - 1) + (out - 1) // 2) // (out - 1)
    taps = []
    for i in range(out):
        place = i * scale + (scale // 2 - (one >> 1) if half_pixel else 0)
        low = max(_towards_zero(place, one), 0)
        high = min(_towards_zero(place + one - 1, one), size - 1)
        taps.append((low, high, place - one * low))
    return tuple(taps)


def _towards_zero(a: int, b: int) -> int:
    return a // b if a >= 0 else -(-a // b)


@from_tflite("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR")
def _from_tflite(node: Any) -> None:
    x, y = node.type(0), node.output_type(0)
    if x.rank != 4 or y.rank != 4:
        raise node.invalid(f"{x} to {y}")
    bilinear = node.kind == "RESIZE_BILINEAR"
    table = "ResizeBilinearOptions" if bilinear else "ResizeNearestNeighborOptions"
    options = node.options(table)
    how = (bool(options.AlignCorners()), bool(options.HalfPixelCenters()))
    size = [int(n) for n in node.constant(1).ravel()]
    if len(size) != 2 or min(size) < 1 or size != list(y.shape[1:3]):
        raise node.invalid(f"size {size} for {y}")
    if not bilinear:
        rows, columns = (tflite_nearest(x.shape[1 + i], size[i], *how) for i in (0, 1))
        node.add(ResizeNearest(rows, columns), node.inputs[:1])
        return
    if x.dtype is not DType.FLOAT32 and (x.dtype is not DType.INT8 or x.quant != y.quant):
        raise node.unsupported(f"{x} to {y}")
    find = tflite_fixed_taps if x.dtype is DType.INT8 else tflite_float_taps
    taps = [find(x.shape[1 + i], size[i], *how) for i in (0, 1)]
    node.add(ResizeBilinear(taps[0], taps[1]), node.inputs[:1])


def onnx_places(
    size: int, out: int, scale: float, mode: str, roi: tuple[float, float] | None = None
) -> list[float]:
    """Where each output place lies on the input axis (ONNX coordinate_transformation_mode)."""
    if mode == "half_pixel":
        return [(i + 0.5) / scale - 0.5 for i in range(out)]
    if mode == "half_pixel_symmetric":
        # the output's size is rounded: the map stays centred
        offset = size / 2 * (1 - out / (scale * size))
        return [offset + (i + 0.5) / scale - 0.5 for i in range(out)]
    if mode == "pytorch_half_pixel":
        return [(i + 0.5) / scale - 0.5 if out > 1 else 0.0 for i in range(out)]
    if mode == "align_corners":
        return [i * (size - 1) / (out - 1) if out > 1 else 0.0 for i in range(out)]
    assert mode == "asymmetric"
    return [i / scale for i in range(out)]


MODES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def onnx_nearest(places: Sequence[float], size: int, rounding: str) -> tuple[int, ...]:
    """The nearest place of the axis (ONNX nearest_mode)."""
    found = []
    for real in places:
        place = {
            "floor": floor(real),
            "ceil": ceil(real),
            "round_prefer_floor": ceil(real - 0.5),
            "round_prefer_ceil": floor(real + 0.5),
        }[rounding]
        found.append(max(0, min(place, size - 1)))
    return tuple(found)


def onnx_linear(places: Sequence[float], size: int) -> tuple[Tap, ...]:
    """Linear interpolation between clamped places."""
    taps = []
    for real in places:
        inside = max(0.0, min(real, float(size - 1)))
        low = min(floor(inside), size - 1)
        taps.append((low, min(low + 1, size - 1), float(np.float32(inside - low))))
    return tuple(taps)


@from_onnx("Resize", "Upsample")
def _from_onnx(node: Any) -> None:
    x = node.type(0)
    if x.rank != 4:
        raise node.unsupported(f"resize of rank {x.rank}")
    if node.kind == "Upsample":
        scales, sizes, transform, rounding = node.constant(1).ravel(), None, "asymmetric", "floor"
    else:
        scales = node.constant(2).ravel() if node.has(2) else np.zeros(0)
        sizes = node.constant(3).ravel() if node.has(3) else None
        name = "coordinate_transformation_mode"
        transform = node.attribute(name, b"half_pixel").decode()
        rounding = node.attribute("nearest_mode", b"round_prefer_floor").decode()
    if node.attribute("axes", None) is not None or node.attribute("antialias", 0):
        raise node.unsupported("axes or antialiasing")
    if node.attribute("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise node.unsupported("another aspect ratio policy than stretch")
    if transform not in MODES or rounding not in ROUNDINGS:
        raise node.unsupported(f"{transform}, {rounding}")
    if sizes is not None and len(sizes) == 4:
        out = [int(n) for n in sizes]
        scales = [n / m for n, m in zip(out, x.shape, strict=True)]
    elif len(scales) == 4:
        scales = [float(s) for s in scales]
        out = [floor(n * s) for n, s in zip(x.shape, scales, strict=True)]
    else:
        raise node.invalid("neither four scales nor four sizes")
    if min(out) < 1 or min(scales) <= 0 or tuple(out[:2]) != x.shape[:2]:
        raise node.unsupported(f"resize of {x.shape} to {out}")
    places = [onnx_places(x.shape[a], out[a], scales[a], transform) for a in (2, 3)]
    mode = node.attribute("mode", b"nearest").decode()
    if mode == "nearest":
        rows, columns = (onnx_nearest(places[i], x.shape[2 + i], rounding) for i in (0, 1))
        op: Op = ResizeNearest(rows, columns)
    elif mode == "linear":
        taps = [onnx_linear(places[i], x.shape[2 + i]) for i in (0, 1)]
        op = ResizeBilinear(taps[0], taps[1])
    else:
        raise node.unsupported(f"mode {mode}")
    node.add_nhwc(op, [node.nhwc(0)])
