"""Front ends: the twin against references, the C against the twin, and the way into a model."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import json
import wave
from collections.abc import Callable
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from test_two_models import SANITIZE, build_and_run, program

import tinymill
from conftest import absent, need_tool
from tflite_builder import TfliteBuilder
from tinymill.cli import main
from tinymill.errors import InvalidInput, OutOfMemory, UnsupportedOp
from tinymill.frontends import load
from tinymill.frontends.sensors import KINDS, AudioSource, Bound, Store
from tinymill.frontends.sensors.fixed import bits_of, log1p32
from tinymill.ir import DType, Quant, TensorType
from tinymill.schedule import FRONT_SCRATCH

NABU = "wakeword/okay_nabu.tflite"
KWS = "mlperf_tiny/kws_ref_model.tflite"
BOARDS = {
    "mps2-an386": ("arm-none-eabi-gcc", "qemu-system-arm"),
    "microbit": ("arm-none-eabi-gcc", "qemu-system-arm"),
    "riscv32-virt": ("riscv64-unknown-elf-gcc", "qemu-system-riscv32"),
}


def audio(seconds: float, seed: int = 1, rate: int = 16000) -> np.ndarray:
    """Noise, silence, chirps, clipping and steps, loud and soft, in equal parts."""
    chance = np.random.default_rng(seed)
    n = int(seconds * rate / 11)
    t = np.arange(n) / rate
    chirp = np.sin(2 * np.pi * (100 + 3500 * t / max(t[-1], 1e-3)) * t)
    parts = [
        chance.normal(0, 300, n),
        np.zeros(n),
        8000 * chirp,
        np.where(np.sin(2 * np.pi * 300 * t) > 0, 32767, -32768),
        chance.integers(-32768, 32768, n),
        2 * chance.normal(0, 1, n),
        np.full(n, -32768),
        np.full(n, 32767),
        chance.choice([-32768, 0], n),
        30000 * np.sin(2 * np.pi * 1000 * t) * np.exp(-5 * t),
        40000 * chirp + chance.normal(0, 1000, n),
    ]
    return np.concatenate([part.clip(-32768, 32767).astype(np.int16) for part in parts])


# -- micro ------------------------------------------------------------------------------------


def pymicro(samples: np.ndarray) -> np.ndarray:
    """What pymicro-features gives, in steps."""
    if importlib.util.find_spec("pymicro_features") is None:
        absent("pymicro-features is not installed")
    from pymicro_features import MicroFrontend  # noqa: PLC0415

    front = MicroFrontend()
    raw, place, rows = samples.tobytes(), 0, []
    while place + 320 <= len(raw):
        found = front.process_samples(raw[place : place + 320])
        place += 2 * found.samples_read
        if found.features:
            rows.append(found.features)
    return np.rint(np.array(rows) / 0.0390625).astype(np.int32)


def library_log1p_is_fdlibm() -> bool:
    """Whether this system's log1pf, of which pymicro-features makes its tables, is the one that
    microcontrollers have; from 2.41 on glibc has another one."""
    name = ctypes.util.find_library("m")
    if name is None:
        return False
    log1pf = ctypes.CDLL(name).log1pf
    log1pf.restype, log1pf.argtypes = ctypes.c_float, [ctypes.c_float]
    points = np.arange(300, dtype=np.float32) * np.float32(31.25) / np.float32(700)
    return all(np.float32(log1pf(x)) == log1p32(x) for x in points)


def test_micro_gives_the_bytes_of_pymicro_features() -> None:
    samples = audio(22)
    wanted = pymicro(samples)
    found = load("micro").values(samples)
    assert found.shape == wanted.shape
    assert len(found) > 2000
    if library_log1p_is_fdlibm():
        assert np.array_equal(found, wanted)
    else:
        assert np.mean(found != wanted) < 1e-3


def test_log1p_is_a_logarithm() -> None:
    for x in np.random.default_rng(0).uniform(1e-3, 60, 2000).astype(np.float32):
        assert log1p32(x) == pytest.approx(np.log1p(float(x)), rel=2e-7)


def test_what_is_pushed_in_parts_is_the_same() -> None:
    """The twin computes windows in chunks; the state goes on between them."""
    samples = audio(6.5, 3)
    front = load({"kind": "micro", "hop_ms": 10.0})
    assert len(front.values(samples)) > 512
    assert np.array_equal(front.values(samples)[:200], front.values(samples[: 480 + 199 * 160]))


# -- mel --------------------------------------------------------------------------------------


def triangles(front: Any) -> np.ndarray:
    """The filterbank in float64, written down once more: [bins, channels]."""
    hz = np.arange(front.fft // 2 + 1) * front.rate / front.fft
    top = front.high_hz or front.rate / 2
    if front.mel == "htk":  # tf.signal.linear_to_mel_weight_matrix
        mel = 1127 * np.log1p(hz / 700)
        ends = 1127 * np.log1p(np.array([front.low_hz, top]) / 700)
        edges = np.linspace(*ends, front.channels + 2)
    else:  # librosa.filters.mel
        mel = hz

        def forth(x: float) -> float:
            return x * 0.015 if x < 1000 else 15 + 27 * log(x / 1000) / log(6.4)

        def back(x: float) -> float:
            return x / 0.015 if x < 15 else 1000 * 6.4 ** ((x - 15) / 27)

        ends = np.linspace(forth(front.low_hz), forth(top), front.channels + 2)
        edges = np.array([back(x) for x in ends])
    bands = []
    for low, center, high in zip(edges, edges[1:], edges[2:], strict=False):
        band = np.maximum(
            0, np.minimum((mel - low) / (center - low), (high - mel) / (high - center))
        )
        bands.append(band if front.mel == "htk" else band * 2 / (high - low))
    found = np.array(bands).T
    if front.mel == "htk":
        found[0] = 0
    return found


def float_features(front: Any, samples: np.ndarray) -> np.ndarray:
    count = 1 + (len(samples) - front.length) // front.hop
    index = np.arange(front.length) + front.hop * np.arange(count)[:, None]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(front.length) / front.length)
    spectrum = np.abs(np.fft.rfft(samples[index] / 32768 * window, front.fft)) ** front.power
    logs = np.log(spectrum @ triangles(front) + front.floor)
    if front.kind == "log-mel":
        return logs
    k, n = np.arange(front.cepstral)[:, None], np.arange(front.channels)
    cosines = np.cos(np.pi * k * (n + 0.5) / front.channels) * sqrt(2 / front.channels)
    if front.norm == "ortho":
        cosines[0] /= sqrt(2)
    return logs @ cosines.T


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "log-mel", "high_hz": 4000.0},
        {"kind": "log-mel", "mel": "slaney", "floor": 1e-5},
        {"kind": "log-mel", "rate": 44100, "window_ms": 46.44, "channels": 96, "floor": 1e-4},
        {"kind": "mfcc", "high_hz": 4000.0},
        {"kind": "mfcc", "norm": "ortho", "cepstral": 13, "channels": 26},
    ],
    ids=lambda spec: "-".join(map(str, spec.values())),
)
def test_mel_features_are_those_of_floats(spec: dict[str, Any], power: int) -> None:
    front = load({**spec, "power": power})
    assert isinstance(front, AudioSource)
    # with the soft noise that any microphone has
    loud = audio(3, 5, front.rate).astype(np.float64)
    soft = np.random.default_rng(4).normal(0, 8, len(loud))
    samples = (loud * 0.9 + soft).clip(-32768, 32767).astype(np.int16)
    found, wanted = front(samples), float_features(front, samples)
    assert found.shape == wanted.shape
    differences = np.abs(found - wanted)
    assert differences.mean() < 0.01
    assert np.quantile(differences, 0.999) < 0.2


def test_logs_take_other_bases_and_are_normalised() -> None:
    samples = audio(1, 6)
    plain = load("log-mel")(samples)
    for name, factor in (("log2", 1 / log(2)), ("log10", 1 / log(10)), ("db", 10 / log(10))):
        found = load({"kind": "log-mel", "log": name})(samples)
        assert np.allclose(found, plain * factor, atol=1e-4)
    found = load({"kind": "log-mel", "mean": -3.0, "std": 2.5})(samples)
    assert np.allclose(found, (plain + 3) / 2.5, atol=1e-4)
    raw = load({"kind": "log-mel", "full_scale": 32768.0, "floor": 1e-6 * 32768.0**2})(samples)
    assert np.allclose(raw, plain + 2 * log(32768), atol=1e-3)


def test_bits_are_counted_exactly() -> None:
    values = [v for k in range(62) for v in ((1 << k) - 1, 1 << k, (1 << k) + 1)]
    assert bits_of(np.array(values)).tolist() == [v.bit_length() for v in values]


# -- pictures ---------------------------------------------------------------------------------


def picture(spec: dict[str, Any], shape: tuple[int, ...], dtype: DType = DType.UINT8) -> Bound:
    quant = None if dtype is DType.FLOAT32 else Quant((1 / 255,), (0,))
    return load({"kind": "image", **spec}).bind(TensorType((1, *shape), dtype, quant), at="x")


def test_bilinear_is_pillows_when_it_grows() -> None:
    bound = picture({"width": 32, "height": 24, "crop": "none"}, (96, 100, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    wanted = np.asarray(Image.fromarray(pixels).resize((100, 96), Image.Resampling.BILINEAR))
    assert np.abs(bound.frames(pixels)[0, 0].astype(int) - wanted).max() <= 1


def test_nearest_is_pillows() -> None:
    bound = picture({"width": 31, "height": 24, "crop": "none", "resize": "nearest"}, (17, 70, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (24, 31, 3), np.uint8)
    wanted = np.asarray(Image.fromarray(pixels).resize((70, 17), Image.Resampling.NEAREST))
    assert np.array_equal(bound.frames(pixels)[0, 0], wanted)


def test_crops() -> None:
    pixels = np.arange(20 * 30, dtype=np.uint16).astype(np.uint8).reshape(20, 30)
    same = {"width": 30, "height": 20, "format": "gray", "resize": "nearest"}
    center = picture(same, (20, 20, 1)).frames(pixels)[0, 0, :, :, 0]
    assert np.array_equal(center, pixels[:, 5:25])
    part = picture({**same, "crop": [3, 4, 7, 5]}, (5, 7, 1)).frames(pixels)[0, 0, :, :, 0]
    assert np.array_equal(part, pixels[4:9, 3:10])


def test_grey_is_pillows_and_words_are_colours() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    grey = picture({}, (8, 8, 1)).frames(pixels)[0, 0, :, :, 0]
    assert np.array_equal(grey, np.asarray(Image.fromarray(pixels).convert("L")))
    backwards = picture({"format": "bgr888"}, (8, 8, 3)).frames(pixels[..., ::-1])
    assert np.array_equal(backwards[0, 0], pixels)
    words = np.array([[0xF800, 0x07E0], [0x001F, 0x8410]], np.uint16)
    found = picture({"format": "rgb565"}, (2, 2, 3)).frames(words)[0, 0]
    assert found.tolist() == [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [132, 130, 132]]]


def test_means_and_stds_of_each_channel() -> None:
    spec = {"mean": [10, 20, 30], "std": [2, 4, 5]}
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    found = picture(spec, (4, 4, 3), DType.FLOAT32).frames(pixels)[0, 0]
    assert np.allclose(found, (pixels - np.array([10.0, 20, 30])) / np.array([2.0, 4, 5]))
    assert np.allclose(load({"kind": "image", "output": [4, 4, 3], **spec})(pixels)[0], found)


# -- stores -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8, DType.INT16])
def test_integers_are_the_nearest(dtype: DType) -> None:
    quant = Quant((0.1019607856,), (3,))
    front = load({"kind": "motion", "axes": 1, "scale": 0.0390625, "offset": -7.0})
    bound = front.bind(TensorType((1, 64, 1), dtype, quant), at="x")
    samples = np.random.default_rng(0).integers(-1500, 1500, (6400, 1), np.int16)
    reals = (samples + 7.0) * 0.0390625 / np.float64(quant.scale[0]) + 3
    wanted = np.clip(np.rint(reals), *dtype.limits)
    assert np.array_equal(bound.frames(samples).ravel(), wanted.ravel())


def test_the_step_of_tflite_micros_examples() -> None:
    """(256 v + 333) / 666 - 128, by a step that the page of front ends names."""
    quant = Quant((0.10171568393707275,), (-128,))
    front = load({"kind": "micro", "step": 256 * quant.scale[0] / 666})
    bound = front.bind(TensorType((1, 1960), DType.INT8, quant), at="x")
    values = np.arange(1 << 16)
    wanted = np.minimum((256 * values + 333) // 666 - 128, 127)
    assert np.array_equal(bound.stores[0](values), wanted)


# -- the C ------------------------------------------------------------------------------------


def twice(
    folder: Path, shape: tuple[int, ...], dtype: str = "int8", scale: float = 0.1, zero: int = -20
) -> Path:
    """A model whose output is its input, twice over along axis 1."""
    builder = TfliteBuilder()
    wide = (shape[0], 2 * shape[1], *shape[2:])
    quant = None if dtype == "float32" else scale
    x = builder.tensor(shape, dtype, quant, 0 if quant is None else zero)
    y = builder.tensor(wide, dtype, quant, 0 if quant is None else zero)
    builder.operator("CONCATENATION", [x, x], [y], "ConcatenationOptions", axis=1)
    path = folder / "twice.tflite"
    path.write_bytes(builder.build([x], [y]))
    return path


def toml(folder: Path, spec: dict[str, Any]) -> Path:
    path = folder / "front.toml"
    # TOML's values look like JSON's, but for nan
    text = (f"{name} = {json.dumps(value).replace('NaN', 'nan')}\n" for name, value in spec.items())
    path.write_text("".join(text))
    return path


def convolution(folder: Path) -> Path:
    """A 3x3 convolution of stride 2 over 36 x 40 pixels of 3 channels."""
    chance = np.random.default_rng(5)
    builder = TfliteBuilder()
    x = builder.tensor((1, 36, 40, 3), "int8", 1 / 255, -128)
    weights = chance.integers(-100, 101, (4, 3, 3, 3), np.int8)
    w = builder.tensor(weights.shape, "int8", [0.01] * 4, array=weights)
    b = builder.tensor((4,), "int32", [0.01 / 255] * 4, array=np.zeros(4))
    y = builder.tensor((1, 18, 20, 4), "int8", 0.1, 3)
    builder.operator("CONV_2D", [x, w, b], [y], "Conv2DOptions", strideH=2, strideW=2)
    path = folder / "convolution.tflite"
    path.write_bytes(builder.build([x], [y]))
    return path


Case = tuple[dict[str, Any], tuple[int, ...], str, float, int]
SMALL: dict[str, Case] = {
    "micro": ({"kind": "micro", "stride": 7}, (1, 10, 40), "int8", 0.10196079, -128),
    "log-mel": ({"kind": "log-mel", "stride": 3, "power": 1}, (1, 7, 40, 1), "uint8", 0.1, 140),
    "mfcc": (
        {"kind": "mfcc", "stride": 30, "high_hz": 4000.0, "norm": "ortho"},
        (1, 20, 10, 1), "int8", 0.5, 30,
    ),
    "image": (
        {"kind": "image", "width": 53, "height": 41, "format": "rgb565"},
        (1, 24, 30, 3), "int8", 1 / 255, -128,
    ),
    "motion": (
        {"kind": "motion", "scale": [0.1, 0.02, -0.3], "offset": [5, -100, 2.5], "stride": 5},
        (1, 16, 3), "int8", 0.5, 3,
    ),
}  # fmt: skip
HOST: dict[str, Case] = {
    **SMALL,
    "micro, 512 points of another rate": (
        {"kind": "micro", "rate": 44100, "channels": 20, "high_hz": 9000.0, "hop_ms": 20.0},
        (1, 4, 20), "int16", 0.01, 0,
    ),
    "micro without gain and logarithm": (
        {"kind": "micro", "pcan": False, "log": False, "step": 0.01}, (1, 3, 40), "int8", 0.3, 0,
    ),
    "micro of 256 points": (
        {"kind": "micro", "rate": 8000, "high_hz": 3800.0}, (1, 1, 40), "float32", 1, 0,
    ),
    "log-mel of 4096 points": (
        {"kind": "log-mel", "rate": 44100, "window_ms": 92.0, "mel": "slaney", "channels": 80},
        (1, 4, 80), "float32", 1, 0,
    ),
    "log-mel without floor": (
        {"kind": "log-mel", "floor": 0.0, "window": "none", "window_ms": 0.5, "hop_ms": 0.5,
         "channels": 3, "power": 1},
        (1, 3 * 9), "int16", 0.01, 5,
    ),
    "mfcc as floats": (
        {"kind": "mfcc", "window": "hamming", "mean": 2.0, "std": 3.0}, (1, 49, 10, 1),
        "float32", 1, 0,
    ),
    "grey from colours": (
        {"kind": "image", "width": 20, "height": 30, "format": "rgb565-be", "crop": "none"},
        (1, 96, 40, 1), "uint8", 1 / 255, 0,
    ),
    "colours from grey": (
        {"kind": "image", "width": 64, "height": 50, "format": "gray", "resize": "nearest",
         "mean": [100, 110, 120], "std": [50, 51, 52]},
        (1, 32, 32, 3), "float32", 1, 0,
    ),
    "a crop as 16 bits": (
        {"kind": "image", "width": 64, "height": 50, "format": "bgr888", "crop": [9, 8, 33, 40],
         "mean": 127.5, "std": 127.5},
        (1, 40, 33, 3), "int16", 0.001, 7,
    ),
    "motion as floats, one axis": (
        {"kind": "motion", "axes": 1, "scale": 0.001, "stride": 20}, (1, 16), "float32", 1, 0,
    ),
}  # fmt: skip


def data_for(bound: Bound, count: int) -> np.ndarray:
    """Data for ``count`` inferences and a bit more."""
    spec = bound.front.options()
    if spec["kind"] == "image":
        shape = (count, *bound.needed[1:])
        limit = np.iinfo(bound.example().dtype).max
        return np.random.default_rng(1).integers(0, limit + 1, shape).astype(bound.example().dtype)
    rows = bound.rows + (count - 1) * bound.stride
    shape = bound.front.need(rows)
    if spec["kind"] == "motion":
        samples = np.random.default_rng(1).normal(0, 300, (shape[0] + 2, shape[1]))
        return np.concatenate([samples, [[-32768] * shape[1], [32767] * shape[1]]]).astype(np.int16)
    return audio((shape[0] + 150) / spec["rate"], 2, spec["rate"])[: shape[0] + 37]


def check_run(case: Case, folder: Path, target: str, count: int, **options: Any) -> Any:
    spec, shape, dtype, scale, zero = case
    model = twice(folder, shape, dtype, scale, zero)
    quant = None if dtype == "float32" else Quant((float(np.float32(scale)),), (zero,))
    bound = load(spec).bind(TensorType(shape, DType.of(np.dtype(dtype)), quant), at="x")
    data = data_for(bound, count)
    wanted = bound.frames(data)
    assert 1 <= len(wanted) == bound.inferences(data)
    assert len(np.unique(wanted)) > 4
    found = tinymill.run(model, target=target, frontend=toml(folder, spec), input=data, **options)
    (output,) = found.outputs
    output = output.reshape(len(wanted), 2, *wanted.shape[1:])
    assert found.frames == len(wanted)
    assert np.array_equal(output[:, 0].view(np.uint8), wanted.view(np.uint8))
    return found


@pytest.mark.parametrize("name", HOST)
def test_c_gives_the_bytes_of_the_twin(name: str, tmp_path: Path) -> None:
    need_tool("cc")
    check_run(HOST[name], tmp_path, "host", 5, sanitize=True, layers=False)


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", SMALL)
def test_boards_give_the_bytes_of_the_twin(name: str, board: str, tmp_path: Path) -> None:
    need_tool(*BOARDS[board])
    found = check_run(SMALL[name], tmp_path, board, 2, layers=False)
    state = tinymill.compile(
        tmp_path / "twice.tflite", target=board, frontend=tmp_path / "front.toml"
    ).description["frontend"]["state_bytes"]
    assert found.ram.static == 4 + state


def test_floats_without_an_fpu(tmp_path: Path) -> None:
    need_tool(*BOARDS["microbit"])
    spec = {"kind": "mfcc", "mean": 2.0, "std": 3.0, "floor": 1e-3}
    check_run((spec, (1, 3, 10), "float32", 1, 0), tmp_path, "microbit", 2, layers=False)


def test_the_front_ends_instructions_are_told(tmp_path: Path) -> None:
    need_tool(*BOARDS["mps2-an386"])
    found = check_run(SMALL["micro"], tmp_path, "mps2-an386", 1)
    layers = sum(layer.instructions for layer in found.layers)
    assert found.front_instructions > 10 * layers
    # the layers are counted in a build of their own
    assert found.front_instructions + layers == pytest.approx(found.instructions, rel=0.01)


# -- in front of models -------------------------------------------------------------------------


def save_wav(path: Path, samples: np.ndarray, rate: int = 16000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def frames_for(model: Path, spec: Any, data: np.ndarray) -> np.ndarray:
    """The inputs of a model as the twin gives them."""
    (entry,) = tinymill.compile(model).description["inputs"]
    shape = [entry["shape"][axis] for axis in entry["order"]]
    quant = Quant((entry["scale"],), (entry["zero_point"],))
    kind = TensorType(tuple(shape), DType.of(np.dtype(entry["dtype"])), quant)
    return load(spec).bind(kind, at="x").frames(data)


def test_a_wake_word_hears_a_wav(shared: Path, tmp_path: Path) -> None:
    """The model's state goes on; what comes from the front end is what .npy frames give."""
    need_tool("cc")
    model, samples = shared / "models" / NABU, audio(3, 7)
    frames = frames_for(model, "micro", samples)
    found = tinymill.run(
        model, frontend="micro", input=save_wav(tmp_path / "a.wav", samples), layers=False
    )
    wanted = tinymill.run(model, input=frames, layers=False)
    assert found.frames == len(frames) > 90
    assert np.array_equal(found.outputs[0], wanted.outputs[0])


