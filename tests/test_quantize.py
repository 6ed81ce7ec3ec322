"""Float models to int8: what the steps promise, what the data may be, what is refused and how."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

import tinymill
from conftest import ROOT, absent, need_tool
from tinymill import cli, quantizer
from tinymill.deploy import library
from tinymill.frontends import read_model
from tinymill.ir import DType, GraphBuilder, Port, TensorType
from tinymill.ops.binary import Binary
from tinymill.ops.concat import Concat
from tinymill.ops.conv import Conv2D
from tinymill.ops.dense import FullyConnected
from tinymill.ops.pad import Pad
from tinymill.ops.pool import MaxPool
from tinymill.ops.reduce import Reduce
from tinymill.ops.softmax import Softmax
from tinymill.ops.transpose import Transpose
from tinymill.ops.unary import Unary
from tinymill.passes import pipeline, run_passes
from tinymill.quantizer import Preparation, dataset, runtime
from tinymill.quantizer.correct import correct_bias, rounded
from tinymill.quantizer.edit import Editor
from tinymill.quantizer.equalize import channel_ranges, equalize
from tinymill.quantizer.export import export
from tinymill.quantizer.runtime import Session
from tinymill.samples import End
from tinymill.validation import oracle

pytest.importorskip("onnxruntime")

INT8 = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"
DATA = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory):
    need_tool("cc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(library.CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def network(batch: int | str = 1, opset: int = 17) -> onnx.ModelProto:
    """Convolution, depthwise and transposed one, each with BatchNorm, then a classifier.

    Channels have ranges that differ by up to 100, as equalisation finds them.
    """
    uneven = 10.0 ** np.random.default_rng(9).uniform(-1, 1, (8, 1, 1, 1)).astype(np.float32)
    held = {
        "w1": floats(1, 8, 3, 3, 3) * uneven, "w2": floats(2, 8, 1, 3, 3), "b2": floats(3, 8),
        "w3": floats(4, 8, 4, 2, 2), "w4": floats(5, 5, 4), "b4": floats(6, 5),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        norm("c1", "n1", 8, held),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], group=8, pads=[1, 1, 1, 1]),
        norm("c2", "n2", 8, held),
        helper.make_node("Relu", ["n2"], ["r2"]),
        helper.make_node("ConvTranspose", ["r2", "w3"], ["c3"], strides=[2, 2]),
        norm("c3", "n3", 4, held),
        helper.make_node("Relu", ["n3"], ["r3"]),
        helper.make_node("GlobalAveragePool", ["r3"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w4", "b4"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def norm(source: str, to: str, count: int, held: dict[str, np.ndarray]) -> NodeProto:
    names = [f"{to}_{part}" for part in ("gamma", "beta", "mean", "variance")]
    for seed, name in enumerate(names, count):
        held[name] = np.abs(floats(seed, count)) + np.float32(0.5)
    return helper.make_node("BatchNormalization", [source, *names], [to])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(network(), tmp_path / "float.onnx")
    return tmp_path / "float.onnx"


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", floats(7, 32, 3, 16, 16))
    return tmp_path / "x.npy"


def feed(index: int) -> dict[str, np.ndarray]:
    return {"x": floats(100 + index, 1, 3, 16, 16)}


def outputs(model: onnx.ModelProto, count: int = 8) -> np.ndarray:
    session = Session(model)
    return np.stack([next(iter(session.run(feed(index)).values())) for index in range(count)])


def decibels(truth: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((truth**2).sum() / ((truth - found) ** 2).sum()))


# -- the steps --------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [11, 17])
def test_preparing_folds_batch_norm_and_keeps_the_function(tmp_path, opset):
    source = network("N", opset)
    onnx.save(source, tmp_path / "m.onnx")
    ready = quantizer.prepare(tmp_path / "m.onnx")
    assert "BatchNormalization" not in {node.op_type for node in ready.graph.node}
    assert [end.shape for end in quantizer.inputs_of(ready)] == [(1, 3, 16, 16)]
    np.testing.assert_allclose(outputs(ready), outputs(source), rtol=1e-4, atol=1e-4)
    names = [node.name for node in ready.graph.node]
    assert all(names) and len(set(names)) == len(names)


def test_equalising_evens_the_ranges_and_keeps_the_function(model):
    ready = quantizer.prepare(model)
    before = outputs(ready)
    editor = Editor(ready)
    assert equalize(editor, {}) == 2
    np.testing.assert_allclose(outputs(ready), before, rtol=1e-4, atol=1e-4)
    first, second, third = editor.layers()[:3]
    for one, other in ((first, second), (second, third)):
        r1 = np.abs(editor.by_output_channel(one)).max(axis=1)
        r2 = np.abs(editor.by_input_channel(other)).max(axis=1)
        np.testing.assert_allclose(r1, r2, rtol=0.01)


def test_channels_of_weights_as_rows():
    """Each layer's rows against the layer itself, groups and transposed forms included."""
    for kind, shape, attributes, outs in (
        ("Conv", (6, 2, 3, 3), {"group": 2}, 6),
        ("ConvTranspose", (4, 3, 2, 2), {"group": 2}, 6),
        ("Gemm", (5, 4), {"transB": 1, "alpha": 2.0, "beta": 0.5}, 5),
        ("Gemm", (4, 5), {}, 5),
    ):
        x = floats(1, 1, 4, *([6, 6] if kind != "Gemm" else []))
        graph = helper.make_graph(
            [helper.make_node(kind, ["x", "w", "b"], ["y"], **attributes)],
            "layer",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [onnx.ValueInfoProto(name="y")],
            [numpy_helper.from_array(floats(2, *shape), "w"),
             numpy_helper.from_array(floats(3, outs), "b")],
        )  # fmt: skip
        layer = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        layer.ir_version = 8
        y = Session(layer).run({"x": x})["y"]
        editor = Editor(layer)
        (node,) = editor.layers()
        scale = np.arange(1.0, outs + 1)
        editor.set_by_output_channel(node, editor.by_output_channel(node) * scale[:, None])
        editor.set_bias(node, editor.bias(node) * scale)
        axes = (1, -1, 1, 1)[: y.ndim]
        found = Session(layer).run({"x": x})["y"]
        np.testing.assert_allclose(found, y * scale.reshape(axes), rtol=1e-4, atol=1e-4)
        ins = np.float32([1, 2, 4, 8])
        editor.set_by_input_channel(node, editor.by_input_channel(node) / ins[:, None])
        again = Session(layer).run({"x": x * ins.reshape((1, -1, 1, 1)[: x.ndim])})["y"]
        np.testing.assert_allclose(again, found, rtol=1e-4, atol=1e-4)


