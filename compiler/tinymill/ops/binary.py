"""Add, Sub, Mul, Div, Min, Max, Pow: two inputs, broadcasting.

Three arithmetics: float32; int8 by the ONNX definition (dequantise, float32 op, quantise);
int8 in TFLite's fixed point (Add, Sub, Mul). Both integer forms of Add, Sub and Mul come in a
short form, where one gives the same bytes (see exact.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
    Gradient,
    KernelCall,
    Op,
    Param,
    Quant,
    Reading,
    Site,
    Tape,
    TensorType,
    Types,
    clamp_of,
)
from .arithmetic import (
    dequantize,
    fixed_multiplier,
    fixed_point,
    quantize,
    quantize_clamp,
    scale_fixed,
)
from .exact import BYTES, Line, Plane, Steps, bend_of, line, places, plane
from .registry import from_onnx, from_tflite
from .rows import elementwise

if TYPE_CHECKING:
    from .writing import Writing

FUNCTIONS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "pow": np.power,
}
RANK = 6
LEFT_SHIFT = 20


@dataclass(frozen=True)
class AddFixed:
    """TFLite's fixed-point addition: inputs shifted left by ``LEFT_SHIFT``, scaled, added."""

    first: tuple[int, int]
    second: tuple[int, int]
    output: tuple[int, int]


