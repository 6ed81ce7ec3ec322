"""esptool: Espressif's chips, over a serial port. It compares hashes unasked."""

from __future__ import annotations

import sys

from tinymill.boards import Board, FlashTool
from tinymill.deploy.flashing.tool import BINARY, Command, Tool, text

PORTS = (sys.executable, "-m", "serial.tools.list_ports", "--verbose")
"""Lists this machine's serial ports; pyserial comes with esptool."""


def commands(board: Board, options: FlashTool, probe: str | None) -> tuple[Command, ...]:
    which = () if probe is None else ("--port", probe)
    # the image is at the start of the chip's flash, wherever that is mapped
    call = ("esptool", "--chip", text(options, "chip"), *which, "write-flash", "0x0", BINARY)
    return (Command(call, proof="verified"),)


TOOL = Tool(
    programs=("esptool",),
    install="pip install 'tinymill[flash]'",
    commands=commands,
    probes=PORTS,
)
