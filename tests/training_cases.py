"""Random calls of the kernels of a training step that compute maps, for test_kernels.py.

Updates and losses, whose results are variables and exponents: test_training_kernels.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from kernel_cases import (
    MOST_ELEMENTS,
    MOST_WEIGHTS,
    VALUES,
    WEIGHTS,
    Case,
    Draw,
    Geometry,
    batches,
    kernels,
    seeds,
    sides,
    sizes,
    windows,
)
from tinymill.ir import DType, Op, Quant, TensorType, Types
from tinymill.ops.conv import out_size
from tinymill.ops.conv_gradient import ConvInputGradient
from tinymill.ops.gradient_gate import ClampMask, GradientGate, GradientLookup, bits_shape
from tinymill.ops.gradient_moves import GradientAdd, GradientSpread, MaxPoolGradient, pooled_size

REACH = 32767
MOST_TERMS = 511
"""Products of int16 by int8 whose sum fits 32 bits."""

limits = st.sampled_from((REACH, REACH, 32766, 9000, 255, 1)) | st.integers(1, REACH)


def shifts(draw: Draw, usual: int) -> int:
    """Mostly such that sums fill a mantissa, sometimes any."""
    if draw(st.integers(0, 3)):
        return max(0, min(31, usual + draw(st.integers(-3, 3))))
    return draw(st.sampled_from((0, 1, 2, 3, 30, 31)) | st.integers(0, 31))


def _case(draw: Draw, family: str, op: Op, *inputs: TensorType | None) -> Case:
    """A case whose weights are a constant or (no bias) not, whose numbers are any."""
    return Case(
        family, op, Types(inputs, op.infer(inputs)), draw(seeds),
        draw(st.sampled_from(WEIGHTS)), draw(st.sampled_from(("none", "zero"))),
        draw(st.sampled_from(VALUES)),
    )  # fmt: skip


def _input_gradient(
    draw: Draw, geometry: Geometry, channels: int, outs: int, groups: int
) -> Case:  # fmt: skip
    size = [
        out_size(
            (geometry.height, geometry.width)[i], geometry.kernel[i], geometry.stride[i],
            geometry.dilation[i], geometry.pad[i::2],
        )
        for i in (0, 1)
    ]  # fmt: skip
    batch = batches(draw, geometry.height * geometry.width * max(channels, outs))
    h = TensorType((batch, *size, outs), DType.INT16)
    shape = (outs, *geometry.kernel, channels // groups)
    weights = TensorType(shape, DType.INT8, Quant((0.01,) * outs, (0,) * outs, 0))
    terms = outs // groups * geometry.kernel[0] * geometry.kernel[1]
    op = ConvInputGradient(
        geometry.height, geometry.width, geometry.stride, geometry.dilation, geometry.pad, groups,
        shifts(draw, 7 + terms.bit_length() // 2), draw(limits),
    )  # fmt: skip
    return _case(draw, "input_gradient", op, h, weights)


@st.composite
def input_gradient(draw: Draw) -> Case:
    """Of convolutions of one tap, depthwise and others."""
    how = draw(st.sampled_from(("pointwise", "pointwise", "depthwise", "depthwise", "any")))
    if how == "pointwise":
        channels, outs = draw(sizes(65)), draw(sizes(65) | st.integers(1, 200))
        geometry = windows(draw, (1, 1), channels * outs, max(channels, outs))
        if draw(st.integers(0, 4)):
            geometry = replace(geometry, pad=(0, 0, 0, 0), stride=(1, 1))
        return _input_gradient(draw, geometry, channels, outs, 1)
    kernel = kernels(draw)
    taps = kernel[0] * kernel[1]
    if how == "depthwise":
        channels = draw(sizes(65))
        geometry = windows(draw, kernel, taps * channels, channels)
        return _input_gradient(draw, geometry, channels, channels, channels)
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    most = min(MOST_WEIGHTS, 8 * MOST_TERMS) // taps
    group_in = draw(st.integers(1, max(1, min(20, most))))
    group_out = draw(st.integers(1, max(1, min(most // group_in, MOST_TERMS // taps, 12))))
    channels, outs = groups * group_in, groups * group_out
    geometry = windows(draw, kernel, taps * group_in * outs, max(channels, outs))
    return _input_gradient(draw, geometry, channels, outs, groups)


def _map(draw: Draw, dtype: DType = DType.INT16) -> TensorType:
    """A map, seldom a matrix."""
    channels = draw(sizes(65))
    if draw(st.integers(0, 6)) == 0:
        return TensorType((draw(st.integers(1, 4)), channels), dtype)
    height = draw(sides(max(1, MOST_ELEMENTS // 3 // channels)))
    width = draw(sides(max(1, MOST_ELEMENTS // 3 // channels // height)))
    return TensorType((batches(draw, height * width * channels), height, width, channels), dtype)


@st.composite
def gate(draw: Draw) -> Case:
    """Gradients by elements: masks, gates, slopes, sums."""
    how = draw(st.sampled_from(("mask", "gate", "gate", "slopes", "sum")))
    x = _map(draw)
    if how == "mask":
        low, high = sorted(draw(st.integers(-129, 128)) for _ in range(2))
        if draw(st.booleans()):
            low, high = -128, 127
        return _case(draw, "gate", ClampMask(low, high), TensorType(x.shape, DType.INT8))
    if how == "gate":
        bits = TensorType(bits_shape(x.shape), DType.UINT8) if draw(st.booleans()) else None
        by = TensorType((draw(st.sampled_from((1, x.shape[-1]))),), DType.INT16)
        return _case(draw, "gate", GradientGate(shifts(draw, 15), draw(limits)), x, bits, by)
    if how == "slopes":
        rng = np.random.default_rng(draw(seeds))
        table = tuple(rng.integers(-REACH, REACH + 1, 256).tolist())
        op: Op = GradientLookup(table, shifts(draw, 15), draw(limits))
        return _case(draw, "gate", op, x, TensorType(x.shape, DType.INT8))
    factors = st.sampled_from((0, 1, 1 << 14)) | st.integers(0, 1 << 14)
    op = GradientAdd((draw(factors), draw(factors)), shifts(draw, 14), draw(limits))
    return _case(draw, "gate", op, x, x)


@st.composite
def pool_gradient(draw: Draw) -> Case:
    """Of average and of maximum pooling."""
    channels = draw(sizes(20))
    usual = ((2, 2), (3, 3), (2, 2), (1, 1))
    kernel = draw(st.sampled_from(usual) | st.tuples(st.integers(1, 4), st.integers(1, 4)))
    geometry = windows(draw, kernel, channels * kernel[0] * kernel[1], 4 * channels, dilate=False)
    pad = tuple(min(p, kernel[i % 2] - 1) for i, p in enumerate(geometry.pad))
    height, width = (
        max(n, kernel[i] - pad[i] - pad[i + 2])
        for i, n in enumerate((geometry.height, geometry.width))
    )
    if draw(st.integers(0, 4)) == 0:  # global
        kernel, stride, pad = (height, width), (height, width), (0, 0, 0, 0)
    else:
        stride = geometry.stride
    size = pooled_size(height, width, kernel, stride, pad)
    batch = batches(draw, height * width * channels)
    g = TensorType((batch, *size, channels), DType.INT16)
    if draw(st.booleans()):
        x = TensorType((batch, height, width, channels), DType.INT8)
        op: Op = MaxPoolGradient(kernel, stride, pad, draw(limits))
        return _case(draw, "pool_gradient", op, x, TensorType(g.shape, DType.INT8), g)
    overlap = -(-kernel[0] // stride[0]) * -(-kernel[1] // stride[1])
    most = REACH // overlap
    multiplier = tuple(most // n for n in range(1, kernel[0] * kernel[1] + 1))
    op = GradientSpread(
        height, width, kernel, multiplier, stride, pad, draw(st.booleans()), shifts(draw, 12),
        draw(limits),
    )  # fmt: skip
    return _case(draw, "pool_gradient", op, g)


TRAINING: dict[str, Callable[[], st.SearchStrategy[Case]]] = {
    "input_gradient": input_gradient,
    "gate": gate,
    "pool_gradient": pool_gradient,
}
