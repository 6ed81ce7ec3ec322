"""Plans whose layers take turns: executed in Python on a tagged arena, and as C; their figures."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

from conftest import need_tool
from contract import SANITIZE, WARNINGS
from tinymill.emit import emit
from tinymill.errors import UnsupportedOp
from tinymill.ir import (
    DType,
    FloatScale,
    Graph,
    GraphBuilder,
    Port,
    Quant,
    Rescale,
    TensorType,
    interpret,
    verify,
)
from tinymill.ops.arithmetic import fixed_multiplier, fixed_point
from tinymill.ops.binary import AddFixed, Binary
from tinymill.ops.concat import Concat
from tinymill.ops.conv import Conv2D
from tinymill.ops.lookup import Table
from tinymill.ops.pad import Pad
from tinymill.ops.pool import AveragePool, MaxPool
from tinymill.ops.reduce import Reduce
from tinymill.ops.resize import (
    ResizeBilinear,
    ResizeNearest,
    tflite_fixed_taps,
    tflite_nearest,
)
from tinymill.schedule import Choice, Plan, Planner, plan
from tinymill.schedule.rehearsal import BrokenPlan, rehearse

DSP = ("dsp",)
MANY = settings(
    deadline=None, max_examples=120,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
FEW = settings(MANY, max_examples=30)
ROWS = (1, 2, 3, 4, 7)
SCALE = 0.05

Draw = Callable[[st.SearchStrategy], Any]
Inputs = dict[str, np.ndarray]

# -- random graphs ----------------------------------------------------------------------------


class Maker:
    """Adds layers of random geometry to a graph; the last map is where the next one goes on."""

    def __init__(self, draw: Draw, shape: tuple[int, ...]) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
        self.builder = GraphBuilder("random")
        self.builder.types["x"] = self.kind(shape)
        self.builder.inputs.append(Port("x", "x", shape, (0, 1, 2, 3)))
        self.maps = ["x"]

    def kind(self, shape: tuple[int, ...]) -> TensorType:
        return TensorType(shape, DType.INT8, self.quant())

    def quant(self) -> Quant:
        return Quant((SCALE,), (int(self.rng.integers(-20, 20)),))

    def shape(self, value: str) -> tuple[int, ...]:
        return self.builder.types[value].shape

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def add(self, op: Any, inputs: Sequence[str], quant: Quant | None = None) -> str:
        name = f"{op.name.lower()}{len(self.builder.nodes)}"
        (value,) = self.builder.add(op, inputs, name=name, quants=[quant or self.quant()])
        return value

    def pads(self, span: int, size: int) -> tuple[int, int]:
        """Before and after, such that the window fits."""
        before, after = self.number(0, span - 1), self.number(0, span - 1)
        assume(size + before + after >= span)
        return before, after

    def scales(self, count: int, terms: int) -> Rescale:
        """Factors with which outputs are spread."""
        factors = [
            float(np.float32(0.5 / 74 / max(terms, 1) ** 0.5 * 1.1**i)) for i in range(count)
        ]
        return fixed_point(factors) if self.draw(st.booleans()) else FloatScale(tuple(factors))

    def convolution(self, x: str, outs: int, groups: int, window: bool = True) -> str:
        _, height, width, channels = self.shape(x)
        kernel = [self.number(1, 5), self.number(1, 3)] if window else [1, 1]
        stride = [self.number(1, 3), self.number(1, 2)] if window else [1, 1]
        dilation = self.number(1, 2) if self.number(0, 3) == 0 else 1
        top, bottom = self.pads((kernel[0] - 1) * dilation + 1, height)
        left, right = self.pads(kernel[1], width)
        shape = (outs, *kernel, channels // groups)
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        quant = Quant((0.01,) * outs, (0,) * outs, 0)
        constants = [
            self.builder.constant(weights, stem="w", quant=quant),
            self.builder.constant(self.rng.integers(-900, 900, outs).astype(np.int32), stem="b"),
        ]
        op = Conv2D(
            (stride[0], stride[1]), (dilation, 1), (top, left, bottom, right), groups, None,
            self.scales(outs, int(np.prod(shape[1:]))),
        )  # fmt: skip
        return self.add(op, [x, *constants])

    def conv(self, x: str) -> str:
        return self.convolution(x, self.number(1, 8), 1)

    def pointwise(self, x: str) -> str:
        return self.convolution(x, self.number(1, 12), 1, window=False)

    def depthwise(self, x: str) -> str:
        channels = self.shape(x)[3]
        return self.convolution(x, channels, channels)

    def pool(self, x: str) -> str:
        _, height, width, _ = self.shape(x)
        window = self.number(1, 4), self.number(1, 3)
        stride = self.number(1, 3), self.number(1, 2)
        top, bottom = self.pads(window[0], height)
        left, right = self.pads(window[1], width)
        pad = (top, left, bottom, right)
        op = MaxPool if self.draw(st.booleans()) else AveragePool
        return self.add(op(window, stride, pad), [x], self.builder.types[x].quant)

    def resize(self, x: str) -> str:
        _, height, width, _ = self.shape(x)
        size = self.number(1, min(20, 3 * height)), self.number(1, min(9, 3 * width))
        how = self.draw(st.sampled_from(((False, False), (True, False), (False, True))))
        taps, op = tflite_fixed_taps, ResizeBilinear
        if self.draw(st.booleans()):
            taps, op = tflite_nearest, ResizeNearest
        ends = (taps(a, b, *how) for a, b in zip((height, width), size, strict=True))
        return self.add(op(*ends), [x], self.builder.types[x].quant)

    def lookup(self, x: str) -> str:
        return self.add(Table(tuple(self.rng.permutation(np.arange(-128, 128)).tolist())), [x])

    def widen(self, x: str) -> str:
        """Columns and channels more."""
        pads = [(0, 0, self.number(0, 2), self.number(0, 2)) for _ in range(2)]
        quant = self.builder.types[x].quant
        return self.add(Pad(pads[0], pads[1], float(self.number(-9, 9))), [x], quant)

    def excite(self, x: str) -> str:
        """Each channel times a factor made of the channels' means."""
        _, height, width, channels = self.shape(x)
        mean = self.add(Reduce("mean", (1, 2), True, fixed_point([3.1 / (height * width)])), [x])
        factors = self.convolution(mean, channels, 1, window=False)
        return self.add(Binary("mul", None, fixed_point([0.01])), [x, factors])

    def alike(self, x: str, axes: int) -> str | None:
        """Another map of the same shape, as to the first axes."""
        wanted = self.shape(x)[:axes]
        others = [m for m in self.maps if m != x and self.shape(m)[:axes] == wanted]
        return self.draw(st.sampled_from(others)) if others else None

    def residual(self, x: str) -> str:
        other = self.alike(x, 4)
        if other is None:
            return self.shortcut(x)
        fixed = AddFixed(fixed_multiplier(0.5), fixed_multiplier(0.4), fixed_multiplier(2.0**-20))
        return self.add(
            Binary("add", None, fixed if self.draw(st.booleans()) else None), [x, other]
        )

    def shortcut(self, x: str) -> str:
        """A convolution that keeps the shape, and what went into it."""
        _, _, _, channels = self.shape(x)
        pad = self.number(1, 2)
        shape = (channels, 2 * pad + 1, 1, channels)
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        weights_name = self.builder.constant(weights, stem="w", quant=Quant((0.01,), (0,)))
        rescale = self.scales(channels, int(np.prod(shape[1:])))
        op = Conv2D((1, 1), (1, 1), (pad, 0, pad, 0), 1, None, rescale)
        y = self.add(op, [x, weights_name, ""])
        self.maps.append(y)
        return self.add(Binary("add"), [x, y])

    def join(self, x: str) -> str:
        other = self.alike(x, 3)
        if other is None:
            return self.pointwise(x)
        quant = self.builder.types[x].quant
        return self.add(Concat(3), [other, x], quant)

    def layer(self) -> None:
        """One layer more, on the last map or, seldom, on an earlier one."""
        kinds = (
            self.conv, self.conv, self.depthwise, self.depthwise, self.pointwise, self.pool,
            self.resize, self.lookup, self.widen, self.excite, self.residual, self.residual,
            self.shortcut, self.join,
        )  # fmt: skip
        x = self.maps[-1]
        if self.number(0, 4) == 0:
            x = self.draw(st.sampled_from(self.maps))
        value = self.draw(st.sampled_from(kinds))(x)
        _, height, width, channels = self.shape(value)
        assume(height <= 20 and width <= 12 and channels <= 24)
        self.maps.append(value)

    def graph(self) -> Graph:
        read = {value for node in self.builder.nodes for value in node.inputs}
        for value in self.maps:
            if value not in read:
                self.builder.outputs.append(Port(value, value, self.shape(value), (0, 1, 2, 3)))
        found = self.builder.finish()
        verify(found)
        return found


