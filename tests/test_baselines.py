"""The models of baselines.json: right bytes on every target, and within the RAM and flash bars."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import tinymill
from conftest import need_tool, shared_folder
from tinymill.api import RunResult
from tinymill.errors import OutOfMemory

ARM = ("arm-none-eabi-gcc", "qemu-system-arm")
RISCV = ("riscv64-unknown-elf-gcc", "qemu-system-riscv32")

# name of the case -> (target, further arguments of tinymill.run, tools)
TARGETS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "gcc": ("host", {"cc": "gcc"}, ("gcc",)),
    "clang": ("host", {"cc": "clang"}, ("clang",)),
    "gcc-sanitized": ("host", {"cc": "gcc", "sanitize": True}, ("gcc",)),
    "clang-sanitized": ("host", {"cc": "clang", "sanitize": True}, ("clang",)),
    "mps2-an386": ("mps2-an386", {"layers": True}, ARM),
    "mps2-an500": ("mps2-an500", {}, ARM),
    "mps3-an547": ("mps3-an547", {}, ARM),
    "riscv32-virt": ("riscv32-virt", {}, RISCV),
}

CODE_FLASH = {"time": 48 * 1024, "size": 24 * 1024}
RAM_BARS = {"vww_96_int8.tflite": 60_000, "vww.tflite": 96_000}
MICROBIT_RAM = 16 * 1024


@cache
def baselines() -> dict[str, dict[str, Any]]:
    """The models that have a CRC; empty without the shared folder."""
    path = shared_folder() / "baselines.json"
    if not path.is_file():
        return {}
    models = json.loads(path.read_text())["models"]
    return {name: entry for name, entry in models.items() if "output_crc32" in entry}


# without the shared folder one case stays, to skip (in CI: fail) visibly
MODELS = tuple(baselines()) or ("absent",)
FLOAT_ENDED = tuple(n for n, e in baselines().items() if "output_crc32_int8" in e) or ("absent",)


def model_file(shared: Path, model: str) -> Path:
    return shared / baselines()[model]["file"]


@cache
def run(path: Path, case: str) -> RunResult:
    """One run of the pattern, shared by the tests of a worker."""
    target, more, _ = TARGETS[case]
    return tinymill.run(path, target=target, **{"layers": False, **more})


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("model", MODELS)
def test_right_bytes(shared: Path, model: str, case: str) -> None:
    need_tool(*TARGETS[case][2])
    entry = baselines()[model]
    wanted = entry.get("output_crc32_int8", entry["output_crc32"])
    assert run(model_file(shared, model), case).output_crc32 == wanted


@pytest.mark.parametrize("target", ["host", "mps2-an386"])
@pytest.mark.parametrize("model", FLOAT_ENDED)
def test_right_bytes_with_float_ends(shared: Path, model: str, target: str) -> None:
    need_tool(*(() if target == "host" else ARM))
    result = tinymill.run(model_file(shared, model), target=target, io="float", layers=False)
    assert result.output_crc32 == baselines()[model]["output_crc32"]
    assert all(array.dtype.name == "float32" for array in result.outputs)


@pytest.mark.parametrize("model", MODELS)
def test_figures_on_m4(shared: Path, model: str) -> None:
    """Code within its bar, RAM below TFLite Micro's, and layers that add up to the total."""
    need_tool(*ARM)
    result = run(model_file(shared, model), "mps2-an386")
    assert 0 < result.flash.code <= CODE_FLASH["time"]
    assert result.flash.weights > 0
    assert result.ram.total < baselines()[model]["m4"]["tflm_reference"]["ram"]
    assert result.instructions is not None
    counts = [layer.instructions for layer in result.layers]
    assert all(count is not None and count > 0 for count in counts)
    # the two come from two builds, and the compiler may inline a kernel otherwise
    gap = abs(sum(count or 0 for count in counts) - result.instructions)
    assert gap <= result.instructions * 0.01 + 1000


@pytest.mark.parametrize("target", ["mps2-an386", "mps3-an547", "mps2-an385", "riscv32-virt"])
@pytest.mark.parametrize("model", MODELS)
def test_optimised_for_size(shared: Path, model: str, target: str) -> None:
    """The same bytes, with less flash than the default."""
    need_tool(*(RISCV if target == "riscv32-virt" else ARM))
    entry = baselines()[model]
    path = model_file(shared, model)
    result = tinymill.run(path, target=target, optimize="size", layers=False)
    assert result.output_crc32 == entry.get("output_crc32_int8", entry["output_crc32"])
    assert 0 < result.flash.code <= CODE_FLASH["size"]
    if target == "mps2-an386":
        assert result.flash.total < run(path, target).flash.total


@pytest.mark.parametrize("model", RAM_BARS)
def test_ram_fits_its_bar(shared: Path, model: str) -> None:
    need_tool(*ARM)
    path = model_file(shared, model)
    for case in ("mps2-an386", "mps2-an500", "mps3-an547"):
        ram = run(path, case).ram
        assert ram.stack is not None and ram.stack > 0, "the stack counts, too"
        assert ram.total == ram.arena + ram.static + ram.stack <= RAM_BARS[model]


@pytest.mark.parametrize("case", ["mps2-an386", "mps3-an547", "riscv32-virt"])
@pytest.mark.parametrize("model", ["kws_ref_model.tflite", "ad01_int8.tflite"])
def test_instructions_repeat_exactly(shared: Path, model: str, case: str) -> None:
    need_tool(*TARGETS[case][2])
    path = model_file(shared, model)
    again = tinymill.run(path, target=case, layers=case == "mps2-an386")
    first = run(path, case)
    assert again.instructions == first.instructions is not None
    assert again.layers == first.layers
    assert again.ram == first.ram and again.flash == first.flash


def test_kws_fits_a_microbit_or_says_by_how_much_not(shared: Path) -> None:
    need_tool(*ARM)
    path = model_file(shared, "kws_ref_model.tflite")
    try:
        result = tinymill.run(path, target="microbit", layers=False)
    except OutOfMemory as error:
        assert error.needed > error.available <= MICROBIT_RAM
        assert f"{error.needed - error.available:,} too many" in str(error)
    else:
        assert result.output_crc32 == baselines()["kws_ref_model.tflite"]["output_crc32"]
        assert result.ram.total <= MICROBIT_RAM


def test_a_model_too_big_for_a_microbit_is_refused(shared: Path) -> None:
    with pytest.raises(OutOfMemory) as caught:
        tinymill.compile(model_file(shared, "vww.tflite"), target="microbit")
    assert caught.value.needed > MICROBIT_RAM >= caught.value.available
    assert f"{caught.value.needed - caught.value.available:,} too many" in str(caught.value)
