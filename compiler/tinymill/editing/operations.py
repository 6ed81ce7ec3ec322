"""Attend and Modulate: what networks mean by several small ops, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import KernelCall, Op, TensorType, Types


@dataclass(frozen=True)
class Attend(Op):
    """Attention of queries [N, ..., C] on keys [N, ..., C'] and values [N, ..., C''].

    All axes between the first and the last count as positions. ``channels`` are those of one
    head's queries and values, ``first`` the channel at which the heads of queries, keys and
    values begin. Output [N, positions of the queries, heads * value channels].
    """

    heads: int
    channels: tuple[int, int]
    scale: float
    first: tuple[int, int, int] = (0, 0, 0)

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        q, k, v = inputs[0], inputs[1], inputs[2]
        assert q is not None and k is not None and v is not None
        widths = (self.channels[0], self.channels[0], self.channels[1])
        for kind, first, width in zip((q, k, v), self.first, widths, strict=True):
            if kind.rank < 2 or first + width * self.heads > kind.shape[-1]:
                raise InvalidModel(f"{self.heads} heads of {width} channels in {kind}")
        if prod(k.shape[1:-1]) != prod(v.shape[1:-1]) or not q.shape[0] == k.shape[0] == v.shape[0]:
            raise InvalidModel(f"keys {k} and values {v} of queries {q}")
        places = prod(q.shape[1:-1])
        return (TensorType((q.shape[0], places, self.heads * self.channels[1]), q.dtype),)

    def macs(self, types: Types) -> int:
        keys = prod(types.input(1).shape[1:-1])
        return prod(types.output.shape[:2]) * keys * self.heads * sum(self.channels)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        split = []
        widths = (self.channels[0], self.channels[0], self.channels[1])
        for array, first, width in zip(inputs, self.first, widths, strict=True):
            assert array is not None
            rows = array.reshape(array.shape[0], -1, array.shape[-1]).astype(np.float64)
            rows = rows[:, :, first : first + self.heads * width]
            split.append(rows.reshape(*rows.shape[:2], self.heads, width).transpose(0, 2, 1, 3))
        q, k, v = split
        scores = self.scale * (q @ k.transpose(0, 1, 3, 2))
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        y = powers / powers.sum(axis=-1, keepdims=True) @ v
        return (y.transpose(0, 2, 1, 3).reshape(types.output.shape).astype(np.float32),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall | None:
        raise UnsupportedOp("attention as one op is for sparse editing")


@dataclass(frozen=True)
class Modulate(Op):
    """y = x * (1 + gamma) + beta, gamma and beta broadcast to x (SPADE, FiLM)."""

    alike = True

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, gamma, beta = inputs[0], inputs[1], inputs[2]
        assert x is not None and gamma is not None and beta is not None
        try:
            shape = np.broadcast_shapes(x.shape, gamma.shape, beta.shape)
        except ValueError as error:
            raise InvalidModel(f"{gamma} and {beta} modulate {x}") from error
        if shape != x.shape:
            raise InvalidModel(f"{gamma} and {beta} modulate {x}")
        return (x.with_shape(x.shape),)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, gamma, beta = inputs[0], inputs[1], inputs[2]
        assert x is not None and gamma is not None and beta is not None
        return ((x.astype(np.float64) * (1.0 + gamma) + beta).astype(np.float32),)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall | None:
        raise UnsupportedOp("modulation as one op is for sparse editing")
