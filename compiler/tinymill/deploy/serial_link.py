"""Speaks with a board's firmware over any stream of bytes: runtime_c/target/firmware.c has the
protocol.

    with open_port("/dev/ttyACM0") as stream:
        link = SerialLink(stream)
        answer = link.run(frame)
"""

from __future__ import annotations

import contextlib
import errno
import struct
import time
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tinymill.deploy.itm import ItmDecoder
from tinymill.errors import InvalidInput, ToolFailed, ToolMissing

PROTOCOL = 2
BAUD = 115_200
MAGIC = b"TM"
LARGEST = 1 << 26
"""Bytes of an answer that is believed."""
HEADER = struct.Struct("<cBI")
DESCRIPTION = struct.Struct("<IIIII8sIIIIII")
TIMES = struct.Struct("<QI")
LONGEST_NAME = 256
FULL = 0xFFFF_FFFF
"""In place of a stack's peak."""
COUNTERS = (None, "dwt", "systick", "mcycle", "esp")
"""Of cycles, by the numbers of runtime_c/target/cycles.h."""

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
    """What the firmware says of itself. A frame goes in as ``chunks`` of ``chunk_bytes``; with 0
    chunks the model runs when a front end has enough."""

    model: str
    chunk_bytes: int
    chunks: int
    output_bytes: int
    clock_hz: int
    digest: str
    """Of the model's C (``project.digest_of``)."""
    layers: int
    """Layers whose cycles are told; 0 where the firmware was built without."""
    counter: str | None
    """What counts cycles: one of ``COUNTERS``."""
    counter_named: str | None
    """What the board's file names for it."""
    context_bytes: int
    frames: int
    """Frames in the program, where the wire goes one way."""
    frames_crc: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of all inputs."""
        return self.chunk_bytes * self.chunks


@dataclass(frozen=True)
class Answer:
    """The outputs of a frame, one after the other, the core's cycles (None: not counted), the peak
    of the model's stack in bytes (None: it is full), and each layer's cycles, where counted."""

    outputs: bytes
    cycles: int | None
    stack: int | None
    layers: tuple[int, ...]


def described(payload: bytes) -> Description:
    """A description from its packet's payload."""
    protocol = int.from_bytes(payload[:4], "little")
    if len(payload) >= 20 and protocol != PROTOCOL:  # the first one's were so long
        raise ToolFailed(
            f"the board's firmware speaks protocol {protocol}, not {PROTOCOL}",
            hint="flash it again",
        )
    if len(payload) < DESCRIPTION.size:
        raise ToolFailed("the board's description is too short", hint="flash it again")
    found = DESCRIPTION.unpack_from(payload)
    _, chunk, chunks, outputs, clock, digest, layers, counter, named, context, frames, crc = found
    if max(counter, named) >= len(COUNTERS):
        raise ToolFailed("the board's description makes no sense", hint="flash it again")
    name = payload[DESCRIPTION.size :].decode("ascii", errors="replace")
    return Description(
        name, chunk, chunks, outputs, clock, digest[::-1].hex(), layers, COUNTERS[counter],
        COUNTERS[named], context, frames, crc,
    )  # fmt: skip


def answered(payload: bytes, found: Description) -> Answer:
    """An answer from its packet's payload."""
    whole = TIMES.size + 8 * found.layers + found.output_bytes
    if len(payload) != whole:
        raise ToolFailed(f"{len(payload)} bytes of answer, not {whole}", at="board")
    cycles, stack = TIMES.unpack_from(payload)
    layers = struct.unpack_from(f"<{found.layers}Q", payload, TIMES.size)
    counted = found.counter is not None
    outputs = payload[whole - found.output_bytes :]
    return Answer(
        outputs, cycles if counted else None, None if stack == FULL else stack,
        layers if counted else (),
    )  # fmt: skip


