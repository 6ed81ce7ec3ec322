"""PRelu: a slope for the negative values of each channel."""

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
    KernelCall,
    Op,
    Reading,
    Site,
    TensorType,
    Types,
)
from .compare import broadcast, geometry
from .registry import from_onnx, from_tflite
from .rows import elementwise

if TYPE_CHECKING:
    from .writing import Writing


@dataclass(frozen=True)
class PRelu(Op):
    """y = x, or x * slope where x < 0; the slope broadcasts to x."""

    alike = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, slope = inputs[0], inputs[1]
        assert x is not None and slope is not None
        if x.dtype is not slope.dtype or broadcast(x, slope) != x.shape:
            raise InvalidModel(f"slopes {slope} for {x}")
        return (TensorType(x.shape, x.dtype),)

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return elementwise(types)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return self

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, slope = inputs[0], inputs[1]
        assert x is not None and slope is not None
        return (np.where(x < 0, x * slope, x).astype(x.dtype),)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        x, slope = at.node.inputs
        below = write.less(x, 0.0)
        found = write.choose(below, write.times(gs[0], slope), gs[0]) if at.wanted[0] else None
        if not at.wanted[1]:
            return (found, None)
        part = write.choose(below, write.times(gs[0], x), 0.0)
        return (found, write.summed_to(part, at.types.input(1).shape))

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        if types.output.dtype is not DType.FLOAT32:
            raise UnsupportedOp(f"PRelu of {types.output.dtype.name.lower()}")
        params = geometry(types) | {"lo": float("-inf"), "hi": float("inf")}
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(outputs[0]))
        return KernelCall("prelu", "f32", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        x = TensorType((2, 3, 4, 5), DType.FLOAT32)
        for shape in ((5,), (1, 1, 1), (2, 3, 4, 5), (3, 1, 1)):
            yield Example(cls(), Types((x, TensorType(shape, DType.FLOAT32)), (x,)))
        x = TensorType((1, 3, 4, 5), DType.FLOAT32)
        for shape in ((5,), (1, 3, 4, 1)):
            yield Example(cls(), Types((x, TensorType(shape, DType.FLOAT32)), (x,)))


@from_onnx("PRelu")
def _from_onnx(node: Any) -> None:
    node.add(PRelu(), [node.input(0), node.input(1)])


@from_tflite("PRELU")
def _from_tflite(node: Any) -> None:
    if node.type(0).dtype is not DType.FLOAT32:
        raise node.unsupported(f"{node.type(0)}")
    node.add(PRelu(), node.inputs[:2])