@st.composite
def graphs(draw: Draw, most: int = 7) -> Graph:
    """int8 networks of up to ``most`` random layers on a small map."""
    shape = (1, draw(st.integers(1, 20)), draw(st.integers(1, 9)), draw(st.integers(1, 6)))
    maker = Maker(draw, shape)
    for _ in range(draw(st.integers(1, most))):
        maker.layer()
    return maker.graph()


def random_inputs(graph: Graph, number: int) -> Inputs:
    rng = np.random.default_rng([number, 3])
    return {
        port.value: rng.integers(-128, 128, graph.type(port.value).shape).astype(np.int8)
        for port in graph.inputs
    }


def planner_of(graph: Graph, **options: Any) -> Planner | None:
    """None where its input can't come row by row as asked."""
    try:
        return Planner(graph, **options)
    except UnsupportedOp:
        assert options.get("stream_input")
        return None


def random_plan(planner: Planner, chance: random.Random, *, tiles: bool = False) -> Plan | None:
    """The plan of random choices; None where chance finds none."""
    nodes = planner.workshop.nodes
    choices: list[Choice] = []
    start = 0
    while start < len(nodes):
        for _ in range(40):
            choice = random_choice(planner, start, chance, tiles)
            if planner.candidates.section(start, choice) is not None:
                break
        else:
            return None
        choices.append(choice)
        start += choice.count
    return planner.realise(choices)


