"""Runs programs in QEMU, where an instruction is a nanosecond of virtual time."""

from __future__ import annotations

from pathlib import Path

from tinymill.boards import Simulator
from tinymill.deploy import toolchain
from tinymill.deploy.process import Ended, Halt, run_process

CAPABILITIES = frozenset({"run", "stack", "instructions", "layers"})


def argv(simulator: Simulator, program: str) -> tuple[str, ...]:
    """The call that runs ``program``; its files are those of the current folder."""
    return (
        simulator.program,
        "-machine",
        simulator.machine,
        *simulator.arguments,
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "none",
        "-icount",
        "shift=0",
        "-semihosting-config",
        "enable=on,target=native",
        "-kernel",
        program,
    )


def run(simulator: Simulator, program: Path, folder: Path, *, timeout: float, halt: Halt) -> Ended:
    """Runs ``program`` in ``folder`` for at most ``timeout`` seconds; ``ToolMissing`` where
    QEMU is not installed."""
    toolchain.require(simulator.program)
    return run_process(argv(simulator, str(program.resolve())), folder, timeout=timeout, halt=halt)