def test_corrected_biases_take_out_the_mean_error(model):
    ready = quantizer.prepare(model)
    coarse = onnx.ModelProto()
    coarse.CopyFrom(ready)
    editor = Editor(ready)
    layers = editor.layers()
    first = layers[0].output[0]
    truth = np.stack([Session(ready, [first]).run(feed(i))[first] for i in range(16)])
    steps = []
    assert correct_bias(editor, feed, 16, lambda: steps.append(1)) == len(layers) == 4
    assert len(steps) == 16
    errors = []
    for candidate in (coarse, ready):
        rough = Editor(candidate)
        for layer in rough.layers():
            rough.set_by_output_channel(layer, rounded(rough.by_output_channel(layer)))
        found = np.stack([Session(candidate, [first]).run(feed(i))[first] for i in range(16)])
        errors.append(np.abs((found - truth).mean(axis=(0, 1, 3, 4))).max())
    assert errors[1] < 0.02 * errors[0]


def chain(
    held: dict[str, np.ndarray], nodes: list[NodeProto], shape=(1, 3, 8, 8)
) -> onnx.ModelProto:
    """A model of nodes from x to y."""
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    found.ir_version = 8
    return found


def switched_off() -> onnx.ModelProto:
    """Channel 3 gives its bias alone, as pruning and weight decay leave it; the depthwise layer
    hardly reads channel 5."""
    held = {
        "w1": floats(1, 8, 3, 3, 3), "b1": floats(2, 8), "w2": floats(3, 8, 1, 3, 3),
        "b2": floats(4, 8), "w3": floats(5, 6, 8, 1, 1), "b3": floats(6, 6),
    }  # fmt: skip
    held["w1"][3] *= np.float32(1e-6)
    held["b1"][3] = 0.5
    held["w2"][5] *= np.float32(1e-5)
    return chain(
        held,
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1], group=8),
            helper.make_node("Relu", ["c2"], ["r2"]),
            helper.make_node("Conv", ["r2", "w3", "b3"], ["y"]),
        ],
    )


