"""Reduce: sum, mean, max, min or product over axes; ArgMax and ArgMin over one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    FixedPoint,
    Flat,
    FloatScale,
    Gradient,
    KernelCall,
    Op,
    Param,
    Quant,
    Reading,
    Rescale,
    Site,
    Sliding,
    Tape,
    TensorType,
    Types,
)
from .arithmetic import fixed_multiplier, float_scale, saturate, scale_fixed, scale_float
from .exact import Line, Steps, bend_of, line, places
from .registry import from_onnx, from_tflite
from .reshape import Reshape
from .rows import same_rows

if TYPE_CHECKING:
    from .writing import Writing

FUNCTIONS = {"sum": 0, "mean": 1, "max": 2, "min": 3, "prod": 4}
RANK = 8


@dataclass(frozen=True)
class Reduce(Op):
    """y = function of all elements along ``axes``, which become 1 or go away.

    Integer forms: "max" and "min" keep the quantisation; "sum" and "mean" are
    y = saturate(rescale(sum (x - zx)) + zy), the factor carrying 1 / n for the mean.
    """

    function: str
    axes: tuple[int, ...]
    keepdims: bool = True
    rescale: Rescale | None = None

    @property
    def name(self) -> str:
        return f"Reduce{self.function.capitalize()}"

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if len(set(self.axes)) != len(self.axes) or any(not 0 <= a < x.rank for a in self.axes):
            raise InvalidModel(f"axes {self.axes} of shape {x.shape}")
        shape = [1 if a in self.axes else n for a, n in enumerate(x.shape)]
        if not self.keepdims:
            shape = [n for a, n in enumerate(x.shape) if a not in self.axes]
        return (TensorType(tuple(shape), x.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, kind = inputs[0], types.output
        assert x is not None
        if self.function in ("max", "min"):
            y = (np.max if self.function == "max" else np.min)(x, axis=self.axes)
            return (np.asarray(y, x.dtype).reshape(kind.shape),)
        if kind.dtype is DType.FLOAT32:
            how: Any = {"sum": np.sum, "mean": np.mean, "prod": np.prod}[self.function]
            y = how(x.astype(np.float64), axis=self.axes)
            return (np.asarray(y, np.float32).reshape(kind.shape),)
        assert self.rescale is not None
        zero = types.input(0).zero_point
        total = np.asarray(np.sum(x.astype(np.int64) - zero, axis=self.axes))
        return (_rescaled(total, self.rescale, kind).reshape(kind.shape),)

    def _count(self, types: Types) -> int:
        """Elements that make one."""
        return prod(types.input(0).shape[axis] for axis in self.axes)

    def quantized(self, types: Types) -> Op | None:
        """M = float32(float64(s_x) / (n * s_y)), as for average pooling."""
        x, y = types.input(0), types.output
        if x.dtype is not DType.INT8 or y.dtype is not DType.INT8:
            return None
        if x.quant is None or y.quant is None or not (x.quant.per_tensor and y.quant.per_tensor):
            return None
        if self.function in ("max", "min"):
            return self if x.quant == y.quant else None
        if self.function == "prod":
            return None
        count = self._count(types) if self.function == "mean" else 1
        m = np.float64(x.scale) / (count * np.float64(y.scale))
        return Reduce(self.function, self.axes, self.keepdims, float_scale([m]))

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        if not self.keepdims:
            return None
        axes = tuple(sorted(order[axis] for axis in self.axes))
        return Reduce(self.function, axes, True, self.rescale)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        if self.function not in ("sum", "mean"):
            raise write.refuse(self.name)
        x = at.types.input(0)
        kept = tuple(1 if axis in self.axes else n for axis, n in enumerate(x.shape))
        share = 1.0 if self.function == "sum" else 1 / self._count(at.types)
        g = write.reshaped(gs[0], *kept)
        return (write.times(g, write.constant(np.full(x.shape, share))),)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        x, y = at.types.input(0), at.types.output
        if self.function not in ("mean", "sum") or x.rank != 4 or set(self.axes) != {1, 2}:
            raise UnsupportedOp(f"the gradient of {self.name} of {x}", at=at.node.name)
        if self.function == "sum" or x.quant != y.quant:
            g = tape.gate(at, g, np.ones(1), (-128, 127))
        count = self._count(at.types) if self.function == "mean" else 1
        # one window: the whole map
        factors = np.full(x.shape[1] * x.shape[2], x.scale / (y.scale * count))
        if not self.keepdims:
            g = tape.moved(at, g, Reshape((x.shape[0], 1, 1, x.shape[3])))
        window = (x.shape[1], x.shape[2])
        return (tape.spread(at, g, window, Sliding(), factors, False),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        params: dict[str, Param] = geometry(x.shape, self.axes)
        operands = (Flat(inputs[0]), Flat(outputs[0]))
        if x.dtype is DType.FLOAT32:
            params["function"] = FUNCTIONS[self.function]
            return KernelCall("reduce", "f32", params, operands)
        if x.dtype is not DType.INT8 or y.dtype is not DType.INT8 or self.function == "prod":
            raise UnsupportedOp(f"{self.function} of {x}")
        if self.function in ("max", "min"):
            params["function"] = FUNCTIONS[self.function]
            return KernelCall("reduce", "s8", params, operands)
        if self.rescale is None:
            raise UnsupportedOp(f"{self.function} of {x} to {y} without a factor")
        middle = middle_axis(params)
        short = short_form(self.rescale, x.zero_point, y, self._count(types)) if middle else None
        if middle is not None and short is not None:
            params = {
                "outer": middle[0], "count": middle[1], "inner": middle[2],
                "in_zero": x.zero_point * self._count(types),
                "up": short.up, "multiplier": short.multiplier,
                "offset": short.offset, "bend": short.bend, "down": short.down,
            }  # fmt: skip
            return KernelCall("mean", "s8", params, operands)
        params |= {"in_zero": x.zero_point * self._count(types), "out_zero": y.zero_point}
        if isinstance(self.rescale, FixedPoint):
            params |= {"multiplier": self.rescale.multiplier[0], "shift": self.rescale.shift[0]}
            return KernelCall("reduce_fixed", "s8", params, operands)
        assert isinstance(self.rescale, FloatScale)
        params["scale"] = self.rescale.m[0]
        return KernelCall("reduce_scaled", "s8", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        cases = [
            ((1, 5, 4, 3), (1, 2)),
            ((2, 3, 4), (2,)),
            ((2, 3, 4), (0, 2)),
            ((7,), (0,)),
            ((2, 5, 60, 13), (1, 2)),
            ((1, 3, 4, 5), (2,)),
            ((1, 3, 4, 5), (2, 3)),
        ]
        for shape, axes in cases:
            for function in FUNCTIONS:
                for keepdims in (True, False):
                    op = cls(function, axes, keepdims)
                    x = TensorType(shape, DType.FLOAT32)
                    yield Example(op, Types((x,), op.infer((x,))), ranges=(-1.5, 1.5))
                    if function == "prod":
                        continue
                    quant = Quant((0.05,), (-7,))
                    qx = TensorType(shape, DType.INT8, quant)
                    (plain,) = op.infer((qx,))
                    if function in ("max", "min"):
                        y = TensorType(plain.shape, DType.INT8, quant)
                        yield Example(op, Types((qx,), (y,)))
                    y = TensorType(plain.shape, DType.INT8, Quant((0.071,), (11,)))
                    if function in ("sum", "mean"):
                        scaled = op.quantized(Types((qx,), (y,)))
                        assert scaled is not None
                        yield Example(scaled, Types((qx,), (y,)))
                        fixed = tflite_fixed(function, qx, y, axes)
                        yield Example(cls(function, axes, keepdims, fixed), Types((qx,), (y,)))


def geometry(shape: Sequence[int], axes: Sequence[int]) -> dict[str, Param]:
    """Kept and reduced axes with their strides; neighbours that lie in one run are one axis."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    sides: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        side = sides[axis in axes]
        if side and side[-1][1] == n * strides[axis]:
            side[-1] = (side[-1][0] * n, strides[axis])
        else:
            side.append((n, strides[axis]))
    params: dict[str, Param] = {}
    for name, side in (("kept", sides[False]), ("reduced", sides[True])):
        fill = RANK - len(side)
        params[f"{name}_shape"] = (*([1] * fill), *(n for n, _ in side))
        params[f"{name}_strides"] = (*([0] * fill), *(step for _, step in side))
    return params


