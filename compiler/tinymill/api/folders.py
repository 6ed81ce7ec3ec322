"""A project folder where a model is expected: its board, and options that it was compiled with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..boards import Board, load_board
from ..errors import BoardError, InvalidInput
from ..frontends import load as load_front
from ..samples import End, bound_front
from .options import Wanted


def check_wanted(
    description: Mapping[str, Any], folder: Path, wanted: Wanted, *, name: str | None = None
) -> None:
    """Raises ``InvalidInput`` where a project was compiled with other options than wanted, or
    under another ``name``."""
    asked = {
        "io": wanted.io, "requant": wanted.requant, "optimize": wanted.optimize,
        "plan": None if wanted.plan is None else str(wanted.plan), "ram": wanted.ram,
        "keep_inputs": wanted.keep_inputs or None, "stream_input": wanted.stream_input or None,
        "fast_ram": wanted.fast_ram, "weights": wanted.weights, "step": wanted.step, "model": name,
    }  # fmt: skip
    for option, value in asked.items():
        if value is not None and description.get(option) != value:
            raise InvalidInput(
                f"was compiled with {option} {description.get(option)!r}, not {value!r}",
                at=str(folder),
                hint="compile it again",
            )
    if wanted.frontend is not None:
        _check_front(description, folder, wanted.frontend)
    if wanted.shapes:
        raise InvalidInput("was compiled with its shapes", at=str(folder))


def _check_front(description: Mapping[str, Any], folder: Path, spec: str | Path) -> None:
    """Raises ``InvalidInput`` where a project was compiled with another front end."""
    entry = description.get("frontend")
    if entry:
        ends = [End.of(item) for item in description["inputs"]]
        wanted = bound_front(load_front(spec), ends, entry)
        if wanted.front.options() == entry.get("spec"):
            return
    raise InvalidInput(
        f"was not compiled with the front end {str(spec)!r}",
        at=str(folder), hint="compile it again",
    )  # fmt: skip


def board_of_folder(
    target: str | Path | Board | None, description: Mapping[str, Any], folder: Path
) -> Board:
    if isinstance(target, Board):
        return target
    board = load_board(description["target"] if target is None else target)
    if board.name != description["target"]:
        raise BoardError(
            f"compiled for {description['target']}, not for {board.name}", at=str(folder)
        )
    return board
