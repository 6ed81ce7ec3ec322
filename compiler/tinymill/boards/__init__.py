"""The targets: one TOML a board under boards/, read and checked here."""

from tinymill.boards.board import (
    Board,
    CoarseTimer,
    Compiler,
    Region,
    Simulator,
    Timer,
    list_boards,
    load_board,
)

__all__ = [
    "Board",
    "CoarseTimer",
    "Compiler",
    "Region",
    "Simulator",
    "Timer",
    "list_boards",
    "load_board",
]