def test_a_switched_off_channel_does_not_set_the_range(tmp_path):
    """Its bias over weights near zero is its range: divided by them it would be everyone's."""
    onnx.save(switched_off(), tmp_path / "m.onnx")
    ready = quantizer.prepare(tmp_path / "m.onnx")
    x = floats(7, 16, 3, 8, 8)
    editor = Editor(ready)
    given = channel_ranges(editor, lambda index: {"x": x[index : index + 1]}, 16, lambda: None)
    before = np.stack([Session(ready).run({"x": each[None]})["y"] for each in x])
    assert equalize(editor, given) == 2
    after = np.stack([Session(ready).run({"x": each[None]})["y"] for each in x])
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)
    first = editor.layers()[0]
    reach = given["r1"].max()
    assert np.abs(editor.bias(first)).max() < 2 * reach
    np.save(tmp_path / "x.npy", x)
    errors = [
        tinymill.quantize(
            tmp_path / "m.onnx", calibration=tmp_path / "x.npy", output=tmp_path / "q.onnx",
            equalize=asked,
        ).layers[-1].sqnr_db
        for asked in (False, True)
    ]  # fmt: skip
    assert errors[1] > errors[0] - 0.5


def test_an_equalised_model_that_is_worse_is_not_taken(
    model, samples, tmp_path, monkeypatch, capsys
):
    def spoil(editor: Editor, given) -> int:
        first, second = editor.layers()[:2]
        scale = np.ones(8)
        scale[0] = 1e-3
        editor.set_by_output_channel(first, editor.by_output_channel(first) / scale[:, None])
        editor.set_bias(first, editor.bias(first) / scale)
        editor.set_by_input_channel(second, editor.by_input_channel(second) * scale[:, None])
        return 1

    plain = tinymill.quantize(model, calibration=samples, output=tmp_path / "p.onnx")
    monkeypatch.setattr(quantizer, "equalize", spoil)
    with pytest.raises(SystemExit):
        cli.main(["quantize", str(model), "-c", str(samples), "-o", str(tmp_path / "q.onnx"),
                  "--equalize"])  # fmt: skip
    told = capsys.readouterr().out
    assert "equalised pairs of layers: 0" in told
    assert re.search(r"warning: outputs at .* dB without equalising: it is left out", told)
    assert (tmp_path / "q.onnx").read_bytes() == (tmp_path / "p.onnx").read_bytes()
    assert plain.warnings == ()


def test_nothing_to_correct_is_no_failure(tmp_path, capsys):
    held = {"w": floats(1, 8, 5)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"], name="mul"),
             helper.make_node("Relu", ["m"], ["y"])]  # fmt: skip
    onnx.save(chain(held, nodes, (1, 4, 8)), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", floats(2, 8, 4, 8))
    with pytest.raises(SystemExit) as end:
        cli.main(["quantize", str(tmp_path / "m.onnx"), "-c", str(tmp_path / "x.npy"), "-o",
                  str(tmp_path / "q.onnx"), "--equalize", "--correct-bias"])  # fmt: skip
    told = capsys.readouterr().out
    assert end.value.code == 0
    assert "equalised pairs of layers: 0\n" in told
    assert "layers with corrected biases: 0\n" in told
    assert "layers that can't be changed: 1 (1: a MatMul, not a Conv or Gemm)" in told
    assert (tmp_path / "q.onnx").is_file()


def test_layers_that_share_weights_get_their_own(tmp_path):
    """Exporters write equal initializers once; what one layer's changes, the other's stays."""
    held = {"w": floats(1, 4, 4, 3, 3), "b": np.zeros(4, np.float32), "k": floats(2, 4, 4, 1, 1)}
    held["w"] *= 10.0 ** np.random.default_rng(3).uniform(-1, 1, (4, 1, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c1"], pads=[1, 1, 1, 1], name="one"),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w", "b"], ["c2"], pads=[1, 1, 1, 1], name="two"),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "k", "b"], ["y"], name="three"),
    ]
    onnx.save(chain(held, nodes, (1, 4, 8, 8)), tmp_path / "m.onnx")
    ready = quantizer.prepare(tmp_path / "m.onnx")
    x = floats(4, 1, 4, 8, 8)
    before = Session(ready).run({"x": x})["y"]
    editor = Editor(ready)
    assert equalize(editor, {}) == 2
    np.testing.assert_allclose(
        Session(ready).run({"x": x})["y"], before, rtol=1e-3, atol=1e-3 * np.abs(before).max()
    )
    weights = {name: layer.input[1] for name, layer in
               ((layer.name, layer) for layer in editor.layers())}  # fmt: skip
    assert len(set(weights.values())) == 3
    assert correct_bias(editor, lambda index: {"x": x}, 1, lambda: None) == 3
    biases = {layer.input[2] for layer in editor.layers()}
    assert len(biases) == 3
    assert len({tuple(editor.bias(layer)) for layer in editor.layers()}) == 3


