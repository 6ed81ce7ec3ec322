"""The compiled C against the oracle: agreement is seen, and so is every kind of difference."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinymill
from conftest import ROOT, need_tool
from tinymill import cli
from tinymill.ops.dense import FullyConnected
from tinymill.validation import compare

EXAMPLE = ROOT / "examples" / "fashion_mnist"
MODEL = EXAMPLE / "fashion_mnist_int8.onnx"
PICTURE = EXAMPLE / "images" / "9_ankle-boot.png"


def command(capsys: pytest.CaptureFixture[str], *arguments, code: int) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main(["validate", *map(str, arguments)])
    text = capsys.readouterr()
    assert end.value.code == code, text.out + text.err
    return text.out if code < 2 else text.err


def test_host_and_oracle_agree_on_frames():
    frames = np.random.default_rng(1).integers(-128, 128, (3, 1, 28, 28)).astype(np.int8)
    found = tinymill.validate(MODEL, input=frames)
    assert found.agree
    assert (found.frames, found.layers) == (3, None)
    assert [(each.name, each.bytes, each.differing_bytes) for each in found.outputs] == [
        ("logits", 30, 0)
    ]


def test_frames_of_an_archive_and_of_a_folder(tmp_path):
    frames = np.random.default_rng(1).integers(-128, 128, (2, 1, 28, 28)).astype(np.int8)
    np.savez(tmp_path / "data.npz", x=frames, y=np.array([1, 2]))
    assert tinymill.validate(MODEL, input=tmp_path / "data.npz").frames == 2
    found = tinymill.validate(MODEL, input=PICTURE.parent)
    assert found.agree and found.frames == 10
    for name, message in (("data.npz", "no array"), ("none.npz", "No such file")):
        np.savez(tmp_path / "data.npz", a=frames, b=frames)
        with pytest.raises(tinymill.InvalidInput, match=message):
            tinymill.validate(MODEL, input=tmp_path / name)


def test_every_layer_on_a_simulated_core(capsys):
    need_tool("arm-none-eabi-gcc", "qemu-system-arm")
    options = ("--target", "mps2-an386", "--plan", "min-ram", "--layers", "--json")
    text = command(capsys, MODEL, "--inputs", PICTURE, *options, code=0)
    found = json.loads(text)
    assert found["agree"] and found["first_differing_layer"] is None
    assert found["target"] == "mps2-an386"
    assert len(found["layers"]) > 15
    assert all(each["differing_bytes"] == 0 < each["bytes"] for each in found["layers"])


def test_state_runs_on_in_both(shared):
    path = shared / "models" / "wakeword" / "okay_nabu.tflite"
    frames = np.random.default_rng(0).integers(-100, -97, (40, 1, 3, 40)).astype(np.int8)
    found = tinymill.validate(path, input=frames)
    assert found.agree and found.frames == 40


def test_a_wrong_layer_is_found(monkeypatch, capsys):
    right = FullyConnected.reference

    def wrong(self, inputs, types):
        (result, *rest) = right(self, inputs, types)
        result = result.copy()
        result.flat[3] ^= 1
        return [result, *rest]

    monkeypatch.setattr(FullyConnected, "reference", wrong)
    found = tinymill.validate(MODEL, layers=True)
    assert not found.agree and found.layers is not None
    by_op = {each.op: each.differing_bytes for each in found.layers}
    assert by_op.pop("FullyConnected") == 1
    assert not any(by_op.values())
    assert found.outputs[0].differing_elements == 1
    assert found.outputs[0].worst == 1.0
    assert found.first_differing_layer is not None
    assert found.first_differing_layer.op == "FullyConnected"
    text = command(capsys, MODEL, "--inputs", "pattern", code=1)
    assert "differ on 1 frame" in text


def test_floats_are_held_to_a_tolerance(shared):
    path = shared / "models" / "mlperf_tiny" / "kws_ref_model_float32.tflite"
    found = tinymill.validate(path)
    assert found.agree
    assert 0 < found.outputs[0].worst < 1e-5
    assert not tinymill.validate(path, tolerance=0.0).agree


def test_what_counts_as_a_difference():
    truth = np.float32([[1, np.nan, np.inf, 1000.0]])
    same = compare("y", "op", truth.copy(), truth, tolerance=0.0)
    assert same.agree and same.worst == 0.0 and same.first_frame is None
    near = np.float32([[1 + 5e-6, np.nan, np.inf, 1000.005]])
    assert compare("y", "op", near, truth, tolerance=1e-5).agree
    for wrong in ([1.1, np.nan, np.inf, 1000], [1, 0, np.inf, 1000], [1, np.nan, -np.inf, 1000]):
        found = compare("y", "op", np.float32([wrong]), truth, tolerance=1e-5)
        assert found.differing_elements == 1 and found.first_frame == 0
    integers = np.int32([[1, 2], [3, 4]])
    found = compare("y", "op", integers + np.int32([[0, 0], [0, 256]]), integers, tolerance=1e-5)
    assert (found.differing_bytes, found.differing_elements, found.worst) == (1, 1, 256.0)
    assert found.first_frame == 1


def test_bad_arguments(capsys, tmp_path):
    assert "no graph" in command(capsys, tmp_path, "--inputs", "pattern", code=2)
    assert "tolerance" in command(capsys, MODEL, "--inputs", "pattern", "--tolerance", "-1", code=2)
    np.save(tmp_path / "x.npy", np.zeros((1, 2), np.int8))
    assert "the model wants" in command(capsys, MODEL, "--inputs", tmp_path / "x.npy", code=2)


def test_layers_that_do_not_fit_together(capsys):
    need_tool("arm-none-eabi-gcc", "qemu-system-arm")
    text = command(
        capsys, MODEL, "--inputs", "pattern", "--target", "microbit", "--plan", "min-ram",
        "--layers", "--optimize", "size", code=2,
    )  # fmt: skip
    assert "leave out --layers" in text
