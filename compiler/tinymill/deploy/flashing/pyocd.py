"""pyOCD: CMSIS-DAP, ST-LINK and J-Link probes."""

from __future__ import annotations

from tinymill.boards import Board, FlashTool
from tinymill.deploy.flashing.tool import BINARY, ELF, Command, Tool, start, text


def commands(board: Board, options: FlashTool, probe: str | None) -> tuple[Command, ...]:
    which: tuple[str, ...] = ("--target", text(options, "target"))
    if probe is not None:
        which += ("--uid", probe)
    return (
        Command(("pyocd", "load", "--no-wait", *which, "--no-reset", ELF)),
        Command(
            (
                "pyocd", "commander", "--no-wait", *which,
                "--command", f"compare {start(board)} {BINARY}", "--command", "reset",
            ),
            proof="bytes match",
            refutation="Mismatched byte",
        ),
    )  # fmt: skip


TOOL = Tool(
    programs=("pyocd",),
    install="pip install 'tinymill[flash]'",
    commands=commands,
    probes=("pyocd", "list", "--probes"),
)