def test_rounded_weights_are_those_of_the_int8_model(model, samples, tmp_path):
    output = tmp_path / "q.onnx"
    tinymill.quantize(model, calibration=samples, output=output, samples=8)
    real, found = Editor(quantizer.prepare(model)), Editor(onnx.load(output))
    for name, layer in {layer.name: layer for layer in real.layers()}.items():
        weights = next(node for node in found.model.graph.node if node.name == name).input[1]
        node = found.producers[weights]
        q, scale = (found.constant(each).astype(np.float64) for each in node.input[:2])
        axis = 1 if layer.op_type == "ConvTranspose" else 0
        q = q * scale.reshape(*[1] * axis, -1, *[1] * (q.ndim - axis - 1))
        truth = rounded(real.by_output_channel(layer))
        real.set_constant(layer.input[1], q)
        np.testing.assert_allclose(real.by_output_channel(layer), truth, atol=1e-5)


# -- the command ------------------------------------------------------------------------------


def test_the_int8_model_is_close_and_compiles_to_integers(model, samples, tmp_path):
    found = tinymill.quantize(model, calibration=samples, output=tmp_path / "q.onnx")
    assert (found.samples, found.equalized, found.corrected) == (32, 0, 0)
    assert found.unquantized == ()
    assert found.bytes == (tmp_path / "q.onnx").stat().st_size
    assert found.accuracy is None
    truth = outputs(onnx.load(model))
    x = np.stack([feed(index)["x"] for index in range(8)])
    plain = tinymill.load(tmp_path / "q.onnx", io="float")(x)
    error = decibels(truth, plain)
    assert error > 12
    assert found.layers[-1].tensor == "y"
    assert all(layer.own_db >= layer.sqnr_db - 0.5 for layer in found.layers)
    worst = found.worst(2)
    assert worst[0].sqnr_db == min(layer.sqnr_db for layer in found.layers)
    assert worst[0].sqnr_db <= worst[1].sqnr_db
    better = tinymill.quantize(
        model, calibration=samples, output=tmp_path / "q.onnx", equalize=True, correct_bias=True
    )
    assert (better.equalized, better.corrected) == (2, 4)
    evened = tinymill.load(tmp_path / "q.onnx", io="float")(x)
    assert decibels(truth, evened) > error + 3


def test_methods_find_their_own_ranges(model, tmp_path):
    x = floats(7, 16, 3, 16, 16)
    x[0, 0, 0, 0] = 60.0  # an outlier
    np.save(tmp_path / "x.npy", x)
    scales = {}
    for method in ("minmax", "entropy", "percentile"):
        tinymill.quantize(
            model, calibration=tmp_path / "x.npy", output=tmp_path / "q.onnx", method=method,
            percentile=99.9 if method == "percentile" else None,
        )  # fmt: skip
        scales[method] = tinymill.load(tmp_path / "q.onnx").inputs[0].scale
    assert scales["minmax"] == pytest.approx((60 - x.min()) / 255, rel=1e-3)
    assert scales["percentile"] < 0.2 * scales["minmax"]
    assert scales["entropy"] < 0.5 * scales["minmax"]


def test_pictures_go_in_as_their_pixels(model, tmp_path):
    rng = np.random.default_rng(1)
    for index in range(4):
        (tmp_path / "data" / str(index % 2)).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / str(index % 2) / f"{index}.png")
    found = tinymill.quantize(
        model, calibration=tmp_path / "data", output=tmp_path / "q.onnx",
        preparation=Preparation(mean=(128.0,), std=(64.0,)),
    )  # fmt: skip
    end = tinymill.load(tmp_path / "q.onnx").inputs[0]
    assert (end.scale, end.zero_point) == (1 / 64, 0)
    assert found.accuracy is not None
    assert (found.accuracy.samples, found.accuracy.by) == (4, "the compiled C")


def test_json_has_what_the_page_says(model, tmp_path, capsys):
    labels = outputs(onnx.load(model), 6).reshape(6, -1).argmax(axis=1)
    x = np.concatenate([feed(index)["x"] for index in range(6)])
    np.savez(tmp_path / "data.npz", x=x, y=labels)
    with pytest.raises(SystemExit) as end:
        cli.main(
            ["quantize", str(model), "-c", str(tmp_path / "data.npz"), "-o",
             str(tmp_path / "q.onnx"), "--json"]
        )  # fmt: skip
    assert end.value.code == 0
    found = json.loads(capsys.readouterr().out)
    page = (ROOT / "docs" / "quantizing.md").read_text()
    for key in (*found, *found["layers"][0], *found["accuracy"]):
        assert f"`{key}`" in page, key
    assert found["accuracy"]["float"] == 1.0
    assert 0 <= found["accuracy"]["quantized"] <= 1
    assert found["worst"][0] in {layer["name"] for layer in found["layers"]}


