"""Measures int8 kernels one layer at a time over a grid of shapes; writes kernels.json.

Asserts nothing. Many layers stand in one emitted model, each with an input of its shape, and the
profile tells them apart: instructions of each layer (exact, in QEMU), on M4 and M7 with a cycle
estimate, per MAC or, where an op has none, per element of its
input or output, whichever is larger. See docs/measuring.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models import CORES, HERE, PROCESSES, compilers, write
from tinymill.boards import load_board
from tinymill.deploy import measure, target_files
from tinymill.emit import facts_of, render
from tinymill.errors import TinymillError
from tinymill.ir import (
    DType,
    Graph,
    GraphBuilder,
    Op,
    Port,
    Quant,
    Rescale,
    TensorType,
)
from tinymill.ops.arithmetic import fixed_point, float_scale
from tinymill.ops.binary import Binary
from tinymill.ops.binary import tflite_fixed as fixed_binary
from tinymill.ops.concat import Concat
from tinymill.ops.conv import Conv2D
from tinymill.ops.dense import FullyConnected
from tinymill.ops.lookup import Table as Lookup
from tinymill.ops.pool import AveragePool, MaxPool
from tinymill.ops.reduce import Reduce
from tinymill.ops.reduce import tflite_fixed as fixed_reduce
from tinymill.ops.resize import ResizeBilinear, ResizeNearest, tflite_fixed_taps, tflite_nearest
from tinymill.ops.softmax import Softmax
from tinymill.schedule import plan

CHANNELS = (3, 8, 16, 24, 32, 64, 96, 128)
SIDES = (3, 5, 6, 10, 12, 24, 48)
BATCH_LAYERS = 40
BATCH_BYTES = 1 << 21
MODEL = "grid"
IN, OUT = Quant((0.05,), (-7,)), Quant((0.1,), (5,))


@dataclass(frozen=True)
class Case:
    """One layer. ``inputs`` are the shapes of what is computed at run time."""

    family: str
    shape: str
    op: Op
    inputs: tuple[tuple[int, ...], ...]
    weights: tuple[int, ...] | None = None
    output: Quant = OUT

    @property
    def name(self) -> str:
        return f"{self.family} {self.shape}"


def same(side: int, kernel: int, stride: int) -> tuple[int, int, int, int]:
    """Padding with which a convolution gives ceil(side / stride) places."""
    total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
    return (total // 2, total // 2, total - total // 2, total - total // 2)


def rescale_of(outs: int, how: str) -> Rescale:
    """Factors as a frontend gives them: "fixed" TFLite's, "float" those of ONNX."""
    reals = np.linspace(0.0005, 0.003, outs)
    return fixed_point(reals) if how == "fixed" else float_scale(reals)


def convolution(
    side: int, ins: int, outs: int, kernel: int, stride: int, how: str, *, depthwise: bool = False
) -> Case:
    """A convolution with padding "same"."""
    op = Conv2D(
        (stride, stride), (1, 1), same(side, kernel, stride), ins if depthwise else 1,
        (-128, 127), rescale_of(outs, how),
    )  # fmt: skip
    family = f"{'dw' if depthwise else 'conv'}{kernel}x{kernel}"
    channels = f"{ins}" if depthwise else f"{ins}->{outs}"
    weights = (outs, kernel, kernel, 1 if depthwise else ins)
    stride_text = f" s{stride}" if kernel > 1 or stride > 1 else ""
    shape = f"{side}x{side} {channels}{stride_text}"
    return Case(family, shape, op, ((1, side, side, ins),), weights)


