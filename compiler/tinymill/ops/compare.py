"""Compare, Logical, Where: booleans made of two inputs, and a choice by booleans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import DType, Example, Flat, KernelCall, Op, Param, Reading, TensorType, Types
from .binary import RANK
from .registry import from_onnx, from_tflite
from .rows import elementwise

COMPARISONS = {"equal": np.equal, "less": np.less, "less_equal": np.less_equal}
LOGIC = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
MOVE_RANK = 8


class _Elementwise(Op):
    """What broadcasting ops without arithmetic of their own have in common."""

    alike = True

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return elementwise(types)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        # an input of lower rank broadcasts along leading axes, which then must be added first
        return self if types.output.rank == len(order) else None


@dataclass(frozen=True)
class Compare(_Elementwise):
    """y = a == b ("equal"), a < b ("less") or a <= b ("less_equal"), as booleans."""

    function: str

    @property
    def name(self) -> str:
        return self.function.title().replace("_", "")

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        a, b = inputs[0], inputs[1]
        assert a is not None and b is not None
        if a.dtype is not b.dtype:
            raise InvalidModel(f"types {a} and {b} differ")
        return (TensorType(broadcast(a, b), DType.BOOL),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        a, b = inputs[0], inputs[1]
        assert a is not None and b is not None
        return (np.asarray(COMPARISONS[self.function](a, b)),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        dtype = types.input(0).dtype
        if dtype not in (DType.FLOAT32, DType.INT8, DType.INT32, DType.INT64):
            raise UnsupportedOp(f"comparison of {dtype.name.lower()}")
        if dtype is DType.INT8 and types.input(0).quant != types.input(1).quant:
            raise UnsupportedOp("comparison of integers that are quantised differently")
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(outputs[0]))
        return KernelCall(self.function, dtype.value, geometry(types), operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for function in COMPARISONS:
            for dtype in (DType.FLOAT32, DType.INT8, DType.INT32, DType.INT64):
                a, b = TensorType((2, 1, 40), dtype), TensorType((3, 40), dtype)
                yield Example(cls(function), Types((a, b), cls(function).infer((a, b))))
                yield Example(cls(function), Types((b, b), cls(function).infer((b, b))))
                a, b = TensorType((1, 3, 4, 5), dtype), TensorType((1, 3, 1, 1), dtype)
                yield Example(cls(function), Types((b, a), cls(function).infer((b, a))))


@dataclass(frozen=True)
class Logical(_Elementwise):
    """y = a and b, a or b, a xor b, of booleans."""

    function: str

    @property
    def name(self) -> str:
        return self.function.capitalize()

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        a, b = inputs[0], inputs[1]
        assert a is not None and b is not None
        if a.dtype is not DType.BOOL or b.dtype is not DType.BOOL:
            raise InvalidModel(f"logic of {a} and {b}")
        return (TensorType(broadcast(a, b), DType.BOOL),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        a, b = inputs[0], inputs[1]
        assert a is not None and b is not None
        return (np.asarray(LOGIC[self.function](a, b)),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(outputs[0]))
        return KernelCall(self.function, "b8", geometry(types), operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        a, b = TensorType((2, 1, 7), DType.BOOL), TensorType((3, 7), DType.BOOL)
        for function in LOGIC:
            yield Example(cls(function), Types((a, b), cls(function).infer((a, b))))
            yield Example(cls(function), Types((b, b), cls(function).infer((b, b))))
            c = TensorType((1, 3, 4, 7), DType.BOOL)
            yield Example(cls(function), Types((c, c), cls(function).infer((c, c))))


@dataclass(frozen=True)
class Where(_Elementwise):
    """y = a where the condition holds, else b; inputs condition, a, b."""

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        condition, a, b = inputs[0], inputs[1], inputs[2]
        assert condition is not None and a is not None and b is not None
        if condition.dtype is not DType.BOOL or a.dtype is not b.dtype:
            raise InvalidModel(f"a choice by {condition} of {a} and {b}")
        return (TensorType(broadcast(condition, a, b), a.dtype),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        condition, a, b = inputs[0], inputs[1], inputs[2]
        assert condition is not None and a is not None and b is not None
        return (np.asarray(np.where(condition, a, b)),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        condition, a, b, y = types.input(0), types.input(1), types.input(2), types.output
        if len({kind.quant for kind in (a, b, y)}) > 1:
            raise UnsupportedOp("a choice of integers that are quantised differently")
        if y.rank > MOVE_RANK:
            raise UnsupportedOp(f"broadcasting over {y.rank} axes, at most {MOVE_RANK}")
        params: dict[str, Param] = {
            "element": y.dtype.size,
            "shape": (*([1] * (MOVE_RANK - y.rank)), *y.shape),
            "chosen_strides": strides(condition.shape, y.shape, MOVE_RANK, 1),
            "first_strides": strides(a.shape, y.shape, MOVE_RANK, y.dtype.size),
            "second_strides": strides(b.shape, y.shape, MOVE_RANK, y.dtype.size),
        }
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(inputs[2]), Flat(outputs[0]))
        return KernelCall("where", "b8", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        condition = TensorType((3, 1, 5), DType.BOOL)
        for dtype in (DType.FLOAT32, DType.INT8, DType.INT64):
            a, b = TensorType((3, 4, 5), dtype), TensorType((4, 1), dtype)
            yield Example(cls(), Types((condition, a, b), cls().infer((condition, a, b))))
            a, b = TensorType((1, 3, 4, 5), dtype), TensorType((1, 1, 4, 1), dtype)
            some = TensorType((1, 3, 1, 5), DType.BOOL)
            yield Example(cls(), Types((some, a, b), cls().infer((some, a, b))))


def broadcast(*kinds: TensorType) -> tuple[int, ...]:
    """The shape that these types broadcast to, as in numpy."""
    try:
        return tuple(np.broadcast_shapes(*(kind.shape for kind in kinds)))
    except ValueError as error:
        shapes = " and ".join(str(kind.shape) for kind in kinds)
        raise InvalidModel(f"shapes {shapes} do not broadcast") from error


def strides(
    shape: Sequence[int], out: Sequence[int], rank: int, element: int = 1
) -> tuple[int, ...]:
    """Steps in ``shape`` along each axis of ``out``, with leading axes up to ``rank``.

    In units of ``element``; 0 where the input repeats.
    """
    steps = []
    step = element
    for n in reversed(shape):
        steps.append(0 if n == 1 else step)
        step *= n
    steps += [0] * (rank - len(shape))
    return tuple(steps[::-1])


def geometry(types: Types) -> dict[str, Param]:
    """Fields TM_BINARY_GEOMETRY of a node of two inputs that broadcast."""
    a, b, y = types.input(0), types.input(1), types.output
    if y.rank > RANK:
        raise UnsupportedOp(f"broadcasting over {y.rank} axes, at most {RANK}")
    return {
        "count": y.count,
        "same": int(a.shape == b.shape),
        "shape": (*([1] * (RANK - y.rank)), *y.shape),
        "first_strides": strides(a.shape, y.shape, RANK),
        "second_strides": strides(b.shape, y.shape, RANK),
    }


@from_onnx("Equal", "Less", "LessOrEqual")
def _compare(node: Any) -> None:
    function = "less_equal" if node.kind == "LessOrEqual" else node.kind.lower()
    node.add(Compare(function), [node.input(0), node.input(1)])


@from_onnx("Greater", "GreaterOrEqual")
def _compare_turned(node: Any) -> None:
    function = "less" if node.kind == "Greater" else "less_equal"
    node.add(Compare(function), [node.input(1), node.input(0)])


@from_onnx("And", "Or", "Xor")
def _logical(node: Any) -> None:
    node.add(Logical(node.kind.lower()), [node.input(0), node.input(1)])


@from_onnx("Where")
def _where(node: Any) -> None:
    node.add(Where(), [node.input(0), node.input(1), node.input(2)])


@from_tflite("EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
def _compare_tflite(node: Any) -> None:
    a, b = node.type(0), node.type(1)
    if a.quant != b.quant:
        raise node.unsupported(f"{a} with {b}")
    turned = node.kind.startswith("GREATER")
    function = node.kind.lower().replace("greater", "less")
    first, second = node.inputs[:2]
    node.add(Compare(function), [second, first] if turned else [first, second])


@from_tflite("LOGICAL_AND", "LOGICAL_OR")
def _logical_tflite(node: Any) -> None:
    node.add(Logical(node.kind.removeprefix("LOGICAL_").lower()), node.inputs[:2])


@from_tflite("SELECT_V2")
def _select(node: Any) -> None:
    a, b, y = node.type(1), node.type(2), node.output_type(0)
    if not a.quant == b.quant == y.quant:
        raise node.unsupported(f"{a} or {b} as {y}")
    node.add(Where(), node.inputs[:3])