def test_fashion_mnist_keeps_its_accuracy(tmp_path):
    """Within half a point of float, also where channels are made as uneven as they can be."""
    if not DATA.is_dir():
        absent("dataset-fashion-mnist is not installed")
    images, answers = fashion_mnist(2000)
    np.savez(tmp_path / "test.npz", x=images[:1000], y=answers[:1000])
    np.save(tmp_path / "calibration.npy", images[1000:1128])
    onnx.save(uneven_float_form(INT8), tmp_path / "float.onnx")
    found = tinymill.quantize(
        tmp_path / "float.onnx", calibration=tmp_path / "calibration.npy",
        output=tmp_path / "q.onnx", evaluate=tmp_path / "test.npz", equalize=True,
        correct_bias=True, samples=64,
    )  # fmt: skip
    accuracy = found.accuracy
    assert accuracy is not None and accuracy.samples == 1000
    assert accuracy.real > 0.9
    assert accuracy.quantized >= accuracy.real - 0.005
    plain = tinymill.quantize(
        tmp_path / "float.onnx", calibration=tmp_path / "calibration.npy",
        output=tmp_path / "q.onnx", samples=64,
    )  # fmt: skip
    assert plain.worst(1)[0].sqnr_db < found.worst(1)[0].sqnr_db - 6


def fashion_mnist(count: int) -> tuple[np.ndarray, np.ndarray]:
    import gzip  # noqa: PLC0415

    raw = [
        np.frombuffer(gzip.decompress((DATA / name).read_bytes()), np.uint8)
        for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    ]
    images = raw[0][16:].reshape(-1, 1, 28, 28)[:count].astype(np.float32) / np.float32(255)
    return images, raw[1][8:][:count]


def uneven_float_form(path: Path) -> onnx.ModelProto:
    """The float model of a QDQ one, its channels scaled against each other where ReLUs allow it.

    A ReLU stands where a zero point of -128 cuts off negative values.
    """
    source = Editor(onnx.load(path))
    graph = source.model.graph
    renamed: dict[str, str] = {}
    nodes: list[NodeProto] = []
    held: dict[str, np.ndarray] = {}
    made: dict[str, NodeProto] = {}
    for node in graph.node:
        value = renamed.get(node.input[0], node.input[0])
        if node.op_type == "QuantizeLinear":
            renamed[node.output[0]] = value
            relu = int(source.constant(node.input[2])) == -128 and value in made
            if relu and made[value].op_type in ("Conv", "Add"):
                renamed[node.output[0]] = f"{value}_relu"
                nodes.append(helper.make_node("Relu", [value], [f"{value}_relu"]))
        elif node.op_type == "DequantizeLinear" and node.input[0] in source.constants:
            q, scale = (source.constant(name).astype(np.float64) for name in node.input[:2])
            held[node.output[0]] = q * scale.reshape(-1, *[1] * (q.ndim - 1))
        elif node.op_type == "DequantizeLinear":
            renamed[node.output[0]] = value
        else:
            layer = helper.make_node(
                node.op_type, [renamed.get(name, name) for name in node.input],
                list(node.output), name=node.name,
                **{item.name: helper.get_attribute_value(item) for item in node.attribute},
            )  # fmt: skip
            nodes.append(layer)
            made[node.output[0]] = layer
    nodes.append(
        helper.make_node("Identity", [renamed[graph.output[0].name]], [graph.output[0].name])
    )
    float_graph = helper.make_graph(
        nodes, "float", graph.input, graph.output,
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in held.items()],
    )  # fmt: skip
    model = helper.make_model(float_graph, opset_imports=source.model.opset_import)
    model.ir_version = source.model.ir_version
    editor = Editor(model)
    rng = np.random.default_rng(0)
    for first in editor.layers():
        reader = editor.only_reader(first.output[0])
        second = reader and editor.only_reader(reader.output[0])
        if second is None or reader.op_type != "Relu" or second.op_type != "Conv":
            continue
        scale = 2.0 ** rng.uniform(-4, 4, len(editor.by_output_channel(first)))
        editor.set_by_output_channel(first, editor.by_output_channel(first) * scale[:, None])
        editor.set_bias(first, editor.bias(first) * scale)
        editor.set_by_input_channel(second, editor.by_input_channel(second) / scale[:, None])
    return model