def packet(kind: bytes, payload: bytes = b"", status: int = 0) -> bytes:
    """A packet of the protocol; ``kind`` is one byte."""
    body = HEADER.pack(kind, status, len(payload)) + payload
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
        self._ignored = 0

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
        self.found = described(payload)
        if self.found.frames:
            raise ToolFailed(
                "the board's firmware has its frames in it and takes none", hint="flash it again"
            )
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
        return answered(answer, found)

    def push(self, data: bytes) -> Iterator[Answer]:
        """Gives a front end what the sensor gave; an answer each time the model has run."""
        found = self.found or self.describe()
        for start in range(0, len(data), found.chunk_bytes):
            answer = self._ask(b"R", data[start : start + found.chunk_bytes])
            if answer:
                yield answered(answer, found)

    def _ask(self, kind: bytes, payload: bytes, deadline: float | None = None) -> bytes:
        deadline = time.monotonic() + self.timeout if deadline is None else deadline
        for left in reversed(range(TRIES)):
            self.stream.write(packet(kind, payload))
            said, status, found = self._answer(deadline)
            if said != b"e" or status not in DAMAGED or not left:
                break
        if said == b"e":
            raise _refused(status)
        if said != kind.lower():
            raise ToolFailed(f"an answer of kind {said!r} to {kind!r}", at="board")
        return found

    def _answer(self, deadline: float) -> tuple[bytes, int, bytes]:
        last = b""
        self._ignored = 0
        while True:  # boot ROMs and bootloaders may have spoken before
            byte = self._take(1, deadline)
            if last + byte == MAGIC:
                break
            last = byte
            self._ignored += 1
        header = self._take(HEADER.size, deadline)
        kind, status, length = HEADER.unpack(header)
        if length > LARGEST:
            raise ToolFailed(f"an answer of {length:,} bytes", at="board")
        payload = self._take(length, deadline)
        (crc,) = struct.unpack("<I", self._take(4, deadline))
        if crc != zlib.crc32(header + payload):
            raise ToolFailed("the answer's CRC is wrong", at="board")
        return kind, status, payload

    def _take(self, count: int, deadline: float) -> bytes:
        found = b""
        while len(found) < count:
            part = self.stream.read(count - len(found))
            found += part
            if time.monotonic() > deadline and len(found) < count:
                raise _silent(self.timeout, self._ignored)
        return found


def _refused(status: int) -> ToolFailed:
    if status >= MODEL_ERROR:
        return ToolFailed(f"the model answered status {status - MODEL_ERROR}", at="board")
    return ToolFailed(ERRORS.get(status, f"error {status}"), at="board")


def _silent(timeout: float, ignored: int) -> _Silence:
    if ignored > 1:
        return _Silence(
            f"no answer after {timeout:g} s, but {ignored:,} bytes that mean nothing", at="board",
            hint="is this its port and its speed, and is the firmware tinymill's?",
        )  # fmt: skip
    return _Silence(
        f"no answer after {timeout:g} s", at="board",
        hint="is its firmware running, and is this its port?",
    )  # fmt: skip


class _Misread(Exception):
    """A packet that did not come whole."""


def _lengths(kind: bytes, found: Description | None) -> Container[int]:
    """Bytes that the payload of a packet can have."""
    if kind == b"d":
        return range(DESCRIPTION.size + LONGEST_NAME + 1)
    if kind == b"r" and found is not None:
        return (0, TIMES.size + 8 * found.layers + found.output_bytes)
    return (0,)


class Listener:
    """Hears firmware that only speaks: descriptions and answers, again and again.

    ``timeout`` is the seconds until all answers must have come, ``patience`` those until anything
    must have.
    """

    def __init__(self, stream: Stream, *, timeout: float = 60.0, patience: float = 60.0) -> None:
        self.stream = stream
        self.timeout = timeout
        self._give_up = time.monotonic() + min(patience, timeout)
        self._held = b""
        self._heard = 0

    def hear(self) -> tuple[Description, tuple[Answer, ...]]:
        """A description and the answers to all frames that follow it. A packet that is damaged
        makes this wait for the next description. Raises ``ToolFailed``."""
        deadline = time.monotonic() + self.timeout
        found: Description | None = None
        answers: list[Answer] = []
        while True:
            try:
                kind, status, payload = self._packet(deadline, found)
            except _Misread:
                found = None
                continue
            if kind == b"e":
                raise _refused(status)
            if kind == b"d":
                found, answers = described(payload), []
            elif kind == b"r" and found is not None and payload:
                answers.append(answered(payload, found))
            if found is not None and len(answers) >= found.frames:
                return found, tuple(answers)

    def _packet(self, deadline: float, found: Description | None) -> tuple[bytes, int, bytes]:
        """The next packet whose CRC is right; ``_Misread`` where something else began as one.
        ``found`` tells how long answers are."""
        while True:
            start = self._held.find(MAGIC)
            if start < 0:
                self._held = self._held[-1:]
                self._more(deadline)
                continue
            self._held = self._held[start:]
            whole = len(MAGIC) + HEADER.size + 4
            while len(self._held) < whole:
                self._more(deadline)
            kind, status, length = HEADER.unpack_from(self._held, len(MAGIC))
            whole += length
            possible = length in _lengths(kind, found)
            while possible and len(self._held) < whole:
                self._more(deadline)
            body = self._held[len(MAGIC) : whole - 4]
            if not possible or self._held[whole - 4 : whole] != struct.pack("<I", zlib.crc32(body)):
                self._held = self._held[len(MAGIC) :]
                raise _Misread
            self._held = self._held[whole:]
            return kind, status, body[HEADER.size :]

    def _more(self, deadline: float) -> None:
        part = self.stream.read(1 << 12)
        self._held += part
        self._heard += len(part)
        now = time.monotonic()
        if getattr(self.stream, "ended", False):
            raise ToolFailed(
                f"ends before all answers: {self._heard:,} bytes of firmware's in it", at="board"
            )
        if self._heard == 0 and now > self._give_up:
            raise ToolFailed(
                "nothing of firmware's comes", at="board",
                hint="is the trace set up and sent to this port, and the firmware one for it?",
            )  # fmt: skip
        if now > deadline:
            raise ToolFailed(
                f"not all answers came within {self.timeout:g} s, but {self._heard:,} bytes",
                at="board", hint="--timeout gives more",
            )  # fmt: skip


