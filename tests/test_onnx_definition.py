"""The int8 ONNX models: the C equals the definition byte for byte, ONNX Runtime agrees.

The definition is written here a second time, straight from the ONNX file in NCHW and without
anything of tinymill: exact integer sums, M = float32(float64(s_x) * s_w / s_y),
q = saturate(rint(float32(acc) * M) + zero_point); additions in float32.

ONNX Runtime computes these convolutions in float32, or in integers with s_x * s_w multiplied in
float32 where the definition has float64, so now and then a sum that lies almost between two
integers (2 of a million) goes to the other one. Layer by layer that is all that differs. Through
50 layers one such byte changes some of the next, and most pictures end with some logits off by a
step or a few; winners that lead by less can change, as they do between ONNX Runtime's own
optimisation levels.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

import tinymill
from conftest import need_tool

MODELS = ("mbv2-w0.35", "mcunet-5fps", "proxyless-w0.3")
IMAGES = 400
DECIDED = 200
LEAD = 3  # steps of a logit's quantisation by which a winner is more than noise
SIZE = 128

# -- the definition -----------------------------------------------------------------------


@dataclass(frozen=True)
class Quantised:
    """Integers and what they mean: scale * (q - zero), along ``axis`` where per channel."""

    q: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    axis: int

    def real(self) -> np.ndarray:
        """float32(q - zero) * scale, as DequantizeLinear says."""
        along = [1] * self.q.ndim
        if self.scale.size > 1:
            along[self.axis] = -1
        centred = self.q.astype(np.int64) - self.zero.astype(np.int64).reshape(along)
        return centred.astype(np.float32) * self.scale.reshape(along)


@dataclass(frozen=True)
class Sum:
    """An exact integer sum; as a real it is sum * scale. ``scale`` is float64, by channel."""

    total: np.ndarray
    scale: np.ndarray


Value = Quantised | Sum | np.ndarray


def saturate(rounded: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """rounded + zero within the range of int8."""
    return np.clip(rounded.astype(np.int64) + int(zero.item()), -128, 127).astype(np.int8)


def quantize(value: Value, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """The integers of int8 that stand for ``value``."""
    assert zero.dtype == np.int8 and scale.dtype == np.float32 and scale.size == 1
    if isinstance(value, Sum):
        m = (value.scale / np.float64(scale.item())).astype(np.float32)
        return saturate(np.rint(value.total.astype(np.float32) * m), zero)
    assert isinstance(value, np.ndarray) and value.dtype == np.float32
    return saturate(np.rint(value / np.float32(scale.item())), zero)


def convolve(x: Quantised, weights: Quantised, bias: Quantised, node: dict[str, Any]) -> Sum:
    """Conv on integers, every product and sum exact (float64 holds them).

    No int32 wraps here: dead channels of these files have a bias at the ends of int32, and
    what is beyond it saturates to the same byte.
    """
    assert not weights.zero.any() and not bias.zero.any() and bias.q.dtype == np.int32
    scale = np.float64(x.scale.item()) * weights.scale.astype(np.float64)
    np.testing.assert_allclose(bias.scale.astype(np.float64), scale, rtol=1e-6)
    group, strides, pads = node["group"], node["strides"], node["pads"]
    assert node.get("dilations", [1, 1]) == [1, 1]
    centred = np.pad(
        x.q.astype(np.float64) - int(x.zero.item()),
        ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])),
    )
    kernels = weights.q.astype(np.float64)
    outs, _, kh, kw = kernels.shape
    windows = np.lib.stride_tricks.sliding_window_view(centred, (kh, kw), (2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1]]
    batch, channels, height, width = windows.shape[:4]
    if group == channels == outs:
        total = np.einsum("nchwij,cij->nchw", windows, kernels[:, 0])
    else:
        assert group == 1
        columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(batch * height * width, -1)
        total = (columns @ kernels.reshape(outs, -1).T).reshape(batch, height, width, outs)
        total = total.transpose(0, 3, 1, 2)
    total = total.astype(np.int64) + bias.q.astype(np.int64).reshape(1, -1, 1, 1)
    return Sum(total, scale.reshape(1, -1, 1, 1))


def average(x: Quantised) -> Sum:
    """GlobalAveragePool: the sum, and 1 / n in the scale."""
    n = x.q.shape[2] * x.q.shape[3]
    total = (x.q.astype(np.int64) - int(x.zero.item())).sum(axis=(2, 3), keepdims=True)
    return Sum(total, np.full((1, 1, 1, 1), np.float64(x.scale.item()) / n))


class Definition:
    """An interpreter of the few ops that these files hold."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        self.nodes = list(graph.node)
        self.constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        self.input = next(item.name for item in graph.input if item.name not in self.constants)
        self.outputs = [item.name for item in graph.output]
        first = next(node for node in self.nodes if self.input in node.input)
        assert first.op_type == "QuantizeLinear"
        self.scale, self.zero = (self.constants[name] for name in first.input[1:])

    def quantize(self, reals: np.ndarray) -> np.ndarray:
        """Reals as the integers that the model's first node makes of them."""
        return quantize(reals, self.scale, self.zero)

    def __call__(self, q: np.ndarray) -> list[Quantised]:
        """The outputs, still quantised, for a batch of quantised inputs [N, C, H, W]."""
        values: dict[str, Value] = dict(self.constants)
        for node in self.nodes:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            operands = [values.get(name) for name in node.input]
            if node.input[0] == self.input:
                values[node.output[0]] = q
                continue
            values[node.output[0]] = self.node(node.op_type, operands, attributes)
        found = [values[name] for name in self.outputs]
        assert all(isinstance(value, Quantised) for value in found)
        return found  # type: ignore[return-value]

    def layers(self, recorded: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Name and integers of each layer, computed from the recorded ones before it."""
        values: dict[str, Value] = {**self.constants, self.input: recorded[self.input]}
        for node in self.nodes:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            operands = [values.get(name) for name in node.input]
            value = self.node(node.op_type, operands, attributes)
            if node.op_type == "QuantizeLinear":
                assert isinstance(value, np.ndarray)
                yield node.output[0], value
                value = recorded[node.output[0]]
            values[node.output[0]] = value

    def node(self, kind: str, operands: Sequence[Any], attributes: dict[str, Any]) -> Value:
        if kind == "QuantizeLinear":
            return quantize(*operands)
        if kind == "DequantizeLinear":
            return Quantised(*operands, attributes.get("axis", 1))
        if kind == "Conv":
            return convolve(*operands, attributes)
        if kind == "GlobalAveragePool":
            return average(*operands)
        if kind == "Add":
            return operands[0].real() + operands[1].real()
        assert kind == "Flatten" and attributes.get("axis", 1) == 1, kind
        (x,) = operands
        assert x.scale.size == 1
        return Quantised(x.q.reshape(len(x.q), -1), x.scale, x.zero, 1)


# -- inputs -------------------------------------------------------------------------------


def pattern(shape: tuple[int, ...]) -> np.ndarray:
    """The input of baselines.json."""
    i = np.arange(np.prod(shape), dtype=np.uint64)
    word = (i * 1103515245 + 12345) & 0xFFFFFFFF
    return (((word >> 16) & 0xFF).astype(np.int16) - 128).astype(np.int8).reshape(shape)


@pytest.fixture(scope="session")
def pictures(shared: Path) -> np.ndarray:
    """Real photographs, cut square and scaled: [N, 3, 128, 128], (x - 127.5) / 127.5."""
    found = []
    for name, keep, count in (
        ("clothing_cc0_s128.zip", "test/", IMAGES // 2),
        ("cifar10_jpg_train10k_test5k.zip", "test", IMAGES // 4),
        ("sign_digits_100px.zip", "", IMAGES // 4),
    ):
        with zipfile.ZipFile(shared / "datasets" / name) as archive:
            names = [
                item
                for item in sorted(archive.namelist())
                if keep in item and item.lower().endswith((".jpg", ".png"))
            ]
            # spread over the sorted names, so that every class is there
            for index in np.linspace(0, len(names) - 1, count).astype(int):
                with Image.open(io.BytesIO(archive.read(names[index]))) as picture:
                    found.append(_square(picture))
    pixels = np.stack(found).transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray((pixels - np.float32(127.5)) / np.float32(127.5))


def _square(picture: Image.Image) -> np.ndarray:
    picture = picture.convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


# -- tests --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_the_c_equals_the_definition(shared: Path, pictures: np.ndarray, model: str) -> None:
    path = shared / "models" / "imagenet" / f"{model}_int8_qdq.onnx"
    definition = Definition(path)
    chance = np.random.default_rng(0)
    shape = (3, SIZE, SIZE)
    inputs = np.concatenate(
        [
            pattern((1, *shape)),
            chance.integers(-128, 128, (3, *shape)).astype(np.int8),
            np.full((1, *shape), -128, np.int8),
            np.full((1, *shape), 127, np.int8),
            definition.quantize(pictures[:: IMAGES // 8]),
        ]
    )
    wanted = definition(inputs)
    result = tinymill.run(path, target="host", input=inputs[:, None], layers=False)
    for array, expected in zip(result.outputs, wanted, strict=True):
        assert array.dtype == np.int8
        np.testing.assert_array_equal(array.reshape(len(inputs), -1), expected.q)
    checked = tinymill.run(path, target="host", sanitize=True, layers=False)
    for array, expected in zip(checked.outputs, wanted, strict=True):
        np.testing.assert_array_equal(array.reshape(-1), expected.q[0])
    if model == MODELS[1]:
        need_tool("arm-none-eabi-gcc", "qemu-system-arm")
        device = tinymill.run(path, target="mps2-an500", layers=False)
        for array, expected in zip(device.outputs, wanted, strict=True):
            np.testing.assert_array_equal(array.reshape(-1), expected.q[0])


@pytest.mark.parametrize("model", MODELS[:1])
def test_float_ends_are_quantised_by_the_definition(
    shared: Path, pictures: np.ndarray, model: str
) -> None:
    path = shared / "models" / "imagenet" / f"{model}_int8_qdq.onnx"
    definition = Definition(path)
    wanted = definition(definition.quantize(pictures[:4]))
    result = tinymill.run(path, target="host", input=pictures[:4, None], io="float", layers=False)
    for array, expected in zip(result.outputs, wanted, strict=True):
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array.reshape(4, -1), expected.real())


@pytest.mark.parametrize("model", MODELS)
def test_onnx_runtime_computes_each_layer_so(
    shared: Path, pictures: np.ndarray, model: str, record_property: Callable[[str, object], None]
) -> None:
    """Each layer on ONNX Runtime's own inputs: bytes differ by one, and only at near ties."""
    path = shared / "models" / "imagenet" / f"{model}_int8_qdq.onnx"
    definition = Definition(path)
    names = [node.output[0] for node in definition.nodes if node.op_type == "QuantizeLinear"]
    model_of_layers = onnx.load(path)
    for name in names:
        value = helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None)
        model_of_layers.graph.output.append(value)
    inputs = pictures[:: IMAGES // 20]
    # this level and above pool integers; below it float32 sums decide many exact ties. In
    # integers, biases near 2**31 (dead channels) would wrap around in ONNX Runtime
    session = _session(model_of_layers.SerializeToString(), "ORT_ENABLE_EXTENDED")
    recorded = dict(zip(names, session.run(names, {definition.input: inputs}), strict=True))
    recorded[definition.input] = inputs
    count = by_one = 0
    for name, q in definition.layers(recorded):
        gap = np.abs(q.astype(np.int16) - recorded[name].astype(np.int16))
        assert gap.max() <= 1, f"{name} differs by {gap.max()}"
        count += gap.size
        by_one += int(gap.sum())
    _report(record_property, f"{model}, layer by layer", bytes=count, by_one=by_one)
    assert by_one < count * 1e-5


@pytest.mark.parametrize("model", MODELS)
def test_onnx_runtime_sees_the_same(
    shared: Path, pictures: np.ndarray, model: str, record_property: Callable[[str, object], None]
) -> None:
    """The same top-1 for all pictures with a winner; nearly all others, too."""
    path = shared / "models" / "imagenet" / f"{model}_int8_qdq.onnx"
    definition = Definition(path)
    inputs = definition.quantize(pictures)
    ours = tinymill.run(path, target="host", input=inputs[:, None], layers=False).outputs[0]
    ours = ours.reshape(IMAGES, -1).astype(np.int16)
    session = _session(path, "ORT_ENABLE_ALL", integers=True)
    reals = np.concatenate(
        [session.run(None, {definition.input: part})[0] for part in np.split(pictures, 20)]
    )
    scale = definition(inputs[:1])[0]
    theirs = quantize(reals, scale.scale, scale.zero).astype(np.int16)
    gap = np.abs(ours - theirs)
    ranked = np.sort(theirs, axis=1)
    decided = ranked[:, -1] - ranked[:, -2] >= LEAD
    differs = ours.argmax(axis=1) != theirs.argmax(axis=1)
    _report(
        record_property,
        model,
        images=IMAGES,
        decided=int(decided.sum()),
        other_top_1_of_decided=int((differs & decided).sum()),
        other_top_1_of_undecided=int((differs & ~decided).sum()),
        bytes=gap.size,
        by_one=int((gap == 1).sum()),
        by_more=int((gap > 1).sum()),
        most=int(gap.max()),
    )
    assert decided.sum() >= DECIDED
    assert not (differs & decided).any()
    assert differs.sum() <= IMAGES // 40
    assert gap.max() <= 8


def _session(model: Path | bytes, level: str, *, integers: bool = False) -> Any:
    """``integers``: without it, on x86, the convolutions next to additions run in float32."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = 2
    if integers:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _report(record_property: Callable[[str, object], None], what: str, **figures: int) -> None:
    for name, value in figures.items():
        record_property(name, value)
    print(f"{what} against ONNX Runtime:", ", ".join(f"{k} {v:,}" for k, v in figures.items()))
