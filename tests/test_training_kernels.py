"""Kernels of updates and losses: C gives the bits of the references, on the host and on all cores.

The other kernels of a training step are in test_kernels.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import numpy as np
import pytest

from conftest import need_tool
from contract import example_graph, run_on_host
from tinymill.boards import load_board
from tinymill.deploy import measure, target_files
from tinymill.emit import facts_of, render
from tinymill.ir import (
    DType,
    Example,
    Graph,
    GraphBuilder,
    Port,
    Quant,
    TensorType,
    Types,
    interpret,
)
from tinymill.ops.conv import out_size
from tinymill.ops.conv_gradient import BiasUpdate, ConvWeightUpdate
from tinymill.ops.losses import MarginLoss, SoftmaxLoss, SquaredLoss
from tinymill.ops.variables import ReadVariable
from tinymill.schedule import plan
from tinymill.schedule.kernels import kernel_table

FEATURES = {"plain": frozenset[str](), "dsp": frozenset({"dsp"})}
BOARDS = (
    "microbit", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547",
    "riscv32-virt",
)  # fmt: skip
RUNS = 4
UPDATES = frozenset({"conv_weight_update", "bias_update"})

Numbers = dict[str, np.ndarray]

SCALARS = (
    TensorType((1,), DType.INT32), TensorType((1,), DType.FLOAT32), TensorType((1,), DType.INT32),
)  # fmt: skip
STEPS = (
    (-14, 0.25), (-11, -0.03125), (0, 0.0), (127, 3e38), (-126, 1e-30), (300, np.nan),
    (-300, np.inf), (-16, 1.7),
)  # fmt: skip
"""Exponents and rates, usual ones and such that overflow."""


def weight_updates() -> Iterator[Example]:
    """Steps of weights: shapes, chosen channels, rounding."""
    cases: tuple[tuple, ...] = (
        # shape of x, outputs, kernel, stride, dilation, pad, groups, channels, zero point
        ((1, 4, 4, 9), 6, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, None, -7),
        ((1, 3, 5, 8), 5, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, (1, 2, 3, 4, 5), 127),
        ((2, 3, 3, 7), 4, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, (0, 3, 4, 5, 6), -128),
        ((1, 1, 1, 12), 3, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, None, 0),
        ((1, 6, 5, 3), 4, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, None, 5),
        ((1, 7, 6, 5), 3, (3, 2), (2, 1), (1, 2), (0, 1, 2, 0), 1, (1, 4), -5),
        ((1, 6, 6, 4), 4, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 4, None, -9),
        # more than is held at once
        ((1, 10, 10, 8), 3, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, None, -3),
        ((1, 5, 5, 4), 6, (5, 3), (2, 2), (1, 1), (2, 1, 2, 1), 2, (1,), 11),
    )
    for number, (shape, outs, kernel, stride, dilation, pad, groups, chosen, zero) in enumerate(
        cases
    ):
        size = (
            out_size(shape[1 + i], kernel[i], stride[i], dilation[i], pad[i::2]) for i in (0, 1)
        )
        kinds = (
            TensorType(
                (outs, *kernel, shape[3] // groups),
                DType.INT8,
                Quant((0.1,) * outs, (0,) * outs, 0),
            ),
            TensorType((outs,), DType.INT32),
            TensorType(shape, DType.INT8, Quant((0.05,), (zero,))),
            TensorType((shape[0], *size, outs), DType.INT16),
            *SCALARS,
            TensorType((outs,), DType.FLOAT32),
        )
        rounding = "nearest" if number % 3 == 1 else "stochastic"
        op = ConvWeightUpdate(
            stride, dilation, pad, groups, chosen, 0xC0FFEE00 * number & 0xFFFFFFFF, rounding
        )
        yield Example(op, Types(kinds, op.infer(kinds)), {7: coefficients(outs, 2.0**-4)})


def coefficients(count: int, scale: float) -> np.ndarray:
    values = np.random.default_rng(count).uniform(0.1, 4, count) * scale
    return values.astype(np.float32)


def bias_updates() -> Iterator[Example]:
    for number, shape in enumerate(((1, 3, 4, 19), (2, 2, 2, 8), (1, 7), (1, 5, 5, 16))):
        kinds = (
            TensorType((shape[-1],), DType.INT32), TensorType(shape, DType.INT16), *SCALARS,
            TensorType((shape[-1],), DType.FLOAT32),
        )  # fmt: skip
        op = BiasUpdate(0x9ABCDEF0 + number, ("stochastic", "nearest")[number % 2])
        yield Example(op, Types(kinds, op.infer(kinds)), {5: coefficients(shape[-1], 16.0)})


def losses() -> Iterator[Example]:
    for count, scale in ((2, 0.3), (10, 0.17), (10, 0.004), (31, 2.0)):
        y = TensorType((1, count), DType.INT8, Quant((float(np.float32(scale)),), (3,)))
        for op, target in (
            (SoftmaxLoss(), SCALARS[0]), (MarginLoss(), SCALARS[0]), (SquaredLoss(), y)
        ):  # fmt: skip
            yield Example(op, Types((y, target), op.infer((y, target))))


def examples() -> list[Example]:
    return [*weight_updates(), *bias_updates(), *losses()]


def numbers(kind: TensorType, place: str, example: Example, run: int, seed: int) -> np.ndarray:
    """The value of an input: ``place`` is "x" and its index."""
    rng = np.random.default_rng([seed, run, int(place[1:])])
    index = int(place[1:]) - (4 if isinstance(example.op, ConvWeightUpdate) else 2)
    if isinstance(example.op, ConvWeightUpdate | BiasUpdate) and 0 <= index < 3:
        exponent, rate = STEPS[(run + seed) % len(STEPS)]
        given = (exponent, rate, int(rng.integers(-(1 << 31), 1 << 31)))[index]
        return np.array([given], kind.dtype.numpy)
    if kind.dtype is DType.INT32:
        return rng.integers(0, example.types.input(0).count, 1).astype(np.int32)
    low, high = kind.dtype.limits
    if run == 2:
        return np.full(kind.shape, high, kind.dtype.numpy)
    if run == 3 and kind.dtype is DType.INT16:
        return rng.integers(-3, 4, kind.shape).astype(np.int16)
    return rng.integers(low, high, kind.shape, endpoint=True).astype(kind.dtype.numpy)


def started(graph: Graph, seed: int) -> Graph:
    """The graph with its variables at random values."""
    rng = np.random.default_rng([seed, 99])
    variables = {}
    for name, value in graph.variables.items():
        low, high = (-128, 127) if value.dtype == np.int8 else (-(1 << 31), (1 << 31) - 1)
        found = rng.integers(low, high, value.shape, endpoint=True)
        if value.dtype == np.int32:
            found = np.where(rng.random(value.shape) < 0.7, found >> 18, found)
        variables[name] = found.astype(value.dtype)
    return graph.replace(variables=variables)


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("features", FEATURES)
def test_host(features: str, tmp_path: Path) -> None:
    """Four steps in a row, with sanitizers."""
    need_tool("gcc")
    cases = examples()
    graphs = [started(example_graph(e, f"case{i}"), i) for i, e in enumerate(cases)]
    inputs = [
        [
            {p.value: numbers(g.type(p.value), p.value, e, run, i) for p in g.inputs}
            for run in range(RUNS)
        ]
        for i, (g, e) in enumerate(zip(graphs, cases, strict=True))
    ]
    found = run_on_host(graphs, inputs, tmp_path, features=FEATURES[features])
    for example, graph, runs, outputs in zip(cases, graphs, inputs, found, strict=True):
        state: Numbers = {}
        for run, (values, results) in enumerate(zip(runs, outputs, strict=True)):
            truth = interpret(graph, values, state)
            for port, got in zip(graph.outputs, results, strict=True):
                assert bits(got) == bits(truth[port.value]), (example.op, port.value, run)


def test_every_kernel_of_an_update_is_served() -> None:
    waiting = {kernel.name for kernel in kernel_table() if kernel.family in UPDATES}
    for features in FEATURES.values():
        for example in (*weight_updates(), *bias_updates()):
            steps = plan(example_graph(example, "case"), features).steps
            waiting -= {step.kernel.name for step in steps}
    assert not waiting


def together(cases: Sequence[Example]) -> tuple[Graph, Numbers]:
    """All cases as one model, and its inputs."""
    builder = GraphBuilder("steps")
    values: Numbers = {}
    for number, example in enumerate(cases):
        names = []
        for index, kind in enumerate(example.types.inputs):
            assert kind is not None
            name = f"n{number}_{index}"
            names.append(name)
            builder.types[name] = kind
            if index in example.constants:
                builder.constants[name] = example.constants[index]
            elif index in example.op.mutates:
                builder.variables[name] = np.zeros(kind.shape, kind.dtype.numpy)
            else:
                builder.inputs.append(Port(name, name, kind.shape, tuple(range(kind.rank))))
                values[name] = numbers(kind, f"x{index}", example, 0, number)
        outputs = builder.add(example.op, names, name=f"{number}", quants=None)
        for index in example.op.mutates:
            outputs += builder.add(ReadVariable(), [names[index]], name=f"state {number}")
        for name in outputs:
            kind = builder.types[name]
            builder.outputs.append(Port(name, name, kind.shape, tuple(range(kind.rank))))
    return started(builder.finish(), 5), values


@pytest.mark.parametrize("board", BOARDS)
def test_target(board: str, tmp_path: Path) -> None:
    """One step of each case, on a simulated core."""
    place = load_board(board)
    assert place.simulator is not None
    need_tool(f"{place.compiler.family}-gcc", place.simulator.program)
    graph, values = together(examples())
    found = plan(graph, place.features)
    assert sum(map(len, map(bits, values.values()))) < 10_000
    facts = facts_of(found, "steps")
    files = render(facts, found)
    files |= target_files(
        place, "steps", arena_bytes=found.arena_bytes, weights_bytes=facts.weights_bytes
    )
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    feed = b"".join(bits(values[port.value]) for port in graph.inputs)
    result = measure(tmp_path, place, feed, model="steps", profile=False)
    assert result.status == 0
    truth = interpret(graph, values)
    start = 0
    for port in graph.outputs:
        size = prod(port.shape) * graph.type(port.value).dtype.size
        assert result.outputs[start : start + size] == bits(truth[port.value]), port.value
        start += size
    assert start == len(result.outputs)
