"""Builds an emitted project into a program, in a folder that the caller gives."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tinymill.boards import Board
from tinymill.deploy import toolchain
from tinymill.deploy.recipe import Recipe, Unit, recipe
from tinymill.errors import BoardError, OutOfMemory, ToolFailed

TIMEOUT = 300.0
"""Seconds that one call of a compiler may take."""

_OVERFLOW = re.compile(r"region [`'\"]?(\w+)[`'\"]? overflowed by (\d+) bytes")


def build(
    project: Path,
    board: Board,
    folder: Path,
    *,
    model: str,
    profile: bool = False,
    cc: str | None = None,
    sanitize: bool = False,
) -> Path:
    """The program built from ``project`` in ``folder`` (made if missing); nothing is written
    elsewhere. ``profile`` builds with -DTM_PROFILE, ``sanitize`` with the address and
    undefined-behaviour sanitizers (host only).

    Raises ``ToolMissing``, ``ToolFailed`` (with the compiler's first error), ``OutOfMemory``
    when a memory region overflows.
    """
    if sanitize and not board.is_host:
        raise BoardError(f"{board.name} has no sanitizers", hint="they run on the host only")
    steps = recipe(board, model, profile=profile, sanitize=sanitize)
    command = toolchain.compiler(board, cc)
    project = project.resolve()
    for unit in steps.units:
        if not (project / unit.source).is_file():
            raise ToolFailed(
                f"{unit.source} is missing", at=project.name, hint=f"is it built for {board.name}?"
            )
        (folder / unit.object).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=2) as pool:
        compiles = [
            pool.submit(_call, compile_argv(command, steps, unit, project), folder)
            for unit in steps.units
        ]
        for unit, compiled in zip(steps.units, compiles, strict=True):
            problem = compiled.result()
            if problem is not None:
                raise ToolFailed(f"{command[0]} fails: {_first_error(problem)}", at=unit.source)
    problem = _call(link_argv(command, steps, project), folder)
    if problem is not None:
        raise _link_error(problem, board, command[0])
    return folder / steps.program


def compile_argv(
    command: tuple[str, ...], steps: Recipe, unit: Unit, project: Path
) -> tuple[str, ...]:
    """The call that compiles ``unit``, made in the build folder."""
    flags = steps.harness_flags if unit.harness else steps.model_flags
    return (*command, *flags, "-c", "-o", unit.object, str(project / unit.source))


def link_argv(command: tuple[str, ...], steps: Recipe, project: Path) -> tuple[str, ...]:
    """The call that links the program, made in the build folder."""
    script = () if steps.script is None else ("-T", str(project / steps.script))
    objects = (unit.object for unit in steps.units)
    return (*command, *script, "-o", steps.program, *objects, *steps.link_flags)


def _call(argv: tuple[str, ...], folder: Path) -> str | None:
    """What the tool says if it fails, else None."""
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"error: no end after {TIMEOUT:g} s"
    except OSError as error:
        return f"error: can't be started: {error.strerror}"
    if done.returncode == 0:
        return None
    return done.stdout.decode(errors="replace") or f"error: exit code {done.returncode}"


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if ("error" in line or "undefined reference" in line) and "collect2" not in line:
            return line
    return lines[0] if lines else "no message"


def _link_error(text: str, board: Board, program: str) -> Exception:
    overflow = _OVERFLOW.search(text)
    if overflow:
        for region in board.regions:
            if region.name == overflow[1]:
                return OutOfMemory(
                    f"{region.kind} region {region.name} of {board.name}",
                    needed=region.size + int(overflow[2]),
                    available=region.size,
                )
    return ToolFailed(f"{program} can't link: {_first_error(text)}")
