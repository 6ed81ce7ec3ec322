"""Random calls of the kernels of sparse editing, and numpy's answer to each.

Every case returns what the kernel left in the whole of its output and what should be there: what no
tile covers, gaps between pixels, rows and images included. As a program (library, first seed,
cases of a family) it prints the cases that go wrong and exits with 1; that is how it runs under
the sanitizers.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

Floats = ctypes.POINTER(ctypes.c_float)
FRESH = 7.0
"""What an output holds before a call."""


class _Tile(ctypes.Structure):
    _fields_ = [("image", ctypes.c_int32), ("y", ctypes.c_int32), ("x", ctypes.c_int32)]


def _ints(names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_int32) for name in names.split()]


def _floats(names: str) -> list[tuple[str, Any]]:
    return [(name, Floats) for name in names.split()]


class Conv(ctypes.Structure):
    """tm_edit_conv"""

    _fields_ = [
        *_ints("in_height in_width in_channels in_stride"),
        *_ints("out_height out_width out_channels out_stride"),
        *_ints("kernel_h kernel_w stride_h stride_w dilation_h dilation_w pad_top pad_left"),
        *_ints("groups upsample in_activation out_activation"),
        ("leak", ctypes.c_float),
        *_floats("in_scale in_shift weights bias"),
        *_ints("bias_image residual_stride"),
        ("out_row", ctypes.c_int64),
        ("out_image", ctypes.c_int64),
    ]


class Linear(ctypes.Structure):
    """tm_edit_linear"""

    _fields_ = [
        *_ints("in_channels in_stride out_channels out_stride residual_stride image_rows"),
        *_ints("in_activation out_activation"),
        ("leak", ctypes.c_float),
        *_floats("in_scale in_shift weights bias"),
        *_ints("bias_image"),
    ]


class Attend(ctypes.Structure):
    """tm_edit_attend"""

    _fields_ = [
        *_ints("heads head_channels value_channels queries keys"),
        *_ints("query_stride key_stride value_stride out_stride"),
        ("scale", ctypes.c_float),
    ]


class Operand(ctypes.Structure):
    """tm_edit_operand"""

    _fields_ = [
        ("data", Floats),
        *[(name, ctypes.c_int64) for name in ("image", "row", "pixel")],
        ("channel", ctypes.c_int32),
    ]


class Shape(ctypes.Structure):
    """tm_edit_shape"""

    _fields_ = [*_ints("height width channels activation"), ("leak", ctypes.c_float)]


def load(library: Path) -> ctypes.CDLL:
    """The kernels in a shared library."""
    kernels = ctypes.CDLL(str(library))
    kernels.tm_edit_conv_packed.restype = ctypes.c_size_t
    kernels.tm_edit_linear_packed.restype = ctypes.c_size_t
    kernels.tm_edit_conv_cost.restype = ctypes.c_double
    kernels.tm_edit_conv_dense_cost.restype = ctypes.c_double
    return kernels


def floats(array: np.ndarray | None) -> Any:
    """A float pointer to an array that outlives the call."""
    if array is None:
        return None
    assert array.dtype == np.float32
    return array.ctypes.data_as(Floats)


@dataclass(frozen=True)
class Outcome:
    """What a case is, what came out, what should have."""

    text: str
    got: np.ndarray
    expected: np.ndarray

    @property
    def error(self) -> float:
        """Largest difference, relative to the largest value (at least 1); infinite for a NaN that
        only one side has, or another infinity."""
        same = (self.got == self.expected) | (np.isnan(self.got) & np.isnan(self.expected))
        if same.all():
            return 0.0
        with np.errstate(invalid="ignore"):
            difference = np.where(same, 0.0, np.abs(self.got - self.expected))
        size = np.abs(self.expected[np.isfinite(self.expected)]).max(initial=1.0)
        return float(difference.max() / size) if np.isfinite(difference).all() else np.inf


class Draw:
    """Random choices for a case."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def of(self, *choices: int) -> int:
        return int(self.rng.choice(choices))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def array(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def tiles(self, images: int, height: int, width: int) -> tuple[int, int, np.ndarray, Any]:
        """Tile height and width, which pixels [image, y, x] the tiles hold, the tiles."""
        tile_h, tile_w = self.of(1, 2, 4, 4, 6, 8, 19), self.of(1, 3, 4, 4, 8, 19)
        share = self.rng.choice([0.0, 0.3, 0.9, 1.0])
        grid = product(range(images), range(0, height, tile_h), range(0, width, tile_w))
        chosen = [place for place in grid if self.chance(share)]
        self.rng.shuffle(chosen)
        covered = np.zeros((images, height, width), bool)
        for image, y, x in chosen:
            covered[image, y : y + tile_h, x : x + tile_w] = True
        listed = (_Tile * len(chosen))(*[_Tile(*place) for place in chosen])
        return tile_h, tile_w, covered, listed


def activated(x: np.ndarray, activation: int, leak: float) -> np.ndarray:
    """tm_edit_activation"""
    functions: tuple[Callable[[], np.ndarray], ...] = (
        lambda: x,
        lambda: np.maximum(x, 0),
        lambda: np.where(x < 0, x * leak, x),
        lambda: x / (1 + np.exp(-x)),
        lambda: np.tanh(x),
        lambda: 1 / (1 + np.exp(-x)),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        return functions[activation]()


def conv_case(kernels: ctypes.CDLL, seed: int) -> Outcome:
    """A convolution of listed tiles, or of the whole map."""
    d = Draw(seed)
    groups = d.of(1, 1, 1, 2, 4)
    inputs, outputs = d.of(1, 3, 5, 16, 17, 40, 70, 130), d.of(1, 3, 8, 16, 33, 50, 70)
    if d.chance(0.15):  # depthwise
        groups, inputs, outputs = d.of(2, 5, 24, 40), 1, 1
    in_channels, out_channels = groups * inputs, groups * outputs
    plain = d.chance(0.5)
    kernel = (3, 3) if plain else (d.of(1, 2, 3, 5), d.of(1, 3, 4))
    stride = (1, 1) if plain and d.chance(0.8) else (d.of(1, 2, 3), d.of(1, 2))
    dilation = (1, 1) if plain else (d.of(1, 2), d.of(1, 2, 3))
    up, images = d.of(1, 1, 1, 2, 3), d.of(1, 2)
    in_height, in_width = d.of(3, 4, 7, 9, 16), d.of(5, 8, 11, 18)
    top, left = d.of(0, 1, 2), d.of(0, 1, 2)
    reach = [(k - 1) * s for k, s in zip(kernel, dilation, strict=True)]
    height = max(1, (in_height * up + top + d.of(0, 1, 2) - reach[0] - 1) // stride[0] + 1)
    width = max(1, (in_width * up + left + d.of(0, 1, 2) - reach[1] - 1) // stride[1] + 1)
    in_stride, out_stride = in_channels + d.of(0, 0, 7), out_channels + d.of(0, 0, 5)
    x = d.array(images, in_height, in_width, in_stride)
    weights = d.array(out_channels, *kernel, inputs) / np.float32((kernel[0] * inputs) ** 0.5)
    before, after, leak = d.of(0, 0, 1, 2, 3, 4, 5), d.of(0, 0, 1, 2, 3, 4, 5), 0.2
    scale = shift = bias = residual = None
    if d.chance(0.5):
        scale, shift = d.array(images, in_channels), d.array(images, in_channels)
    bias_image = d.of(0, out_channels + 3)
    if d.chance(0.7):
        bias = d.array(images, out_channels + 3)
    residual_stride = d.of(0, out_channels + 2)
    if d.chance(0.4):
        residual = d.array(images, height, width, residual_stride or out_stride)
    out_row = d.of(0, width * out_stride + 9)
    row = out_row or width * out_stride
    out_image = d.of(0, row * height + 13)
    image = out_image or row * height

    v = x[..., :in_channels].astype(np.float64)
    if scale is not None and shift is not None:
        v = v * scale[:, None, None] + shift[:, None, None]
    v = activated(v, before, leak).repeat(up, 1).repeat(up, 2)
    padded = np.zeros(
        (images, (height - 1) * stride[0] + reach[0] + 1, (width - 1) * stride[1] + reach[1] + 1,
         in_channels)
    )  # fmt: skip
    inside = v[:, : padded.shape[1] - top, : padded.shape[2] - left]
    padded[:, top : top + inside.shape[1], left : left + inside.shape[2]] = inside
    dense = np.zeros((images, height, width, groups, outputs))
    matrices = weights.reshape(groups, outputs, *kernel, inputs).astype(np.float64)
    for i, j in product(range(kernel[0]), range(kernel[1])):
        y, xx = i * dilation[0], j * dilation[1]
        seen = padded[
            :, y : y + (height - 1) * stride[0] + 1 : stride[0],
            xx : xx + (width - 1) * stride[1] + 1 : stride[1],
        ].reshape(images, height, width, groups, inputs)  # fmt: skip
        for g in range(groups):
            dense[..., g, :] += seen[..., g, :] @ matrices[g, :, i, j].T
    sums = dense.reshape(images, height, width, out_channels)
    if bias is not None:
        sums += (bias if bias_image else bias[:1])[:, None, None, :out_channels]
    if residual is not None:
        sums += residual[..., :out_channels]
    result = activated(sums, after, leak)

    c = Conv(
        in_height, in_width, in_channels, in_stride, height, width, out_channels, out_stride,
        *kernel, *stride, *dilation, top, left, groups, up, before, after, leak,
        floats(scale), floats(shift), None, floats(bias), bias_image, residual_stride, out_row,
        out_image,
    )  # fmt: skip
    packed = np.full(kernels.tm_edit_conv_packed(ctypes.byref(c)), np.nan, np.float32)
    kernels.tm_edit_pack_conv(ctypes.byref(c), floats(weights), floats(packed))
    c.weights = floats(packed)
    got = np.full((images, image), FRESH, np.float32)
    expected = got.copy()
    strides = (image * 4, row * 4, out_stride * 4, 4)
    pixels = as_strided(expected, (images, height, width, out_channels), strides)
    pointers = floats(x), floats(residual), floats(got)
    if d.chance(0.25):
        tiles = "dense"
        pixels[:] = result
        kernels.tm_edit_conv_dense(ctypes.byref(c), *pointers, images)
    else:
        tile_h, tile_w, covered, listed = d.tiles(images, height, width)
        tiles = f"{len(listed)} tiles {tile_h}x{tile_w}"
        pixels[covered] = result[covered]
        kernels.tm_edit_conv_tiles(ctypes.byref(c), *pointers, listed, len(listed), tile_h, tile_w)
    text = (
        f"{images}x{in_height}x{in_width}x{in_channels} -> {height}x{width}x{out_channels},"
        f" kernel {kernel}, stride {stride}, dilation {dilation}, padding {top} {left}, {groups}"
        f" groups, upsampled {up}, activations {before} {after}, {tiles}"
    )
    return Outcome(text, got, expected)


def _rows(d: Draw, count: int) -> tuple[np.ndarray, Any, int]:
    """Which rows, the list for the kernel (NULL: the first ones), how many."""
    if d.chance(0.3):
        number = d.of(0, 1, count)
        return np.arange(number), None, number
    rows = np.flatnonzero(d.rng.random(count) < d.rng.choice([0.1, 0.6, 1.0])).astype(np.int32)
    if d.chance(0.3):
        d.rng.shuffle(rows)
    return rows, rows.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)), len(rows)


def linear_case(kernels: ctypes.CDLL, seed: int) -> Outcome:
    """Listed rows times a matrix."""
    d = Draw(seed)
    images, image_rows = d.of(1, 2), d.of(1, 7, 60)
    inputs, outputs = d.of(1, 3, 16, 50, 130, 512), d.of(1, 8, 33, 70)
    in_stride, out_stride = inputs + d.of(0, 0, 6), outputs + d.of(0, 0, 6)
    count = images * image_rows
    x, weights = d.array(count, in_stride), d.array(outputs, inputs) / np.float32(inputs**0.5)
    before, after, leak = d.of(0, 0, 1, 2, 3, 4, 5), d.of(0, 0, 1, 2, 3, 4, 5), 0.1
    scale = shift = bias = residual = None
    if d.chance(0.5):
        scale, shift = d.array(images, inputs), d.array(images, inputs)
    bias_image, residual_stride = d.of(0, outputs + 1), d.of(0, outputs + 2)
    if d.chance(0.7):
        bias = d.array(images, outputs + 1)
    if d.chance(0.5):
        residual = d.array(count, residual_stride or out_stride)

    v, image = x[:, :inputs].astype(np.float64), np.arange(count) // image_rows
    if scale is not None and shift is not None:
        v = v * scale[image] + shift[image]
    v = activated(v, before, leak) @ weights.T.astype(np.float64)
    if bias is not None:
        v += bias[image if bias_image else 0 * image, :outputs]
    if residual is not None:
        v += residual[:, :outputs]

    params = Linear(
        inputs, in_stride, outputs, out_stride, residual_stride, image_rows, before, after, leak,
        floats(scale), floats(shift), None, floats(bias), bias_image,
    )  # fmt: skip
    packed = np.full(kernels.tm_edit_linear_packed(ctypes.byref(params)), np.nan, np.float32)
    kernels.tm_edit_pack_linear(ctypes.byref(params), floats(weights), floats(packed))
    params.weights = floats(packed)
    rows, listed, number = _rows(d, count)
    got = np.full((count, out_stride), FRESH, np.float32)
    expected = got.copy()
    expected[rows, :outputs] = activated(v, after, leak)[rows]
    kernels.tm_edit_linear_rows(
        ctypes.byref(params), floats(x), floats(residual), floats(got), listed, number
    )
    text = f"{number} of {count} rows, {inputs} to {outputs}, activations {before} {after}"
    return Outcome(text, got, expected)


def attention_case(kernels: ctypes.CDLL, seed: int) -> Outcome:
    """Attention of listed queries."""
    d = Draw(seed)
    images, heads = d.of(1, 2), d.of(1, 2, 5)
    channels, values = d.of(1, 7, 16, 40), d.of(1, 9, 32, 40)
    queries, keys = d.of(1, 20, 49), d.of(1, 5, 64, 300, 513)
    widths = [heads * channels, heads * channels, heads * values, heads * values]
    strides = [width + d.of(0, 3) for width in widths]
    q, k, v = (
        d.array(images * number, stride)
        for number, stride in zip((queries, keys, keys), strides, strict=False)
    )
    q *= np.float32(d.of(1, 1, 20))  # sharp ones, too: the running maximum moves
    scale = channels**-0.5

    def split(x: np.ndarray, width: int) -> np.ndarray:
        x = x[:, : heads * width].astype(np.float64)
        return x.reshape(images, -1, heads, width).transpose(0, 2, 1, 3)

    scores = scale * split(q, channels) @ split(k, channels).transpose(0, 1, 3, 2)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    dense = (weights @ split(v, values)).transpose(0, 2, 1, 3).reshape(images * queries, -1)

    params = Attend(heads, channels, values, queries, keys, *strides, scale)
    rows, listed, number = _rows(d, images * queries)
    got = np.full((images * queries, strides[3]), FRESH, np.float32)
    expected = got.copy()
    expected[rows, : heads * values] = dense[rows]
    kernels.tm_edit_attention(
        ctypes.byref(params), floats(q), floats(k), floats(v), floats(got), listed, number
    )
    text = f"{number} of {images}x{queries} queries, {keys} keys, {heads} heads of {channels}"
    return Outcome(text + f" and {values}", got, expected)


def _operand(d: Draw, shape: tuple[int, ...]) -> tuple[np.ndarray, Operand]:
    """Memory of an operand that may be broadcast along any axis, and the operand."""
    kept = [axis if d.chance(0.75) else 1 for axis in shape]
    channel = d.of(1, 1, 2)
    data = d.array(*kept[:3], kept[3] * channel + d.of(0, 0, 3))
    strides = [0 if axis == 1 else s // 4 for axis, s in zip(kept[:3], data.strides, strict=False)]
    return data, Operand(floats(data), *strides, 0 if kept[3] == 1 else channel)


def _seen(data: np.ndarray, operand: Operand, shape: tuple[int, ...]) -> np.ndarray:
    """What an operand is at every place of a shape."""
    strides = (operand.image, operand.row, operand.pixel, operand.channel)
    return as_strided(data, shape, [4 * stride for stride in strides]).astype(np.float64)


_BINARY = ("add", "subtract", "multiply", "divide", "minimum", "maximum")


def elementwise_case(kernels: ctypes.CDLL, seed: int) -> Outcome:
    """affine, modulate or binary on listed tiles."""
    d = Draw(seed)
    shape = (d.of(1, 2), d.of(1, 5, 12), d.of(1, 9, 20), d.of(1, 3, 16, 37))
    images, height, width, channels = shape
    activation, leak = d.of(0, 0, 1, 2, 3, 4, 5), 0.3
    out_stride = channels + d.of(0, 4)
    memories, operands = zip(*[_operand(d, shape) for _ in range(3)], strict=True)
    scale, shift = d.array(images, channels), d.array(images, channels)
    function = ("affine", "plain", "modulate", *_BINARY)[d.of(*range(9))]
    if function == "divide":
        memories[1][np.abs(memories[1]) < 0.1] = 0.5
    if function in ("minimum", "maximum") and d.chance(0.5):
        activation = 0
        for memory in memories[:2]:
            memory.flat[0] = d.rng.choice([np.nan, np.inf, -np.inf, 0.0])
    a, b, c = (_seen(*pair, shape) for pair in zip(memories, operands, strict=True))
    params = Shape(height, width, channels, activation, leak)
    tile_h, tile_w, covered, listed = d.tiles(images, height, width)
    got = np.full((images, height, width, out_stride), FRESH, np.float32)
    expected = got.copy()
    rest = floats(got), out_stride, listed, len(listed), tile_h, tile_w
    first, second, third = operands
    numbers = (None, None) if function == "plain" else (floats(scale), floats(shift))
    scaled = a if function == "plain" else a * scale[:, None, None] + shift[:, None, None]
    if function in ("affine", "plain"):
        result = scaled
        kernels.tm_edit_affine_tiles(ctypes.byref(params), first, *numbers, *rest)
    elif function == "modulate":
        result = scaled * (1 + b) + c
        kernels.tm_edit_modulate_tiles(ctypes.byref(params), first, *numbers, second, third, *rest)
    else:
        result = getattr(np, function)(a, b)
        which = _BINARY.index(function)
        kernels.tm_edit_binary_tiles(ctypes.byref(params), which, first, second, *rest)
    expected[..., :channels][covered] = activated(result, activation, leak)[covered]
    text = f"{function} of {shape}, activation {activation}, tiles {tile_h}x{tile_w}"
    return Outcome(text, got, expected)


def log_case(kernels: ctypes.CDLL, seed: int) -> Outcome:
    """Save tiles, change the map, sum what changed, restore it."""
    d = Draw(seed)
    images, height, width, channels = d.of(1, 2), d.of(1, 7, 18), d.of(1, 9, 20), d.of(1, 16, 70)
    stride = channels + d.of(0, 3)
    params = Shape(height, width, channels, 0, 0.0)
    tile_h, tile_w, covered, listed = d.tiles(images, height, width)
    tiles = listed, len(listed), tile_h, tile_w
    before, after = d.array(images, height, width, stride), d.array(images, height, width, stride)
    after[~covered] = before[~covered]
    after[..., channels:] = before[..., channels:]
    saved = np.full(len(listed) * tile_h * tile_w * channels + 3, FRESH, np.float32)
    map_ = before.copy()
    kernels.tm_edit_save_tiles(ctypes.byref(params), floats(map_), stride, floats(saved), *tiles)
    map_[:] = after
    doubles = ctypes.POINTER(ctypes.c_double)
    sums = np.stack([before[..., :channels].astype(np.float64) ** i for i in (1, 2)])
    sums = np.ascontiguousarray(sums.sum(axis=(2, 3)))
    sum_, square = (part.ctypes.data_as(doubles) for part in sums)
    known = d.chance(0.7)
    kernels.tm_edit_sum_tiles(
        ctypes.byref(params), floats(map_), stride, floats(saved) if known else None, sum_, square,
        *tiles,
    )  # fmt: skip
    added = after[..., :channels].astype(np.float64)
    if known:
        expected = np.stack([(added**i).sum(axis=(1, 2)) for i in (1, 2)])
    else:
        added[~covered] = 0.0
        old = before[..., :channels].astype(np.float64)
        expected = np.stack([(added**i + old**i).sum(axis=(1, 2)) for i in (1, 2)])
    kernels.tm_edit_restore_tiles(ctypes.byref(params), floats(map_), stride, floats(saved), *tiles)
    text = f"{images}x{height}x{width}x{channels}, {len(listed)} tiles {tile_h}x{tile_w}"
    return Outcome(
        text,
        np.concatenate([sums.ravel(), map_.ravel(), saved[-3:]]),
        np.concatenate([expected.ravel(), before.ravel(), np.full(3, FRESH)]),
    )


FAMILIES: dict[str, Callable[[ctypes.CDLL, int], Outcome]] = {
    "conv": conv_case,
    "linear": linear_case,
    "attention": attention_case,
    "elementwise": elementwise_case,
    "log": log_case,
}

TOLERANCE = 1e-5
"""Relative; the convolutions by F(4x4, 3x3) come to 6e-6 where a hyperbolic tangent follows."""


def failures(library: Path, first: int, count: int) -> Iterator[str]:
    """A line for each case of each family that goes wrong."""
    kernels = load(library)
    for name, case in FAMILIES.items():
        for seed in range(first, first + count):
            outcome = case(kernels, seed)
            if not outcome.error <= TOLERANCE:
                yield f"{name} {seed}: {outcome.error:.2g} in {outcome.text}"
    if kernels.tm_edit_failures():
        yield "a call had no memory"
    kernels.tm_edit_release()


if __name__ == "__main__":
    lines = list(failures(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    print("\n".join(lines))
    sys.exit(bool(lines))
