"""``tinymill report``: what the page tells is what the plan, the C and the linker say; the page
itself in headless Chromium, off the network, in light and dark and on a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import tinymill
from chromium import Seen, chromium, opened
from conftest import ROOT, need_tool
from tinymill import api
from tinymill.api import reporting
from tinymill.api.options import CompileOptions
from tinymill.api.reporting import subject_of
from tinymill.boards import Region, load_board
from tinymill.deploy import symbols
from tinymill.emit import facts_of
from tinymill.errors import InvalidInput, OutOfMemory
from tinymill.report import Measured, Subject, findings_of, read_errors
from tinymill.report.arena import PARTS, arena_of
from tinymill.report.flash import pieces_of
from tinymill.report.layers import first_parts, layer_instructions
from tinymill.report.network import BOX, Network, _laned, drawing_of, network_of
from tinymill.report.page import count_text, data_text, page_of, seconds_text
from tinymill.report.quantization import ErrorOfLayer, Errors
from tinymill.schedule.cost import SEGMENT

MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"
BOARD = "mps2-an386"
SECTIONS = ("summary", "findings", "network", "ram", "flash", "time", "plans", "quantization",
            "made")  # fmt: skip
HOSTILE = "</script><img src=x onerror=alert(1)>\"'<b>&amp;${x}{{7*7}}\u2028%{y}<a href=//e>"


# -- small models -------------------------------------------------------------------------------


def constant(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def model_of(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    shape: tuple[int, ...] = (1, 8, 8, 8),
    result: str = "y",
) -> Path:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path.write_bytes(model.SerializeToString())
    return path


def pair(value: str, to: str, scale: float = 0.05) -> list[onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear of a value."""
    assert scale
    return [
        helper.make_node("QuantizeLinear", [value, "s", "z"], [f"{to}_q"], name=f"{to} q"),
        helper.make_node("DequantizeLinear", [f"{to}_q", "s", "z"], [to], name=f"{to} dq"),
    ]


def quantised(path: Path, *middle: onnx.NodeProto, zero: int = 0, name: str = "conv") -> Path:
    """An int8 convolution; ``middle`` are nodes from value "c" to value "m" behind it."""
    weights = np.arange(-36, 36, 1).repeat(8).astype(np.int8).reshape(8, 8, 3, 3)
    constants = [
        constant("s", np.array(0.05, np.float32)), constant("z", np.array(0, np.int8)),
        constant("w_q", weights), constant("ws", np.array(0.01, np.float32)),
        constant("wz", np.array(zero, np.int8)),
        constant("one", np.ones(8, np.float32)), constant("none", np.zeros(8, np.float32)),
    ]  # fmt: skip
    nodes = [
        *pair("x", "a"),
        helper.make_node("DequantizeLinear", ["w_q", "ws", "wz"], ["w"]),
        helper.make_node("Conv", ["a", "w"], ["conv"], name=name, pads=[1, 1, 1, 1]),
        *pair("conv", "c"), *middle, *pair("m" if middle else "c", "y"),
    ]  # fmt: skip
    return model_of(path, nodes, constants)


def subject(model: Path, target: Any = BOARD, *, built: bool = False, **options: Any) -> Subject:
    """``built`` False leaves out the compilers, which take most of the time."""
    more = {key: options.pop(key) for key in ("front", "measure") if key in options}
    with pytest.MonkeyPatch.context() as patched:
        if not built:
            patched.setattr(reporting, "linked", lambda *_: None)
            patched.setattr(api.Compiled, "forecast", lambda _: None)
        found = subject_of(model, target, CompileOptions(**options), **{"front": False, **more})
    return found


@pytest.fixture(scope="module")
def example() -> Subject:
    """The shipped model on a board without a simulator, all plans with it."""
    return subject(MODEL, "nucleo-f446re", front=True, built=True)


@pytest.fixture(scope="module")
def ringed(example: Subject) -> Subject:
    """The smallest plan of the same model: layers take turns."""
    plan = example.front[-1]
    return replace(example, plan=plan, facts=facts_of(plan, example.name), code=None)


