"""Board files: what tinymill brings, and one-line errors for everything wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import ROOT
from tinymill.boards import Region, SetupStep, list_boards, load_board
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


REAL = (
    "arduino-nano-33-ble", "esp32c3-devkit", "microbit", "microbit-v2", "nucleo-f401re",
    "nucleo-f446re", "nucleo-f746zg", "nucleo-h743zi", "nucleo-l4r5zi", "nucleo-u575zi",
    "openmv-h7", "portenta-h7", "rp2040-pico", "rp2350-pico2", "stm32f746g-disco", "teensy41",
)  # fmt: skip
SIMULATED = (
    "microbit", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547",
    "netduinoplus2", "riscv32-virt",
)  # fmt: skip


def test_the_boards() -> None:
    assert list_boards() == ("host", *sorted({*REAL, *SIMULATED}))
    for name in list_boards():
        board = load_board(name)
        assert board.name == name
        assert board.is_host == (name == "host")
        assert (board.simulator is not None) == (name in SIMULATED)
        assert (board.firmware is None) == board.is_host == (not board.flash_tools)


@pytest.mark.parametrize("name", REAL)
def test_facts_of_real_boards_name_their_sources(name: str) -> None:
    text = (ROOT / "boards" / f"{name}.toml").read_text()
    head = text[: text.index("[compiler]")]
    assert "# " in head
    board = load_board(name)
    assert board.firmware is not None
    if board.firmware.setup and name != "microbit":
        assert "Sources: " in head
    every = [line for line in text.splitlines() if line.startswith('    ["')]
    assert len(every) == len(board.firmware.setup)
    assert all("],  # " in line for line in every)


# What the data sheets say: bytes of flash and of all RAM that a program has, hertz of the UART.
FACTS = {
    "arduino-nano-33-ble": (983_040, 256 << 10, 16_000_000),
    "esp32c3-devkit": (4 << 20, 320 << 10, 40_000_000),
    "microbit-v2": (512 << 10, 128 << 10, 16_000_000),
    "nucleo-f401re": (512 << 10, 96 << 10, 16_000_000),
    "nucleo-f446re": (512 << 10, 128 << 10, 16_000_000),
    "nucleo-f746zg": (1 << 20, 320 << 10, 16_000_000),
    "nucleo-h743zi": (2 << 20, (128 + 512 + 288 + 64) << 10, 64_000_000),
    "nucleo-l4r5zi": (2 << 20, 640 << 10, 256 * 4_000_000),
    "nucleo-u575zi": (2 << 20, 784 << 10, 16_000_000),
    "openmv-h7": ((2 << 20) - (256 << 10), (128 + 512 + 288 + 64) << 10, 64_000_000),
    "portenta-h7": (768 << 10, (128 + 512 + 288 + 64) << 10, 64_000_000),
    "rp2040-pico": (2 << 20, 264 << 10, 12_000_000),
    "rp2350-pico2": (4 << 20, 520 << 10, 12_000_000),
    "stm32f746g-disco": (1 << 20, 320 << 10, 16_000_000),
    "teensy41": (7936 << 10, 896 << 10, 24_000_000),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_of_data_sheets(name: str) -> None:
    board = load_board(name)
    assert board.firmware is not None
    flash, ram, uart = FACTS[name]
    assert sum(region.size for region in board.flash) == flash
    assert sum(region.size for region in board.ram) == ram
    assert board.firmware.clock_hz == uart
    divisor = board.firmware.clock_hz / board.firmware.baud
    if board.firmware.uart == "lpuart":
        divisor /= 16
    if board.firmware.uart in ("stm32_v1", "stm32_v2", "lpuart"):
        assert abs(divisor - round(divisor)) / divisor < 0.01  # whole divisors


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


def test_boards_in_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYMILL_BOARDS", str(tmp_path))
    write(tmp_path, GOOD)
    mine = GOOD.replace('"probe"', '"microbit"').replace('"a probe"', '"my own"')
    (tmp_path / "microbit.toml").write_text(mine)
    assert {"probe", "teensy41"} <= set(list_boards())
    assert load_board("probe").title == "a probe"
    assert load_board("microbit").title == "my own"
    monkeypatch.setenv("TINYMILL_BOARDS", str(tmp_path / "none"))
    with pytest.raises(BoardError, match=r"TINYMILL_BOARDS=.*none: is no folder"):
        load_board("microbit")
    monkeypatch.setenv("TINYMILL_BOARDS", "")
    assert load_board("microbit").title != "my own"


MORE = (
    GOOD
    + """
