"""Whatever a user hands in: one line on stderr, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tflite
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from test_mutations import tflite_fields

from conftest import need_tool
from tinymill import api
from tinymill.api import running
from tinymill.cli import main
from tinymill.emit import c_name
from tinymill.errors import TinymillError
from tinymill.frontends.limits import MAX_NODES
from tinymill.samples import End, frames_of

HOSTILE_NAME = "a*\\ */ \x1b[31m[/x] :smile: %s {{ x }} \u5c42/\n\u2028\"'"


def onnx_bytes(
    nodes: Sequence[onnx.NodeProto] = (),
    constants: Sequence[onnx.TensorProto] = (),
    *,
    shape: Sequence[Any] = (1, 4),
    source: str = "x",
    result: str = "y",
    ends: Sequence[str] = ("y",),
    sources: int = 1,
    opset: int = 13,
) -> bytes:
    """A model x -> y; without nodes one Relu."""
    nodes = list(nodes) or [helper.make_node("Relu", [source], [result], name="relu")]
    inputs = [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)] * sources
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ends]
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports).SerializeToString()


def conv(constants: Sequence[onnx.TensorProto] | None = None, **attributes: Any) -> bytes:
    """A 3x3 convolution of [1, 2, 8, 8]."""
    if constants is None:
        constants = [numpy_helper.from_array(np.ones((2, 2, 3, 3), np.float32), "w")]
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **attributes)
    return onnx_bytes([node], constants, shape=(1, 2, 8, 8))


def external() -> bytes:
    tensor = numpy_helper.from_array(np.ones((2, 2, 3, 3), np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return conv([tensor])


def quantize(scale: float, zero: Any = 0) -> bytes:
    """QuantizeLinear, DequantizeLinear with this scale and zero point."""
    zeros = zero if isinstance(zero, np.ndarray) else np.array(zero, np.int8)
    constants = [
        numpy_helper.from_array(np.array(scale, np.float32), "s"),
        numpy_helper.from_array(zeros, "z"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    return onnx_bytes(nodes, constants)


def node(op: str, *inputs: str, outputs: Sequence[str] = ("y",), **attributes: Any) -> bytes:
    return onnx_bytes([helper.make_node(op, inputs, outputs, name="n", **attributes)])


def deep() -> bytes:
    """Subgraphs within subgraphs."""
    inner = helper.make_graph([], "inner", [], [])
    for _ in range(20):
        branch = helper.make_node("If", ["x"], ["y"], then_branch=inner)
        inner = helper.make_graph([branch], "", [], [])
    return onnx_bytes([helper.make_node("If", ["x"], ["y"], then_branch=inner)])


def truncated_constant() -> bytes:
    tensor = numpy_helper.from_array(np.ones((2, 2, 3, 3), np.float32), "w")
    tensor.raw_data = tensor.raw_data[:-5]
    return conv([tensor])


def reshape(*sizes: int) -> bytes:
    shape = numpy_helper.from_array(np.array(sizes, np.int64), "shape")
    return onnx_bytes([helper.make_node("Reshape", ["x", "shape"], ["y"], name="n")], [shape])


def relu(source: str, result: str) -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [result])


BAD_ONNX: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"hello, I am no model\n" * 100,
    "zeros": lambda: bytes(4096),
    "truncated": lambda: conv()[:-40],
    "cycle": lambda: onnx_bytes([relu("b", "a"), relu("a", "b"), relu("b", "y")]),
    "reads itself": lambda: onnx_bytes([relu("y", "y")]),
    "2^31 elements": lambda: onnx_bytes(shape=(1, 1 << 31)),
    "overflowing shape": lambda: onnx_bytes(shape=(1 << 32, 1 << 32)),
    "negative size": lambda: onnx_bytes(shape=(1, -4)),
    "open size": lambda: onnx_bytes(shape=(1, "n")),
    "rank 40": lambda: onnx_bytes(shape=(1,) * 40),
    "missing constant": lambda: conv([]),
    "truncated constant": truncated_constant,
    "external constant": external,
    "two constants of one name": lambda: conv(
        [numpy_helper.from_array(np.ones((2, 2, 3, 3), np.float32), "w")] * 2
    ),
    "two inputs of one name": lambda: onnx_bytes(sources=2),
    "input without a name": lambda: onnx_bytes(source=""),
    "no output": lambda: onnx_bytes(ends=()),
    "unknown output": lambda: onnx_bytes(ends=("nothing",)),
    "unknown op": lambda: node("Frobnicate", "x"),
    "no inputs of an op": lambda: node("Conv"),
    "too many outputs": lambda: node("Relu", "x", outputs=("z", "w", "y")),
    "huge stride": lambda: conv(strides=[1 << 62, 1]),
    "zero stride": lambda: conv(strides=[0, 1]),
    "negative pads": lambda: conv(pads=[-1, 0, 0, 0]),
    "huge pads": lambda: conv(pads=[1 << 40, 1 << 40, 1 << 40, 1 << 40]),
    "huge dilation": lambda: conv(dilations=[1 << 40, 1]),
    "zero group": lambda: conv(group=0),
    "negative group": lambda: conv(group=-1),
    "huge group": lambda: conv(group=1 << 62),
    "strides of text": lambda: conv(strides="many"),
    "group of floats": lambda: conv(group=[1.0, 2.0]),
    "auto_pad of bytes": lambda: conv(auto_pad=b"\xff\xfe"),
    "float axis": lambda: node("Softmax", "x", axis=0.5),
    "axis out of range": lambda: node("Softmax", "x", axis=1 << 40),
    "scale 0": lambda: quantize(0.0),
    "scale below 0": lambda: quantize(-1.0),
    "scale NaN": lambda: quantize(float("nan")),
    "scale infinite": lambda: quantize(float("inf")),
    "zero point of type float": lambda: quantize(1.0, np.array(0, np.float32)),
    "two zero points, one scale": lambda: quantize(1.0, np.zeros(2, np.int8)),
    "reshape to 2^40": lambda: reshape(1 << 40),
    "reshape to -1, -1": lambda: reshape(-1, -1),
    "reshape to -2^63": lambda: reshape(-(1 << 63)),
    "subgraphs within subgraphs": deep,
    "too many nodes": lambda: onnx_bytes(
        [relu("x" if i == 0 else f"t{i - 1}", f"t{i}") for i in range(MAX_NODES + 1)],
        ends=(f"t{MAX_NODES}",),
    ),
    "opset 1": lambda: onnx_bytes(opset=1),
    "constant output": lambda: onnx_bytes(
        [helper.make_node("Constant", [], ["y"], value_float=1.0)]
    ),
}


INSPECTABLE = ("constant output",)


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


Refuse = Callable[..., str]


@pytest.fixture
def refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Refuse:
    """Runs the command in ``tmp_path``: it must end with one line and leave nothing."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> str:
        before = listing(tmp_path)
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        assert end.value.code == 2, told.err
        assert told.out == ""
        lines = told.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("tinymill: "), told.err
        assert len(lines[0]) < 1600 and lines[0].isprintable()
        assert listing(tmp_path) == before
        return lines[0]

    return run


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.onnx"
    path.write_bytes(conv())
    return path


