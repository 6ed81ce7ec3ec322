"""Speaks with a board's firmware over any stream of bytes: runtime_c/target/firmware.c has the
protocol.

    with open_port("/dev/ttyACM0") as stream:
        link = SerialLink(stream)
        answer = link.run(frame)
"""

from __future__ import annotations

import contextlib
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tinymill.errors import InvalidInput, ToolFailed, ToolMissing

PROTOCOL = 1
BAUD = 115_200
MAGIC = b"TM"
LARGEST = 1 << 26
"""Bytes of an answer that is believed."""

ERRORS = {
    1: "the packet's CRC was wrong",
    2: "the packet's length was wrong",
    3: "the packet's kind is not known",
    4: "the packet ended early",
    5: "the core took a fault",
}
MODEL_ERROR = 16
DAMAGED = (1, 4)
"""Of them, those after which the firmware is as it was before: the packet can be sent again."""
TRIES = 3
KNOCK = 2.0
"""Seconds after which a board that did not answer the first question is asked again: it may still
have been starting."""


class Stream(Protocol):
    """A stream of bytes, as pyserial's ports are."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; fewer, or none, when its own time-out has passed."""

    def write(self, data: bytes, /) -> int | None:
        """Sends all of ``data``."""


@dataclass(frozen=True)
class Description:
    """What the firmware says of itself. A frame goes in as ``chunks`` of ``chunk_bytes``."""

    model: str
    chunk_bytes: int
    chunks: int
    output_bytes: int
    clock_hz: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of all inputs."""
        return self.chunk_bytes * self.chunks


@dataclass(frozen=True)
class Answer:
    """The outputs of a frame, one after the other, and the core's cycles (None: not counted)."""

    outputs: bytes
    cycles: int | None


def packet(kind: bytes, payload: bytes = b"", status: int = 0) -> bytes:
    """A packet of the protocol; ``kind`` is one byte."""
    body = kind + struct.pack("<BI", status, len(payload)) + payload
    return MAGIC + body + struct.pack("<I", zlib.crc32(body))


class _Silence(ToolFailed):
    """The board said nothing, or stopped in the middle."""


class SerialLink:
    """The other side of a board's firmware.

    ``timeout`` is the seconds to wait for an answer, the inference included. All calls raise
    ``ToolFailed`` where the board is silent, answers with an error, or with nonsense.
    """

    def __init__(self, stream: Stream, *, timeout: float = 60.0) -> None:
        self.stream = stream
        self.timeout = timeout
        self.found: Description | None = None

    def describe(self) -> Description:
        """Asks what runs on the board, again and again while it is starting."""
        deadline = time.monotonic() + self.timeout
        payload = None
        while payload is None:
            try:
                payload = self._ask(b"D", b"", min(deadline, time.monotonic() + KNOCK))
            except _Silence:
                if time.monotonic() >= deadline:
                    raise
        while self.stream.read(1 << 16):
            pass  # answers to questions that were thought lost
        if len(payload) < 20:
            raise ToolFailed("the board's description is too short")
        protocol, chunk, chunks, outputs, clock = struct.unpack_from("<5I", payload)
        if protocol != PROTOCOL:
            raise ToolFailed(
                f"the board's firmware speaks protocol {protocol}, not {PROTOCOL}",
                hint="flash it again",
            )
        name = payload[20:].decode("ascii", errors="replace")
        self.found = Description(name, chunk, chunks, outputs, clock)
        return self.found

    def restart(self) -> None:
        """Sets the model's variables to their initial values and begins a new frame."""
        self._ask(b"I", b"")

    def run(self, frame: bytes) -> Answer:
        """Runs the model on a frame (all inputs in order); ``InvalidInput`` for a wrong size."""
        found = self.found or self.describe()
        if len(frame) != found.frame_bytes:
            raise InvalidInput(
                f"a frame of {len(frame):,} bytes for {found.model}, "
                f"which takes {found.frame_bytes:,}"
            )
        answer = b""
        for chunk in range(found.chunks):
            start = chunk * found.chunk_bytes
            answer = self._ask(b"R", frame[start : start + found.chunk_bytes])
            if bool(answer) != (chunk == found.chunks - 1):
                self.restart()
                raise ToolFailed("the board lost count of the frame's rows", hint="run it again")
        if len(answer) != 4 + found.output_bytes:
            raise ToolFailed(f"{len(answer)} bytes of answer, not {4 + found.output_bytes}")
        (cycles,) = struct.unpack_from("<I", answer)
        return Answer(answer[4:], cycles or None)

    def _ask(self, kind: bytes, payload: bytes, deadline: float | None = None) -> bytes:
        deadline = time.monotonic() + self.timeout if deadline is None else deadline
        for left in reversed(range(TRIES)):
            self.stream.write(packet(kind, payload))
            answered, status, found = self._answer(deadline)
            if answered != b"e" or status not in DAMAGED or not left:
                break
        if answered == b"e":
            if status >= MODEL_ERROR:
                raise ToolFailed(f"the model answered status {status - MODEL_ERROR}", at="board")
            raise ToolFailed(ERRORS.get(status, f"error {status}"), at="board")
        if answered != kind.lower():
            raise ToolFailed(f"an answer of kind {answered!r} to {kind!r}", at="board")
        return found

    def _answer(self, deadline: float) -> tuple[bytes, int, bytes]:
        last = b""
        while True:  # boot ROMs and bootloaders may have spoken before
            byte = self._take(1, deadline)
            if last + byte == MAGIC:
                break
            last = byte
        header = self._take(6, deadline)
        status, length = struct.unpack_from("<BI", header, 1)
        if length > LARGEST:
            raise ToolFailed(f"an answer of {length:,} bytes", at="board")
        payload = self._take(length, deadline)
        (crc,) = struct.unpack("<I", self._take(4, deadline))
        if crc != zlib.crc32(header + payload):
            raise ToolFailed("the answer's CRC is wrong", at="board")
        return header[:1], status, payload

    def _take(self, count: int, deadline: float) -> bytes:
        found = b""
        while len(found) < count:
            part = self.stream.read(count - len(found))
            found += part
            if not part and time.monotonic() > deadline:
                raise _Silence(
                    f"no answer after {self.timeout:g} s", at="board",
                    hint="is its firmware running, and is this its port?",
                )  # fmt: skip
        return found


@contextlib.contextmanager
def open_port(port: str, *, baud: int = BAUD) -> Iterator[Stream]:
    """A serial port by its name or pyserial URL (``socket://host:1234``, for a simulator).

    Needs pyserial: ``ToolMissing`` without it; ``ToolFailed`` where the port can't be opened or
    breaks.
    """
    try:
        import serial  # noqa: PLC0415
    except ImportError:
        raise ToolMissing("pyserial", install="pip install 'tinymill[serial]'") from None
    try:
        with serial.serial_for_url(port, baudrate=baud, timeout=0.2) as stream:
            yield stream
    except (OSError, ValueError) as error:  # SerialException is an OSError
        raise ToolFailed(str(error) or "can't be opened", at=port) from None
