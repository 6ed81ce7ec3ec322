"""Every TFLite model of the shared folder gives what its oracle gives.

TFLite Micro's reference kernels; LiteRT's for legacy uint8, which TFLite Micro refuses. Our
numpy interpreter and the emitted C on the host are both held against them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import pytest

from conftest import shared_folder
from contract import run_on_host
from tinymill.frontends.tflite import read_tflite
from tinymill.ir import DType, Graph, Port, interpret, verify

pytest.importorskip("tflite_micro")
pytest.importorskip("ai_edge_litert")

STEPS = 50
"""Invocations in a row of a model that has state."""

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


def models() -> list[str]:
    folder = shared_folder() / "models"
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.tflite"))


def pattern(port: Port, dtype: DType, scale: float, zero: int) -> np.ndarray:
    """The input of baselines.json: ``how.input``."""
    count = int(np.prod(port.shape))
    i = np.arange(count, dtype=np.uint32)
    with np.errstate(over="ignore"):
        x = ((i * np.uint32(1103515245) + np.uint32(12345)) >> np.uint32(16)) & np.uint32(255)
    x = x.astype(np.int64) - 128
    shaped = x.reshape(port.shape)
    if dtype is DType.FLOAT32:
        return (np.float32(scale) * (shaped - zero).astype(np.float32)).astype(np.float32)
    if dtype is DType.UINT8:
        shaped = shaped + 128
    elif dtype is DType.INT16:
        shaped = shaped * 256
    return shaped.astype(dtype.numpy)


def inputs_of(graph: Graph, steps: int) -> list[list[np.ndarray]]:
    """The pattern first, then random ones; in the source's layout."""
    rng = np.random.default_rng(1)
    quants = [graph.type(n.outputs[0]).quant for n in graph.nodes if n.op.name == "Quantize"]
    scale, zero = (quants[0].scale[0], quants[0].zero_point[0]) if quants else (1 / 64, 0)
    runs = []
    for step in range(steps):
        values = []
        for port in graph.inputs:
            kind = graph.type(port.value)
            if step == 0:
                values.append(pattern(port, kind.dtype, scale, zero))
            elif kind.dtype is DType.FLOAT32:
                q = rng.integers(-128, 128, port.shape)
                values.append(np.float32(scale) * (q - zero).astype(np.float32))
            else:
                low, high = kind.dtype.limits
                numbers = rng.integers(low, high, port.shape, endpoint=True)
                values.append(numbers.astype(kind.dtype.numpy))
        runs.append(values)
    return runs


def tflite_micro(content: bytes, outputs: int) -> Run:
    from tflite_micro.python.tflite_micro import runtime  # noqa: PLC0415

    interpreter = runtime.Interpreter.from_bytes(content, arena_size=8 << 20)

    def run(values: Sequence[np.ndarray]) -> list[np.ndarray]:
        for index, array in enumerate(values):
            interpreter.set_input(array, index)
        interpreter.invoke()
        return [np.array(interpreter.get_output(i)) for i in range(outputs)]

    return run


def litert(content: bytes) -> Run:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: PLC0415

    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()

    def run(values: Sequence[np.ndarray]) -> list[np.ndarray]:
        for item, array in zip(interpreter.get_input_details(), values, strict=True):
            interpreter.set_tensor(item["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]

    return run


def with_real_weights(content: bytes) -> bytes:
    """The model with the int8 weights of float layers as the reals they stand for.

    TFLite Micro refuses such layers, and LiteRT quantises their activations as it runs.
    """
    from tflite_micro.tensorflow.lite.micro.python import (  # noqa: PLC0415
        schema_py_generated as schema,
    )

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    changed = False
    for operator in graph.operators:
        tensors = [graph.tensors[i] for i in operator.inputs if i >= 0]
        if not tensors or tensors[0].type != schema.TensorType.FLOAT32:
            continue
        for tensor in tensors[1:]:
            if tensor.type == schema.TensorType.INT8:
                buffer = model.buffers[tensor.buffer]
                scale = np.array(tensor.quantization.scale, np.float32)
                shape = [1] * len(tensor.shape)
                if len(scale) > 1:
                    shape[tensor.quantization.quantizedDimension] = -1
                q = np.asarray(buffer.data).view(np.int8).reshape(tensor.shape)
                reals = q.astype(np.float32) * scale.reshape(shape)
                buffer.data = np.frombuffer(reals.tobytes(), np.uint8)
                tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
                changed = True
    if not changed:
        return content
    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), b"TFL3")
    return bytes(packer.Output())


@pytest.mark.parametrize("model", models())
def test_equals_oracle(model: str, shared: Path, tmp_path: Path):
    content = (shared / "models" / model).read_bytes()
    graph = read_tflite(content, "model")
    verify(graph)
    steps = STEPS if graph.variables else 3
    legacy = any(graph.type(port.value).dtype is DType.UINT8 for port in graph.inputs)
    if legacy:
        oracle = litert(content)
    else:
        oracle = tflite_micro(with_real_weights(content), len(graph.outputs))
    runs = inputs_of(graph, steps)
    ours = [
        {
            port.value: port.from_source(array, graph.type(port.value).shape)
            for port, array in zip(graph.inputs, values, strict=True)
        }
        for values in runs
    ]
    (emitted,) = run_on_host([graph], [ours], tmp_path)
    state: dict[str, np.ndarray] = {}
    for step, values in enumerate(runs):
        found = interpret(graph, ours[step], state)
        want = oracle(values)
        for port, right, c in zip(graph.outputs, want, emitted[step], strict=True):
            where = f"{model}, run {step}, {port.name}"
            same(port.to_source(found[port.value]), right, f"numpy: {where}")
            same(port.to_source(c), right, f"C: {where}")


def same(got: np.ndarray, want: np.ndarray, where: str) -> None:
    if want.dtype == np.float32:
        # relative to the greatest output; dequantised outputs are equal
        bound = 1e-5 * float(np.abs(want).max(initial=1e-6))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=bound, err_msg=where)
    else:
        np.testing.assert_array_equal(got, want.reshape(got.shape), err_msg=where)


def test_there_are_models(shared: Path):
    assert len(models()) >= 20
