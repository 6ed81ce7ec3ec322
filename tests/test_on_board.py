"""Runs on boards: QEMU and a CPU emulator stand in for them, at the other end of a socket, a
debugger's console or a trace pin."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from test_firmware import tiny_sample, write_tiny

import tinymill
from conftest import ROOT, absent, need_tool
from simulated_board import PATIENCE
from test_emission import EXAMPLE
from tinymill.boards import Board, load_board
from tinymill.cli import main
from tinymill.deploy import build, missing, serial_link
from tinymill.deploy import on_board as on_board_module
from tinymill.deploy.flashing import images
from tinymill.deploy.serial_link import Description, Listener, SerialLink, open_port, packet
from tinymill.errors import ToolFailed

BOARD = "mps2-an386"
TICK = 40
"""Instructions of a simulated cycle (25 MHz, a nanosecond each)."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens there; a connection would be the only one that QEMU takes."""
    deadline = time.monotonic() + PATIENCE
    text = f":{port:04X} 00000000:0000 0A"
    while text not in Path("/proc/net/tcp").read_text():
        assert process.poll() is None, "QEMU ended"
        assert time.monotonic() < deadline, "QEMU opens no socket"
        time.sleep(0.02)


@contextlib.contextmanager
def qemu(board: Board, *more: str) -> Iterator[str]:
    """A board whose serial port is at the URL given, with time in instructions."""
    assert board.simulator is not None
    port = free_port()
    call = [
        board.simulator.program, "-machine", board.simulator.machine, *board.simulator.arguments,
        "-display", "none", "-monitor", "none", "-icount", "shift=0",
        "-serial", f"tcp:127.0.0.1:{port},server=on,wait=off", *more,
    ]  # fmt: skip
    with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until_open(port, process)
            yield f"socket://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, compiled for the board."""
    if lacking := missing(load_board(BOARD)):
        absent(f"{', '.join(lacking)} not installed")
    folder = tmp_path_factory.mktemp("board") / "clothes"
    tinymill.compile(EXAMPLE, target=BOARD, output=folder, name="clothes")
    return folder


@pytest.fixture(scope="module")
def simulated(project: Path) -> tinymill.RunResult:
    """What the simulator measures of it."""
    return tinymill.run(project, layers=False)


def firmware(project: Path, folder: Path, **options) -> Path:
    return build(
        project, load_board(BOARD), folder, model="clothes", firmware=True, **options
    )  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """The exit code and what was said."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    found = capsys.readouterr()
    return int(ended.value.code or 0), found.out or found.err


def test_flashed_run_profiled_validated(
    project: Path, simulated: tinymill.RunResult, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a user would, with gdb's own server in place of a probe."""
    need_tool("gdb-multiarch")
    server = free_port()
    board = load_board(BOARD)
    with qemu(board, "-S", "-gdb", f"tcp:127.0.0.1:{server}") as url:
        code, said = told(
            capsys, "run", project, "--input", "pattern", "--port", url, "--flash", "--probe",
            f"127.0.0.1:{server}", "--profile", "--json",
        )  # fmt: skip
    assert code == 0, said
    found = json.loads(said)
    schema = json.loads((ROOT / "docs" / "schemas" / "run.json").read_text())
    jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)
    assert found["output_crc32"] == simulated.output_crc32
    assert found["ram"]["arena"] == simulated.ram.arena
    assert found["ram"]["static"] == simulated.ram.static
    assert abs(found["ram"]["stack"] - (simulated.ram.stack or 0)) <= 256  # an exception's frame
    assert found["flash"]["weights"] == simulated.flash.weights
    assert found["instructions"] is None
    assert found["cycles_counter"] == "systick"
    assert found["cycles_note"] == "the DWT's cycle counter stands still: counted by SysTick"
    assert simulated.instructions is not None
    assert abs(found["cycles"] - simulated.instructions / TICK) < simulated.instructions / 2000
    layers = [layer["cycles"] for layer in found["layers"]]
    assert abs(sum(layers) - found["cycles"]) < found["cycles"] / 50
    assert all(count > 0 for count in layers[:2])