# -- what the page tells ------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 4, -1])
def test_each_byte_of_the_arena_is_counted_once_at_each_step(example: Subject, which: int) -> None:
    plan = example.front[which]
    arena = arena_of(plan)
    assert len(arena.moments) == len(plan.segments) + 2
    for time, moment in enumerate(arena.moments, -1):
        assert sum(moment.parts) == plan.arena_bytes
        live = plan.live_at(time)
        assert len(moment.blocks) == len([buffer for buffer in live if buffer.size])
        taken = np.zeros(plan.arena_bytes, bool)
        for buffer in live:
            offset = plan.placement.offsets[buffer.name]
            taken[offset : offset + buffer.size] = True
        assert moment.used == taken.sum()
        assert moment.top == plan.top_at(time)
    assert arena.moments[arena.peak].top == plan.arena_bytes
    assert [index for m in arena.moments for index in m.layers] == list(range(len(plan.layers)))
    shared = PARTS.index("shared")
    assert any(moment.parts[shared] for moment in arena.moments)


def test_layers_and_what_taking_turns_costs_are_the_plans_instructions(example: Subject) -> None:
    for plan in example.front:
        turns = sum(SEGMENT for segment in plan.segments if not segment.whole)
        assert sum(layer_instructions(plan)) + turns == plan.cost
    assert any(not segment.whole for segment in example.front[-1].segments)


def test_flash_is_what_was_emitted_and_linked(example: Subject) -> None:
    need_tool("arm-none-eabi-gcc")
    assert example.code is not None and example.code.linked and example.code.symbols
    sums: dict[str, int] = {}
    for piece in example.pieces:
        sums[piece.group] = sums.get(piece.group, 0) + piece.bytes
    assert sums.pop("weights") == example.facts.weights_bytes
    assert sum(sums.values()) == example.code.code
    assert sums["other"] < 0.05 * example.code.code
    assert sums["code"] > sums["parameters"] > 0
    # what a layer alone reads is what its details say
    own = [0] * len(example.layers)
    for constant in example.constants:
        if len(constant.layers) == 1:
            own[constant.layers[0]] += constant.bytes
    assert own == [layer.constants for layer in example.layers]
    convolutions = [layer for layer in example.layers if layer.macs]
    assert all(layer.constants > 0 for layer in convolutions)


def test_the_functions_of_kernels_know_their_layers(example: Subject) -> None:
    need_tool("arm-none-eabi-gcc")
    users = {layer for piece in example.pieces if piece.group == "code" for layer in piece.layers}
    assert users
    for piece in example.pieces:
        if piece.group == "code":
            assert {example.layers[index].symbol for index in piece.layers} <= {piece.owner}


def test_flash_without_a_compiler(ringed: Subject) -> None:
    pieces = pieces_of(ringed.facts, ringed.layers, ringed.constants, None, ())
    assert {piece.group for piece in pieces} == {"weights"}
    assert sum(piece.bytes for piece in pieces) == ringed.facts.weights_bytes
    assert {index for piece in pieces for index in piece.layers} >= {
        index for index, layer in enumerate(ringed.layers) if layer.macs
    }
    page = page_of(replace(ringed, no_code="arm-none-eabi-gcc is not installed"))
    assert "the bytes of code are not known: arm-none-eabi-gcc is not installed" in page
    assert "stack not known" in page


def test_what_nm_prints_is_read() -> None:
    text = (
        "run   |00000010|   T  |    FUNC|00000020|     |.text\n"
        "alias |00000010|   T  |    FUNC|00000020|     |.text\n"
        "table |00000040|   t  |  OBJECT|00000008|     |.text\n"
        "w0    |00000100|   R  |  OBJECT|00000400|     |.tm_weights\n"
        "main  |00000200|   T  |    FUNC|00000040|     |.tm_harness_text\n"
        "edge  |00000300|   T  |  NOTYPE|        |     |.text\n"
        "odd   |zz      |   T  |    FUNC|00000040|     |.text\n"
        "no columns\n"
    )
    assert symbols.parse_symbols(text) == (
        symbols.Symbol("run", True, 32), symbols.Symbol("table", False, 8),
    )  # fmt: skip


def test_layers_are_named_as_an_engineer_names_them(example: Subject) -> None:
    titles = [layer.title for layer in example.layers]
    assert titles[0] == "Conv2D 3x3"
    assert titles[1] == "Depthwise 3x3, stride 2"
    assert "Add" in titles
    assert example.layers[1].family == "depthwise convolution"
    assert (
        example.layers[0].outputs[0].shape == "28\N{MULTIPLICATION SIGN}28\N{MULTIPLICATION SIGN}24"
    )
    assert example.layers[0].core == "dsp"
    assert example.layers[0].inputs[1].place == "flash"
    assert first_parts(["a;x", "b;x"]) == ["a", "b"]
    assert first_parts(["a;x", "a;y"]) == ["a;x", "a;y"]