def cases(how: str) -> Iterator[Case]:
    """The grid."""
    for ins in CHANNELS:
        for outs in CHANNELS:
            yield convolution(6, ins, outs, 1, 1, how)
    for side in SIDES:
        for ins, outs in ((8, 16), (16, 96), (64, 64)):
            if side != 6:
                yield convolution(side, ins, outs, 1, 1, how)
    for side in (24, 48, 96):
        yield convolution(side, 3, 16, 3, 2, how)
    for stride in (1, 2):
        for channels in (8, 16, 32, 64):
            yield convolution(12, channels, channels, 3, stride, how)
    for side in SIDES:
        yield convolution(side, 16, 16, 3, 1, how)
    for kernel in (3, 5, 7):
        for stride in (1, 2):
            for channels in CHANNELS:
                yield convolution(12, channels, channels, kernel, stride, how, depthwise=True)
    for side in SIDES:
        for kernel in (3, 5):
            if side != 12:
                yield convolution(side, 32, 32, kernel, 1, how, depthwise=True)
    for ins, outs in ((8, 128), (64, 2), (64, 12), (128, 128), (250, 10), (256, 10), (640, 128)):
        op: Op = FullyConnected(False, (-128, 127), rescale_of(outs, how))
        yield Case("dense", f"{ins}->{outs}", op, ((1, ins),), (outs, ins))
    for side in SIDES:
        yield from elementwise(side, 32)
    for channels in CHANNELS:
        if channels != 32:
            yield from elementwise(12, channels)
    for count in (2, 10, 12, 100, 1000):
        yield Case("softmax", f"{count}", Softmax(dtype=DType.INT8), ((1, count),), None,
                   Quant((1 / 256,), (-128,)))  # fmt: skip


def elementwise(side: int, channels: int) -> Iterator[Case]:
    """Ops without weights on one map."""
    shape = (1, side, side, channels)
    where = f"{side}x{side} {channels}"
    x, second, y = (TensorType(shape, DType.INT8, q) for q in (IN, Quant((0.03,), (9,)), OUT))
    yield Case(
        "add", where, Binary("add", (-128, 127), fixed_binary("add", x, second, y)), (shape, shape)
    )
    yield Case("lookup", where, Lookup(tuple(range(127, -129, -1))), (shape,))
    yield Case("concat", f"{where}+{channels}", Concat(3), (shape, shape), None, IN)
    yield Case("maxpool2x2", f"{where} s2", MaxPool((2, 2), (2, 2)), (shape,), None, IN)
    yield Case("avgpool2x2", f"{where} s2", AveragePool((2, 2), (2, 2)), (shape,), None, IN)
    yield Case("avgpool", f"{where} global", AveragePool((side, side)), (shape,), None, IN)
    mean = Reduce("mean", (1, 2), True)
    reduced = TensorType((1, 1, 1, channels), DType.INT8, OUT)
    factor = fixed_reduce("mean", x, reduced, (1, 2))
    yield Case("mean", where, Reduce("mean", mean.axes, True, factor), (shape,))
    if side <= 24:
        twice = tflite_nearest(side, 2 * side, False, False)
        yield Case("nearest", f"{where} x2", ResizeNearest(twice, twice), (shape,), None, IN)
        taps = tflite_fixed_taps(side, 2 * side, False, True)
        yield Case("bilinear", f"{where} x2", ResizeBilinear(taps, taps), (shape,), None, IN)


def graph_of(batch: Sequence[Case]) -> Graph:
    """One model with a layer for each case; layers of one input shape read the same inputs."""
    rng = np.random.default_rng(1)
    builder = GraphBuilder(MODEL)
    for case in batch:
        values = []
        for place, shape in enumerate(case.inputs):
            value = f"x{place}_{'x'.join(map(str, shape))}"
            if value not in builder.types:
                second = Quant((0.03,), (9,)) if case.family == "add" else IN
                builder.types[value] = TensorType(shape, DType.INT8, second if place else IN)
                builder.inputs.append(Port(value, value, shape, tuple(range(len(shape)))))
            values.append(value)
        if case.weights is not None:
            weights = rng.integers(-127, 128, case.weights).astype(np.int8)
            outs = case.weights[0]
            quant = Quant((0.01,) * outs, (0,) * outs, 0)
            bias = rng.integers(-2000, 2000, outs).astype(np.int32)
            values.append(builder.constant(weights, stem="w", quant=quant))
            values.append(builder.constant(bias, stem="b"))
        (value,) = builder.add(case.op, values, name=case.name, quants=[case.output])
        kind = builder.types[value]
        builder.outputs.append(Port(value, value, kind.shape, tuple(range(kind.rank))))
    return builder.finish()


