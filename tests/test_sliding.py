"""A model as a step: the outputs are those of the whole window, whatever moves through it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from test_streaming import FEW, Draw, Maker, graphs

import tinymill
from conftest import need_tool
from contract import SANITIZE, WARNINGS
from tinymill.boards import load_board
from tinymill.cli import main
from tinymill.deploy import missing
from tinymill.emit import facts_of, render
from tinymill.errors import InvalidInput, InvalidModel, OutOfMemory, UnsupportedOp
from tinymill.ir import (
    DType,
    FloatScale,
    Graph,
    GraphBuilder,
    Port,
    Quant,
    TensorType,
    Types,
    interpret,
    print_graph,
    verify,
)
from tinymill.ops.binary import Binary
from tinymill.ops.concat import Concat
from tinymill.ops.conv import Conv2D
from tinymill.ops.dense import FullyConnected
from tinymill.ops.pool import AveragePool, MaxPool
from tinymill.ops.reduce import Reduce
from tinymill.ops.reshape import Reshape
from tinymill.ops.slice import Slice
from tinymill.ops.slide import Slide, View
from tinymill.ops.unary import Unary
from tinymill.passes import BORDERS, Stepped, stepped
from tinymill.schedule import Plan, plan

BOARD = "mps2-an386"
KWS = "models/mlperf_tiny/kws_ref_model.tflite"
WAKE = "models/mlperf_tiny/str_ww_ref_model.tflite"

# -- windows and steps --------------------------------------------------------------------------


def zero_of(kind: TensorType) -> int:
    return kind.zero_point if kind.quant is not None else 0


def random_rows(kind: TensorType, number: int) -> np.ndarray:
    rng = np.random.default_rng([number, 7])
    if kind.dtype is DType.FLOAT32:
        return rng.standard_normal(kind.shape).astype(np.float32)
    return rng.integers(-128, 128, kind.shape).astype(kind.dtype.numpy)


def rows_of(graph: Graph, step: Stepped, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """New rows, and the window with them, of a stream that begins behind zeros."""
    whole = graph.type(graph.inputs[0].value)
    kind = step.graph.type(step.graph.inputs[0].value)
    axis = next(a for a, n in enumerate(whole.shape) if n != 1)
    window = np.full(whole.shape, zero_of(whole), whole.dtype.numpy)
    for number in range(steps):
        new = random_rows(kind, number)
        flat = new.reshape(*whole.shape[:axis], -1, *whole.shape[axis + 1 :])
        joined = np.concatenate([window, flat], axis=axis)
        window = joined.take(np.arange(flat.shape[axis], joined.shape[axis]), axis=axis)
        yield new, window


def after_reset(step: Stepped) -> dict[str, np.ndarray]:
    """The variables when the window is one of zeros, whatever they were before."""
    port = step.graph.inputs[0]
    kind = step.graph.type(port.value)
    zeros = np.full(kind.shape, zero_of(kind), kind.dtype.numpy)
    state = {
        name: random_rows(step.graph.type(name), index)
        for index, name in enumerate(step.graph.variables)
    }
    for _ in range(step.filling):
        interpret(step.graph, {port.value: zeros}, state)
    return state


def check_equal(graph: Graph, step: Stepped, steps: int) -> None:
    """The interpreter gives the same for each step and for the window with it."""
    state = after_reset(step)
    for number, (new, window) in enumerate(rows_of(graph, step, steps)):
        found = interpret(step.graph, {step.graph.inputs[0].value: new}, state)
        truth = interpret(graph, {graph.inputs[0].value: window})
        for ours, theirs in zip(step.graph.outputs, graph.outputs, strict=True):
            assert np.array_equal(found[ours.value], truth[theirs.value]), (
                f"step {number}\n{print_graph(graph)}\n{print_graph(step.graph)}"
            )


def forms_of(graph: Graph, rows: int) -> list[Stepped]:
    """The step in all forms that there are; none where it would gain nothing."""
    found = []
    for borders in BORDERS:
        try:
            found.append(stepped(graph, rows, borders=borders))
        except UnsupportedOp as error:
            assert "computes as much as the whole window" in str(error)
    return found


# -- random networks ----------------------------------------------------------------------------


class Frames(Maker):
    """Networks over time: maps of height 1, frames along axis 2; int8 or float."""

    def __init__(self, draw: Draw, shape: tuple[int, ...], real: bool) -> None:
        self.real = real
        super().__init__(draw, shape)

    def kind(self, shape: tuple[int, ...]) -> TensorType:
        return TensorType(shape, DType.FLOAT32) if self.real else super().kind(shape)

    def quant(self) -> Quant | None:  # type: ignore[override]
        return None if self.real else super().quant()

    def frames(self, x: str, outs: int, groups: int) -> str:
        """A convolution along time: strided, dilated, padded to one side or both or not at all."""
        _, _, count, channels = self.shape(x)
        kernel, dilation = self.number(1, 4), self.number(1, 3)
        span = (kernel - 1) * dilation + 1
        if span > count:
            return self.activate(x)
        before = self.draw(st.sampled_from((0, 0, span - 1, span // 2)))
        after = self.draw(st.sampled_from((0, 0, span // 2)))
        shape = (outs, 1, kernel, channels // groups)
        op = Conv2D((1, self.number(1, 2)), (1, dilation), (0, before, 0, after), groups)
        if self.real:
            weights = self.rng.standard_normal(shape).astype(np.float32)
            bias = self.rng.standard_normal(outs).astype(np.float32)
            names = [self.builder.constant(a, stem="w") for a in (weights, bias)]
            return self.add(op, [x, *names])
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        names = [
            self.builder.constant(weights, stem="w", quant=Quant((0.01,) * outs, (0,) * outs, 0)),
            self.builder.constant(self.rng.integers(-900, 900, outs).astype(np.int32), stem="b"),
        ]
        return self.add(replace(op, rescale=self.scales(outs, kernel * channels)), [x, *names])

    def conv(self, x: str) -> str:
        return self.frames(x, self.number(1, 5), 1)

    def depthwise(self, x: str) -> str:
        channels = self.shape(x)[3]
        return self.frames(x, channels, channels)

    def activate(self, x: str) -> str:
        return self.add(Unary("relu"), [x]) if self.real else self.lookup(x)

    def pool(self, x: str) -> str:
        count = self.shape(x)[2]
        window = self.number(1, min(3, count))
        pad = (0, self.number(0, window - 1), 0, self.number(0, window - 1))
        op = MaxPool if self.draw(st.booleans()) else AveragePool
        return self.add(op((1, window), (1, self.number(1, 2)), pad), [x], self.kind_of(x).quant)

    def kind_of(self, x: str) -> TensorType:
        return self.builder.types[x]

    def crop(self, x: str) -> str:
        """Some frames less on each side, as residuals around convolutions without padding have."""
        _, _, count, channels = self.shape(x)
        begin = self.number(0, count - 1)
        size = self.number(1, count - begin)
        op = Slice((0, 0, begin, 0), (1, 1, size, channels), (1, 1, 1, 1))
        return self.add(op, [x], self.kind_of(x).quant)

    def flat(self, x: str) -> str:
        """A layer for each frame, on values of rank 3."""
        _, _, count, channels = self.shape(x)
        quant = self.kind_of(x).quant
        y = self.add(Reshape((1, count, channels)), [x], quant)
        if self.real:
            weights = self.rng.standard_normal((3, channels)).astype(np.float32)
            y = self.add(FullyConnected(), [y, self.builder.constant(weights, stem="w"), ""])
        else:
            y = self.lookup(y)
        shape = self.shape(y)
        return self.add(Reshape((1, 1, *shape[1:])), [y], self.kind_of(y).quant)

    def residual(self, x: str) -> str:
        other = self.alike(x, 4)
        return self.activate(x) if other is None else self.add(Binary("add"), [x, other])

    def join(self, x: str) -> str:
        other = self.alike(x, 3)
        if other is None:
            return self.activate(x)
        return self.add(Concat(3), [other, x], self.kind_of(x).quant)

    def layer(self) -> None:
        kinds = (
            self.conv, self.conv, self.depthwise, self.pool, self.activate, self.crop, self.flat,
            self.residual, self.residual, self.join,
        )  # fmt: skip
        x = self.maps[-1]
        if self.number(0, 4) == 0:
            x = self.draw(st.sampled_from(self.maps))
        self.maps.append(self.draw(st.sampled_from(kinds))(x))

    def end(self) -> None:
        """A mean over time, or the last frame alone; else all frames are an output."""
        _, _, count, channels = self.shape(x := self.maps[-1])
        how = self.number(0, 2)
        if how == 0:
            rescale = None if self.real else FloatScale((1 / count,))
            self.maps.append(self.add(Reduce("mean", (1, 2), True, rescale), [x]))
        elif how == 1:
            op = Slice((0, 0, count - 1, 0), (1, 1, 1, channels), (1, 1, 1, 1))
            self.maps.append(self.add(op, [x], self.kind_of(x).quant))


@st.composite
def networks(draw: Draw, most: int = 7) -> Graph:
    """Networks over up to 24 frames."""
    shape = (1, 1, draw(st.integers(4, 24)), draw(st.integers(1, 4)))
    maker = Frames(draw, shape, draw(st.booleans()))
    for _ in range(draw(st.integers(1, most))):
        maker.layer()
    maker.end()
    return maker.graph()


def steps_of(graph: Graph, rows: int) -> list[Stepped]:
    """As ``forms_of``; none where the network has no window of as many rows."""
    shape = graph.type(graph.inputs[0].value).shape
    count = next((n for n in shape[:-1] if n != 1), 1)
    return forms_of(graph, min(rows, count - 1)) if count > 1 else []


@seed(1)
@settings(FEW, max_examples=60)
@given(st.one_of(networks(), graphs(most=6)), st.integers(1, 6))
def test_a_step_gives_what_the_whole_window_gives(graph: Graph, rows: int) -> None:
    for step in steps_of(graph, rows):
        check_equal(graph, step, 2 * step.filling)


# -- as C ---------------------------------------------------------------------------------------

MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
{includes}
#define NEED(wanted) \\
  if (!(wanted)) {{ \\
    fprintf(stderr, "line %d: %s\\n", __LINE__, #wanted); \\
    return 1; \\
  }}
int main(void) {{
{calls}
  return 0;
}}
"""

