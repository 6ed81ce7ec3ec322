"""Runs a project as firmware on a board, and gives what ``measure`` gives of a simulated one."""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from tinymill.boards import Board
from tinymill.deploy.build import build
from tinymill.deploy.flashing import TOOLS, FlashPlan, find_program, write
from tinymill.deploy.measure import Measurement, OnBoard
from tinymill.deploy.recipe import WIRES
from tinymill.deploy.serial_link import (
    Answer,
    Description,
    Listener,
    SerialLink,
    Stream,
    TraceStream,
    check_port,
    open_port,
)
from tinymill.deploy.size import program_sizes
from tinymill.errors import BoardError, InvalidInput, ToolFailed

PATIENCE = 15.0
"""Seconds in which a board must say what it is; it may have to start."""

COUNTERS = {
    "dwt": "the DWT's cycle counter",
    "systick": "SysTick",
    "mcycle": "mcycle",
    "esp": "mpccr",
}


@dataclass(frozen=True)
class BoardLink:
    """How a board's firmware is reached: the name or URL of a port, what kind of wire it is (one of
    ``WIRES``), and how the firmware is written before, if it is."""

    port: str
    wire: str = "uart"
    flash: FlashPlan | None = None


def check_link(board: Board, wire: str, *, flashes: bool) -> None:
    """Raises ``BoardError`` or ``InvalidInput`` where a board can't be reached so."""
    if wire not in WIRES:
        raise InvalidInput(f"wire is {wire!r}, not one of {', '.join(WIRES)}")
    if board.is_host:
        raise BoardError("the host is no board with a port", hint="--target names one")
    if board.firmware is None:
        raise BoardError(f"{board.name} has no UART for firmware to speak over")
    if wire == "swo" and not flashes:
        raise InvalidInput(
            "a trace pin goes one way: the frames are in the firmware",
            hint="tinymill run --wire swo --flash writes it",
        )


def measure_on_board(
    project: Path,
    board: Board,
    frames: bytes,
    count: int,
    link: BoardLink,
    *,
    model: str,
    digest: str | None,
    arena: int,
    profile: bool | None = None,
    sensor: bool = False,
    cc: str | None = None,
    timeout: float = 600.0,
) -> Measurement:
    """Runs ``count`` inferences on ``frames`` by the firmware of ``project`` on a board.

    The firmware is built here, too: for its figures, and to be written where ``link`` says so.
    ``digest`` is what the one on the board must have (None: not known). ``profile`` asks for the
    cycles of each layer; None takes them where the firmware tells them. ``sensor``: the bytes are
    those for a front end. ``timeout`` is the seconds of one inference, and over a trace pin of
    all; ``arena`` its bytes. Raises ``ToolMissing``, ``ToolFailed``, ``OutOfMemory``,
    ``BoardError``, ``InvalidInput``.
    """
    check_link(board, link.wire, flashes=link.flash is not None)
    if link.flash is not None:
        find_program(TOOLS[link.flash.tool])
    if link.wire != "swo" or link.flash is None:  # a trace may begin with the firmware
        check_port(link.port)
    held = (count, frames) if link.wire == "swo" else (0, b"")
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        program = build(
            project, board, Path(name), model=model, profile=bool(profile), cc=cc, firmware=True,
            wire=link.wire, frames=held,
        )  # fmt: skip
        sizes = program_sizes(program)
        if link.flash is not None:
            write(program, board, link.flash)
    with open_port(link.port, baud=board.firmware.baud if board.firmware else 0) as stream:
        if link.wire == "swo":
            patience = min(timeout, 4 * PATIENCE)
            found, answers = Listener(
                TraceStream(stream), timeout=timeout, patience=patience
            ).hear()
            _check(found, model, digest, link)
            if (found.frames, found.frames_crc) != (count, zlib.crc32(frames)):
                raise ToolFailed(
                    "the firmware on the board has other frames in it", at=link.port,
                    hint="add --flash",
                )  # fmt: skip
        else:
            found, answers = _asked(stream, frames, count, link, model, digest, timeout, sensor)
    if len(answers) != count:
        raise ToolFailed(f"{len(answers)} answers, not {count}", at=link.port)
    if profile and not found.layers:
        raise ToolFailed(
            "the firmware on the board was built without cycles of layers", at=link.port,
            hint="add --flash, or tinymill flash --layers",
        )  # fmt: skip
    stacks = [answer.stack for answer in answers if answer.stack is not None]
    if len(stacks) != len(answers):
        raise ToolFailed("the model's stack overflows", at=board.name)
    first = answers[0] if answers else None
    counted = first is not None and first.cycles is not None
    return Measurement(
        outputs=b"".join(answer.outputs for answer in answers),
        status=0,
        instructions=None,
        layer_instructions=None,
        front_instructions=None,
        cycles=None,
        layer_cycles=None,
        instruction_classes=None,
        stack=max(stacks, default=0),
        static=found.context_bytes + sizes.variables,
        arena=arena,
        code=sizes.code,
        weights=sizes.weights,
        on_board=OnBoard(
            first.cycles if first is not None else None,
            first.layers if first is not None and counted and found.layers else None,
            found.counter, note_of(found), found.clock_hz,
        ),
    )  # fmt: skip


def _asked(
    stream: Stream,
    frames: bytes,
    count: int,
    link: BoardLink,
    model: str,
    digest: str | None,
    timeout: float,
    sensor: bool,
) -> tuple[Description, tuple[Answer, ...]]:
    """What firmware that takes frames is and answers."""
    wire = SerialLink(stream, timeout=min(timeout, PATIENCE))
    found = wire.describe()
    _check(found, model, digest, link)
    wire.timeout = timeout
    wire.restart()
    if sensor:
        return found, tuple(wire.push(frames))
    size = len(frames) // max(count, 1)
    return found, tuple(
        wire.run(frames[start : start + size]) for start in range(0, size * count, size or 1)
    )


def _check(found: Description, model: str, digest: str | None, link: BoardLink) -> None:
    """Raises ``ToolFailed`` where the board has other firmware than that of the model."""
    if found.model == model and digest in (None, found.digest):
        return
    other = f"that of {found.model}" if found.model != model else "of another build of it"
    raise ToolFailed(
        f"the firmware on the board is not that of {model} as compiled here, but {other}",
        at=link.port, hint="add --flash",
    )  # fmt: skip


def note_of(found: Description) -> str | None:
    """Why no cycles were counted, or not by what the board's file names."""
    if found.counter_named is None:
        return "the board's file names no counter of cycles"
    named = COUNTERS[found.counter_named]
    if found.counter is None:
        return f"{named} stands still" + (
            ", and so does SysTick" if found.counter_named == "dwt" else ""
        )
    if found.counter != found.counter_named:
        return f"{named} stands still: counted by {COUNTERS[found.counter]}"
    return None