def test_the_network_has_every_edge(example: Subject) -> None:
    network = network_of(example.plan)
    pairs = {(link.source, link.target) for link in network.links}
    # row 0 is the input; layer 5 adds what layers 2 and 4 made
    assert {(0, 1), (5, 6), (3, 6)} <= pairs
    assert (network.rows - 2, network.rows - 1) in pairs
    assert len(network.inputs) == len(network.outputs) == 1
    for row in range(1, network.rows):
        assert any(target == row for _, target in pairs)


@given(st.sets(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=60))
def test_wires_in_one_lane_never_meet(edges: set[tuple[int, int]]) -> None:
    links = _laned([(source, source + length) for source, length in edges])
    assert {(link.source, link.target) for link in links} == {(s, s + n) for s, n in edges}
    assert all((link.lane is None) == (link.target == link.source + 1) for link in links)
    for one in links:
        for other in links:
            if one is not other and one.lane is not None and one.lane == other.lane:
                assert one.target <= other.source or other.target <= one.source
    drawing = drawing_of(Network((), (), 43, links))
    assert drawing.height >= drawing.tops[-1] + BOX
    numbers = [float(n) for wire in drawing.wires for n in re.findall(r"-?[\d.]+", wire.path)]
    assert all(0 <= number <= max(drawing.width, drawing.height) for number in numbers)


def test_memories_of_the_board(example: Subject) -> None:
    ram, flash = example.memories
    assert (ram.kind, ram.size, flash.kind, flash.size) == ("ram", 131072, "flash", 524288)
    assert (
        ram.used
        == example.used("ram")
        == (example.plan.arena_bytes + example.static + (example.stack or 0))
    )
    assert not example.missing
    assert subject(MODEL, "host").available("ram") is None
    copied = subject(MODEL, BOARD, weights="ram")
    assert dict(next(m for m in copied.memories if m.kind == "ram").parts)["weights"] == (
        copied.facts.weights_bytes
    )


def test_what_is_measured_is_what_is_told(tmp_path: Path) -> None:
    need_tool("arm-none-eabi-gcc", "qemu-system-arm", "cc")
    path = quantised(tmp_path / "conv.onnx")
    for options in ({}, {"stream_input": True, "fast_ram": 300}):
        found = subject(path, BOARD, measure=True, **options)
        assert found.measured is not None
        assert found.context == found.measured.static, options
        assert found.counted is not None and found.times == found.counted
        assert found.instructions == found.measured.instructions
        assert 0 < sum(found.counted) <= 1.05 * found.instructions
        assert found.measured.cycles is not None and found.board.clock_hz is not None
        assert found.seconds == found.measured.cycles / found.board.clock_hz
        assert "counted in qemu-system-arm" in page_of(found)


def test_commands_give_the_plans_they_stand_for(example: Subject, tmp_path: Path) -> None:
    import shlex  # noqa: PLC0415

    assert example.alternatives[0].goal == "min-time"
    for plan, found in zip(example.alternatives, example.front, strict=True):
        if plan.goal is not None:
            assert found.choices == example.goals[plan.goal].choices
    assert sum(plan.current for plan in example.alternatives) == 1
    others = [plan for plan in example.alternatives if plan.goal is None]
    for plan in (example.alternatives[0], others[0]):
        words = shlex.split(plan.command)
        assert words[:3] == ["tinymill", "compile", MODEL.name]
        wanted = words[words.index("--plan") + 1]
        if plan.file is not None:
            assert wanted == plan.file
            wanted = str(tmp_path / plan.file)
            Path(wanted).write_text(json.dumps({"schedule": plan.schedule}))
        found = tinymill.plan_model(MODEL, target="nucleo-f446re", plan=wanted)
        assert (found.arena_bytes, found.cost) == (plan.arena, plan.instructions)


def test_the_command_repeats_all_options(tmp_path: Path) -> None:
    found = subject(
        MODEL, BOARD, io="float", optimize="size", weights="ram", fast_ram=4000, keep_inputs=True,
        ram=100_000, shapes={"image": (1, 1, 28, 28)},
    )  # fmt: skip
    assert found.command(*found.chosen) == (
        f"tinymill compile {MODEL.name} --target {BOARD} --io float --optimize size --weights ram "
        "--fast-ram 4000 --shape image=1,1,28,28 --keep-inputs --ram 100000 --output "
        "fashion_mnist_int8_c"
    )


def test_numbers_for_persons() -> None:
    assert [count_text(n) for n in (0, 999, 1234, 3_209_464, 2.5e9)] == [
        "0", "999", "1.23 k", "3.21 M", "2.5 G",
    ]  # fmt: skip
    assert [seconds_text(s) for s in (2.0, 0.2005, 1.5e-5)] == ["2 s", "200 ms", "15 \u03bcs"]


