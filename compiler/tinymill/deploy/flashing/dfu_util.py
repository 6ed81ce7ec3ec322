"""dfu-util: USB bootloaders of the DFU class, with ST's extensions. They are not read back."""

from __future__ import annotations

from tinymill.boards import Board, FlashTool
from tinymill.deploy.flashing.tool import BINARY, Command, Tool, start, text


def commands(board: Board, options: FlashTool, probe: str | None) -> tuple[Command, ...]:
    which: tuple[str, ...] = ("--device", text(options, "device"))
    if probe is not None:
        which += ("--serial", probe)
    where = ("--alt", "0", "--dfuse-address", f"{start(board)}:leave")
    call = ("dfu-util", *which, *where, "--download", BINARY)
    return (Command(call, proof="downloaded successfully"),)


TOOL = Tool(
    programs=("dfu-util",),
    install="apt-get install dfu-util",
    commands=commands,
    probes=("dfu-util", "--list"),
    verifies=False,
)