def test_frames_and_what_can_be_wrong(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Firmware that is there already: several frames, no cycles of layers, another build."""
    shape = json.loads((project / "plan.json").read_text())["inputs"][0]["shape"]
    frames = np.random.default_rng(8).integers(-128, 128, (3, *shape)).astype(np.int8)
    wanted = tinymill.load(project)(frames.reshape(3, *shape[1:]))
    with qemu(load_board(BOARD), "-kernel", str(firmware(project, tmp_path))) as url:
        found = tinymill.run(project, input=frames, port=url)
        np.testing.assert_array_equal(found.outputs[0].reshape(wanted.shape), wanted)
        assert found.on_board is not None and found.on_board.layers is None
        code, said = told(capsys, "run", project, "-i", "pattern", "--port", url, "--layers")
        assert code == 2 and "built without cycles of layers (add --flash" in said
        other = tmp_path / "other"
        shutil.copytree(project, other)
        digest = json.loads((other / "plan.json").read_text())["digest"]
        text = (other / "plan.json").read_text().replace(digest, "0" * 16)
        (other / "plan.json").write_text(text)
        code, said = told(capsys, "run", other, "-i", "pattern", "--port", url)
        assert code == 2 and "but of another build of it (add --flash)" in said
        assert said.count("\n") == 1


def test_a_board_is_validated(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By a model file, which the firmware on the board was made from, too."""
    board = load_board("mps2-an385")
    name = EXAMPLE.stem
    tinymill.compile(EXAMPLE, target=board, output=tmp_path / "c")
    program = build(tmp_path / "c", board, tmp_path / "b", model=name, firmware=True)
    words = ("validate", EXAMPLE, "-i", "pattern", "--target", board.name)
    with qemu(board, "-kernel", str(program)) as url:
        code, said = told(capsys, *words, "--port", url)
    assert code == 0, said
    assert "mps2-an385 and the oracle agree on 1 frame: the same bytes" in said


def test_a_sensors_data(tmp_path: Path) -> None:
    """A camera's pictures, through the firmware's front end."""
    board = load_board(BOARD)
    if lacking := missing(board):
        absent(f"{', '.join(lacking)} not installed")
    (tmp_path / "camera.toml").write_text(
        'kind = "image"\nformat = "gray"\nwidth = 30\nheight = 30\n'
    )
    tinymill.compile(
        EXAMPLE, target=BOARD, output=tmp_path / "c", name="clothes",
        frontend=tmp_path / "camera.toml",
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 30), np.uint8)
    wanted = tinymill.run(tmp_path / "c", input=pixels, layers=False)
    program = firmware(tmp_path / "c", tmp_path / "b", profile=True)
    with qemu(board, "-kernel", str(program)) as url:
        found = tinymill.run(tmp_path / "c", input=pixels, port=url)
    assert found.output_crc32 == wanted.output_crc32
    assert found.frames == 2
    assert sum(layer.cycles or 0 for layer in found.layers) > 10_000


def test_a_debuggers_console(project: Path, simulated: tinymill.RunResult, tmp_path: Path) -> None:
    """QEMU answers the calls, its own standard input and output are the console."""
    board = load_board(BOARD)
    assert board.simulator is not None
    program = firmware(project, tmp_path, wire="semihosting")
    call = [
        board.simulator.program, "-machine", board.simulator.machine, "-display", "none",
        "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native",
        "-kernel", str(program),
    ]  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def debug() -> None:
            connection, _ = server.accept()
            with connection, subprocess.Popen(call, stdin=connection, stdout=connection) as process:
                ended.wait(PATIENCE)
                process.kill()

        debugger = threading.Thread(target=debug)
        debugger.start()
        try:
            url = f"socket://127.0.0.1:{server.getsockname()[1]}"
            found = tinymill.run(project, port=url, wire="semihosting")
        finally:
            ended.set()
            debugger.join()
    assert found.output_crc32 == simulated.output_crc32


# The trace pin ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], bytes]:
    """What the firmware, an ELF file, writes to the trace pin of an emulated Nucleo."""
    try:
        from emulated_board import EmulatedBoard  # noqa: PLC0415
    except ImportError:
        absent("unicorn is not installed")

    def trace(program: Path) -> bytes:
        board = load_board("nucleo-f446re")
        images(program, board)
        emulated = EmulatedBoard(board, (program.parent / "firmware.bin").read_bytes())
        while emulated.trace.count(b"\1r") < 2 or len(emulated.trace) < 2000:
            emulated.run()
        return bytes(emulated.trace)

    return trace


