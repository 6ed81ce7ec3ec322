"""OpenOCD: the probe and the chip are told by its own configuration files."""

from __future__ import annotations

import re

from tinymill.boards import Board, FlashTool
from tinymill.deploy.flashing.tool import ELF, Command, Tool, texts


def commands(board: Board, options: FlashTool, probe: str | None) -> tuple[Command, ...]:
    first: tuple[str, ...] = ()
    for name in texts(options, "config"):
        first += ("-f", name)
    if probe is not None:
        first += ("-c", f"adapter serial {_word(probe)}")
    call = ("openocd", *first, "-c", f"program {ELF} verify reset exit")
    return (Command(call, proof="Verified OK"),)


def _word(text: str) -> str:
    """``text`` as one word of Tcl, which OpenOCD reads its commands as."""
    return re.sub(r"([^\w.:/-])", r"\\\1", text)


TOOL = Tool(
    programs=("openocd",),
    install="apt-get install openocd",
    commands=commands,
    probes=None,
)