def middle_axis(geometry: Mapping[str, Param]) -> tuple[int, int, int] | None:
    """[outer, count, inner] of a reduction along the middle one, if it is one."""
    sides = []
    for name in ("kept", "reduced"):
        shape, strides = geometry[f"{name}_shape"], geometry[f"{name}_strides"]
        assert isinstance(shape, tuple) and isinstance(strides, tuple)
        sides.append([pair for pair in zip(shape, strides, strict=True) if pair[0] != 1])
    kept, reduced = sides
    if len(reduced) != 1:
        return None
    count, step = reduced[0]
    outer = kept[0][0] if kept and kept[0][1] == count * step else 1
    rest = kept[1:] if kept and kept[0][1] == count * step else kept
    inner = rest[0][0] if rest else 1
    if len(rest) > 1 or inner != step or (rest and rest[0][1] != 1):
        return None
    return outer, count, inner


@lru_cache(maxsize=1024)
def short_form(how: Rescale, zero: int, kind: TensorType, count: int) -> Line | None:
    """The line that rescales sums of ``count`` values less ``zero``, if there is one."""
    domain = (count * (-128 - zero), count * (127 - zero))
    reach = max(abs(end) for end in domain)
    shift = 0
    if isinstance(how, FixedPoint):
        shift = how.shift[0]
        factor = how.multiplier[0] * 2.0 ** (shift - 31)
    else:
        factor = how.m[0]
    if factor <= 0 or reach << max(0, shift) >> 31:
        return None
    up, down = places(reach, factor, reach * factor)
    steps = Steps.of(
        lambda total: _rescaled(total, how, kind).astype(np.int64), domain, kind.dtype.limits
    )
    return line(steps, factor, up, down, bend_of(shift, down))


