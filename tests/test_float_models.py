"""Float models, and QDQ models with float parts: interpreter and C against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import tinymill.ops  # noqa: F401  registers all ops
from contract import run_on_host
from tinymill.frontends.onnx import read_onnx
from tinymill.ir import DType, Graph, interpret
from tinymill.ops.quantization import Quantize
from tinymill.passes.pipeline import pipeline, run_passes

TOLERANCE = 1e-5
FLOAT = {
    "generative/espcn_x3.onnx": {"_ppp5_expanded": (1, 1, 30, 44)},
    "generative/dcgan_face64.onnx": {},
    "imagenet/efficientnet_lite0.onnx": {},
}
QDQ = ("generative/arbitrary_predict.onnx", "generative/arbitrary_transform.onnx")
FEW = 1e-3
"""Share of integers that may differ by one from ONNX Runtime's: other orders of summation."""


def random_feed(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {port.name: rng.uniform(0, 1, port.shape).astype(np.float32) for port in graph.inputs}


def ours(graph: Graph, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        port.value: port.from_source(feed[port.name], graph.type(port.value).shape)
        for port in graph.inputs
    }


def session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def close(got: np.ndarray, want: np.ndarray, about: str) -> None:
    most = float(np.abs(want[np.isfinite(want)]).max(initial=0.0))
    np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE * most, err_msg=about)


@pytest.mark.parametrize("path", FLOAT)
def test_float_model(path, shared, tmp_path):
    content = (shared / "models" / path).read_bytes()
    source = read_onnx(content, "model", FLOAT[path])
    feed = random_feed(source, 1)
    want = session(content).run(None, feed)
    graph = run_passes(source, pipeline(quantized_io=False, fixed=False))
    values = interpret(graph, ours(graph, feed))
    ((found,),) = run_on_host([graph], [[ours(graph, feed)]], tmp_path, flags=["-O2"])
    for port, expected, got in zip(graph.outputs, want, found, strict=True):
        close(port.to_source(values[port.value]), expected, f"{path} {port.name}")
        close(port.to_source(got), expected, f"C of {path} {port.name}")


def every_value(content: bytes, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All values of a model that ONNX Runtime computes."""
    model = onnx.load_model_from_string(content)
    known = {item.name for item in model.graph.output}
    for node in model.graph.node:
        model.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name)
            for name in node.output
            if name not in known
        )
    run = session(model.SerializeToString())
    names = [item.name for item in run.get_outputs()]
    return dict(zip(names, run.run(names, feed), strict=True))


@pytest.mark.parametrize("path", QDQ)
def test_each_node_of_a_qdq_model(path, shared, capsys):
    """Node by node on ONNX Runtime's values, for rounding that differs once grows on its way."""
    content = (shared / "models" / path).read_bytes()
    graph = read_onnx(content, "model", {})
    feed = random_feed(graph, 1)
    truth = every_value(content, feed)
    values = dict(graph.constants) | ours(graph, feed)
    compared = differing = 0
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            types = graph.node_types(node)
            results = node.op.reference([values[n] if n else None for n in node.inputs], types)
            for name, got in zip(node.outputs, results, strict=True):
                want = truth.get(name)
                # an intermediate value may have the name of a node
                if want is None or want.shape != got.shape:
                    values[name] = got
                    continue
                values[name] = want
                if isinstance(node.op, Quantize):
                    steps = np.abs(got.astype(np.int64) - want.astype(np.int64))
                    assert steps.max() <= 1, node.name
                    compared += steps.size
                    differing += int((steps > 0).sum())
                elif graph.type(name).dtype is DType.FLOAT32:
                    close(got, want, node.name)
    with capsys.disabled():
        print(f"\n{Path(path).name}: {differing} of {compared} integers differ by one")
    assert differing <= FEW * compared


@pytest.mark.parametrize("path", QDQ)
def test_qdq_model_in_c(path, shared, tmp_path):
    """The C equals the compiled graph's references; its outputs are a step from ours at most."""
    content = (shared / "models" / path).read_bytes()
    graph = run_passes(read_onnx(content, "model", {}), pipeline(quantized_io=False, fixed=False))
    inputs = ours(graph, random_feed(graph, 1))
    values = interpret(graph, inputs)
    ((found,),) = run_on_host([graph], [[inputs]], tmp_path, flags=["-O2"])
    for port, got in zip(graph.outputs, found, strict=True):
        np.testing.assert_array_equal(got, values[port.value], port.name)