CALL = """\
  {{
    enum {{ ALL = sizeof {zeros} }};
    {whole}_context whole;
    {step}_context step;
    static uint8_t window[ALL];
    uint8_t *const first = malloc({WHOLE}_ARENA_BYTES), *const second = malloc({STEP}_ARENA_BYTES);
    const size_t bytes = {step}_input_bytes(0);
    NEED(ALL == {whole}_input_bytes(0) && bytes * {WINDOW} == (size_t)ALL * {ROWS});
    NEED({STEP}_STEP_ROWS == {ROWS} && {STEP}_WINDOW_ROWS == {WINDOW});
    memset(first, 0x5a, {WHOLE}_ARENA_BYTES);
    memset(second, 0xa5, {STEP}_ARENA_BYTES);
    NEED({whole}_init(&whole, first, {WHOLE}_ARENA_BYTES) == TM_OK);
    memset(&step, 0x77, sizeof step);
    NEED({step}_init(&step, second, {STEP}_ARENA_BYTES) == TM_OK);
    NEED({step}_step(&step, window) == TM_NOT_READY);
    memset(step.state, 0x77, sizeof step.state);
    for (int round = 0; round < 2; ++round) {{
      /* in the middle of the stream the window is forgotten */
      const int steps = round == 0 ? {FILLING} / 2 + 1 : 2 * {FILLING};
      NEED({step}_reset(&step) == TM_OK);
      memcpy(window, {zeros}, ALL);
      for (int n = 0; n < steps; ++n) {{
        memmove(window, window + bytes, ALL - bytes);
        NEED(fread(window + ALL - bytes, 1, bytes, stdin) == bytes);
        memcpy({whole}_input(&whole, 0), window, ALL);
        NEED({whole}_run(&whole) == TM_OK);
        if (n % 2 == 0) {{
          NEED({step}_step(&step, window + ALL - bytes) == TM_OK);
        }} else {{
          memcpy({step}_input(&step, 0), window + ALL - bytes, bytes);
          NEED({step}_step(&step, NULL) == TM_OK);
        }}
        for (int i = 0; i < {WHOLE}_OUTPUT_COUNT; ++i) {{
          const size_t size = {whole}_output_bytes(i);
          NEED(size == {step}_output_bytes(i));
          NEED(memcmp({whole}_output(&whole, i), {step}_output(&step, i), size) == 0);
        }}
        memset(second, 0xa5, {STEP}_ARENA_BYTES); /* nothing in it outlives a step */
      }}
    }}
    free(first);
    free(second);
  }}
"""


