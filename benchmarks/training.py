"""Measures the kernels of a training step one layer at a time; asserts nothing.

    python benchmarks/training.py          the backward pass of the 49 KB scheme, Cortex-M7
    python benchmarks/training.py --board mps2-an386 --all --family dw

The layers are those of mcunet-5fps at 128x128 pixels and 10 classes that the scheme "mcunet-49k"
trains or goes back through, and others. Instructions are exact (QEMU), per MAC or, where an op has
none, per element of its largest input; --all also measures layers of other shapes, by which
benchmarks/calibrate.py fits what such kernels cost.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tinymill.boards import load_board
from tinymill.deploy import measure, target_files
from tinymill.emit import facts_of, render
from tinymill.ir import DType, Graph, GraphBuilder, Op, Port, Quant, TensorType, Types
from tinymill.ops.conv_gradient import BiasUpdate, ConvInputGradient, ConvWeightUpdate
from tinymill.ops.gradient_gate import ClampMask, GradientGate, bits_shape
from tinymill.ops.gradient_moves import GradientAdd, GradientSpread
from tinymill.ops.losses import SoftmaxLoss
from tinymill.schedule import Plan, plan

MODEL = "training"
REACH = 9000
"""The most that a gradient of these layers is."""
LAYERS = 24
SCALARS = (
    TensorType((1,), DType.INT32), TensorType((1,), DType.FLOAT32), TensorType((1,), DType.INT32),
)  # fmt: skip
SCALAR_VALUES = (np.int32(-18), np.float32(0.5), np.int32(3))


@dataclass(frozen=True)
class Layer:
    """One op on types; ``constants`` by index. ``times``: how often the scheme has it."""

    name: str
    op: Op
    inputs: tuple[TensorType | None, ...]
    constants: dict[int, np.ndarray]
    times: int = 1

    @property
    def macs(self) -> int:
        return self.op.macs(Types(self.inputs, self.op.infer(self.inputs)))

    @property
    def elements(self) -> int:
        return max(kind.count for kind in self.inputs if kind is not None)


def _weights(shape: tuple[int, ...]) -> TensorType:
    return TensorType(shape, DType.INT8, Quant((0.01,) * shape[0], (0,) * shape[0], 0))


def input_gradient(
    side: int, ins: int, outs: int, kernel: int = 1, stride: int = 1, times: int = 1,
    *, depthwise: bool = False,
) -> Layer:  # fmt: skip
    """Of a convolution from ``side`` x ``side`` x ``ins``."""
    pad = kernel // 2
    size = (side + 2 * pad - kernel) // stride + 1
    op = ConvInputGradient(
        side, side, (stride, stride), (1, 1), (pad,) * 4, ins if depthwise else 1, 9,
        limit=32000, reach=REACH if kernel == 1 or depthwise else 1500,
    )  # fmt: skip
    weights = _weights((outs, kernel, kernel, 1 if depthwise else ins))
    rng = np.random.default_rng(1)
    values = rng.integers(-128, 128, weights.shape).astype(np.int8)
    text = f"{ins}" if depthwise else f"{ins}<-{outs}"
    stride_text = f" s{stride}" if stride > 1 else ""
    return Layer(
        f"{'dw' if depthwise else 'conv'}{kernel}x{kernel} {side}x{side} {text}{stride_text}",
        op, (TensorType((1, size, size, outs), DType.INT16), weights), {1: values}, times,
    )  # fmt: skip


def weight_update(side: int, ins: int, outs: int, chosen: int, kernel: int = 1) -> Layer:
    """Of the first ``chosen`` input channels."""
    pad = kernel // 2
    channels = None if chosen == ins else tuple(range(chosen))
    op = ConvWeightUpdate((1, 1), (1, 1), (pad,) * 4, 1, channels, 77, reach=REACH)
    kinds = (
        _weights((outs, kernel, kernel, ins)), TensorType((outs,), DType.INT32),
        TensorType((1, side, side, ins), DType.INT8, Quant((0.05,), (-7,))),
        TensorType((1, side, side, outs), DType.INT16), *SCALARS,
        TensorType((outs,), DType.FLOAT32),
    )  # fmt: skip
    text = f"weights{kernel}x{kernel} {side}x{side} {chosen} of {ins}->{outs}"
    return Layer(text, op, kinds, _steps(4, outs))


def bias_update(side: int, channels: int, times: int = 1) -> Layer:
    kinds = (
        TensorType((channels,), DType.INT32), TensorType((1, side, side, channels), DType.INT16),
        *SCALARS, TensorType((channels,), DType.FLOAT32),
    )  # fmt: skip
    name = f"bias {side}x{side} {channels}"
    return Layer(name, BiasUpdate(5, reach=REACH), kinds, _steps(2, channels), times)


def _steps(first: int, outs: int) -> dict[int, np.ndarray]:
    found = {first + i: np.array([n]) for i, n in enumerate(SCALAR_VALUES)}
    return {**found, first + 3: np.linspace(0.1, 2, outs).astype(np.float32)}


def gate(side: int, channels: int, times: int = 1, *, masked: bool = True) -> Layer:
    g = TensorType((1, side, side, channels), DType.INT16)
    bits = TensorType(bits_shape(g.shape), DType.UINT8) if masked else None
    by = np.linspace(1000, 32000, channels).astype(np.int16)
    name = f"gate {side}x{side} {channels}{'' if masked else ' unmasked'}"
    kinds = (g, bits, TensorType((channels,), DType.INT16))
    return Layer(name, GradientGate(15, REACH), kinds, {2: by}, times)


def mask(side: int, channels: int, times: int = 1) -> Layer:
    kind = TensorType((1, side, side, channels), DType.INT8)
    return Layer(f"mask {side}x{side} {channels}", ClampMask(-128, 127), (kind,), {}, times)


def add(side: int, channels: int, times: int = 1) -> Layer:
    kind = TensorType((1, side, side, channels), DType.INT16)
    op = GradientAdd((16000, 9000), 14, REACH)
    return Layer(f"add {side}x{side} {channels}", op, (kind, kind), {}, times)


def scheme() -> Iterator[Layer]:
    """The 49 KB scheme: biases of the last 20 layers, weights of four."""
    y = TensorType((1, 10), DType.INT8, Quant((0.17,), (0,)))
    yield Layer("softmax loss 10", SoftmaxLoss(), (y, SCALARS[0]), {})
    yield input_gradient(1, 160, 10)
    spread = GradientSpread(4, 4, (4, 4), (2048,) * 16, (4, 4), reach=REACH)
    yield Layer("spread 4x4 160", spread, (TensorType((1, 1, 1, 160), DType.INT16),), {})
    for side, ins, outs, times in (
        (4, 576, 160, 1), (4, 96, 576, 1), (4, 384, 96, 2), (4, 96, 384, 2), (4, 240, 96, 1),
        (8, 48, 240, 1), (8, 192, 48, 1), (8, 48, 192, 1), (8, 144, 48, 1), (8, 48, 144, 1),
        (8, 160, 48, 1),
    ):  # fmt: skip
        yield input_gradient(side, ins, outs, times=times)
    for side, channels, kernel, stride, times in (
        (4, 576, 3, 1, 1), (4, 384, 5, 1, 2), (8, 240, 7, 2, 1), (8, 192, 3, 1, 1),
        (8, 144, 3, 1, 1),
    ):  # fmt: skip
        yield input_gradient(side, channels, channels, kernel, stride, times, depthwise=True)
    for chosen, side, ins, outs in (
        (160, 1, 160, 10), (24, 8, 48, 240), (24, 8, 48, 192), (12, 8, 48, 144)
    ):  # fmt: skip
        yield weight_update(side, ins, outs, chosen)
    for side, channels, times in (
        (4, 576, 2), (4, 384, 4), (4, 240, 1), (8, 240, 1), (8, 192, 2), (8, 144, 2)
    ):  # fmt: skip
        yield bias_update(side, channels, times)
        yield gate(side, channels, times)
        yield mask(side, channels, times)
    for side, channels, times in ((4, 160, 1), (4, 96, 3), (8, 48, 3), (1, 10, 1)):
        yield bias_update(side, channels, times)
        yield gate(side, channels, times, masked=False)
    yield add(4, 96, 2)
    yield add(8, 48, 2)


def others() -> Iterator[Layer]:
    """Other shapes."""
    for side, ins, outs in ((16, 24, 8), (5, 33, 20), (7, 9, 65), (12, 16, 31), (9, 64, 64),
                            (2, 40, 100), (3, 7, 6), (1, 64, 33)):  # fmt: skip
        yield input_gradient(side, ins, outs, times=0)
    for kernel in (3, 5, 7):
        for side, channels in ((16, 12), (7, 33), (11, 8), (24, 4)):
            for stride in (1, 2):
                yield input_gradient(side, channels, channels, kernel, stride, 0, depthwise=True)
    yield input_gradient(8, 16, 16, 3, 1, 0)
    for side, ins, outs, chosen, kernel in (
        (16, 16, 8, 16, 1), (7, 20, 33, 9, 1), (4, 96, 24, 96, 1), (12, 3, 8, 3, 3),
        (6, 16, 16, 8, 3), (5, 12, 10, 12, 5), (3, 64, 32, 64, 1), (10, 8, 31, 8, 1),
        (1, 64, 40, 64, 1), (1, 33, 7, 33, 1), (24, 8, 16, 8, 1), (9, 5, 6, 5, 3),
        (2, 48, 48, 48, 1), (13, 24, 16, 12, 1), (8, 32, 32, 32, 1), (6, 40, 12, 7, 1),
        (11, 16, 4, 16, 3), (4, 10, 10, 10, 3), (20, 4, 12, 4, 1), (5, 100, 20, 100, 1),
    ):  # fmt: skip
        yield weight_update(side, ins, outs, chosen, kernel)
    for side, channels in ((3, 7), (16, 16), (9, 33), (5, 100), (24, 8), (7, 12), (2, 64),
                           (12, 20), (6, 48), (1, 200)):  # fmt: skip
        yield bias_update(side, channels, 0)
        yield gate(side, channels, 0)
        yield gate(side, channels, 0, masked=False)
        yield mask(side, channels, 0)
        yield add(side, channels, 0)


def batches(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Layers for one model each."""
    return [[*layers[at : at + LAYERS]] for at in range(0, len(layers), LAYERS)]


