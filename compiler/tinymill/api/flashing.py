"""``flash``: a model's firmware on a board."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ..boards import Board
from ..deploy import FlashPlan, plan_flash
from ..deploy import flash as flash_project
from ..errors import InvalidInput
from ..project import read_plan
from ..schedule import Optimize
from .compiling import compile_file
from .folders import board_of_folder, check_wanted
from .lowering import board_of, tuned
from .options import Wanted


def flash(
    model: str | Path,
    *,
    target: str | Path | Board | None = None,
    tool: str | None = None,
    probe: str | None = None,
    dry_run: bool = False,
    optimize: Optimize | None = None,
    tell: Callable[[str], None] | None = None,
) -> FlashPlan:
    """Compiles (unless ``model`` is a project folder), builds the firmware and writes it to a
    board; gives the calls made. ``dry_run`` only gives them: then nothing needs to be installed.

    ``tool`` is one of those in the board's file (default: the first), ``probe`` what that tool
    calls a probe: a serial number, a port, an address. ``tell`` gets what a person has to do
    before the tool can write, where there is such a thing. Raises what ``compile`` raises,
    ``BoardError``, ``ToolMissing``, ``ToolFailed``.
    """
    path = Path(model)
    description = read_plan(path) if path.is_dir() else None
    if description is not None:
        board = board_of_folder(target, description, path)
        check_wanted(description, path, Wanted(optimize=optimize))
    elif target is None:
        raise InvalidInput("is to be written to which board?", at=str(path), hint="--board")
    else:
        board = board_of(target)
    plan = plan_flash(board, tool, probe)
    with tempfile.TemporaryDirectory(prefix="tinymill-") as name:
        if description is None:
            compiled = compile_file(path, board, Wanted(optimize=optimize).options())
            path, description = Path(name) / "project", compiled.description
            compiled.write(path)
        if tell is not None and plan.note is not None:
            tell(f"{board.name}: {plan.note}")
        if not dry_run:
            board = tuned(board, description.get("optimize", "time"))
            flash_project(path, board, model=description["model"], plan=plan)
    return plan