@dataclass(frozen=True)
class Binary(Op):
    """y = clamp(function(a, b)), shapes broadcast as in numpy.

    Integer types: ``fixed`` None is the ONNX definition, else TFLite's fixed point (an
    ``AddFixed`` for add and sub, a ``FixedPoint`` for mul). ``clamp`` is in output integers
    or in reals.
    """

    function: str
    clamp: tuple[float, float] | None = None
    fixed: AddFixed | FixedPoint | None = None
    alike = True

    @property
    def name(self) -> str:
        return self.function.capitalize()

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        a, b = inputs[0], inputs[1]
        assert a is not None and b is not None
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError as error:
            raise InvalidModel(f"shapes {a.shape} and {b.shape} do not broadcast") from error
        if a.dtype is not b.dtype:
            raise InvalidModel(f"types {a} and {b} differ")
        return (TensorType(tuple(shape), a.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return elementwise(types)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        # an input of lower rank broadcasts along leading axes, which then must be added first
        return self if types.output.rank == len(order) else None

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        a, b = inputs[0], inputs[1]
        assert a is not None and b is not None
        kind = types.output
        function = FUNCTIONS[self.function]
        with np.errstate(all="ignore"):
            if kind.quant is None:
                y = function(a, b).astype(a.dtype)
                return (y if self.clamp is None else np.clip(y, *self.clamp).astype(a.dtype),)
            if self.fixed is not None:
                return (self._fixed_reference(a, b, types),)
            first, second = types.input(0).quant, types.input(1).quant
            assert first is not None and second is not None
            y = function(dequantize(a, first), dequantize(b, second))
        y = quantize(y, kind)
        return (y if self.clamp is None else np.clip(y, *self.clamp).astype(y.dtype),)

    def _fixed_reference(self, a: np.ndarray, b: np.ndarray, types: Types) -> np.ndarray:
        first = a.astype(np.int64) - types.input(0).zero_point
        second = b.astype(np.int64) - types.input(1).zero_point
        if isinstance(self.fixed, FixedPoint):
            y = scale_fixed(first * second, self.fixed.multiplier[0], self.fixed.shift[0])
        else:
            assert self.fixed is not None
            first = scale_fixed(first << LEFT_SHIFT, *self.fixed.first)
            second = scale_fixed(second << LEFT_SHIFT, *self.fixed.second)
            total = first + second if self.function == "add" else first - second
            y = scale_fixed(total, *self.fixed.output)
        low, high = self.clamp or types.output.dtype.limits
        y = np.clip(y + types.output.zero_point, low, high)
        return y.astype(types.output.dtype.numpy)

    def quantized(self, types: Types) -> Op | None:
        kinds = (types.input(0), types.input(1), types.output)
        if any(
            kind.dtype is not DType.INT8 or kind.quant is None or not kind.quant.per_tensor
            for kind in kinds
        ):
            return None
        return replace(self, clamp=quantize_clamp(self.clamp, types.output), fixed=None)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        a, b = at.node.inputs
        g = write.inside(gs[0], at.node.outputs[0], self.clamp)
        rules: dict[str, tuple[Callable[[], str], Callable[[], str]]] = {
            "add": (lambda: g, lambda: g),
            "sub": (lambda: g, lambda: write.function("neg", g)),
            "mul": (lambda: write.times(g, b), lambda: write.times(g, a)),
            "div": (
                lambda: write.over(g, b),
                lambda: write.function("neg", write.over(write.times(g, write.over(a, b)), b)),
            ),
            "min": (
                lambda: write.choose(write.less(a, b), g, 0.0),
                lambda: write.choose(write.less(a, b), 0.0, g),
            ),
            "max": (
                lambda: write.choose(write.less(b, a), g, 0.0),
                lambda: write.choose(write.less(b, a), 0.0, g),
            ),
        }
        if self.function not in rules:
            raise write.refuse(self.function)
        return tuple(
            write.summed_to(rule(), kind.shape) if wanted and kind else None
            for rule, kind, wanted in zip(
                rules[self.function], at.types.inputs, at.wanted, strict=True
            )
        )

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        a, b, y = at.types.input(0), at.types.input(1), at.types.output
        if self.function not in ("add", "sub") or not a.shape == b.shape == y.shape:
            raise UnsupportedOp(f"the gradient of {self.function} of {a} and {b}", at=at.node.name)
        found = []
        for kind, sign, wanted in zip((a, b), (1, -1), at.wanted, strict=True):
            factor = kind.scale / y.scale * (sign if self.function == "sub" else 1)
            clamp = clamp_of(self.clamp, (-128, 127))
            found.append(tape.gate(at, g, np.array([factor]), clamp) if wanted else None)
        return tuple(found)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        a, b, y = types.input(0), types.input(1), types.output
        params = geometry(a.shape, b.shape, y.shape)
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(outputs[0]))
        if y.quant is None:
            if y.dtype is not DType.FLOAT32:
                raise UnsupportedOp(f"{self.function} of {y.dtype.name.lower()}")
            low, high = self.clamp or (-np.inf, np.inf)
            params |= {"lo": float(low), "hi": float(high)}
            return KernelCall(self.function, "f32", params, operands)
        if y.dtype is not DType.INT8:
            raise UnsupportedOp(f"{self.function} of {y}")
        low, high = self.clamp or y.dtype.limits
        assert a.quant is not None and b.quant is not None
        short = short_form(self, a.quant, b.quant, y.quant)
        if isinstance(short, Plane):
            params |= {
                "first_factor": short.first, "second_factor": short.second, "bias": short.bias,
                "shift": short.shift, "lo": int(low), "hi": int(high),
            }  # fmt: skip
            return KernelCall("plane", "s8", params, operands)
        if isinstance(short, Line):
            params |= {
                "first_zero": a.zero_point, "second_zero": b.zero_point, "up": short.up,
                "multiplier": short.multiplier, "offset": short.offset, "bend": short.bend,
                "down": short.down,
                "lo": int(low), "hi": int(high),
            }  # fmt: skip
            return KernelCall("product", "s8", params, operands)
        params |= {
            "first_zero": a.zero_point, "second_zero": b.zero_point, "out_zero": y.zero_point,
            "lo": int(low), "hi": int(high),
        }  # fmt: skip
        if self.fixed is None:
            params |= {"first_scale": a.scale, "second_scale": b.scale, "out_scale": y.scale}
            return KernelCall(f"{self.function}_real", "s8", params, operands)
        if isinstance(self.fixed, FixedPoint):
            params |= {"multiplier": self.fixed.multiplier[0], "shift": self.fixed.shift[0]}
            return KernelCall("mul", "s8", params, operands)
        params |= {
            "first_multiplier": self.fixed.first[0], "first_shift": self.fixed.first[1],
            "second_multiplier": self.fixed.second[0], "second_shift": self.fixed.second[1],
            "multiplier": self.fixed.output[0], "shift": self.fixed.output[1],
        }  # fmt: skip
        return KernelCall(self.function, "s8", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        shapes = [
            ((2, 3, 4), (2, 3, 4)), ((1, 5, 4, 3), (3,)), ((2, 1, 4), (3, 1)), ((1,), (7,)),
            ((1, 5, 4, 3),) * 2, ((1, 5, 4, 3), (1, 5, 1, 3)), ((1, 1, 1, 3), (1, 5, 4, 3)),
        ]  # fmt: skip
        for function in FUNCTIONS:
            for first, second in shapes:
                a, b = TensorType(first, DType.FLOAT32), TensorType(second, DType.FLOAT32)
                op = cls(function, (-5.0, 5.0))
                ranges = (0.25, 2.0) if function in ("pow", "div") else (-2.0, 2.0)
                yield Example(op, Types((a, b), op.infer((a, b))), ranges=ranges)
                qa = TensorType(first, DType.INT8, Quant((0.0625,), (3,)))
                qb = TensorType(second, DType.INT8, Quant((0.0333,), (-128,)))
                y = TensorType(op.infer((a, b))[0].shape, DType.INT8, Quant((0.051,), (7,)))
                if function != "pow":
                    yield Example(cls(function), Types((qa, qb), (y,)))
                fixed = tflite_fixed(function, qa, qb, y)
                if fixed is not None:
                    yield Example(cls(function, (-100, 110), fixed), Types((qa, qb), (y,)))


def tflite_fixed(
    function: str, a: TensorType, b: TensorType, y: TensorType
) -> AddFixed | FixedPoint | None:
    """TFLite's fixed-point parameters; None for functions it has no such form of."""
    if function == "mul":
        product = float(np.float32(a.scale) * np.float32(b.scale) / np.float32(y.scale))
        return fixed_point([product])
    if function not in ("add", "sub"):
        return None
    twice = 2.0 * max(float(a.scale), float(b.scale))
    return AddFixed(
        fixed_multiplier(float(a.scale) / twice),
        fixed_multiplier(float(b.scale) / twice),
        fixed_multiplier(twice / ((1 << LEFT_SHIFT) * float(y.scale))),
    )


@lru_cache(maxsize=1024)
def short_form(op: Binary, first: Quant, second: Quant, output: Quant) -> Plane | Line | None:
    """A formula of one or two products with the bytes of ``op``, if it has one."""
    if op.function not in ("add", "sub", "mul"):
        return None
    kinds = [TensorType((1 << 16,), DType.INT8, quant) for quant in (first, second, output)]
    types = Types((kinds[0], kinds[1]), (kinds[2],))
    low, high = (int(limit) for limit in op.clamp or DType.INT8.limits)
    a, b = np.repeat(BYTES, 256), np.tile(BYTES, 256)
    (found,) = op.reference((a.astype(np.int8), b.astype(np.int8)), types)
    if op.function != "mul":
        sign = 1 if op.function == "add" else -1
        factors = (kinds[0].scale / kinds[2].scale, sign * kinds[1].scale / kinds[2].scale)
        return plane(found.reshape(256, 256), low, high, *factors)
    # a function of the product alone, except where roundings of its factors show
    products = (a - kinds[0].zero_point) * (b - kinds[1].zero_point)
    values, where, back = np.unique(products, return_index=True, return_inverse=True)
    outputs = found[where].astype(np.int64)
    if not np.array_equal(outputs[back], found) or np.any(np.diff(outputs) < 0):
        return None
    reach = int(np.abs(values).max())
    factor = kinds[0].scale * kinds[1].scale / kinds[2].scale
    up, down = places(reach, factor, reach * factor)
    shift = op.fixed.shift[0] if isinstance(op.fixed, FixedPoint) else 0
    return line(Steps.among(values, outputs, (low, high)), factor, up, down, bend_of(shift, down))


def geometry(first: Sequence[int], second: Sequence[int], out: Sequence[int]) -> dict[str, Param]:
    """Shape and strides; axes that both inputs pass through in one run are one axis."""
    axes: list[tuple[int, int, int]] = []
    for n, i, j in zip(out, _strides(first, out), _strides(second, out), strict=True):
        if axes and axes[-1][1:] == (i * n, j * n):
            axes[-1] = (axes[-1][0] * n, i, j)
        elif n != 1:
            axes.append((n, i, j))
    if len(axes) > RANK:
        raise UnsupportedOp(f"broadcasting over {len(axes)} axes, at most {RANK}")
    fill = RANK - len(axes)
    return {
        "count": prod(out),
        "same": int(tuple(first) == tuple(second)),
        "shape": (*([1] * fill), *(axis[0] for axis in axes)),
        "first_strides": (*([0] * fill), *(axis[1] for axis in axes)),
        "second_strides": (*([0] * fill), *(axis[2] for axis in axes)),
    }


def _strides(shape: Sequence[int], out: Sequence[int]) -> list[int]:
    """Elements to step in ``shape`` along each axis of ``out``; 0 where it broadcasts."""
    steps = []
    step = 1
    for n in reversed(shape):
        steps.append(0 if n == 1 else step)
        step *= n
    steps += [0] * (len(out) - len(shape))
    return steps[::-1]


@from_tflite("ADD", "SUB", "MUL", "DIV", "MINIMUM", "MAXIMUM", "POW")
def _from_tflite(node: Any) -> None:
    function = {"MINIMUM": "min", "MAXIMUM": "max"}.get(node.kind, node.kind.lower())
    a, b, y = node.type(0), node.type(1), node.output_type(0)
    clamp = None
    if function in ("add", "sub", "mul", "div"):
        options = node.options(f"{node.kind.capitalize()}Options")
        clamp = node.activation(options.FusedActivationFunction(), y)
    if a.dtype is DType.FLOAT32:
        node.add(Binary(function, clamp), node.inputs[:2])
        return
    if not all(k.dtype is DType.INT8 and k.quant and k.quant.per_tensor for k in (a, b, y)):
        raise node.unsupported(f"{a}, {b} -> {y}")
    fixed = tflite_fixed(function, a, b, y)
    if fixed is None and not (function in ("min", "max") and a.quant == b.quant == y.quant):
        raise node.unsupported("this function on integers")
    node.add(Binary(function, clamp, fixed), node.inputs[:2])


@from_onnx("Add", "Sub", "Mul", "Div", "Pow")
def _from_onnx(node: Any) -> None:
    node.add(Binary(node.kind.lower()), [node.input(0), node.input(1)])


@from_onnx("Min", "Max")
def _many_from_onnx(node: Any) -> None:
    function = node.kind.lower()
    total = node.input(0)
    for position in range(1, len(node.inputs) - 1):
        total = node.emit(Binary(function), [total, node.input(position)])
    if len(node.inputs) == 1:
        raise node.unsupported("a single input")
    node.add(Binary(function), [total, node.input(len(node.inputs) - 1)])
