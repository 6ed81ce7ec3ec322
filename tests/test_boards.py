"""Board files: what tinymill brings, and one-line errors for everything wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinymill.boards import Region, list_boards, load_board
from tinymill.errors import BoardError

GOOD = """
name = "probe"
title = "a probe"
core = "cortex-m4"
features = ["dsp"]
clock_hz = 1000

[compiler]
family = "arm-none-eabi"
optimise = "-O2"
flags = ["-mcpu=cortex-m4"]
link_flags = []

[simulator]
program = "qemu-system-arm"
machine = "mps2-an386"
arguments = []

[[region]]
name = "flash"
kind = "flash"
address = 0
size = 4096

[[region]]
name = "ram"
kind = "ram"
address = 0x2000_0000
size = 4096

[timer]
counter = 0x4000_0000
bits = 32
direction = "down"
instructions_per_tick = [40, 1]
start = []
"""


def test_the_boards() -> None:
    assert list_boards() == (
        "host",
        "microbit",
        "mps2-an385",
        "mps2-an386",
        "mps2-an500",
        "mps2-an505",
        "mps3-an547",
        "netduinoplus2",
        "riscv32-virt",
    )
    for name in list_boards():
        board = load_board(name)
        assert board.name == name
        assert board.is_host == (name == "host")
        assert (board.simulator is None) == board.is_host


def test_true_memory_sizes() -> None:
    microbit = load_board("microbit")
    assert microbit.flash == (Region("flash", "flash", 0, 256 * 1024),)
    assert microbit.ram == (Region("ram", "ram", 0x2000_0000, 16 * 1024),)
    assert [region.size for region in load_board("netduinoplus2").ram] == [128 * 1024]
    assert load_board("mps2-an386").flash[0].size == 4 << 20


def write(folder: Path, text: str) -> Path:
    path = folder / "probe.toml"
    path.write_text(text)
    return path


def test_a_board_from_a_file(tmp_path: Path) -> None:
    board = load_board(write(tmp_path, GOOD))
    assert board.timer is not None
    assert board.timer.instructions_per_tick == (40, 1)
    assert board.regions[0].end == 4096
    assert board == load_board(str(tmp_path / "probe.toml"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", ""),
        ("clock_hz = 1000", "clock_hz = 1000\nspeed = 1", "probe.toml: speed is unknown"),
        ("clock_hz = 1000", "", "probe.toml: clock_hz is missing"),
        ("clock_hz = 1000", 'clock_hz = "1"', "probe.toml: clock_hz must be an integer"),
        ("clock_hz = 1000", "clock_hz = true", "probe.toml: clock_hz must be an integer"),
        ('title = "a probe"', "title = 5", "probe.toml: title must be a string"),
        ('["dsp"]', '"dsp"', "probe.toml: features must be a list of strings"),
        ('["dsp"]', "[1]", "probe.toml: features must be a list of strings"),
        ('name = "probe"', 'name = "other"', "probe.toml: name is 'other', not the file's"),
        (
            'name = "probe"',
            'name = "a b"',
            "probe.toml: name is 'a b': lower-case letters, digits and - only",
        ),
        (
            '"arm-none-eabi"',
            '"keil"',
            "probe.toml: compiler.family is 'keil', not one of host, arm-none-eabi, "
            "riscv64-unknown-elf",
        ),
        ("link_flags = []", "", "probe.toml: compiler.link_flags is missing"),
        ("link_flags = []", "link_flags = []\nx = 1", "probe.toml: compiler.x is unknown"),
        ("arguments = []", "", "probe.toml: simulator.arguments is missing"),
        (
            'kind = "ram"',
            'kind = "rom"',
            "probe.toml: region[1].kind is 'rom', not one of flash, ram",
        ),
        ('kind = "ram"', 'kind = "flash"', "probe.toml: has no region of kind ram"),
        (
            "address = 0x2000_0000",
            "address = 4080",
            "probe.toml: regions flash and ram overlap",
        ),
        (
            "address = 0x2000_0000\nsize = 4096",
            "address = 0x2000_0000\nsize = 0",
            "probe.toml: region[1].size is 0x0, not within 0x400 to 0x100000000",
        ),
        (
            "address = 0x2000_0000\nsize = 4096",
            "address = 0x2000_0000\nsize = 4097",
            "probe.toml: region[1].size and address must be multiples of 16",
        ),
        (
            "address = 0x2000_0000\nsize = 4096",
            "address = 0xffff_fff0\nsize = 4096",
            "probe.toml: region[1].size reaches beyond the 32-bit address space",
        ),
        ('name = "ram"', 'name = "flash"', "probe.toml: has two regions named flash"),
        (
            'name = "ram"',
            'name = "RAM 1"',
            "probe.toml: region[1].name is 'RAM 1': lower-case letters, digits and _ only",
        ),
        ("[[region]]\nname = \"ram\"", "[[regio]]\nname = \"ram\"", "probe.toml: regio is unknown"),
        (
            "[40, 1]",
            "[40, 2]",
            "probe.toml: timer.instructions_per_tick must be a reduced fraction of at least 1",
        ),
        (
            "[40, 1]",
            "[125, 21]",
            "probe.toml: timer.instructions_per_tick needs a power of two as its denominator",
        ),
        (
            "[40, 1]",
            "[49, 1]",
            "probe.toml: timer.instructions_per_tick is a multiple of 7, the stride of the reads",
        ),
        ("start = []", "start = [[1]]", "probe.toml: timer.start must hold pairs of integers"),
    ],
)  # fmt: skip
def test_errors_are_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new) if old else GOOD)
    if not message:
        load_board(path)
        return
    with pytest.raises(BoardError) as caught:
        load_board(path)
    assert str(caught.value) == message


def test_what_is_no_board(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match=r"^there is no board 'mps9' \(known: host, microbit"):
        load_board("mps9")
    with pytest.raises(BoardError, match="no such file"):
        load_board(tmp_path / "absent.toml")
    for text in (b"name = ", b"\xff\xfe", b"a" * 5000, b"[" * 100000):
        path = tmp_path / "probe.toml"
        path.write_bytes(text)
        with pytest.raises(BoardError) as caught:
            load_board(path)
        assert str(caught.value).startswith("probe.toml: is not TOML")
        assert "\n" not in str(caught.value)
    with pytest.raises(BoardError, match="can't be read"):
        folder = tmp_path / "folder.toml"
        folder.mkdir()
        load_board(folder)


def test_the_host_has_no_memory_of_its_own(tmp_path: Path) -> None:
    text = GOOD.replace('"arm-none-eabi"', '"host"').replace("clock_hz = 1000", "")
    with pytest.raises(BoardError, match="the host has no simulator, timer or regions"):
        load_board(write(tmp_path, text))