# -- findings -----------------------------------------------------------------------------------


def rules(found: Subject) -> dict[str, Any]:
    return {finding.rule: finding for finding in findings_of(found)}


def squeezed(found: Subject, kind: str, size: int) -> Subject:
    """On a board whose only memory of this kind is so large."""
    board = found.board
    regions = tuple(
        replace(region, size=size) if region.kind == kind else region for region in board.regions
    )
    return replace(found, board=replace(board, regions=regions))


def test_a_memory_that_is_too_small(example: Subject) -> None:
    need_tool("arm-none-eabi-gcc")
    assert "too-large" not in rules(example)
    need = example.used("ram")
    error = rules(squeezed(example, "ram", need - 1000))["too-large"]
    assert error.weight == "error" and "1,000 too few" in error.text
    assert error.option == "--plan min-ram"
    assert findings_of(squeezed(example, "ram", need - 1000))[0] is not None
    assert findings_of(squeezed(example, "ram", need - 1000))[0].rule == "too-large"
    flash = rules(squeezed(example, "flash", 1000))["too-large"]
    assert flash.option == "--optimize size"
    refused = replace(example, refusal=OutOfMemory("arena", needed=2, available=1, hint="less"))
    assert rules(refused)["too-large"].option == "less"


def test_a_memory_that_is_nearly_full(example: Subject) -> None:
    assert "nearly-full" not in rules(example)
    full = rules(squeezed(example, "ram", example.used("ram") + 100))["nearly-full"]
    assert full.weight == "warning" and "100 of" in full.text
    assert full.option == "--plan min-ram"
    assert "nearly-full" not in rules(squeezed(example, "ram", 2 * example.used("ram")))


def test_a_smaller_plan(example: Subject) -> None:
    found = rules(example)["smaller-plan"]
    cheap = next(plan for plan in example.alternatives if found.option == f"--plan {plan.file}")
    assert cheap.arena <= 0.8 * example.plan.arena_bytes
    assert cheap.instructions <= 1.1 * example.plan.cost
    assert f"{example.plan.arena_bytes - cheap.arena:,} bytes" in found.text
    assert "smaller-plan" not in rules(replace(example, plan=example.front[-1]))
    assert "smaller-plan" not in rules(replace(example, front=()))


def softmax(path: Path, *, last: bool) -> Path:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="dense"),
        helper.make_node("Softmax", ["m"], ["p"], name="probabilities"),
    ]
    if not last:
        nodes.append(helper.make_node("MatMul", ["p", "v"], ["y"], name="mix"))
    constants = [constant("w", np.ones((4, 10), np.float32))]
    constants += [] if last else [constant("v", np.ones((10, 4), np.float32))]
    return model_of(path, nodes, constants, (1, 4), "p" if last else "y")


def test_a_softmax_at_the_end(tmp_path: Path) -> None:
    found = rules(subject(softmax(tmp_path / "a.onnx", last=True)))["last-softmax"]
    assert found.option == "--drop-softmax" and found.layers == (1,)
    assert re.search(r"The softmax is \d+% of the time", found.text)
    assert "last-softmax" not in rules(subject(softmax(tmp_path / "b.onnx", last=False)))


def test_a_model_of_floats(tmp_path: Path) -> None:
    path = softmax(tmp_path / "float.onnx", last=False)
    assert rules(subject(path, BOARD))["float-model"].weight == "hint"
    soft = rules(subject(path, "microbit"))["float-model"]
    assert soft.weight == "warning" and "no floating-point unit" in soft.text
    assert soft.option is not None and soft.option.startswith("tinymill quantize float.onnx")
    assert "float-model" not in rules(subject(quantised(tmp_path / "int8.onnx")))


def test_floats_in_a_model_of_integers(tmp_path: Path) -> None:
    norm = helper.make_node("InstanceNormalization", ["c", "one", "none"], ["m"], name="norm")
    mixed = subject(quantised(tmp_path / "mixed.onnx", norm))
    found = rules(mixed)
    floats = found["float-layers"]
    assert floats.weight == "warning"
    assert {mixed.layers[index].name for index in floats.layers} == {"norm"}
    inner = found["conversions"]
    assert {mixed.layers[index].op for index in inner.layers} == {"Quantize", "Dequantize"}
    assert "float-ends" not in found
    pure = rules(subject(quantised(tmp_path / "pure.onnx")))
    assert not {"float-layers", "conversions", "float-ends", "float-model"} & set(pure)


