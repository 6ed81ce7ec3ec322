"""Random calls of the int8 kernels, by family, for test_kernels.py.

    pytest tests/test_kernels.py -k 'conv2d and dsp'            one family, one set of features
    pytest tests/test_kernels.py -k 'host and depthwise'        one family, all sets, host only
    pytest tests/test_kernels.py -k 'target and mps2-an386'     the sample on one simulated core
    TINYMILL_FAMILIES="conv2d dense" pytest tests/test_kernels.py -k mps2-an386
    TINYMILL_CASES=200 pytest tests/test_kernels.py -k dense    many cases a kernel, random seed
    TINYMILL_SEED=7 TINYMILL_CASES=200 pytest ...               the same ones again
    TINYMILL_KERNEL=tm_conv2d_1x1_s8 pytest ...                 only the cases this kernel serves

A case is an op, its types and the seed of its numbers: one node, one graph. The generators
draw shapes as the issue states them (channels 1 to 65, sides 1 to 33, kernels 1 to 7), zero
points and factors up to their limits. Accumulators stay within 32 bits: contracts demand it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from contract import example_graph
from tinymill.ir import (
    DType,
    Example,
    FixedPoint,
    FloatScale,
    Graph,
    Op,
    Quant,
    Rescale,
    TensorType,
    Types,
    verify,
)
from tinymill.ops.arithmetic import fixed_multiplier
from tinymill.ops.binary import AddFixed, Binary
from tinymill.ops.concat import Concat
from tinymill.ops.conv import Conv2D
from tinymill.ops.conv_gradient import ConvInputGradient
from tinymill.ops.conv_transpose import ConvTranspose
from tinymill.ops.dense import FullyConnected
from tinymill.ops.gradient_gate import GradientGate
from tinymill.ops.lookup import Table
from tinymill.ops.pad import Pad
from tinymill.ops.pool import AveragePool, MaxPool
from tinymill.ops.quantization import Dequantize, Quantize, Recode, Requantize
from tinymill.ops.reduce import Reduce
from tinymill.ops.resize import (
    ResizeBilinear,
    ResizeNearest,
    tflite_fixed_taps,
    tflite_nearest,
)
from tinymill.ops.softmax import Softmax
from tinymill.ops.table_softmax import TableSoftmax

MOST_WEIGHTS = 4500
MOST_MACS = 400_000
MOST_ELEMENTS = 8000
INT32 = (1 << 31) - 1

WEIGHTS = ("random", "random", "random", "low", "high", "minus_127", "extremes", "sparse", "small")
VALUES = ("random", "low", "high", "zero", "extremes", "small", "wild")


@dataclass(frozen=True)
class Case:
    """One call of a kernel: an op on types. ``weights`` and ``values`` say which numbers the
    constants and the inputs are, ``bias`` how large the bias. ``varied`` are the inputs of a layer
    with a folded bias that are variables: none, the bias, or weights and bias."""

    family: str
    op: Op
    types: Types
    seed: int
    weights: str = "random"
    bias: str = "none"
    values: str = "random"
    varied: tuple[int, ...] = ()

    def __str__(self) -> str:
        kinds = ", ".join(str(kind) for kind in self.types.inputs if kind)
        outputs = ", ".join(str(kind) for kind in self.types.outputs)
        how = f"weights {self.weights}, bias {self.bias}, values {self.values}, seed {self.seed}"
        how += f", variables {self.varied}" if self.varied else ""
        return f"{self.family}: {kinds} -> {outputs}; {_short(self.op)}; {how}"


def _short(op: Op) -> str:
    text = repr(op)
    return text if len(text) < 900 else f"{text[:600]} ... {text[-250:]}"


def varied(case: Case, inputs: tuple[int, ...]) -> Case | None:
    """The case with these inputs (1 weights, 2 bias) as variables; None where it can't be: no bias,
    or sums shifted left."""
    op = case.op
    if not isinstance(op, Conv2D | FullyConnected) or case.bias == "none":
        return None
    if isinstance(op.rescale, FixedPoint) and max(op.rescale.shift) > 0:
        return None
    return replace(case, op=replace(op, folded=True), varied=inputs)


def graph_of(case: Case, name: str) -> Graph:
    """The graph of one node that makes the call."""
    example = Example(case.op, case.types, _constants(case))
    graph = replace(example_graph(example, name), name=name)
    if case.varied:
        names = [graph.nodes[0].inputs[i] for i in case.varied]
        constants = dict(graph.constants)
        variables = {value: constants.pop(value) for value in names}
        graph = replace(graph, constants=constants, variables=variables)
    verify(graph)
    return graph


def inputs_of(case: Case, graph: Graph, runs: int) -> list[dict[str, np.ndarray]]:
    """The inputs of some runs: random ones, those of ``case.values``, random ones."""
    found = []
    for run in range(runs):
        rng = np.random.default_rng([case.seed, 77, run])
        style = case.values if run == 1 else "random"
        found.append({p.value: _numbers(graph.type(p.value), style, rng) for p in graph.inputs})
    return found


def _numbers(kind: TensorType, style: str, rng: np.random.Generator) -> np.ndarray:
    """An activation of this kind."""
    if kind.dtype is DType.FLOAT32:
        x = (rng.standard_normal(kind.shape) * rng.choice([1e-3, 1, 40, 1e4])).astype(np.float32)
        if style in ("wild", "extremes"):
            wild = [np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1e-40, 0.5, -2.5]
            x = np.where(rng.random(kind.shape) < 0.5, rng.choice(wild, kind.shape), x)
        elif style != "random":
            # ties of the rounding
            x = (rng.integers(-300, 300, kind.shape) / 2).astype(np.float32)
        return x.astype(np.float32)
    low, high = kind.dtype.limits
    if style == "low":
        return np.full(kind.shape, low, kind.dtype.numpy)
    if style == "high":
        return np.full(kind.shape, high, kind.dtype.numpy)
    if style == "zero":
        zero = kind.zero_point if kind.quant is not None and kind.quant.per_tensor else 0
        return np.full(kind.shape, zero, kind.dtype.numpy)
    if style == "extremes":
        return rng.choice([low, high], kind.shape).astype(kind.dtype.numpy)
    if style == "small":
        return rng.integers(-3, 4, kind.shape).clip(low, high).astype(kind.dtype.numpy)
    return rng.integers(low, high, kind.shape, endpoint=True).astype(kind.dtype.numpy)


def _constants(case: Case) -> Mapping[int, np.ndarray]:
    rng = np.random.default_rng([case.seed, 5])
    if isinstance(case.op, ConvInputGradient) and case.bias != "none":
        return {1: _weights(case.types.input(1).shape, case.weights, rng)}
    if isinstance(case.op, GradientGate):
        return {2: rng.integers(-32767, 32768, case.types.input(2).shape).astype(np.int16)}
    if not isinstance(case.op, Conv2D | ConvTranspose | FullyConnected):
        return {}
    kind = case.types.input(1)
    weights = _weights(kind.shape, case.weights, rng)
    if case.types.inputs[2] is None:
        return {1: weights}
    outs = kind.shape[0]
    # no partial sum, in whatever order and with whichever offsets folded, leaves 32 bits
    room = INT32 - 2 * 255 * 256 * prod(kind.shape[1:])
    bias = {
        "zero": np.zeros(outs),
        "small": rng.integers(-3000, 3000, outs),
        "large": rng.integers(-room, room, outs, endpoint=True),
        "edge": rng.choice([-room, room, 0], outs),
    }[case.bias]
    if case.varied and case.bias in ("large", "edge"):
        # nothing is asked of a variable
        bias = rng.choice([-INT32 - 1, INT32, 1 << 30, -(1 << 29), *range(-9, 9)], outs)
    return {1: weights, 2: bias.astype(np.int32)}


def _weights(shape: tuple[int, ...], style: str, rng: np.random.Generator) -> np.ndarray:
    if style in ("low", "high", "minus_127"):
        return np.full(shape, {"low": -128, "high": 127, "minus_127": -127}[style], np.int8)
    if style == "extremes":
        return rng.choice(np.array([-128, -127, 127], np.int8), shape)
    if style == "small":
        return rng.integers(-2, 3, shape).astype(np.int8)
    weights = rng.integers(-128, 128, shape)
    if style == "sparse":
        weights *= rng.random(shape) < 0.2
    return weights.astype(np.int8)


# -- pieces -------------------------------------------------------------------------------------

Draw = Callable[[st.SearchStrategy], Any]

CHANNELS = (1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 24, 31, 32, 33, 40, 48, 63, 64, 65)
zero_points = st.sampled_from((0, -128, 127, 3, -1, -77)) | st.integers(-128, 127)
seeds = st.integers(0, 1 << 20)


def sizes(most: int) -> st.SearchStrategy[int]:
    """A number of channels from 1 to ``most``; those at the borders of vectors are frequent."""
    usual = [n for n in CHANNELS if n <= most]
    return st.sampled_from(usual) | st.integers(1, max(1, min(65, most)))


def sides(most: int, least: int = 1) -> st.SearchStrategy[int]:
    return st.integers(least, max(least, min(33, most)))


def quantised(shape: tuple[int, ...], zero: int, scale: float = 0.05) -> TensorType:
    return TensorType(shape, DType.INT8, Quant((float(np.float32(scale)),), (zero,)))


def clamps(draw: Draw, zero: int) -> tuple[int, int] | None:
    """None, ReLU, like ReLU6, or any."""
    how = draw(st.sampled_from(("none", "relu", "relu6", "any")))
    if how == "none":
        return None
    if how == "relu":
        return max(zero, -128), 127
    if how == "relu6":
        return zero, min(127, zero + draw(st.integers(0, 255)))
    ends = sorted((draw(st.integers(-128, 127)), draw(st.integers(-128, 127))))
    return ends[0], ends[1]


def rescales(draw: Draw, count: int, terms: int, *, form: str | None = None) -> Rescale:
    """Factors for ``count`` channels whose sums have ``terms`` products: mostly such that
    outputs are spread, sometimes any that the type allows."""
    form = form or draw(st.sampled_from(("fixed", "float")))
    style = draw(st.sampled_from(("spread", "spread", "spread", "wild", "huge", "tiny")))
    rng = np.random.default_rng(draw(seeds))
    base = 60.0 / (74.0 * 74.0 * max(terms, 1) ** 0.5)
    factors = base * 2.0 ** rng.uniform(-1.5, 2.5, count)
    if form == "float":
        if style in ("wild", "tiny", "huge"):
            low, high = {"wild": (-30, 12), "tiny": (-149, -25), "huge": (0, 120)}[style]
            factors = 2.0 ** rng.uniform(low, high, count)
        return FloatScale(tuple(float(np.float32(x)) for x in factors))
    if style == "spread":
        pairs = [fixed_multiplier(float(x)) for x in factors]
        return FixedPoint(tuple(m for m, _ in pairs), tuple(s for _, s in pairs))
    ends = np.array([1 << 30, INT32, (1 << 30) + 1, 1518500250, 0])
    weights = [0.3, 0.3, 0.2, 0.18, 0.02]
    multipliers = np.where(
        rng.random(count) < 0.5, rng.choice(ends, count, p=weights),
        rng.integers(1 << 30, INT32, count, endpoint=True),
    )  # fmt: skip
    # a sum shifted left must fit 32 bits, else the byte means nothing
    most = max(0, min(8, 14 - int(max(terms, 1) * 2).bit_length()))
    low, high = {"wild": (-31, most), "tiny": (-31, -20), "huge": (-2, most)}[style]
    shifts = np.where(multipliers == 0, 0, rng.integers(low, high, count, endpoint=True))
    return FixedPoint(tuple(multipliers.tolist()), tuple(shifts.tolist()))


def pads(draw: Draw, span: int) -> tuple[int, int]:
    """Before and after, seldom as large as the window."""
    most = span - 1 if draw(st.integers(0, 15)) else span + 1
    how = draw(st.sampled_from(("none", "same", "any")))
    if how == "none" or not most:
        return 0, 0
    if how == "same":
        total = span - 1
        low = draw(st.booleans())
        return ((total + 1) // 2, total // 2) if low else (total // 2, (total + 1) // 2)
    return draw(st.integers(0, most)), draw(st.integers(0, most))


@dataclass(frozen=True)
class Geometry:
    """A sliding window over a map, shapes drawn within the limits of work."""

    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int, int, int]


def windows(
    draw: Draw, kernel: tuple[int, int], work: int, elements: int, *, dilate: bool = True
) -> Geometry:
    """``work`` are the products of one output pixel, ``elements`` the channels of a pixel."""
    stride = draw(
        st.sampled_from(((1, 1), (1, 1), (2, 2), (2, 2), (3, 3)))
        | st.tuples(st.integers(1, 3), st.integers(1, 3))
    )
    dilation = (1, 1)
    if dilate and draw(st.integers(0, 5)) == 0:
        dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    top, bottom = pads(draw, span[0])
    left, right = pads(draw, span[1])
    least = [max(1, span[0] - top - bottom), max(1, span[1] - left - right)]
    pixels = max(1, min(MOST_MACS // max(work, 1), MOST_ELEMENTS // max(elements, 1)))
    height = draw(sides(pixels // least[1], least[0]))
    width = draw(sides(pixels // height, least[1]))
    return Geometry(height, width, kernel, stride, dilation, (top, left, bottom, right))


def batches(draw: Draw, elements: int) -> int:
    """1, seldom 2 or 3."""
    if elements > MOST_ELEMENTS // 3:
        return 1
    return draw(st.sampled_from((1, 1, 1, 1, 2, 3)))


def weights_quant(draw: Draw, outs: int) -> Quant:
    """Symmetric, or (as old files have it) with zero points, one or one a channel."""
    how = draw(st.sampled_from(("none", "none", "none", "none", "one", "each")))
    if how == "none":
        return Quant((0.01,) * outs, (0,) * outs, 0)
    if how == "one":
        return Quant((0.01,), (draw(zero_points),))
    rng = np.random.default_rng(draw(seeds))
    return Quant((0.01,) * outs, tuple(rng.integers(-128, 128, outs).tolist()), 0)


def biases(draw: Draw) -> str:
    return draw(st.sampled_from(("none", "zero", "small", "small", "large", "edge")))


def kernels(draw: Draw) -> tuple[int, int]:
    usual = ((3, 3), (3, 3), (3, 3), (5, 5), (1, 1), (7, 7), (3, 1), (1, 3), (10, 4))
    return draw(st.sampled_from(usual) | st.tuples(st.integers(1, 7), st.integers(1, 7)))


# -- families -----------------------------------------------------------------------------------


def _convolution(
    draw: Draw,
    family: str,
    geometry: Geometry,
    channels: int,
    outs: int,
    groups: int,
    quant: Quant | None = None,
) -> Case:
    group_in = channels // groups
    shape = (outs, *geometry.kernel, group_in)
    batch = batches(draw, geometry.height * geometry.width * max(channels, outs))
    x = quantised((batch, geometry.height, geometry.width, channels), draw(zero_points))
    weights = TensorType(shape, DType.INT8, quant or weights_quant(draw, outs))
    bias = biases(draw)
    zero = draw(zero_points)
    how = rescales(draw, outs, prod(shape[1:]))
    op = Conv2D(
        geometry.stride, geometry.dilation, geometry.pad, groups, clamps(draw, zero), how
    )  # fmt: skip
    inputs = (x, weights, None if bias == "none" else TensorType((outs,), DType.INT32))
    (y,) = op.infer(inputs)
    return Case(
        family, op, Types(inputs, (quantised(y.shape, zero, 0.1),)), draw(seeds),
        draw(st.sampled_from(WEIGHTS)), bias, draw(st.sampled_from(VALUES)),
    )  # fmt: skip


@st.composite
def conv2d(draw: Draw) -> Case:
    """Standard convolution."""
    kernel = kernels(draw)
    taps = kernel[0] * kernel[1]
    channels = draw(st.sampled_from((1, 3, 4, 8, 16)) | sizes(MOST_WEIGHTS // taps))
    outs = draw(sizes(MOST_WEIGHTS // (taps * channels)))
    geometry = windows(draw, kernel, taps * channels * outs, max(channels, outs))
    return _convolution(draw, "conv2d", geometry, channels, outs, 1)


@st.composite
def pointwise(draw: Draw) -> Case:
    """Kernels of one tap, strides and padding on any side included."""
    channels, outs = draw(sizes(65)), draw(sizes(65))
    geometry = windows(draw, (1, 1), channels * outs, max(channels, outs))
    if draw(st.integers(0, 2)):
        geometry = replace(geometry, pad=(0, 0, 0, 0), stride=(1, 1))
    else:
        some = st.sampled_from((0, 0, 1, 2))
        geometry = replace(geometry, pad=(draw(some), draw(some), draw(some), draw(some)))
    return _convolution(draw, "pointwise", geometry, channels, outs, 1)


@st.composite
def grouped(draw: Draw) -> Case:
    """Groups of several channels."""
    kernel = kernels(draw)
    taps = kernel[0] * kernel[1]
    groups = draw(st.integers(2, 8))
    group_in = draw(st.integers(1, 65 // groups))
    group_out = draw(st.integers(1, max(1, min(65, MOST_WEIGHTS // (taps * group_in)) // groups)))
    channels, outs = groups * group_in, groups * group_out
    geometry = windows(draw, kernel, taps * group_in * outs, max(channels, outs))
    return _convolution(draw, "grouped", geometry, channels, outs, groups)


@st.composite
def depthwise(draw: Draw) -> Case:
    """One channel in, one out."""
    kernel = kernels(draw)
    taps = kernel[0] * kernel[1]
    channels = draw(sizes(65))
    geometry = windows(draw, kernel, taps * channels, channels)
    # mostly as networks have it: no zero points of the weights
    quant = Quant((0.01,) * channels, (0,) * channels, 0) if draw(st.integers(0, 5)) else None
    return _convolution(draw, "depthwise", geometry, channels, channels, channels, quant)


@st.composite
def multiplier(draw: Draw) -> Case:
    """Depthwise with several output channels for each."""
    kernel = kernels(draw)
    taps = kernel[0] * kernel[1]
    channels = draw(st.integers(1, 16))
    outs = channels * draw(st.integers(2, max(2, min(8, 65 // channels))))
    geometry = windows(draw, kernel, taps * outs, outs)
    return _convolution(draw, "multiplier", geometry, channels, outs, channels)


@st.composite
def dense(draw: Draw) -> Case:
    """Fully connected layers."""
    depth = draw(sizes(65) | st.integers(1, 700))
    outs = draw(sizes(MOST_WEIGHTS // depth) | st.integers(1, max(1, MOST_WEIGHTS // depth)))
    rows = draw(st.sampled_from((1, 1, 1, 2, 3, 4, 5, 7)))
    lead = draw(st.sampled_from(((rows,), (1, rows), (rows, 1, 1))))
    x = quantised((*lead, depth), draw(zero_points))
    weights = TensorType((outs, depth), DType.INT8, weights_quant(draw, outs))
    bias = biases(draw)
    zero = draw(zero_points)
    count = 1 if draw(st.booleans()) else outs
    op = FullyConnected(False, clamps(draw, zero), rescales(draw, count, depth))
    inputs = (x, weights, None if bias == "none" else TensorType((outs,), DType.INT32))
    (y,) = op.infer(inputs)
    return Case(
        "dense", op, Types(inputs, (quantised(y.shape, zero, 0.1),)), draw(seeds),
        draw(st.sampled_from(WEIGHTS)), bias, draw(st.sampled_from(VALUES)),
    )  # fmt: skip


@st.composite
def transposed(draw: Draw) -> Case:
    """Transposed convolution, groups and dilation included."""
    kernel = kernels(draw)
    taps = kernel[0] * kernel[1]
    groups = draw(st.sampled_from((1, 1, 1, 2, 3)))
    group_in = draw(st.integers(1, max(1, min(65, MOST_WEIGHTS // taps) // groups)))
    most = max(1, min(65, MOST_WEIGHTS // (taps * group_in)) // groups)
    outs = groups * draw(st.integers(1, most))
    channels = groups * group_in
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    pixels = max(1, min(MOST_MACS // (taps * group_in * outs), MOST_ELEMENTS // channels))
    height = draw(st.integers(1, min(12, pixels)))
    width = draw(st.integers(1, max(1, min(12, pixels // height))))
    pad, size = [], []
    for i, n in enumerate((height, width)):
        before = draw(st.integers(0, kernel[i] - 1))
        full = (n - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1
        pad.append(before)
        size.append(max(1, full - before - draw(st.integers(-stride[i] + 1, kernel[i] - 1))))
    if size[0] * size[1] * outs > MOST_ELEMENTS * 2:
        size = [min(size[0], 8), min(size[1], 8)]
    batch = batches(draw, size[0] * size[1] * outs)
    x = quantised((batch, height, width, channels), draw(zero_points))
    weights = TensorType((outs, *kernel, group_in), DType.INT8, Quant((0.01,), (0,)))
    bias = biases(draw)
    zero = draw(zero_points)
    op = ConvTranspose(
        (size[0], size[1]), stride, (pad[0], pad[1]), dilation, groups, clamps(draw, zero),
        rescales(draw, outs, taps * group_in),
    )  # fmt: skip
    inputs = (x, weights, None if bias == "none" else TensorType((outs,), DType.INT32))
    (y,) = op.infer(inputs)
    return Case(
        "transposed", op, Types(inputs, (quantised(y.shape, zero, 0.1),)), draw(seeds),
        draw(st.sampled_from(WEIGHTS)), bias, draw(st.sampled_from(VALUES)),
    )  # fmt: skip


def shapes(draw: Draw, most: int = 3000) -> tuple[int, ...]:
    """Of rank 1 to 4, the last axis up to 65."""
    channels = draw(sizes(65))
    rank = draw(st.integers(1, 4))
    found = [channels]
    for _ in range(rank - 1):
        found.insert(0, draw(st.integers(1, max(1, min(33, most // prod(found))))))
    if rank == 4 and found[0] > 3:
        found[0] = 1
    return tuple(found)


def broadcast(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes, mostly equal."""
    shape = shapes(draw)
    how = draw(st.sampled_from(("same", "same", "same", "channel", "one", "axes", "spatial")))
    other = shape
    if how == "channel":
        other = shape[-1:]
    elif how == "one":
        other = (1,) * draw(st.integers(1, len(shape)))
    elif how == "axes":
        other = tuple(n if draw(st.booleans()) else 1 for n in shape)
    elif how == "spatial":
        other = (*shape[:-1], 1)
    return (shape, other) if draw(st.booleans()) else (other, shape)


