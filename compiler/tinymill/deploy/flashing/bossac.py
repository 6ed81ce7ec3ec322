"""bossac: the bootloader of Arduino's boards with an nRF52840, over a serial port. It wants
Arduino's own build of it, 1.9.1-arduino2 or later. The call is Arduino's: nothing is read back."""

from __future__ import annotations

from tinymill.boards import Board, FlashTool
from tinymill.deploy.flashing.tool import BINARY, Command, Tool


def commands(board: Board, options: FlashTool, probe: str | None) -> tuple[Command, ...]:
    which = () if probe is None else (f"--port={probe}",)
    # counts from the place that the bootloader gives a program
    return (Command(("bossac", *which, "-U", "-i", "-e", "-w", BINARY, "-R")),)


TOOL = Tool(
    programs=("bossac",),
    install="arduino-cli core install arduino:mbed_nano",
    commands=commands,
    probes=None,
    verifies=False,
)
