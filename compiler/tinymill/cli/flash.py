"""``tinymill flash``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InvalidInput
from .console import out, say, working
from .options import RunOptimize


def command(
    model: Annotated[
        Path | None,
        typer.Argument(help="a model file, or a folder that compile wrote", show_default=False),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", "--board", help="a board [default: the folder's]"),
    ] = None,
    tool: Annotated[
        str | None, typer.Option("--tool", help="another of the tools in the board's file")
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option("--probe", help="the tool's name of a probe: serial number, port, address"),
    ] = None,
    optimize: RunOptimize = None,
    list_probes: Annotated[
        bool, typer.Option("--list-probes", help="show the probes that are connected")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the commands; nothing needs to be installed")
    ] = False,
) -> None:
    """Build a model's firmware and write it to a board; --list-probes needs no model."""
    from .. import api, deploy  # noqa: PLC0415
    from ..boards import load_board  # noqa: PLC0415

    if list_probes:
        board = None if target is None else load_board(target)
        for name, text in deploy.list_probes(board, tool):
            for line in text.splitlines():
                out.print(f"{name}: {line}")
        return
    if model is None:
        raise InvalidInput("flash what?", hint="give a model or a folder")
    with working("writing", quiet=dry_run):
        plan = api.flash(
            model, target=target, tool=tool, probe=probe, dry_run=dry_run,
            optimize=None if optimize is None else optimize.value, tell=say.print,
        )  # fmt: skip
    for command in plan.commands:
        out.print(shlex.join(command.argv))
    if not dry_run:
        checked = "read back" if plan.verifies else "not read back: the tool can't"
        out.print(f"written to {plan.board}, {checked}")