def test_a_camera_comes_line_by_line(tmp_path: Path) -> None:
    """With the input held whole and with --stream-input, where it never is."""
    need_tool("cc")
    model = convolution(tmp_path)
    spec = {"kind": "image", "width": 60, "height": 45, "format": "rgb565"}
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (2, 45, 60), dtype=np.uint16)
    np.save(tmp_path / "a.npy", pixels)
    wanted = tinymill.run(model, input=frames_for(model, spec, pixels), layers=False)
    for stream in (False, True):
        found = tinymill.run(
            model, frontend=toml(tmp_path, spec), input=tmp_path / "a.npy", layers=False,
            stream_input=stream, plan="min-ram" if stream else "min-time", sanitize=True,
        )  # fmt: skip
        assert found.frames == 2
        assert np.array_equal(found.outputs[0], wanted.outputs[0])
    plan = tinymill.compile(model, frontend="image", stream_input=True, plan="min-ram").plan
    assert plan.arriving is not None
    (scratch,) = [b for b in plan.buffers if b.name == FRONT_SCRATCH]
    assert (scratch.first, scratch.last) == (-1, 0)


def test_channels_first_models_get_their_pictures(tmp_path: Path) -> None:
    need_tool("cc")
    weights = np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 3, 8, 10)), ("y", None))
    ]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])], "g", ends[:1], ends[1:],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    model = tmp_path / "conv.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), model)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    spec = toml(tmp_path, {"kind": "image", "mean": [1, 2, 3], "std": [4, 5, 6]})
    found = tinymill.run(model, frontend=spec, input=pixels, layers=False)
    reals = ((pixels - np.array([1.0, 2, 3])) / np.array([4.0, 5, 6])).astype(np.float32)
    wanted = tinymill.run(model, input=reals.transpose(2, 0, 1)[None], layers=False)
    assert np.array_equal(found.outputs[0], wanted.outputs[0])