# -- float TFLite models ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["mlperf_tiny/kws_ref_model_float32", "mlperf_tiny/pretrainedResnet"]
)
def test_tflite_models_as_onnx_compute_the_same(shared, name):
    path = shared / "models" / f"{name}.tflite"
    graph = run_passes(read_model(path), pipeline(quantized_io=False, fixed=False))
    (port,) = graph.inputs
    x = floats(1, 2, *port.shape)
    (truth,) = oracle(graph, [x], 2)
    model = quantizer.prepare(path)
    assert [end.shape for end in quantizer.inputs_of(model)] == [port.shape]
    session = Session(model)
    for index in range(2):
        found = session.run({port.name: x[index]})[graph.outputs[0].name]
        np.testing.assert_allclose(found, truth[index], rtol=1e-4, atol=1e-5)
    moved = [node.op_type for node in model.graph.node if node.op_type == "Transpose"]
    assert len(moved) <= 2  # at the ends


def test_a_tflite_model_becomes_int8(shared, tmp_path):
    path = shared / "models" / "tflm" / "hello_world_float.tflite"
    x = np.linspace(0, 2 * np.pi, 128, dtype=np.float32).reshape(-1, 1)
    np.save(tmp_path / "x.npy", x)
    found = tinymill.quantize(path, calibration=tmp_path / "x.npy", output=tmp_path / "q.onnx")
    assert found.unquantized == ()
    answers = tinymill.load(tmp_path / "q.onnx", io="float")(x)
    assert np.abs(answers - np.sin(x)).max() < 0.15


def test_ops_of_the_ir_as_onnx():
    """Those that few models have, in both forms of a map."""
    builder = GraphBuilder("ops")
    builder.types["x"] = TensorType((1, 6, 5, 4), DType.FLOAT32)
    builder.inputs.append(Port("x", "camera", (1, 4, 6, 5), (0, 2, 3, 1)))
    weights = builder.constant(floats(1, 4, 3, 3, 1), stem="w")
    by_channel = builder.constant(floats(2, 1, 1, 1, 4), stem="c")
    depthwise = Conv2D(pad=(1, 1, 1, 1), groups=4, clamp=(0.0, 6.0))

    def add(op, *inputs: str) -> str:
        return builder.add(op, inputs, name=op.name)[0]

    value = add(depthwise, "x", weights, "")
    value = add(Binary("mul"), value, by_channel)
    value = add(Pad((0, 1, 0, 0), (0, 0, 2, 0), value=0.5), value)
    other = add(Unary("leakyrelu", alpha=0.1), value)
    value = add(Concat(3), value, add(Unary("hardsigmoid", 0.2, 0.5), other))
    value = add(MaxPool((2, 2), (2, 2)), value)
    builder.outputs.append(Port(value, "map", (1, 8, 3, 3), (0, 2, 3, 1)))
    mean = add(Reduce("mean", (1, 2), keepdims=False), value)
    top = add(Reduce("max", (1,)), value)
    dense = builder.constant(floats(3, 5, 24), stem="d")
    flat = add(FullyConnected(flatten=True), top, dense, "")
    turned = add(Transpose((1, 0)), add(Softmax(beta=2.0), flat))
    for name, each in (("mean", mean), ("turned", turned)):
        shape = builder.types[each].shape
        builder.outputs.append(Port(each, name, shape, tuple(range(len(shape)))))
    graph = builder.finish()
    x = floats(4, 1, 1, 4, 6, 5)
    model = export(graph)
    onnx.checker.check_model(model)
    found = Session(model).run({"camera": x[0]})
    for port, truth in zip(graph.outputs, oracle(graph, [x], 1), strict=True):
        assert found[port.name].shape == port.shape
        np.testing.assert_allclose(found[port.name], truth[0], rtol=1e-5, atol=1e-5)


def test_ops_without_a_float_form_here():
    builder = GraphBuilder("sine")
    builder.types["x"] = TensorType((1, 4), DType.FLOAT32)
    builder.inputs.append(Port("x", "x", (1, 4), (0, 1)))
    (y,) = builder.add(Unary("sin"), ["x"], name="wave")
    builder.outputs.append(Port(y, "y", (1, 4), (0, 1)))
    with pytest.raises(tinymill.UnsupportedOp, match=r"wave: Sin of a TFLite model"):
        export(builder.finish())