def graph_of(layers: Sequence[Layer]) -> Graph:
    """One model of some layers, each with inputs of its own."""
    rng = np.random.default_rng(2)
    builder = GraphBuilder(MODEL)
    for number, layer in enumerate(layers):
        names = []
        for index, kind in enumerate(layer.inputs):
            name = "" if kind is None else f"x{number}_{index}"
            names.append(name)
            if kind is None:
                continue
            builder.types[name] = kind
            if index in layer.constants:
                builder.constants[name] = layer.constants[index].astype(kind.dtype.numpy)
            elif index in layer.op.mutates:
                values = rng.integers(-100, 100, kind.shape)
                builder.variables[name] = values.astype(kind.dtype.numpy)
            else:
                builder.inputs.append(Port(name, name, kind.shape, tuple(range(kind.rank))))
        for name in builder.add(layer.op, names, name=layer.name):
            kind = builder.types[name]
            builder.outputs.append(Port(name, name, kind.shape, tuple(range(kind.rank))))
    return builder.finish()


def feed_of(graph: Graph) -> bytes:
    """Inputs: masks with whole bytes among them, gradients within ``REACH``, labels 0."""
    rng = np.random.default_rng(3)
    found = []
    for port in graph.inputs:
        kind = graph.type(port.value)
        values: np.ndarray = rng.integers(-128, 128, kind.shape)
        if kind.dtype is DType.UINT8:
            values = rng.choice([0, 255, 255, 255, 0xFB, 0x55], kind.shape)
        elif kind.dtype is DType.INT16:
            values = rng.integers(-REACH, REACH, kind.shape)
        elif kind.dtype is DType.INT32:
            values = np.zeros(kind.shape, np.int64)
        found.append(values.astype(kind.dtype.numpy).tobytes())
    return b"".join(found)