def test_a_plane_may_have_its_channel_first(tmp_path: Path) -> None:
    """A model that flattens its only channel has its input as the file has it: 1 x 1 x H x W."""
    need_tool("cc")
    weights = np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 1, 8, 10)), ("y", None))
    ]
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    initial = [numpy_helper.from_array(weights, "w")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initial)
    model = tmp_path / "dense.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), model)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20), np.uint8)
    options = {"kind": "image", "format": "gray", "width": 20, "height": 16, "resize": "nearest"}
    spec = toml(tmp_path, options)
    found = tinymill.run(model, frontend=spec, input=pixels, layers=False, sanitize=True)
    reals = (pixels[1::2, 1::2] / 255).astype(np.float32)
    wanted = tinymill.run(model, input=reals[None, None], layers=False)
    assert np.array_equal(found.outputs[0], wanted.outputs[0])
    with pytest.raises(UnsupportedOp):  # no layer reads it row by row
        tinymill.compile(model, frontend=spec, stream_input=True)


def test_pictures_are_read_from_files(tmp_path: Path) -> None:
    need_tool("cc")
    model = twice(tmp_path, (1, 8, 8, 3), "int8", 1 / 255, -128)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for form in ("rgb888", "bgr888"):
        spec = toml(tmp_path, {"kind": "image", "format": form})
        found = tinymill.run(model, frontend=spec, input=tmp_path / "a.png", layers=False)
        assert np.array_equal(found.outputs[0][0, :8], pixels.astype(int) - 128)
    spec = toml(tmp_path, {"kind": "image", "format": "rgb565"})
    found = tinymill.run(model, frontend=spec, input=tmp_path / "a.png", layers=False)
    assert np.abs(found.outputs[0][0, :8] - (pixels.astype(int) - 128)).max() < 8