def write_c(folder: Path, name: str, found: Plan, sliding: tuple[int, int] | None) -> None:
    for path, text in render(facts_of(found, name, sliding=sliding), found).items():
        target = folder / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def zeros_of(kind: TensorType) -> str:
    """The window of zeros as a C array of bytes."""
    raw = np.full(kind.shape, zero_of(kind), kind.dtype.numpy).tobytes()
    return f"((const uint8_t[]){{{', '.join(map(str, raw))}}})"


def sample(count: int) -> list[tuple[Graph, Stepped]]:
    """Random networks with their steps, borders kept and computed anew in turn."""
    found: list[tuple[Graph, Stepped]] = []

    @seed(3)
    @settings(FEW, max_examples=8 * count, database=None)
    @given(st.one_of(networks(), graphs(most=6)), st.integers(1, 4))
    def collect(graph: Graph, rows: int) -> None:
        forms = steps_of(graph, rows)
        if len(graph.nodes) > 3 and forms and len(found) < count:
            found.append((graph, forms[len(found) % len(forms)]))

    collect()
    assert len(found) == count
    return found


@pytest.mark.parametrize("features", [(), ("dsp",)], ids=["plain", "dsp"])
def test_c_gives_the_same_bytes(features: tuple[str, ...], tmp_path: Path) -> None:
    """Under the sanitizers, each step against the whole window's run: random networks, int8 and
    float; before a reset there is no step, and after one the window is one of zeros."""
    need_tool("gcc")
    calls, names, feed = [], [], []
    for number, (graph, step) in enumerate(sample(4)):
        goal = "min-time" if number % 3 else "min-ram"
        whole, name = f"whole{number}", f"step{number}"
        write_c(tmp_path, whole, plan(graph, features), None)
        found = plan(step.graph, features, goal=goal)  # type: ignore[arg-type]
        write_c(tmp_path, name, found, (step.rows, step.window))
        calls.append(
            CALL.format(
                whole=whole, step=name, WHOLE=whole.upper(), STEP=name.upper(), ROWS=step.rows,
                WINDOW=step.window, FILLING=step.filling,
                zeros=zeros_of(graph.type(graph.inputs[0].value)),
            )
        )  # fmt: skip
        names += [whole, name]
        kind = step.graph.type(step.graph.inputs[0].value)
        count = step.filling // 2 + 1 + 2 * step.filling
        feed += [random_rows(kind, n).tobytes() for n in range(count)]
    includes = "\n".join(f'#include "{name}/{name}.h"' for name in names)
    (tmp_path / "main.c").write_text(MAIN.format(includes=includes, calls="".join(calls)))
    sources = [f"{name}/{name}{part}.c" for name in names for part in ("", "_weights")]
    flags = ["-std=c11", "-O1", "-ffp-contract=off", "-DTM_NO_ASM", *WARNINGS, *SANITIZE]
    command = ["gcc", *flags, "main.c", *sources, "-o", "main", "-lm"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[:4000]
    done = subprocess.run(
        ["./main"], cwd=tmp_path, input=b"".join(feed), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[:4000]


# -- models -------------------------------------------------------------------------------------


def stream_of(model: Path, rows: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """A random stream for a model of one int8 input, and its windows, zeros before it.

    Its values leave the models' scores unsaturated.
    """
    (end,) = tinymill.compile(model).description["inputs"]
    count = end["shape"][1]
    zeros = np.full([1, count, *end["shape"][2:]], end["zero_point"], np.int8)
    fresh = (1, rows * steps, *end["shape"][2:])
    stream = np.random.default_rng(5).integers(-128, 0, fresh).astype(np.int8)
    rows_of_all = np.concatenate([zeros, stream], axis=1)
    ends = range(count + rows, count + rows * steps + 1, rows)
    return stream, np.stack([rows_of_all[:, end - count : end] for end in ends])


@pytest.mark.parametrize(
    ("name", "rows", "most"), [(KWS, 2, 0.5), (WAKE, 1, 0.15)], ids=["kws", "wake_word"]
)
def test_a_simulated_core_computes_only_what_is_new(
    shared: Path, name: str, rows: int, most: float
) -> None:
    need_tool("gcc", *missing(load_board(BOARD)))
    model = shared / name
    count = tinymill.compile(model, step=rows).description["window"]
    steps = -(-2 * count // rows)
    stream, windows = stream_of(model, rows, steps)
    truth = tinymill.run(model, input=windows)
    found = tinymill.run(model, step=rows, target=BOARD, input=stream, layers=False)
    assert found.frames == truth.frames == steps
    np.testing.assert_array_equal(found.outputs[0], truth.outputs[0])
    assert len(np.unique(truth.outputs[0])) > 20, "scores that tell little"
    on_host = tinymill.run(model, step=rows, input=stream)
    np.testing.assert_array_equal(on_host.outputs[0], truth.outputs[0])
    whole = tinymill.run(model, target=BOARD, input=windows[:1], layers=False)
    assert found.instructions is not None
    assert whole.instructions is not None
    assert found.instructions < most * whole.instructions


def test_layers_of_a_step_are_counted_without_the_reset(shared: Path) -> None:
    need_tool(*missing(load_board(BOARD)))
    found = tinymill.run(shared / WAKE, step=2, target=BOARD)
    counts = [layer.instructions or 0 for layer in found.layers]
    assert found.instructions is not None
    assert min(counts) > 0
    assert 0.8 * found.instructions < sum(counts) <= found.instructions


def test_less_ram_for_borders_computed_anew(shared: Path) -> None:
    """KWS pads its maps at the top: rows there are kept for speed, computed anew for less RAM."""
    model = shared / KWS
    fast = tinymill.compile(model, step=2).plan
    small = tinymill.compile(model, step=2, plan="min-ram").plan
    assert small.state_bytes < 0.5 * fast.state_bytes
    assert fast.macs < small.macs < 0.6 * tinymill.compile(model).plan.macs
    budget = small.arena_bytes + small.state_bytes + 500
    within = tinymill.compile(model, step=2, ram=budget).plan
    assert within.arena_bytes + within.state_bytes <= budget
    with pytest.raises(OutOfMemory, match="RAM budget"):
        tinymill.compile(model, step=2, ram=small.state_bytes)
    with pytest.raises(OutOfMemory, match=r"arena and state on microbit.*--plan min-ram needs"):
        tinymill.compile(model, step=2, target="microbit")
    need_tool("gcc")
    stream, windows = stream_of(model, 2, 30)
    found = tinymill.run(model, step=2, plan="min-ram", input=stream)
    truth = tinymill.run(model, input=windows)
    np.testing.assert_array_equal(found.outputs[0], truth.outputs[0])


def test_a_saved_plan_is_that_of_its_form(shared: Path, tmp_path: Path) -> None:
    for goal in ("min-time", "min-ram"):
        folder = tmp_path / goal
        first = tinymill.compile(shared / KWS, step=2, plan=goal, output=folder)
        again = tinymill.compile(shared / KWS, step=2, plan=folder / "plan.json")
        assert again.plan.state_bytes == first.plan.state_bytes
        assert again.plan.arena_bytes == first.plan.arena_bytes


def causal(path: Path) -> Path:
    """Three dilated causal convolutions over [1, channels, time] with residuals; of the last map
    the last frame is the output."""
    rng = np.random.default_rng(0)
    nodes, tensors = [], []
    x, depth = "x", 3
    for i, dilation in enumerate((1, 2, 4)):
        weights = rng.standard_normal((8, depth, 3)).astype(np.float32)
        tensors.append(numpy_helper.from_array(weights, f"w{i}"))
        conv = helper.make_node(
            "Conv", [x, f"w{i}"], [f"c{i}"], pads=[2 * dilation, 0], dilations=[dilation]
        )
        nodes += [conv, helper.make_node("Relu", [f"c{i}"], [f"r{i}"])]
        if i:
            nodes.append(helper.make_node("Add", [f"r{i}", x], [f"a{i}"]))
        x, depth = f"a{i}" if i else "r0", 8
    for name, value in (("start", -1), ("end", 1 << 30), ("axis", 2)):
        tensors.append(numpy_helper.from_array(np.array([value], np.int64), name))
    nodes.append(helper.make_node("Slice", [x, "start", "end", "axis"], ["y"]))
    graph = helper.make_graph(
        nodes, "causal",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 1])], tensors,
    )  # fmt: skip
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_a_causal_network_keeps_its_receptive_field(tmp_path: Path) -> None:
    """Of each map only the frames that a later window reads: 2, 4 and 8, and the new one."""
    model = causal(tmp_path / "causal.onnx")
    compiled = tinymill.compile(model, step=1)
    ops = [layer["op"] for layer in compiled.description["layers"]]
    assert ops.count("Conv2D") == 3
    assert compiled.plan.macs == 8 * 3 * (3 + 8 + 8)
    assert compiled.plan.state_bytes == 4 * (3 * 3 + 5 * 8 + 9 * 8)
    need_tool("gcc")
    stream = np.random.default_rng(1).standard_normal((1, 3, 80)).astype(np.float32)
    padded = np.concatenate([np.zeros((1, 3, 40), np.float32), stream], axis=2)
    windows = np.stack([padded[:, :, n + 1 : n + 41] for n in range(80)])
    found = tinymill.run(model, step=1, input=stream)
    truth = tinymill.run(model, input=windows)
    assert found.outputs[0].tobytes() == truth.outputs[0].tobytes()


# -- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        (KWS, {"step": 49}, "a step of 49 rows; the window has 49"),
        (KWS, {"step": 0}, "step is 0, not a whole number"),
        (KWS, {"step": 2, "stream_input": True}, "leave out --stream-input"),
        ("models/tflm/micro_speech_quantized.tflite", {"step": 3},
         "Conv2D 'Relu'.*3 rows are no multiple of its stride of 2"),
        ("models/wakeword/hey_jarvis.tflite", {"step": 1}, "keeps variables of its own"),
        ("models/tflm/hello_world_int8.tflite", {"step": 1}, "is no window of rows"),
    ],
)  # fmt: skip
def test_what_can_take_no_steps_is_refused(
    shared: Path, name: str, options: dict, reason: str
) -> None:
    with pytest.raises((InvalidInput, UnsupportedOp), match=reason):
        tinymill.compile(shared / name, **options)