def test_floats_at_the_ends(tmp_path: Path) -> None:
    path = quantised(tmp_path / "int8.onnx")
    found = rules(subject(path, io="float"))["float-ends"]
    assert found.option == "--io quantized" and len(found.layers) == 2


def test_kernels_for_any_core_on_one_that_has_more(tmp_path: Path) -> None:
    odd = subject(quantised(tmp_path / "odd.onnx", zero=3), optimize="size")
    found = rules(odd)["scalar-kernels"]
    assert [odd.layers[index].core for index in found.layers] == ["generic"]
    assert "DSP instructions" in found.text
    assert "scalar-kernels" not in rules(subject(quantised(tmp_path / "even.onnx")))
    # where no core has more there is nothing to say
    assert "scalar-kernels" not in rules(subject(quantised(tmp_path / "m0.onnx"), "microbit"))


def test_layers_far_from_the_float_model(example: Subject) -> None:
    near, far = ErrorOfLayer("a", "Conv", 30.0, 40.0), ErrorOfLayer("b", "Conv", 3.0, 40.0)
    same = ErrorOfLayer("c", "Conv", None, None)
    assert "poor-layers" not in rules(replace(example, errors=Errors((near, same), (), None)))
    found = rules(replace(example, errors=Errors((near, far), (), None)))["poor-layers"]
    assert "b (3.0 dB)" in found.text and "a (" not in found.text


def test_an_arena_in_two_memories() -> None:
    found = subject(MODEL, "openmv-h7", fast_ram=8000)
    assert "two-memories" in rules(found)
    ram = [memory for memory in found.memories if memory.kind == "ram"]
    assert len(ram) == 2 and sum(memory.used for memory in ram) == found.used("ram")
    assert dict(ram[1].parts)["slow arena"] == found.plan.slow_bytes
    assert "above: second memory" in page_of(found)
    assert "two-memories" not in rules(subject(MODEL, "openmv-h7"))


def test_a_model_too_large_has_a_page_all_the_same() -> None:
    board = load_board("microbit")
    regions = tuple(
        Region(r.name, r.kind, r.address, 14_000 if r.kind == "ram" else r.size)
        for r in board.regions
    )
    found = subject(MODEL, replace(board, regions=regions))
    first = findings_of(found)[0]
    assert first.weight == "error" and first.option is not None
    assert first.option.startswith("--plan min-ram needs ")
    assert "<b>does not fit</b>" in page_of(found)
    with pytest.raises(OutOfMemory):
        subject(MODEL, replace(load_board(BOARD), regions=regions), measure=True)


# -- quantisation errors ------------------------------------------------------------------------

GOOD = {
    "layers": [
        {"name": "/stem/conv/Conv", "op": "Conv", "tensor": "t", "sqnr_db": 31.5, "own_db": 40.25},
        {"name": "other", "op": "Relu", "tensor": "u", "sqnr_db": None, "own_db": None},
    ],
    "float_layers": ["norm"],
    "accuracy": {"samples": 200, "float": 0.91, "quantized": 0.905, "by": "the compiled C"},
}


def test_errors_are_read(tmp_path: Path) -> None:
    (tmp_path / "errors.json").write_text(json.dumps({**GOOD, "output": "int8.onnx"}))
    found = read_errors(tmp_path / "errors.json")
    assert [each.sqnr_db for each in found.layers] == [31.5, None]
    assert found.floats == ("norm",)
    assert found.answers is not None and found.answers.quantized == 0.905


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 3}, "no list of layers"),
        ({"layers": [3]}, "layer 0 is no object"),
        ({"layers": [{"op": "Conv"}]}, "layer 0 has no name"),
        ({"layers": [{**GOOD["layers"][0], "sqnr_db": "x"}]}, "sqnr_db is no number"),
        ({"layers": [{**GOOD["layers"][0], "own_db": float("nan")}]}, "own_db is no number"),
        ({"layers": [{**GOOD["layers"][0], "own_db": True}]}, "own_db is no number"),
        ({"float_layers": [1]}, "float_layers is no list of names"),
        ({"accuracy": 1}, "accuracy is no object"),
        ({"accuracy": {"samples": 0}}, "no number of samples"),
        ({"accuracy": {**GOOD["accuracy"], "float": 2}}, "float is no share"),
    ],
)
def test_files_of_other_content_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    (tmp_path / "errors.json").write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(InvalidInput, match=message):
        read_errors(tmp_path / "errors.json")


# -- the file -----------------------------------------------------------------------------------


