"""The emitted C of a small model, held as text: a change of the emission shows in review.

`python tests/test_emission.py` writes the golden files anew.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

import tinymill
import tinymill.ops
from conftest import ROOT, need_tool
from tinymill.emit import c_name, emit
from tinymill.emit.facts import number
from tinymill.ir import DType, Graph, GraphBuilder, Port, Quant, TensorType
from tinymill.ops.arithmetic import fixed_point
from tinymill.ops.conv import Conv2D
from tinymill.ops.dense import FullyConnected
from tinymill.ops.reshape import Reshape
from tinymill.ops.variables import AssignVariable
from tinymill.schedule import plan

NO_ASM = "-DTM_NO_ASM"
EXAMPLE = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"
GOLDEN = Path(__file__).resolve().parent / "golden"
FILES = ("tiny.h", "tiny.c", "tiny_weights.h", "tiny_weights.c")


def tiny() -> Graph:
    """A padded convolution, a fully connected layer and a variable that keeps its output."""
    builder = GraphBuilder("tiny")
    x, y, z = Quant((0.5,), (3,)), Quant((0.25,), (-8,)), Quant((0.125,), (0,))
    builder.types["x"] = TensorType((1, 3, 4, 2), DType.INT8, x)
    builder.inputs.append(Port("x", "camera */ image", (1, 2, 3, 4), (0, 2, 3, 1)))
    weights = builder.constant(
        np.arange(-9, 9, dtype=np.int8).reshape(1, 3, 3, 2), stem="w", quant=Quant((0.1,), (0,))
    )
    bias = builder.constant(np.array([7], np.int32), stem="b")
    conv = Conv2D(pad=(1, 1, 1, 1), clamp=(-8, 127), rescale=fixed_point([0.2]))
    (a,) = builder.add(conv, ["x", weights, bias], name="conv \\ 1", quants=[y])
    (b,) = builder.add(Reshape((1, 12)), [a], name="flatten", quants=[y])
    matrix = builder.constant(
        np.arange(24, dtype=np.int8).reshape(2, 12), stem="m", quant=Quant((0.1,), (0,))
    )
    dense = FullyConnected(rescale=fixed_point([0.01]))
    (c,) = builder.add(dense, [b, matrix, ""], name="dense", quants=[z])
    builder.variables["last"] = np.array([[1, -1]], np.int8)
    builder.types["last"] = TensorType((1, 2), DType.INT8, z)
    builder.add(AssignVariable(), ["last", c], name="keep")
    builder.outputs.append(Port(c, "scores", (1, 2), (0, 1)))
    return builder.finish()


@pytest.mark.parametrize("name", FILES)
def test_emitted_c_is_as_before(name):
    assert emit(plan(tiny()), "tiny")[name] == (GOLDEN / name).read_text()


def test_only_the_kernels_used_are_emitted():
    found = {path for path in emit(plan(tiny()), "tiny") if path.startswith("kernels/")}
    used = ("tm_conv2d_pairs_s8", "tm_dense_pairs_s8", "tm_copy_b8")
    assert {f"kernels/{name}.c" for name in used} <= found
    assert not [path for path in found if "f32" in path or "pool" in path]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("vww_96_int8", "vww_96_int8"),
        ("MobileNet-v2 1.0", "mobilenet_v2_1_0"),
        ("5fps", "m_5fps"),
        ("int", "int_"),
        ("...", "model"),
        ("model;rm -rf", "model_rm_rf"),
    ],
)
def test_names_become_c_identifiers(text, name):
    assert c_name(text) == name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0x1.999999999999ap-4f"),
        (np.float32(0.1).item(), "0x1.99999a0000000p-4f"),
        (-(1 << 31), "(-2147483647 - 1)"),
        (float("inf"), "INFINITY"),
        (float("-inf"), "-INFINITY"),
    ],
)
def test_numbers_are_exact(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    "flags",
    [("-O0",), ("-Og",), ("-O1",), ("-Os",), ("-O3",), ("-O2", "-fno-omit-frame-pointer", NO_ASM)],
    ids=" ".join,
)
@pytest.mark.parametrize("target", ["mps2-an386", "mps3-an547", "mps2-an385", "mps2-an505"])
def test_other_ways_to_compile(tmp_path: Path, target: str, flags: tuple[str, ...]) -> None:
    """The C of the example, in a user's own build: assembly or twins, but no error."""
    need_tool("arm-none-eabi-gcc")
    compiled = tinymill.compile(EXAMPLE, target=target, output=tmp_path / "project", name="net")
    machine = compiled.board.compiler.flags
    command = ["arm-none-eabi-gcc", *machine, "-std=c11", "-Wall", "-Wextra", "-Werror", *flags]
    subprocess.run(
        [*command, "-c", "net.c", "-o", "net.o"], cwd=tmp_path / "project", check=True
    )  # fmt: skip


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    emitted = emit(plan(tiny()), "tiny")
    for file in FILES:
        (GOLDEN / file).write_text(emitted[file])
