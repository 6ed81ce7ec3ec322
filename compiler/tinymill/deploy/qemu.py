"""Runs programs in QEMU, where an instruction is a nanosecond of virtual time."""

from __future__ import annotations

from pathlib import Path

from tinymill.boards import Simulator
from tinymill.deploy import toolchain
from tinymill.deploy.process import Ended, Halt, run_process

CAPABILITIES = frozenset({"run", "stack", "instructions", "layers"})


def argv(simulator: Simulator, program: str, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The call that runs ``program``; its files are those of the current folder. ``more`` are
    further arguments of QEMU."""
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
        *more,
        "-kernel",
        program,
    )


def run(
    simulator: Simulator,
    program: Path,
    folder: Path,
    *,
    timeout: float,
    halt: Halt,
    more: tuple[str, ...] = (),
) -> Ended:
    """Runs ``program`` in ``folder`` for at most ``timeout`` seconds; ``ToolMissing`` where
    QEMU is not installed. ``more`` are further arguments of QEMU."""
    toolchain.require(simulator.program)
    call = argv(simulator, str(program.resolve()), more)
    return run_process(call, folder, timeout=timeout, halt=halt)
