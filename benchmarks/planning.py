"""How long planning takes, and how it grows with the number of layers.

Times every model of the shared folder that compiles, for each goal, and networks of inverted
bottlenecks of up to 1,000 layers; prints the exponent of the growth from one size to the next.
Seconds of CPU, so they differ from machine to machine; the exponents hardly do.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from models import SHARED
from tinymill.api.options import CompileOptions
from tinymill.api.planning import planner_of
from tinymill.boards import load_board
from tinymill.errors import TinymillError
from tinymill.ir import DType, Graph, GraphBuilder, Port, Quant, TensorType
from tinymill.ir.rescale import FixedPoint
from tinymill.ops.binary import Binary
from tinymill.ops.binary import tflite_fixed as fixed_binary
from tinymill.ops.conv import Conv2D
from tinymill.schedule.planner import Goal, Planner

BOARD = "mps2-an386"
SIZES = (62, 125, 250, 500, 1000)
GOALS: tuple[Goal, ...] = ("min-time", "min-ram", "balanced")
QUANT = Quant((0.05,), (-3,))
SIDE = 96
EVERY = 6
"""Blocks between strides of two, while the map has rows to spare."""


def bottlenecks(layers: int) -> Graph:
    """A chain of inverted bottlenecks (1x1, 3x3 depthwise, 1x1, Add) of so many layers."""
    builder = GraphBuilder("net")
    shape = (1, SIDE, SIDE, 8)
    builder.types["x"] = TensorType(shape, DType.INT8, QUANT)
    builder.inputs.append(Port("x", "x", shape, (0, 1, 2, 3)))
    value, count, block = "x", 0, 0

    def convolve(value: str, outs: int, kernel: int, stride: int, groups: int) -> str:
        nonlocal count
        count += 1
        _, side, _, ins = builder.types[value].shape
        total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
        pad = (total // 2, total // 2, total - total // 2, total - total // 2)
        factor = FixedPoint((1 << 30,) * outs, (-7,) * outs)
        op = Conv2D((stride, stride), (1, 1), pad, groups, (-128, 127), factor)
        scales = Quant((0.01,) * outs, (0,) * outs, 0)
        weights = np.ones((outs, kernel, kernel, ins // groups), np.int8)
        values = [value, builder.constant(weights, stem="w", quant=scales),
                  builder.constant(np.zeros(outs, np.int32), stem="b")]  # fmt: skip
        return builder.add(op, values, name=f"conv{count}", quants=[QUANT])[0]

    while count < layers:
        narrow = builder.types[value].shape[3]
        stride = 2 if block % EVERY == EVERY - 1 and builder.types[value].shape[1] > 6 else 1
        inner = convolve(value, 6 * narrow, 1, 1, 1)
        inner = convolve(inner, 6 * narrow, 3, stride, 6 * narrow)
        inner = convolve(inner, narrow * (2 if stride == 2 and narrow < 64 else 1), 1, 1, 1)
        if stride == 1:
            x, y = builder.types[value], builder.types[inner]
            add = Binary("add", (-128, 127), fixed_binary("add", x, y, y))
            (inner,) = builder.add(add, [value, inner], name=f"add{block}", quants=[QUANT])
            count += 1
        value, block = inner, block + 1
    kind = builder.types[value]
    builder.outputs.append(Port(value, value, kind.shape, (0, 1, 2, 3)))
    return builder.finish()


def curve(console: Console) -> None:
    """The table of growth."""
    console.print("layers  goal      seconds  exponent")
    last: dict[str, tuple[int, float]] = {}
    for size in SIZES:
        graph = bottlenecks(size)
        for goal in GOALS[:2]:
            start = time.process_time()
            Planner(graph, load_board(BOARD).features).plan(goal)
            taken = time.process_time() - start
            count = len(graph.nodes)
            grown = ""
            if goal in last:
                before, seconds = last[goal]
                grown = f"{math.log(taken / seconds) / math.log(count / before):.2f}"
            last[goal] = count, taken
            console.print(f"{count:6}  {goal:8}  {taken:7.1f}  {grown:>8}")


def models(console: Console) -> None:
    """The table of the shared models."""
    table = Table("model", "layers", *GOALS, "front", title="seconds a model", box=None)
    for file in sorted((SHARED / "models").rglob("*")):
        if file.suffix not in (".tflite", ".onnx"):
            continue
        try:
            planner = planner_of(file, BOARD, CompileOptions())
        except TinymillError as error:
            console.print(f"{file.name}: {error}")
            continue
        cells = []
        for goal in (*GOALS, None):
            start = time.process_time()
            _ = planner.front() if goal is None else planner.plan(goal)
            cells.append(f"{time.process_time() - start:.1f}")
        table.add_row(file.name, str(len(planner.workshop.nodes)), *cells)
    console.print(table)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("models", "curve"))
    arguments = parser.parse_args()
    console = Console(width=120)
    if arguments.only != "models":
        curve(console)
    if arguments.only != "curve":
        models(console)


if __name__ == "__main__":
    main()
