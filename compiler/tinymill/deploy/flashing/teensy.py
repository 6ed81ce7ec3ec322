"""teensy_loader_cli: Teensy boards. Their bootloader can't be read back."""

from __future__ import annotations

from tinymill.boards import Board, FlashTool
from tinymill.deploy.flashing.tool import HEX, Command, Tool, no_probe, text


def commands(board: Board, options: FlashTool, probe: str | None) -> tuple[Command, ...]:
    no_probe(probe, "teensy_loader_cli")
    return (Command(("teensy_loader_cli", f"--mcu={text(options, 'mcu')}", "-w", "-v", HEX)),)


TOOL = Tool(
    programs=("teensy_loader_cli",),
    install="apt-get install teensy-loader-cli",
    commands=commands,
    probes=None,
    verifies=False,
)
