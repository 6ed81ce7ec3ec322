"""Arenas in two memories, weights copied to RAM, and boards that give no more than they have."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from test_baselines import baselines, model_file

import tinymill
from conftest import ROOT, need_tool
from tinymill.boards import load_board
from tinymill.cli import main
from tinymill.deploy import build, missing
from tinymill.errors import OutOfMemory, TinymillError

MODEL = ROOT / "examples" / "fashion_mnist" / "fashion_mnist_int8.onnx"
BOARD = "mps2-an386"
RISCV = "riscv32-virt"
RAM = re.compile(r'(?<=name = "ssram23"\nkind = "ram"\naddress = 0x2000_0000\nsize = )\S+')
SECOND = re.compile(r'\[\[region\]\]\nname = "psram"\n(.+\n)+')


def board_with(folder: Path, ram: int, second: int | None = None) -> Path:
    """The AN386 with so many bytes of RAM, and of the second one; None: it has no second."""
    text = (ROOT / "boards" / f"{BOARD}.toml").read_text()
    text, found = RAM.subn(f"{ram:#x}", text)
    assert found == 1
    more = '[[region]]\nname = "psram"\nkind = "ram"\naddress = 0x2100_0000\n'
    text, found = SECOND.subn("" if second is None else f"{more}size = {second:#x}\n", text)
    assert found == 1
    path = folder / "small.toml"
    path.write_text(text.replace(f'name = "{BOARD}"', 'name = "small"', 1))
    return path


# -- two memories -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "fast"),
    [("min-time", 1), ("min-time", 9_000), ("min-ram", 3_000), ("patched", 6_000),
     ("min-ram", 1_000_000)],
)  # fmt: skip
def test_a_split_arena_gives_the_same_bytes(goal: str, fast: int) -> None:
    whole = tinymill.compile(MODEL, plan=goal).plan
    split = tinymill.compile(MODEL, plan=goal, fast_ram=fast).plan
    if whole.arena_bytes <= fast:
        assert split.fast_bytes is None and split.arena_bytes == whole.arena_bytes
        return
    assert split.fast_bytes is not None and split.fast_bytes <= fast
    offsets = split.placement.offsets
    for buffer in split.buffers:
        start, end = offsets[buffer.name], offsets[buffer.name] + buffer.size
        assert end <= split.fast_bytes or start >= split.fast_bytes, buffer.name
    assert split.arena_bytes >= whole.arena_bytes
    found = tinymill.run(MODEL, plan=goal, fast_ram=fast, sanitize=True)
    assert found.output_crc32 == tinymill.run(MODEL).output_crc32


@pytest.mark.parametrize("target", [BOARD, RISCV])
@pytest.mark.parametrize("stream", [False, True])
def test_split_arenas_in_simulation(target: str, stream: bool) -> None:
    need_tool(*missing(load_board(target)))
    more = {"plan": "min-ram", "stream_input": stream, "layers": False}
    whole = tinymill.run(MODEL, target=target, **more)  # type: ignore[arg-type]
    found = tinymill.run(MODEL, target=target, fast_ram=4_000, **more)  # type: ignore[arg-type]
    assert found.output_crc32 == whole.output_crc32
    assert found.ram.arena >= whole.ram.arena


def test_what_is_used_most_lies_in_the_fast_memory() -> None:
    split = tinymill.compile(MODEL, plan="min-time", fast_ram=6_000).plan
    assert split.fast_bytes is not None
    fast = {b.name for b in split.buffers if split.placement.offsets[b.name] < split.fast_bytes}
    scratch = {b.name for b in split.buffers if not b.values}
    # read for each multiplication, where an activation is read some times
    assert scratch and scratch <= fast


def test_an_arena_larger_than_each_memory_is_split(shared: Path, tmp_path: Path) -> None:
    need_tool(*missing(load_board(BOARD)))
    name = "vww_96_int8.tflite"
    file = model_file(shared, name)
    board = board_with(tmp_path, 0x8000, 0xA000)
    found = tinymill.run(file, target=board, layers=False)
    assert found.output_crc32 == baselines()[name]["output_crc32"]
    assert found.ram.arena > 0x8000
    with pytest.raises(OutOfMemory) as raised:
        tinymill.run(file, target=board_with(tmp_path, 0x4000, 0x4000), layers=False)
    assert raised.value.hint is not None


# -- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["host", BOARD, RISCV])
def test_weights_in_ram(target: str) -> None:
    need_tool(*missing(load_board(target)))
    flash = tinymill.run(MODEL, target=target, layers=False)
    found = tinymill.run(MODEL, target=target, weights="ram", layers=False)
    assert found.output_crc32 == flash.output_crc32
    assert found.flash.weights == flash.flash.weights
    if target != "host":
        assert found.ram.static - flash.ram.static in range(
            flash.flash.weights, flash.flash.weights + 16
        )
        # addresses are made in another way
        assert found.instructions == pytest.approx(flash.instructions, rel=1e-3)


def test_weights_that_ram_can_not_hold(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    board = board_with(tmp_path, 0x10000)
    arguments = ["compile", str(MODEL), "--target", str(board), "--weights", "ram"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--output", str(tmp_path / "project")])
    said = capsys.readouterr()
    assert ended.value.code == 2 and len(said.err.splitlines()) <= 2
    assert "weights" in said.err and "RAM" in said.err
    assert not (tmp_path / "project").exists()


# -- what the linker says ---------------------------------------------------------------------


@pytest.mark.parametrize("target", [BOARD, RISCV])
@pytest.mark.parametrize(
    ("goal", "stream", "fast"),
    [("min-time", False, None), ("min-ram", False, None), ("patched", False, None),
     ("min-ram", True, None), ("min-time", False, 9_000)],
)  # fmt: skip
def test_the_linker_confirms_the_arena(
    target: str, goal: str, stream: bool, fast: int | None, tmp_path: Path
) -> None:
    """The section that holds the arena, in the linked program, has the bytes of the plan."""
    board = load_board(target)
    need_tool(*missing(board))
    compiled = tinymill.compile(
        MODEL, target=board, plan=goal, stream_input=stream, fast_ram=fast,
        output=tmp_path / "project",
    )  # fmt: skip
    program = build(tmp_path / "project", board, tmp_path / "build", model=compiled.name)
    objdump = "riscv64-unknown-elf-objdump" if target == RISCV else "arm-none-eabi-objdump"
    said = subprocess.run([objdump, "-h", program], capture_output=True, text=True, check=True)
    rows = (line.split() for line in said.stdout.splitlines())
    sizes = {row[1]: int(row[2], 16) for row in rows if len(row) > 2 and row[1].startswith(".")}
    plan = compiled.plan
    assert sizes[".tm_arena"] == plan.arena_bytes - plan.slow_bytes
    assert sizes.get(".tm_slow", 0) == plan.slow_bytes
    assert (plan.slow_bytes > 0) == (fast is not None)


# -- boards with little -------------------------------------------------------------------------


def test_vww_in_32_kilobytes(shared: Path, tmp_path: Path) -> None:
    """The linker script has no more: 32 KB for model, stacks and harness."""
    need_tool(*missing(load_board(BOARD)))
    name = "vww_96_int8.tflite"
    board = board_with(tmp_path, 0x8000)
    more = {"target": board, "plan": "min-ram", "stream_input": True, "layers": False}
    found = tinymill.run(model_file(shared, name), **more)  # type: ignore[arg-type]
    assert found.output_crc32 == baselines()[name]["output_crc32"]
    assert found.ram.total <= 18_000
    compiled = tinymill.compile(
        model_file(shared, name), target=board, plan="min-ram", stream_input=True,
        output=tmp_path / "project",
    )  # fmt: skip
    (script,) = (t for n, t in compiled.files.items() if n.endswith(".ld"))
    assert "LENGTH = 0x8000" in str(script)
    with pytest.raises(TinymillError):
        tinymill.run(model_file(shared, name), target=board, plan="min-time", layers=False)


def test_kws_on_a_microbit(shared: Path) -> None:
    need_tool(*missing(load_board("microbit")))
    name = "kws_ref_model.tflite"
    found = tinymill.run(model_file(shared, name), target="microbit", plan="min-ram", layers=False)
    assert found.output_crc32 == baselines()[name]["output_crc32"]
    assert found.ram.total <= 16 * 1024