def test_the_same_gives_the_same_bytes_and_asks_for_nothing(example: Subject) -> None:
    page = page_of(example)
    assert page == page_of(replace(example))
    scripts = re.findall(r"<script[^>]*>", page)
    assert scripts == ['<script type="application/json" id="data">', "<script>", "<script>"]
    outside = page.split("<script>")[0] + page.split("</script>")[-1]
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", outside)
    assert "default-src 'none'" in outside and "'unsafe-eval'" not in outside
    assert "/work" not in outside and str(ROOT) not in outside


def test_data_ends_no_script() -> None:
    text = data_text({"a": f"{HOSTILE}<!--<script>\ud800"})
    assert not set("<>&\u2028") & set(text) and text.isascii()
    assert json.loads(text)["a"].startswith("</script>")


def test_the_call_writes_the_page(tmp_path: Path) -> None:
    path = tmp_path / "a.HTML"
    found = tinymill.report_model(quantised(tmp_path / "m.onnx"), output=path, front=False)
    assert found.bytes == path.stat().st_size < 6e6
    assert found.output == path and not found.subject.front
    assert "--no-front" in path.read_text()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.HTML", "m.onnx"]


# -- in a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


Pages = Callable[..., Path]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    folder = tmp_path_factory.mktemp("pages")

    def write(subject: Subject, name: str) -> Path:
        path = folder / f"{name}.html"
        path.write_text(page_of(subject))
        return path

    return write


@pytest.fixture(scope="module")
def full(example: Subject) -> Subject:
    """With everything that a page can have: a measured run and quantisation errors."""
    errors = tuple(
        ErrorOfLayer(layer.name, layer.op, 40.0 - index, 45.0)
        for index, layer in enumerate(example.layers)
    )
    return replace(
        example, errors=Errors(errors, (), None),
        measured=Measured("qemu", 3_000_000, tuple(each.estimate for each in example.layers), 700,
                          4, 4_000_000),
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(browser: Any, full: Subject, pages: Pages) -> Iterator[Seen]:
    with opened(browser, pages(full, "full")) as seen:
        yield seen
        assert seen.errors == []


def bars(seen: Seen, chart: str) -> int:
    return int(seen.script(
        "(id) => document.querySelectorAll(`#${id} .bars .point path`).length", f"chart-{chart}"
    ))  # fmt: skip


def test_it_opens_and_draws(page: Seen, full: Subject) -> None:
    assert page.errors == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requests)
    for section in SECTIONS:
        assert page.page.is_visible(f"#{section}"), section
    for chart in ("arena", "bytes", "flash", "time", "front", "errors"):
        box = page.page.locator(f"#chart-{chart} .main-svg").first.bounding_box()
        assert box["width"] > 300 and box["height"] > 100, chart
    assert bars(page, "arena") == len(full.arena.blocks)
    assert bars(page, "time") == len(full.layers)
    assert page.page.locator("#graph .layer.box").count() == len(full.layers)
    assert page.page.locator("#chart-flash .slice").count() > len(full.layers)
    assert page.text("h1") == f"{MODEL.name} on nucleo-f446re"
    for part in ("RAM", "Flash", "Instructions", "Time"):
        assert part in page.text("#summary")
    assert f"{full.used('ram'):,} bytes" in page.text("#summary")


def test_the_page_can_ask_for_nothing(page: Seen) -> None:
    for url in ("https://example.org/", "file:///etc/hostname"):
        told = page.script("(url) => fetch(url).then(() => 'came', (e) => e.name)", url)
        assert told == "TypeError"
    page.script(
        """() => {
          const script = document.createElement('script');
          script.textContent = 'window.ran = 1';
          const image = document.createElement('img');
          image.setAttribute('onerror', 'window.ran = 2');
          image.setAttribute('src', 'https://example.org/x.png');
          document.body.append(script, image);
        }"""
    )
    page.page.wait_for_timeout(50)
    assert page.script("() => window.ran") is None
    page.script("() => document.querySelector('body > img').remove()")
    # the browser says on the console what the page's policy refused
    assert page.errors and all("Content Security Policy" in error for error in page.errors)
    page.errors.clear()