def random_choice(planner: Planner, start: int, chance: random.Random, tiles: bool) -> Choice:
    nodes = planner.workshop.nodes
    count = chance.randint(1, min(6, len(nodes) - start))
    if count == 1 and chance.random() < 0.5:
        return Choice(1)
    choice = Choice(count, chance.choice(ROWS), chance.choice((0, 1, 2)))
    if not tiles:
        return choice
    _, height, width, _ = planner.graph.type(nodes[start + count - 1].outputs[0]).shape
    return replace(choice, across=cuts(chance, height), along=cuts(chance, width))


def cuts(chance: random.Random, size: int) -> tuple[int, ...]:
    return tuple(sorted(chance.sample(range(1, size), min(size - 1, chance.randrange(3)))))


def check(found: Plan, number: int, *, recompute: bool = False) -> None:
    """A rehearsal loses nothing and ends with the interpreter's outputs."""
    inputs = random_inputs(found.graph, number)
    outputs = rehearse(found, inputs, recompute=recompute)
    truth = interpret(found.graph, inputs)
    assert set(outputs) == {port.value for port in found.graph.outputs}
    for value, array in outputs.items():
        np.testing.assert_array_equal(array, truth[value])
    check_figures(found)


def check_figures(found: Plan) -> None:
    offsets = found.placement.offsets
    assert found.arena_bytes == max(offsets[b.name] + b.size for b in found.buffers)
    assert found.arena_bytes >= found.placement.bound


numbers = st.integers(0, 1 << 16)

# -- plans hold --------------------------------------------------------------------------------


@MANY
@given(graphs(), numbers, st.booleans(), st.sampled_from(((), DSP)))
def test_random_plans_hold(
    graph: Graph, number: int, keep_inputs: bool, features: tuple[str, ...]
) -> None:
    planner = planner_of(graph, features=features, keep_inputs=keep_inputs)
    assert planner is not None
    check(planner.plan("min-time"), number)
    for trial in range(3):
        found = random_plan(planner, random.Random(number + trial))
        assert found is not None
        check(found, number)


