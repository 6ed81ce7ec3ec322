"""Writes firmware to a board with whichever tool its file names: one tool a file."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tinymill.boards import Board, FlashTool
from tinymill.deploy import toolchain
from tinymill.deploy.build import build
from tinymill.deploy.flashing import (
    bossac,
    dfu_util,
    esptool,
    gdb,
    openocd,
    picotool,
    pyocd,
    st_flash,
    teensy,
)
from tinymill.deploy.flashing.tool import BINARY, ELF, HEX, Command, Tool
from tinymill.deploy.process import last_words, run_process
from tinymill.errors import BoardError, ToolFailed, ToolMissing

TOOLS: dict[str, Tool] = {
    "bossac": bossac.TOOL,
    "dfu-util": dfu_util.TOOL,
    "esptool": esptool.TOOL,
    "gdb": gdb.TOOL,
    "openocd": openocd.TOOL,
    "picotool": picotool.TOOL,
    "pyocd": pyocd.TOOL,
    "st-flash": st_flash.TOOL,
    "teensy_loader_cli": teensy.TOOL,
}

TIMEOUT = 600.0
"""Seconds that one call of a tool may take."""

_COMPLAINT = re.compile(r"error|fail|couldn't|can't|no .* (available|found|port)|timed out", re.I)


@dataclass(frozen=True)
class FlashPlan:
    """How a board is written: the tool's name and its calls, in order, made in the folder of the
    images. ``verifies`` tells whether the tool reads back what it wrote, ``note`` what a person
    has to do before."""

    board: str
    tool: str
    commands: tuple[Command, ...]
    verifies: bool
    note: str | None


def plan_flash(board: Board, tool: str | None = None, probe: str | None = None) -> FlashPlan:
    """The calls that write ``board``, by its first tool or by ``tool``; ``probe`` is what that
    tool calls a probe (a serial number, a port, an address). Needs nothing installed. Raises
    ``BoardError`` where the board or the tool can't."""
    if not board.flash_tools:
        raise BoardError(f"{board.name} has no flash to write", hint="its file has no [flash]")
    if tool is not None and tool not in TOOLS:
        raise BoardError(f"there is no flash tool {tool!r}", hint=f"known: {', '.join(TOOLS)}")
    names = [each.name for each in board.flash_tools]
    if tool is not None and tool not in names:
        raise BoardError(
            f"{board.name} is not written with {tool}", hint=f"with {', '.join(names)}"
        )
    if probe is not None and not (probe.isprintable() and probe.strip()):
        raise BoardError("a probe's name is blank or has control characters")
    chosen: FlashTool = board.flash_tools[0 if tool is None else names.index(tool)]
    found = TOOLS[chosen.name]
    return FlashPlan(
        board.name, chosen.name, found.commands(board, chosen, probe), found.verifies,
        board.flash_note if chosen is board.flash_tools[0] else None,
    )  # fmt: skip


def find_program(tool: Tool) -> str:
    """Path of the first installed program of a tool, beside this Python or on the PATH; else
    ``ToolMissing``."""
    for program in tool.programs:
        found = shutil.which(program, path=str(Path(sys.executable).parent))
        found = found or shutil.which(program)
        if found is not None:
            return found
    raise ToolMissing(tool.programs[0], install=tool.install)


def flash(
    project: Path,
    board: Board,
    *,
    model: str,
    plan: FlashPlan,
    cc: str | None = None,
    profile: bool = False,
    wire: str = "uart",
    timeout: float = TIMEOUT,
) -> str:
    """Builds the firmware of ``project`` and carries ``plan`` out; gives what the tool said.
    ``profile`` and ``wire`` are as for ``build``.

    Raises ``ToolMissing`` before anything is built, ``ToolFailed`` where the tool fails or what
    was written does not read back, and what ``build`` raises.
    """
    find_program(TOOLS[plan.tool])
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        program = build(
            project, board, Path(name), model=model, cc=cc, firmware=True, profile=profile,
            wire=wire,
        )  # fmt: skip
        return write(program, board, plan, timeout=timeout)


def write(program: Path, board: Board, plan: FlashPlan, *, timeout: float = TIMEOUT) -> str:
    """Writes built firmware by ``plan``; its images are put beside it. As ``flash`` otherwise."""
    tool = find_program(TOOLS[plan.tool])
    images(program, board)
    said = ""
    for command in plan.commands:
        said += _call(command, tool, program.parent, plan, timeout)
    return said


def images(program: Path, board: Board) -> None:
    """Writes the raw and the Intel hex image beside a built program."""
    objcopy = toolchain.require(toolchain.objcopy_name(board))
    for form, name in (("binary", BINARY), ("ihex", HEX)):
        call = (objcopy, "-O", form, ELF, name)
        ended = run_process(call, program.parent, timeout=60)
        if ended.code != 0:
            raise ToolFailed(f"{Path(objcopy).name} fails: {last_words(ended.text)}")


def _call(command: Command, program: str, folder: Path, plan: FlashPlan, timeout: float) -> str:
    ended = run_process((program, *command.argv[1:]), folder, timeout=timeout)
    where = f"{plan.tool} on {plan.board}"
    if command.refutation is not None and command.refutation in ended.text:
        raise ToolFailed("what was written does not read back", at=where)
    if ended.code != 0 or (command.proof is not None and command.proof not in ended.text):
        raise ToolFailed(_complaint(ended.text), at=where)
    return ended.text


def _complaint(text: str) -> str:
    """The line in which a tool says what is wrong, else its last words."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if _COMPLAINT.search(line)), last_words(text))


def list_probes(board: Board | None = None, tool: str | None = None) -> tuple[tuple[str, str], ...]:
    """Each tool asked (the one given, else the board's first one, else all that are installed) and
    what it says of probes. Raises ``ToolMissing``, ``ToolFailed``, ``BoardError``."""
    if tool is not None and tool not in TOOLS:
        raise BoardError(f"there is no flash tool {tool!r}", hint=f"known: {', '.join(TOOLS)}")
    if tool is None and board is not None:
        tool = plan_flash(board).tool
    if tool is not None:
        if TOOLS[tool].probes is None:
            can = (name for name, each in TOOLS.items() if each.probes is not None)
            raise BoardError(f"{tool} can't list probes", hint=f"--tool {', '.join(can)} can")
        return ((tool, _probes(tool)),)
    found = []
    for name, each in TOOLS.items():
        if each.probes is not None:
            try:
                found.append((name, _probes(name)))
            except ToolMissing:
                continue
    if not found:
        raise ToolMissing("no flash tool that lists probes", install=pyocd.TOOL.install)
    return tuple(found)


def _probes(name: str) -> str:
    tool = TOOLS[name]
    call = tool.probes
    assert call is not None
    found = find_program(tool)
    lister = call[0]
    if lister in tool.programs:
        lister = found
    elif not Path(lister).is_absolute() and shutil.which(lister) is None:
        raise ToolMissing(lister, install=tool.install)
    ended = run_process((lister, *call[1:]), Path.cwd(), timeout=60)
    return ended.text.strip() or "nothing found"
