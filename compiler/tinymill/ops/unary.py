"""Unary: elementwise functions of one input, in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnsupportedOp
from ..ir import (
    POINT,
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Param,
    Site,
    TensorType,
    Types,
    Window,
)
from .binary import Binary
from .registry import from_onnx, from_tflite
from .reshape import Reshape

if TYPE_CHECKING:
    from .writing import Writing

Function = Callable[[np.ndarray, float, float], np.ndarray]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(v) for v in x.ravel()], np.float64).reshape(x.shape)


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _shrink(x: np.ndarray, threshold: float, bias: float) -> np.ndarray:
    return np.where(x > threshold, x - bias, np.where(x < -threshold, x + bias, 0))


FUNCTIONS: dict[str, Function] = {
    "relu": lambda x, a, b: np.maximum(x, 0),
    "clip": lambda x, a, b: np.minimum(np.maximum(x, a), b),
    "leakyrelu": lambda x, a, b: np.where(x < 0, a * x, x),
    "thresholdedrelu": lambda x, a, b: np.where(x > a, x, 0),
    "elu": lambda x, a, b: _elu(x, a),
    "selu": lambda x, a, b: b * _elu(x, a),
    "celu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0) / a), x),
    "hardsigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "hardswish": lambda x, a, b: x * np.clip(x / 6 + 0.5, 0, 1),
    "sigmoid": lambda x, a, b: _sigmoid(x),
    "swish": lambda x, a, b: x * _sigmoid(a * x),
    "tanh": lambda x, a, b: np.tanh(x),
    "gelu": lambda x, a, b: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelutanh": lambda x, a, b: _gelu_tanh(x),
    "softplus": lambda x, a, b: np.logaddexp(x, 0),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "mish": lambda x, a, b: x * np.tanh(np.logaddexp(x, 0)),
    "shrink": _shrink,
    "exp": lambda x, a, b: np.exp(x),
    "log": lambda x, a, b: np.log(x),
    "sqrt": lambda x, a, b: np.sqrt(x),
    "rsqrt": lambda x, a, b: 1 / np.sqrt(x),
    "reciprocal": lambda x, a, b: 1 / x,
    "square": lambda x, a, b: x * x,
    "abs": lambda x, a, b: np.abs(x),
    "neg": lambda x, a, b: -x,
    "floor": lambda x, a, b: np.floor(x),
    "ceil": lambda x, a, b: np.ceil(x),
    "round": lambda x, a, b: np.rint(x),
    "sign": lambda x, a, b: np.sign(x),
    "sin": lambda x, a, b: np.sin(x),
    "cos": lambda x, a, b: np.cos(x),
    "tan": lambda x, a, b: np.tan(x),
    "asin": lambda x, a, b: np.arcsin(x),
    "acos": lambda x, a, b: np.arccos(x),
    "atan": lambda x, a, b: np.arctan(x),
    "sinh": lambda x, a, b: np.sinh(x),
    "cosh": lambda x, a, b: np.cosh(x),
    "asinh": lambda x, a, b: np.arcsinh(x),
    "acosh": lambda x, a, b: np.arccosh(x),
    "atanh": lambda x, a, b: np.arctanh(x),
    "erf": lambda x, a, b: _erf(x),
    "not": lambda x, a, b: np.logical_not(x),
}
"""Each function of (x, alpha, beta), in float64 (``not``: of booleans)."""

ON_INTEGERS = ("relu", "clip", "abs", "neg", "sign", "square")


@dataclass(frozen=True)
class Unary(Op):
    """y = function(x); ``alpha`` and ``beta`` are what the function makes of them.

    On int8 between Dequantize and Quantize it becomes a table of 256 entries.
    """

    function: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def name(self) -> str:
        return self.function.capitalize()

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        fits = x.dtype is DType.BOOL if self.function == "not" else x.dtype is not DType.BOOL
        if not fits or (x.dtype.is_integer and self.function not in ON_INTEGERS):
            raise UnsupportedOp(f"{self.function} of {x.dtype.name.lower()}")
        return (TensorType(x.shape, x.dtype),)

    def windows(self, types: Types) -> tuple[Window | None, ...]:
        return (POINT,)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return self

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        # integers stay integers: float64 has no place for all of int64
        wide = x.astype(np.float64) if x.dtype == np.float32 else x
        with np.errstate(all="ignore"):
            y = np.asarray(FUNCTIONS[self.function](wide, self.alpha, self.beta))
            return (y.astype(x.dtype),)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        (x,), y, g = at.node.inputs, at.node.outputs[0], gs[0]

        def between(low: float, high: float) -> str:
            return write.both(write.less(low, x), write.less(x, high))

        def of_sigmoid(s: str) -> str:
            return write.times(s, write.minus(1.0, s))

        slopes: dict[str, Callable[[], str]] = {
            "sigmoid": lambda: of_sigmoid(y),
            "tanh": lambda: write.minus(1.0, write.times(y, y)),
            "exp": lambda: y,
            "log": lambda: write.over(1.0, x),
            "sqrt": lambda: write.over(0.5, y),
            "rsqrt": lambda: write.over(write.times(y, -0.5), x),
            "reciprocal": lambda: write.function("neg", write.times(y, y)),
            "square": lambda: write.times(x, 2.0),
            "neg": lambda: write.constant(-1.0),
            "abs": lambda: write.function("sign", x),
            "softplus": lambda: write.function("sigmoid", x),
            "sin": lambda: write.function("cos", x),
            "cos": lambda: write.function("neg", write.function("sin", x)),
        }
        if self.function == "relu":
            return (write.choose(write.less(0.0, x), g, 0.0),)
        if self.function == "clip":
            return (write.inside(g, x, (self.alpha, self.beta)),)
        if self.function == "leakyrelu":
            return (write.choose(write.less(x, 0.0), write.times(g, self.alpha), g),)
        if self.function == "elu":
            # alpha * exp(x) is y + alpha below 0
            return (write.choose(write.less(x, 0.0), write.times(g, write.plus(y, self.alpha)), g),)
        if self.function == "hardsigmoid":
            inner = between(-self.beta / self.alpha, (1 - self.beta) / self.alpha)
            return (write.choose(inner, write.times(g, self.alpha), 0.0),)
        if self.function == "hardswish":
            # between -3 and 3 it is x * x / 6 + x / 2
            inner = write.plus(write.times(x, 1 / 3), 0.5)
            slope = write.choose(
                between(-3.0, 3.0), inner, write.choose(write.less(x, 0.0), 0.0, 1.0)
            )
            return (write.times(g, slope),)
        if self.function == "swish":
            s = write.function("sigmoid", write.times(x, self.alpha))
            rest = write.times(write.times(x, self.alpha), of_sigmoid(s))
            return (write.times(g, write.plus(s, rest)),)
        if self.function not in slopes:
            raise write.refuse(self.function)
        return (write.times(g, slopes[self.function]()),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        dtype = types.output.dtype
        params: dict[str, Param] = {"count": types.output.count}
        operands = (Flat(inputs[0]), Flat(outputs[0]))
        if dtype is DType.FLOAT32:
            params |= {"alpha": float(self.alpha), "beta": float(self.beta)}
        elif self.function == "clip" and dtype is DType.INT8:
            params |= {"lo": int(max(self.alpha, -128)), "hi": int(min(self.beta, 127))}
        elif self.function != "not":
            raise UnsupportedOp(f"{self.function} of {dtype.name.lower()}")
        return KernelCall(self.function, dtype.value, params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        shape = (1, 2, 3, 5)
        constants = {
            "clip": (-0.5, 1.25), "leakyrelu": (0.125, 0.0), "thresholdedrelu": (0.5, 0.0),
            "elu": (0.75, 0.0), "selu": (1.673, 1.051), "celu": (1.5, 0.0),
            "hardsigmoid": (0.2, 0.5), "swish": (1.702, 0.0), "shrink": (0.5, 0.25),
        }  # fmt: skip
        ranges = {
            "log": (0.1, 4.0), "sqrt": (0.0, 4.0), "rsqrt": (0.1, 4.0), "reciprocal": (0.1, 4.0),
            "asin": (-0.99, 0.99), "acos": (-0.99, 0.99), "atanh": (-0.9, 0.9),
            "acosh": (1.1, 4.0), "tan": (-1.2, 1.2),
        }  # fmt: skip
        for function in FUNCTIONS:
            op = cls(function, *constants.get(function, (0.0, 0.0)))
            x = TensorType(shape, DType.BOOL if function == "not" else DType.FLOAT32)
            yield Example(op, Types((x,), (x,)), ranges=ranges.get(function, (-4.0, 4.0)))
        x = TensorType(shape, DType.INT8)
        yield Example(cls("clip", -20.0, 90.0), Types((x,), (x,)))


_SIMPLE = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus",
    "Softsign": "softsign", "HardSwish": "hardswish", "Mish": "mish", "Exp": "exp", "Log": "log",
    "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Abs": "abs", "Neg": "neg", "Floor": "floor",
    "Ceil": "ceil", "Round": "round", "Sign": "sign", "Sin": "sin", "Cos": "cos", "Tan": "tan",
    "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh",
    "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh", "Erf": "erf", "Not": "not",
}  # fmt: skip


@from_onnx(*_SIMPLE)
def _simple(node: Any) -> None:
    node.add(Unary(_SIMPLE[node.kind]), [node.input(0)])


# function, default of alpha, attribute of alpha, default of beta, attribute of beta
_WITH_CONSTANTS: dict[str, tuple[str, float, str, float, str]] = {
    "LeakyRelu": ("leakyrelu", 0.01, "alpha", 0.0, ""),
    "ThresholdedRelu": ("thresholdedrelu", 1.0, "alpha", 0.0, ""),
    "Elu": ("elu", 1.0, "alpha", 0.0, ""),
    "Selu": ("selu", 1.6732631921768188, "alpha", 1.0507010221481323, "gamma"),
    "Celu": ("celu", 1.0, "alpha", 0.0, ""),
    "HardSigmoid": ("hardsigmoid", 0.2, "alpha", 0.5, "beta"),
    "Swish": ("swish", 1.0, "alpha", 0.0, ""),
    "QuickGelu": ("swish", 1.702, "alpha", 0.0, ""),
    "Shrink": ("shrink", 0.5, "lambd", 0.0, "bias"),
}


@from_onnx(*_WITH_CONSTANTS)
def _with_constants(node: Any) -> None:
    function, alpha, alpha_name, beta, beta_name = _WITH_CONSTANTS[node.kind]
    alpha = float(node.attribute(alpha_name, alpha))
    beta = float(node.attribute(beta_name, beta)) if beta_name else beta
    node.add(Unary(function, alpha, beta), [node.input(0)])


@from_onnx("Gelu")
def _gelu(node: Any) -> None:
    form = node.attribute("approximate", b"none").decode()
    if form not in ("none", "tanh"):
        raise node.unsupported(f"approximation {form}")
    node.add(Unary("gelu" if form == "none" else "gelutanh"), [node.input(0)])


@from_tflite("GELU")
def _gelu_tflite(node: Any) -> None:
    if node.type(0).dtype is not DType.FLOAT32:
        raise node.unsupported(f"{node.type(0)}")
    approximate = node.options("GeluOptions").Approximate()
    node.add(Unary("gelutanh" if approximate else "gelu"), node.inputs[:1])


@from_onnx("FastGelu")
def _fast_gelu(node: Any) -> None:
    value = node.input(0)
    if node.has(1):
        value = node.emit(Binary("add"), [value, node.input(1)])
    node.add(Unary("gelutanh"), [value])


@from_onnx("Clip")
def _clip(node: Any) -> None:
    kind = node.type(0)
    fixed = all(node.is_constant(i) for i in (1, 2) if node.has(i))
    if not fixed:
        value = node.input(0)
        if node.has(1):
            value = node.emit(Binary("max"), [value, node.input(1)])
        if node.has(2):
            value = node.emit(Binary("min"), [value, node.input(2)])
        node.add(Reshape(kind.shape), [value])
        return
    low, high = -math.inf, math.inf
    if kind.dtype.is_integer:
        low, high = kind.dtype.limits
    if node.has(1):
        low = _scalar(node, 1)
    if node.has(2):
        high = _scalar(node, 2)
    # where they cross, the upper limit wins
    node.add(Unary("clip", min(low, high), high), [node.input(0)])


def _scalar(node: Any, position: int) -> float:
    array = node.constant(position)
    if array.size != 1:
        raise node.invalid(f"input {position} has {array.size} elements")
    return array.ravel()[0].item()
