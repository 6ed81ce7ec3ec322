"""Pad with a constant, by reflection or by the edge."""

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
    Param,
    Quant,
    Reading,
    Site,
    Tape,
    TensorType,
    Types,
    Window,
)
from .moving import RANK
from .registry import from_onnx, from_tflite
from .rows import same_places, same_rows
from .slice import Slice, slice_of

if TYPE_CHECKING:
    from .writing import Writing

MODES = {"constant": 0, "reflect": 1, "edge": 2}


@dataclass(frozen=True)
class Pad(Op):
    """Adds ``before[i]`` and ``after[i]`` elements to axis i.

    ``value`` fills mode "constant", in the units of the tensor's integers or reals. Mode
    "reflect" mirrors without repeating the edge, "edge" repeats it.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0
    mode: str = "constant"
    movement = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if len(self.before) != x.rank or len(self.after) != x.rank:
            raise InvalidModel(f"padding of {len(self.before)} axes for rank {x.rank}")
        if min((*self.before, *self.after), default=0) < 0:
            raise InvalidModel(f"negative padding {self.before}, {self.after}")
        if self.mode == "reflect" and any(
            max(a, b) >= n for a, b, n in zip(self.before, self.after, x.shape, strict=True)
        ):
            raise InvalidModel(f"reflection by {self.before}, {self.after} on {x.shape}")
        shape = tuple(n + a + b for n, a, b in zip(x.shape, self.before, self.after, strict=True))
        return (TensorType(shape, x.dtype),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        widths = list(zip(self.before, self.after, strict=True))
        if self.mode == "constant":
            return (np.pad(x, widths, constant_values=x.dtype.type(self.value)),)
        return (np.pad(x, widths, mode=self.mode),)  # type: ignore[call-overload]

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types)

    def along(self, types: Types, axis: int) -> tuple[Window | None, ...]:
        padded = self.before[axis] or self.after[axis]
        return (None,) if padded else same_places(types, axis)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return Pad(
            tuple(self.before[order.index(axis)] for axis in range(len(order))),
            tuple(self.after[order.index(axis)] for axis in range(len(order))),
            self.value,
            self.mode,
        )

    def quantized(self, types: Types) -> Op | None:
        """Pads the integers with the integer that stands for ``value``, if there is one."""
        x, y = types.input(0), types.output
        if x.quant != y.quant or x.quant is None or not x.quant.per_tensor:
            return None
        if self.mode != "constant":
            return self
        stands = np.rint(np.float32(self.value) / np.float32(x.scale)) + x.zero_point
        low, high = x.dtype.limits
        return Pad(self.before, self.after, float(np.clip(stands, low, high)), self.mode)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        if self.mode != "constant":
            raise write.refuse(f"padding by {self.mode}")
        return (write.cut(gs[0], self.before, at.types.input(0).shape),)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        if self.mode != "constant":
            raise UnsupportedOp(f"the gradient of padding by {self.mode}", at=at.node.name)
        x = at.types.input(0)
        return (tape.moved(at, g, Slice(self.before, x.shape, (1,) * x.rank)),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, y = types.input(0), types.output
        fill = np.array([self.value], np.float64).astype(x.dtype.numpy).tobytes()
        # inner axes without padding are moved at once
        axes, element = x.rank, x.dtype.size
        while axes and self.before[axes - 1] == self.after[axes - 1] == 0:
            axes -= 1
            element *= x.shape[axes]
        lead = RANK - axes
        params: dict[str, Param] = {
            "element": element,
            "unit": x.dtype.size,
            "shape": (*([1] * lead), *y.shape[:axes]),
            "source": (*([1] * lead), *x.shape[:axes]),
            "before": (*([0] * lead), *self.before[:axes]),
            "fill": tuple(fill) + (0,) * (8 - len(fill)),
            "mode": MODES[self.mode],
        }
        return KernelCall("pad", "b8", params, (Flat(inputs[0]), Flat(outputs[0])))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for mode in MODES:
            for dtype, value in ((DType.FLOAT32, -1.5), (DType.INT8, -7)):
                quant = None if dtype is DType.FLOAT32 else Quant((0.1,), (-7,))
                x = TensorType((1, 4, 5, 3), dtype, quant)
                for before, after in (
                    ((0, 1, 2, 0), (0, 2, 1, 0)),
                    ((0, 0, 2, 0), (0, 0, 1, 2)),
                    ((0, 0, 0, 1), (0, 0, 0, 0)),
                ):
                    op = cls(before, after, value, mode)
                    (y,) = op.infer((x,))
                    yield Example(op, Types((x,), (TensorType(y.shape, dtype, quant),)))


@from_tflite("PAD", "PADV2", "MIRROR_PAD")
def _from_tflite(node: Any) -> None:
    x = node.type(0)
    widths = node.constant(1).reshape(-1, 2)
    before, after = (tuple(int(n) for n in widths[:, side]) for side in (0, 1))
    value = 0.0 if x.quant is None else float(x.zero_point)
    mode = "constant"
    if node.kind == "PADV2":
        value = float(node.constant(2).ravel()[0])
    elif node.kind == "MIRROR_PAD":
        if node.options("MirrorPadOptions").Mode() != 0:
            raise node.unsupported("symmetric mirroring")
        mode = "reflect"
    node.add(Pad(before, after, value, mode), node.inputs[:1])


@from_onnx("Pad")
def _from_onnx(node: Any) -> None:
    rank = node.type(0).rank
    widths = node.attribute("pads", None)
    value = node.attribute("value", 0.0)
    if widths is None:
        widths = node.constant(1).ravel().tolist()
        if node.has(2):
            value = float(node.constant(2).ravel()[0])
    if node.has(3):
        axes = node.axes(3, default=[])
        half = len(axes)
        spread = [0] * (2 * rank)
        for i, axis in enumerate(axes):
            spread[axis], spread[rank + axis] = widths[i], widths[half + i]
        widths = spread
    mode = node.attribute("mode", b"constant").decode()
    if mode not in MODES:
        raise node.unsupported(f"mode {mode}")
    if len(widths) != 2 * rank:
        raise node.invalid(f"{len(widths)} pads for rank {rank}")
    before, after = [int(n) for n in widths[:rank]], [int(n) for n in widths[rank:]]
    _crop_and_pad(node, before, after, float(value), mode)


def _crop_and_pad(
    node: Any, before: Sequence[int], after: Sequence[int], value: float, mode: str
) -> None:
    """Adds a Pad; negative widths crop first, as a Slice."""
    source = node.input(0)
    if min((*before, *after), default=0) < 0:
        ranges = [
            slice(max(0, -b), n - max(0, -a))
            for b, a, n in zip(before, after, node.type(0).shape, strict=True)
        ]
        if any(part.stop <= part.start for part in ranges):
            raise node.invalid(f"padding {before}, {after} leaves nothing of its input")
        crop = slice_of(node.type(0).shape, ranges)
        if max((*before, *after)) <= 0:
            node.add(crop, [source])
            return
        source = node.emit(crop, [source])
    first, last = (tuple(max(0, n) for n in side) for side in (before, after))
    node.add(Pad(first, last, value, mode), [source])