def test_scratch_lies_in_the_arena_of_the_run(shared: Path) -> None:
    model = shared / "models" / KWS
    plain = tinymill.compile(model).plan
    found = tinymill.compile(model, frontend="mfcc").plan
    (scratch,) = [b for b in found.buffers if b.name == FRONT_SCRATCH]
    assert scratch.size > 2048
    assert (scratch.first, scratch.last) == (-1, -1)
    assert found.arena_bytes == plain.arena_bytes
    (source,) = [b for b in found.buffers if b.first == -1 and b.values]
    start, other = (found.placement.offsets[b.name] for b in (scratch, source))
    assert start + scratch.size <= other or other + source.size <= start


def test_a_budget_counts_the_state(shared: Path) -> None:
    model = shared / "models" / KWS
    plain = tinymill.compile(model, plan="min-ram").plan.arena_bytes + 4
    assert tinymill.compile(model, ram=plain).plan.arena_bytes + 4 <= plain
    with pytest.raises(OutOfMemory):
        tinymill.compile(model, ram=plain, frontend="mfcc")
    compiled = tinymill.compile(model, ram=plain + 2048, frontend="mfcc")
    with pytest.raises(OutOfMemory) as error:
        tinymill.compile(model, ram=1000, frontend="mfcc")
    assert "--stream-input" not in str(error.value)
    state = compiled.description["frontend"]["state_bytes"]
    assert compiled.plan.arena_bytes + 4 + state <= plain + 2048