def test_the_slider_chooses_a_step(page: Seen, full: Subject) -> None:
    page.page.focus("#step")
    page.page.keyboard.press("Home")
    assert page.text("#step-name").startswith("Step 0 of 19: before")
    for wanted in (1, 2, 3):
        page.page.keyboard.press("ArrowRight")
        moment = full.arena.moments[wanted]
        assert page.text("#step-name").startswith(f"Step {wanted} of 19: {moment.name}")
        assert f"{moment.used:,} of {full.arena.bytes:,} bytes" in page.text("#step-name")
        rows = page.page.locator("#live tbody tr")
        assert rows.count() == len(moment.blocks) + 2
        sizes = {full.arena.blocks[index].size for index in moment.blocks}
        told = {int(row.split("\t")[1].replace(",", "")) for row in rows.all_inner_texts()}
        assert sizes <= told
        band = page.script("() => document.getElementById('chart-arena').layout.shapes[0].x0")
        assert band == wanted - 0.5
        parts = dict(zip(PARTS, moment.parts, strict=True))
        drawn = page.script(
            "() => Object.fromEntries(document.getElementById('chart-bytes').data.map("
            "(trace) => [trace.customdata[0], trace.x[0]]))"
        )
        assert all(parts.get(part, count) == count for part, count in drawn.items())
    page.page.click("#step-peak")
    assert page.text("#step-name").startswith(f"Step {full.arena.peak} of 19")
    assert "reaches its end" in page.text("#step-name")


def chosen(seen: Seen) -> tuple[Any, Any, Any]:
    """The layer marked in the network, among the bars of time and among those of errors."""
    return tuple(seen.script(
        """() => [
          [...document.querySelectorAll('#graph .box.chosen')].map((box) => +box.dataset.layer),
          document.getElementById('chart-time').data[0].selectedpoints ?? null,
          document.getElementById('chart-errors').data[0].selectedpoints ?? null,
        ]"""
    ))  # fmt: skip


def test_a_click_on_a_layer_marks_it_everywhere(page: Seen, full: Subject) -> None:
    page.page.click('#graph .box[data-layer="5"]')
    assert chosen(page) == ([5], [5], [5])
    assert page.text("#step-name").startswith("Step 6 of 19: Add, layer 5")
    told = page.text("#details")
    layer = full.layers[5]
    for part in (layer.name, layer.kernel, layer.outputs[0].shape, "scale", f"{layer.estimate:,}"):
        assert part in told, part
    page.page.click("#behind")
    assert chosen(page)[0] == [6]
    page.page.click("#none")
    assert chosen(page) == ([], None, None)
    # the keyboard does the same
    page.page.focus('#graph .box[data-layer="2"]')
    page.page.keyboard.press("Enter")
    assert chosen(page)[0] == [2]


def test_a_click_in_a_chart_marks_the_layer(page: Seen, full: Subject) -> None:
    page.press("#chart-time", page.page.locator("#chart-time .bars .point").nth(9))
    assert chosen(page) == ([9], [9], [9])
    page.press("#chart-errors", page.page.locator("#chart-errors .bars .point").nth(4))
    assert chosen(page)[0] == [4]
    page.page.locator("#quantization summary").click()
    page.page.click('#quantization tr[data-layer="3"]')
    assert chosen(page)[0] == [3]
    # a buffer leads to the layer that writes it; the first trace is that of values
    blocks = [block for block in full.arena.blocks if block.kind == "activation"]
    largest = max(range(len(blocks)), key=lambda index: blocks[index].size)
    page.press(
        "#chart-arena",
        page.page.locator("#chart-arena .trace").first.locator(".point").nth(largest),
    )
    writers = {v: i for i, s in enumerate(full.plan.layers) for v in s.node.outputs}
    assert chosen(page)[0] == [min(writers[v] for v in blocks[largest].values if v in writers)]


def test_a_click_on_a_plan_shows_its_command(page: Seen, full: Subject, tmp_path: Path) -> None:
    points = page.page.locator("#chart-front .points path.point")
    for index, plan in enumerate(full.alternatives[:3]):
        page.press("#chart-front", points.nth(index))
        assert page.text("#plan-command") == plan.command
        assert f"{plan.arena:,} bytes of arena" in page.text("#plan-text")
        assert page.page.is_visible("#plan-file") == (plan.file is not None)
        if plan.file is not None:
            with page.page.expect_download() as waiting:
                page.page.click("#plan-save")
            waiting.value.save_as(tmp_path / plan.file)
            assert waiting.value.suggested_filename == plan.file
            assert json.loads((tmp_path / plan.file).read_text()) == {"schedule": plan.schedule}
    assert any(plan.file for plan in full.alternatives[:3])


def test_flash_opens(page: Seen) -> None:
    before = page.page.locator("#chart-flash .slice").count()
    page.page.locator("#chart-flash .slice", has_text="weights").first.click(
        force=True, position={"x": 60, "y": 10}
    )
    page.page.wait_for_function(
        "(count) => document.querySelectorAll('#chart-flash .slice').length < count", arg=before
    )


