"""Expand: axes of size 1 repeated; Tile as well, by way of shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel
from ..ir import (
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Reading,
    Site,
    TensorType,
    Types,
)
from .compare import strides
from .moving import walk
from .registry import from_onnx, from_tflite
from .reshape import Reshape
from .rows import broadcast_rows

if TYPE_CHECKING:
    from .writing import Writing

RANK = 8


@dataclass(frozen=True)
class Expand(Op):
    """x broadcast to ``shape``, as in numpy."""

    shape: tuple[int, ...]
    movement = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        lead = len(self.shape) - x.rank
        if lead < 0 or any(
            n not in (1, m) for n, m in zip(x.shape, self.shape[lead:], strict=True)
        ):
            raise InvalidModel(f"{x.shape} does not broadcast to {self.shape}")
        return (TensorType(self.shape, x.dtype),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        shape = types.output.shape
        return (np.ascontiguousarray(np.broadcast_to(x, shape)).reshape(shape),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return (broadcast_rows(types.input(0), types.output),)

    def cut(self, axis: int, size: int, before: int, after: int) -> Op:
        return Expand((*self.shape[:axis], size, *self.shape[axis + 1 :]))

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        if len(self.shape) != len(order):
            return None
        return Expand(tuple(self.shape[list(order).index(axis)] for axis in range(len(order))))

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        return (write.summed_to(gs[0], at.types.input(0).shape),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        # a transposition that steps by 0 where the input repeats
        steps = strides(x.shape, y.shape, y.rank, x.dtype.size)
        params = walk(y.shape, steps, x.dtype.size)
        return KernelCall("transpose", "b8", params, (Flat(inputs[0]), Flat(outputs[0])))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.FLOAT32, DType.INT8):
            for shape, wide in (
                ((3, 1), (2, 3, 4)), ((1,), (5,)), ((2, 1, 3), (2, 4, 3)),
                ((1, 3, 1, 5), (1, 3, 4, 5)), ((1, 1, 1, 5), (1, 3, 4, 5)),
            ):  # fmt: skip
                x = TensorType(shape, dtype)
                yield Example(cls(wide), Types((x,), (TensorType(wide, dtype),)))


def tile(node: Any, value: str, repeats: Sequence[int]) -> None:
    """Ends the import of ``node`` with ``value`` repeated along each axis."""
    shape = node.type_of(value).shape
    if len(repeats) != len(shape) or min(repeats, default=1) < 1:
        raise node.invalid(f"repeats {list(repeats)} of {shape}")
    # an axis of n, repeated r times, is an axis of 1 made r in front of it
    split: list[int] = []
    wide: list[int] = []
    for n, r in zip(shape, repeats, strict=True):
        if r > 1 and n > 1:
            split += [1, n]
            wide += [r, n]
        else:
            split.append(n)
            wide.append(n * r)
    if len(wide) > RANK:
        raise node.unsupported(f"repeats {list(repeats)} of {shape}")
    final = tuple(n * r for n, r in zip(shape, repeats, strict=True))
    quant = node.type_of(value).quant
    value = node.emit(Reshape(tuple(split)), [value], quant)
    value = node.emit(Expand(tuple(wide)), [value], quant)
    node.add(Reshape(final), [value])


@from_onnx("Expand")
def _expand(node: Any) -> None:
    wanted = tuple(int(n) for n in node.constant(1).ravel())
    shape = node.type(0).shape
    try:
        node.add(Expand(tuple(np.broadcast_shapes(shape, wanted))), [node.input(0)])
    except ValueError as error:
        raise node.invalid(f"{shape} does not broadcast to {wanted}") from error


@from_onnx("Tile")
def _tile(node: Any) -> None:
    tile(node, node.input(0), [int(n) for n in node.constant(1).ravel()])


@from_tflite("BROADCAST_TO")
def _broadcast_to(node: Any) -> None:
    node.add(Expand(tuple(int(n) for n in node.constant(1).ravel())), node.inputs[:1])


@from_tflite("TILE")
def _tile_tflite(node: Any) -> None:
    tile(node, node.inputs[0], [int(n) for n in node.constant(1).ravel()])
