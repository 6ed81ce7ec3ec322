"""How fast one convolution recomputes an edited square, against dense ones.

Builds the kernels of runtime_c/editing with the C compiler (`CC`, default gcc) for this machine and
times torch's dense convolution (NCHW or channels-last, the faster), ONNX Runtime's and ours in turn
in one process. Ours applies scale, shift and SiLU to its input as a layer of a U-Net does; the
dense ones only convolve. `--shapes` adds convolutions of the DDPM U-Net for pictures of 256x256.
Asserts nothing. Needs torch and onnxruntime.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

KERNELS = Path(__file__).resolve().parents[1] / "runtime_c" / "editing"
AREAS = (1.2, 5.0, 15.0, 35.0, 100.0)
TILE = 4
SILU = 3
PAUSE = 0.02
UNET = (
    (128, 128, 256), (256, 128, 256), (128, 128, 128), (256, 256, 64), (512, 256, 64),
    (256, 256, 32), (512, 512, 16), (1024, 512, 16), (512, 512, 8), (1024, 512, 8),
)  # fmt: skip
"""Input and output channels and side of 3x3 convolutions of the church model."""

Floats = ctypes.POINTER(ctypes.c_float)


class _Tile(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("image", "y", "x")]


class _Conv(ctypes.Structure):
    """tm_edit_conv"""

    _fields_ = [
        *[
            (name, ctypes.c_int32)
            for name in (
                "in_height in_width in_channels in_stride out_height out_width out_channels"
                " out_stride kernel_h kernel_w stride_h stride_w dilation_h dilation_w pad_top"
                " pad_left groups upsample in_activation out_activation"
            ).split()
        ],
        ("leak", ctypes.c_float),
        *[(name, Floats) for name in ("in_scale", "in_shift", "weights", "bias")],
        ("bias_image", ctypes.c_int32),
        ("residual_stride", ctypes.c_int32),
        ("out_row", ctypes.c_int64),
        ("out_image", ctypes.c_int64),
    ]


@dataclass(frozen=True)
class Row:
    """One shape at one area; milliseconds, medians and minima of alternating runs."""

    in_channels: int
    out_channels: int
    side: int
    area: float
    tiles: int
    torch_ms: float
    ort_ms: float
    ours_ms: float
    torch_least_ms: float
    ort_least_ms: float
    ours_least_ms: float
    ratio: float
    error: float


def build(folder: Path) -> ctypes.CDLL:
    """The kernels as a shared library for this machine."""
    library = folder / "kernels.so"
    names = ("attention", "conv", "linear", "maps", "product", "room", "winograd")
    subprocess.run(
        [
            os.environ.get("CC", "gcc"), "-std=c11", "-O3", "-march=native", "-fopenmp", "-fPIC",
            "-shared", *[str(KERNELS / f"tm_edit_{name}.c") for name in names], "-o", str(library),
        ],
        check=True,
    )  # fmt: skip
    kernels = ctypes.CDLL(str(library))
    kernels.tm_edit_conv_packed.restype = ctypes.c_size_t
    return kernels


def square(side: int, area: float, rng: np.random.Generator) -> tuple[int, int, int]:
    """Top, left and side of an edited square that covers `area` percent of the map."""
    edited = min(side, max(1, round(side * (area / 100) ** 0.5)))
    top, left = rng.integers(0, side - edited + 1, 2)
    return int(top), int(left), edited


def tiles_of(side: int, top: int, left: int, edited: int) -> list[tuple[int, int]]:
    """Tiles that hold an output pixel whose 3x3 window sees the square."""

    def touched(first: int) -> range:
        start, end = max(0, first - 1), min(side, first + edited + 1)
        return range(start // TILE * TILE, end, TILE)

    return [(y, x) for y in touched(top) for x in touched(left)]


def ort_dense(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, threads: int
) -> Callable[[], np.ndarray]:
    """A dense convolution in ONNX Runtime; x is NCHW, weights OIHW."""
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1])
    shape = [1, weights.shape[0], *x.shape[2:]]
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    model.ir_version = 8
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # threads that wait for the next call would take the processor from the others' calls
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": x})[0]


def measure(
    kernels: ctypes.CDLL, shape: tuple[int, int, int], areas: Sequence[float], runs: int,
    threads: int,
) -> list[Row]:  # fmt: skip
    """A 3x3 convolution at each area, alternating with the dense ones."""
    ins, outs, side = shape
    rng = np.random.default_rng(7)
    x = rng.standard_normal((side, side, ins), np.float32)
    weights = rng.standard_normal((outs, ins, 3, 3), np.float32) / np.float32((9 * ins) ** 0.5)
    bias = rng.standard_normal(outs, np.float32)
    scale = 1 + 0.1 * rng.standard_normal(ins, np.float32)
    shift = 0.1 * rng.standard_normal(ins, np.float32)
    output = np.zeros((side, side, outs), np.float32)

    def pointer(array: np.ndarray) -> Any:
        return array.ctypes.data_as(Floats)

    c = _Conv(
        side, side, ins, ins, side, side, outs, outs, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, SILU, 0, 0.0,
        pointer(scale), pointer(shift), None, pointer(bias), 0, 0, 0, 0,
    )  # fmt: skip
    packed = np.zeros(kernels.tm_edit_conv_packed(ctypes.byref(c)), np.float32)
    ohwi = np.ascontiguousarray(weights.transpose(0, 2, 3, 1))
    kernels.tm_edit_pack_conv(ctypes.byref(c), pointer(ohwi), pointer(packed))
    c.weights = pointer(packed)

    affine = x * scale + shift
    activated = affine / (1 + np.exp(-affine))
    nchw = np.ascontiguousarray(activated.transpose(2, 0, 1)[None])
    tensor, kernel, offset = (torch.from_numpy(array) for array in (nchw, weights, bias))
    tensor_last = tensor.contiguous(memory_format=torch.channels_last)
    kernel_last = kernel.contiguous(memory_format=torch.channels_last)
    run_ort = ort_dense(nchw, weights, bias, threads)
    dense = run_ort()[0].transpose(1, 2, 0)

    rows = []
    with torch.inference_mode():
        for area in areas:
            listed = tiles_of(side, *square(side, area, rng))
            tiles = (_Tile * len(listed))(*[_Tile(0, y, x) for y, x in listed])
            run_ours = ours_of(kernels, c, pointer(x), pointer(output), tiles)
            nchw_times, last_times, *others = alternate(
                (
                    lambda: torch.conv2d(tensor, kernel, offset, padding=1),
                    lambda: torch.conv2d(tensor_last, kernel_last, offset, padding=1),
                    run_ort,
                    run_ours,
                ),
                runs,
            )
            times = (min(nchw_times, last_times, key=statistics.median), *others)
            places = [np.s_[y : y + TILE, x : x + TILE] for y, x in listed]
            error = max(float(np.abs(output[place] - dense[place]).max()) for place in places)
            medians = [1e3 * statistics.median(series) for series in times]
            least = [1e3 * min(series) for series in times]
            rows.append(
                Row(
                    ins, outs, side, area, len(listed), medians[0], medians[1], medians[2],
                    least[0], least[1], least[2], min(medians[:2]) / medians[2],
                    error / float(np.abs(dense).max()),
                )
            )  # fmt: skip
    return rows


def ours_of(
    kernels: ctypes.CDLL, c: _Conv, x: Any, output: Any, tiles: Any
) -> Callable[[], object]:
    """A call of tm_edit_conv_tiles."""
    arguments = (ctypes.byref(c), x, None, output, tiles, len(tiles), TILE, TILE)
    return lambda: kernels.tm_edit_conv_tiles(*arguments)


def alternate(functions: Sequence[Callable[[], object]], runs: int) -> list[list[float]]:
    """Seconds of each function, called in turn; the first round is not counted. Of each turn the
    second of two calls is timed: the first wakes the threads of its library, after those of the
    one before have gone to sleep."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(runs + 1):
        for function, series in zip(functions, times, strict=True):
            time.sleep(PAUSE)
            function()
            start = time.perf_counter()
            function()
            if turn:
                series.append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--shapes", action="store_true", help="the U-Net's convolutions as well")
    parser.add_argument("--shape", action="append", help="only INPUTS,OUTPUTS,SIDE; repeatable")
    parser.add_argument("--areas", default=",".join(map(str, AREAS)), help="percent")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    areas = [float(area) for area in arguments.areas.split(",")]
    shapes = [(256, 256, 64), *(UNET if arguments.shapes else ())]
    if arguments.shape:
        shapes = []
        for text in arguments.shape:
            ins, outs, side = map(int, text.split(","))
            shapes.append((ins, outs, side))
    with tempfile.TemporaryDirectory() as folder:
        kernels = build(Path(folder))
        kernels.omp_set_num_threads(arguments.threads)
        rows = [
            row
            for shape in shapes
            for row in measure(kernels, shape, areas, arguments.runs, arguments.threads)
        ]
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "rows": [asdict(row) for row in rows]}))
        return
    table = Table(title="3x3 convolutions, ms (median / least)")
    for name in ("shape", "area %", "tiles", "torch", "ONNX Runtime", "ours", "ratio", "error"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"{row.in_channels}->{row.out_channels} {row.side}x{row.side}",
            f"{row.area:g}",
            str(row.tiles),
            f"{row.torch_ms:.2f} / {row.torch_least_ms:.2f}",
            f"{row.ort_ms:.2f} / {row.ort_least_ms:.2f}",
            f"{row.ours_ms:.2f} / {row.ours_least_ms:.2f}",
            f"{row.ratio:.1f}",
            f"{row.error:.1g}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