# -- model files ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_ONNX)
def test_bad_onnx(name: str, refuse: Refuse, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(BAD_ONNX[name]())
    refuse("compile", path, "-o", "out/deep/project")
    if name not in INSPECTABLE:
        refuse("inspect", path, "--json")


def test_no_model_file(refuse: Refuse, tmp_path: Path, good: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "notes.txt").write_text("no model")
    for path in ("absent.onnx", "folder.onnx", "loop.onnx", "pipe.onnx", "notes.txt", "x" * 300,
                 f"{good}/inside.onnx", ""):  # fmt: skip
        refuse("inspect", path)
    assert "no tinymill project" in refuse("run", "folder.onnx", "-i", "pattern")


def tflite_model(shared: Path) -> bytearray:
    return bytearray((shared / "models/tflm/hello_world_int8.tflite").read_bytes())


def _put(content: bytearray, table: Any, slot: int, form: str, value: float) -> None:
    struct.pack_into(form, content, table.Vector(table.Offset(slot)), value)


def tflite_cycle(content: bytearray) -> None:
    graph = tflite.Model.GetRootAs(content, 0).Subgraphs(0)
    last = graph.Operators(graph.OperatorsLength() - 1)
    _put(content, graph.Operators(0)._tab, 6, "<i", last.Outputs(0))


def tflite_size(value: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        graph = tflite.Model.GetRootAs(content, 0).Subgraphs(0)
        _put(content, graph.Tensors(graph.Inputs(0))._tab, 4, "<i", value)

    return change


def tflite_scale(value: float) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        graph = tflite.Model.GetRootAs(content, 0).Subgraphs(0)
        _put(content, graph.Tensors(graph.Inputs(0)).Quantization()._tab, 8, "<f", value)

    return change


def tflite_zero(value: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        graph = tflite.Model.GetRootAs(content, 0).Subgraphs(0)
        _put(content, graph.Tensors(graph.Inputs(0)).Quantization()._tab, 10, "<q", value)

    return change


def tflite_constant(content: bytearray) -> None:
    """No weights: the buffers' lengths become 0."""
    for field in tflite_fields(bytes(content))[2]:
        if field.form == "<I":
            struct.pack_into("<I", content, field.offset, 0)


def tflite_cut(content: bytearray) -> None:
    del content[len(content) // 2 :]


BAD_TFLITE: dict[str, Callable[[bytearray], None]] = {
    "cycle": tflite_cycle,
    "2^31 elements": tflite_size((1 << 31) - 1),
    "size 0": tflite_size(0),
    "size below 0": tflite_size(-1),
    "scale 0": tflite_scale(0.0),
    "scale NaN": tflite_scale(float("nan")),
    "scale infinite": tflite_scale(float("inf")),
    "scale below 0": tflite_scale(-1.0),
    "zero point 1000": tflite_zero(1000),
    "zero point -2^63": tflite_zero(-(1 << 63)),
    "no constants": tflite_constant,
    "cut": tflite_cut,
}


@pytest.mark.parametrize("name", BAD_TFLITE)
def test_bad_tflite(name: str, refuse: Refuse, tmp_path: Path, shared: Path) -> None:
    content = tflite_model(shared)
    BAD_TFLITE[name](content)
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    refuse("compile", path, "-o", "project")


def test_a_large_file_that_is_no_model(refuse: Refuse, tmp_path: Path) -> None:
    with (tmp_path / "large.tflite").open("wb") as stream:
        stream.truncate(5 << 30)
    assert "at most" in refuse("inspect", "large.tflite")


def test_hostile_names_compile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names from the file reach no terminal and no C code as more than text."""
    nodes = [helper.make_node("Relu", ["x"], [HOSTILE_NAME], name=HOSTILE_NAME)]
    for file in (HOSTILE_NAME.replace("/", "_"), "math", "tm_status", "int", "\u5c42", "x" * 240):
        path = tmp_path / f"{file}.onnx"
        path.write_bytes(onnx_bytes(nodes, ends=(HOSTILE_NAME,)))
        with pytest.raises(SystemExit) as end:
            main(["inspect", str(path)])
        told = capsys.readouterr()
        assert end.value.code == 0 and "\x1b" not in told.out and not told.err
        compiled = api.compile(path)
        folder = tmp_path / "project"
        compiled.write(folder)
        need_tool("gcc")
        source = folder / f"{compiled.name}.c"
        flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
        includes = [f"-I{folder}", f"-I{folder / 'kernels'}"]
        done = subprocess.run(
            ["gcc", *flags, *includes, source], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["", "int", "\u5c42", "9", "Math", "a" * 300, "tm_x", "--", "_"])
def test_c_names(name: str) -> None:
    found = c_name(name)
    assert found.isidentifier() and found.isascii() and found == found.lower()
    assert len(found) < 80 and found not in ("int", "math") and not found.startswith("tm_")


# -- folders ----------------------------------------------------------------------------------


def test_folders_that_cannot_be_written(refuse: Refuse, tmp_path: Path, good: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for folder in ("full", "file", "file/below", f"{good}/a/b", "/proc/x", "/proc/self/x/y",
                   "x" * 300, f"new/{'x' * 300}", "/"):  # fmt: skip
        refuse("compile", good, "-o", folder)
    assert "no tinymill project" in refuse("compile", good, "-o", "full")


def test_an_earlier_project_is_replaced_and_kept_on_failure(
    refuse: Refuse, tmp_path: Path, good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main(["compile", str(good), "-o", "project"])
        assert end.value.code == 0
    capsys.readouterr()
    good.write_bytes(b"broken")
    refuse("compile", good, "-o", "project")
    assert (tmp_path / "project/plan.json").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.onnx", "project"]


def command(*arguments: str, folder: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tinymill", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120, **settings,
    )  # fmt: skip


def one_line(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("tinymill: "), done.stderr
    return lines[0]


def test_full_disk(tmp_path: Path, good: Path) -> None:
    """A limit on files' sizes fails the write halfway, as a full disk does."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    done = command("compile", str(good), "-o", "a/b/project", folder=tmp_path, preexec_fn=limit)
    assert "can't be written" in one_line(done)
    assert listing(tmp_path) == ["good.onnx"]


def test_full_standard_output(tmp_path: Path, good: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tinymill", "inspect", str(good)],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    one_line(done)


def test_a_closed_pipe_is_quiet(good: Path) -> None:
    for option in ((), ("--json",)):
        script = f"'{sys.executable}' -m tinymill inspect '{good}' {' '.join(option)} | true"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        assert done.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal(tmp_path: Path, number: int, code: int) -> None:
    """Ctrl-C and SIGTERM in the middle of the writing leave nothing."""
    (tmp_path / "good.onnx").write_bytes(conv())
    script = (
        "import os, time, tinymill.project as project\n"
        "os.fsync = lambda *_: (print('writing', flush=True), time.sleep(60))\n"
        "from tinymill.cli import main\n"
        "main(['compile', 'good.onnx', '-o', 'new/project'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "writing\n"
        time.sleep(0.05)
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(30) == code
    assert said == ("tinymill: interrupted\n" if number == signal.SIGINT else "")
    assert listing(tmp_path) == ["good.onnx"]


def test_ctrl_c_stops_compilers(tmp_path: Path, good: Path) -> None:
    """It comes to the main thread alone, while others wait for compilers."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho started >> '{tmp_path}/log'\nsleep 40\n")
    slow.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-m", "tinymill", "run", str(good), "-i", "pattern", "--cc", str(slow)],
        env={**os.environ, "TMPDIR": str(folder)}, text=True, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while not (tmp_path / "log").is_file() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.stderr.read() == "tinymill: interrupted\n"
        assert process.wait(30) == 130 and time.monotonic() - started < 20
    assert not list(folder.iterdir())


# -- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "x", "x=", "=1", "x=a", "x=0,1", "x=-1", "x=1,,2", "x=1.5", "nothing=1,2", "x=1",
             f"x={1 << 70}", f"x=1,2,{1 << 20},{1 << 20}", f"x={'9' * 5000}"]
)  # fmt: skip
def test_bad_shapes(text: str, refuse: Refuse, good: Path) -> None:
    refuse("inspect", good, "--shape", text)


def test_bad_boards(refuse: Refuse, tmp_path: Path, good: Path) -> None:
    (tmp_path / "broken.toml").write_text("name = [[[")
    (tmp_path / "binary.toml").write_bytes(bytes(range(256)))
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "folder.toml").mkdir()
    for board in ("nothing", "", "../host", "broken.toml", "binary.toml", "empty.toml",
                  "folder.toml", "absent.toml", "x\ny"):  # fmt: skip
        refuse("compile", good, "-o", "project", "--target", board)


def test_usage_errors_are_short(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["compile"], ["compile", str(good)], ["nothing"], ["inspect", "--nothing", str(good)],
        ["compile", str(good), "-o", "x", "--io", "both"], ["run", str(good)],
        ["run", str(good), "-i", "pattern", "--timeout", "soon"],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main(arguments)
        told = capsys.readouterr()
        assert end.value.code == 2 and told.out == ""
        assert "Traceback" not in told.err and len(told.err.splitlines()) <= 6


def test_bad_run_options(refuse: Refuse, good: Path) -> None:
    for timeout in ("0", "-1", "nan", "inf", "1e300"):
        refuse("run", good, "-i", "pattern", "--timeout", timeout)
    refuse("run", good, "-i", "pattern", "--labels", "absent.txt")
    refuse("run", good, "-i", "pattern", "-i", "pattern")
    refuse("run", good, "-i", "pattern", "--cc", "'")


def test_a_missing_compiler(refuse: Refuse, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for target in ("host", "mps2-an386"):
        assert "apt-get install" in refuse("run", good, "-i", "pattern", "--target", target)


# -- inputs -----------------------------------------------------------------------------------


def npy(header: str, *, version: bytes = b"\x01\x00", content: bytes = bytes(64)) -> bytes:
    text = header.encode() + b"\n"
    form = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + version + struct.pack(form, len(text)) + text + content


BAD_ARRAYS: dict[str, bytes] = {
    "empty": b"",
    "text": b"1 2 3\n",
    "magic only": b"\x93NUMPY",
    "version 9": npy("{}", version=b"\x09\x00"),
    "zip": b"PK\x03\x04" + bytes(100),
    "truncated": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 8, 8)}"),
    "2^62 elements": npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 62},)}}"),
    "negative": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}"),
    "text as shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': 'x'}"),
    "no descr": npy("{'fortran_order': False, 'shape': (2,)}"),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}"),
    "bad descr": npy("{'descr': 'nothing', 'fortran_order': False, 'shape': (2,)}"),
    "records": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}"),
    "complex": npy("{'descr': '<c8', 'fortran_order': False, 'shape': (2,)}"),
    "strings": npy("{'descr': '<U4', 'fortran_order': False, 'shape': (2,)}"),
    "code": npy("__import__('os').system('true')"),
    "open bracket": npy("{'descr': ((((("),
    "deep": npy("(" * 5000),
    "wrong shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4)}"),
    "no elements": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1, 2, 8, 8)}"),
    "no axes": npy("{'descr': '<f4', 'fortran_order': False, 'shape': ()}"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays(name: str, refuse: Refuse, tmp_path: Path, good: Path) -> None:
    (tmp_path / "x.npy").write_bytes(BAD_ARRAYS[name])
    refuse("run", good, "-i", "x.npy", "--json")


def test_mutated_arrays(refuse: Refuse, tmp_path: Path, good: Path) -> None:
    """Each byte of a .npy header changed: an error, or an array of the right shape."""
    np.save(tmp_path / "whole.npy", np.zeros((1, 2, 8, 8), np.float32))
    content = (tmp_path / "whole.npy").read_bytes()
    ends = [End("x", np.dtype(np.float32), (1, 2, 8, 8), (0, 1, 2, 3), None, None)]
    for place in range(128):
        for value in (0, 0x28, 0x39, 0xFF, content[place] ^ 1):
            changed = bytearray(content)
            changed[place] = value
            (tmp_path / "x.npy").write_bytes(changed)
            try:
                frames, count = frames_of([tmp_path / "x.npy"], ends)
            except TinymillError as error:
                assert "\n" not in str(error)
            else:
                assert len(frames) == 512 and count == 1


def test_bad_pictures(refuse: Refuse, tmp_path: Path) -> None:
    model = tmp_path / "picture.onnx"
    model.write_bytes(onnx_bytes(shape=(1, 3, 8, 8)))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "right.png")
    Image.new("RGB", (9, 8)).save(tmp_path / "wide.png")
    content = (tmp_path / "right.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:50])
    (tmp_path / "flipped.png").write_bytes(content[:45] + b"\xff" + content[46:])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "script.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    bomb = b"\x00\x00\x00\rIHDR" + struct.pack(">II", 1 << 30, 1 << 30) + content[24:29]
    (tmp_path / "bomb.png").write_bytes(content[:8] + bomb + content[29:])
    for name in ("wide.png", "cut.png", "flipped.png", "empty.png", "script.eps", "absent.png",
                 "bomb.png", "."):  # fmt: skip
        refuse("run", model, "-i", name)
    refuse("run", model, "-i", "bomb.png", "--resize")
    refuse("run", model, "-i", "right.png", "--std", "0")
    refuse("run", model, "-i", "right.png", "--mean", "nan")


# -- project folders --------------------------------------------------------------------------


def plan_cases() -> list[tuple[Any, ...]]:
    """(path of keys, value) for what is put into a plan.json."""
    hostile = (None, -1, 1 << 70, 1.5, True, "", "x\ny", [], {}, [None], "../../x")
    paths: tuple[tuple[Any, ...], ...] = (
        ("model",), ("target",), ("inputs",), ("outputs",), ("layers",), ("layers", 0),
        ("inputs", 0), ("inputs", 0, "shape"), ("inputs", 0, "shape", 0), ("inputs", 0, "dtype"),
        ("inputs", 0, "order"), ("inputs", 0, "scale"), ("inputs", 0, "zero_point"),
        ("inputs", 0, "name"), ("outputs", 0, "shape"), ("outputs", 0, "order"),
        ("outputs", 0, "dtype"), ("layers", 0, "name"), ("layers", 0, "op"),
    )  # fmt: skip
    return [(path, value) for path in paths for value in hostile]


def test_mutated_plans(tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose plan.json says anything: an error, or a run that takes it for true."""
    folder = tmp_path / "project"
    api.compile(good, output=folder)
    whole = json.loads((folder / "plan.json").read_text())

    def measured(*_: Any, **__: Any) -> Any:
        raise TinymillError("nothing is built here")

    monkeypatch.setattr(running, "measure", measured)
    for path, value in plan_cases():
        plan = json.loads(json.dumps(whole))
        place = plan
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        (folder / "plan.json").write_text(json.dumps(plan))
        with pytest.raises(TinymillError) as raised:
            api.run(folder, input="pattern")
        assert "\n" not in str(raised.value)
        if isinstance(place, dict):
            del place[path[-1]]
            (folder / "plan.json").write_text(json.dumps(plan))
            with pytest.raises(TinymillError):
                api.run(folder, input="pattern")


def test_broken_plans(refuse: Refuse, tmp_path: Path, good: Path) -> None:
    api.compile(good, output=tmp_path / "project")
    text = (tmp_path / "project/plan.json").read_text()
    for broken in ("", "null", "[]", "3", text[:-20], "[" * 100_000, "\x00", '{"model": NaN}'):
        (tmp_path / "project/plan.json").write_text(broken)
        refuse("run", "project", "-i", "pattern")
    (tmp_path / "project/plan.json").write_bytes(b"\xff\xfe\x00")
    refuse("run", "project", "-i", "pattern")
    (tmp_path / "project/plan.json").write_text(text)
    (tmp_path / "project/good.c").unlink()
    refuse("run", "project", "-i", "pattern")


def test_a_plan_of_other_c(refuse: Refuse, tmp_path: Path, good: Path) -> None:
    """plan.json promises another input than the C beside it reads."""
    need_tool("cc")
    api.compile(good, output=tmp_path / "project")
    path = tmp_path / "project/plan.json"
    plan = json.loads(path.read_text())
    for end in ("inputs", "outputs"):
        changed = json.loads(json.dumps(plan))
        changed[end][0]["shape"][1] += 1
        path.write_text(json.dumps(changed))
        refuse("run", "project", "-i", "pattern")


# -- results ----------------------------------------------------------------------------------


def result_of(*names: str) -> api.RunResult:
    array = np.arange(3, dtype=np.float32)
    ram, flash = api.Ram(0, 0, 0), api.Flash(0, 0)
    return api.RunResult("host", 1, (array,) * len(names), names, None, ram, flash, ())


def test_outputs_of_any_name(tmp_path: Path) -> None:
    names = ("file", "a/b", "", "x", "x", "allow_pickle")
    api.save_outputs(result_of(*names), tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as found:
        assert len(found.files) == len(names)
        assert all(found[name].shape == (3,) for name in found.files)


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    for path in ("absent/y.npy", "/proc/y.npy", "folder.npy", "y.txt", f"{'x' * 300}.npy"):
        with pytest.raises(TinymillError):
            api.save_outputs(result_of("y"), tmp_path / path)
    assert listing(tmp_path) == ["folder.npy"]
