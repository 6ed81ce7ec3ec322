"""The commands as a user types them: what they print, their JSON, their exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest

from conftest import ROOT, need_tool

MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"
PICTURE = ROOT / "examples" / "fashion_mnist" / "images" / "9_ankle-boot.png"
LABELS = ROOT / "examples" / "fashion_mnist" / "labels.txt"


def tinymill(*arguments, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tinymill", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_inspect_lists_layers_and_totals():
    text = tinymill("inspect", MODEL).stdout
    assert "Conv2D" in text
    assert "MACs" in text
    found = json.loads(tinymill("inspect", MODEL, "--json").stdout)
    assert found["problems"] == []
    assert found["macs"] == sum(layer["macs"] for layer in found["layers"])
    assert found["parameters"] > 40_000


def test_compile_writes_a_project_that_make_builds(tmp_path):
    need_tool("make", "gcc")
    folder = tmp_path / "out"
    text = tinymill("compile", MODEL, "--output", folder, "--name", "clothes").stdout
    assert "arena" in text
    assert (folder / "clothes.h").is_file()
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["arena"]["bytes"] >= plan["arena"]["lower_bound"] > 0
    done = subprocess.run(["make", "-s", "-C", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = tinymill("compile", MODEL, "--output", folder, "--name", "clothes", "--json")
    assert json.loads(again.stdout)["model"] == "clothes"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_same_input_gives_the_same_files(tmp_path):
    """Whatever order the interpreter's hashing gives to sets."""
    texts = []
    for seed in ("1", "2"):
        folder = tmp_path / seed / "out"
        subprocess.run(
            [sys.executable, "-m", "tinymill", "compile", MODEL, "--output", folder,
             "--target", "mps2-an386"],
            env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True,
        )  # fmt: skip
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        texts.append([(path.relative_to(folder), path.read_bytes()) for path in files])
    assert texts[0] == texts[1]
    assert all(str(tmp_path).encode() not in content for _, content in texts[0])


def test_run_prints_one_json_object(tmp_path):
    output = tmp_path / "y.npy"
    done = tinymill("run", MODEL, "--input", "pattern", "--json", "--output", output)
    found = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert found["instructions"] is None
    assert set(found["ram"]) == {"arena", "static", "stack", "total"}
    assert found["ram"]["total"] == sum(found["ram"][k] for k in ("arena", "static", "stack"))
    assert found["flash"]["total"] == found["flash"]["code"] + found["flash"]["weights"]
    assert {"name", "op", "instructions"} <= set(found["layers"][0])
    assert found["output_crc32"] == f"{zlib.crc32(np.load(output).tobytes()):08x}"


def test_run_counts_instructions_in_qemu(tmp_path):
    need_tool("arm-none-eabi-gcc", "qemu-system-arm")
    folder = tmp_path / "out"
    tinymill("compile", MODEL, "--target", "mps2-an386", "--output", folder)
    found = json.loads(tinymill("run", folder, "--input", PICTURE, "--json").stdout)
    layers = sum(layer["instructions"] for layer in found["layers"])
    assert found["target"] == "mps2-an386"
    assert abs(layers - found["instructions"]) < 0.02 * found["instructions"]
    text = tinymill("run", folder, "--input", PICTURE, "--labels", LABELS).stdout
    assert "Ankle boot" in text


def test_float_ends_agree_with_quantized_ones(tmp_path):
    pixels = np.random.default_rng(5).integers(0, 256, (1, 1, 28, 28))
    np.save(tmp_path / "q.npy", (pixels - 128).astype(np.int8))
    np.save(tmp_path / "x.npy", (pixels / 255).astype(np.float32))
    for io, name in (("quantized", "q"), ("float", "x")):
        tinymill("run", MODEL, "--input", tmp_path / f"{name}.npy", "--io", io, "--output",
                 tmp_path / f"{name}-out.npy")  # fmt: skip
    integers, reals = (np.load(tmp_path / f"{name}-out.npy") for name in ("q", "x"))
    assert reals.dtype == np.float32
    scale = reals.ravel()[0] / (integers.ravel()[0] + 52)
    np.testing.assert_allclose(reals, (integers.astype(np.float32) + 52) * scale, rtol=1e-6)


def test_several_frames_are_run_one_after_the_other(tmp_path):
    frames = np.random.default_rng(6).integers(-128, 128, (3, 1, 1, 28, 28)).astype(np.int8)
    np.save(tmp_path / "all.npy", frames)
    tinymill("run", MODEL, "--input", tmp_path / "all.npy", "--output", tmp_path / "y.npy")
    together = np.load(tmp_path / "y.npy")
    for index in range(3):
        np.save(tmp_path / "one.npy", frames[index])
        tinymill("run", MODEL, "--input", tmp_path / "one.npy", "--output", tmp_path / "z.npy")
        np.testing.assert_array_equal(together[index], np.load(tmp_path / "z.npy"))


def test_fixed_requantisation_differs_by_one_at_most(tmp_path):
    outputs = []
    for how in ("exact", "fixed"):
        path = tmp_path / f"{how}.npy"
        tinymill("run", MODEL, "--input", PICTURE, "--requant", how, "--output", path)
        outputs.append(np.load(path).astype(int))
    # one step in a layer can grow through the next ones
    assert np.abs(outputs[0] - outputs[1]).max() <= 3
    assert outputs[0].argmax() == outputs[1].argmax()


@pytest.mark.parametrize("command", ["inspect", "compile", "run", "boards"])
def test_help_explains(command):
    text = tinymill(command, "--help").stdout
    assert "Usage:" in text
    assert "--json" in text


def test_boards_as_json():
    found = json.loads(tinymill("boards", "--json").stdout)["boards"]
    names = {board["name"] for board in found}
    assert {"host", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547",
            "microbit", "netduinoplus2", "riscv32-virt"} <= names  # fmt: skip
    assert next(b for b in found if b["name"] == "microbit")["ram"] == 16384