def test_a_trace_pin(
    traced: Callable[[Path], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames are in the firmware; the trace is heard from its middle on, with other packets
    between."""
    need_tool("arm-none-eabi-gcc")
    port = tmp_path / "trace.bin"

    def write(program: Path, *_: object, **__: object) -> str:
        whole = traced(program)
        port.write_bytes(whole[7:400] + b"\xc0\x81\x02" + bytes(5) + b"\x80" + whole[400:])
        return ""

    monkeypatch.setattr(on_board_module, "write", write)
    monkeypatch.setattr(on_board_module, "find_program", lambda tool: tool)
    frames = np.random.default_rng(9).integers(-128, 128, (2, 1, 1, 28, 28)).astype(np.int8)
    options = {"target": "nucleo-f446re", "input": frames, "wire": "swo", "port": str(port)}
    found = tinymill.run(EXAMPLE, flash=True, layers=True, **options)
    assert found.output_crc32 == tinymill.run(EXAMPLE, input=frames, layers=False).output_crc32
    assert found.on_board is not None
    assert (found.on_board.counter, found.on_board.note) == ("dwt", None)
    # from one read of the emulated counter to the next, hooks taken off
    assert found.on_board.layers is not None and found.on_board.cycles is not None
    with pytest.raises(tinymill.InvalidInput, match="--wire swo --flash writes it"):
        tinymill.run(EXAMPLE, **options)


def test_a_listener_waits_for_what_is_whole() -> None:
    """It may come in the middle, and a damaged packet costs a round."""
    description = struct.pack("<5I8s6I", 2, 4, 1, 2, 0, bytes(8), 0, 1, 1, 8, 2, 7) + b"toy"
    first, second = (packet(b"r", struct.pack("<QI", cycles, 9) + b"ab") for cycles in (11, 22))
    begin = packet(b"d", description)
    damaged = first[:12] + b"?" + first[13:]
    talk = second[5:] + begin + damaged + second + begin + first + b"TM" + second + begin
    talk += first + packet(b"r") + second
    found, answers = Listener(Recorded(talk), timeout=1).hear()
    assert (found.frames, found.frames_crc, found.clock_hz) == (2, 7, 0)
    assert [answer.cycles for answer in answers] == [11, 22]
    for heard, message in (
        (talk[:-1], "ends before all answers"),
        (b"", "ends before all answers: 0 bytes"),
        (begin + packet(b"e", status=21), "the model answered status 5"),
    ):
        with pytest.raises(ToolFailed, match=message):
            Listener(Recorded(heard), timeout=1).hear()


class Recorded:
    """A stream that ends."""

    def __init__(self, data: bytes) -> None:
        self.left = data
        self.ended = False

    def read(self, size: int, /) -> bytes:
        found, self.left = self.left[:size], self.left[size:]
        self.ended = not found
        return found

    def write(self, data: bytes, /) -> int:
        raise AssertionError


# Ports --------------------------------------------------------------------------------------


def test_a_board_that_is_unplugged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def board() -> None:
            connection, _ = server.accept()
            connection.recv(4)
            connection.close()

        thread = threading.Thread(target=board)
        thread.start()
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(ToolFailed, match=r"the connection is gone \(was the board unplugged"),
            open_port(url) as stream,
        ):
            SerialLink(stream, timeout=10).describe()
        thread.join()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "/dev/ttyX: no permission to open it (be in its group, mostly: dialout)"),
        (errno.EBUSY, "/dev/ttyX: another program has it open"),
        (errno.EIO, "/dev/ttyX: the connection is gone (was the board unplugged?)"),
        (errno.ENXIO, "/dev/ttyX: could not open port"),
    ],
)
def test_what_is_wrong_with_a_port(
    number: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = pytest.importorskip("serial")

    def fails(*_: object, **__: object) -> None:
        raise serial.SerialException(number, "could not open port")

    monkeypatch.setattr(serial, "serial_for_url", fails)
    monkeypatch.setattr(serial_link, "check_port", lambda port: None)
    with pytest.raises(ToolFailed) as caught, open_port("/dev/ttyX"):
        pass
    assert message in str(caught.value)


def test_which_counter_and_why() -> None:
    def note(counter: str | None, named: str | None) -> str | None:
        found = Description("toy", 4, 1, 2, 0, "0" * 16, 0, counter, named, 8, 0, 0)
        return on_board_module.note_of(found)

    assert note("dwt", "dwt") is None
    assert note("systick", "dwt") == "the DWT's cycle counter stands still: counted by SysTick"
    assert note(None, "dwt") == "the DWT's cycle counter stands still, and so does SysTick"
    assert note(None, "systick") == "SysTick stands still"
    assert note(None, None) == "the board's file names no counter of cycles"


@pytest.mark.parametrize(
    ("still", "counter"), [((), "dwt"), (("dwt",), "systick"), (("dwt", "systick"), None)]
)
def test_firmware_takes_the_counter_that_moves(
    tmp_path: Path, still: tuple[str, ...], counter: str | None
) -> None:
    """On an emulated Cortex-M4 whose DWT counts when its registers are set up, or does not."""
    try:
        from emulated_board import EmulatedBoard  # noqa: PLC0415
    except ImportError:
        absent("unicorn is not installed")
    board = load_board("nucleo-f446re")
    program = build(
        write_tiny(tmp_path / "c", board), board, tmp_path / "b", model="tiny", firmware=True
    )
    images(program, board)
    image = (program.parent / "firmware.bin").read_bytes()
    frame, outputs = tiny_sample()
    link = SerialLink(EmulatedBoard(board, image, still))
    assert link.describe().counter == counter
    answer = link.run(frame)
    assert answer.outputs == outputs
    assert answer.cycles == (None if counter is None else 1000)  # from read to read