PUSHES = """
  static int64_t arena[(M_ARENA_BYTES + 7) / 8];
  static int16_t block[M_FRONTEND_MOST + 1];
  static m_context one, two;
  const int sizes[] = {1, 3, 159, 160, 161, M_FRONTEND_MOST, 7, 400};
  int32_t ran = 0;
  if (m_frontend_push(&one, block, 1, &ran) != TM_NOT_READY) return 1;
  /* two contexts share an arena: nothing is left in it between pushes */
  if (m_init(&one, arena, sizeof arena) != TM_OK) return 2;
  if (m_init(&two, arena, sizeof arena) != TM_OK) return 3;
  if (m_frontend_push(&one, block, M_FRONTEND_MOST + 1, &ran) != TM_BAD_ARGUMENT) return 4;
  if (m_frontend_push(&one, block, -1, &ran) != TM_BAD_ARGUMENT) return 5;
  if (m_frontend_push(&one, NULL, 1, &ran) != TM_BAD_ARGUMENT) return 6;
  if (m_frontend_push(&one, block, 1, NULL) != TM_BAD_ARGUMENT) return 7;
  if (m_frontend_push(&one, NULL, 0, &ran) != TM_OK || ran) return 8;
  /* what came before a reset is forgotten */
  for (int i = 0; i < 5; ++i) {
    if (m_frontend_push(&one, block, M_FRONTEND_MOST, &ran) != TM_OK) return 9;
  }
  if (!feed_m(&one)) return 13;
  m_frontend_reset(&one);
  for (int i = 0;; ++i) {
    size_t n = fread(block, 2, (size_t)sizes[i % 8], stdin);
    if (n == 0) break;
    if (m_frontend_push(&one, block, (int32_t)n, &ran) != TM_OK) return 10;
    if (ran && !tell_m(&one)) return 12;
    block[0] = (int16_t)~block[0];
    if (m_frontend_push(&two, block, (int32_t)n, &ran) != TM_OK) return 11;
  }
"""