def _pair(draw: Draw, rng: np.random.Generator) -> tuple[int, int]:
    shift = int(rng.integers(-12, 1))
    return int(rng.integers(1 << 30, INT32, endpoint=True)), shift


@st.composite
def add(draw: Draw) -> Case:
    """TFLite's fixed-point addition and subtraction."""
    first, second = broadcast(draw)
    za, zb, zy = draw(zero_points), draw(zero_points), draw(zero_points)
    a, b = quantised(first, za), quantised(second, zb)
    rng = np.random.default_rng(draw(seeds))
    ratio = 2.0 ** rng.uniform(-9, 0)
    scales = (0.5, 0.5 * ratio) if draw(st.booleans()) else (0.5 * ratio, 0.5)
    out = 2.0 ** rng.uniform(-2.5, 1.5) / (1 << 20)
    fixed = AddFixed(
        fixed_multiplier(scales[0]), fixed_multiplier(scales[1]), fixed_multiplier(out)
    )
    if draw(st.integers(0, 3)) == 0:
        end = (draw(st.sampled_from((1 << 30, INT32))), draw(st.integers(-31, 0)))
        fixed = AddFixed(_pair(draw, rng), _pair(draw, rng), end)
    op = Binary(draw(st.sampled_from(("add", "add", "sub"))), clamps(draw, zy), fixed)
    (y,) = op.infer((a, b))
    return Case("add", op, Types((a, b), (quantised(y.shape, zy),)), draw(seeds),
                values=draw(st.sampled_from(VALUES)))  # fmt: skip


