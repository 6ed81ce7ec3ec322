"""Compiled models as Python callables: the deployed bytes, whatever the batch and the threads."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tinymill
from conftest import ROOT, need_tool
from tinymill.deploy import library
from tinymill.samples import pattern

MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory):
    need_tool("cc")
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv(library.CACHE_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="session")
def clothes(cache: Path) -> tinymill.Loaded:
    return tinymill.load(MODEL)


def pictures(count: int) -> np.ndarray:
    draws = np.random.default_rng(count).integers(-128, 128, (count, 1, 28, 28))
    return draws.astype(np.int8)


def crc(array: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(array).tobytes()):08x}"


def two_ends(path: Path) -> Path:
    """a [1,2,3] and b [3] in; their sum and their product out."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["ab"])],
        "two",
        [
            helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 2, 3]),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, [3]),
        ],
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 2, 3]),
            helper.make_tensor_value_info("ab", TensorProto.FLOAT, [1, 2, 3]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def test_the_same_bytes_as_run(clothes):
    frames = pictures(40)
    result = tinymill.run(MODEL, input=frames, layers=False)
    answer = clothes(frames)
    assert answer.shape == (40, 10)
    assert crc(answer) == result.output_crc32
    np.testing.assert_array_equal(answer, result.outputs[0][:, 0])
    np.testing.assert_array_equal(clothes(frames[:1]), answer[:1])
    np.testing.assert_array_equal(clothes(frames[:, None]), answer[:, None])


def test_a_project_for_a_board_gives_the_same(tmp_path, clothes):
    """Kernels of DSP cores and of Helium in their C forms."""
    frames = pictures(5)
    for target, plan in (("mps2-an386", "min-ram"), ("mps3-an547", "min-time")):
        folder = tmp_path / target
        tinymill.compile(MODEL, target=target, plan=plan, output=folder)
        loaded = tinymill.load(folder)
        assert loaded.target == target
        np.testing.assert_array_equal(loaded(frames), clothes(frames))


def test_rows_that_come_one_by_one_and_two_memories(tmp_path, clothes):
    frames = pictures(3)
    for name, options in (
        ("rows", {"stream_input": True}),
        ("memories", {"fast_ram": 8192, "weights": "ram"}),
    ):
        tinymill.compile(MODEL, output=tmp_path / name, **options)
        np.testing.assert_array_equal(tinymill.load(tmp_path / name)(frames), clothes(frames))


def test_threads_change_no_byte(clothes):
    frames = pictures(200)
    many = tinymill.load(MODEL, threads=3)
    np.testing.assert_array_equal(many(frames), clothes(frames))
    assert many.library == clothes.library


def test_float_ends_and_conversions(clothes):
    pixels = pictures(4)
    reals = (pixels.astype(np.float32) + 128) / np.float32(255)
    np.testing.assert_array_equal(clothes.quantize(reals), pixels)
    assert clothes.quantize(np.float32([-1e9, 1e9]), "image").tolist() == [-128, 127]
    logits = tinymill.load(MODEL, io="float")(reals)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(clothes.dequantize(clothes(pixels)), logits)


def test_named_inputs_and_outputs(tmp_path):
    model = tinymill.load(two_ends(tmp_path / "two.onnx"))
    a = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    b = np.float32([1, 2, 3])
    for found in (model(a, b), model(b=b, a=a), model({"a": a, "b": b}), model(a, b=b)):
        assert list(found) == ["sum", "ab"]
        np.testing.assert_array_equal(found["sum"], a + b)
        np.testing.assert_array_equal(found["ab"], a * b)
    for wrong in ({"a": a}, {"a": a, "c": b}):
        with pytest.raises(tinymill.InvalidInput, match=r"a, b"):
            model(**wrong)
    with pytest.raises(tinymill.InvalidInput, match="by its place and by its name"):
        model(a, a=b)


def test_state_stays_until_reset(shared):
    path = shared / "models" / "wakeword" / "okay_nabu.tflite"
    model = tinymill.load(path)
    assert model.stateful
    frames = np.random.default_rng(0).integers(-100, -97, (60, 1, 3, 40)).astype(np.int8)
    together = model(frames)
    assert crc(together) == tinymill.run(path, input=frames, layers=False).output_crc32
    assert (model(frames) != together).any()
    model.reset()
    one_by_one = np.stack([model(frame) for frame in frames])
    np.testing.assert_array_equal(one_by_one, together)
    with pytest.raises(tinymill.InvalidInput, match="keeps state"):
        tinymill.load(path, threads=2)


def test_tflite_models_agree_with_run(shared):
    for name in ("mlperf_tiny/kws_ref_model.tflite", "tflm/hello_world_float.tflite"):
        path = shared / "models" / name
        loaded = tinymill.load(path, threads=2)
        result = tinymill.run(path, input="pattern", layers=False)
        assert crc(loaded(pattern(loaded.inputs[0]))) == result.output_crc32


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 28, 28), np.int8), r"shape \[1, 28, 28\], the model wants \[1, 1, 28, 28\]"),
        (np.zeros((0, 1, 28, 28), np.int8), "shape"),
        (np.zeros((1, 1, 28, 28), np.float32), "type float32, the model wants int8"),
        (np.full((1, 1, 28, 28), 200), "outside the range of int8"),
        (np.full((1, 1, 28, 28), "x"), "the model wants int8"),
    ],
)
def test_wrong_arrays(clothes, array, message):
    with pytest.raises(tinymill.InvalidInput, match=message) as refused:
        clothes(array)
    assert refused.value.at == f"input '{clothes.inputs[0].name}'"