[firmware]
uart = "pl011"
base = 0x4000_0000
clock_hz = 1_000_000
baud = 9600
setup = [["set", 0x4000_0010, 0xff, 0x11], ["wait", 0x4000_0014, 1, 1]]

[boot]
vectors = 0x100

[[boot.block]]
name = "second"
offset = 0
source = "boot_rp2040.S"

[[boot.block]]
name = "table"
offset = 0x140
words = [1, "vectors", "image_bytes", "block.second"]

[flash]
tool = "openocd"

[flash.gdb]
remote = "localhost:1"
before = []
after = []

[flash.openocd]
config = ["a.cfg"]
"""
)


def test_firmware_boot_and_tools(tmp_path: Path) -> None:
    board = load_board(write(tmp_path, MORE))
    assert board.firmware is not None and board.boot is not None
    assert board.firmware.setup[1] == SetupStep("wait", 0x4000_0014, 1, 1)
    assert board.firmware.core_hz == 1000
    assert board.boot.blocks[1].words == (1, "vectors", "image_bytes", "block.second")
    assert board.boot.blocks[0].source is not None
    assert [tool.name for tool in board.flash_tools] == ["openocd", "gdb"]
    (tmp_path / "boot_rp2040.S").write_text("@ mine\n")
    again = load_board(tmp_path / "probe.toml")
    assert again.boot is not None
    assert again.boot.blocks[0].source == tmp_path / "boot_rp2040.S"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"pl011"', '"rs232"', "firmware.uart is 'rs232', not one of 16550, cmsdk, esp"),
        ("9600", "2_000_000", "firmware.baud is more than the UART's clock"),
        ('["set", ', '["put", ', "firmware.setup must hold steps"),
        ("0xff, 0x11", "0xff", "firmware.setup must hold steps"),
        ("0xff, 0x11", "0x0f, 0x11", "firmware.setup has the value 0x11 outside its mask 0xf"),
        ("0x4000_0010", "0x4000_0011", "firmware.setup has 0x40000011, which is no word's"),
        ("boot_rp2040.S", "boot_none.S", "source is 'boot_none.S', and there is no such file"),
        ("boot_rp2040.S", "../x.S", "source is '../x.S', not boot_....S"),
        ("block.second", "block.third", "boot block table has 'block.third', which the linker"),
        ('"table"', '"second"', "has two boot blocks named second"),
        ("offset = 0x140", "offset = 0x142", "boot.block[1].offset must be a multiple of 4"),
        ('words = [1, "vectors"', 'words = [1.5, "vectors"', "words must be an integer"),
        ('tool = "openocd"', 'tool = "hammer"', "flash.tool is 'hammer', not one of bossac"),
        ('tool = "openocd"', 'tool = "pyocd"', "flash.pyocd is missing"),
        ('config = ["a.cfg"]', 'config = "a.cfg"', "flash.openocd.config must be a list of"),
        ("[flash.gdb]", "[flash.gbd]", "flash.gbd is unknown"),
        ("baud = 9600", "baud = 9600\nparity = 1", "firmware.parity is unknown"),
    ],
)
def test_errors_of_firmware_boot_and_tools(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in MORE
    with pytest.raises(BoardError) as caught:
        load_board(write(tmp_path, MORE.replace(old, new)))
    assert str(caught.value).startswith("probe.toml: ")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_board_must_be_good_for_something(tmp_path: Path) -> None:
    text = (
        GOOD[: GOOD.index("[simulator]")] + GOOD[GOOD.index("[[region]]") : GOOD.index("[timer]")]
    )
    with pytest.raises(BoardError, match=r"needs \[firmware\], \[simulator\] or both"):
        load_board(write(tmp_path, text))


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
    with pytest.raises(BoardError, match=r"^there is no board 'mps9' \(known: host, arduino-"):
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
    with pytest.raises(BoardError, match="the host has no simulator, timer, firmware or regions"):
        load_board(write(tmp_path, text))