def test_the_shell_says_why_in_one_line(shared: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "project"
    with pytest.raises(SystemExit) as end:
        main(["compile", str(shared / KWS), "--step", "60", "--output", str(folder)])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "60 rows" in said
    assert not folder.exists()


def test_a_project_keeps_to_its_step(shared: Path, tmp_path: Path) -> None:
    tinymill.compile(shared / WAKE, step=2, output=tmp_path / "two")
    with pytest.raises(InvalidInput, match="compiled with step 2, not 1"):
        tinymill.run(tmp_path / "two", step=1)
    with pytest.raises(InvalidInput, match="the model wants"):
        tinymill.run(tmp_path / "two", input=np.zeros((1, 3, 1, 40), np.int8))
    plan_file = tmp_path / "two" / "plan.json"
    text = plan_file.read_text().replace('"stream_axis": 1', '"stream_axis": 9')
    plan_file.write_text(text)
    with pytest.raises(InvalidModel, match="describes an input"):
        tinymill.run(tmp_path / "two")


def test_two_inputs_are_no_window() -> None:
    builder = GraphBuilder("two")
    for name in "ab":
        builder.types[name] = TensorType((1, 9, 2, 3), DType.FLOAT32)
        builder.inputs.append(Port(name, name, (1, 9, 2, 3), (0, 1, 2, 3)))
    (y,) = builder.add(Binary("add"), ["a", "b"], name="add")
    builder.outputs.append(Port(y, y, (1, 9, 2, 3), (0, 1, 2, 3)))
    with pytest.raises(UnsupportedOp, match="2 inputs"):
        stepped(builder.finish(), 1)


# -- the ops ------------------------------------------------------------------------------------


def test_rows_of_a_window_must_fit() -> None:
    window, new = (TensorType((1, n, 2, 3), DType.INT8) for n in (6, 2))
    Slide(1, 2).infer([window, new])
    for op, kinds in (
        (Slide(1, 3), [window, new]),
        (Slide(2, 1), [window, new]),
        (Slide(1, 1), [new, window]),
        (Slide(1, 1), [window, new.with_shape((1, 2, 2, 4))]),
        (Slide(1, 1), [window, TensorType((1, 2, 2, 3), DType.FLOAT32)]),
        (View(1, 5, 2), [window]),
        (View(2, 0, 1), [window]),
    ):
        with pytest.raises(InvalidModel):
            op.infer(kinds)


def test_a_view_lies_in_its_variable() -> None:
    builder = GraphBuilder("view")
    builder.types["v"] = TensorType((1, 6, 2, 3), DType.FLOAT32)
    builder.variables["v"] = np.zeros((1, 6, 2, 3), np.float32)
    (part,) = builder.add(View(1, 2, 3), ["v"], name="part")
    (last,) = builder.add(Reshape((18,)), [part], name="flat")
    builder.outputs.append(Port(last, last, (18,), (0,)))
    graph = builder.finish()
    verify(graph)
    found = plan(graph)
    assert found.state[last] == found.state["v"] + 2 * 2 * 3 * 4
    op = View(1, 2, 3)
    assert op.alias_offset(Types((builder.types["v"],), (builder.types[part],))) == 48
    wrong = graph.replace(variables={}, inputs=(Port("v", "v", (1, 6, 2, 3), (0, 1, 2, 3)),))
    with pytest.raises(AssertionError, match="no variable"):
        verify(wrong)