def _rescaled(total: np.ndarray, how: Rescale, kind: TensorType) -> np.ndarray:
    if isinstance(how, FixedPoint):
        y = scale_fixed(total, how.multiplier[0], how.shift[0])
    else:
        y = scale_float(total, np.float32(how.m[0]))
    return saturate(y + kind.zero_point, kind)


def tflite_fixed(function: str, x: TensorType, y: TensorType, axes: Sequence[int]) -> FixedPoint:
    """TFLite's factor of QuantizedMeanOrSum: s_x / s_y, for the mean divided by n."""
    multiplier, shift = fixed_multiplier(float(x.scale) / float(y.scale))
    if function == "mean":
        count = prod(x.shape[axis] for axis in axes)
        more = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier = (multiplier << more) // count
        shift -= more
    return FixedPoint((multiplier,), (shift,))


@dataclass(frozen=True)
class ArgMax(Op):
    """The index of the greatest (``least``: smallest) element along ``axis``, the first of equals.

    ``last``: the last of equals. ``dtype`` is that of the indices.
    """

    axis: int
    keepdims: bool = True
    least: bool = False
    last: bool = False
    dtype: DType = DType.INT32

    @property
    def name(self) -> str:
        return "ArgMin" if self.least else "ArgMax"

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if not 0 <= self.axis < x.rank:
            raise InvalidModel(f"axis {self.axis} of shape {x.shape}")
        middle = (1,) if self.keepdims else ()
        shape = (*x.shape[: self.axis], *middle, *x.shape[self.axis + 1 :])
        return (TensorType(shape, self.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        find = np.argmin if self.least else np.argmax
        if self.last:
            y = x.shape[self.axis] - 1 - find(np.flip(x, self.axis), axis=self.axis)
        else:
            y = find(x, axis=self.axis)
        return (np.asarray(y).astype(self.dtype.numpy).reshape(types.output.shape),)

    def quantized(self, types: Types) -> Op | None:
        """The order of the integers is that of the reals."""
        quant = types.input(0).quant
        return self if quant is not None and quant.per_tensor else None

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        if not self.keepdims:
            return None
        return ArgMax(order[self.axis], True, self.least, self.last, self.dtype)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x = types.input(0)
        params: dict[str, Param] = {
            "outer": prod(x.shape[: self.axis]),
            "depth": x.shape[self.axis],
            "inner": prod(x.shape[self.axis + 1 :]),
            "least": int(self.least),
            "last": int(self.last),
        }
        dtype = f"{x.dtype.value}_{self.dtype.value}"
        return KernelCall("argmax", dtype, params, (Flat(inputs[0]), Flat(outputs[0])))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.INT8, DType.FLOAT32):
            for target in (DType.INT32, DType.INT64):
                for axis in range(3):
                    x = TensorType((3, 40, 2), dtype)
                    op = cls(axis, axis != 1, axis == 0, axis == 2, target)
                    yield Example(op, Types((x,), op.infer((x,))))
                for axis in (2, 3):
                    x = TensorType((1, 3, 4, 5), dtype)
                    op = cls(axis, dtype=target)
                    yield Example(op, Types((x,), op.infer((x,))))


def _tflite_axes(node: Any) -> tuple[int, ...]:
    rank = node.type(0).rank
    axes = {int(axis) + rank if axis < 0 else int(axis) for axis in node.constant(1).ravel()}
    return tuple(sorted(axes))


@from_tflite("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
def _from_tflite(node: Any) -> None:
    x, y = node.type(0), node.output_type(0)
    function = node.kind.removeprefix("REDUCE_").lower()
    axes = _tflite_axes(node)
    keepdims = bool(node.options("ReducerOptions").KeepDims())
    rescale: Rescale | None = None
    if x.dtype is not DType.FLOAT32:
        if not all(
            k.dtype is DType.INT8 and k.quant is not None and k.quant.per_tensor for k in (x, y)
        ):
            raise node.unsupported(f"{x} to {y}")
        if function in ("max", "min"):
            if x.quant != y.quant:
                raise node.unsupported("input and output are quantised differently")
        elif function == "prod":
            raise node.unsupported("the product of integers")
        else:
            rescale = tflite_fixed(function, x, y, axes)
    node.add(Reduce(function, axes, keepdims, rescale), node.inputs[:1])


@from_tflite("ARG_MAX", "ARG_MIN")
def _arg_from_tflite(node: Any) -> None:
    axis = int(node.constant(1).ravel()[0])
    axis = axis + node.type(0).rank if axis < 0 else axis
    node.add(
        ArgMax(axis, False, node.kind == "ARG_MIN", dtype=node.output_type(0).dtype),
        node.inputs[:1],
    )


@from_onnx("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
def _from_onnx(node: Any) -> None:
    rank = node.type(0).rank
    keepdims = bool(node.attribute("keepdims", 1))
    axes = node.axes(1, [])
    if not axes:
        if node.attribute("noop_with_empty_axes", 0):
            node.add(Reshape(node.type(0).shape), [node.input(0)])
            return
        axes = range(rank)
    function = node.kind.removeprefix("Reduce").lower()
    if keepdims:
        node.add(Reduce(function, tuple(axes)), [node.input(0)])
        return
    # axes kept, then dropped: so that a change of layout can pass the reduction
    shape = node.type(0).shape
    reduced = node.emit(Reduce(function, tuple(axes)), [node.input(0)])
    node.add(Reshape(tuple(n for i, n in enumerate(shape) if i not in axes)), [reduced])


@from_onnx("ArgMax", "ArgMin")
def _arg_from_onnx(node: Any) -> None:
    axis = node.attribute("axis", 0)
    axis = axis + node.type(0).rank if axis < 0 else axis
    op = ArgMax(
        axis,
        bool(node.attribute("keepdims", 1)),
        node.kind == "ArgMin",
        bool(node.attribute("select_last_index", 0)),
        DType.INT64,
    )
    node.add(op, [node.input(0)])
