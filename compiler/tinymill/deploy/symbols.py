"""What lies in the flash of a linked program, function by function, as nm tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tinymill.boards import Board
from tinymill.deploy import toolchain
from tinymill.deploy.build import build
from tinymill.deploy.process import run_process
from tinymill.deploy.size import HARNESS, Sizes, object_sizes, program_sizes
from tinymill.errors import TinymillError

TIMEOUT = 60.0
COLUMNS = 7
"""Of nm's System V format: name, value, class, type, size, line, section."""
CODE = (".text", ".rodata", ".srodata", ".data")
"""Beginnings of the names of sections that are in flash, weights and harness aside."""


@dataclass(frozen=True)
class Symbol:
    """A function (``is_code``) or a constant, with its bytes of flash."""

    name: str
    is_code: bool
    bytes: int


@dataclass(frozen=True)
class Linked:
    """A program that was linked whole: its sizes and what they are made of. Symbols are () where
    nm is missing."""

    sizes: Sizes
    symbols: tuple[Symbol, ...]


def linked(files: Mapping[str, str], board: Board, model: str) -> Linked | None:
    """The figures of a project that is not written yet; None where it can't be built (its compiler
    is missing, it does not fit the board, the temporary folder is full)."""
    try:
        if toolchain.compiler_name(board)[0] in toolchain.missing(board):
            return None
        with TemporaryDirectory(prefix="tinymill-") as name:
            project, folder = Path(name) / "project", Path(name) / "build"
            for path, text in files.items():
                (project / path).parent.mkdir(parents=True, exist_ok=True)
                (project / path).write_text(text)
            program = build(project, board, folder, model=model)
            if board.is_host:  # whose linker adds its own
                own = folder / "model" / f"{model}.o"
                weights = folder / "model" / f"{model}_weights.o"
                return Linked(object_sizes(own, weights), symbols_of(own, board))
            return Linked(program_sizes(program), symbols_of(program, board))
    except (OSError, TinymillError):
        return None


def symbols_of(program: Path, board: Board) -> tuple[Symbol, ...]:
    """The symbols of a program or an object file, the largest first; () without nm."""
    name = "nm" if board.is_host else f"{board.compiler.family}-nm"
    try:
        ended = run_process(
            (name, "--format=sysv", "--defined-only", str(program)), program.parent, timeout=TIMEOUT
        )
    except (OSError, TinymillError):
        return ()
    return parse_symbols(ended.text) if ended.code == 0 else ()


def parse_symbols(text: str) -> tuple[Symbol, ...]:
    """What nm --format=sysv prints, code and constants outside of the harness and the weights."""
    found: dict[tuple[int, str], Symbol] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != COLUMNS or cells[3] not in ("FUNC", "OBJECT") or not cells[4]:
            continue
        name, value, _, kind, size, _, section = cells
        if section.startswith(HARNESS) or not section.startswith(CODE):
            continue
        try:
            # names of one place are one piece of flash
            key = int(value, 16), section
            found.setdefault(key, Symbol(name, kind == "FUNC", int(size, 16)))
        except ValueError:
            continue
    return tuple(sorted(found.values(), key=lambda symbol: (-symbol.bytes, symbol.name)))
