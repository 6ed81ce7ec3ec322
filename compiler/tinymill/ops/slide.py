"""A window of rows that moves over a stream: kept in a variable, read where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..errors import InvalidModel
from ..ir import DType, Example, Flat, KernelCall, Op, TensorType, Types


@dataclass(frozen=True)
class Slide(Op):
    """Moves the rows of a variable (the first input) towards their beginning by ``shift``.

    ``axis`` counts the rows; all axes before it are 1. The second input are the variable's new
    last rows, ``shift`` of them at least; the third, which may be left out, its new first ones.
    Between them row y is the former row y + shift. No outputs.
    """

    axis: int
    shift: int
    mutates = (0,)

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        variable, last = inputs[0], inputs[1]
        assert variable is not None and last is not None
        first = inputs[2] if len(inputs) > 2 else None
        check_rows(variable, self.axis)
        rows = variable.shape[self.axis]
        count = last.shape[self.axis] if last.rank == variable.rank else 0
        if not 0 < self.shift <= count or count + self._first(first) > rows:
            raise InvalidModel(f"{variable} moved by {self.shift} for {last}")
        for kind in (last, first):
            if kind is not None and (
                kind.dtype is not variable.dtype
                or _row(kind, self.axis) != _row(variable, self.axis)
            ):
                raise InvalidModel(f"rows of {variable} and of {kind} differ")
        return ()

    def _first(self, kind: TensorType | None) -> int:
        return 0 if kind is None else kind.shape[self.axis]

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        variable, last = inputs[0], inputs[1]
        assert variable is not None and last is not None
        first = inputs[2] if len(inputs) > 2 else None
        head = 0 if first is None else first.shape[self.axis]
        kept = variable.shape[self.axis] - head - last.shape[self.axis]
        places = np.arange(head + self.shift, head + self.shift + kept)
        moved = variable.take(places, axis=self.axis)
        parts = [part for part in (first, moved, last) if part is not None]
        return (np.concatenate(parts, axis=self.axis),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        variable, last = types.input(0), types.input(1)
        first = types.inputs[2] if len(inputs) > 2 else None
        head = 0 if first is None else first.bytes
        params = {
            "first": head,
            "kept": variable.bytes - head - last.bytes,
            "last": last.bytes,
            "shift": self.shift * (variable.bytes // variable.shape[self.axis]),
        }
        operands = (
            None if first is None else Flat(inputs[2]), Flat(inputs[1]), Flat(inputs[0]),
        )  # fmt: skip
        return KernelCall("slide", "b8", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.INT8, DType.FLOAT32):
            for axis, shape, last, first, shift in (
                (1, (1, 7, 2, 3), 3, 0, 2),
                (1, (1, 7, 2, 3), 2, 1, 2),
                (2, (1, 1, 9, 5), 4, 5, 1),
                (1, (1, 8, 3), 1, 0, 1),
            ):
                kinds = [
                    TensorType((*shape[:axis], rows, *shape[axis + 1 :]), dtype)
                    for rows in (shape[axis], last, first)
                    if rows
                ]
                yield Example(cls(axis, shift), Types(tuple(kinds), ()))


@dataclass(frozen=True)
class View(Op):
    """``size`` rows of a variable from row ``begin`` on, read where they lie.

    ``axis`` counts the rows; all axes before it are 1.
    """

    axis: int
    begin: int
    size: int
    of_variables = (0,)

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        check_rows(x, self.axis)
        if self.size < 1 or not 0 <= self.begin <= x.shape[self.axis] - self.size:
            raise InvalidModel(f"rows {self.begin} to {self.begin + self.size} of {x}")
        shape = (*x.shape[: self.axis], self.size, *x.shape[self.axis + 1 :])
        return (TensorType(shape, x.dtype),)

    def alias(self, types: Types) -> int | None:
        return 0

    def alias_offset(self, types: Types) -> int:
        x = types.input(0)
        return self.begin * (x.bytes // x.shape[self.axis])

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        return (x.take(np.arange(self.begin, self.begin + self.size), axis=self.axis),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall | None:
        return None


def check_rows(kind: TensorType, axis: int) -> None:
    """Raises ``InvalidModel`` where the rows along ``axis`` don't lie one behind the other."""
    if not 0 <= axis < kind.rank or prod(kind.shape[:axis]) != 1:
        raise InvalidModel(f"{kind} has no rows along axis {axis}")


def _row(kind: TensorType, axis: int) -> tuple[int, ...]:
    """The shape without the number of rows."""
    return (*kind.shape[:axis], *kind.shape[axis + 1 :])
