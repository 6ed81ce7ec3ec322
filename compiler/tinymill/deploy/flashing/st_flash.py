"""st-flash of the open stlink tools: ST-LINK probes. It verifies unasked."""

from __future__ import annotations

from tinymill.boards import Board, FlashTool
from tinymill.deploy.flashing.tool import BINARY, Command, Tool, start


def commands(board: Board, options: FlashTool, probe: str | None) -> tuple[Command, ...]:
    which = () if probe is None else ("--serial", probe)
    call = ("st-flash", *which, "--reset", "write", BINARY, start(board))
    return (Command(call, proof="verified"),)


TOOL = Tool(
    programs=("st-flash",),
    install="apt-get install stlink-tools",
    commands=commands,
    probes=("st-info", "--probe"),
)
