"""What a tool that writes flash must tell about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tinymill.boards import Board, FlashTool
from tinymill.errors import BoardError

STEM = "firmware"
ELF, BINARY, HEX = f"{STEM}.elf", f"{STEM}.bin", f"{STEM}.hex"
"""The images, in the folder that the commands run in."""


@dataclass(frozen=True)
class Command:
    """One call of a tool. Its exit code decides, and what it says: ``proof`` must occur in it
    where given, ``refutation`` must not."""

    argv: tuple[str, ...]
    proof: str | None = None
    refutation: str | None = None


@dataclass(frozen=True)
class Tool:
    """A tool: its ``programs`` (any one will do, the first is the usual one), the command that
    installs it, its calls for a board (with the probe asked for, or None), and the call that lists
    probes, if it has one. ``verifies`` tells whether it reads back what it wrote."""

    programs: tuple[str, ...]
    install: str
    commands: Callable[[Board, FlashTool, str | None], tuple[Command, ...]]
    probes: tuple[str, ...] | None
    verifies: bool = True


def text(options: FlashTool, name: str) -> str:
    """An option that is a string."""
    value = options.option(name)
    assert isinstance(value, str)
    return value


def texts(options: FlashTool, name: str) -> tuple[str, ...]:
    """An option that is a list of strings."""
    value = options.option(name)
    assert isinstance(value, tuple)
    return value


def start(board: Board) -> str:
    """The address of the image's first byte, as tools take it."""
    return f"{board.flash[0].address:#x}"


def no_probe(probe: str | None, program: str) -> None:
    """Raises ``BoardError`` for a tool that can't be told which probe to take."""
    if probe is not None:
        raise BoardError(f"{program} takes no --probe", hint="it writes the only board there is")
