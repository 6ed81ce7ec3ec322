"""What users' exporters write: shape arithmetic, quantised constants, data beside the file."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import tinymill
from conftest import ROOT, need_tool
from tinymill.frontends import read_model
from tinymill.ir import DType
from tinymill.ops.transpose import Transpose

RNG = np.random.default_rng(11)
MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"


def save(path, nodes, inputs, outputs, constants):
    """Writes an ONNX file; constants are arrays by name."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def agrees(path, shape, **options) -> tinymill.RunResult:
    """The compiled C gives what ONNX Runtime gives for a float input."""
    runtime = pytest.importorskip("onnxruntime")
    x = RNG.standard_normal(shape).astype(np.float32)
    result = tinymill.run(path, input=x, io="float", **options)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {session.get_inputs()[0].name: x})
    for ours, theirs in zip(result.outputs, wanted, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    return result


def quantised(name: str, scale: float, zero: int):
    """Nodes and constants of QuantizeLinear, DequantizeLinear around ``name``."""
    nodes = [
        helper.make_node("QuantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_q"]),
        helper.make_node(
            "DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [f"{name}_r"]
        ),
    ]
    return nodes, {f"{name}_s": np.float32(scale), f"{name}_z": np.int8(zero)}


def test_a_shape_computed_through_scalars(tmp_path):
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["u"]),
        helper.make_node("Concat", ["u", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
        helper.make_node("ReduceSum", ["y"], ["z"], keepdims=0),
    ]
    constants = {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1])}
    path = save(tmp_path / "m.onnx", nodes, {"x": ["N", 3, 4]}, ["y", "z"], constants)
    result = agrees(path, (1, 3, 4))
    assert result.outputs[1].shape == ()


def test_normalisation_with_quantised_constants(tmp_path):
    nodes, constants = quantised("g", 0.01, 3)
    nodes = [
        helper.make_node("DequantizeLinear", ["g_q", "g_s", "g_z"], ["g"]),
        helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"]),
    ]
    constants |= {
        "g_q": np.array([5, 90, -7], np.int8),
        "b": RNG.standard_normal(3).astype(np.float32),
        "m": RNG.standard_normal(3).astype(np.float32),
        "v": RNG.uniform(0.5, 2, 3).astype(np.float32),
    }
    agrees(save(tmp_path / "m.onnx", nodes, {"x": [1, 3, 5, 5]}, ["y"], constants), (1, 3, 5, 5))