def counted(layers: Sequence[Layer], name: str) -> tuple[Plan, tuple[int, ...]]:
    """The plan of a model of some layers and the instructions of its steps."""
    board = load_board(name)
    graph = graph_of(layers)
    found = plan(graph, board.features)
    facts = facts_of(found, MODEL)
    files = render(facts, found)
    files |= target_files(
        board, MODEL, arena_bytes=found.arena_bytes, weights_bytes=facts.weights_bytes
    )
    with tempfile.TemporaryDirectory(prefix="tinymill-") as folder:
        for path, text in files.items():
            place = Path(folder) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        result = measure(Path(folder), board, feed_of(graph), model=MODEL, profile=True)
    assert result.status == 0 and result.layer_instructions is not None
    return found, tuple(result.layer_instructions)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", default="mps2-an500")
    parser.add_argument("--all", action="store_true", help="other shapes, too")
    parser.add_argument("--family", action="append", help="part of a name; default: all")
    arguments = parser.parse_args()
    layers = [
        layer
        for layer in (*scheme(), *(others() if arguments.all else ()))
        if not arguments.family or any(part in layer.name for part in arguments.family)
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("layer", "kernel", "scratch", "instructions", "/MAC", "/element", "times"):
        table.add_column(column, justify="left" if column in ("layer", "kernel") else "right")
    total = 0
    for batch in batches(layers):
        found, counts = counted(batch, arguments.board)
        steps = dict(zip((step.node.name for step in found.steps), found.steps, strict=True))
        of_name = dict(zip(steps, counts, strict=True))
        for layer in batch:
            step, count = steps[layer.name], of_name[layer.name]
            total += count * layer.times
            table.add_row(
                layer.name, step.kernel.name, f"{step.scratch_bytes:,}", f"{count:,}",
                f"{count / layer.macs:.2f}" if layer.macs else "",
                "" if layer.macs else f"{count / layer.elements:.2f}", str(layer.times),
            )  # fmt: skip
    Console(width=130).print(table)
    print(f"a backward pass of the scheme, updates included: {total:,} instructions")


if __name__ == "__main__":
    main()
