"""Depthwise convolutions whose rows lie in their input's ring: in the plan, rehearsed, as C."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_streaming import Program, outputs_as_c

from conftest import need_tool
from tinymill.ir import DType, Graph, GraphBuilder, Port, Quant, TensorType, interpret
from tinymill.ops.arithmetic import fixed_point
from tinymill.ops.conv import Conv2D
from tinymill.schedule import Choice, Plan, Planner
from tinymill.schedule.rehearsal import BrokenPlan, rehearse

QUANT = Quant((0.05,), (3,))


def block(
    stride: int, pad: int, kernel: int, *, channels: int = 8, height: int = 13, twice: bool = False,
    early: bool = False,
) -> Graph:  # fmt: skip
    """1x1, depthwise, 1x1; with ``twice`` another reads the first one's map, too; ``early``: a 3x3
    comes first."""
    rng = np.random.default_rng(0)
    builder = GraphBuilder("block")
    shape = (1, height, 9, 4)
    builder.types["x"] = TensorType(shape, DType.INT8, QUANT)
    builder.inputs.append(Port("x", "x", shape, (0, 1, 2, 3)))

    def conv(source: str, name: str, outs: int, group: int, window: int, step: int) -> str:
        depth = builder.types[source].shape[3]
        ins = 1 if group > 1 else depth
        weights = rng.integers(-127, 128, (outs, window, window, ins)).astype(np.int8)
        wide = Quant((0.01,) * outs, (0,) * outs, 0)
        around = (
            (min(pad, window - 1), window // 2, min(pad, window - 1), window // 2)
            if window > 1
            else (0, 0, 0, 0)
        )
        scale = fixed_point([0.5 / 74 / (window * window * ins) ** 0.5] * outs)
        op = Conv2D((step, step), (1, 1), around, group, None, scale)
        constant = builder.constant(weights, stem="w", quant=wide)
        (value,) = builder.add(
            op, [source, constant, ""], name=name, outputs=[name], quants=[QUANT]
        )
        return value

    first = conv("x", "first", 4, 1, 3, 1) if early else "x"
    wide = conv(first, "wide", channels, 1, 1, 1)
    deep = conv(wide, "deep", channels, channels, kernel, stride)
    last = conv(deep, "last", 4, 1, 1, 1)
    outputs = [last, conv(wide, "again", channels, channels, 3, 1)] if twice else [last]
    for value in outputs:
        kind = builder.types[value]
        builder.outputs.append(Port(value, value, kind.shape, (0, 1, 2, 3)))
    return builder.finish()


def planned(graph: Graph, lazy: int = 0, *, fed: bool = False, stream_input: bool = False) -> Plan:
    planner = Planner(graph, ("dsp",), stream_input=stream_input)
    return planner.realise([Choice(len(planner.workshop.nodes), 1, lazy, fed=fed)])


CASES = [(1, 1, 3), (2, 0, 3), (2, 1, 3), (1, 2, 5), (2, 2, 5), (1, 0, 1)]


@pytest.mark.parametrize("lazy", [0, 1, 2])
@pytest.mark.parametrize(("stride", "pad", "kernel"), CASES)
def test_a_depthwise_row_needs_no_place_of_its_own(
    stride: int, pad: int, kernel: int, lazy: int
) -> None:
    found = planned(block(stride, pad, kernel), lazy)
    assert set(found.guests) == {"deep"}
    ring = found.buffer_of("wide")
    assert ring is found.buffer_of("deep") and ring is not None and ring.rows == kernel
    rehearse(found)


FED = [(2, 0, 3), (2, 1, 3), (2, 2, 5)]


@pytest.mark.parametrize("lazy", [0, 1])
@pytest.mark.parametrize("case", FED)
def test_a_row_that_is_fed_takes_no_place(case: tuple[int, int, int], lazy: int) -> None:
    graph = block(*case, early=True)
    whole, found = planned(graph, lazy), planned(graph, lazy, fed=True)
    ring, other = found.buffer_of("wide"), whole.buffer_of("wide")
    assert ring is not None and other is not None and other.rows == case[2]
    assert ring.rows == case[2] - 1
    assert found.macs == whole.macs
    rehearse(found)


def test_a_row_fed_over_another_that_is_needed_is_seen() -> None:
    """A ring of a row less: the fed one lies over the second of the window, not the first."""
    found = planned(block(2, 2, 5, early=True), fed=True)
    buffers = tuple(
        replace(b, rows=b.rows - 1) if "wide" in b.values and b.rows else b for b in found.buffers
    )
    with pytest.raises(BrokenPlan, match=r"'wide'"):
        rehearse(replace(found, buffers=buffers))


def test_a_feed_without_scratch_is_seen() -> None:
    found = planned(block(2, 1, 3, early=True), fed=True)
    segments = tuple(
        replace(s, steps=tuple(replace(step, fed_scratch=None) for step in s.steps))
        for s in found.segments
    )
    with pytest.raises(BrokenPlan, match="can't be fed"):
        rehearse(replace(found, segments=segments))


def test_as_c(tmp_path: Path) -> None:
    """Channels that fill the last four only in part, and an input that comes row by row."""
    need_tool("gcc")
    programs = []
    cases = [(*case, False) for case in CASES] + [(*case, True) for case in FED]
    for number, (*case, fed) in enumerate(cases):
        graph = block(*case, channels=8 if number % 2 else 6, early=fed)
        plan = planned(graph, fed=fed, stream_input=number % 3 > 0)
        assert plan.guests and fed == any(t.fed for s in plan.segments for t in s.turns)
        programs.append(Program(f"g{number}", plan, number))
    for program, frames in outputs_as_c(programs, tmp_path):
        for inputs, outputs in zip(program.frames(), frames, strict=True):
            truth = interpret(program.plan.graph, inputs)
            for value, array in outputs.items():
                np.testing.assert_array_equal(array, truth[value], err_msg=program.name)


def test_a_row_that_others_still_read_is_not_overwritten() -> None:
    """The ring has a place more, for another depthwise convolution comes later."""
    found = planned(block(1, 1, 3, twice=True))
    rehearse(found)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_guest_in_the_wrong_place_is_seen(stride: int) -> None:
    found = planned(block(stride, 1, 3))
    guest = found.guests["deep"]
    for by in (1, 2):
        moved = replace(guest, shift=(guest.shift + by) % guest.rows)
        try:
            rehearse(replace(found, guests={"deep": moved}))
        except BrokenPlan as error:
            assert "'wide'" in str(error)
            break
    else:
        pytest.fail("no other place is wrong")


def test_a_kernel_that_mixes_channels_must_not_have_guests() -> None:
    """The rehearsal goes by what the kernel promises, not by what the planner made of it."""
    found = planned(block(1, 1, 3))
    segments = tuple(
        replace(s, steps=tuple(replace(step, by_channel=False) for step in s.steps))
        for s in found.segments
    )
    with pytest.raises(BrokenPlan, match=r"over row .* of 'wide'"):
        rehearse(replace(found, segments=segments))


def test_other_kernels_have_none() -> None:
    planner = Planner(block(1, 1, 3))
    assert not planner.realise([Choice(3, 1)]).guests