def test_concat_of_unequal_scales_stays_in_bytes(tmp_path):
    nodes, constants = [], {}
    for name, scale, zero in (("x", 0.05, 3), ("w", 0.02, -9), ("y", 0.06, 1)):
        more, numbers = quantised(name, scale, zero)
        constants |= numbers
        if name == "y":
            nodes.append(helper.make_node("Concat", ["x_r", "w_r"], ["y"], axis=1))
        nodes += more
    path = save(
        tmp_path / "m.onnx", nodes, {"x": [1, 2, 4, 4], "w": [1, 3, 4, 4]}, ["y_r"], constants
    )
    plan = tinymill.compile(path).plan
    assert {plan.graph.type(v).dtype for b in plan.buffers for v in b.values} == {DType.INT8}
    x = RNG.standard_normal((1, 2, 4, 4)).astype(np.float32)
    w = RNG.standard_normal((1, 3, 4, 4)).astype(np.float32)
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": x, "w": w})
    got = tinymill.run(path, input=[x, w], io="float").outputs[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_transposed_convolution_with_a_float_bias_and_relu_in_bytes(tmp_path):
    nodes, constants = quantised("x", 0.05, 3)
    w = RNG.integers(-99, 99, (3, 4, 3, 3)).astype(np.int8)
    constants |= {"w": w, "ws": np.float32(0.01), "wz": np.int8(0)}
    constants["b"] = RNG.standard_normal(4).astype(np.float32)
    nodes += [
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wr"]),
        helper.make_node("ConvTranspose", ["x_r", "wr", "b"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    more, numbers = quantised("y", 0.04, -100)
    path = save(
        tmp_path / "m.onnx", nodes + more, {"x": [1, 3, 5, 5]}, ["y_r"], constants | numbers
    )
    graph = tinymill.compile(path).plan.graph
    assert {kind.dtype for kind in graph.types.values()} <= {DType.INT8, DType.INT32}
    x = RNG.standard_normal((1, 3, 5, 5)).astype(np.float32)
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": x})
    got = tinymill.run(path, input=x, io="float").outputs[0]
    # the bias is rounded to the accumulator's step: a result may go to the next integer
    steps = np.rint((got - wanted) / 0.04)
    assert np.abs(steps).max() <= 1
    assert (steps != 0).mean() < 0.05


@pytest.mark.parametrize("head", ["mean", "flatten"])
def test_no_transposes_are_left(tmp_path, head):
    nodes, constants = quantised("x", 0.05, 3)
    w = RNG.integers(-99, 99, (4, 2, 3, 3)).astype(np.int8)
    constants |= {"w": w, "ws": np.float32(0.01), "wz": np.int8(0)}
    nodes += [
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wr"]),
        helper.make_node("Conv", ["x_r", "wr"], ["c"], kernel_shape=[3, 3]),
    ]
    more, numbers = quantised("c", 0.07, -5)
    nodes += more
    constants |= numbers
    if head == "mean":
        nodes.append(helper.make_node("ReduceMean", ["c_r"], ["y"], axes=[2, 3], keepdims=0))
    else:
        v = RNG.integers(-99, 99, (5, 4 * 4 * 4)).astype(np.int8)
        constants |= {"v": v, "vs": np.float32(0.01), "vz": np.int8(0)}
        nodes += [
            helper.make_node("Flatten", ["c_r"], ["f"]),
            helper.make_node("DequantizeLinear", ["v", "vs", "vz"], ["vr"]),
            helper.make_node("Gemm", ["f", "vr"], ["y"], transB=1),
        ]
    more, numbers = quantised("y", 0.03, 2)
    path = save(
        tmp_path / "m.onnx", nodes + more, {"x": [1, 2, 6, 6]}, ["y_r"], constants | numbers
    )
    graph = tinymill.compile(path).plan.graph
    assert not [node for node in graph.nodes if isinstance(node.op, Transpose)]
    assert {kind.dtype for kind in graph.types.values()} <= {DType.INT8, DType.INT32}


def test_constants_in_a_file_beside_the_model(tmp_path):
    w = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])
    path = save(tmp_path / "m.onnx", [node], {"x": [1, 3, 5, 5]}, ["y"], {"w": w})
    outside = tmp_path / "big.onnx"
    onnx.save(
        onnx.load(path), outside, save_as_external_data=True, location="big.data", size_threshold=0
    )
    agrees(outside, (1, 3, 5, 5))
    (tmp_path / "big.data").unlink()
    with pytest.raises(tinymill.InvalidModel, match="another file"):
        read_model(outside)


def test_a_project_keeps_its_options(tmp_path):
    folder = tmp_path / "out"
    tinymill.compile(MODEL, output=folder)
    for options in ({"io": "float"}, {"requant": "fixed"}, {"keep_inputs": True}):
        with pytest.raises(tinymill.InvalidInput, match="compiled with"):
            tinymill.run(folder, **options)
    with pytest.raises(tinymill.InvalidInput, match="io is 'bogus'"):
        tinymill.compile(MODEL, io="bogus")


def test_make_run_works_right_after_compile(tmp_path):
    need_tool("make", "gcc")
    folder = tmp_path / "out"
    tinymill.compile(MODEL, output=folder)
    done = subprocess.run(
        ["make", "-s", "-C", folder, "run"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "status 0" in done.stdout
    assert (folder / "output.bin").stat().st_size == 10


def test_inspect_shows_shapes_as_arrays_have_them():
    done = subprocess.run(
        [sys.executable, "-m", "tinymill", "inspect", MODEL, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["inputs"][0].startswith("image: int8[1x1x28x28]")


def test_a_picture_of_16_bits_is_refused(tmp_path):
    Image.fromarray(np.full((28, 28), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(tinymill.InvalidInput, match="8 bits"):
        tinymill.run(MODEL, input=tmp_path / "deep.png")
