"""Planning: buffers never overlap without leave, the peak is the least, rows are read in time."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tinymill
from conftest import ROOT
from tinymill.ir import DType, FloatScale, GraphBuilder, Op, Port, Quant, TensorType
from tinymill.ops.conv import Conv2D
from tinymill.ops.pool import MaxPool
from tinymill.schedule import plan
from tinymill.schedule.lifetimes import ALIGN
from tinymill.schedule.placement import check, lower_bound, place, place_in_two
from tinymill.schedule.plan import Buffer, Overlay, Placement, Plan

PATIENT = settings(deadline=None, max_examples=100)

# -- placement ----------------------------------------------------------------------------

Problem = tuple[list[Buffer], list[Overlay]]


@st.composite
def problems(draw: st.DrawFn, most: int, largest: int) -> Problem:
    """Buffers of random size and lifetime; some pairs may overlay where one dies as the
    other is born."""
    buffers = []
    for index in range(draw(st.integers(1, most))):
        first = draw(st.integers(-1, 6))
        last = draw(st.integers(first, 7))
        size = draw(st.integers(1, largest))
        align = draw(st.sampled_from([4, 4, 4, 8]))
        buffers.append(Buffer(f"b{index}", (f"v{index}",), size, first, last, align))
    overlays = []
    for source, output in itertools.permutations(buffers, 2):
        if source.last == output.first and source.first < source.last and draw(st.booleans()):
            lag = draw(st.integers(0, (source.size + output.size) // ALIGN)) * ALIGN
            overlays.append(Overlay(source.name, output.name, lag))
    return buffers, overlays


def apart(problem: Problem, offsets: dict[str, int], a: Buffer, b: Buffer) -> bool:
    """Whether two buffers do each other no harm: said again, without the code under test."""
    if a.last < b.first or b.last < a.first:
        return True
    at, bt = offsets[a.name], offsets[b.name]
    if at + a.size <= bt or bt + b.size <= at:
        return True
    lags = {(pair.source, pair.output): pair.lag for pair in problem[1]}
    ab, ba = lags.get((a.name, b.name)), lags.get((b.name, a.name))
    return (ab is not None and at >= bt + ab) or (ba is not None and bt >= at + ba)


def fits(problem: Problem, height: int) -> bool:
    """Whether the buffers can be placed in ``height`` bytes: tries every aligned offset."""
    buffers = problem[0]
    offsets: dict[str, int] = {}

    def descend(index: int) -> bool:
        if index == len(buffers):
            return True
        mine = buffers[index]
        for offset in range(0, height - mine.size + 1, mine.align):
            offsets[mine.name] = offset
            if all(apart(problem, offsets, mine, other) for other in buffers[:index]) and descend(
                index + 1
            ):
                return True
        return False

    return descend(0)


@PATIENT
@given(problems(most=12, largest=5000))
def test_placed_buffers_are_apart(problem: Problem) -> None:
    buffers, overlays = problem
    found = place(buffers, overlays)
    check(buffers, overlays, found)
    for a, b in itertools.combinations(buffers, 2):
        assert apart(problem, dict(found.offsets), a, b)
    for buffer in buffers:
        assert found.offsets[buffer.name] % buffer.align == 0
        assert 0 <= found.offsets[buffer.name] <= found.peak - buffer.size
    assert found.peak == max(found.offsets[b.name] + b.size for b in buffers)
    assert lower_bound(buffers, overlays) <= found.peak
    assert found.bound <= found.peak
    assert place(buffers, overlays) == found, "the same problem has one answer"


@PATIENT
@given(problems(most=5, largest=20))
def test_few_buffers_are_placed_as_low_as_can_be(problem: Problem) -> None:
    buffers, overlays = problem
    found = place(buffers, overlays)
    assert not fits(problem, found.peak - 1)
    assert not fits(problem, lower_bound(buffers, overlays) - 1)


@PATIENT
@given(problems(most=6, largest=40), st.data())
def test_check_finds_what_overlaps(problem: Problem, data: st.DataObject) -> None:
    buffers, overlays = problem
    offsets = {b.name: data.draw(st.integers(0, 10)) * b.align for b in buffers}
    peak = max(offsets[b.name] + b.size for b in buffers)
    right = all(apart(problem, offsets, a, b) for a, b in itertools.combinations(buffers, 2))
    if right:
        check(buffers, overlays, Placement(offsets, peak, 0))
    else:
        with pytest.raises(AssertionError):
            check(buffers, overlays, Placement(offsets, peak, 0))


@settings(deadline=None, max_examples=40)
@given(problems(most=8, largest=100), st.integers(0, 300), st.none() | st.integers(0, 300))
def test_two_memories_hold_what_one_does(problem: Problem, fast: int, slow: int | None) -> None:
    """Buffers are apart, and none lies in both memories."""
    buffers, overlays = problem
    heat = {buffer.name: float(buffer.size % 7) for buffer in buffers}
    found, boundary = place_in_two(buffers, overlays, fast, slow, heat)
    check(buffers, overlays, found)
    for a, b in itertools.combinations(buffers, 2):
        assert apart(problem, dict(found.offsets), a, b)
    for buffer in buffers:
        start, end = found.offsets[buffer.name], found.offsets[buffer.name] + buffer.size
        assert end <= fast or start >= boundary
        assert start % buffer.align == 0
        assert end <= found.peak


# -- overlays -----------------------------------------------------------------------------


def plan_of(op: Op, shape: tuple[int, ...], weights: tuple[int, ...] | None) -> Plan:
    """The plan of one layer on an int8 map."""
    quant = Quant((0.1,), (0,))
    builder = GraphBuilder("layer")
    builder.types["x"] = TensorType(shape, DType.INT8, quant)
    builder.inputs.append(Port("x", "x", shape, (0, 1, 2, 3)))
    inputs = ["x"]
    if weights is not None:
        inputs.append(builder.constant(np.ones(weights, np.int8), stem="w", quant=quant))
        inputs.append(builder.constant(np.zeros(weights[0], np.int32), stem="b"))
    (value,) = builder.add(op, inputs, name="layer", outputs=["y"], quants=[quant])
    builder.outputs.append(Port(value, "y", builder.types[value].shape, (0, 1, 2, 3)))
    return plan(builder.finish())


def unread_rows_survive(
    op: Conv2D | MaxPool, kernel: int, shape: Sequence[int], out: Sequence[int], lag: int
) -> bool:
    """Computes row by row, byte by byte: is every input row whole when it is read?

    A row's output may be written before its input is read: a kernel works pixel by pixel.
    """
    in_row, out_row = shape[2] * shape[3], out[2] * out[3]
    memory = np.zeros(max(lag + shape[1] * in_row, out[1] * out_row), np.int8)
    held = memory[lag : lag + shape[1] * in_row]
    held[:] = 1
    dilation = op.dilation[0] if isinstance(op, Conv2D) else 1
    for y in range(out[1]):
        memory[y * out_row : (y + 1) * out_row] = 0
        for tap in range(kernel):
            row = y * op.stride[0] - op.pad[0] + tap * dilation
            if 0 <= row < shape[1] and not held[row * in_row : (row + 1) * in_row].all():
                return False
    return True


Layer = tuple[Conv2D | MaxPool, int, tuple[int, ...], tuple[int, ...] | None]


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """A convolution or pooling of random geometry: op, rows of its window, input, weights."""
    kernel = draw(st.integers(1, 5))
    pad = (draw(st.integers(0, kernel - 1)), 0, draw(st.integers(0, kernel - 1)), 0)
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 2)))
    shape = (1, draw(st.integers(1, 14)), draw(st.integers(1, 6)), draw(st.integers(1, 5)))
    if draw(st.booleans()):
        assume(shape[1] + pad[0] + pad[2] >= kernel)
        return MaxPool((kernel, 1), stride, pad), kernel, shape, None
    dilation = draw(st.integers(1, 2))
    assume(shape[1] + pad[0] + pad[2] > (kernel - 1) * dilation)
    groups = shape[3] if draw(st.booleans()) else 1
    outs = groups * draw(st.integers(1, 3))
    weights = (outs, kernel, 1, shape[3] // groups)
    from_float = FloatScale((0.01,) * outs)
    return Conv2D(stride, (dilation, 1), pad, groups, None, from_float), kernel, shape, weights


@PATIENT
@given(layers())
def test_an_overlay_never_destroys_an_unread_row(layer: Layer) -> None:
    op, kernel, shape, weights = layer
    found = plan_of(op, shape, weights)
    out = found.graph.type("y").shape
    sizes = {buffer.name: buffer.size for buffer in found.buffers}
    for pair in found.overlays:
        assert (pair.source, pair.output) == ("x", "y")
        assert 0 <= pair.lag < sizes["x"] + sizes["y"]
        assert unread_rows_survive(op, kernel, shape, out, pair.lag)
        dilated = isinstance(op, Conv2D) and op.dilation[0] > 1
        if pair.lag > 0 and not dilated:
            # with gaps between its taps a window may skip the row that the rule keeps
            assert not unread_rows_survive(op, kernel, shape, out, pair.lag - ALIGN)
    offsets = found.placement.offsets
    if offsets["y"] < offsets["x"] + sizes["x"] and offsets["x"] < offsets["y"] + sizes["y"]:
        assert unread_rows_survive(op, kernel, shape, out, offsets["x"] - offsets["y"])


def test_overlays_are_found_where_they_pay() -> None:
    """A depthwise 3x3 and a 2x2 pooling work in place but for a row or two of the output."""
    depthwise = Conv2D((1, 1), (1, 1), (1, 1, 1, 1), 8, None, FloatScale((0.01,) * 8))
    found = plan_of(depthwise, (1, 24, 24, 8), (8, 3, 3, 1))
    assert found.arena_bytes == 24 * 24 * 8 + 2 * 24 * 8 == found.placement.bound
    pool = plan_of(MaxPool((2, 2), (2, 2)), (1, 24, 24, 8), None)
    assert pool.arena_bytes == 24 * 24 * 8 + 12 * 8 == pool.placement.bound


# -- the same input gives the same output ---------------------------------------------------

FINGERPRINT = """
import hashlib, json, sys, tinymill
files = tinymill.compile(sys.argv[1], target=sys.argv[2]).files
print(json.dumps({name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}))
"""

COMPILED = [
    ("mlperf_tiny/kws_ref_model.tflite", "mps2-an386"),
    ("imagenet/mbv2-w0.35_int8_qdq.onnx", "host"),
    ("tinyengine/vww.tflite", "riscv32-virt"),
]


def fingerprint(model: Path, target: str, folder: Path, seed: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", FINGERPRINT, model.name, target],
        cwd=folder, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize(("model", "target"), COMPILED)
def test_the_same_model_gives_the_same_files(
    shared: Path, tmp_path: Path, model: str, target: str
) -> None:
    source = shared / "models" / model
    found = []
    for seed in ("1", "2"):
        folder = tmp_path / f"place {seed}"
        folder.mkdir()
        (folder / source.name).write_bytes(source.read_bytes())
        found.append(fingerprint(source, target, folder, seed))
    assert found[0] == found[1]
    files = tinymill.compile(source, target=target).files
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    assert hashes == found[0]


@pytest.mark.parametrize(("model", "target"), COMPILED)
def test_no_path_and_no_date_is_written(shared: Path, model: str, target: str) -> None:
    source = shared / "models" / model
    dates = re.compile(r"\b(19|20)\d\d-\d\d-\d\d\b|__DATE__|__TIME__|__FILE__")
    for name, text in tinymill.compile(source, target=target).files.items():
        assert not name.startswith("/") and ".." not in Path(name).parts
        for folder in (ROOT, shared, Path.home(), Path(sys.prefix)):
            assert f"{folder}/" not in text, f"{name} names {folder}"
        assert not dates.search(text), name
        text.encode("ascii")