@pytest.mark.parametrize(("cc", "cxx"), [("gcc", None), ("clang", "clang++")])
def test_pushes_of_any_size(tmp_path: Path, cc: str, cxx: str | None) -> None:
    need_tool(cc, *([cxx] if cxx else []))
    spec, shape, dtype, scale, zero = SMALL["micro"]
    model = twice(tmp_path, shape, dtype, scale, zero)
    tinymill.compile(model, frontend=toml(tmp_path, spec), output=tmp_path / "m", name="m")
    samples = audio(1.5, 8)
    found = build_and_run(
        tmp_path, ("m",), program(("m",), PUSHES), bytes(400) + samples.tobytes(), cc=cc, cxx=cxx,
        flags=SANITIZE if cxx is None else [],
    )  # fmt: skip
    kind = TensorType(shape, DType.INT8, Quant((float(np.float32(scale)),), (zero,)))
    frames = load(spec).bind(kind, at="x").frames(samples)
    assert len(frames) > 15
    assert found == np.concatenate([frames, frames], axis=2).tobytes()


# -- what is refused ----------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any] | str, str]] = {
    "no kind": ({"hop_ms": 10}, "kind is None"),
    "unknown kind": ({"kind": "sonar"}, "kind is 'sonar'"),
    "unknown parameter": ({"kind": "micro", "hops": 1}, "no parameter 'hops'"),
    "text for a number": ({"kind": "micro", "rate": "fast"}, "rate is 'fast'"),
    "a boolean for a number": ({"kind": "micro", "rate": True}, "rate is True"),
    "a fraction for a count": ({"kind": "micro", "channels": 2.5}, "channels is 2.5"),
    "a huge number": ({"kind": "micro", "rate": 1 << 40}, "rate is"),
    "no window": ({"kind": "micro", "window_ms": 0.0}, "window_ms is 0"),
    "a huge window": ({"kind": "mfcc", "window_ms": 1e5}, "window of 1600000 samples"),
    "a hop beyond the window": ({"kind": "mfcc", "hop_ms": 40.0}, "hop of 640 samples"),
    "an odd FFT": ({"kind": "mfcc", "fft_size": 500}, "fft_size is 500"),
    "a short FFT": ({"kind": "mfcc", "fft_size": 256}, "fft_size is 256"),
    "a band beyond half the rate": ({"kind": "mfcc", "high_hz": 9000.0}, "high_hz 9000"),
    "a filterbank beyond the FFT": ({"kind": "micro", "high_hz": 8000.0}, "last bins"),
    "a band between bins": ({"kind": "log-mel", "low_hz": 40.0, "high_hz": 42.0}, "no bin"),
    "micro's band between bins": (
        {"kind": "micro", "low_hz": 40.0, "high_hz": 42.0, "channels": 1},
        "no bin",
    ),
    "a band of nothing": ({"kind": "mfcc", "low_hz": 40.0, "high_hz": 40.5}, "no band"),
    "more coefficients than channels": ({"kind": "mfcc", "cepstral": 41}, "cepstral is 41"),
    "a window by another name": ({"kind": "mfcc", "window": "kaiser"}, "window is 'kaiser'"),
    "a std of 0": ({"kind": "log-mel", "std": 0.0}, "std is 0"),
    "not a number": ({"kind": "log-mel", "mean": float("nan")}, "mean is nan"),
    "a format": ({"kind": "image", "format": "yuv"}, "format is 'yuv'"),
    "half a crop": ({"kind": "image", "crop": [1, 2]}, "crop is [1, 2]"),
    "two scales for three axes": ({"kind": "motion", "scale": [1, 2]}, "2 numbers for 3 axes"),
    "no TOML": ("kind = ", "is no TOML"),
    "no text": ("\udcff", "is no TOML"),
    "nested": ("a = " + "[" * 5000, "nested"),
    "a large file": ("#" * 100_000, "too large"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parameters_are_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, problem = WRONG[name]
    model = twice(tmp_path, (1, 3, 40))
    if isinstance(spec, str):
        path = tmp_path / "front.toml"
        path.write_bytes(spec.encode("utf-8", "surrogateescape"))
    else:
        path = toml(tmp_path, spec)
    check_refused(["compile", str(model), "-o", str(tmp_path / "out"), "--frontend", str(path)],
                  problem, capsys)  # fmt: skip
    assert not (tmp_path / "out").exists()


def check_refused(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    told = capsys.readouterr().err
    assert end.value.code == 2
    assert problem in told
    assert told.startswith("tinymill: ") and told.count("\n") == 1


UNFIT: dict[str, tuple[Any, Callable[[Path], Path], dict[str, Any], str]] = {
    "no such file": ("nothing.toml", lambda f: twice(f, (1, 3, 40)), {}, "nothing.toml"),
    "no such kind": ("sonar", lambda f: twice(f, (1, 3, 40)), {}, "'sonar'"),
    "rows of another length": (
        "micro", lambda f: twice(f, (1, 3, 39)), {}, "rows of 40 values, which don't fill",
    ),
    "a batch": ("micro", lambda f: twice(f, (2, 3, 40)), {}, "2x3x40"),
    "int32": ("motion", lambda f: twice(f, (1, 8, 3), "int32"), {}, "type int32"),
    "no picture": ("image", lambda f: twice(f, (1, 3, 40)), {}, "is no picture"),
    "four channels": ("image", lambda f: twice(f, (1, 8, 8, 4)), {}, "is no picture"),
    "a crop outside": (
        {"kind": "image", "width": 9, "height": 9, "crop": [4, 4, 6, 2]},
        lambda f: twice(f, (1, 8, 8, 3)), {}, "lies outside 9 x 9",
    ),
    "means of channels that aren't there": (
        {"kind": "image", "mean": [1, 2, 3], "std": 1}, lambda f: twice(f, (1, 8, 8, 1)), {},
        "3 means or stds for 1 channels",
    ),
    "overlapping rows, one by one": (
        "micro", lambda f: twice(f, (1, 3, 40)), {"stream_input": True}, "windows that overlap",
    ),
    "steps far from the input's": (
        {"kind": "motion", "scale": 1e9}, lambda f: twice(f, (1, 8, 3), "int8", 1e-9), {},
        "steps of 1e+09",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_fit_is_told(name: str, tmp_path: Path) -> None:
    spec, make, options, problem = UNFIT[name]
    front = toml(tmp_path, spec) if isinstance(spec, dict) else spec
    with pytest.raises(InvalidInput) as error:
        tinymill.compile(make(tmp_path), frontend=front, **options)
    assert problem in str(error.value)


def test_data_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, audio_ = twice(tmp_path, (1, 3, 40)), audio(1)
    arguments = ["run", str(model), "--frontend", "micro", "--input"]
    for name, make, problem in (
        ("none.wav", lambda p: None, "No such file"),
        ("text.wav", lambda p: p.write_text("RIFFhello"), "no .wav"),
        ("cut.wav", lambda p: p.write_bytes(b"RIFF\x10\0\0\0WAVEfmt "), "no .wav"),
        ("two.wav", lambda p: save_wav(p, audio_, channels=2), "2 channels of 16 bits"),
        ("slow.wav", lambda p: save_wav(p, audio_, 8000), "at 8000 Hz"),
        ("short.wav", lambda p: save_wav(p, audio_[:799]), "too short"),
        ("floats.npy", lambda p: np.save(p, audio_.astype(np.float32)), "float32 of shape"),
        ("deep.npy", lambda p: np.save(p, audio_[None]), "takes int16"),
        ("broken.npy", lambda p: p.write_bytes(b"\x93NUMPY"), "no .npy"),
    ):  # fmt: skip
        make(tmp_path / name)
        check_refused([*arguments, str(tmp_path / name)], problem, capsys)
    check_refused([*arguments, "pattern", "--mean", "1"], "the front end scales", capsys)
    check_refused([*arguments, "pattern", "--cycles"], "cycles are estimated for a run", capsys)


def test_a_folder_has_its_front_end(tmp_path: Path) -> None:
    need_tool("cc")
    model = twice(tmp_path, (1, 3, 40))
    tinymill.compile(model, frontend="micro", output=tmp_path / "out")
    found = tinymill.run(tmp_path / "out", layers=False)
    assert found.frames == 1
    same = tinymill.run(tmp_path / "out", frontend="micro", layers=False)
    assert same.output_crc32 == found.output_crc32
    other = toml(tmp_path, {"kind": "micro", "hop_ms": 20.0})
    with pytest.raises(InvalidInput, match="not compiled with the front end"):
        tinymill.run(tmp_path / "out", frontend=other)
    tinymill.compile(model, output=tmp_path / "plain")
    with pytest.raises(InvalidInput, match="not compiled with the front end"):
        tinymill.run(tmp_path / "plain", frontend="micro")


def test_all_defaults_are_in_range() -> None:
    for kind in KINDS:
        front = load(kind)
        assert front.options()["kind"] == kind
        assert load(front.options()).options() == front.options()


def test_a_store_rounds_half_up() -> None:
    store = Store(DType.INT8, 1, 1 + (3 << 1), 1, -128, 127)
    assert store(np.array([-3, -2, -1, 0, 1, 2, 300])).tolist() == [2, 2, 3, 3, 4, 4, 127]
