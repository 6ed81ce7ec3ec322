"""FullyConnected: rows of a matrix times constant weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidModel
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
    Rescale,
    Site,
    Sliding,
    Table,
    Tape,
    TensorType,
    Types,
    Window,
    clamp_of,
)
from .arithmetic import fixed_point, float_scale, quantize_clamp, rescale
from .conv import (
    accumulator_scale,
    check_alike,
    check_folded,
    float_bias,
    int8_bias,
    is_int8_conv,
    limited,
    rescale_params,
    weights_operand,
    zero_of,
)
from .registry import from_tflite
from .rows import same_places, same_rows

if TYPE_CHECKING:
    from .writing import Writing


@dataclass(frozen=True)
class FullyConnected(Op):
    """y[..., o] = clamp(bias[o] + sum over i of x[..., i] * weights[o, i]).

    Inputs: x [..., I], weights [O, I], bias [O] or none. Integer form, and what ``folded`` says, as
    Conv2D.
    ``flatten`` takes all axes of x but those that leave rows of I together (TFLite without
    keep_num_dims): the output is [rows, O].
    """

    flatten: bool = False
    clamp: tuple[float, float] | None = None
    rescale: Rescale | None = None
    folded: bool = False
    bias_at = 2

    def infer(self, inputs: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        x, weights = inputs[0], inputs[1]
        assert x is not None and weights is not None
        if weights.rank != 2 or x.rank < 1 or x.count % weights.shape[1]:
            raise InvalidModel(f"weights {weights.shape} do not fit input {x.shape}")
        outs, depth = weights.shape
        bias = inputs[2] if len(inputs) > 2 else None
        if bias is not None and bias.count != outs:
            raise InvalidModel(f"{bias.count} bias values for {outs} outputs")
        check_folded(self.folded, self.rescale, weights, bias)
        check_alike(x, weights, bias)
        if self.flatten:
            return (TensorType((x.count // depth, outs), x.dtype),)
        if x.shape[-1] != depth:
            raise InvalidModel(f"weights {weights.shape} do not fit input {x.shape}")
        return (TensorType((*x.shape[:-1], outs), x.dtype),)

    def macs(self, types: Types) -> int:
        return types.output.count * types.input(1).shape[1]

    def windows(self, types: Types) -> tuple[Reading | None, ...]:
        # a map that is flattened gives no map
        return same_rows(types)

    def along(self, types: Types, axis: int) -> tuple[Window | None, ...]:
        inner = axis < types.output.rank - 1 and not self.flatten
        return same_places(types, axis) if inner else (None,) * len(types.inputs)

    def reference(
        self, inputs: Sequence[np.ndarray | None], types: Types
    ) -> tuple[np.ndarray, ...]:
        x, weights = inputs[0], inputs[1]
        assert x is not None and weights is not None
        bias = inputs[2] if len(inputs) > 2 else None
        kind = types.output
        rows = x.reshape(-1, weights.shape[1]).astype(np.float64)
        if self.rescale is None:
            y = rows @ weights.T.astype(np.float64)
            y = (y if bias is None else y + bias).astype(np.float32)
            y = y if self.clamp is None else np.clip(y, *self.clamp).astype(np.float32)
            return (y.reshape(kind.shape),)
        _, zeros = zero_of(types.input(1)).along(2)
        # float64 holds every integer sum of int8 products exactly
        acc = rows - (0 if self.folded else types.input(0).zero_point)
        acc = (acc @ (weights.astype(np.float64) - zeros).T).astype(np.int64)
        if bias is not None:
            folded = limited(bias, types.input(1), self.rescale) if self.folded else bias
            acc += folded.astype(np.int64)
        low, high = self.clamp or kind.dtype.limits
        y = np.clip(rescale(acc, self.rescale) + kind.zero_point, low, high)
        return (y.astype(kind.dtype.numpy).reshape(kind.shape),)

    def quantized(self, types: Types) -> Op | None:
        """M = float32(float64(s_x) * s_w / s_y), one for each output channel."""
        x, weights, y = types.input(0), types.input(1), types.output
        if not is_int8_conv(x, weights, y, 0):
            return None
        assert weights.quant is not None
        m = np.float64(x.scale) * np.array(weights.quant.scale, np.float64) / np.float64(y.scale)
        return replace(self, clamp=quantize_clamp(self.clamp, y), rescale=float_scale(m))

    def gradient(self, write: Writing, at: Site, gs: Sequence[str]) -> tuple[str | None, ...]:
        x, weights = at.node.inputs[:2]
        outs, depth = at.types.input(1).shape
        rows = at.types.input(0).count // depth
        h = write.inside(gs[0], at.node.outputs[0], self.clamp)
        h = write.reshaped(h, rows, outs)
        found: list[str | None] = [None] * len(at.wanted)
        if at.wanted[0]:
            found[0] = write.reshaped(write.product(h, weights), *at.types.input(0).shape)
        if at.wanted[1]:
            found[1] = write.product(write.turned(h, 1, 0), write.reshaped(x, rows, depth))
        if len(found) > 2 and at.wanted[2]:
            found[2] = write.total(h, (0,), keepdims=False)
        return tuple(found)

    def quantized_gradient(self, tape: Tape, at: Site, g: Gradient) -> tuple[Gradient, ...]:
        h = tape.gate(at, g, accumulator_scale(at), clamp_of(self.clamp, (-128, 127)))
        return (tape.convolution(at, h, Sliding()), *([None] * (len(at.wanted) - 1)))

    def kernel(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        types: Types,
        constants: Sequence[np.ndarray | None],
    ) -> KernelCall:
        x, weights, y = types.input(0), types.input(1), types.output
        outs, depth = weights.shape
        params: dict[str, Param] = {"rows": x.count // depth, "depth": depth, "outs": outs}
        numbers = weights_operand(inputs, constants, "OI")
        if self.rescale is None:
            low, high = self.clamp or (-np.inf, np.inf)
            params |= {"lo": float(low), "hi": float(high)}
            operands = (
                Flat(inputs[0]),
                numbers,
                float_bias(inputs, constants, outs),
                Flat(outputs[0]),
            )
            return KernelCall("dense", "f32", params, operands)
        zeros = zero_of(weights)
        low, high = self.clamp or y.dtype.limits
        params |= rescale_params(self.rescale, outs)
        params |= {"out_zero": y.zero_point, "lo": int(low), "hi": int(high)}
        facts = {"weights_zero": int(any(zeros.zero_point))}
        if facts["weights_zero"]:
            params["weights_zero"] = Table(
                "weights_zero", np.broadcast_to(np.array(zeros.zero_point, np.int8), outs)
            )
        bias, limits = int8_bias(inputs, constants, types, self.rescale, folded=self.folded)
        params |= limits
        operands = (Flat(inputs[0]), numbers, bias, Flat(outputs[0]))
        return KernelCall("dense", "s8", params, operands, facts)

    @classmethod
    def examples(cls) -> Iterator[Example]:
        rng = np.random.default_rng(2)
        for shape, outs, flatten in (
            ((1, 20), 7, False),
            ((3, 2, 5), 4, False),
            ((2, 2, 5), 3, True),
            ((1, 3, 2, 5), 4, False),
        ):
            depth = 10 if flatten else shape[-1]
            kind = TensorType((outs, depth), DType.FLOAT32)
            x = TensorType(shape, DType.FLOAT32)
            bias = TensorType((outs,), DType.FLOAT32)
            op = cls(flatten, (-1.0, 2.0))
            yield Example(
                op,
                Types((x, kind, bias), op.infer((x, kind, bias))),
                {
                    1: rng.standard_normal((outs, depth)).astype(np.float32),
                    2: rng.standard_normal(outs).astype(np.float32),
                },
            )
            for how in (fixed_point([0.004]), float_scale([0.004] * outs)):
                for zero in (0, 3):
                    qx = TensorType(shape, DType.INT8, Quant((0.05,), (-7,)))
                    qw = TensorType((outs, depth), DType.INT8, Quant((0.01,), (zero,)))
                    qb = TensorType((outs,), DType.INT32)
                    y = TensorType(op.infer((x, kind))[0].shape, DType.INT8, Quant((0.1,), (5,)))
                    yield Example(
                        cls(flatten, (-100, 120), how),
                        Types((qx, qw, qb), (y,)),
                        {
                            1: rng.integers(-127, 128, (outs, depth)).astype(np.int8),
                            2: rng.integers(-2000, 2000, outs).astype(np.int32),
                        },
                    )


@from_tflite("FULLY_CONNECTED")
def _from_tflite(node: Any) -> None:
    x, weights, y = node.type(0), node.type(1), node.output_type(0)
    options = node.options("FullyConnectedOptions")
    if options.WeightsFormat() != 0:
        raise node.unsupported("shuffled weights")
    clamp = node.activation(options.FusedActivationFunction(), y)
    outs = weights.shape[0] if weights.rank == 2 else 0
    how: Rescale | None = None
    if x.dtype is not DType.FLOAT32:
        if weights.quant is not None and weights.quant.per_tensor and x.quant and y.quant:
            # one scale: TFLite multiplies the two scales in float32 first
            product = float(np.float32(x.scale) * np.float32(weights.scale))
            node.rescale_by_channel(x, weights, y, outs)
            how = fixed_point([product / float(y.scale)])
        else:
            how = node.rescale_by_channel(x, weights, y, outs)
    rows = prod(x.shape) // weights.shape[1] if weights.rank == 2 else 0
    flatten = y.shape == (rows, outs) and x.shape[:-1] != (rows,)
    filters = node.inputs[1] if how is not None else node.float_weights(node.inputs[1])
    node.add(FullyConnected(flatten, clamp, how), [node.inputs[0], filters, node.optional(2)])
