"""The firmware of boards: linked for all, run on those that QEMU has, asked over their UARTs."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinymill
from conftest import ROOT, absent, need_tool
from simulated_board import simulated
from test_emission import EXAMPLE, tiny
from tinymill.api import compile as compile_model
from tinymill.boards import UARTS, Board, list_boards, load_board
from tinymill.deploy import build, missing, target_files
from tinymill.deploy.flashing import images
from tinymill.deploy.recipe import recipe
from tinymill.deploy.serial_link import SerialLink, Stream, open_port, packet
from tinymill.emit import emit
from tinymill.errors import BoardError, InvalidInput, ToolFailed, ToolMissing
from tinymill.ir import interpret
from tinymill.samples import End
from tinymill.schedule import Planner

NAMES = tuple(name for name in list_boards() if name != "host")

# Arm's Musca-B1 has a PL011, as RP2040 and RP2350 do.
MUSCA = """
name = "musca-b1"
title = "Arm Musca-B1"
core = "cortex-m33"
features = ["dsp", "fpu"]
clock_hz = 40_000_000

[compiler]
family = "arm-none-eabi"
optimise = "-O2"
flags = ["-mcpu=cortex-m33", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"]
link_flags = []

[simulator]
program = "qemu-system-arm"
machine = "musca-b1"
arguments = []

[[region]]
name = "flash"
kind = "flash"
address = 0x1000_0000
size = 0x40_0000

[[region]]
name = "ram"
kind = "ram"
address = 0x3000_0000
size = 0x2_0000

[firmware]
uart = "pl011"
base = 0x5010_5000
clock_hz = 50_000_000
baud = 115_200
setup = []
"""


def write_tiny(folder: Path, board: Board) -> Path:
    """The smallest model as a project for ``board``."""
    found = Planner(tiny(), board.features).plan("min-time")
    files = emit(found, "tiny") | target_files(
        board, "tiny", arena_bytes=found.arena_bytes, weights_bytes=1000
    )
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@cache
def tiny_sample() -> tuple[bytes, bytes]:
    """A frame for the smallest model and the outputs of its reference."""
    graph = tiny()
    frame = np.arange(-60, 60, 5, dtype=np.int8)
    shape = graph.type(graph.inputs[0].value).shape
    values = interpret(graph, {graph.inputs[0].value: frame.reshape(shape)})
    return frame.tobytes(), values[graph.outputs[0].value].tobytes()


def need(board: Board) -> None:
    lacking = missing(board)
    if lacking:
        absent(f"{', '.join(lacking)} not installed")


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The smallest model's firmware for a board, linked once, its images beside it."""

    @cache
    def linked(name: str) -> Path:
        board = load_board(name)
        need(board)
        need_tool(f"{board.compiler.family}-objcopy")
        folder = tmp_path_factory.mktemp(name)
        project = write_tiny(folder / "c", board)
        program = build(project, board, folder / "build", model="tiny", firmware=True)
        images(program, board)
        return program

    return linked


def segments(program: Path) -> list[tuple[int, int, bytes, int]]:
    """Address, load address, content and size in memory of what an ELF file loads."""
    image = program.read_bytes()
    (table,) = struct.unpack_from("<I", image, 28)
    entry, count = struct.unpack_from("<HH", image, 42)
    found = []
    for index in range(count):
        kind, at, address, load, stored, size = struct.unpack_from(
            "<6I", image, table + entry * index
        )
        if kind == 1:
            found.append((address, load, image[at : at + stored], size))
    return found


# Linked -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_firmware_links_and_fits(firmware: Callable[[str], Path], name: str) -> None:
    board = load_board(name)
    program = firmware(name)
    flash = board.flash[0]
    for address, load, content, size in segments(program):
        if content:
            assert flash.address <= load and load + len(content) <= flash.end
        else:
            inside = [r for r in board.ram if r.address <= address and address + size <= r.end]
            assert inside, f"{address:#x} is in no RAM of {name}"
    raw = (program.parent / "firmware.bin").read_bytes()
    assert 1000 < len(raw) < 32_000
    vectors = board.boot.vectors if board.boot else 0
    if board.compiler.family == "arm-none-eabi":
        stack, start = struct.unpack_from("<II", raw, vectors)
        assert stack == board.ram[0].end
        assert start & 1 and flash.address < start < flash.address + len(raw)
        assert (flash.address + vectors) % 64 == 0


def raw_image(program: Path) -> bytes:
    return (program.parent / "firmware.bin").read_bytes()


def test_rp2040_has_a_second_stage_with_its_crc(firmware: Callable[[str], Path]) -> None:
    """RP2040 Datasheet, 2.8.1.3.1: checksum."""
    raw = raw_image(firmware("rp2040-pico"))
    crc = 0xFFFFFFFF
    for byte in raw[:252]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    assert struct.unpack_from("<I", raw, 252) == (crc,)
    assert any(raw[:252])


def test_rp2350_has_an_image_definition(firmware: Callable[[str], Path]) -> None:
    """RP2350 Datasheet, 5.9.5.1: the block lies in the first 4 KB and is its own successor."""
    raw = raw_image(firmware("rp2350-pico2"))
    start = raw.index(struct.pack("<I", 0xFFFFDED3))
    assert start < 4096
    assert struct.unpack_from("<5I", raw, start)[3:] == (0, 0xAB123579)


def test_teensy_has_what_the_boot_rom_reads(firmware: Callable[[str], Path]) -> None:
    """i.MX RT1060 Reference Manual: FlexSPI configuration block, image vector table, boot data."""
    raw = raw_image(firmware("teensy41"))
    assert raw[:4] == b"FCFB"
    assert raw[0x44:0x47] == b"\1\1\1"
    assert struct.unpack_from("<I", raw, 0x50) == (8 << 20,)
    tag, vectors, _, _, data, own = struct.unpack_from("<6I", raw, 0x1000)
    assert tag & 0xFF == 0xD1 and own == 0x6000_1000 and vectors == 0x6000_2000
    start, size, plugin = struct.unpack_from("<3I", raw, data - 0x6000_0000)
    assert (start, plugin) == (0x6000_0000, 0)
    assert len(raw) <= size <= len(raw) + 16


def test_esp32c3_starts_behind_its_magic_words(firmware: Callable[[str], Path]) -> None:
    raw = raw_image(firmware("esp32c3-devkit"))
    assert raw[:8] == bytes.fromhex("1d04dbae") * 2
    for address, load, content, _ in segments(firmware("esp32c3-devkit")):
        if content and address < 0x4000_0000:  # constants: seen by loads at the same distance
            assert address - 0x3C00_0000 == load - 0x4200_0000


def test_the_makefile_makes_the_same_images(firmware: Callable[[str], Path]) -> None:
    need_tool("make")
    first = firmware("nucleo-f401re").parent
    project = first.parent / "c"
    subprocess.run(["make", "-s"], cwd=project, check=True, capture_output=True, timeout=60)
    for name in ("firmware.bin", "firmware.hex"):
        assert (project / "build" / name).read_bytes() == (first / name).read_bytes()
    assert "run:" not in (project / "Makefile").read_text()


def test_a_model_too_large_is_refused() -> None:
    small = replace(load_board("microbit"), simulator=None, timer=None)
    with pytest.raises(tinymill.OutOfMemory, match="arena on microbit: needs 19,208 bytes"):
        compile_model(EXAMPLE, target=small)


# Run --------------------------------------------------------------------------------------


@cache
def sample() -> tuple[bytes, bytes]:
    """A frame for the example model, and the outputs that the host computes from it."""
    need_tool("gcc")
    end = End.of(compile_model(EXAMPLE).description["inputs"][0])
    array = np.random.default_rng(5).integers(-128, 128, end.shape).astype(end.dtype)
    result = tinymill.run(EXAMPLE, input=array, layers=False)
    return end.to_bytes(array), result.outputs[0].tobytes()


def emulated(board: Board, program: Path, still: tuple[str, ...] = ()) -> Stream:
    """The board on the CPU emulator, started from the raw image beside ``program``."""
    try:
        from emulated_board import EmulatedBoard  # noqa: PLC0415
    except ImportError:
        absent("unicorn is not installed")
    return EmulatedBoard(board, (program.parent / "firmware.bin").read_bytes(), still)


def example(folder: Path, board: Board, **options: Any) -> Path:
    """The example model's firmware, compiled with ``options``."""
    need(board)
    compiled = compile_model(EXAMPLE, target=board, name="clothes", **options)
    compiled.write(folder / "c")
    return build(folder / "c", board, folder / "build", model="clothes", firmware=True)


@pytest.mark.parametrize(
    "name", ["microbit", "netduinoplus2", "mps2-an386", "mps3-an547", "riscv32-virt", "musca-b1"]
)
def test_frames_go_over_the_uart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """All families of UARTs that QEMU has, one of them on a board of the user's own."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "musca-b1.toml").write_text(MUSCA)
    monkeypatch.setenv("TINYMILL_BOARDS", str(own))
    board = load_board(name)
    frame, outputs = sample()
    program = example(tmp_path, board, plan="min-ram" if name == "microbit" else "min-time")
    with simulated(board, program) as (stream, _):
        link = SerialLink(stream)
        found = link.describe()
        assert (found.model, found.frame_bytes, found.output_bytes) == ("clothes", 784, 10)
        answers = [link.run(data) for data in (frame, bytes(784), frame)]
    assert answers[0].outputs == answers[2].outputs == outputs
    assert answers[1].outputs != outputs
    named = None if board.firmware is None else board.firmware.cycles
    counter = "systick" if named == "dwt" else named  # the simulator has no DWT
    assert (found.counter_named, found.counter) == (named, counter)
    assert all((answer.cycles is not None) == bool(counter) for answer in answers)
    assert all(100 < (answer.stack or 0) < 2000 for answer in answers)


@pytest.mark.parametrize("name", [n for n in NAMES if load_board(n).simulator is None])
def test_boards_that_qemu_lacks_start_and_answer(
    firmware: Callable[[str], Path], name: str
) -> None:
    """From the raw image, as the chip's boot ROM starts it, through the whole set-up."""
    frame, outputs = tiny_sample()
    board = load_board(name)
    link = SerialLink(emulated(board, firmware(name)))
    found = link.describe()
    assert found.model == "tiny"
    assert board.firmware is not None
    if board.compiler.family == "arm-none-eabi":  # the emulator's RISC-V counters stand still
        assert found.counter == found.counter_named == board.firmware.cycles
    for _ in range(2):
        answer = link.run(frame)
        assert answer.outputs == outputs
        # from one read of the counter to the next
        assert answer.cycles == (None if found.counter is None else 1000)


@pytest.mark.parametrize(
    ("name", "options"),
    [("esp32c3-devkit", {"weights": "ram"}), ("teensy41", {"fast_ram": 8000})],
)
def test_variables_and_two_memories_on_boards(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    """Initial values are copied from where loads see flash; an arena has two parts."""
    board = load_board(name)
    frame, outputs = sample()
    program = example(tmp_path, board, **options)
    images(program, board)
    assert SerialLink(emulated(board, program)).run(frame).outputs == outputs


def test_an_input_may_come_row_by_row(tmp_path: Path) -> None:
    board = load_board("netduinoplus2")
    frame, outputs = sample()
    program = example(tmp_path, board, stream_input=True)
    with simulated(board, program) as (stream, _):
        link = SerialLink(stream)
        found = link.describe()
        assert (found.chunk_bytes, found.chunks) == (28, 28)
        assert link.run(frame).outputs == outputs
        # a frame given up in its middle, then a whole one
        stream.write(packet(b"R", frame[:28]))
        assert stream_answer(link) == (b"r", 0, b"")
        with pytest.raises(ToolFailed, match="the board lost count of the frame's rows"):
            link.run(frame)
        assert link.run(frame).outputs == outputs


def stream_answer(link: SerialLink) -> tuple[bytes, int, bytes]:
    return link._answer(time.monotonic() + 30)


def test_what_is_wrong_with_a_packet(firmware: Callable[[str], Path]) -> None:
    board = load_board("netduinoplus2")
    frame, outputs = tiny_sample()
    good = packet(b"R", frame)
    with simulated(board, firmware(board.name)) as (stream, _):
        link = SerialLink(stream)
        link.describe()  # which waits for the board: what comes before its UART is open is lost
        for sent, status in (
            (good[:-1] + bytes([good[-1] ^ 1]), 1),
            (good[:20] + bytes([good[20] ^ 1]) + good[21:], 1),
            (packet(b"R", frame[:-1]), 2),
            (packet(b"R", b""), 2),
            (packet(b"D", b"?"), 2),
            (packet(b"X"), 3),
            (good[:20], 4),
        ):
            stream.write(sent)
            assert stream_answer(link) == (b"e", status, b""), sent[:10]
        stream.write(b"noise TTT")
        assert link.run(frame).outputs == outputs
        link.restart()
        assert link.run(frame).outputs == outputs
        with pytest.raises(InvalidInput, match="a frame of 3 bytes for tiny, which takes 24"):
            link.run(b"abc")


def test_a_fault_is_told(tmp_path: Path) -> None:
    board = load_board("netduinoplus2")
    need(board)
    project = write_tiny(tmp_path / "c", board)
    source = (project / "tiny.c").read_text()
    call = "tm_status tiny_run(tiny_context *context) {\n"
    assert call in source
    trap = call + '  __asm__ volatile("udf #0");\n'
    (project / "tiny.c").write_text(source.replace(call, trap))
    program = build(project, board, tmp_path / "build", model="tiny", firmware=True)
    with simulated(board, program) as (stream, _):
        link = SerialLink(stream)
        frame = bytes(link.describe().frame_bytes)
        with pytest.raises(ToolFailed, match="board: the core took a fault"):
            link.run(frame)


# The link, without a board ----------------------------------------------------------------


class Canned:
    """A stream that answers whatever is asked with what it was given."""

    def __init__(self, answer: bytes) -> None:
        self.left = answer

    def read(self, size: int, /) -> bytes:
        size = size if size < 1 << 16 else 0  # what is there at once: nothing more
        found, self.left = self.left[:size], self.left[size:]
        return found

    def write(self, data: bytes, /) -> int:
        return len(data)


DESCRIPTION = struct.pack("<5I8s6I", 2, 4, 1, 2, 1000, bytes(range(8)), 0, 1, 1, 8, 0, 0) + b"toy"
ANSWER = struct.pack("<QI", 7, 100) + b"ab"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "board: no answer after 0.1 s"),
        (packet(b"d", DESCRIPTION)[:-1], "board: no answer after 0.1 s"),
        (packet(b"d", DESCRIPTION)[:-1] + b"?", "board: the answer's CRC is wrong"),
        (packet(b"e", status=1) * 3, "board: the packet's CRC was wrong"),
        (packet(b"e", status=2), "board: the packet's length was wrong"),
        (packet(b"e", status=20), "board: the model answered status 4"),
        (packet(b"e", status=9), "board: error 9"),
        (packet(b"r"), "board: an answer of kind b'r' to b'D'"),
        (packet(b"d", b"short"), "the board's description is too short"),
        (packet(b"d", b"\1" + DESCRIPTION[1:]), "speaks protocol 1, not 2"),
        (packet(b"d", DESCRIPTION[:32] + b"\7" + DESCRIPTION[33:]), "makes no sense"),
        (b"garbage" * 9, "board: no answer after 0.1 s, but 63 bytes that mean nothing"),
        (b"TMd\0\xff\xff\xff\xff", "board: an answer of 4,294,967,295 bytes"),
    ],
)
def test_bad_answers_are_one_line(answer: bytes, message: str) -> None:
    with pytest.raises(ToolFailed) as caught:
        SerialLink(Canned(answer), timeout=0.1).describe()
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_good_answers() -> None:
    talk = packet(b"d", DESCRIPTION) + packet(b"r", ANSWER)
    answer = SerialLink(Canned(b"boot: T TT" + talk), timeout=1).run(b"1234")
    assert (answer.outputs, answer.cycles, answer.stack, answer.layers) == (b"ab", 7, 100, ())
    again = packet(b"e", status=4) + packet(b"e", status=1)  # damaged packets are sent again
    assert SerialLink(Canned(again + talk), timeout=1).run(b"1234") == answer
    short = packet(b"d", DESCRIPTION) + packet(b"r", ANSWER[:-1])
    with pytest.raises(ToolFailed, match="13 bytes of answer, not 14"):
        SerialLink(Canned(short), timeout=1).run(b"1234")