def test_wrong_calls(clothes, tmp_path):
    with pytest.raises(tinymill.InvalidInput, match="2 inputs given, the model has 1"):
        clothes(pictures(1), pictures(1))
    for threads in (0, 1.5, "2", True):
        with pytest.raises(tinymill.InvalidInput, match=f"threads is {threads!r}.*1 to"):
            tinymill.load(MODEL, threads=threads)
    with pytest.raises(tinymill.InvalidModel, match=r"plan\.json"):
        tinymill.load(tmp_path)
    with pytest.raises(tinymill.ToolMissing):
        tinymill.load(MODEL, cc="no-such-compiler")
    with pytest.raises(tinymill.InvalidInput, match="no input or output"):
        clothes.quantize([0.0], "nobody")
    folder = tmp_path / "project"
    tinymill.compile(MODEL, output=folder)
    with pytest.raises(tinymill.InvalidInput, match="compile it again"):
        tinymill.load(folder, io="float")
    (folder / "fashion_mnist_int8.c").write_text("#error broken\n")
    with pytest.raises(tinymill.ToolFailed, match="broken"):
        tinymill.load(folder)
    (folder / "fashion_mnist_int8.c").unlink()
    with pytest.raises(tinymill.ToolFailed, match="is missing"):
        tinymill.load(folder)


def test_a_plan_of_another_model_is_seen(tmp_path):
    tinymill.compile(MODEL, output=tmp_path / "a", name="same")
    tinymill.compile(two_ends(tmp_path / "two.onnx"), output=tmp_path / "b", name="same")
    (tmp_path / "a" / "plan.json").write_text((tmp_path / "b" / "plan.json").read_text())
    with pytest.raises(tinymill.InvalidModel, match="not that of the C beside it"):
        tinymill.load(tmp_path / "a")


def test_the_cache_is_private_and_bounded(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(library.CACHE_VARIABLE, str(folder))
    model = two_ends(tmp_path / "two.onnx")
    first = tinymill.load(model).library
    assert first.parent == folder
    assert folder.stat().st_mode & 0o077 == 0
    built = first.stat().st_ino
    assert tinymill.load(model).library.stat().st_ino == built
    assert [path.name for path in folder.iterdir()] == [first.name]
    monkeypatch.setattr(library, "MOST_KEPT", 0)
    changed = tinymill.load(model, cc="cc -DOTHER").library
    assert [path.name for path in folder.iterdir()] == [changed.name]
    folder.chmod(0o777)
    with pytest.raises(tinymill.ToolFailed, match="others can write"):
        tinymill.load(model)
    monkeypatch.setenv(library.CACHE_VARIABLE, "/dev/null/x")
    with pytest.raises(tinymill.ToolFailed, match=library.CACHE_VARIABLE):
        tinymill.load(model)
