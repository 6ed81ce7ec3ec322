"""Runs a built program to its end or its timeout."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tinymill.errors import ToolFailed

_TAIL = 400


@dataclass(frozen=True)
class Ended:
    """How a process ended; ``text`` is what it wrote on stdout and stderr."""

    code: int
    text: str


def run_process(
    argv: tuple[str, ...], folder: Path, *, timeout: float, settings: dict[str, str] | None = None
) -> Ended:
    """Runs ``argv`` in ``folder``. After ``timeout`` seconds it and its children are killed
    and ``ToolFailed`` is raised. ``settings`` are added to the environment."""
    name = Path(argv[0]).name
    try:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(settings or {})},
            start_new_session=True,
        )
    except OSError as error:
        raise ToolFailed(f"{name} can't be started: {error.strerror}") from None
    with process:
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise ToolFailed(f"{name} was stopped: no end after {timeout:g} s") from None
        except BaseException:
            _kill(process)
            raise
    return Ended(process.returncode, out.decode(errors="replace"))


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    process.communicate()


def last_words(text: str) -> str:
    """The end of what a process wrote, on one line."""
    return " ".join(text.split())[-_TAIL:] or "it wrote nothing"