def test_a_packet_is_what_the_header_says() -> None:
    found = packet(b"R", b"xyz")
    assert found[:8] == b"TMR\0\3\0\0\0"
    assert found[8:11] == b"xyz"
    assert struct.unpack("<I", found[11:]) == (zlib.crc32(found[2:11]),)


def test_ports_need_pyserial(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolFailed, match="/dev/none: "), open_port("/dev/none"):
        pass
    with pytest.raises(ToolFailed), open_port("nothing://x"):
        pass
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(ToolMissing, match=r"pip install 'tinymill\[serial\]'"), open_port("x"):
        pass


def test_pyserial_speaks_to_a_simulator(firmware: Callable[[str], Path]) -> None:
    """As a user would: a port by pyserial's URL of a socket."""
    board = load_board("netduinoplus2")
    program = firmware(board.name)
    frame, outputs = tiny_sample()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert board.simulator is not None
    call = [
        board.simulator.program, "-machine", board.simulator.machine, "-display", "none",
        "-monitor", "none", "-serial", f"tcp:127.0.0.1:{port},server=on,wait=on",
        "-kernel", str(program),
    ]  # fmt: skip
    with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    with open_port(f"socket://127.0.0.1:{port}") as stream:
                        assert SerialLink(stream).run(frame).outputs == outputs
                    break
                except ToolFailed:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
        finally:
            process.kill()


def test_boards_without_a_uart_have_no_firmware() -> None:
    board = replace(load_board("mps2-an386"), firmware=None)
    with pytest.raises(BoardError, match="mps2-an386 has no UART for firmware to speak over"):
        recipe(board, "toy", firmware=True)


def test_every_family_of_uarts_is_used() -> None:
    used = {board.firmware.uart for board in map(load_board, NAMES) if board.firmware}
    assert used == set(UARTS)
    sources = {path.stem for path in (ROOT / "runtime_c" / "target").glob("uart_*.c")}
    assert sources == {f"uart_{name}" for name in UARTS}
