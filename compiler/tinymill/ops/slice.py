"""Slice: every stride-th element of a range along each axis; strides may be negative."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    Flat,
    Gradient,
    KernelCall,
    Op,
    Reading,
    Site,
    Tape,
    TensorType,
    Types,
    Window,
)
from .moving import walk
from .registry import from_onnx, from_tflite
from .reshape import Reshape
from .rows import same_rows

if TYPE_CHECKING:
    from .writing import Writing


@dataclass(frozen=True)
class Slice(Op):
    """y[i0, i1, ...] = x[begin[0] + i0 * step[0], begin[1] + i1 * step[1], ...], y of ``size``."""

    begin: tuple[int, ...]
    size: tuple[int, ...]
    step: tuple[int, ...]
    movement = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if not len(self.begin) == len(self.size) == len(self.step) == x.rank:
            raise InvalidModel(f"slice of {len(self.begin)} axes of shape {x.shape}")
        for begin, size, step, n in zip(self.begin, self.size, self.step, x.shape, strict=True):
            last = begin + (size - 1) * step
            if size < 1 or step == 0 or not 0 <= begin < n or not 0 <= last < n:
                raise InvalidModel(
                    f"slice from {self.begin} of {self.size} by {self.step} of shape {x.shape}"
                )
        return (TensorType(self.size, x.dtype),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        places = [
            begin + np.arange(size) * step
            for begin, size, step in zip(self.begin, types.output.shape, self.step, strict=True)
        ]
        return (np.ascontiguousarray(x[np.ix_(*places)]) if places else x.copy(),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        # input and output of one height: all rows, in their order or turned around
        turned = self.begin[1:2] != (0,)
        return (None,) if turned else same_rows(types)

    def along(self, types: Types, axis: int) -> tuple[Window | None, ...]:
        if self.step[axis] < 0:
            return (None,)
        return (Window(1, self.step[axis], 1, -self.begin[axis]),)

    def cut(self, axis: int, size: int, before: int, after: int) -> Op:
        begin, sizes = list(self.begin), list(self.size)
        begin[axis], sizes[axis] = 0, size
        return Slice(tuple(begin), tuple(sizes), self.step)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        places = [list(order).index(axis) for axis in range(len(order))]
        return Slice(
            tuple(self.begin[i] for i in places),
            tuple(self.size[i] for i in places),
            tuple(self.step[i] for i in places),
        )

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        x = at.types.input(0)
        if any(step != 1 for step in self.step):
            raise write.refuse(f"a slice by steps {self.step}")
        after = tuple(
            n - first - size for n, first, size in zip(x.shape, self.begin, self.size, strict=True)
        )
        return (write.padded(gs[0], self.begin, after),)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        x = at.types.input(0)
        if any(step != 1 for step in self.step):
            raise UnsupportedOp(f"the gradient of a slice by steps {self.step}", at=at.node.name)
        after = tuple(
            n - first - size for n, first, size in zip(x.shape, self.begin, self.size, strict=True)
        )
        from .pad import Pad  # noqa: PLC0415  its own gradient is a slice

        return (tape.moved(at, g, Pad(self.begin, after)),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x = types.input(0)
        strides = [x.dtype.size] * x.rank
        for axis in range(x.rank - 2, -1, -1):
            strides[axis] = strides[axis + 1] * x.shape[axis + 1]
        offset = sum(b * s for b, s in zip(self.begin, strides, strict=True))
        steps = [step * s for step, s in zip(self.step, strides, strict=True)]
        params = {"offset": offset, **walk(types.output.shape, steps, x.dtype.size)}
        return KernelCall("slice", "b8", params, (Flat(inputs[0]), Flat(outputs[0])))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for dtype in (DType.INT8, DType.FLOAT32, DType.INT16):
            x = TensorType((2, 5, 6, 3), dtype)
            for op in (
                cls((0, 1, 0, 0), (2, 3, 6, 3), (1, 1, 1, 1)),
                cls((1, 4, 5, 2), (2, 3, 2, 3), (-1, -2, -3, -1)),
                cls((0, 0, 1, 1), (1, 3, 2, 1), (1, 2, 2, 1)),
            ):
                yield Example(op, Types((x,), op.infer((x,))))
            x = TensorType((1, 5, 6, 3), dtype)
            for op in (
                cls((0, 0, 4, 1), (1, 5, 2, 2), (1, 1, -3, 1)),
                cls((0, 4, 0, 0), (1, 5, 6, 3), (1, -1, 1, 1)),
                cls((0, 1, 0, 0), (1, 2, 6, 3), (1, 2, 1, 1)),
            ):
                yield Example(op, Types((x,), op.infer((x,))))


def slice_of(shape: Sequence[int], ranges: Sequence[slice]) -> Slice:
    """The op for Python slices of each axis. Raises ``InvalidModel`` where one is empty."""
    begin, size, step = [], [], []
    for part, n in zip(ranges, shape, strict=True):
        if part.step == 0:
            raise InvalidModel("a slice with step 0")
        places = range(*part.indices(n))
        if not places:
            raise InvalidModel(f"an empty slice of shape {tuple(shape)}")
        begin.append(places[0])
        size.append(len(places))
        step.append(places.step if len(places) > 1 else 1)
    return Slice(tuple(begin), tuple(size), tuple(step))


@from_tflite("SLICE")
def _slice(node: Any) -> None:
    shape = node.type(0).shape
    begin, size = (node.constant(i).ravel().tolist() for i in (1, 2))
    if len(begin) != len(shape) or len(size) != len(shape) or min(begin, default=0) < 0:
        raise node.invalid(f"slice from {begin} of {size} of shape {shape}")
    ranges = [slice(b, n if s == -1 else b + s) for b, s, n in zip(begin, size, shape, strict=True)]
    node.add(slice_of(shape, ranges), node.inputs[:1])


@from_tflite("STRIDED_SLICE")
def _strided_slice(node: Any) -> None:
    x = node.type(0)
    options = node.options("StridedSliceOptions")
    if options.NewAxisMask() or options.EllipsisMask() or options.Offset():
        raise node.unsupported("new axes, ellipsis or offsets")
    begin, end, step = (node.constant(i).ravel().tolist() for i in (1, 2, 3))
    if not len(begin) == len(end) == len(step) <= x.rank:
        raise node.invalid(f"{len(begin)} ranges for rank {x.rank}")
    ranges = []
    for axis, n in enumerate(x.shape):
        bit = 1 << axis
        if axis >= len(begin):
            ranges.append(slice(None))
        elif options.ShrinkAxisMask() & bit:
            place = begin[axis] + n if begin[axis] < 0 else begin[axis]
            place = 0 if options.BeginMask() & bit else place
            ranges.append(slice(place, place + 1))
        else:
            ranges.append(
                slice(
                    None if options.BeginMask() & bit else begin[axis],
                    None if options.EndMask() & bit else end[axis],
                    step[axis],
                )
            )
    op = slice_of(x.shape, ranges)
    if options.ShrinkAxisMask():
        whole = node.emit(op, node.inputs[:1], x.quant)
        node.add(Reshape(node.output_type(0).shape), [whole])
    else:
        node.add(op, node.inputs[:1])


@from_onnx("Slice")
def _from_onnx(node: Any) -> None:
    shape = node.type(0).shape
    starts, ends = node.attribute("starts", None), node.attribute("ends", None)
    steps = None
    if starts is None:
        starts, ends = (node.constant(i).ravel().tolist() for i in (1, 2))
        steps = node.constant(4).ravel().tolist() if node.has(4) else None
    axes = list(node.axes(3, list(range(len(starts)))))
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.invalid(f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes")
    ranges = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # an end before the first element: -n - 1 and less, which Python's slices take as given
        ranges[axis] = slice(int(start), int(end), int(step))
    node.add(slice_of(shape, ranges), [node.input(0)])
