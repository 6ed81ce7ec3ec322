"""Reshape: the same bytes under another shape (Flatten, Squeeze, Unsqueeze, Identity too)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel
from ..ir import (
    DType,
    Example,
    Gradient,
    KernelCall,
    Op,
    Site,
    Tape,
    TensorType,
    Types,
)
from .registry import from_onnx, from_tflite

if TYPE_CHECKING:
    from .writing import Writing


@dataclass(frozen=True)
class Reshape(Op):
    """Gives the input another shape of as many elements. Costs nothing: an alias."""

    shape: tuple[int, ...]
    movement = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if prod(self.shape) != x.count:
            raise InvalidModel(f"{x.shape} can't take the shape {self.shape}")
        return (TensorType(self.shape, x.dtype),)

    def alias(self, types: Types) -> int | None:
        return 0

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        return (x.reshape(self.shape),)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        return (write.reshaped(gs[0], *at.types.input(0).shape),)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        return (tape.moved(at, g, Reshape(at.types.input(0).shape)),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall | None:
        return None

    @classmethod
    def examples(cls) -> Iterator[Example]:
        x = TensorType((2, 3, 4), DType.FLOAT32)
        yield Example(cls((4, 6)), Types((x,), (TensorType((4, 6), DType.FLOAT32),)))


def resolve_shape(wanted: Sequence[int], x: Sequence[int], *, zero_copies: bool) -> tuple[int, ...]:
    """A shape with at most one -1, and (ONNX) zeros that copy the input's size.

    Raises ``InvalidModel`` where it does not fit ``x``.
    """
    dims = [int(n) for n in wanted]
    if zero_copies:
        if any(n == 0 and i >= len(x) for i, n in enumerate(dims)):
            raise InvalidModel(f"shape {dims} copies a size that {tuple(x)} lacks")
        dims = [x[i] if n == 0 else n for i, n in enumerate(dims)]
    if dims.count(-1) > 1 or any(n < -1 for n in dims):
        raise InvalidModel(f"shape {dims}")
    if -1 in dims:
        known = prod(n for n in dims if n != -1)
        if known == 0 or prod(x) % known:
            raise InvalidModel(f"{tuple(x)} can't take the shape {dims}")
        dims[dims.index(-1)] = prod(x) // known
    if prod(dims) != prod(x):
        raise InvalidModel(f"{tuple(x)} can't take the shape {dims}")
    return tuple(dims)


@from_tflite("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _from_tflite(node: Any) -> None:
    # the file states the output's shape, which add() checks
    node.add(Reshape(node.output_type(0).shape), node.inputs[:1])


@from_onnx("Reshape")
def _reshape(node: Any) -> None:
    wanted = node.constant(1).ravel().tolist()
    allow_zero = bool(node.attribute("allowzero", 0))
    node.add(
        Reshape(resolve_shape(wanted, node.type(0).shape, zero_copies=not allow_zero)),
        [node.input(0)],
    )


@from_onnx("Flatten")
def _flatten(node: Any) -> None:
    shape = node.type(0).shape
    axis = node.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    if not 0 <= axis <= len(shape):
        raise node.invalid(f"axis {axis} of {len(shape)}")
    node.add(Reshape((prod(shape[:axis]), prod(shape[axis:]))), [node.input(0)])


@from_onnx("Squeeze")
def _squeeze(node: Any) -> None:
    shape = node.type(0).shape
    axes = node.axes(1, default=[i for i, n in enumerate(shape) if n == 1])
    if any(shape[axis] != 1 for axis in axes):
        raise node.invalid(f"axes {axes} of shape {shape} are not all 1")
    node.add(Reshape(tuple(n for i, n in enumerate(shape) if i not in axes)), [node.input(0)])


@from_onnx("Unsqueeze")
def _unsqueeze(node: Any) -> None:
    shape = list(node.type(0).shape)
    axes = node.attribute("axes", None)
    if axes is None:
        axes = node.constant(1).ravel().tolist()
    rank = len(shape) + len(axes)
    places = sorted(axis + rank if axis < 0 else axis for axis in axes)
    if len(set(places)) != len(places) or any(not 0 <= p < rank for p in places):
        raise node.invalid(f"axes {axes}")
    for place in places:
        shape.insert(place, 1)
    node.add(Reshape(tuple(shape)), [node.input(0)])


@from_onnx("Identity", "Dropout")
def _identity(node: Any) -> None:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.unsupported("the mask output")
    if node.has(2) and node.constant(2).any():
        raise node.unsupported("training mode")
    node.add(Reshape(node.type(0).shape), [node.input(0)])