@MANY
@given(graphs(), numbers)
def test_random_plans_of_a_streamed_input_hold(graph: Graph, number: int) -> None:
    planner = planner_of(graph, stream_input=True)
    assume(planner is not None)
    assert planner is not None
    for trial in range(3):
        found = random_plan(planner, random.Random(number + trial))
        if found is not None:
            assert found.arriving == "x" and found.segments[0].arrivals
            check(found, number)


@MANY
@given(graphs(), numbers)
def test_random_tiles_hold(graph: Graph, number: int) -> None:
    planner = planner_of(graph)
    assert planner is not None
    for trial in range(3):
        found = random_plan(planner, random.Random(number + trial), tiles=True)
        if found is not None:
            check(found, number, recompute=True)


@FEW
@given(graphs(), numbers, st.booleans())
def test_the_planners_plans_hold(graph: Graph, number: int, streamed: bool) -> None:
    """Each goal's plan and each of the front, which get smaller one after the other."""
    planner = planner_of(graph, stream_input=streamed)
    try:
        assume(planner is not None)
        assert planner is not None
        plain = planner.plan("min-time")
    except UnsupportedOp:
        assert streamed
        return
    check(plain, number)
    front = planner.front()
    assert front[0].cost <= plain.cost
    for found in front:
        check(found, number)
    for faster, smaller in pairwise(front):
        assert smaller.arena_bytes < faster.arena_bytes and smaller.cost > faster.cost
    least = planner.plan("min-ram")
    check(least, number)
    assert least.arena_bytes <= min(found.arena_bytes for found in (plain, *front))
    balanced = planner.plan("balanced")
    check(balanced, number)
    within = planner.within(least.arena_bytes)
    assert within is not None and within.arena_bytes <= least.arena_bytes
    assert planner.within(least.arena_bytes - 1) is None
    if not streamed:
        check(planner.plan("patched"), number, recompute=True)


@FEW
@given(graphs(), numbers, st.booleans())
def test_no_plan_is_smaller_than_its_candidates_need(
    graph: Graph, number: int, keep_inputs: bool
) -> None:
    planner = planner_of(graph, keep_inputs=keep_inputs)
    assert planner is not None
    candidates = planner.candidates
    chance = random.Random(number)
    count = len(planner.workshop.nodes)
    for start in range(count):
        found = [candidates.whole(start)]
        for plain in candidates.streamed_from(start, 1 << 40):
            found += [plain, *candidates.variants(plain)]
        for candidate in chance.sample(found, min(len(found), 4)):
            rest = [Choice(1)] * (count - candidate.end)
            plan_ = planner.realise([*[Choice(1)] * start, candidate.choice, *rest])
            assert candidate.need <= plan_.arena_bytes


# -- a rehearsal sees what is wrong --------------------------------------------------------------


def chain(*, stream_input: bool = False) -> Plan:
    """Three 3x3 convolutions that take turns, on a map of 12 rows."""
    builder = GraphBuilder("chain")
    quant = Quant((SCALE,), (0,))
    builder.types["x"] = TensorType((1, 12, 4, 2), DType.INT8, quant)
    builder.inputs.append(Port("x", "x", (1, 12, 4, 2), (0, 1, 2, 3)))
    value = "x"
    for name in "abc":
        weights = np.arange(36, dtype=np.int8).reshape(2, 3, 3, 2)
        op = Conv2D((1, 1), (1, 1), (1, 1, 1, 1), 1, None, FloatScale((0.01, 0.01)))
        constant = builder.constant(weights, stem="w", quant=quant)
        (value,) = builder.add(op, [value, constant, ""], name=name, outputs=[name], quants=[quant])
    builder.outputs.append(Port(value, "y", builder.types[value].shape, (0, 1, 2, 3)))
    planner = Planner(builder.finish(), stream_input=stream_input)
    return planner.realise([Choice(3, 1)])