# -- the data ---------------------------------------------------------------------------------


def end(name: str, *shape: int) -> End:
    return End(name, np.dtype(np.float32), shape, tuple(range(len(shape))), None, None)


def read(path: Path, *ends: End, preparation: Preparation | None = None, **options):
    return dataset.read_samples(path, ends, preparation or Preparation(), **options)


def test_arrays_in_their_forms(tmp_path):
    path = tmp_path / "x.npy"
    x = floats(1, 6, 3, 4, 5)
    wanted = end("x", 1, 3, 4, 5)
    for array in (x, x[:, None], x.astype(np.float64)):
        np.save(path, array)
        found = read(path, wanted)
        assert (found.count, found.labels) == (6, None)
        np.testing.assert_array_equal(found.feed(2)["x"], x[2:3])
    np.save(path, x.transpose(0, 2, 3, 1))
    found = read(path, wanted, preparation=Preparation(layout="nhwc"))
    np.testing.assert_array_equal(found.feed(2)["x"], x[2:3])
    np.save(path, x[:, 0])
    np.testing.assert_array_equal(read(path, end("x", 1, 1, 4, 5)).feed(1)["x"][0, 0], x[1, 0])
    np.save(path, np.full((2, 3, 4, 5), 100, np.uint8))
    three = Preparation(mean=(100.0, 90.0, 80.0), std=(10.0,))
    scaled = read(path, wanted, preparation=three).feed(0)["x"]
    assert scaled.dtype == np.float32
    assert scaled[0, :, 0, 0].tolist() == [0.0, 1.0, 2.0]


def test_archives_by_name_and_labels(tmp_path):
    path = tmp_path / "d.npz"
    a, b = floats(1, 4, 2), floats(2, 4, 3)
    np.savez(path, a=a, b=b, y=np.array([3, 1, 2, 0]))
    found = read(path, end("a", 1, 2), end("b", 1, 3))
    assert found.labels is not None and found.labels.tolist() == [3, 1, 2, 0]
    np.testing.assert_array_equal(found.feed(1)["b"], b[1:2])
    few = found.spread(2)
    assert few.count == 2 and few.labels is not None and few.labels.tolist() == [3, 0]
    np.testing.assert_array_equal(few.feed(1)["a"], a[3:4])
    with pytest.raises(tinymill.InvalidInput, match="no array for the input 'c'"):
        read(path, end("a", 1, 2), end("c", 1, 3))
    (tmp_path / "l.txt").write_text("0\n1\n1\n0\n")
    assert read(path, end("a", 1, 2), labels=tmp_path / "l.txt").labels.tolist() == [0, 1, 1, 0]
    (tmp_path / "l.txt").write_text("0\n1\n")
    with pytest.raises(tinymill.InvalidInput, match="2 labels for 4 samples"):
        read(path, end("a", 1, 2), labels=tmp_path / "l.txt")


def test_pictures_and_their_classes(tmp_path):
    for number, name in enumerate(("dog", "cat", "emu")):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        Image.new("L", (8, 6), 40 * number).save(folder / "1.png")
    (tmp_path / "pets" / "notes.txt").write_text("no picture")
    wanted = end("x", 1, 6, 8, 1)
    found = read(tmp_path / "pets", wanted)
    assert found.labels is not None and found.labels.tolist() == [0, 1, 2]
    assert found.feed(0)["x"][0, 0, 0, 0] == np.float32(40 / 255)
    named = read(tmp_path / "pets", wanted, classes=["dog", "cat", "emu"])
    assert named.labels is not None and named.labels.tolist() == [1, 0, 2]
    with pytest.raises(tinymill.InvalidInput, match="'emu' is none of dog, cat"):
        read(tmp_path / "pets", wanted, classes=["dog", "cat"])
    numbered = tmp_path / "numbered"
    for name in ("2", "10"):
        (numbered / name).mkdir(parents=True)
        Image.new("L", (8, 6)).save(numbered / name / "a.png")
    assert sorted(read(numbered, wanted).labels) == [2, 10]
    plain = read(tmp_path / "pets" / "dog", wanted)
    assert (plain.count, plain.labels) == (1, None)


# -- what is refused --------------------------------------------------------------------------


