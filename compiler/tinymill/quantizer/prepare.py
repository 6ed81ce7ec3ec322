"""A float model file as the quantiser wants it: fixed shapes, constants folded, no BatchNorm."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, version_converter

from ..errors import InvalidModel, UnsupportedOp
from ..frontends import read_model
from ..frontends.onnx import check_opset
from ..passes import pipeline, run_passes
from .edit import Editor
from .export import export
from .runtime import QUIET, onnxruntime, refusals

OLDEST_OPSET = 13
"""Of per-channel QuantizeLinear."""
TAKEN_OPSET = 17
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
BOUNDING = ("Clip", "Max", "Min", "Where")
"""Operators whose constants may be infinite."""
QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def prepare(path: Path, shapes: Mapping[str, Sequence[int]] | None = None) -> onnx.ModelProto:
    """The model, optimised by rules that keep its results: constants folded, BatchNorm in the
    weights before it. Raises ``InvalidModel``, ``UnsupportedOp``, ``ToolMissing``.
    """
    onnxruntime()
    model = _read(path)
    for node in model.graph.node:
        if node.op_type in QUANTISED or node.op_type.startswith("QLinear"):
            raise InvalidModel(
                f"{node.op_type}: the model is quantised already", at=node.name or str(path)
            )
    model = _in_opset(model)
    _fix_inputs(model, shapes or {})
    _check_finite(model)
    model = _optimised(model)
    _check_finite(model)  # what was folded from Constant nodes, too
    editor = Editor(model)
    _fold_batch_norm(editor)
    editor.name_nodes()
    return editor.model


def _read(path: Path) -> onnx.ModelProto:
    at = str(path)
    try:
        head = path.open("rb").read(8) if path.is_file() else b""
    except OSError as error:
        raise InvalidModel(error.strerror or "can't be read", at=at) from error
    if path.suffix == ".tflite" or head[4:8] == b"TFL3":
        return export(run_passes(read_model(path), pipeline(quantized_io=False, fixed=False)))
    if (path.is_file() and path.stat().st_size and path.suffix == ".onnx") or head[:1] == b"\x08":
        try:
            model = onnx.load(path)
        except Exception as error:  # onnx, protobuf and numpy raise anything on broken bytes
            raise InvalidModel(f"no ONNX model ({type(error).__name__})", at=at) from error
        if not model.graph.node:
            raise InvalidModel("no ONNX model (it has no nodes)", at=at)
        return model
    read_model(path)  # missing, empty, another format
    raise InvalidModel("no ONNX model", at=at)


def _check_finite(model: onnx.ModelProto) -> None:
    """Raises ``InvalidModel`` for constants without a range; masks and bounds may be infinite."""
    bounds = {
        name
        for node in model.graph.node
        for place, name in enumerate(node.input)
        if node.op_type in BOUNDING or (node.op_type == "Pad" and place)
    }
    for item in model.graph.initializer:
        if item.data_type not in FLOATS:
            continue
        try:
            array = numpy_helper.to_array(item)
        except Exception:  # bytes that are not those of its shape: ONNX Runtime says which
            continue
        wrong = np.isnan(array) if item.name in bounds else ~np.isfinite(array)
        if wrong.any():
            raise InvalidModel(
                f"{wrong.sum():,} of its {array.size:,} values are not finite",
                at=f"tensor '{item.name}'",
            )


def _in_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    found = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    check_opset(max(found, default=0))
    if not found or max(found) >= OLDEST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, TAKEN_OPSET)
    except Exception as error:  # of the C++ converter
        raise UnsupportedOp(
            f"opset {max(found)} can't be converted to {TAKEN_OPSET}",
            hint="export the model again with a later opset",
        ) from error


def _fix_inputs(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
    """Gives every input its shape, as the ONNX frontend does; an open batch is 1."""
    graph = model.graph
    constants = {item.name for item in graph.initializer}
    for item in [item for item in graph.input if item.name in constants]:
        graph.input.remove(item)
    unknown = set(shapes) - {item.name for item in graph.input}
    if unknown:
        raise InvalidModel(f"--shape names no input: {', '.join(sorted(unknown))}")
    for item in graph.input:
        tensor = item.type.tensor_type
        if tensor.elem_type != TensorProto.FLOAT:
            raise UnsupportedOp("only float32 inputs can be quantised", at=item.name)
        sizes = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim]
        given = shapes.get(item.name)
        if given is not None:
            if len(given) != len(sizes) or any(
                n not in (0, m) for n, m in zip(sizes, given, strict=True)
            ):
                raise InvalidModel(
                    f"--shape {list(given)} does not fit the file's {sizes}", at=item.name
                )
            sizes = list(given)
        if sizes and not sizes[0]:
            sizes[0] = 1
        if any(n < 1 for n in sizes):
            raise InvalidModel(
                f"sizes of {sizes} are unknown",
                at=item.name,
                hint=f"give --shape {item.name}=" + ",".join(str(n or "N") for n in sizes),
            )
        for dim, size in zip(tensor.shape.dim, sizes, strict=True):
            dim.dim_value = size
    # what the file says of other shapes may hold the open sizes
    del graph.value_info[:]
    for item in graph.output:
        item.type.tensor_type.ClearField("shape")


def _optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """By ONNX Runtime's basic rules, which use ONNX's own operators only."""
    ort = onnxruntime()
    with tempfile.TemporaryDirectory(prefix="tinymill-") as folder:
        written = Path(folder) / "optimised.onnx"
        options = ort.SessionOptions()
        options.log_severity_level = QUIET
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(written)
        with refusals("load the model"):
            ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        found = onnx.load(written)
    with refusals("infer its shapes"):
        return onnx.shape_inference.infer_shapes(found)


def _fold_batch_norm(editor: Editor) -> None:
    """Scale and shift of a BatchNormalization go into the weights and the bias of the Conv,
    ConvTranspose or Gemm before it, whose output only it reads."""
    for node in list(editor.model.graph.node):
        if node.op_type != "BatchNormalization" or len(node.output) != 1:
            continue
        layer = editor.layer_before(node)
        if layer is None or not all(editor.is_constant(name) for name in node.input[1:5]):
            continue
        gamma, beta, mean, variance = (
            editor.constant(name).astype(np.float64) for name in node.input[1:5]
        )
        epsilon = next((item.f for item in node.attribute if item.name == "epsilon"), 1e-5)
        scale = gamma / np.sqrt(variance + epsilon)
        weights = editor.by_output_channel(layer)
        bias = editor.bias(layer)
        editor.set_by_output_channel(layer, weights * scale[:, None])
        editor.set_bias(layer, (bias - mean) * scale + beta)
        editor.skip(node)