@st.composite
def mul(draw: Draw) -> Case:
    """TFLite's fixed-point product."""
    first, second = broadcast(draw)
    zy = draw(zero_points)
    a, b = quantised(first, draw(zero_points)), quantised(second, draw(zero_points))
    op = Binary("mul", clamps(draw, zy), rescales(draw, 1, 1, form="fixed"))
    (y,) = op.infer((a, b))
    return Case("mul", op, Types((a, b), (quantised(y.shape, zy),)), draw(seeds),
                values=draw(st.sampled_from(VALUES)))  # fmt: skip


def scales(draw: Draw) -> float:
    """A scale of a tensor, seldom an extreme one."""
    if draw(st.integers(0, 5)) == 0:
        return float(np.float32(draw(st.sampled_from((1e-30, 1e-6, 1.0, 2.0**-7, 3e4, 1e20)))))
    return float(np.float32(draw(st.integers(1, 1000)) / 1024))


@st.composite
def real(draw: Draw) -> Case:
    """Two inputs by the ONNX definition: dequantised, joined in float, quantised."""
    function = draw(st.sampled_from(("add", "add", "mul", "mul", "sub", "div", "min", "max")))
    first, second = broadcast(draw)
    zy = draw(zero_points)
    a = quantised(first, draw(zero_points), scales(draw))
    b = quantised(second, draw(zero_points), scales(draw))
    op = Binary(function, clamps(draw, zy))
    (y,) = op.infer((a, b))
    return Case("real", op, Types((a, b), (quantised(y.shape, zy, scales(draw)),)), draw(seeds),
                values=draw(st.sampled_from(VALUES)))  # fmt: skip