def batches(grid: Sequence[Case]) -> Iterator[list[Case]]:
    """The grid in models that compile and run fast; a family is not mixed with others more
    than it must be, and two inputs of one shape are quantised alike in a model."""
    batch: list[Case] = []
    held = 0
    for case in sorted(grid, key=lambda case: case.family):
        needed = sum(map(prod, case.inputs)) * 3
        mixed = (
            batch and "add" in (batch[-1].family, case.family) and batch[-1].family != case.family
        )
        if batch and (mixed or len(batch) == BATCH_LAYERS or held + needed > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(case)
        held += needed
    if batch:
        yield batch


def run(batch: Sequence[Case], core: str) -> list[dict[str, Any]]:
    """Figures for each case of one model, or the error that prevented them."""
    try:
        return measured(batch, core)
    except TinymillError as error:
        return [{"name": case.name, "error": str(error)} for case in batch]


def measured(batch: Sequence[Case], core: str) -> list[dict[str, Any]]:
    """Builds and runs one model; figures for each of its cases."""
    board = load_board(CORES[core].target)
    found = plan(graph_of(batch), board.features)
    facts = facts_of(found, MODEL)
    files = render(facts, found)
    files |= target_files(
        board, MODEL, arena_bytes=found.arena_bytes, weights_bytes=facts.weights_bytes
    )
    feed = np.random.default_rng(2).integers(0, 256, facts.input_bytes, np.uint8).tobytes()
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        for path, text in files.items():
            place = Path(name) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        result = measure(
            Path(name), board, feed, model=MODEL, profile=True, cycles=CORES[core].cycles
        )
    assert result.status == 0 and result.layer_instructions is not None
    estimates = result.layer_cycles or (None,) * len(found.steps)
    rows = []
    for step, count, cycles in zip(found.steps, result.layer_instructions, estimates, strict=True):
        types = found.graph.node_types(step.node)
        macs = step.node.op.macs(types) if len(step.node.inputs) == 3 else 0
        elements = max(types.output.count, types.input(0).count)
        per, unit = (macs, "mac") if macs else (elements, "element")
        row: dict[str, Any] = {
            "name": step.node.name, "kernel": step.kernel.name, "instructions": count,
            f"per_{unit}": round(count / per, 3),
        }  # fmt: skip
        if cycles is not None:
            row["cycles_estimate"] = cycles
        rows.append(row)
    return rows


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE / "kernels.json")
    parser.add_argument("--core", choices=CORES, action="append", help="default: all")
    parser.add_argument("--family", action="append", help="part of a name; default: all")
    parser.add_argument("--rescale", choices=("fixed", "float"), default="fixed",
                        help="fixed: as TFLite models, float: as ONNX ones")  # fmt: skip
    arguments = parser.parse_args()
    grid = {
        case.name: case
        for case in cases(arguments.rescale)
        if not arguments.family or any(part in case.family for part in arguments.family)
    }
    jobs = [
        (batch, core) for core in arguments.core or CORES for batch in batches([*grid.values()])
    ]
    with ProcessPoolExecutor(PROCESSES) as pool:
        done = pool.map(run, [batch for batch, _ in jobs], [core for _, core in jobs])
        results: dict[str, dict[str, Any]] = {}
        for (_, core), rows in zip(
            jobs, track(done, description="measuring", total=len(jobs)), strict=True
        ):
            for row in rows:
                results.setdefault(row.pop("name"), {})[core] = row
    ordered = {name: results[name] for name in grid}
    written = {"compilers": compilers(), "rescale": arguments.rescale, "kernels": ordered}
    write(written, arguments.output)
    show(ordered)


def show(results: dict[str, dict[str, Any]]) -> None:
    """The results as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("layer", "core", "kernel", "instructions", "/MAC", "/element", "cycles (estimate)")
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:3] else "right")
    for name, cores in results.items():
        for core, row in cores.items():
            if "error" in row:
                table.add_row(name, core, row["error"])
                continue
            cycles = row.get("cycles_estimate")
            table.add_row(
                name, core, row["kernel"], f"{row['instructions']:,}",
                f"{row['per_mac']:.2f}" if "per_mac" in row else "-",
                f"{row['per_element']:.2f}" if "per_element" in row else "-",
                f"{cycles:,}" if cycles is not None else "-",
            )  # fmt: skip
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
