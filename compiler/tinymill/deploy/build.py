"""Builds an emitted project into a program, in a folder that the caller gives."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tinymill.boards import Board
from tinymill.deploy import toolchain
from tinymill.deploy.process import Halt, run_process
from tinymill.deploy.recipe import Recipe, Unit, recipe
from tinymill.errors import BoardError, OutOfMemory, ToolFailed
from tinymill.share import share

TIMEOUT = 300.0
"""Seconds that one call of a compiler may take."""

FRAMES = "frames.bin"

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
    firmware: bool | None = None,
    wire: str = "uart",
    frames: tuple[int, bytes] = (0, b""),
    train: bool = False,
    halt: Halt | None = None,
) -> Path:
    """The program built from ``project`` in ``folder`` (made if missing); nothing is written
    elsewhere. ``profile`` builds with -DTM_PROFILE, ``sanitize`` with the address and
    undefined-behaviour sanitizers (host only). ``firmware`` asks for the program that the board
    itself runs, ``wire`` how it speaks (see ``recipe``), ``frames`` how many frames it has in it,
    and their bytes; ``train`` for one that takes steps of training. ``halt`` may stop the
    compilers.

    Raises ``ToolMissing``, ``ToolFailed`` (with the compiler's first error), ``OutOfMemory``
    when a memory region overflows.
    """
    if sanitize and not board.is_host:
        raise BoardError(f"{board.name} has no sanitizers", hint="they run on the host only")
    steps = recipe(
        board, model, profile=profile, sanitize=sanitize, firmware=firmware, wire=wire,
        frames=frames[0], train=train,
    )  # fmt: skip
    command = toolchain.compiler(board, cc)
    project = project.resolve()
    for unit in steps.units:
        if not _source(unit, project).is_file():
            raise ToolFailed(
                f"{unit.source} is missing", at=project.name, hint=f"is it built for {board.name}?"
            )
        (folder / unit.object).parent.mkdir(parents=True, exist_ok=True)
    if frames[0]:
        (folder / FRAMES).write_bytes(frames[1])
    halt = halt or Halt()
    with ThreadPoolExecutor(max_workers=2) as pool:
        compiles = [
            pool.submit(_call, compile_argv(command, steps, unit, project), folder, halt)
            for unit in steps.units
        ]
        try:
            for unit, compiled in zip(steps.units, compiles, strict=True):
                problem = compiled.result()
                if problem is not None:
                    raise ToolFailed(f"{command[0]} fails: {first_error(problem)}", at=unit.source)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, ToolFailed):
                halt.stop()
            raise
    problem = _call(link_argv(command, steps, project), folder, halt)
    if problem is not None:
        raise _link_error(problem, board, command[0])
    return folder / steps.program


def compile_argv(
    command: tuple[str, ...], steps: Recipe, unit: Unit, project: Path
) -> tuple[str, ...]:
    """The call that compiles ``unit``, made in the build folder."""
    flags = steps.harness_flags if unit.harness else steps.model_flags
    source = _source(unit, project)
    include = () if source.is_relative_to(project) else ("-I", str(project / "target"))
    return (*command, *flags, *include, "-c", "-o", unit.object, str(source))


def _source(unit: Unit, project: Path) -> Path:
    """A unit's file; the wires that no UART is are in no project, but with tinymill."""
    if unit.source.startswith("target/wire_"):
        return share("runtime_c") / unit.source
    return project / unit.source


def link_argv(command: tuple[str, ...], steps: Recipe, project: Path) -> tuple[str, ...]:
    """The call that links the program, made in the build folder."""
    script = () if steps.script is None else ("-T", str(project / steps.script))
    objects = (unit.object for unit in steps.units)
    return (*command, *script, "-o", steps.program, *objects, *steps.link_flags)


def _call(argv: tuple[str, ...], folder: Path, halt: Halt) -> str | None:
    """What the tool says if it fails, else None."""
    try:
        ended = run_process(argv, folder, timeout=TIMEOUT, halt=halt)
    except ToolFailed as error:
        return f"error: {error.problem}"
    if ended.code == 0:
        return None
    return ended.text or f"error: exit code {ended.code}"


def first_error(text: str) -> str:
    """The line of a compiler's messages that says what is wrong."""
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
    return ToolFailed(f"{program} can't link: {first_error(text)}")