class TraceStream:
    """What firmware writes to stimulus port 0, out of a stream of trace packets."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.decoder = ItmDecoder()

    @property
    def ended(self) -> bool:
        """Whether nothing more can come: the stream is a file."""
        return bool(getattr(self.stream, "ended", False))

    def read(self, size: int, /) -> bytes:
        """What the port wrote in the stream's next bytes, which may be nothing."""
        return self.decoder.feed(self.stream.read(size))

    def write(self, data: bytes, /) -> int:
        """A trace goes one way."""
        raise ToolFailed("nothing can be sent over a trace pin")


class FileStream:
    """A file of bytes that came over a wire."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")
        self.ended = False

    def read(self, size: int, /) -> bytes:
        """Nothing at the end of the file."""
        found = self.file.read(size)
        self.ended = not found
        return found

    def write(self, data: bytes, /) -> int:
        """What is recorded has no ears."""
        raise ToolFailed("is a file, to which no board listens", at=str(self.file.name))


def check_port(port: str) -> None:
    """Raises what ``open_port`` would of a port that is a path and not there, and ``ToolMissing``
    without pyserial: before something takes time."""
    if Path(port).is_file():
        return
    try:
        import serial  # noqa: F401, PLC0415
    except ImportError:
        raise ToolMissing("pyserial", install="pip install 'tinymill[serial]'") from None
    if port.startswith("/") and not Path(port).exists():
        raise ToolFailed("there is no such port", at=port, hint=_ports())


@contextlib.contextmanager
def open_port(port: str, *, baud: int = BAUD) -> Iterator[Stream]:
    """A serial port by its name or pyserial URL (``socket://host:1234``, ``rfc2217://...``), or a
    file that holds what came.

    Needs pyserial but for a file: ``ToolMissing`` without it; ``ToolFailed`` where the port can't
    be opened or breaks.
    """
    try:
        check_port(port)
        if Path(port).is_file():
            recorded = FileStream(Path(port))
            with recorded.file:
                yield recorded
            return
        import serial  # noqa: PLC0415

        with serial.serial_for_url(
            port, baudrate=baud, timeout=0.2, write_timeout=60, exclusive=True
        ) as stream:
            yield stream
    except (OSError, ValueError) as error:  # SerialException is an OSError
        raise _broken(error, port) from None


def _broken(error: OSError | ValueError, port: str) -> ToolFailed:
    """What is wrong with a port, and what can be done."""
    number = getattr(error, "errno", None)
    if number == errno.EACCES:
        return ToolFailed(
            "no permission to open it", at=port, hint="be in its group, mostly: dialout"
        )
    if number == errno.ENOENT:
        return ToolFailed("there is no such port", at=port, hint=_ports())
    if number in (errno.ECONNREFUSED, errno.ETIMEDOUT) or "refused" in str(error):
        return ToolFailed("nobody answers there", at=port, hint="is its server running?")
    if number in (errno.EBUSY, errno.EAGAIN):
        return ToolFailed("another program has it open", at=port)
    lost = ("disconnected", "reset by peer", "Broken pipe")
    if number == errno.EIO or any(words in str(error) for words in lost):
        return ToolFailed("the connection is gone", at=port, hint="was the board unplugged?")
    said = getattr(error, "strerror", None) or str(error)
    return ToolFailed(said or "can't be opened", at=port)


def _ports() -> str:
    from serial.tools import list_ports  # noqa: PLC0415

    names = [found.device for found in list_ports.comports()]
    return f"there are {', '.join(names)}" if names else "no serial port is there"