def _pool_geometry(draw: Draw) -> tuple[Geometry, TensorType]:
    channels = draw(sizes(65))
    zero = draw(zero_points)
    if draw(st.integers(0, 4)) == 0:  # global
        height = draw(sides(24))
        width = draw(sides(max(1, min(33, MOST_ELEMENTS // (channels * height)))))
        geometry = Geometry(height, width, (height, width), (1, 1), (1, 1), (0, 0, 0, 0))
    else:
        usual = ((2, 2), (3, 3), (2, 2), (3, 3), (1, 1))
        kernel = draw(st.sampled_from(usual) | st.tuples(st.integers(1, 7), st.integers(1, 7)))
        geometry = windows(draw, kernel, channels * prod(kernel), channels, dilate=False)
        # no more padding than the window less one
        pad = tuple(min(p, kernel[i % 2] - 1) for i, p in enumerate(geometry.pad))
        geometry = replace(
            geometry, pad=pad, height=max(geometry.height, kernel[0] - pad[0] - pad[2]),
            width=max(geometry.width, kernel[1] - pad[1] - pad[3]),
        )  # fmt: skip
    batch = batches(draw, geometry.height * geometry.width * channels)
    return geometry, quantised((batch, geometry.height, geometry.width, channels), zero)


@st.composite
def maxpool(draw: Draw) -> Case:
    geometry, x = _pool_geometry(draw)
    op = MaxPool(geometry.kernel, geometry.stride, geometry.pad, clamps(draw, x.zero_point))
    (y,) = op.infer((x,))
    return Case("maxpool", op, Types((x,), (quantised(y.shape, x.zero_point),)), draw(seeds),
                values=draw(st.sampled_from(VALUES)))  # fmt: skip


@st.composite
def avgpool(draw: Draw) -> Case:
    """Average pooling, quantised alike (TFLite) or rescaled (ONNX)."""
    geometry, x = _pool_geometry(draw)
    how = draw(st.sampled_from(("plain", "fixed", "float")))
    zero = x.zero_point if how == "plain" else draw(zero_points)
    most = prod(geometry.kernel)
    rescale: Rescale | None = None
    if how != "plain":
        if draw(st.integers(0, 2)) == 0:
            rescale = rescales(draw, most, 1, form=how)
        else:
            ratio = 2.0 ** draw(st.integers(-3, 3)) * 0.77
            factors = [ratio / n for n in range(1, most + 1)]
            pairs = [fixed_multiplier(x) for x in factors]
            rescale = (
                FloatScale(tuple(float(np.float32(x)) for x in factors))
                if how == "float"
                else FixedPoint(tuple(m for m, _ in pairs), tuple(s for _, s in pairs))
            )
    op = AveragePool(
        geometry.kernel, geometry.stride, geometry.pad, clamps(draw, zero),
        draw(st.booleans()), draw(st.sampled_from(("away", "away", "half_up"))), rescale,
    )  # fmt: skip
    (y,) = op.infer((x,))
    return Case("avgpool", op, Types((x,), (quantised(y.shape, zero),)), draw(seeds),
                values=draw(st.sampled_from(VALUES)))  # fmt: skip


@st.composite
def reduce(draw: Draw) -> Case:
    """Mean, sum, maximum, minimum over axes."""
    shape = shapes(draw)
    usual = len(shape) == 4 and draw(st.booleans())
    axes = tuple(i for i in range(len(shape)) if draw(st.booleans()))
    axes = (1, 2) if usual else axes or (draw(st.integers(0, len(shape) - 1)),)
    function = draw(st.sampled_from(("mean", "mean", "mean", "sum", "max", "min")))
    zero = draw(zero_points)
    x = quantised(shape, zero)
    count = prod(shape[axis] for axis in axes)
    how: Rescale | None = None
    if function in ("mean", "sum"):
        zero = draw(zero_points)
        form = draw(st.sampled_from(("fixed", "float")))
        if draw(st.integers(0, 2)) == 0:
            how = rescales(draw, 1, 1 + count // 128, form=form)
        else:
            factor = 0.83 * 2.0 ** draw(st.integers(-2, 2)) / (count if function == "mean" else 1)
            pair = fixed_multiplier(factor)
            how = FixedPoint((pair[0],), (pair[1],))
            if form == "float":
                how = FloatScale((float(np.float32(factor)),))
    op = Reduce(function, axes, draw(st.booleans()), how)
    (y,) = op.infer((x,))
    return Case("reduce", op, Types((x,), (quantised(y.shape, zero),)), draw(seeds),
                values=draw(st.sampled_from(VALUES)))  # fmt: skip


@st.composite
def softmax(draw: Draw) -> Case:
    """TFLite's fixed point to int8 and int16, and ONNX's by a table."""
    depth = draw(sizes(65) | st.integers(1, 300))
    rows = draw(st.integers(1, 6))
    scale = float(np.float32(draw(st.sampled_from((1e-3, 0.02, 0.1, 0.4, 3.0, 50.0)))))
    x = quantised((rows, depth), draw(zero_points), scale)
    how = draw(st.sampled_from(("s8", "s16", "table")))
    values = draw(st.sampled_from(VALUES))
    if how == "table":
        y = quantised((rows, depth), draw(zero_points), draw(st.integers(1, 200)) / 8192)
        return Case("softmax", TableSoftmax(draw(st.sampled_from((1.0, 0.3)))), Types((x,), (y,)),
                    draw(seeds), values=values)  # fmt: skip
    dtype = DType.INT8 if how == "s8" else DType.INT16
    quant = Quant((1 / (1 << 8 * dtype.size),), (dtype.limits[0],))
    op = Softmax(draw(st.sampled_from((1.0, 0.3))), dtype)
    y = TensorType((rows, depth), dtype, quant)
    return Case("softmax", op, Types((x,), (y,)), draw(seeds), values=values)


@st.composite
def resize(draw: Draw) -> Case:
    channels = draw(sizes(65))
    most = MOST_ELEMENTS // channels
    height = draw(sides(most))
    width = draw(sides(most // height))
    out_h = draw(sides(most))
    out_w = draw(sides(most // out_h))
    batch = batches(draw, max(height * width, out_h * out_w) * channels)
    x = quantised((batch, height, width, channels), draw(zero_points))
    how = draw(st.sampled_from(((False, False), (True, False), (False, True))))
    op: Op
    if draw(st.booleans()):
        op = ResizeBilinear(
            tflite_fixed_taps(height, out_h, *how), tflite_fixed_taps(width, out_w, *how)
        )
    else:
        op = ResizeNearest(tflite_nearest(height, out_h, *how), tflite_nearest(width, out_w, *how))
    (y,) = op.infer((x,))
    return Case("resize", op, Types((x,), (TensorType(y.shape, y.dtype, x.quant),)), draw(seeds),
                values=draw(st.sampled_from(VALUES)))  # fmt: skip


@st.composite
def concat(draw: Draw) -> Case:
    shape = list(shapes(draw, 1500))
    axis = draw(st.integers(0, len(shape) - 1))
    kinds = []
    for _ in range(draw(st.integers(1, 5))):
        shape[axis] = draw(sizes(max(1, 1500 * shape[axis] // prod(shape))))
        kinds.append(quantised(tuple(shape), 3))
    op = Concat(axis)
    (y,) = op.infer(kinds)
    return Case("concat", op, Types(tuple(kinds), (quantised(y.shape, 3),)), draw(seeds),
                values=draw(st.sampled_from(VALUES)))  # fmt: skip


@st.composite
def lookup(draw: Draw) -> Case:
    x = quantised(shapes(draw), draw(zero_points))
    table = np.random.default_rng(draw(seeds)).integers(-128, 128, 256)
    return Case("lookup", Table(tuple(table.tolist())), Types((x,), (x,)), draw(seeds),
                values=draw(st.sampled_from(VALUES)))  # fmt: skip


@st.composite
def pad(draw: Draw) -> Case:
    shape = shapes(draw, 800)
    mode = draw(st.sampled_from(("constant", "constant", "reflect", "edge")))
    most = [min(3, n - 1) if mode == "reflect" else 3 for n in shape]
    before, after = (tuple(draw(st.integers(0, n)) for n in most) for _ in range(2))
    value = draw(zero_points)
    x = quantised(shape, value)
    op = Pad(before, after, float(value), mode)
    (y,) = op.infer((x,))
    return Case("pad", op, Types((x,), (quantised(y.shape, value),)), draw(seeds),
                values=draw(st.sampled_from(VALUES)))  # fmt: skip


def _any_zero(draw: Draw, dtype: DType) -> int:
    low, high = dtype.limits
    return draw(st.sampled_from((low, high, 0, 3)) | st.integers(low, high))


@st.composite
def quantize(draw: Draw) -> Case:
    """Float to integers and back."""
    shape = shapes(draw)
    values = draw(st.sampled_from(VALUES))
    if draw(st.booleans()):
        dtype = draw(st.sampled_from((DType.INT8, DType.INT8, DType.UINT8, DType.INT16)))
        y = TensorType(shape, dtype, Quant((scales(draw),), (_any_zero(draw, dtype),)))
        op = Quantize(dtype, draw(st.sampled_from(("even", "away"))))
        x = TensorType(shape, DType.FLOAT32)
        return Case("quantize", op, Types((x,), (y,)), draw(seeds), values=values)
    kinds = (DType.INT8, DType.INT8, DType.UINT8, DType.INT16)
    dtype = draw(st.sampled_from(kinds))
    x = TensorType(shape, dtype, Quant((scales(draw),), (_any_zero(draw, dtype),)))
    y = TensorType(shape, DType.FLOAT32)
    return Case("quantize", Dequantize(), Types((x,), (y,)), draw(seeds), values=values)


@st.composite
def requantize(draw: Draw) -> Case:
    """Integers to integers."""
    shape = shapes(draw)
    values = draw(st.sampled_from(VALUES))
    if draw(st.integers(0, 4)) == 0:
        unsigned = TensorType(shape, DType.UINT8, Quant((0.5,), (128,)))
        signed = TensorType(shape, DType.INT8, Quant((0.5,), (0,)))
        kinds = (unsigned, signed) if draw(st.booleans()) else (signed, unsigned)
        return Case(
            "requantize", Recode(), Types((kinds[0],), (kinds[1],)), draw(seeds), values=values
        )
    pairs = (
        (DType.INT8, DType.INT8), (DType.INT8, DType.INT8), (DType.INT16, DType.INT8),
        (DType.INT8, DType.INT16), (DType.INT16, DType.INT16), (DType.INT8, DType.INT32),
    )  # fmt: skip
    source, target = draw(st.sampled_from(pairs))
    zeros = [
        _any_zero(draw, kind) if kind is not DType.INT32 else 0 for kind in (source, target)
    ]  # fmt: skip
    x = TensorType(shape, source, Quant((0.05,), (zeros[0],)))
    y = TensorType(shape, target, Quant((0.02,), (zeros[1],)))
    pair = fixed_multiplier(2.0 ** draw(st.integers(-4, 4)) * draw(st.floats(0.5, 1.0)))
    if draw(st.integers(0, 2)) == 0:
        ends = st.sampled_from((1 << 30, INT32)) | st.integers(1 << 30, INT32)
        pair = (draw(ends), draw(st.integers(-31, 8)))
    op = Requantize(target, FixedPoint((pair[0],), (pair[1],)))
    return Case("requantize", op, Types((x,), (y,)), draw(seeds), values=values)


FAMILIES: dict[str, Callable[[], st.SearchStrategy[Case]]] = {
    "conv2d": conv2d,
    "pointwise": pointwise,
    "grouped": grouped,
    "depthwise": depthwise,
    "multiplier": multiplier,
    "dense": dense,
    "transposed": transposed,
    "add": add,
    "mul": mul,
    "real": real,
    "maxpool": maxpool,
    "avgpool": avgpool,
    "reduce": reduce,
    "softmax": softmax,
    "resize": resize,
    "concat": concat,
    "lookup": lookup,
    "pad": pad,
    "quantize": quantize,
    "requantize": requantize,
}
