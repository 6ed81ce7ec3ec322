"""A board in QEMU whose serial port and gdb stub are Unix sockets, so that tests never meet."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tinymill.boards import Board

PATIENCE = 60.0


class SocketStream:
    """A connected socket as the byte stream that ``SerialLink`` wants."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.settimeout(0.2)

    def read(self, size: int, /) -> bytes:
        try:
            return self.socket.recv(size)
        except TimeoutError:
            return b""

    def write(self, data: bytes, /) -> int:
        self.socket.sendall(data)
        return len(data)


@contextlib.contextmanager
def simulated(board: Board, program: Path | None = None) -> Iterator[tuple[SocketStream, str]]:
    """The board running ``program``, or halted with empty memory: its serial port, and the address
    of its gdb stub."""
    assert board.simulator is not None
    with tempfile.TemporaryDirectory(prefix="tm-") as name:
        serial, gdb = Path(name) / "serial", Path(name) / "gdb"
        call = [
            board.simulator.program, "-machine", board.simulator.machine,
            *board.simulator.arguments, "-display", "none", "-monitor", "none",
            "-serial", f"unix:{serial},server=on,wait=off",
            "-gdb", f"unix:{gdb},server=on,wait=off",
            *(("-S",) if program is None else ("-S", "-kernel", str(program))),
        ]  # fmt: skip
        process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            stream = SocketStream(_when_there(serial, process))
            if program is not None:
                _go(_when_there(gdb, process))
            yield stream, str(_when_there(gdb, process)) if program is None else ""
        finally:
            process.kill()
            process.communicate()


def _when_there(path: Path, process: subprocess.Popen[bytes]) -> Path:
    deadline = time.monotonic() + PATIENCE
    while not _listens(path):
        if process.poll() is not None:
            raise AssertionError(process.communicate()[1].decode())
        assert time.monotonic() < deadline, "QEMU opens no socket"
        time.sleep(0.02)
    return path


def _listens(path: Path) -> bool:
    """Whether a process listens at the socket: it is there a moment before."""
    sockets = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    return any(words[-1] == str(path) and words[3] == "00010000" for words in sockets)


def _go(path: Path) -> None:
    """Lets a halted machine run: only now, so that none of its first words are lost."""
    stub = socket.socket(socket.AF_UNIX)
    stub.connect(str(path))
    stub.settimeout(PATIENCE)
    stub.sendall(b"$D#44")
    assert stub.recv(100)
    stub.close()
