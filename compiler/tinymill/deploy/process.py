"""Runs a built program to its end or its timeout."""

from __future__ import annotations

import os
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
    """Runs ``argv`` in ``folder``. After ``timeout`` seconds it is killed and
    ``ToolFailed`` is raised. ``settings`` are added to the environment."""
    name = Path(argv[0]).name
    try:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(settings or {})},
        )
    except OSError as error:
        raise ToolFailed(f"{name} can't be started: {error.strerror}") from None
    with process:
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise ToolFailed(f"{name} was stopped: no end after {timeout:g} s") from None
        except BaseException:
            process.kill()
            raise
    return Ended(process.returncode, out.decode(errors="replace"))


def last_words(text: str) -> str:
    """What a process that ended early has to say, on one line: a sanitizer's finding, else the
    end of what it wrote."""
    for line in text.splitlines():
        if "runtime error:" in line or "ERROR: " in line:
            return line.strip()
    return " ".join(text.split())[-_TAIL:] or "it wrote nothing"
