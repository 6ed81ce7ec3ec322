"""Layers whose weights and biases are variables: every kernel that serves them, and models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import need_tool
from kernel_cases import FAMILIES, Case, varied
from kernel_harness import FORMS, Batch, Target, run_on_board, run_on_host
from test_kernels import DRAWS, TARGETS, draw_cases
from tinymill.api.compiling import compile_graph
from tinymill.api.lowering import lowered
from tinymill.api.options import CompileOptions, Measuring
from tinymill.api.running import run_project
from tinymill.boards import load_board
from tinymill.deploy.toolchain import missing
from tinymill.frontends import read_model
from tinymill.ir import DType, FixedPoint, Graph, GraphBuilder, TensorType, interpret
from tinymill.ops.conv import Conv2D, bias_limits, fold_offset, most_sum, zero_of
from tinymill.ops.dense import FullyConnected
from tinymill.samples import End, pattern

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

LAYERS = ("conv2d", "pointwise", "grouped", "depthwise", "multiplier", "dense")
WHICH = ((2,), (1, 2), (1,))
ON_HOST = ("plain", "smlal", "thumb1", "dsp", "dsp-size", "mve")


def cases_for(target: Target, earlier: list[Target], each: int = 2) -> list[Case]:
    """Some cases for each row of the kernel table that serves variables on a target and on none
    of ``earlier``."""
    found: dict[tuple[int, tuple[int, ...]], list[Case]] = {}
    for family in LAYERS:
        assert family in FAMILIES
        for case in draw_cases(family, DRAWS[0]):
            for which in WHICH:
                other = varied(case, which)
                if other is None:
                    continue
                kernel = target.kernel_of(other)
                if any(one.kernel_of(other) is kernel for one in earlier):
                    continue
                found.setdefault((id(kernel), which), []).append(other)
    return [case for cases in found.values() for case in cases[:each]]


@pytest.mark.parametrize("target", ON_HOST)
def test_host(target: str, tmp_path: Path) -> None:
    """With sanitizers, between poisoned guards, whole and in parts."""
    need_tool("gcc")
    earlier = [TARGETS[name] for name in ON_HOST[: ON_HOST.index(target)]]
    batch = Batch(TARGETS[target], guard=256, shift=4, runs=2)
    for number, case in enumerate(cases_for(TARGETS[target], earlier)):
        batch.add(case, (FORMS[number % len(FORMS)],))
    if batch.variants:
        run_on_host(batch, tmp_path)
    assert not batch.problems()


@pytest.mark.parametrize("name", ["mps2-an386", "mps3-an547"])
def test_board(name: str, tmp_path: Path) -> None:
    """The kernels in the cores' own instructions."""
    board = load_board(name)
    need_tool(*missing(board))
    target = Target(frozenset(board.features))
    batch = Batch(target, guard=64, shift=4, runs=1)
    for case in cases_for(target, [TARGETS["plain"]]):
        batch.add(case, ("parts",), arena=60_000)
    if batch.variants:
        run_on_board(batch, board, tmp_path)
    assert not batch.problems()


def with_variables(graph: Graph, weights: bool) -> Graph:
    """The graph with all biases, or biases and weights, of its int8 layers as variables."""
    builder = GraphBuilder.of(graph)
    for node in graph.nodes:
        op = node.op
        if not isinstance(op, Conv2D | FullyConnected) or op.rescale is None:
            builder.nodes.append(node)
            continue
        x, held = node.inputs[0], node.inputs[1]
        bias = graph.constants[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
        kind, numbers = graph.type(held), graph.constants[held]
        folded = fold_offset(numbers, zero_of(kind), graph.type(x).zero_point, bias)
        name = builder.fresh("bias")
        builder.types[name] = TensorType(folded.shape, DType.INT32)
        builder.variables[name] = folded
        if weights and held in builder.constants:
            builder.variables[held] = builder.constants.pop(held)
        builder.nodes.append(replace(node, op=replace(op, folded=True), inputs=(x, held, name)))
    return builder.finish()


@pytest.mark.parametrize(
    ("name", "target", "weights"),
    [
        ("mlperf_tiny/kws_ref_model.tflite", "host", True),
        ("mlperf_tiny/kws_ref_model.tflite", "mps2-an386", False),
        ("mlperf_tiny/kws_ref_model.tflite", "mps2-an500", True),
        ("mlperf_tiny/kws_ref_model.tflite", "mps3-an547", False),
        ("tflm/micro_speech_quantized.tflite", "riscv32-virt", True),
    ],
)
def test_models_give_the_same(
    name: str, target: str, weights: bool, shared: Path, tmp_path: Path
) -> None:
    """All biases, or all biases and weights, as variables: the bytes are those of constants."""
    board = load_board(target)
    need_tool(*missing(board))
    path = shared / "models" / name
    graph = lowered(read_model(path), "quantized", "exact", None)
    varying = with_variables(graph, weights)
    compiled = compile_graph(varying, path, board, CompileOptions(plan="min-ram"))
    compiled.write(tmp_path / "project")
    found = run_project(
        tmp_path / "project", compiled.description, board, ["pattern"], Measuring(),
        layers=False, cycles=False,
    )  # fmt: skip
    ends = [End.of(entry) for entry in compiled.description["inputs"]]
    inputs = {
        port.value: port.from_source(pattern(end), graph.type(port.value).shape)
        for port, end in zip(graph.inputs, ends, strict=True)
    }
    values = interpret(graph, inputs)
    again = interpret(varying, inputs, {})
    for port, output in zip(graph.outputs, found.outputs, strict=True):
        assert np.array_equal(port.to_source(values[port.value]), output)
        assert np.array_equal(values[port.value], again[port.value])


def test_a_bias_counts_for_what_matters() -> None:
    """Beyond its limit all sums of any weights are clamped at one end."""
    weights = TensorType((2, 3, 3, 8), DType.INT8)
    for shift, least in ((-7, 9 * 8 * 16384), (-29, 1 << 30)):
        limits = bias_limits(weights, FixedPoint((1 << 30, (1 << 31) - 1), (shift, shift)))
        assert (limits >= least).all() and (limits <= 1 << 30).all()
        factor = np.array([0.5, 1.0]) * 2.0**shift
        passed = (limits - most_sum(weights)) * factor
        assert ((passed >= 256 + 128) | (limits == 1 << 30)).all()
