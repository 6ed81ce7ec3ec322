"""Runs a built program to its end or its timeout."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from tinymill.errors import ToolFailed

_TAIL = 400
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """How a process ended; ``text`` is what it wrote on stdout and stderr."""

    code: int
    text: str


class Halt:
    """Stops, with all their children, the processes that threads run under it.

    A thread that waits for a process can't be interrupted; so who is (Ctrl-C comes to the main
    thread alone) calls ``stop`` before it waits for its threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def start(
        self, argv: tuple[str, ...], folder: Path, settings: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        """A process in a group of its own; ``ToolFailed`` after ``stop``."""
        with self._lock:
            if self._stopped:
                raise ToolFailed(f"{argv[0]} was not started: interrupted")
            process = subprocess.Popen(
                argv,
                process_group=0,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **settings},
            )
            self._running.add(process)
            return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kills a process and its children."""
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)

    def ended(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)

    def stop(self) -> None:
        """Kills what runs and lets nothing start any more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                self.kill(process)


def run_process(
    argv: tuple[str, ...],
    folder: Path,
    *,
    timeout: float,
    settings: dict[str, str] | None = None,
    halt: Halt | None = None,
) -> Ended:
    """Runs ``argv`` in ``folder``. After ``timeout`` seconds it is killed and
    ``ToolFailed`` is raised. ``settings`` are added to the environment, ``halt`` may stop it."""
    name = Path(argv[0]).name
    halt = halt or Halt()
    _log.info("in %s: %s", folder, shlex.join(argv))
    try:
        process = halt.start(argv, folder, settings or {})
    except OSError as error:
        raise ToolFailed(f"{name} can't be started: {error.strerror}") from None
    with process:
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            halt.kill(process)
            raise ToolFailed(f"{name} was stopped: no end after {timeout:g} s") from None
        except BaseException:
            halt.kill(process)
            raise
        finally:
            halt.ended(process)
    return Ended(process.returncode, out.decode(errors="replace"))


def last_words(text: str) -> str:
    """What a process that ended early has to say, on one line: a sanitizer's finding, else the
    end of what it wrote."""
    for line in text.splitlines():
        if "runtime error:" in line or "ERROR: " in line:
            return line.strip()
    return " ".join(text.split())[-_TAIL:] or "it wrote nothing"
