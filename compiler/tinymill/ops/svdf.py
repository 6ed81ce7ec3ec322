"""SVDF: a layer of rank-limited filters over time, its history in a variable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidModel, UnsupportedOp
from ..ir import (
    DType,
    Example,
    Flat,
    KernelCall,
    Op,
    Param,
    Quant,
    Table,
    TensorType,
    Types,
)
from .arithmetic import fixed_multiplier, saturate, scale_fixed
from .registry import from_tflite


@dataclass(frozen=True)
class Svdf(Op):
    """Inputs: x [N, I], features [F, I], times [F, M], bias [F / rank] or none, history [N, F * M].

    The history moves on by one place; its newest place of filter f is x . features[f].
    y[n, u] = bias[u] + sum over the filters f of unit u of history[n, f] . times[f].
    int8: ``first`` and ``second`` rescale (multiplier, shift) the two sums; history and times
    are int8 or int16. ``clamp`` is for float.
    """

    rank: int
    first: tuple[int, int] | None = None
    second: tuple[int, int] | None = None
    clamp: tuple[float, float] | None = None
    mutates = (4,)

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, features, times, bias, history = inputs
        assert x is not None and features is not None and times is not None
        assert history is not None
        if x.rank != 2 or features.rank != 2 or times.rank != 2 or self.rank < 1:
            raise InvalidModel(f"SVDF of {x}, {features}, {times}")
        filters, memory = times.shape
        if features.shape != (filters, x.shape[1]) or filters % self.rank:
            raise InvalidModel(f"SVDF of {x}, {features}, {times}, rank {self.rank}")
        if history.shape != (x.shape[0], filters * memory) or history.dtype is not times.dtype:
            raise InvalidModel(f"SVDF of {times} with history {history}")
        units = filters // self.rank
        if bias is not None and bias.count != units:
            raise InvalidModel(f"{bias.count} bias values for {units} units")
        return (TensorType((x.shape[0], units), x.dtype),)

    def macs(self, types: Types) -> int:
        filters, memory = types.input(2).shape
        return types.input(0).shape[0] * filters * (types.input(1).shape[1] + memory)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, features, times, bias, history = inputs
        assert x is not None and features is not None and times is not None
        assert history is not None
        batch = x.shape[0]
        filters, memory = times.shape
        places = np.roll(history.reshape(batch, -1), -1, axis=1).reshape(batch, filters, memory)
        places = places.copy()
        if self.first is None:
            places[:, :, -1] = (x.astype(np.float64) @ features.T).astype(np.float32)
            sums = np.einsum("bfm,fm->bf", places.astype(np.float64), times)
            y = sums.reshape(batch, -1, self.rank).sum(axis=2)
            y = (y if bias is None else y + bias).astype(np.float32)
            y = y if self.clamp is None else np.clip(y, *self.clamp).astype(np.float32)
            return y, places.reshape(history.shape)
        assert self.second is not None
        kind, zero = types.input(4), types.input(4).zero_point
        acc = (x.astype(np.int64) - types.input(0).zero_point) @ features.T.astype(np.int64)
        places[:, :, -1] = saturate(scale_fixed(acc, *self.first) + zero, kind)
        sums = np.einsum("bfm,fm->bf", places.astype(np.int64) - zero, times.astype(np.int64))
        total = sums.reshape(batch, -1, self.rank).sum(axis=2)
        total = total if bias is None else total + bias.astype(np.int64)
        y = saturate(scale_fixed(total, *self.second) + types.output.zero_point, types.output)
        return y, places.reshape(history.shape)

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, history = types.input(0), types.input(4)
        filters, memory = types.input(2).shape
        features, times, bias = constants[1], constants[2], constants[3]
        if features is None or times is None or (inputs[3] and bias is None):
            raise UnsupportedOp("weights or bias computed at run time")
        units = filters // self.rank
        params: dict[str, Param] = {
            "batch": x.shape[0], "depth": x.shape[1], "units": units, "rank": self.rank,
            "memory": memory,
        }  # fmt: skip
        if self.first is None or self.second is None:
            low, high = self.clamp or (-np.inf, np.inf)
            params |= {"lo": float(low), "hi": float(high)}
            bias = np.zeros(units, np.float32) if bias is None else bias
            dtype = "f32"
        else:
            params |= {
                "in_zero": x.zero_point, "history_zero": history.zero_point,
                "out_zero": types.output.zero_point,
                "first_multiplier": self.first[0], "first_shift": self.first[1],
                "second_multiplier": self.second[0], "second_shift": self.second[1],
            }  # fmt: skip
            bias = np.zeros(units, np.int32) if bias is None else bias.astype(np.int32)
            dtype = f"s8_{history.dtype.value}"
        operands = (
            Flat(inputs[0]), Table("features", features), Table("times", times),
            Table("bias", bias), Flat(inputs[4]), Flat(outputs[0]),
        )  # fmt: skip
        return KernelCall("svdf", dtype, params, operands)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(5)
        batch, depth, filters, memory, rank = 2, 6, 8, 5, 2
        for state in (DType.FLOAT32, DType.INT8, DType.INT16):
            if state is DType.FLOAT32:
                x = TensorType((batch, depth), state)
                kinds = [
                    TensorType((filters, depth), state), TensorType((filters, memory), state),
                    TensorType((filters // rank,), state),
                    TensorType((batch, filters * memory), state),
                ]  # fmt: skip
                values = [rng.standard_normal(k.shape).astype(np.float32) for k in kinds[:3]]
                op = cls(rank, clamp=(0.0, np.inf))
                y = op.infer((x, *kinds))
            else:
                zero = -5 if state is DType.INT8 else 0
                x = TensorType((batch, depth), DType.INT8, Quant((0.05,), (3,)))
                kinds = [
                    TensorType((filters, depth), DType.INT8, Quant((0.01,), (0,))),
                    TensorType((filters, memory), state, Quant((0.01,), (0,))),
                    TensorType((filters // rank,), DType.INT32),
                    TensorType((batch, filters * memory), state, Quant((0.1,), (zero,))),
                ]
                values = [
                    rng.integers(-127, 128, kinds[0].shape).astype(np.int8),
                    rng.integers(-127, 128, kinds[1].shape).astype(state.numpy),
                    rng.integers(-2000, 2000, kinds[2].shape).astype(np.int32),
                ]
                op = cls(rank, fixed_multiplier(0.005), fixed_multiplier(0.001))
                (plain,) = op.infer((x, *kinds))
                y = (TensorType(plain.shape, DType.INT8, Quant((0.2,), (-7,))),)
            yield Example(op, Types((x, *kinds), y), dict(zip((1, 2, 3), values, strict=True)))


@from_tflite("SVDF")
def _from_tflite(node: Any) -> None:
    options = node.options("SVDFOptions")
    x, features, times, history = (node.type(i) for i in (0, 1, 2, 4))
    y = node.output_type(0)
    inputs = [*node.inputs[:3], node.optional(3), node.inputs[4]]
    if inputs[4] not in node.builder.variables:
        raise node.invalid("the activation state is no variable")
    if x.dtype is DType.FLOAT32:
        if features.dtype is not x.dtype or times.dtype is not x.dtype:
            raise node.unsupported("float activations with integer weights")
        clamp = node.activation(options.FusedActivationFunction(), y)
        node.add(Svdf(options.Rank(), clamp=clamp), inputs)
        return
    kinds = (x, features, times, history, y)
    if any(kind.quant is None or not kind.quant.per_tensor for kind in kinds):
        raise node.unsupported("quantisation that is not per tensor")
    if x.dtype is not DType.INT8 or features.dtype is not DType.INT8 or y.dtype is not DType.INT8:
        raise node.unsupported(f"{x}, {features} -> {y}")
    if times.dtype not in (DType.INT8, DType.INT16) or features.zero_point or times.zero_point:
        raise node.unsupported(f"weights {features}, {times}")
    # TFLite multiplies these scales in float32; a fused activation is in the output's range
    scale = [np.float32(kind.scale) for kind in kinds]
    first = fixed_multiplier(float(scale[0] * scale[1] / scale[3]))
    second = fixed_multiplier(float(scale[3] * scale[2] / scale[4]))
    node.add(Svdf(options.Rank(), first, second), inputs)
