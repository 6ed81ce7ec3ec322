"""gdb: any debug server that speaks its remote protocol: OpenOCD, pyOCD, QEMU."""

from __future__ import annotations

from tinymill.boards import Board, FlashTool
from tinymill.deploy.flashing.tool import ELF, Command, Tool, text, texts


def commands(board: Board, options: FlashTool, probe: str | None) -> tuple[Command, ...]:
    remote = probe or text(options, "remote")
    steps = (
        "set remotetimeout 10",
        "set tcp connect-timeout 5",
        f"target extended-remote {remote}",
        *texts(options, "before"),
        "load",
        "compare-sections",
        *texts(options, "after"),
        "detach",
    )
    call: tuple[str, ...] = ("gdb-multiarch", "--nx", "--batch")
    for step in steps:
        call += ("-ex", step)
    # gdb goes on after an error, and without a target it compares the file with itself
    return (Command((*call, ELF), proof=", load size ", refutation="MIS-MATCHED!"),)


TOOL = Tool(
    programs=("gdb-multiarch", "arm-none-eabi-gdb", "riscv64-unknown-elf-gdb"),
    install="apt-get install gdb-multiarch",
    commands=commands,
    probes=None,
)
