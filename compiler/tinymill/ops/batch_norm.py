"""BatchNorm: a factor and a summand for each channel, for where it can't go into weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    POINT,
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Site,
    TensorType,
    Types,
    Window,
)
from .registry import from_onnx
from .transpose import Transpose

if TYPE_CHECKING:
    from .writing import Writing


@dataclass(frozen=True)
class BatchNorm(Op):
    """y[..., c] = x[..., c] * scale[c] + shift[c]; inputs x, scale, shift."""

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, scale, shift = inputs[0], inputs[1], inputs[2]
        assert x is not None and scale is not None and shift is not None
        if x.rank < 1 or scale.shape != x.shape[-1:] or shift.shape != x.shape[-1:]:
            raise InvalidModel(f"scale {scale.shape} and shift {shift.shape} for {x.shape}")
        return (TensorType(x.shape, x.dtype),)

    def windows(self, types: Types) -> tuple[Window | None, ...]:
        return (POINT, None, None)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        return self if order[-1] == len(order) - 1 else None

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, scale, shift = inputs[0], inputs[1], inputs[2]
        assert x is not None and scale is not None and shift is not None
        return ((x.astype(np.float64) * scale + shift).astype(np.float32),)

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        x, scale, _ = at.node.inputs
        rows = range(at.types.output.rank - 1)
        return (
            write.times(gs[0], scale) if at.wanted[0] else None,
            write.total(write.times(gs[0], x), rows, keepdims=False) if at.wanted[1] else None,
            write.total(gs[0], rows, keepdims=False) if at.wanted[2] else None,
        )

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x = types.input(0)
        if x.dtype is not DType.FLOAT32:
            raise UnsupportedOp(f"batch normalisation of {x}")
        channels = x.shape[-1]
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(inputs[2]), Flat(outputs[0]))
        params = {"rows": x.count // channels, "channels": channels}
        return KernelCall("batch_norm", "f32", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for shape in ((1, 3, 4, 5), (3, 2), (7,)):
            x = TensorType(shape, DType.FLOAT32)
            channel = TensorType(shape[-1:], DType.FLOAT32)
            yield Example(cls(), Types((x, channel, channel), (x,)))


@from_onnx("BatchNormalization")
def _from_onnx(node: Any) -> None:
    if node.attribute("training_mode", 0) or any(node.outputs[1:]):
        raise node.unsupported("training mode")
    x = node.type(0)
    scale, bias, mean, variance = (node.constant(i).ravel().astype(np.float64) for i in range(1, 5))
    channels = x.shape[1] if x.rank > 1 else 1
    if any(a.size != channels for a in (scale, bias, mean, variance)):
        raise node.invalid(f"statistics of {scale.size} channels for {x.shape}")
    epsilon = node.attribute("epsilon", 1e-5)
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + epsilon)
        summand = bias - mean * factor
    if not (np.isfinite(factor).all() and np.isfinite(summand).all()):
        raise node.invalid("a variance is negative or not a number")
    constants = [
        node.emit_constant(factor.astype(np.float32)),
        node.emit_constant(summand.astype(np.float32)),
    ]
    if x.rank in (3, 4):
        node.add_nhwc(BatchNorm(), [node.nhwc(0), *constants])
    elif x.rank == 2:
        node.add(BatchNorm(), [node.input(0), *constants])
    elif x.rank > 2:
        order = (0, *range(2, x.rank), 1)
        last = node.emit(Transpose(order), [node.input(0)])
        back = tuple(int(axis) for axis in np.argsort(order))
        node.add(Transpose(back), [node.emit(BatchNorm(), [last, *constants])])
    else:
        raise node.unsupported(f"rank {x.rank}")
