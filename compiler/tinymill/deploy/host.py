"""Runs programs as processes of this machine."""

from __future__ import annotations

from pathlib import Path

from tinymill.deploy.process import Ended, Halt, run_process

CAPABILITIES = frozenset({"run", "stack", "sanitize"})

# Leaks can't happen (no malloc), and their detector fails under a debugger or in a container.
SETTINGS = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


def argv(program: str) -> tuple[str, ...]:
    """The call that runs ``program``."""
    return (program,)


def run(program: Path, folder: Path, *, timeout: float, halt: Halt) -> Ended:
    """Runs ``program`` in ``folder`` for at most ``timeout`` seconds."""
    return run_process(
        argv(str(program.resolve())), folder, timeout=timeout, settings=SETTINGS, halt=halt
    )