LUMINANCE = """(selector) => {
  const found = getComputedStyle(document.querySelector(selector));
  const light = (text) => {
    const [red, green, blue] = text.match(/[\\d.]+/g).map(Number);
    return (red + green + blue) / 765;
  };
  return [light(found.backgroundColor), light(found.color)];
}"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_light_and_dark_on_a_phone_and_a_desk(
    browser: Any, full: Subject, pages: Pages, dark: bool, width: int
) -> None:
    with opened(browser, pages(full, "full"), width=width, dark=dark) as seen:
        assert seen.script("() => document.documentElement.scrollWidth") <= width
        paper, ink = seen.script(LUMINANCE, "body")
        assert (paper < 0.2 and ink > 0.7) if dark else (paper > 0.8 and ink < 0.3)
        text = seen.script(
            "() => getComputedStyle(document.querySelector('#chart-time .xtick text')).fill"
        )
        light = sum(map(float, re.findall(r"[\d.]+", text)[:3])) / 765
        assert light > 0.7 if dark else light < 0.3
        # nothing of a chart lies outside of its card
        for chart in ("arena", "bytes", "time", "front", "flash", "errors"):
            box = seen.page.locator(f"#chart-{chart}").bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width, chart
        # labels of rows don't lie on each other
        boxes = seen.script(
            "() => [...document.querySelectorAll('#chart-time .ytick text')]"
            ".map((t) => t.getBoundingClientRect()).map((r) => [r.top, r.bottom, r.left])"
        )
        assert len(boxes) == len(full.layers)
        assert all(a[1] <= b[0] + 2 for a, b in pairwise(boxes))
        assert all(left >= 0 for _, _, left in boxes)
        # colours follow the system while the page is open
        seen.page.emulate_media(color_scheme="light" if dark else "dark")
        seen.page.wait_for_function(
            "(old) => getComputedStyle(document.querySelector('#chart-time .xtick text')).fill"
            " !== old", arg=text,
        )  # fmt: skip
        assert seen.errors == []


def test_hostile_names_are_text(browser: Any, pages: Pages, tmp_path: Path) -> None:
    name = f"{HOSTILE}{'long' * 2000}"
    path = quantised(tmp_path / "a<b>&'.onnx", name=name)
    model = onnx.load(path)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.name = f"{tensor.name}{HOSTILE}"
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, value in enumerate(names):
                if value in ("x", "y"):
                    names[index] = f"{value}{HOSTILE}"
    onnx.save(model, path)
    found = subject(path, front=True)
    found = replace(
        found, errors=Errors((ErrorOfLayer(HOSTILE, HOSTILE, 3.0, 4.0),), (HOSTILE,), None)
    )
    with opened(browser, pages(found, "hostile"), width=390) as seen:
        assert seen.script("() => document.documentElement.scrollWidth") <= 390
        seen.page.click('#graph [data-layer="0"]')
        assert HOSTILE[:30] in seen.text("#details")
        for chart in ("time", "arena"):
            seen.page.locator(f"#chart-{chart} .bars .point").first.hover(force=True)
        seen.page.wait_for_timeout(100)
        assert seen.script("() => document.querySelectorAll('img, a[href*=\"//\"]').length") == 0
        assert seen.errors == []
        assert all(url.startswith(("file:", "data:", "blob:")) for url in seen.requests)


def test_other_models(browser: Any, pages: Pages, shared: Path) -> None:
    """Floats, state, rings of rows, a window over time: each page draws and says nothing wrong."""
    models = shared / "models"
    for name, model, options in (
        ("float", models / "tflm" / "hello_world_float.tflite", {}),
        ("state", models / "wakeword" / "okay_nabu.tflite", {}),
        ("rows", models / "mlperf_tiny" / "kws_ref_model.tflite", {"plan": "min-ram"}),
        ("step", models / "mlperf_tiny" / "kws_ref_model.tflite", {"step": 2}),
    ):  # fmt: skip
        found = subject(model, "mps3-an547", **options)
        with opened(browser, pages(found, name)) as seen:
            assert bars(seen, "time") == len(found.layers), name
            assert bars(seen, "arena") == len(found.arena.blocks), name
            seen.page.click('#graph [data-layer="0"]')
            assert chosen_layer(seen) == [0]
            assert seen.errors == [], name


def chosen_layer(seen: Seen) -> list[int]:
    return list(seen.script(
        "() => [...document.querySelectorAll('#graph .box.chosen')].map((b) => +b.dataset.layer)"
    ))  # fmt: skip
