"""GroupNorm, LayerNorm, LpNorm, LocalResponseNorm: normalisation by what is in the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import DType, Example, Flat, KernelCall, Op, Operand, Reading, TensorType, Types, Window
from .registry import from_onnx, from_tflite
from .reshape import Reshape
from .rows import same_places, same_rows
from .transpose import Transpose


class _FloatNorm(Op):
    """What these ops share: one float output of the input's shape."""

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x = inputs[0]
        assert x is not None
        if x.dtype is not DType.FLOAT32:
            raise UnsupportedOp(f"normalisation of {x.dtype.name.lower()}")
        if x.rank < 1:
            raise InvalidModel("normalisation of a scalar")
        return (TensorType(x.shape, x.dtype),)

    def permuted(self, order: Sequence[int], types: Types) -> Op | None:
        # the axes between the first and the last play the same part
        return self if order[0] == 0 and order[-1] == len(order) - 1 else None


@dataclass(frozen=True)
class GroupNorm(_FloatNorm):
    """y = (x - mean) / sqrt(variance + epsilon) * scale[c] + shift[c]; x is [N, ..., C].

    Mean and variance over all but the first and last axis, and over the C / ``groups``
    channels of a group. As many groups as channels: instance normalisation.
    """

    groups: int
    epsilon: float = 1e-5

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        (y,) = super().infer(inputs)
        channels = y.shape[-1:]
        if y.rank < 2 or self.groups < 1 or channels[0] % self.groups:
            raise InvalidModel(f"{self.groups} groups of {y.shape}")
        if any(kind is None or kind.shape != channels for kind in inputs[1:3]):
            raise InvalidModel(f"scale and shift for {channels[0]} channels expected")
        return (y,)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, scale, shift = inputs[0], inputs[1], inputs[2]
        assert x is not None and scale is not None and shift is not None
        wide = x.astype(np.float64).reshape(x.shape[0], -1, self.groups, x.shape[-1] // self.groups)
        mean = wide.mean(axis=(1, 3), keepdims=True)
        variance = wide.var(axis=(1, 3), keepdims=True)
        y = ((wide - mean) / np.sqrt(variance + self.epsilon)).reshape(x.shape)
        return ((y * scale + shift).astype(np.float32),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x = types.input(0)
        params = {
            "batch": x.shape[0], "places": prod(x.shape[1:-1]), "channels": x.shape[-1],
            "groups": self.groups, "epsilon": float(self.epsilon),
        }  # fmt: skip
        operands = (Flat(inputs[0]), Flat(inputs[1]), Flat(inputs[2]), Flat(outputs[0]))
        return KernelCall("group_norm", "f32", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for shape, groups in (((1, 5, 4, 6), 6), ((2, 3, 3, 6), 2), ((2, 6), 1)):
            x = TensorType(shape, DType.FLOAT32)
            channel = TensorType(shape[-1:], DType.FLOAT32)
            yield Example(cls(groups, 1e-3), Types((x, channel, channel), (x,)))


class _RowNorm(_FloatNorm):
    """What is normalised along the last axis alone."""

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        return same_rows(types)

    def along(self, types: Types, axis: int) -> tuple[Window | None, ...]:
        inner = axis < types.output.rank - 1
        return same_places(types, axis) if inner else (None,) * len(types.inputs)


@dataclass(frozen=True)
class LayerNorm(_RowNorm):
    """y = (x - mean) / sqrt(variance + epsilon) * scale + shift along the last axis.

    Inputs x, scale [D], shift [D] or none. Without ``centre`` the mean counts as 0
    (RMSNormalization).
    """

    epsilon: float = 1e-5
    centre: bool = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        (y,) = super().infer(inputs)
        if any(kind is not None and kind.shape != y.shape[-1:] for kind in inputs[1:]):
            raise InvalidModel(f"scale or shift does not fit rows of {y.shape[-1]}")
        return (y,)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, scale = inputs[0], inputs[1]
        assert x is not None and scale is not None
        shift = inputs[2] if len(inputs) > 2 else None
        wide = x.astype(np.float64)
        if self.centre:
            wide = wide - wide.mean(axis=-1, keepdims=True)
        square = (wide * wide).mean(axis=-1, keepdims=True)
        y = wide / np.sqrt(square + self.epsilon) * scale
        return ((y if shift is None else y + shift).astype(np.float32),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x = types.input(0)
        depth = x.shape[-1]
        params = {
            "rows": x.count // depth, "depth": depth, "epsilon": float(self.epsilon),
            "centre": int(self.centre),
        }  # fmt: skip
        shift: Operand = Flat(inputs[2]) if len(inputs) > 2 and inputs[2] else None
        operands = (Flat(inputs[0]), Flat(inputs[1]), shift, Flat(outputs[0]))
        return KernelCall("layer_norm", "f32", params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        row = TensorType((10,), DType.FLOAT32)
        for shape in ((2, 3, 10), (1, 3, 2, 10)):
            x = TensorType(shape, DType.FLOAT32)
            yield Example(cls(), Types((x, row, row), (x,)))
            yield Example(cls(1e-2, False), Types((x, row, None), (x,)))


@dataclass(frozen=True)
class LpNorm(_RowNorm):
    """y = x / max(norm of order 1 or 2, least) along the last axis; rows of norm 0 stay 0."""

    order: int = 2
    least: float = 0.0

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        wide = x.astype(np.float64)
        norm = np.linalg.norm(wide, ord=self.order, axis=-1, keepdims=True)
        norm = np.maximum(norm, self.least)
        return ((wide / np.where(norm > 0, norm, 1)).astype(np.float32),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x = types.input(0)
        depth = x.shape[-1]
        params = {
            "rows": x.count // depth, "depth": depth, "order": self.order,
            "least": float(self.least),
        }  # fmt: skip
        return KernelCall("lp_norm", "f32", params, (Flat(inputs[0]), Flat(outputs[0])))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        for shape in ((4, 10), (1, 3, 2, 10)):
            x = TensorType(shape, DType.FLOAT32)
            for order in (1, 2):
                yield Example(cls(order), Types((x,), (x,)))
            yield Example(cls(2, 5.0), Types((x,), (x,)))


@dataclass(frozen=True)
class LocalResponseNorm(_RowNorm):
    """y[c] = x[c] / (bias + alpha / size * sum of x[k]^2)^beta along the last axis.

    k runs from c - floor((size - 1) / 2) to c + ceil((size - 1) / 2), inside the axis.
    """

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x = inputs[0]
        assert x is not None
        wide = x.astype(np.float64)
        before, after = (self.size - 1) // 2, self.size // 2
        square = np.pad(wide**2, [(0, 0)] * (x.ndim - 1) + [(before, after)])
        total = sum(square[..., k : k + x.shape[-1]] for k in range(self.size))
        y = wide / (self.bias + self.alpha / self.size * total) ** self.beta
        return (y.astype(np.float32),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x = types.input(0)
        channels = x.shape[-1]
        params = {
            "rows": x.count // channels, "channels": channels,
            "before": (self.size - 1) // 2, "after": self.size // 2,
            "alpha": self.alpha / self.size, "beta": float(self.beta), "bias": float(self.bias),
        }  # fmt: skip
        return KernelCall("lrn", "f32", params, (Flat(inputs[0]), Flat(outputs[0])))

    @classmethod
    def examples(cls) -> Iterator[Example]:
        x = TensorType((1, 2, 3, 7), DType.FLOAT32)
        for size in (1, 3, 4, 9):
            yield Example(cls(size, 0.5, 0.75, 2.0), Types((x,), (x,)))


@from_onnx("InstanceNormalization", "GroupNormalization")
def _group_norm(node: Any) -> None:
    x = node.type(0)
    if x.rank < 3:
        raise node.invalid(f"input of rank {x.rank}")
    channels = x.shape[1]
    epsilon = float(node.attribute("epsilon", 1e-5))
    scale, shift = node.input(1), node.input(2)
    groups = channels
    if node.kind == "GroupNormalization":
        groups = node.attribute("num_groups", 0)
        if not 0 < groups <= channels or channels % groups:
            raise node.invalid(f"{groups} groups of {channels} channels")
        if node.opset < 21:
            # one scale and shift a group
            scale, shift = (
                node.emit_constant(np.repeat(node.constant(i).ravel(), channels // groups))
                for i in (1, 2)
            )
    op = GroupNorm(groups, epsilon)
    if x.rank in (3, 4):
        node.add_nhwc(op, [node.nhwc(0), scale, shift])
        return
    order = (0, *range(2, x.rank), 1)
    last = node.emit(Transpose(order), [node.input(0)])
    back = tuple(int(axis) for axis in np.argsort(order))
    node.add(Transpose(back), [node.emit(op, [last, scale, shift])])


@from_onnx("LayerNormalization", "RMSNormalization")
def _layer_norm(node: Any) -> None:
    if any(node.outputs[1:]):
        raise node.unsupported("the outputs of mean and deviation")
    shape = node.type(0).shape
    axis = node.axis(-1)
    depth = prod(shape[axis:])
    vectors = []
    for position in (1, 2):
        if not node.has(position):
            vectors.append("")
        elif node.type(position).count == depth:
            vectors.append(node.emit(Reshape((depth,)), [node.input(position)]))
        else:
            wide = np.broadcast_to(node.constant(position), shape[axis:])
            vectors.append(node.emit_constant(np.ascontiguousarray(wide).reshape(depth)))
    op = LayerNorm(float(node.attribute("epsilon", 1e-5)), node.kind == "LayerNormalization")
    rows = node.emit(Reshape((prod(shape[:axis]), depth)), [node.input(0)])
    node.add(Reshape(shape), [node.emit(op, [rows, *vectors])])


@from_onnx("LpNormalization")
def _lp_norm(node: Any) -> None:
    order = node.attribute("p", 2)
    if order not in (1, 2):
        raise node.unsupported(f"norm of order {order}")
    rank, axis = node.type(0).rank, node.axis(-1)
    if axis == rank - 1:
        node.add(LpNorm(order), [node.input(0)])
        return
    swap = list(range(rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    last = node.emit(Transpose(tuple(swap)), [node.input(0)])
    node.add(Transpose(tuple(swap)), [node.emit(LpNorm(order), [last])])


@from_onnx("LRN")
def _lrn(node: Any) -> None:
    op = LocalResponseNorm(
        int(node.attribute("size", 0)),
        float(node.attribute("alpha", 1e-4)),
        float(node.attribute("beta", 0.75)),
        float(node.attribute("bias", 1.0)),
    )
    if op.size < 1 or op.size > 2 * node.type(0).shape[1]:
        raise node.unsupported(f"a window of {op.size} channels")
    node.add_nhwc(op, [node.nhwc(0)])


@from_tflite("L2_NORMALIZATION")
def _l2_norm(node: Any) -> None:
    if node.type(0).dtype is not DType.FLOAT32:
        raise node.unsupported(f"{node.type(0)}")
    # the least norm is TFLite's epsilon
    node.add(LpNorm(2, 1e-6), node.inputs[:1])