def refused(capsys, tmp_path: Path, *arguments: object) -> str:
    """The one line that the command says; nothing was written."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as end:
        cli.main(["quantize", *map(str, arguments)])
    text = capsys.readouterr().err
    assert end.value.code == 2, text
    assert text.count("\n") == 1, text
    assert sorted(tmp_path.rglob("*")) == before
    return text


def test_bad_data(model, tmp_path, capsys):
    x, q = tmp_path / "x.npy", tmp_path / "q.onnx"

    def says(*more: object, data: Path = x) -> str:
        return refused(capsys, tmp_path, model, "-c", data, "-o", q, *more)

    assert "No such file" in says()
    x.write_bytes(b"nonsense")
    assert "no .npy array" in says()
    np.save(x, floats(1, 4, 3, 9, 9))
    assert "the model wants [1, 3, 16, 16]" in says()
    np.save(x, np.full((2, 3, 16, 16), np.nan, np.float32))
    assert "not finite" in says()
    np.save(x, np.array(["a"]))
    assert "numbers are needed" in says()
    np.save(x, floats(1, 4, 3, 16, 16))
    assert "no labels" in says("--evaluate", x)
    assert "50 to 100" in says("--method", "percentile", "--percentile", "7")
    assert "a percentile with the method minmax" in says("--percentile", "99")
    assert "mean nan (one finite" in says("--mean", "nan")
    for label in (99, -1):
        (tmp_path / "l.txt").write_text(f"0\n4\n{label}\n1\n")
        told = says("--labels", tmp_path / "l.txt")
        assert f"l.txt: label {label} of sample 2: the model has 5 classes, 0 to 4" in told
    (tmp_path / "l.txt").unlink()
    np.save(x, np.full((4, 3, 16, 16), np.nan, np.float32))
    assert f"tinymill: {x}: sample 0 holds" in says()
    np.save(x, floats(1, 4, 3, 16, 16))
    assert "--mean a" in says("--mean", "a")
    assert "std of 0" in says("--std", "0")
    assert "for 3 channels" in says("--mean", "1,2")
    (tmp_path / "empty").mkdir()
    assert "no pictures" in says(data=tmp_path / "empty")
    (tmp_path / "empty" / "a.png").write_bytes(b"\x89PNG")
    assert "a.png" in says(data=tmp_path / "empty")
    (tmp_path / "x.zip").write_bytes(b"")
    assert "nor a folder" in says(data=tmp_path / "x.zip")


def test_bad_models_and_outputs(model, samples, tmp_path, capsys, shared):
    q = tmp_path / "q.onnx"

    def says(source: object, output: object = q, *more: object) -> str:
        return refused(capsys, tmp_path, source, "-c", samples, "-o", output, *more)

    assert "quantised already" in says(INT8)
    assert "quantised already" in says(shared / "models" / "tflm" / "hello_world_int8.tflite")
    assert "No such file" in says(tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.read_bytes()[:500])
    assert "broken.onnx" in says(broken)
    open_sizes = network()
    open_sizes.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    onnx.save(open_sizes, broken)
    assert "give --shape x=1,3,N,16" in says(broken)
    assert "names no input" in says(model, q, "--shape", "z=1,2")
    wrong = network()
    wrong.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(wrong, broken)
    assert "only float32 inputs" in says(broken)
    assert "written as .onnx" in says(model, tmp_path / "q.tflite")
    assert "can't be written there" in says(model, tmp_path / "nowhere" / "q.onnx")
    infinite = network()
    weights = floats(1, 8, 3, 3, 3)
    weights[0, 0, 0, :2] = np.nan, np.inf
    infinite.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w1"))
    onnx.save(infinite, broken)
    assert "tensor 'w1': 2 of its 216 values are not finite" in says(broken)
    refusing = network()
    refusing.graph.node[2].op_type = "Hardmax"  # tinymill has none
    refusing.graph.node[2].name = "odd one"
    onnx.save(refusing, broken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizer, "quantize_ranges", None)  # refused before it is calibrated
        told = says(broken)
    assert f"{broken}, " in told and "Hardmax" in told and "odd one" in told
    later = network(opset=99)
    onnx.save(later, broken)
    assert "opset 99, the installed onnx" in says(broken)
    unknown = network()
    unknown.graph.node[2].op_type = "NoSuchOp"
    onnx.save(unknown, broken)
    assert "NoSuchOp" in says(broken)


def test_the_extra_is_named(model, samples, tmp_path, capsys, monkeypatch):
    def missing(name: str):
        raise ImportError(name)

    monkeypatch.setattr(runtime.importlib, "import_module", missing)
    text = refused(capsys, tmp_path, model, "-c", samples, "-o", tmp_path / "q.onnx")
    assert "pip install 'tinymill[quantize]'" in text
