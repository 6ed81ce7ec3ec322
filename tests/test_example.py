"""The shipped example: what its page and the README's first command promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import tinymill
from conftest import ROOT, absent, need_tool

EXAMPLE = ROOT / "examples" / "fashion_mnist"
MODEL = EXAMPLE / "fashion_mnist_int8.onnx"


def script(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLE / name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_demo_recognises_on_host_and_cortex_m4(tmp_path):
    need_tool("arm-none-eabi-gcc", "qemu-system-arm")
    text = script("demo.py", tmp_path)
    assert "host and Cortex-M4 gave the same bytes" in text
    rows = [line.split() for line in text.splitlines() if ".png" in line]
    assert len(rows) == 10
    assert re.search(r"time +[\d,]+ instructions", text)
    assert (tmp_path / "build" / "demo" / "plan.json").is_file()


def test_accuracy_of_the_compiled_c(tmp_path):
    if not Path("/usr/share/datasets/fashion-mnist").is_dir():
        absent("dataset-fashion-mnist is not installed")
    text = script("accuracy.py", tmp_path)
    right = int(text.split()[0])
    assert right >= 9100, text
    stated = re.search(r"(\d+) of 10000 right", (EXAMPLE / "README.md").read_text())
    assert stated is not None
    assert int(stated[1]) == right


def test_flash_stays_under_100_kb():
    need_tool("arm-none-eabi-gcc", "qemu-system-arm")
    result = tinymill.run(MODEL, target="mps2-an386", optimize="size", layers=False)
    assert result.flash.total < 100_000