def with_ring(found: Plan, value: str, rows: int) -> Plan:
    buffers = tuple(
        replace(b, rows=rows, size=b.size * rows // b.rows) if value in b.values and b.rows else b
        for b in found.buffers
    )
    return replace(found, buffers=buffers)


def moved(found: Plan, name: str, by: int) -> Plan:
    offsets = {**found.placement.offsets, name: found.placement.offsets[name] + by}
    return replace(found, placement=replace(found.placement, offsets=offsets))


def test_a_ring_one_row_too_small_is_seen() -> None:
    found = chain()
    assert found.buffer_of("a").rows == 3  # type: ignore[union-attr]
    rehearse(found)
    wrong = (
        r"segment 0, turn 7 \(row 2 of Conv2D 'b'\): reads row 1 of 'a', of which byte 0, at \d+, "
        r"is lost: there is row 3 of 'a' by segment 0, turn 6 \(row 3 of Conv2D 'a'\)"
    )
    with pytest.raises(BrokenPlan, match=wrong):
        rehearse(with_ring(found, "a", 2))
    for value in "ab":
        with pytest.raises(BrokenPlan, match=f"row . of '{value}'"):
            rehearse(with_ring(found, value, 2))


def test_a_lag_four_bytes_too_small_is_seen() -> None:
    """The output begins below the input by the least that its plan allows."""
    found = chain()
    (overlay,) = found.overlays
    offsets = found.placement.offsets
    lag = offsets["x"] - offsets["c"]
    assert lag == overlay.lag > 0
    with pytest.raises(BrokenPlan, match=r"row . of 'x', of which byte \d, at \d+, is lost: there"):
        rehearse(moved(found, "c", 4))


def test_a_single_layer_too_near_its_input_is_seen() -> None:
    found = plan(chain().graph)
    for overlay in found.overlays:
        offsets = found.placement.offsets
        if offsets[overlay.source] - offsets[overlay.output] == overlay.lag:
            with pytest.raises(BrokenPlan, match=r"writes row . of its output over row . of"):
                rehearse(moved(found, overlay.output, 4))
            return
    raise AssertionError("no overlay is used")


@pytest.mark.parametrize("row", range(3))
def test_a_turn_before_its_rows_came_is_seen(row: int) -> None:
    found = chain(stream_input=True)
    rehearse(found)
    (segment,) = found.segments
    early = list(segment.arrivals)
    place = early.index(segment.arrivals[-1] if row == 2 else 1 + row * 3)
    early[place - 1] = early[place] if row != 1 else early[place - 1] + 3
    early = [max(early[: i + 1]) for i in range(len(early))]
    wrong = replace(found, segments=(replace(segment, arrivals=tuple(early)),))
    with pytest.raises(BrokenPlan, match=r"reads row \d+ of 'x', of which byte 0, .* is not there"):
        rehearse(wrong)


def test_turns_left_out_made_twice_or_out_of_order_are_seen() -> None:
    found = chain()
    (segment,) = found.segments

    def by(turns: Sequence[Any]) -> Plan:
        return replace(found, segments=(replace(segment, turns=tuple(turns)),))

    turns = segment.turns
    with pytest.raises(BrokenPlan, match=r"after the run .*reads row 11 of 'c', .* is not there"):
        rehearse(by(turns[:-1]))
    with pytest.raises(BrokenPlan, match="row 11 of 'c' is computed twice"):
        rehearse(by([*turns, turns[-1]]))
    rehearse(by([*turns, turns[-1]]), recompute=True)
    with pytest.raises(BrokenPlan, match="is not there yet"):
        rehearse(by([turns[1], turns[0], *turns[2:]]))
    with pytest.raises(BrokenPlan, match="rows 11 to 12 of 12"):
        rehearse(by([*turns[:-1], replace(turns[-1], row1=13)]))


def test_a_scratch_over_a_value_is_seen() -> None:
    graph = chain().graph
    found = Planner(graph, DSP).realise([Choice(3, 1)])
    (segment,) = found.segments
    assert segment.scratch is not None
    rehearse(found)
    for value in ("x", "a", "b", "c"):
        buffer = found.buffer_of(value)
        assert buffer is not None
        by = found.placement.offsets[buffer.name] - found.placement.offsets[segment.scratch]
        with pytest.raises(BrokenPlan, match=r"is lost: there is .* by|lies at"):
            rehearse(moved(found, segment.scratch, by))
    steps = tuple(replace(step, scratch_bytes=step.scratch_bytes + 8) for step in segment.steps)
    with pytest.raises(BrokenPlan, match=r"needs \d+ bytes of scratch and has \d+"):
        rehearse(replace(found, segments=(replace(segment, steps=steps),)))


def test_an_arena_too_small_is_seen() -> None:
    found = chain()
    smaller = replace(found.placement, peak=found.arena_bytes - 1)
    with pytest.raises(BrokenPlan, match=r"buffer '.'.*: lies at \d+ to \d+ of an arena of"):
        rehearse(replace(found, placement=smaller))


# -- as C ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """A plan to run as C, and how its rows are pushed where its input comes so."""

    name: str
    plan: Plan
    number: int

    def frames(self) -> list[Inputs]:
        return [random_inputs(self.plan.graph, self.number + frame) for frame in range(FRAMES)]

    def chunks(self) -> list[int]:
        """Rows of one push after the other, for all frames."""
        chance = random.Random(self.number)
        found = []
        for _ in range(FRAMES):
            left = self.plan.graph.type("x").shape[1]
            while left:
                found.append(chance.randint(0, min(left, 5)))
                left -= found[-1]
        return found


FRAMES = 2


@cache
def programs(features: tuple[str, ...], count: int) -> tuple[Program, ...]:
    """Plans of random graphs, always the same: layer by layer, of random choices and tiles, with
    an input that comes row by row."""
    found: list[Program] = []

    @seed(len(features) + 1)
    @settings(MANY, max_examples=count, database=None, phases=[Phase.generate])
    @given(graphs(), numbers)
    def collect(graph: Graph, number: int) -> None:
        chance = random.Random(number)
        streamed = planner_of(graph, features=features, stream_input=True)
        plain = planner_of(graph, features=features, keep_inputs=number % 4 == 0)
        assert plain is not None
        plans = [random_plan(plain, chance), random_plan(plain, chance, tiles=True)]
        if streamed is not None:
            plans.append(random_plan(streamed, chance))
        for each in plans:
            if each is not None:
                found.append(Program(f"p{len(found)}", each, number))

    collect()
    return tuple(found)


MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
{includes}
static uint8_t frame[1 << 16];
#define NEED(what) ((what) ? (void)0 : fail(name, #what))
static void fail(const char *name, const char *what) {{
  printf("%s: %s\\n", name, what);
  exit(3);
}}
int main(void) {{
  uint32_t noise = 1;
{calls}
  return 0;
}}
"""

BEGIN = """\
  {{
    static const char name[] = "{name}";
    /* malloc ends where the arena ends, so that the sanitizer sees a byte beyond it */
    uint8_t *arena = malloc({macro}_ARENA_BYTES);
    {name}_context context;
    NEED(arena != NULL);
    for (size_t i = 0; i < {macro}_ARENA_BYTES; ++i) {{
      noise = noise * 1664525u + 1013904223u;
      arena[i] = (uint8_t)(noise >> 24);
    }}
    NEED({name}_init(&context, arena, {macro}_ARENA_BYTES) == TM_OK);
"""

RUN = """\
    for (int run = 0; run < {frames}; ++run) {{
      const size_t bytes = {name}_input_bytes(0);
      NEED(fread({name}_input(&context, 0), 1, bytes, stdin) == bytes);
      memcpy(frame, {name}_input(&context, 0), bytes);
      NEED({name}_run(&context) == TM_OK);
      NEED(!{kept} || memcmp(frame, {name}_input(&context, 0), bytes) == 0);
{write}
    }}
"""

PUSH = """\
    static const int pushes[] = {{{pushes}}};
    const int32_t all = {macro}_INPUT_ROWS;
    int32_t row = 0;
    NEED({name}_input(&context, 0) == NULL);
    for (size_t i = 0; i < sizeof pushes / sizeof *pushes; ++i) {{
      const int32_t count = pushes[i];
      if (row == 0 && count > 0) {{
        NEED(fread(frame, {macro}_INPUT_ROW_BYTES, (size_t)all, stdin) == (size_t)all);
      }}
      const uint8_t *const next = frame + row * {macro}_INPUT_ROW_BYTES;
      NEED({name}_push_rows(&context, frame, all - row + 1) == TM_BAD_ARGUMENT);
      NEED({name}_push_rows(&context, frame, -1) == TM_BAD_ARGUMENT);
      if (count == 1 && i % 2 == 0) {{
        memcpy({name}_input_row(&context), next, {macro}_INPUT_ROW_BYTES);
        NEED({name}_push_rows(&context, NULL, 1) == TM_OK);
      }} else {{
        NEED({name}_push_rows(&context, next, count) == TM_OK);
      }}
      row += count;
      if (row == all) {{
        row = 0;
{write}
      }}
    }}
"""

WRITE = """\
      for (int i = 0; i < {macro}_OUTPUT_COUNT; ++i) {{
        fwrite({name}_output(&context, i), 1, {name}_output_bytes(i), stdout);
      }}"""


def call_of(program: Program) -> str:
    found = program.plan
    buffer = found.buffer_of(found.graph.inputs[0].value)
    assert buffer is not None
    fields = {
        "name": program.name, "macro": program.name.upper(), "frames": FRAMES,
        "kept": int(buffer.last == len(found.segments)),
    }  # fmt: skip
    fields["write"] = WRITE.format(**fields)
    body = RUN
    if found.arriving is not None:
        body = PUSH
        fields["pushes"] = ", ".join(map(str, program.chunks()))
    return BEGIN.format(**fields) + body.format(**fields) + "    free(arena);\n  }"


def outputs_as_c(found: Sequence[Program], folder: Path) -> Iterator[tuple[Program, list[Any]]]:
    """The outputs of each program for each frame, all in one process under the sanitizers."""
    flags = ["-std=c11", "-O1", "-ffp-contract=off", "-DTM_NO_ASM", *WARNINGS, *SANITIZE]
    jobs = [("main.c", "main.o")]
    for program in found:
        for path, text in emit(program.plan, program.name).items():
            target = folder / program.name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        for part in ("", "_weights"):
            source = f"{program.name}/{program.name}{part}"
            jobs.append((f"{source}.c", f"{source}.o"))
    includes = "\n".join(f'#include "{p.name}/{p.name}.h"' for p in found)
    calls = "\n".join(map(call_of, found))
    (folder / "main.c").write_text(MAIN.format(includes=includes, calls=calls))
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda job: gcc(folder, *flags, "-c", job[0], "-o", job[1]), jobs))
    gcc(folder, "-fsanitize=address,undefined", *(job[1] for job in jobs), "-o", "main", "-lm")
    feed = b"".join(v["x"].tobytes() for program in found for v in program.frames())
    done = subprocess.run(["./main"], cwd=folder, input=feed, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout[-300:] + done.stderr[:4000]).decode(errors="replace")
    place = 0
    for program in found:
        graph = program.plan.graph
        frames = []
        for _ in range(FRAMES):
            arrays = {}
            for port in graph.outputs:
                kind = graph.type(port.value)
                raw = done.stdout[place : place + kind.bytes]
                place += kind.bytes
                arrays[port.value] = np.frombuffer(raw, np.int8).reshape(kind.shape)
            frames.append(arrays)
        yield program, frames
    assert place == len(done.stdout)


def gcc(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["gcc", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:4000]


@pytest.mark.parametrize("features", [(), DSP], ids=["plain", "dsp"])
def test_c_gives_the_same_bytes(features: tuple[str, ...], tmp_path: Path) -> None:
    """In whatever turns: poisoned arena, rows pushed in chunks, one frame after the other."""
    need_tool("gcc")
    found = programs(features, 10)
    kinds = [
        any(p.plan.arriving is not None for p in found),
        any(choice.along for p in found for choice in p.plan.choices),
        any(step.row_by_row for p in found for step in p.plan.steps),
    ]
    assert all(kinds), "the sample lacks a kind of plan"
    for program, frames in outputs_as_c(found, tmp_path):
        for inputs, outputs in zip(program.frames(), frames, strict=True):
            truth = interpret(program.plan.graph, inputs)
            for value, array in outputs.items():
                np.testing.assert_array_equal(array, truth[value], err_msg=program.name)
