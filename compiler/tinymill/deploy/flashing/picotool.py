"""picotool: RP2040 and RP2350 in their boot ROM's USB mode (BOOTSEL held at power-up)."""

from __future__ import annotations

from tinymill.boards import Board, FlashTool
from tinymill.deploy.flashing.tool import ELF, Command, Tool


def commands(board: Board, options: FlashTool, probe: str | None) -> tuple[Command, ...]:
    which = () if probe is None else ("--ser", probe)
    return (Command(("picotool", "load", "--verify", "--execute", ELF, *which)),)


TOOL = Tool(
    programs=("picotool",),
    install="apt-get install picotool, or from github.com/raspberrypi/pico-sdk-tools/releases",
    commands=commands,
    probes=("picotool", "info", "--device"),
)
